/**
 * bull — the two job queues in Redis, and the one with the night's Bayes run: the one owner of BullMQ.
 *
 * Hides the library, its keys and its events. Job ids are random: BullMQ's own counter begins anew in an emptied Redis, and a
 * waiter then got another message's verdict (FACTS). Finished jobs are removed at once; results go another way. Commands
 * reject at once where Redis is away, as the connection is made to; a taker waits for Redis and goes on.
 */
import { Queue, Worker } from 'bullmq';
import type { Job, QueueName } from './job.ts';
import { queueNames } from './job.ts';
import type { Log } from './log.ts';
import { batchOnly, type Redis } from './redis.ts';

/** `gone`: Redis does not have it, or nobody would ever find it; `started`: a worker has it, or had it and died. */
export type JobState = 'gone' | 'waiting' | 'started';

export type Jobs = {
  /** `arrivalMs`: by Redis' clock, epoch milliseconds; the ages of jobs count from there. */
  readonly add: (
    queue: QueueName,
    job: Job,
    place: { readonly priority: number; readonly arrivalMs: number },
  ) => Promise<void>;
  /** False where a worker has it under way; true where it is gone. */
  readonly remove: (queue: QueueName, jobId: string) => Promise<boolean>;
  readonly reorder: (queue: QueueName, jobId: string, priority: number) => Promise<void>;
  readonly states: (jobs: readonly { queue: QueueName; jobId: string }[]) => Promise<readonly JobState[]>;
  /** Sets what an emptied Redis forgot. */
  readonly prepare: () => Promise<void>;
};

export type Taker = {
  readonly pause: () => Promise<void>;
  readonly resume: () => Promise<void>;
  /** Takes no more, and resolves when what runs is done. */
  readonly close: () => Promise<void>;
};

/** After this long without its worker's sign of life a job is given to another one. */
const lockMs = 5_000;
/** How often that is looked at. Together they keep a dead worker's job from waiting for 10 s. */
const stalledCheckMs = 1_500;
/** How long a taker asks Redis to wait for a job; a connection that died silently is noticed a second later. */
const blockSeconds = 2;
const retryMs = 500;
/** Nobody reads BullMQ's events, and it writes them all the same. */
const eventsMax = 100;

/** BullMQ's scripts that are asked for each message, or nearly; it defines them as `<script>:<version>`. */
const frequent = {
  filter: ['addPrioritizedJob', 'changePriority', 'removeJob'],
  worker: ['extendLocks', 'moveStalledJobsToWait', 'moveToActive', 'moveToFinished'],
};
const isAmong = (scripts: readonly string[]) => (script: string) =>
  scripts.some((frequent) => script.startsWith(`${frequent}:`));

/** The queues, to put jobs into. `redis`: a producer's connection, which stays the caller's. */
export function openJobs(redis: Redis, prefix: string, log: Log): Jobs {
  batchOnly(redis, isAmong(frequent.filter));
  const open = (name: QueueName): Queue => {
    const queue = new Queue(name, {
      connection: redis,
      prefix,
      skipVersionCheck: true,
      skipWaitingForReady: true,
      skipMetasUpdate: true,
    });
    // Whoever asked for something gets the error as well.
    queue.on('error', (error) => log.debug({ err: error, queue: name }, 'Queue has an error'));
    return queue;
  };
  const queues = { virus: open('virus'), spam: open('spam') };
  return {
    async add(queue, job, { priority, arrivalMs }) {
      const removed = { removeOnComplete: true, removeOnFail: true };
      const options = { jobId: job.jobId, priority, timestamp: arrivalMs, ...removed };
      await queues[queue].add(job.task, job, options);
    },
    remove: async (queue, jobId) => (await queues[queue].remove(jobId, { removeChildren: false })) === 1,
    async reorder(queue, jobId, priority) {
      const job = await queues[queue].getJob(jobId);
      await job?.changePriority({ priority });
    },
    states: (jobs) => Promise.all(jobs.map(({ queue, jobId }) => stateOf(redis, queues[queue], jobId))),
    async prepare() {
      await Promise.all(
        queueNames.map((name) => redis.hset(queues[name].toKey('meta'), 'opts.maxLenEvents', eventsMax)),
      );
    },
  };
}

async function stateOf(redis: Redis, queue: Queue, jobId: string): Promise<JobState> {
  // Asked in one tick, the two go out as one.
  const [[timestamp, starts], score] = await Promise.all([
    redis.hmget(queue.toKey(jobId), 'timestamp', 'ats'),
    redis.zscore(queue.toKey('prioritized'), jobId),
  ]);
  if (timestamp === null || timestamp === undefined) return 'gone';
  if (starts !== null && starts !== undefined) return 'started';
  return score === null ? 'gone' : 'waiting';
}

/**
 * Takes jobs of a queue, `concurrency` at once. `onJob` must not throw; `deaths`: how many workers stopped giving signs of
 * life while they had the job. `redis`: a worker's connection, which stays the caller's.
 */
export function openTaker(options: {
  queue: QueueName;
  redis: Redis;
  prefix: string;
  concurrency: number;
  onJob: (data: unknown, deaths: number) => Promise<void>;
  log: Log;
}): Taker {
  const { queue, redis, prefix, concurrency, onJob, log } = options;
  batchOnly(redis, isAmong(frequent.worker));
  const worker = new Worker(queue, async (job) => onJob(job.data, job.stalledCounter), {
    connection: redis,
    prefix,
    concurrency,
    lockDuration: lockMs,
    stalledInterval: stalledCheckMs,
    // What kills its workers is ended by onJob, which must tell the filter; BullMQ would only drop it.
    maxStalledCount: 1_000_000,
    drainDelay: blockSeconds,
    runRetryDelay: retryMs,
    removeOnComplete: { count: 0 },
    removeOnFail: { count: 0 },
    skipVersionCheck: true,
  });
  worker.on('error', (error) => log.debug({ err: error, queue }, 'Taker has an error'));
  worker.on('stalled', (jobId) =>
    log.warn({ jobId, queue }, 'A worker died or hangs: its job goes to another one'),
  );
  return {
    pause: () => worker.pause(true),
    resume: () => worker.resume(),
    close: () => worker.close(),
  };
}

/** The nights of the Bayes sync: a job scheduler makes one job for each, one process takes it. */
export type NightJobs = {
  /** Sees to it that Redis knows the schedule: after a start, and after Redis forgot. Rejects where Redis is away. */
  readonly schedule: (now: number) => Promise<void>;
  /** One more job for a night that none is left for; with the same night again it is nothing. */
  readonly add: (planned: number) => Promise<void>;
  /** Jobs that wait or run; those of nights to come do not count. */
  readonly underWay: () => Promise<number>;
  /** Takes no more, and resolves when what runs is done; it waits for a Redis that is away. */
  readonly close: () => Promise<void>;
};

const nightQueue = 'bayes';
const scheduler = 'night';
/** A night's run lives as long as its process gives signs of life; these are few enough not to miss one in a busy minute. */
const nightLockMs = 30_000;
/** So long a night that is done is known by its job's id. */
const nightKeptSeconds = 2 * 86_400;
/** A next job that is so long overdue, and is not there, will never come. */
const lostAfterMs = 15 * 60_000;

/**
 * Opens the queue of nights. `at`, `zone`: how the scheduler is called in Redis; the times themselves come from `next`, the same
 * calendar on every node. `onNight` must not throw. `producer`, `worker`: connections of these roles, which stay the caller's.
 */
export function openNightJobs(options: {
  producer: Redis;
  worker: Redis;
  prefix: string;
  at: string;
  zone: string;
  next: (after: number) => number;
  onNight: (planned: number) => Promise<void>;
  log: Log;
  lockMs?: number;
}): NightJobs {
  const {
    producer,
    worker: connection,
    prefix,
    at,
    zone,
    next,
    onNight,
    log,
    lockMs = nightLockMs,
  } = options;
  const common = { prefix, skipVersionCheck: true, settings: { repeatStrategy: (now: number) => next(now) } };
  const queue = new Queue(nightQueue, {
    ...common,
    connection: producer,
    skipWaitingForReady: true,
    skipMetasUpdate: true,
  });
  queue.on('error', (error) => log.debug({ err: error, queue: nightQueue }, 'Queue has an error'));
  const kept = { removeOnComplete: { age: nightKeptSeconds }, removeOnFail: { age: nightKeptSeconds } };
  const worker = new Worker(nightQueue, async (job) => onNight(nightOf(job.data, job.opts.prevMillis)), {
    ...common,
    ...kept,
    connection,
    concurrency: 1,
    lockDuration: lockMs,
    stalledInterval: lockMs / 2,
    maxStalledCount: 1_000_000,
    drainDelay: blockSeconds,
    runRetryDelay: retryMs,
  });
  worker.on('error', (error) => log.debug({ err: error, queue: nightQueue }, 'Taker has an error'));
  worker.on('stalled', (jobId) =>
    log.warn({ jobId, queue: nightQueue }, 'A node died on the night: taking it over'),
  );
  worker.on('failed', (_, error) => log.error({ err: error, queue: nightQueue }, 'Dropped a foreign night'));
  // Cron's way to write it; `next` does not look at it.
  const pattern = `${Number(at.slice(3))} ${Number(at.slice(0, 2))} * * *`;
  return {
    async schedule(now) {
      const known = await queue.getJobScheduler(scheduler);
      const isSame = known !== undefined && known.pattern === pattern && known.tz === zone;
      if (isSame && (known.next ?? 0) > now - lostAfterMs) return;
      // A run beside another one would only find its lock taken.
      await queue.setGlobalConcurrency(1);
      await queue.upsertJobScheduler(scheduler, { pattern, tz: zone }, { name: scheduler, opts: kept });
    },
    async add(planned) {
      await queue.add(scheduler, { planned }, { jobId: `night-${planned}`, ...kept });
    },
    async underWay() {
      // Not by the queue's own count: its script wants rights that nothing else here needs.
      const counted = [producer.llen(queue.toKey('wait')), producer.llen(queue.toKey('active'))];
      return (await Promise.all(counted)).reduce((sum, one) => sum + one, 0);
    },
    close: () => worker.close(),
  };
}

/** The scheduler's own jobs know it by their options. */
function nightOf(data: unknown, scheduledFor: number | undefined): number {
  const given = typeof data === 'object' && data !== null && 'planned' in data ? data.planned : scheduledFor;
  if (typeof given === 'number' && Number.isSafeInteger(given)) return given;
  throw new Error('Cannot tell which night this job is for');
}
