/**
 * redis-clock — what time it is at Redis: the one clock that all processes around a queue share.
 *
 * Machines' clocks differ, and jump: deadlines in jobs are in Redis' time. Each answer to TIME measures how far this
 * process's monotonic clock is from it; of the last few measurements the one with the shortest way counts. Never throws.
 */

export type RedisClock = {
  /** Epoch milliseconds at Redis; this machine's own where nothing has been measured yet. */
  readonly now: () => number;
  /** An answer to TIME (seconds, microseconds) that was asked for at `askedAt` of `monotonic`. */
  readonly learn: (answer: unknown, askedAt: number) => void;
  /** Milliseconds on a clock that never goes back. */
  readonly monotonic: () => number;
};

const samplesKept = 8;

/** A clock that has not seen Redis yet. */
export function createRedisClock(
  monotonic: () => number = () => performance.now(),
  wall: () => number = Date.now,
): RedisClock {
  const samples: { readonly offset: number; readonly wayMs: number }[] = [];
  let offset = wall() - monotonic();
  return {
    now: () => Math.round(monotonic() + offset),
    monotonic,
    learn(answer, askedAt) {
      const there = millisecondsOf(answer);
      if (there === null) return;
      const arrivedAt = monotonic();
      samples.push({ offset: there - (askedAt + arrivedAt) / 2, wayMs: arrivedAt - askedAt });
      if (samples.length > samplesKept) samples.shift();
      offset = samples.reduce((best, one) => (one.wayMs <= best.wayMs ? one : best)).offset;
    },
  };
}

function millisecondsOf(answer: unknown): number | null {
  if (!Array.isArray(answer)) return null;
  const [seconds, microseconds] = answer.map(Number);
  if (seconds === undefined || microseconds === undefined) return null;
  const there = seconds * 1000 + microseconds / 1000;
  return Number.isFinite(there) ? there : null;
}
