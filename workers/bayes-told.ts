/**
 * bayes-told — which troubles of the Bayes sync somebody was told of: one mail for each, also over restarts.
 *
 * Hides `<state>/bayes/told.json`, replaced by rename. A file that can't be read counts as none: then it is told again.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { replaceFile, requireOwn } from './bayes-folder.ts';

const fileName = 'told.json';

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
    return shape.safeParse(JSON.parse(await readFile(join(folder, fileName), 'utf8'))).data ?? none;
  } catch {
    // Not there yet, or no JSON.
    return none;
  }
}

/** Replaces it; rejects where the folder is not our own. */
export async function writeTold(folder: string, told: Told): Promise<void> {
  requireOwn(folder);
  await replaceFile(folder, fileName, `${JSON.stringify(told, null, 2)}\n`);
}
