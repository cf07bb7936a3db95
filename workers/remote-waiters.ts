/**
 * remote-waiters — who waits for which job, and what became of it.
 *
 * Hides the guard against mixed-up verdicts: a result counts only where job, message id, digest and kind of answer are those
 * of a waiter; anything else is an alarm and dropped. Every waiter is settled exactly once, however many want to.
 */
import { bulkOf } from './fair-priority.ts';
import { type Checked, type Job, type Need, parseResult, type QueueName } from './job.ts';
import type { Log } from './log.ts';

/** What became of one job. `gone`: Redis lost it. `refused`: Redis did not take it. `idle`: no worker lives to take it. */
export type Ended<A> =
  | { readonly kind: 'answer'; readonly answer: A; readonly worker: string }
  | { readonly kind: 'away' | 'gone' | 'idle' | 'aborted' }
  | { readonly kind: 'refused'; readonly detail: string };

type Why = Exclude<Ended<never>, { kind: 'answer' }>;

export type Waiter = {
  readonly queue: QueueName;
  readonly job: Job;
  /** Monotonic milliseconds. */
  readonly since: number;
  /** Round of virtual time in which it was given its priority. */
  round: number;
  /** A worker has it, or had it. */
  started: boolean;
  /** How often in a row Redis did not know the job. */
  missing: number;
  readonly settle: (why: Why) => void;
};

export type Waiters = {
  readonly wait: <A>(
    about: { queue: QueueName; job: Job; round: number; accept: (outcome: unknown) => Checked<A | Need> },
    signal: AbortSignal,
  ) => { readonly waiter: Waiter; readonly ended: Promise<Ended<A | Need>> };
  /** A result as it came. */
  readonly deliver: (text: string) => void;
  readonly all: () => Iterable<Waiter>;
  readonly settleAll: (why: Why) => void;
  /** How many jobs wait in the queue that count as the same sender's. */
  readonly waitingOf: (queue: QueueName, job: Pick<Job, 'task' | 'sender'>) => number;
};

type Entry = Waiter & { readonly deliver: (outcome: unknown, worker: string) => string | null };

/** Nobody waits yet. `now`: monotonic milliseconds. */
export function createWaiters(log: Log, now: () => number = () => performance.now()): Waiters {
  const entries = new Map<string, Entry>();
  const bySender = new Map<string, number>();

  const nameOf = (queue: QueueName, job: Pick<Job, 'task' | 'sender'>) => `${queue} ${bulkOf(job)}`;
  const count = (queue: QueueName, job: Job, by: 1 | -1): void => {
    const name = nameOf(queue, job);
    const left = (bySender.get(name) ?? 0) + by;
    if (left === 0) bySender.delete(name);
    else bySender.set(name, left);
  };

  return {
    wait<A>(
      about: { queue: QueueName; job: Job; round: number; accept: (outcome: unknown) => Checked<A | Need> },
      signal: AbortSignal,
    ) {
      const { queue, job, round, accept } = about;
      const { promise: ended, resolve } = Promise.withResolvers<Ended<A | Need>>();
      const end = (how: Ended<A | Need>): void => {
        if (!entries.delete(job.jobId)) return;
        signal.removeEventListener('abort', stop);
        count(queue, job, -1);
        resolve(how);
      };
      const stop = () => end({ kind: 'aborted' });
      const entry: Entry = {
        queue,
        job,
        since: now(),
        round,
        started: false,
        missing: 0,
        settle: end,
        deliver(outcome, worker) {
          const checked = accept(outcome);
          if (!checked.ok) return checked.problems;
          end({ kind: 'answer', answer: checked.value, worker });
          return null;
        },
      };
      entries.set(job.jobId, entry);
      count(queue, job, 1);
      if (signal.aborted) stop();
      else signal.addEventListener('abort', stop, { once: true });
      return { waiter: entry, ended };
    },

    deliver(text) {
      const problem = deliverTo(entries, text);
      if (problem !== null) log.error({ ...problem, alarm: true }, 'Dropped a result that is not ours');
    },
    all: () => [...entries.values()],
    settleAll(why) {
      for (const entry of entries.values()) entry.settle(why);
    },
    waitingOf: (queue, job) => bySender.get(nameOf(queue, job)) ?? 0,
  };
}

/** What is wrong with the result, or null: it was delivered, or nobody waits for it any more. */
function deliverTo(entries: ReadonlyMap<string, Entry>, text: string): object | null {
  const parsed = parseResult(text);
  if (!parsed.ok) return { problems: parsed.problems };
  const { jobId, spoolId, sha256, worker, outcome } = parsed.value;
  const entry = entries.get(jobId);
  if (entry === undefined) return null;
  const { job } = entry;
  if (job.spoolId !== spoolId || job.sha256 !== sha256)
    return { jobId, worker, problems: `speaks of ${spoolId}, asked was ${job.spoolId}` };
  const problems = entry.deliver(outcome, worker);
  return problems === null ? null : { jobId, worker, problems };
}
