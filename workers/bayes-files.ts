/**
 * bayes-files — the Bayes store of SpamAssassin's default: files of Berkeley DB under `bayes_path`.
 *
 * Hides the layout: `bayes_path` leads through a symbolic link `current`, beside which each generation has a folder of its
 * own. spamd opens the files anew for each message, so replacing the link by rename(2) is the switch: no reload, and
 * whoever is reading finishes in the generation he began with. A folder holds the name of the one that it replaced.
 */
import { randomBytes } from 'node:crypto';
import { constants, lstatSync, statSync } from 'node:fs';
import { mkdir, open, readdir, readlink, rename, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { BayesView } from './bayes-counts.ts';
import { sync } from './bayes-snapshots.ts';
import { failed } from './bayes-step.ts';
import { parseMark } from './bayes-mark.ts';
import {
  type BayesStore,
  type Generation,
  type Scratch,
  siteSetting,
  type StoreOptions,
} from './bayes-store.ts';
import { removeTree } from './remove-tree.ts';

const linkName = 'current';
const markName = 'snapshot.json';
const replacedName = 'replaced';
const textBytesMax = 64 * 1024;
const ownPattern = /^(?:generation|\.link)-[0-9a-f]{12}$/;

/** The files under the site's `bayes_path`. */
export function openFiles({ view, saLearn, step }: StoreOptions): BayesStore {
  const path = filesPathOf(view);
  const link = dirname(path);
  const home = dirname(link);
  const scratchAt = (name: string): Scratch => ({
    name,
    lines: [`bayes_path ${join(home, name, basename(path))}`],
  });
  const generationAt = async (name: string): Promise<Generation | null> => {
    if (!exists(join(home, name, `${basename(path)}_toks`))) return null;
    return { mark: parseMark(await textOf(join(home, name, markName))) };
  };
  const currentName = async () => (isLink(link) ? nameIn(await readlink(link)) : null);
  const previousName = async () => {
    const current = await currentName();
    return current === null ? null : nameIn((await textOf(join(home, current, replacedName))) ?? '');
  };
  const point = async (name: string): Promise<void> => {
    const next = join(home, `.link-${randomBytes(6).toString('hex')}`);
    step('link');
    await symlink(name, next);
    step('switch');
    await rename(next, link);
    await sync(home);
  };
  const noteReplaced = (name: string, replaced: string) =>
    within(join(home, name), (folder) => writeWhole(join(folder, replacedName), `${replaced}\n`));
  const clean = async (): Promise<void> => {
    const wanted = [await currentName(), await previousName()];
    const old = (await readdir(home)).filter((name) => ownPattern.test(name) && !wanted.includes(name));
    for (const name of old) await removeTree(join(home, name));
  };
  return {
    kind: 'files',
    place: path,
    async standing() {
      const [current, previous] = [await currentName(), await previousName()];
      return {
        current: await generationAt(current ?? basename(link)),
        previous: previous === null ? null : await generationAt(previous),
      };
    },
    async prepare() {
      if (!isPrepared(path)) throw notPrepared(path);
      await clean();
    },
    async load(dump) {
      const name = `generation-${randomBytes(6).toString('hex')}`;
      await makeLike(join(home, name), link);
      const scratch = scratchAt(name);
      await saLearn.restore(dump, scratch.lines);
      return scratch;
    },
    async mark({ name }, mark) {
      await within(join(home, name), async (folder) => {
        for (const file of await readdir(folder)) await syncFile(join(folder, file));
        await writeWhole(join(folder, markName), JSON.stringify(mark));
      });
      await noteReplaced(name, (await currentName()) ?? name);
    },
    switchTo: ({ name }) => point(name),
    async switchBack() {
      const [current, previous] = [await currentName(), await previousName()];
      if (current === null || previous === null)
        throw failed(
          'rollback',
          'Cannot roll back: there is no previous generation',
          'restore a snapshot that is kept: sluice bayes status',
        );
      await noteReplaced(previous, current);
      await point(previous);
    },
    clean,
    close: async () => undefined,
  };
}

/** What the names of the live files begin with. */
export function filesPathOf(view: BayesView): string {
  return pathOf(siteSetting(view, 'bayes_path'), view.user?.home ?? process.env.HOME ?? '/');
}

/** As SpamAssassin takes it: `~` is the user's home, and the last part begins the names of the files. */
function pathOf(setting: string | null, home: string): string {
  return (setting ?? '~/.spamassassin/bayes').replace(/^~(?=\/)/, home);
}

function notPrepared(path: string) {
  const message = `Cannot switch the Bayes database at ${path}: its folder is no symbolic link called ${linkName}`;
  return failed('prepare', message, linkRemedy(path));
}

/** Whether `bayes_path` leads through the link that a restore replaces. */
export function isPrepared(path: string): boolean {
  return basename(dirname(path)) === linkName && isLink(dirname(path));
}

/** What makes it so, once. */
export function linkRemedy(path: string): string {
  const [folder, name, first] = [dirname(path), basename(path), 'generation-000000000000'];
  return (
    `with spamd stopped: mkdir ${folder}/${first}, move ${path}_* into it, give it the owner of ${folder}, ` +
    `ln -s ${first} ${folder}/${linkName}, and set bayes_path ${folder}/${linkName}/${name}`
  );
}

function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
}

/** A folder that whoever could use the other one can use in the same way. */
async function makeLike(folder: string, other: string): Promise<void> {
  const { mode, uid, gid } = statSync(other);
  await mkdir(folder, { mode: 0o700 });
  // By descriptor, not by name: the folder around it may belong to a user who would like root to chown something else.
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    await handle.chown(uid, gid);
    await handle.chmod(mode & 0o7777).catch((cause: unknown) => {
      // RestrictSUIDSGID= of the unit: better a folder without setgid than none.
      if (!isForbidden(cause)) throw cause;
      return handle.chmod(mode & 0o777);
    });
  } finally {
    await handle.close();
  }
}

function isForbidden(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'EPERM';
}

/** A name beside the link: what a generation's owner wrote leads nowhere else. */
function nameIn(text: string): string | null {
  const name = basename(text.trim());
  return ['', '.', '..'].includes(name) ? null : name;
}

/** A path to the very folder that is there now: it belongs to a user who could put a link in its place under our hands. */
async function within<T>(folder: string, work: (path: string) => Promise<T>): Promise<T> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    return await work(`/proc/self/fd/${handle.fd}`);
  } finally {
    await handle.close();
  }
}

/** Opened so that neither a link leads away nor a pipe holds us up. */
const plainly = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

async function syncFile(file: string): Promise<void> {
  const handle = await open(file, plainly);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes a file anew under another name and renames it: a reader finds the old text or the new one, whole. */
async function writeWhole(file: string, text: string): Promise<void> {
  const draft = `${file}.${randomBytes(6).toString('hex')}`;
  // wx follows no link that somebody may have put there.
  await writeFile(draft, text, { mode: 0o644, flag: 'wx', flush: true });
  await rename(draft, file);
  await sync(dirname(file));
}

function exists(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false }) !== undefined;
}

/** A small text of ours; null where there is none, or something else in its place. */
async function textOf(file: string): Promise<string | null> {
  const handle = await open(file, plainly).catch((cause: unknown) => {
    const code = cause instanceof Error && 'code' in cause ? cause.code : null;
    if (code === 'ENOENT' || code === 'ELOOP') return null;
    throw cause;
  });
  if (handle === null) return null;
  try {
    const found = await handle.stat();
    return found.isFile() && found.size < textBytesMax ? await handle.readFile('utf8') : null;
  } finally {
    await handle.close();
  }
}
