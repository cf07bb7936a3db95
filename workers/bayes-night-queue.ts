/**
 * bayes-night-queue — the night as a job in Redis, so that of several nodes with the same Redis one runs it.
 *
 * Hides the connections, and the mark `<prefix>:bayes:served` by which the others know that it was done. A job that nobody
 * finished goes to another node; one that Redis forgot is added again. Loaded only where Redis is configured. Nothing rejects.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { RedisConfig } from '../rules/config.ts';
import { type NightJobs, openNightJobs } from './bull.ts';
import type { NightQueue } from './bayes-schedule.ts';
import type { Log } from './log.ts';
import { connectRedis, createOutage } from './redis.ts';

/** A night is left to its job for so long; then it is looked whether there is one. */
const dueMs = 60_000;
/** And if it is still not served, with nobody at it, it is run here. */
const givenUpMs = 20 * 60_000;
const pingEveryMs = 5000;
const closeMs = 2000;

/** Connects, and takes nights as they come. `next`: the same on every node of this Redis. */
export function openNightQueue(options: {
  redis: RedisConfig;
  at: string;
  zone: string;
  next: (after: number) => number;
  log: Log;
  now?: () => number;
  waits?: { readonly dueMs: number; readonly givenUpMs: number; readonly pingEveryMs: number };
  /** After this long without its node's sign of life a night is given to another one. */
  lockMs?: number;
}): (serve: (planned: number) => Promise<void>) => NightQueue {
  const { redis, log, now = Date.now, waits = { dueMs, givenUpMs, pingEveryMs } } = options;
  const outage = createOutage(redis, log);
  const producer = connectRedis(redis, 'producer', outage);
  const worker = connectRedis(redis, 'worker', outage);
  const mark = `${redis.prefix}:bayes:served`;
  let isUp = false;
  /** Whether it works; a Redis that is full or read-only lets us connect as well. */
  const attempt = async <T>(act: () => Promise<T>): Promise<T | null> => {
    try {
      const value = await act();
      if (!isUp) outage.back();
      isUp = true;
      return value;
    } catch (cause) {
      outage.lost(cause);
      isUp = false;
      return null;
    }
  };
  return (serve) => {
    const { prefix } = redis;
    // The job of a node that died, or lost Redis, when the night was done already.
    const onNight = async (planned: number): Promise<void> => {
      if ((await attempt(() => producer.get(mark))) !== String(planned)) await serve(planned);
    };
    const jobs: NightJobs = openNightJobs({ ...options, producer, worker, prefix, onNight });
    const keep = (): void => void attempt(() => jobs.schedule(now()));
    const timer = setInterval(keep, waits.pingEveryMs).unref();
    keep();
    return {
      isUp: () => isUp,
      async tend(planned, ageMs) {
        const answer = await attempt(async () => {
          if ((await producer.get(mark)) === String(planned)) return 'served';
          if (ageMs < waits.dueMs || (await jobs.underWay()) > 0) return 'left to it';
          if (ageMs > waits.givenUpMs) return 'run it here';
          await jobs.add(planned);
          return 'left to it';
        });
        return answer ?? 'left to it';
      },
      async tell(planned) {
        await attempt(() => producer.set(mark, planned));
      },
      async forget(planned) {
        await attempt(async () => {
          if ((await producer.get(mark)) === String(planned)) await producer.set(mark, 0);
        });
      },
      async close() {
        clearInterval(timer);
        await Promise.race([jobs.close(), delay(closeMs, undefined, { ref: false })]);
        for (const one of [producer, worker]) one.disconnect();
      },
    };
  };
}
