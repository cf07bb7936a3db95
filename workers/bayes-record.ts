/**
 * bayes-record — what the last run with each other node came to, kept on both nodes for `sluice bayes status` and the alarm.
 *
 * Hides one JSON file for each node, replaced by rename: a reader finds the old record or the new one, whole. A record that
 * can't be read counts as missing.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { sync } from './bayes-snapshots.ts';
import { bayesSteps } from './bayes-step.ts';

const count = z.int().nonnegative();
const countsShape = z.object({ nspam: count, nham: count, tokens: count });

const shape = z.object({
  node: z.string(),
  at: count,
  seconds: z.number().nonnegative(),
  outcome: z.enum(['done', 'already', 'refused', 'failed']),
  step: z.enum(bayesSteps).nullable(),
  message: z.string().nullable(),
  remedy: z.string().nullable(),
  warnings: z.array(z.string()),
  lastGood: z
    .object({ at: count, snapshotId: count, takenAt: count, here: countsShape, there: countsShape })
    .nullable(),
  parity: z
    .object({
      at: count.optional(),
      messages: count,
      probabilityDiffers: count,
      scoreDiffers: count,
      flips: count,
      worst: z.number(),
      notScored: count,
    })
    .nullable(),
});

export type Counts = Readonly<z.infer<typeof countsShape>>;

/**
 * `node` is formatNode's name, or on a backup the name that the primary gives itself; `at` epoch milliseconds, of the last run;
 * step, message and remedy of a trouble; `lastGood` survives runs that fail, and so does `parity`, of the last comparison.
 */
export type SyncRecord = z.infer<typeof shape>;

/** All records in `folder` (`<state>/bayes`), by name of the node. */
export async function readRecords(folder: string): Promise<SyncRecord[]> {
  const home = join(folder, 'record');
  const names = (await namesIn(home)).filter((name) => name.endsWith('.json')).toSorted();
  const records = await Promise.all(names.map((name) => readRecord(join(home, name))));
  return records.flatMap((record) => record ?? []);
}

/** Puts a record in the place of the node's last one. */
export async function writeRecord(folder: string, record: SyncRecord): Promise<void> {
  const home = join(folder, 'record');
  await mkdir(home, { recursive: true, mode: 0o700 });
  // What a killed run has left.
  for (const name of await namesIn(home))
    if (name.startsWith('.draft-')) await rm(join(home, name), { force: true });
  const draft = join(home, `.draft-${randomBytes(6).toString('hex')}`);
  await writeFile(draft, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600, flag: 'wx', flush: true });
  await rename(draft, join(home, fileName(record.node)));
  await sync(home);
}

/** The name of another machine's is not to be trusted: it leads nowhere, and no two nodes have one file. */
function fileName(node: string): string {
  return `${encodeURIComponent(node).replaceAll('.', '%2E').slice(0, 200)}.json`;
}

async function readRecord(file: string): Promise<SyncRecord | null> {
  try {
    return shape.safeParse(JSON.parse(await readFile(file, 'utf8'))).data ?? null;
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
