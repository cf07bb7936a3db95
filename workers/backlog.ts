/**
 * backlog — how much work waits in Redis, asked without taking part in it.
 *
 * Hides how BullMQ 6.7 keeps a queue: jobs in line in the sorted set `prioritized` (`wait` and `paused` hold those without a
 * priority), those under way in the list `active`, each with its time in a hash. Fails where Redis does.
 */
import { type QueueName, queueNames } from './job.ts';
import type { Redis } from './redis.ts';

export type QueueBacklog = {
  readonly waiting: number;
  readonly active: number;
  /** Age of the oldest job, waiting or under way; null where there is none. */
  readonly oldestMs: number | null;
};

export type Backlog = Readonly<Record<QueueName, QueueBacklog>>;

/**
 * So many jobs at the front of the line are looked at for the oldest one: a job stands behind a younger one only for its size or
 * its sender's many, by seconds (fair-priority.ts).
 */
const lookedAt = 50;

/** Two round trips, whatever is in line. `now`: Redis' time, epoch milliseconds. */
export async function readBacklog(redis: Redis, prefix: string, now: number): Promise<Backlog> {
  const [virus, spam] = await Promise.all(
    queueNames.map((name) => readQueue(redis, `${prefix}:${name}`, now)),
  );
  if (virus === undefined || spam === undefined) throw new Error('No queues');
  return { virus, spam };
}

async function readQueue(redis: Redis, key: string, now: number): Promise<QueueBacklog> {
  const [inLine, wait, paused, active, first, underWay] = await Promise.all([
    redis.zcard(`${key}:prioritized`),
    redis.llen(`${key}:wait`),
    redis.llen(`${key}:paused`),
    redis.llen(`${key}:active`),
    redis.zrange(`${key}:prioritized`, 0, lookedAt - 1),
    redis.lrange(`${key}:active`, -lookedAt, -1),
  ]);
  const times = await Promise.all(
    [...first, ...underWay].map((id) => redis.hget(`${key}:${id}`, 'timestamp')),
  );
  const ages = times.flatMap((time) => (time === null ? [] : [Math.max(0, now - Number(time))]));
  const oldestMs = ages.length === 0 ? null : Math.max(...ages);
  return { waiting: inLine + wait + paused, active, oldestMs };
}
