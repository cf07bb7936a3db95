/**
 * remote-takers — takes jobs of the queues that this worker serves, and leaves them while only others can do them.
 *
 * Hides when: a scanner that does not answer fails jobs faster than a good one does them, so its worker would get them all.
 * While another living worker has one that answers it takes none; where all are away it goes on, and says `unchecked`.
 */
import { openTaker, type Taker } from './bull.ts';
import type { QueueName } from './job.ts';
import type { Log } from './log.ts';
import type { Patience } from './patience.ts';
import type { Presence } from './presence.ts';
import type { Redis } from './redis.ts';
import type { ScannerWatch } from './remote-scanners.ts';
import type { Work } from './remote-work.ts';

export type Takers = {
  /** Takes or leaves the jobs of each queue, as things stand. */
  readonly decide: () => Promise<void>;
  /** Takes no more; resolves when what runs is done, or where Redis is away and nothing runs. Then nobody waits for its octets. */
  readonly close: (atMostMs: number) => Promise<void>;
};

type Options = {
  readonly id: string;
  readonly queues: readonly QueueName[];
  readonly concurrency: Readonly<Record<QueueName, number>>;
  readonly redis: Redis;
  readonly prefix: string;
  readonly work: Work;
  readonly scanners: ScannerWatch;
  readonly presence: Presence;
  readonly patience: Patience;
  readonly log: Log;
};

/** Begins to take jobs. */
export function openTakers(options: Options): Takers {
  const { queues, concurrency, redis, prefix, work, presence, patience, log } = options;
  const takers = queues.map((queue) => ({
    queue,
    leaves: false,
    taker: openTaker({
      queue,
      redis,
      prefix,
      concurrency: concurrency[queue],
      onJob: (data, deaths) => work.take(queue, data, deaths),
      log,
    }),
  }));
  return {
    async decide() {
      for (const one of takers) await takeOrLeave(one, options);
    },
    async close(atMostMs) {
      const done = Promise.all(takers.map(({ taker }) => taker.close()));
      const { promise: enough, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, atMostMs);
      const looks = setInterval(() => {
        if (presence.isUp()) return;
        patience.end();
        // A taker can't tell Redis goodbye, and must not wait for that.
        if (queues.every((queue) => work.running(queue) === 0)) resolve();
      }, 100);
      await Promise.race([done, enough]);
      clearTimeout(timer);
      clearInterval(looks);
    },
  };
}

async function takeOrLeave(
  one: { readonly queue: QueueName; readonly taker: Taker; leaves: boolean },
  { id, scanners, presence, log }: Options,
): Promise<void> {
  const { queue, taker } = one;
  const { ok, detail } = scanners.state(queue);
  const { workers } = presence.seen();
  const leaves = !ok && workers.some((worker) => worker.id !== id && worker[queue]?.ok === true);
  if (leaves === one.leaves) return;
  one.leaves = leaves;
  if (leaves) {
    log.error({ queue, detail, alarm: true }, 'Scanner does not answer: its jobs are left to other workers');
    await taker.pause();
  } else {
    log.info({ queue }, 'Taking jobs again');
    await taker.resume();
  }
}
