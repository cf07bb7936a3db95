/**
 * bayes-install — puts a file in place of another: written beside it beforehand, exchanged by rename when all else is done.
 *
 * Hides owner, mode and what a killed run left. The draft has the owner and mode of the file that it is to replace; a full disk
 * or a missing folder is found before anything is exchanged. A reader finds the old file or the new one, whole.
 */
import { randomBytes } from 'node:crypto';
import { lstat, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { sync } from './bayes-snapshots.ts';
import { BayesFail, failed, messageOf, refused } from './bayes-step.ts';

export type Draft = {
  /** The file that it is to become. */
  readonly target: string;
  /** Its own path, in the same folder; what belongs to it has this name and more behind it. */
  readonly path: string;
  /** Whether the file there has the same octets already. */
  readonly isSame: boolean;
};

/** Of a file that is not there yet. */
export type NewFile = { readonly gid: number | null; readonly mode: number };

/** Writes `bytes` beside `target`, durable. Rejects with BayesFail. */
export async function draftFor(target: string, bytes: Buffer, otherwise: NewFile): Promise<Draft> {
  try {
    await sweep(target);
    const like = await likeOf(target, otherwise);
    const path = join(dirname(target), `${draftPrefix(target)}${randomBytes(6).toString('hex')}`);
    // wx follows no link that somebody may have put there.
    const handle = await open(path, 'wx', 0o600);
    try {
      await handle.writeFile(bytes);
      await handle.chown(like.uid, like.gid);
      await handle.chmod(like.mode);
      await handle.sync();
    } catch (cause) {
      await rm(path, { force: true });
      throw cause;
    } finally {
      await handle.close();
    }
    return { target, path, isSame: like.isThere && bytes.equals(await readFile(target)) };
  } catch (cause) {
    if (cause instanceof BayesFail) throw cause;
    const remedy = 'see that its folder is there and has room, or name another file in sluice.yaml';
    throw failed('companions', `Cannot write beside ${target}: ${messageOf(cause)}`, remedy, cause);
  }
}

/**
 * Exchanges; `also` are endings of files that belong to it (`.db`) and go along, before it: a new source beside an old table
 * would look fresh.
 */
export async function install({ target, path }: Draft, also: readonly string[] = []): Promise<void> {
  for (const ending of [...also, '']) await rename(`${path}${ending}`, `${target}${ending}`);
  await sync(dirname(target));
}

/** Endings of the files that were made of a draft. */
export async function endingsOf({ path }: Draft): Promise<string[]> {
  const names = await readdir(dirname(path));
  const own = `${basename(path)}.`;
  return names.filter((name) => name.startsWith(own)).map((name) => name.slice(own.length - 1));
}

/** Removes a draft and what belongs to it, and all that killed runs left for the same file. */
export function drop({ target }: Draft): Promise<void> {
  return sweep(target);
}

async function sweep(target: string): Promise<void> {
  const folder = dirname(target);
  for (const name of await readdir(folder))
    if (name.startsWith(draftPrefix(target))) await rm(join(folder, name), { force: true });
}

function draftPrefix(target: string): string {
  return `.${basename(target)}.sluice-`;
}

type Like = { readonly uid: number; readonly gid: number; readonly mode: number; readonly isThere: boolean };

async function likeOf(target: string, otherwise: NewFile): Promise<Like> {
  const found = await lstat(target).catch(() => null);
  if (found === null) {
    const { uid, gid } = await stat(dirname(target));
    return { uid, gid: otherwise.gid ?? gid, mode: otherwise.mode, isThere: false };
  }
  if (!found.isFile())
    throw refused(
      'companions',
      `Cannot replace ${target}: it is no plain file`,
      'name the file itself, not a link, in sluice.yaml',
    );
  return { uid: found.uid, gid: found.gid, mode: found.mode & 0o7777, isThere: true };
}
