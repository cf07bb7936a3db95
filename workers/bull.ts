/**
 * bull — the two job queues in Redis: the one owner of BullMQ.
 *
 * Hides the library, its keys and its events. Job ids are random: BullMQ's own counter begins anew in an emptied Redis, and a
 * waiter then got another message's verdict (FACTS). Finished jobs are removed at once; results go another way. Commands
 * reject at once where Redis is away, as the connection is made to; a taker waits for Redis and goes on.
 */
import { Queue, Worker } from 'bullmq';
import type { Job, QueueName } from './job.ts';
import { queueNames } from './job.ts';
import type { Log } from './log.ts';
import type { Redis } from './redis.ts';

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

/** The queues, to put jobs into. `redis`: a producer's connection, which stays the caller's. */
export function openJobs(redis: Redis, prefix: string, log: Log): Jobs {
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
