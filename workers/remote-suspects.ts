/**
 * remote-suspects — jobs that were under way when a worker died: which of them killed it.
 *
 * Hides how that is found out. All that a worker had at its death come back, and one of them at most is to blame: so each is
 * worked on while no other suspect is, and Redis counts how often it began that way. Who only stood by when others died is
 * never counted. Jobs that no worker died with pay nothing for it.
 */
import { type Job, keysOf } from './job.ts';
import type { Patience } from './patience.ts';
import type { Redis } from './redis.ts';

export type Suspects = {
  /**
   * Calls `begin` when it is the job's turn, with how often it began before. Rejects where patience ends before, where Redis
   * can't count, and with what `begin` rejects with.
   */
  readonly alone: (
    job: Pick<Job, 'jobId'>,
    expiresMs: number,
    signal: AbortSignal,
    begin: (before: number) => Promise<void>,
  ) => Promise<void>;
};

/** No suspect yet. `redis`: a worker's connection. */
export function createSuspects(redis: Redis, prefix: string, patience: Patience): Suspects {
  let last: Promise<void> = Promise.resolve();
  const keys = keysOf(prefix);
  const count = async (jobId: string, expiresMs: number): Promise<number> => {
    const key = keys.begun(jobId);
    const [begun] = await Promise.all([redis.incr(key), redis.pexpire(key, expiresMs)]);
    return begun;
  };
  return {
    async alone({ jobId }, expiresMs, signal, begin) {
      const before = last;
      const { promise, resolve } = Promise.withResolvers<void>();
      last = promise;
      try {
        await patience.wait(before, signal);
        await begin((await patience.wait(count(jobId, expiresMs), signal)) - 1);
      } finally {
        // Who left early leaves the others in their order.
        void before.then(resolve);
      }
    },
  };
}
