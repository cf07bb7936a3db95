/**
 * remote-cancel — takes back a job that nobody waits for any more.
 *
 * Hides the two ways: a waiting job is removed; of a running one its worker is told, over a channel that all workers hear.
 * Best effort: what can't be taken back while Redis is away is taken back on its return, so that no worker wastes its
 * time; at the latest the job ends by its deadline. Never throws, and nobody waits for it.
 */
import type { Jobs } from './bull.ts';
import { keysOf, type QueueName } from './job.ts';
import type { Log } from './log.ts';
import type { Redis } from './redis.ts';

export type Cancel = {
  /** Takes the job back, now or on the return of Redis. */
  readonly job: (queue: QueueName, jobId: string) => void;
  /** Redis is back. */
  readonly again: () => void;
};

const openMax = 10_000;

/** Cancels over these queues. */
export function createCancel(options: {
  jobs: Jobs;
  redis: Redis;
  prefix: string;
  isUp: () => boolean;
  log: Log;
}): Cancel {
  const { jobs, redis, prefix, isUp, log } = options;
  const channel = keysOf(prefix).cancel;
  const open = new Map<string, QueueName>();

  const later = (queue: QueueName, jobId: string): void => {
    if (open.size < openMax) open.set(jobId, queue);
  };
  const cancel = async (queue: QueueName, jobId: string): Promise<void> => {
    if (!(await jobs.remove(queue, jobId))) await redis.publish(channel, jobId);
  };
  const job = (queue: QueueName, jobId: string): void => {
    if (!isUp()) return later(queue, jobId);
    cancel(queue, jobId).catch((cause: unknown) => {
      log.debug({ err: cause, jobId }, 'Cannot cancel a job now');
      later(queue, jobId);
    });
  };
  return {
    job,
    again() {
      const jobs = [...open];
      open.clear();
      for (const [jobId, queue] of jobs) job(queue, jobId);
    },
  };
}

/** Hears which jobs are taken back. `subscriber` is used by nobody else. */
export function hearCancels(
  subscriber: Redis,
  prefix: string,
  onCancel: (jobId: string) => void,
  log: Log,
): void {
  subscriber.on('message', (_channel: string, jobId: string) => onCancel(jobId));
  // Subscribed once, ioredis subscribes again after each reconnection.
  subscriber
    .subscribe(keysOf(prefix).cancel)
    .catch((cause: unknown) => log.debug({ err: cause }, 'Cannot hear of cancelled jobs'));
}
