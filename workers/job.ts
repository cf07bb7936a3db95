/**
 * job — what crosses Redis between filter and worker: a job, its result, and the names of the keys.
 *
 * Both are checked where they arrive: whatever else writes into this Redis is foreign. A job never holds message octets; it
 * says where to get them and what their size and digest must be. A result says of which message it speaks, so that no
 * verdict is ever given to another one (FACTS, "bullmq").
 */
import { z } from 'zod';
import type { Reason, SpamResult, VirusResult } from '../rules/mail.ts';
import type { LearnAs, LearnResult } from './spamd.ts';

/** Octets of a message up to this size share a connection with jobs and signs of life; larger ones have their own. */
export const sharedBytesMax = 65_536;

/** The two queues: each kind of worker scales on its own. */
export const queueNames = ['virus', 'spam'] as const;
export type QueueName = (typeof queueNames)[number];

const hex64 = z.string().regex(/^[0-9a-f]{64}$/);

/** Where the octets are. `spool`: in a folder that both see, proved by its marker; `redis`: in pieces under `key`. */
const bytesShape = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('spool'),
    folder: z.string().regex(/^\d{1,10}-[0-9a-f]{8}$/),
    marker: hex64,
  }),
  z.strictObject({ kind: z.literal('redis'), key: z.uuid(), pieces: z.int().min(0).max(100_000) }),
  z.strictObject({
    kind: z.literal('fetch'),
    host: z.string().min(1).max(255),
    port: z.int().min(1).max(65_535),
    token: hex64,
  }),
]);

const jobShape = z.strictObject({
  jobId: z.uuid(),
  /** The filter that waits for the result; names its stream. */
  instance: z.uuid(),
  task: z.enum(['scan', 'learn spam', 'learn ham', 'learn forget']),
  // An id, never a path: it names a file where the spool is shared.
  spoolId: z.string().regex(/^[0-9a-f]{32}$/),
  sizeBytes: z.int().nonnegative(),
  sha256: hex64,
  queueId: z.string().max(255).nullable(),
  sender: z.string().max(4096),
  /** Redis' clock, epoch milliseconds. */
  deadline: z.int().positive(),
  bytes: bytesShape,
});

export type Job = z.infer<typeof jobShape>;
export type JobBytes = z.infer<typeof bytesShape>;
export type Task = Job['task'];

/** `need`: this worker can't get the octets the way that the job says. */
export type Outcome = VirusResult | SpamResult | LearnResult | Need;
export type Need = { readonly kind: 'need'; readonly detail: string };

/** Every Reason there is, for whoever reads one from outside. */
export const reasonShape = z.enum([
  'unreachable',
  'busy',
  'timeout',
  'protocol',
  'failed',
  'cancelled',
  'encrypted',
  'overLimit',
  'ambiguous',
  'poison',
]) satisfies z.ZodType<Reason>;

const uncheckedShape = z.strictObject({
  kind: z.literal('unchecked'),
  reason: reasonShape,
  detail: z.string(),
});
const needShape = z.strictObject({ kind: z.literal('need'), detail: z.string() });
const hitShape = z.strictObject({
  name: z.string(),
  score: z.number(),
  description: z.string().nullable(),
});

const virusShape = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('clean') }),
  z.strictObject({ kind: z.literal('infected'), name: z.string() }),
  uncheckedShape,
  needShape,
]);
const spamShape = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('scored'),
    score: z.number(),
    tests: z.array(hitShape),
    truncated: z.boolean(),
    ignored: z.array(hitShape),
  }),
  uncheckedShape,
  needShape,
]);
const learnShape = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('learned') }),
  z.strictObject({ kind: z.literal('unchanged'), detail: z.string() }),
  z.strictObject({ kind: z.literal('disabled'), detail: z.string() }),
  uncheckedShape,
  needShape,
]);

const resultShape = z.strictObject({
  jobId: z.uuid(),
  spoolId: z.string(),
  sha256: hex64,
  /** Which worker says so. */
  worker: z.string().max(255),
  outcome: z.looseObject({ kind: z.string() }),
});

export type UncheckedResult = z.infer<typeof resultShape>;
export type Result = Omit<UncheckedResult, 'outcome'> & { readonly outcome: Outcome };

/** Data from outside: as it should be, or what is wrong with it. */
export type Checked<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problems: string };

/** A job out of a queue. */
export function parseJob(value: unknown): Checked<Job> {
  return checked(jobShape.safeParse(value));
}

/** A result out of a stream; its outcome is not checked yet. */
export function parseResult(text: string): Checked<UncheckedResult> {
  return checked(resultShape.safeParse(jsonOf(text)));
}

/** The outcome of a result as the answer to each kind of question; what answers another one is foreign. */
export const outcomeOf = {
  virus: (outcome: unknown): Checked<VirusResult | Need> => checked(virusShape.safeParse(outcome)),
  spam: (outcome: unknown): Checked<SpamResult | Need> => checked(spamShape.safeParse(outcome)),
  learn: (outcome: unknown): Checked<LearnResult | Need> => checked(learnShape.safeParse(outcome)),
} as const;

/** What a job's `task` teaches; null for a scan. */
export function learnAsOf(task: Task): LearnAs | null {
  switch (task) {
    case 'scan':
      return null;
    case 'learn spam':
      return 'spam';
    case 'learn ham':
      return 'ham';
    case 'learn forget':
      return 'forget';
    default:
      return task satisfies never;
  }
}

/** The keys that are ours; BullMQ has its own under `<prefix>:virus` and `<prefix>:spam`. */
export function keysOf(prefix: string) {
  return {
    /** Entries of one field: `result`, or `alive` from the reader itself. */
    results: (instance: string) => `${prefix}:results:${instance}`,
    bytes: (key: string, piece: number) => `${prefix}:bytes:${key}:${piece}`,
    /** How often a job began after a worker had died with it. */
    begun: (jobId: string) => `${prefix}:begun:${jobId}`,
    cancel: `${prefix}:cancel`,
  };
}

function checked<T>(parsed: z.ZodSafeParseResult<T>): Checked<T> {
  if (parsed.success) return { ok: true, value: parsed.data };
  const problems = parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  return { ok: false, problems: problems.join('; ') };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // no shape takes it
  }
}
