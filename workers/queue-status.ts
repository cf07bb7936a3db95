/**
 * queue-status — one look at the queues and at all who are around them, for people and for programs.
 *
 * Connects, asks, leaves; no part of the mail. Rejects with TempFail where Redis can't be asked. Loaded only where `redis` is
 * configured.
 */
import type { RedisConfig } from '../rules/config.ts';
import { redisText } from '../rules/redis-url.ts';
import { type Backlog, readBacklog } from './backlog.ts';
import { TempFail } from './fail.ts';
import { type FilterPresence, readPresence, type WorkerPresence } from './presence.ts';
import { connectOnce, type Redis, reasonOf } from './redis.ts';
import { createRedisClock } from './redis-clock.ts';

export type QueueStatus = {
  /** Without credentials. */
  readonly redis: string;
  readonly prefix: string;
  /** Redis' time, epoch milliseconds. */
  readonly at: number;
  readonly queues: Backlog;
  /** By host, then process. */
  readonly workers: readonly WorkerPresence[];
  readonly filters: readonly FilterPresence[];
};

/** How the queues stand. */
export async function readQueueStatus(redis: RedisConfig): Promise<QueueStatus> {
  const where = redisText(redis.url);
  const { prefix } = redis;
  let connection: Redis | null = null;
  try {
    connection = await connectOnce(redis);
    const clock = createRedisClock();
    const askedAt = clock.monotonic();
    clock.learn(await connection.time(), askedAt);
    const at = clock.now();
    const [queues, { workers, filters }] = await Promise.all([
      readBacklog(connection, prefix, at),
      readPresence(connection, prefix),
    ]);
    return {
      redis: where,
      prefix,
      at,
      queues,
      workers: workers.toSorted(byPlace),
      filters: filters.toSorted(byPlace),
    };
  } catch (cause) {
    throw new TempFail(`Cannot ask Redis at ${where}: ${reasonOf(cause, redis)}`, { cause });
  } finally {
    connection?.disconnect();
  }
}

type Placed = { readonly host: string; readonly pid: number };

function byPlace(a: Placed, b: Placed): number {
  return a.host.localeCompare(b.host) || a.pid - b.pid;
}
