/**
 * bayes-folder — `<state>/bayes`, a folder of whoever runs this (root) inside one that another user may own.
 *
 * Hides how root writes there without following what that user could put in the way: the folder is looked at before each use,
 * and a file is written under a name that nobody can guess, then renamed. Throws PermFail where the folder is not our own.
 */
import { randomBytes } from 'node:crypto';
import { lstatSync, mkdirSync } from 'node:fs';
import { lstat, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sync } from './bayes-snapshots.ts';
import { PermFail } from './fail.ts';

const draftPrefix = '.draft-';
/** Nobody writes so long at a small file. */
const draftMsMax = 3_600_000;

/** Makes it where it is missing; its path. */
export function ownFolder(folder: string): string {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  requireOwn(folder);
  return folder;
}

/** Throws where it is a link, another user's, or one that others may write into. */
export function requireOwn(folder: string): void {
  const found = lstatSync(folder);
  const isOwn = found.isDirectory() && found.uid === process.getuid?.() && (found.mode & 0o022) === 0;
  if (isOwn) return;
  const way = found.isDirectory() ? `run it as uid ${found.uid}, chmod go-w it, or remove it` : 'remove it';
  throw new PermFail(`Cannot use ${folder}: it is no folder of this user alone: ${way}`);
}

/** Puts a small file in place of another one, durable: a reader finds the old text or the new one, whole. */
export async function replaceFile(home: string, name: string, text: string): Promise<void> {
  await sweep(home);
  const draft = join(home, `${draftPrefix}${randomBytes(6).toString('hex')}`);
  await writeFile(draft, text, { mode: 0o600, flag: 'wx', flush: true });
  await rename(draft, join(home, name));
  await sync(home);
}

/** Removes what killed runs have left; a young draft is of somebody who writes just now, another file perhaps. */
async function sweep(home: string): Promise<void> {
  for (const name of await readdir(home)) {
    if (!name.startsWith(draftPrefix)) continue;
    const found = await lstat(join(home, name)).catch(() => null); // whoever wrote it has renamed it
    if (found !== null && Date.now() - found.mtimeMs > draftMsMax)
      await rm(join(home, name), { force: true });
  }
}
