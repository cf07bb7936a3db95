/**
 * queue-metrics — figures of the queues in Redis: for the filter how they stand and who is there, for a worker its jobs.
 *
 * Hides that all samples of a scrape come from one look at Redis. Redis away: what is in it is not known, so those samples are
 * missing, and `redis_up` says 0.
 */
import type { Backlog } from './backlog.ts';
import { type QueueName, queueNames } from './job.ts';
import type { Register, Sample } from './metrics.ts';
import type { Seen, WorkerPresence } from './presence.ts';

/** What the filter's end of the queues tells. */
export type QueueSources = {
  readonly isUp: () => boolean;
  readonly seen: () => Seen;
  /** Rejects where Redis is away. */
  readonly backlog: () => Promise<Backlog>;
};

/** What a worker tells. */
export type JobSources = {
  readonly isUp: () => boolean;
  readonly queues: readonly QueueName[];
  readonly running: (queue: QueueName) => number;
  readonly runningMax: (queue: QueueName) => number;
};

const daemons = { virus: 'clamd', spam: 'spamd' } as const;
/** One scrape asks for several figures. */
const goodForMs = 500;

/** Adds the queues to a filter's figures. */
export function addQueueFigures(register: Register, sources: QueueSources): void {
  const look = shared(() => sources.backlog());
  const byQueue =
    (value: (queue: Backlog[QueueName]) => number): (() => Promise<Sample[]>) =>
    async () => {
      const backlog = await look();
      if (backlog === null) return [];
      return queueNames.map((queue) => ({ labels: { queue }, value: value(backlog[queue]) }));
    };
  const byScanner =
    (value: (workers: readonly WorkerPresence[], queue: QueueName) => number) =>
    async (): Promise<Sample[]> => {
      if (!sources.isUp()) return [];
      const { workers } = sources.seen();
      return queueNames.map((queue) => ({
        labels: { scanner: daemons[queue] },
        value: value(workers, queue),
      }));
    };
  addRedisUp(register, sources.isUp);
  const { lookUp } = register;
  lookUp(
    'queue_waiting_jobs',
    'Jobs that no worker has taken yet',
    ['queue'],
    byQueue(({ waiting }) => waiting),
  );
  lookUp(
    'queue_active_jobs',
    'Jobs that a worker has under way',
    ['queue'],
    byQueue(({ active }) => active),
  );
  lookUp(
    'queue_oldest_job_seconds',
    'Age of the oldest job, waiting or under way',
    ['queue'],
    byQueue(({ oldestMs }) => (oldestMs ?? 0) / 1000),
  );
  lookUp('workers_alive', 'Worker processes that serve the scanner', ['scanner'], byScanner(alive));
  lookUp('workers_ready', 'Those whose scanner answers', ['scanner'], byScanner(ready));
  lookUp('worker_slots', 'Messages that those scan at once', ['scanner'], byScanner(slots));
}

/** Adds its jobs to a worker's figures; call what it gives when a job is done. */
export function addJobFigures(
  register: Register,
  { isUp, queues, running, runningMax }: JobSources,
): (queue: QueueName, result: string, ms: number) => void {
  addRedisUp(register, isUp);
  const jobs = register.counter('jobs', 'Jobs done', 'queue', 'result');
  const seconds = register.seconds('job', 'One job, from its start here to its result', 'queue');
  const by = (value: (queue: QueueName) => number) => async () =>
    queues.map((queue) => ({ labels: { queue }, value: value(queue) }));
  register.lookUp('running_jobs', 'Jobs that this worker has under way', ['queue'], by(running));
  register.lookUp('running_jobs_max', 'worker.virus, worker.spam', ['queue'], by(runningMax));
  return (queue, result, ms) => {
    jobs({ queue, result });
    seconds({ queue }, ms / 1000);
  };
}

function addRedisUp(register: Register, isUp: () => boolean): void {
  const read = async () => [{ labels: {}, value: isUp() ? 1 : 0 }];
  register.lookUp('redis_up', '1 where Redis takes what this process writes', [], read);
}

function alive(workers: readonly WorkerPresence[], queue: QueueName): number {
  return workers.filter((worker) => worker[queue] !== null).length;
}

function ready(workers: readonly WorkerPresence[], queue: QueueName): number {
  return workers.filter((worker) => worker[queue]?.ok === true).length;
}

function slots(workers: readonly WorkerPresence[], queue: QueueName): number {
  return workers.reduce(
    (sum, worker) => sum + (worker[queue]?.ok === true ? worker[queue].concurrency : 0),
    0,
  );
}

/** One answer for all who ask within a moment; null where it can't be had. */
function shared<T>(ask: () => Promise<T>): () => Promise<T | null> {
  let latest: { readonly answer: Promise<T | null>; readonly until: number } | null = null;
  return () => {
    const now = performance.now();
    if (latest === null || now >= latest.until) {
      // Nothing to tell of: redis_up says so.
      latest = { answer: ask().catch(() => null), until: now + goodForMs };
    }
    return latest.answer;
  };
}
