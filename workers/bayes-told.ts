/**
 * bayes-told — which troubles of the Bayes sync somebody was told of: one mail for each, also over restarts.
 *
 * Hides `<state>/bayes/told.json`, replaced by rename. A file that can't be read counts as none: then it is told again.
 */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

const entry = z.object({
  node: z.string(),
  kind: z.enum(['failed', 'old']),
  message: z.string(),
  remedy: z.string(),
  /** Epoch milliseconds. */
  since: z.number(),
  /** Whether a mail about it went out. */
  mailed: z.boolean(),
});

const shape = z.object({
  /** Since when each node is watched, by name. */
  watched: z.record(z.string(), z.number()),
  /** Troubles that there are. */
  told: z.array(entry),
  /** Those that are over, which a mail still has to say. */
  over: z.array(entry),
});

export type ToldTrouble = z.infer<typeof entry>;
export type Told = z.infer<typeof shape>;

/** What was told so far. */
export async function readTold(folder: string): Promise<Told> {
  const none: Told = { watched: {}, told: [], over: [] };
  try {
    return shape.safeParse(JSON.parse(await readFile(fileIn(folder), 'utf8'))).data ?? none;
  } catch {
    // Not there yet, or no JSON.
    return none;
  }
}

/** Replaces it. */
export async function writeTold(folder: string, told: Told): Promise<void> {
  const draft = `${fileIn(folder)}.draft`;
  await writeFile(draft, `${JSON.stringify(told, null, 2)}\n`, { mode: 0o600, flush: true });
  await rename(draft, fileIn(folder));
}

function fileIn(folder: string): string {
  return join(folder, 'told.json');
}
