/**
 * remote-ask — one question about one message, asked of whichever worker takes the job.
 *
 * Hides the job's ways to go wrong: a worker without the octets gets them another way; a job that Redis lost is added again
 * under a new id; a scanner that is away at one worker is asked for at others, three times at most. What nobody took, or no
 * worker has a scanner for that answers, is told as `untaken`, and whether a worker may have begun with it: only what nobody
 * touched is safe to scan elsewhere.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Unchecked } from '../rules/mail.ts';
import type { Leasable, Lease } from './bytes-lease.ts';
import type { Jobs } from './bull.ts';
import { abortedBy } from './exchange.ts';
import { TempFail } from './fail.ts';
import { priorityOf, roundOf } from './fair-priority.ts';
import type { Checked, Job, JobBytes, Need, QueueName, Task } from './job.ts';
import type { Log } from './log.ts';
import type { Presence } from './presence.ts';
import type { Cancel } from './remote-cancel.ts';
import type { Ended, Waiters } from './remote-waiters.ts';
import type { Watch } from './remote-watch.ts';

/** What is asked, and which outcomes answer it. */
export type Question<A> = {
  readonly queue: QueueName;
  readonly task: Task;
  readonly message: Leasable & { readonly sha256: string };
  readonly queueId: string | null;
  readonly sender: string;
  readonly accept: (outcome: unknown) => Checked<A | Need>;
};

export type Asked<A> =
  | { readonly kind: 'answered'; readonly answer: A | Unchecked }
  | { readonly kind: 'untaken'; readonly detail: string; readonly started: boolean };

export type Ask = <A extends object>(
  question: Question<A>,
  lease: Lease,
  /** Monotonic milliseconds: the job's deadline; `signal` fires then, or earlier. */
  deadline: number,
  signal: AbortSignal,
) => Promise<Asked<A>>;

/** What the questions of a process have in common. */
export type AskOptions = {
  readonly instance: string;
  readonly jobs: Jobs;
  readonly waiters: Waiters;
  readonly watch: Watch;
  readonly cancel: Cancel;
  readonly presence: Pick<Presence, 'isUp' | 'clock' | 'seen'>;
  readonly log: Log;
};

/** How often a job that Redis lost, or that no worker could read, is added again. */
const againMax = 2;
const noWay =
  'no way to get its octets to a worker: share the spool, raise redis.messageBytesMax, or set redis.fetch';
/** How often the answer of a worker without its scanner is not taken while another has one. */
const elsewhereMax = 3;
const elsewherePauseMs = 250;
/** Octets in Redis outlive the job's deadline by this much. */
const bytesGraceMs = 10_000;

/** Asks over these queues. Rejects (TempFail) only where the message itself can't be read. */
export function createAsk(options: AskOptions): Ask {
  return async (question, lease, deadline, signal) => {
    const tally = { failed: null, lost: 0, unread: 0, elsewhere: 0, started: false };
    const asking = { question, lease, deadline, signal, tally, ...options };
    for (;;) {
      const asked = await attempt(asking);
      if (asked !== null) return asked;
    }
  };
}

/** `failed`: how the octets did not get there. `started`: a worker began with a job of this question and gave no answer. */
type Tally = { failed: JobBytes | null; lost: number; unread: number; elsewhere: number; started: boolean };

type Asking<A> = AskOptions & {
  readonly question: Question<A>;
  readonly lease: Lease;
  readonly deadline: number;
  readonly signal: AbortSignal;
  readonly tally: Tally;
};

/** One job; null where another one is worth it. */
async function attempt<A extends object>(asking: Asking<A>): Promise<Asked<A> | null> {
  const { question, signal, watch } = asking;
  if (signal.aborted) return { kind: 'answered', answer: stopped(asking) };
  const hindrance = watch.hindrance(question.queue);
  if (hindrance !== null) return untaken(asking, hindrance);
  const way = await wayTo(asking);
  if (signal.aborted) return { kind: 'answered', answer: stopped(asking) };
  if (typeof way === 'string') return untaken(asking, way);
  return conclude(asking, way, await once(asking, way));
}

/** How the octets go, or why they can't. A Redis that does not take a small message shows when the job is added. */
async function wayTo<A>(asking: Asking<A>): Promise<JobBytes | string> {
  const { question, lease, deadline, signal, tally, presence, instance } = asking;
  const expiresMs = Math.max(1, Math.ceil(deadline - performance.now())) + bytesGraceMs;
  const shared = isShared(presence, question.queue, instance);
  try {
    return (await lease.way({ shared, failed: tally.failed, expiresMs }, signal)) ?? noWay;
  } catch (cause) {
    if (cause instanceof TempFail) throw cause;
    return cause instanceof Error ? cause.message : String(cause);
  }
}

/** One job, from its birth to its end. */
async function once<A>(asking: Asking<A>, bytes: JobBytes): Promise<Ended<A | Need>> {
  const { question, deadline, signal, tally, instance, jobs, waiters, presence, cancel } = asking;
  const { queue, task, message, queueId, sender, accept } = question;
  const arrivalMs = presence.clock.now();
  const { spoolId, sizeBytes, sha256 } = message;
  const job: Job = {
    jobId: randomUUID(),
    instance,
    task,
    spoolId,
    sizeBytes,
    sha256,
    queueId,
    sender,
    deadline: arrivalMs + Math.max(1, Math.ceil(deadline - performance.now())),
    bytes,
  };
  const waitingOfSender = waiters.waitingOf(queue, job);
  const { waiter, ended } = waiters.wait({ queue, job, round: roundOf(arrivalMs), accept }, signal);
  const priority = priorityOf({ arrivalMs, sizeBytes, waitingOfSender });
  const added = jobs.add(queue, job, { priority, arrivalMs });
  added.catch((cause: unknown) => {
    waiter.settle({ kind: 'refused', detail: cause instanceof Error ? cause.message : String(cause) });
  });
  const how = await ended;
  if (how.kind === 'answer') return how;
  tally.started ||= waiter.started;
  // Of one that is lost, half may still be there (an eviction), and then stays for ever.
  cancel.job(queue, job.jobId);
  return how;
}

async function conclude<A extends object>(
  asking: Asking<A>,
  way: JobBytes,
  ended: Ended<A | Need>,
): Promise<Asked<A> | null> {
  const { question, tally, watch } = asking;
  switch (ended.kind) {
    case 'answer':
      return judge(asking, way, ended.answer, ended.worker);
    case 'aborted':
      return { kind: 'answered', answer: stopped(asking) };
    case 'refused':
      return untaken(asking, ended.detail);
    case 'away':
    case 'idle':
      return untaken(asking, watch.hindrance(question.queue) ?? 'Redis was away');
    case 'gone':
      if (++tally.lost > againMax) return untaken(asking, 'Redis loses its jobs');
      // With the job it forgot the octets that it had; those elsewhere are still there.
      if (way.kind === 'redis') tally.failed = way;
      return null;
    default:
      return ended satisfies never;
  }
}

/** Whether a worker's word is the last one. */
async function judge<A extends object>(
  asking: Asking<A>,
  way: JobBytes,
  answer: A | Need,
  worker: string,
): Promise<Asked<A> | null> {
  const { question, tally, signal, log } = asking;
  if (isNeed(answer)) {
    log.info({ worker, detail: answer.detail, bytes: way.kind }, 'A worker could not read a message');
    if (++tally.unread > againMax) return untaken(asking, answer.detail);
    tally.failed = way;
    return null;
  }
  if (!isAway(answer)) return { kind: 'answered', answer };
  // No octet came to a scanner: the one of this process may be asked.
  if (!hasOther(asking, question.queue, worker) || ++tally.elsewhere > elsewhereMax)
    return { kind: 'untaken', detail: answer.detail, started: tally.started };
  // The same one may be quicker again, until it knows of its trouble and leaves the jobs to others.
  await pause(elsewherePauseMs, signal);
  return null;
}

/** Every living worker of the queue has proved that it shares our spool; where none is known, the first will tell. */
function isShared(presence: AskOptions['presence'], queue: QueueName, instance: string): boolean {
  const serving = presence.seen().workers.filter((worker) => worker[queue] !== null);
  return serving.every((worker) => worker.spools.includes(instance));
}

function hasOther({ presence }: AskOptions, queue: QueueName, asked: string): boolean {
  return presence.seen().workers.some(({ id, [queue]: scanner }) => id !== asked && scanner?.ok === true);
}

function untaken<A>(
  { question, tally: { started } }: Asking<A>,
  why: string,
): { kind: 'untaken'; detail: string; started: boolean } {
  return { kind: 'untaken', detail: `No worker answered for ${question.queue}: ${why}`, started };
}

/** A deadline that passed while nobody had the job says nothing of the message. */
function stopped<A>({ signal, tally: { started } }: Asking<A>): Unchecked {
  const aborted = abortedBy(signal);
  if (aborted.reason !== 'timeout' || started) return aborted;
  return { kind: 'unchecked', reason: 'busy', detail: 'No worker was free before the deadline' };
}

/** Ends early with the signal. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => undefined /* the loop sees the signal */);
}

function isNeed(answer: object): answer is Need {
  return 'kind' in answer && answer.kind === 'need';
}

function isAway(answer: object): answer is Unchecked {
  return 'reason' in answer && answer.reason === 'unreachable';
}
