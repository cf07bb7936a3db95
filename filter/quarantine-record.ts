/**
 * quarantine-record — what stands in the two small files of a held item: item.json and states.jsonl.
 *
 * item.json is written once and says all that is known of the message; states.jsonl gets a line per change of a
 * recipient's state, so that the databases can be rebuilt from the folders alone. Both are checked by zod when they
 * are read, since years and other hands may lie between. A line cut short by a crash never happened.
 */
import { z } from 'zod';
import type { HeldUnder } from '../rules/decide.ts';
import type { Envelope, ScanReport } from '../rules/mail.ts';
import { PermFail } from '../workers/fail.ts';
import { reasonShape } from '../workers/job.ts';

/** A quarantineId: 128 random bits in hex; the only form that is ever put into a path. */
export const quarantineIdPattern = /^[0-9a-f]{32}$/;

export const recipientStates = [
  'held',
  'releasing',
  'released',
  'unconfirmed',
  'deleted',
  'expired',
  'moving',
  'moved',
] as const;
/** State of one recipient's held copy; `moving` and `moved` on a backup, whose primary gets what it held. */
export type RecipientState = (typeof recipientStates)[number];

const recipient = z.object({
  address: z.string(),
  notify: z.string().nullable(),
  orcpt: z.string().nullable(),
});

const envelope = z.object({
  sender: z.string(),
  body: z.enum(['7BIT', '8BITMIME']).nullable(),
  smtputf8: z.boolean(),
  ret: z.string().nullable(),
  envid: z.string().nullable(),
  recipients: z.array(recipient),
  xforward: z.record(z.string(), z.string()),
}) satisfies z.ZodType<Envelope>;

const unchecked = z.object({ kind: z.literal('unchecked'), reason: reasonShape, detail: z.string() });
const ruleHit = z.object({ name: z.string(), score: z.number(), description: z.string().nullable() });

const report = z.object({
  virus: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('clean') }),
    z.object({ kind: z.literal('infected'), name: z.string() }),
    unchecked,
    z.object({ kind: z.literal('off') }),
  ]),
  spam: z.discriminatedUnion('kind', [
    z.object({
      kind: z.literal('scored'),
      score: z.number(),
      tests: z.array(ruleHit),
      truncated: z.boolean(),
      ignored: z.array(ruleHit),
    }),
    unchecked,
    z.object({ kind: z.literal('off') }),
  ]),
  virusMs: z.number(),
  spamMs: z.number(),
}) satisfies z.ZodType<ScanReport>;

const disposition = z.object({
  kind: z.enum(['deliver', 'quarantine', 'discard', 'defer']),
  verdict: z.enum(['clean', 'spam', 'virus', 'unchecked']),
  why: z.string(),
  marks: z.object({
    spam: z.enum(['none', 'score', 'flag', 'unchecked']),
    score: z.number().nullable(),
    required: z.number().nullable(),
    tests: z.array(ruleHit),
    spamReason: reasonShape.nullable(),
    virus: z.union([z.enum(['clean', 'none']), reasonShape]),
    subjectTag: z.string().nullable(),
  }),
  alarm: z.boolean(),
});

const threshold = z.object({ value: z.number().nullable(), origin: z.string() });
const heldUnder = z.object({
  thresholds: z.object({ tag: threshold, spam: threshold, quarantine: threshold, discard: threshold }),
  retentionDays: z.object({ value: z.number(), origin: z.string() }),
}) satisfies z.ZodType<HeldUnder>;

/**
 * One recipient whose copy is held; `disposition` counts into the record's dispositions, `policy` into its policies (items
 * of before there were any have none). Times are epoch milliseconds.
 */
const slot = z.object({
  recipient,
  ledgerKey: z.string().nullable(),
  disposition: z.number().int().nonnegative(),
  policy: z.number().int().nonnegative().optional(),
  expiresAt: z.number(),
});

const itemRecord = z.object({
  format: z.literal(1),
  quarantineId: z.string().regex(quarantineIdPattern),
  heldAt: z.number(),
  receivedAt: z.number(),
  queueId: z.string().nullable(),
  direction: z.enum(['inbound', 'outbound']),
  sizeBytes: z.number().int().nonnegative(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  facts: z.object({
    from: z.string().nullable(),
    subject: z.string().nullable(),
    messageId: z.string().nullable(),
  }),
  envelope,
  report,
  dispositions: z.array(disposition).min(1),
  policies: z.array(heldUnder).optional(),
  slots: z.array(slot).min(1),
  /** Where it was held first, and when it came from there; not there in what was held here. */
  movedFrom: z.object({ node: z.string(), at: z.number() }).optional(),
});

/** What item.json says. */
export type ItemRecord = z.infer<typeof itemRecord>;

const stateChange = z.object({
  slot: z.number().int().nonnegative(),
  from: z.enum(recipientStates),
  to: z.enum(recipientStates),
  actor: z.string(),
  at: z.number(),
  owner: z.string(),
  queueIdOut: z.string().nullable(),
});

/** An item as its folder tells it: what item.json says, and all changes of state since. */
export const itemStory = z.object({ record: itemRecord, changes: z.array(stateChange) });
export type ItemStory = z.infer<typeof itemStory>;

/** One change of one recipient's state: who, when, by which process, and the return smtpd's queue id where it gave one. */
export type StateChange = z.infer<typeof stateChange>;

/** The text of item.json; lone surrogates of odd addresses stay as JSON escapes, so nothing is lost. */
export function formatRecord(record: ItemRecord): string {
  return `${JSON.stringify(record, null, 1)}\n`;
}

/** The record in the text of an item.json; PermFail that names `path` and every problem where it is none. */
export function parseRecord(text: string, path: string): ItemRecord {
  const parsed = itemRecord.safeParse(jsonOf(text));
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  throw new PermFail(`Cannot read ${path}: ${problems.slice(0, 5).join('; ')}`, { cause: parsed.error });
}

/** Lines for states.jsonl; each begins with a line end too, so that it stands clear of one that a crash cut short. */
export function formatChanges(changes: readonly StateChange[]): string {
  return changes.map((change) => `\n${JSON.stringify(change)}\n`).join('');
}

/** All whole lines of a states.jsonl, in order. */
export function parseChanges(text: string): StateChange[] {
  return text.split('\n').flatMap((line) => {
    const parsed = stateChange.safeParse(line === '' ? undefined : jsonOf(line));
    return parsed.success ? [parsed.data] : [];
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // What is no JSON fails the schema as `undefined` does.
    return undefined;
  }
}
