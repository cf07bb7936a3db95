/**
 * remote-watch — looks after those who wait: once a second, for as long as Redis is there.
 *
 * Hides how a job is found to be lost (Redis did not know it twice in a row), and that a queue without a living worker is as
 * good as away. When Redis goes everybody who waits is settled at once; when it comes back, or lost a job, what it may have
 * forgotten is set again.
 */
import type { Jobs } from './bull.ts';
import { roundOf } from './fair-priority.ts';
import { type QueueName, queueNames } from './job.ts';
import type { Log } from './log.ts';
import type { Presence } from './presence.ts';
import type { Cancel } from './remote-cancel.ts';
import type { Waiter, Waiters } from './remote-waiters.ts';

export type Watch = {
  /** Why a job would not be taken now; null where it would. */
  readonly hindrance: (queue: QueueName) => string | null;
  /** Redis went or came back. */
  readonly change: (isUp: boolean) => void;
  readonly close: () => void;
};

const everyMs = 1_000;
/** A job that has no result after so long is looked for. */
const suspectMs = 2_000;
const missingMax = 2;
/** A queue without a worker for this long is one that nobody serves; a restart is shorter. */
const idleMs = 5_000;

/** Begins to look. */
export function createWatch(options: {
  jobs: Jobs;
  waiters: Waiters;
  cancel: Cancel;
  presence: () => Pick<Presence, 'isUp' | 'clock' | 'seen'>;
  log: Log;
}): Watch {
  const { jobs, waiters, cancel, presence, log } = options;
  const idle = createIdle();
  let looking = false;

  const prepare = (): void => {
    jobs.prepare().catch((cause: unknown) => log.debug({ err: cause }, 'Cannot prepare the queues'));
  };
  const look = async (): Promise<void> => {
    const now = performance.now();
    const suspects = [...waiters.all()].filter(({ since }) => now - since >= suspectMs);
    if (suspects.length === 0) return;
    const states = await jobs.states(suspects.map(({ queue, job }) => ({ queue, jobId: job.jobId })));
    let isEmptied = false;
    for (const [at, waiter] of suspects.entries()) {
      waiter.started ||= states[at] === 'started';
      waiter.missing = states[at] === 'gone' ? waiter.missing + 1 : 0;
      if (waiter.missing < missingMax) continue;
      isEmptied = true;
      waiter.settle({ kind: 'gone' });
    }
    if (isEmptied) prepare();
    const round = roundOf(presence().clock.now());
    await putFirst(
      jobs,
      suspects.filter((waiter) => waiter.round !== round && !waiter.started),
      round,
    );
  };
  const tick = (): void => {
    if (!presence().isUp()) return;
    idle.note(presence().seen());
    for (const waiter of waiters.all())
      if (!waiter.started && idle.has(waiter.queue)) waiter.settle({ kind: 'idle' });
    if (looking) return;
    looking = true;
    look()
      .catch((cause: unknown) => log.debug({ err: cause }, 'Cannot look for jobs'))
      .finally(() => (looking = false));
  };
  const timer = setInterval(tick, everyMs);

  return {
    hindrance(queue) {
      if (!presence().isUp()) return 'Redis is away';
      idle.note(presence().seen());
      return idle.has(queue) ? `no worker for ${queue} is alive` : null;
    },
    change(isUp) {
      if (!isUp) return waiters.settleAll({ kind: 'away' });
      idle.forget();
      prepare();
      cancel.again();
    },
    close: () => clearInterval(timer),
  };
}

/** Virtual time has gone round: who waits since before would wait for everybody who comes after. */
async function putFirst(jobs: Jobs, waiting: readonly Waiter[], round: number): Promise<void> {
  for (const waiter of waiting) {
    waiter.round = round;
    await jobs.reorder(waiter.queue, waiter.job.jobId, 1);
  }
}

/** Which queues nobody has served for some time. */
function createIdle() {
  const since = new Map<QueueName, number>();
  return {
    note({ workers }: ReturnType<Presence['seen']>): void {
      for (const queue of queueNames) {
        if (workers.some((worker) => worker[queue] !== null)) since.delete(queue);
        else if (!since.has(queue)) since.set(queue, performance.now());
      }
    },
    has(queue: QueueName): boolean {
      const at = since.get(queue);
      return at !== undefined && performance.now() - at >= idleMs;
    },
    forget: (): void => since.clear(),
  };
}
