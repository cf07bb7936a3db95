/**
 * bayes-record — what the last run with each other node came to, kept on both nodes for `sluice bayes status` and the alarm.
 *
 * Hides one JSON file for each node, replaced by rename: a reader finds the old record or the new one, whole. A record that
 * can't be read counts as missing.
 */
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ownFolder, replaceFile } from './bayes-folder.ts';
import { bayesSteps, isTrouble, type OnStep, outcomeOf } from './bayes-step.ts';
import type { NodeOutcome } from './bayes-sync.ts';

const count = z.int().nonnegative();
/** Counts as outside data. */
export const countsShape = z.object({ nspam: count, nham: count, tokens: count });

/** The figures of a comparison as outside data. */
export const parityShape = z.object({
  at: count.optional(),
  messages: count,
  probabilityDiffers: count,
  scoreDiffers: count,
  flips: count,
  worst: z.number(),
  notScored: count,
});

const text = z.string().max(5000);

const recordShape = z.object({
  node: z.string().max(300),
  at: count,
  seconds: z.number().nonnegative(),
  outcome: z.enum(['done', 'already', 'refused', 'failed']),
  step: z.enum(bayesSteps).nullable(),
  message: text.nullable(),
  remedy: text.nullable(),
  warnings: z.array(text).max(200),
  lastGood: z
    .object({ at: count, snapshotId: count, takenAt: count, here: countsShape, there: countsShape })
    .nullable(),
  parity: parityShape.nullable(),
});

export type Counts = Readonly<z.infer<typeof countsShape>>;

/**
 * `node` is formatNode's name, or on a backup the name that the primary gives itself; `at` epoch milliseconds, of the last run;
 * step, message and remedy of a trouble; `lastGood` survives runs that fail, and so does `parity`, of the last comparison.
 */
export type SyncRecord = z.infer<typeof recordShape>;

/** A record that another node tells; null where it is none. */
export function parseRecord(value: unknown): SyncRecord | null {
  return recordShape.safeParse(value).data ?? null;
}

/** All records in `folder` (`<state>/bayes`), by name of the node. */
export async function readRecords(folder: string): Promise<SyncRecord[]> {
  const home = join(folder, 'record');
  const names = (await namesIn(home)).filter((name) => name.endsWith('.json')).toSorted();
  const records = await Promise.all(names.map((name) => readRecord(join(home, name))));
  return records.flatMap((record) => record ?? []);
}

/** Puts a record in the place of the node's last one. */
export async function writeRecord(folder: string, record: SyncRecord): Promise<void> {
  const home = join(ownFolder(folder), 'record');
  await mkdir(home, { recursive: true, mode: 0o700 });
  await replaceFile(home, fileName(record.node), `${JSON.stringify(record, null, 2)}\n`);
}

/** Makes a record of what became of a node, and keeps it; what can't be written is a warning in it. Never rejects. */
export async function keepRecord(
  folder: string,
  node: string,
  outcome: NodeOutcome,
  { begun, now, onStep }: { begun: number; now: () => number; onStep: OnStep },
): Promise<SyncRecord> {
  const known = await readRecords(folder).catch(() => []); // what can't be read is as good as none
  const record = recordOf(node, outcome, known.find((one) => one.node === node) ?? null, begun, now());
  const written = await outcomeOf(onStep, async (step) => {
    step('record');
    await writeRecord(folder, record);
    return { kind: 'written' as const };
  });
  if (written.kind === 'written') return record;
  return {
    ...record,
    warnings: [...record.warnings, `What became of it is not written down: ${written.message}`],
  };
}

function recordOf(
  node: string,
  outcome: NodeOutcome,
  last: SyncRecord | null,
  begun: number,
  now: number,
): SyncRecord {
  const common = { node, at: now, seconds: Math.max(0, now - begun) / 1000 };
  if (isTrouble(outcome)) {
    const { kind, step, message, remedy } = outcome;
    const kept = { lastGood: last?.lastGood ?? null, parity: last?.parity ?? null };
    return { ...common, outcome: kind, step, message, remedy, warnings: [], ...kept };
  }
  const { kind, snapshot, here, there, parity, warnings } = outcome;
  const lastGood = { at: now, snapshotId: snapshot.snapshotId, takenAt: snapshot.takenAt, here, there };
  const untroubled = { step: null, message: null, remedy: null };
  const compared = parity ?? last?.parity ?? null;
  return { ...common, outcome: kind, ...untroubled, warnings: [...warnings], lastGood, parity: compared };
}

/** The name of another machine's is not to be trusted: it leads nowhere, and no two nodes have one file. */
function fileName(node: string): string {
  return `${encodeURIComponent(node).replaceAll('.', '%2E').slice(0, 200)}.json`;
}

async function readRecord(file: string): Promise<SyncRecord | null> {
  try {
    return parseRecord(JSON.parse(await readFile(file, 'utf8')));
  } catch {
    // No JSON, or gone just now: as good as none.
    return null;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    // No run yet.
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return [];
    throw cause;
  }
}
