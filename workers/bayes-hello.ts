/**
 * bayes-hello — what two nodes tell each other before anything is carried, and what is wrong with it.
 *
 * Hides the JSON of heads and its checks: another machine's words are outside data. Judging is pure: what must not be carried is a
 * refusal with its remedy, what only makes a difference is a warning.
 */
import { z } from 'zod';
import type { Config } from '../rules/config.ts';
import type { BayesStatus, Received } from './bayes.ts';
import { markShape } from './bayes-mark.ts';
import { type Counts, countsShape } from './bayes-record.ts';
import { type BayesFail, failed, refused } from './bayes-step.ts';
import type { Mark } from './bayes-store.ts';

const count = z.int().nonnegative();
const shortText = z.string().max(255);

const helloShape = z.object({
  host: shortText,
  role: z.enum(['primary', 'backup']),
  /** Of Sluice and of SpamAssassin. */
  sluice: shortText,
  spamassassin: shortText,
  store: z.enum(['files', 'postgres', 'redis']),
  /** Epoch milliseconds, as this was written. */
  clock: count,
  /** Of the live database; null: there is none. */
  counts: countsShape.nullable(),
  current: markShape.nullable(),
  previous: markShape.nullable(),
  /** What SpamAssassin's configuration says of Bayes; a Sluice that does not know it yet says nothing. */
  settings: z.record(z.string().max(64), z.string().max(2000).nullable()).default({}),
  /** Postfix's; null: there is none, or a Sluice that does not tell it yet. */
  messageSizeLimit: count.nullable().default(null),
  /** The newest snapshot that was exported there. */
  exported: z.object({ snapshotId: count, takenAt: count }).nullable(),
});

/** What a node says of itself. */
export type Hello = Readonly<z.infer<typeof helloShape>>;

const restoredShape = z.object({
  kind: z.enum(['restored', 'already']),
  current: markShape,
  counts: countsShape.nullable(),
  warnings: z.array(z.string().max(2000)).max(100),
});

/** What became of a bundle: `current` as it was counted before the switch, `counts` as the live database says after it. */
export type RestoredThere = Readonly<z.infer<typeof restoredShape>>;

const bundleShape = z.object({ host: shortText, force: z.boolean() });
const snapshotShape = z.object({ newestSeen: count });

const minute = 60_000;

/** What this node says. */
export function helloOf(
  status: BayesStatus,
  own: Pick<Hello, 'role' | 'host' | 'sluice' | 'clock' | 'settings' | 'messageSizeLimit'>,
): Hello {
  const { store, spamassassin, counts, standing, exported } = status;
  const newest = exported[0]?.manifest;
  return {
    ...own,
    spamassassin,
    store,
    counts,
    current: standing.current?.mark ?? null,
    previous: standing.previous?.mark ?? null,
    exported: newest === undefined ? null : { snapshotId: newest.snapshotId, takenAt: newest.takenAt },
  };
}

/** What the other node said; throws BayesFail. */
export function readHello(head: unknown): Hello {
  return read(helloShape, head);
}

/** What became of a bundle there; throws BayesFail. */
export function readRestored(head: unknown): RestoredThere {
  return read(restoredShape, head);
}

/** The parameters of a bundle; throws BayesFail. */
export function readBundleParameters(parameters: unknown): Readonly<z.infer<typeof bundleShape>> {
  return read(bundleShape, parameters);
}

/** The parameters of a question for a snapshot; throws BayesFail. */
export function readSnapshotParameters(parameters: unknown): Readonly<z.infer<typeof snapshotShape>> {
  return read(snapshotShape, parameters);
}

/** The answer to a bundle. */
export function restoredHead(received: Received): RestoredThere {
  const { kind, current, counts, companions } = received;
  const warnings = [...(kind === 'restored' ? received.warnings : []), ...companions.warnings];
  return { kind, current, counts: countsNow(current, counts), warnings };
}

/** Redis does not count its tokens: those of the snapshot stand for them. */
export function countsNow(current: Mark, counts: Counts | null): Counts | null {
  if (counts === null || counts.tokens > 0) return counts;
  return { ...counts, tokens: current.tokens };
}

/** What differs between two nodes and may matter; throws BayesFail where nothing must be carried. `askedAt` and `now` by our clock. */
export function judgeHello(
  { role, sluice, spamassassin }: { role: Config['role']; sluice: string; spamassassin: string },
  there: Hello,
  node: string,
  { askedAt, now }: { askedAt: number; now: number },
): string[] {
  if (there.role === role) {
    const remedy = `write role: ${role === 'primary' ? 'backup' : 'primary'} into sluice.yaml there, or correct the name of the node here`;
    throw refused('connect', `Cannot go on with ${node}: it is a ${there.role}, as this node is`, remedy);
  }
  const warnings: string[] = [];
  if (there.sluice !== sluice) warnings.push(`Sluice ${sluice} here, ${there.sluice} on ${node}`);
  if (seriesOf(there.spamassassin) !== seriesOf(spamassassin))
    warnings.push(
      `SpamAssassin ${spamassassin} here, ${there.spamassassin} on ${node}: they may see other tokens`,
    );
  // Its clock was read at some time between question and answer.
  const ahead = Math.max(there.clock - now, askedAt - there.clock, 0);
  if (ahead > minute) warnings.push(`the clock of ${node} is ${Math.round(ahead / 1000)} s off: see its NTP`);
  return warnings;
}

/** The newest snapshot that a node has seen. */
export function newestSeen({ current, previous }: Pick<Hello, 'current' | 'previous'>): number {
  return Math.max(0, ...[current, previous].map((mark) => mark?.snapshotId ?? 0));
}

/** Whether an id may be gone beyond: after one of the far future there would soon be none. */
export function isBelievable(snapshotId: number, now: number): boolean {
  const tenYears = 10 * 366 * 24 * 60 * minute;
  return snapshotId < now + tenYears;
}

/** `4.0` of `4.0.1`. */
function seriesOf(version: string): string {
  return version.split('.').slice(0, 2).join('.');
}

function read<T>(shape: z.ZodType<T>, head: unknown): T {
  const { success, data, error } = shape.safeParse(head);
  if (success) return data;
  throw wrong(error.issues[0]?.path.join('.') ?? '');
}

function wrong(path: string): BayesFail {
  const remedy = 'bring Sluice to one version on both nodes';
  return failed('answer', `Cannot read what the other node says: ${path || 'it'} has another form`, remedy);
}
