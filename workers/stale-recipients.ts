/**
 * stale-recipients — which of two tables Postfix reads beside its map of relay recipients: an empty one, or one that says 450.
 *
 * Hides how a table is replaced under a running Postfix: made by postmap(1) beside the old one, then renamed, so that Postfix
 * reads the one or the other and notices by itself (DATABASE_README). Whoever calls it may die at any time, and need not run for
 * Postfix to answer: what was last in place holds.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { freshTable, namesNobody, staleEnd, staleTable } from '../rules/postfix-backup.ts';
import { draftFor, drop, endingsOf, install } from './bayes-install.ts';
import { TempFail } from './fail.ts';
import { postmap, tableEnd } from './postmap.ts';

/** Which table is in place; `missing`: there is no map. `changed`: this call put it there. */
export type RecipientsAge = {
  readonly state: 'fresh' | 'stale' | 'missing';
  readonly ageHours: number | null;
  readonly changed: boolean;
};

const hourMs = 3_600_000;

/**
 * Puts the right table beside the map whose source is `file`; its age is that of the source, and one that names nobody is
 * stale. `domains`: relayed ones, whether the map has somebody in them or not. Rejects where a file or postmap fails, and
 * leaves the table that was there.
 */
export async function judgeRecipients(options: {
  readonly file: string;
  readonly hours: number;
  readonly domains: readonly string[];
  readonly now: number;
}): Promise<RecipientsAge> {
  const { file, hours, domains, now } = options;
  const found = await stat(file).catch(orNull);
  if (found === null) return { state: 'missing', ageHours: null, changed: false };
  const ageHours = (now - found.mtimeMs) / hourMs;
  const text = await readFile(file, 'utf8');
  // One that was made to have one before the first sync is new, and would refuse everybody.
  const state = ageHours > hours || namesNobody(text) ? 'stale' : 'fresh';
  const wanted = state === 'stale' ? staleTable(text, domains, hours) : freshTable();
  const changed = await installTable(`${file}${staleEnd}`, wanted);
  return { state, ageHours, changed };
}

/** Makes it the table at `path`, if it is not; true where it was not. */
async function installTable(path: string, text: string): Promise<boolean> {
  if ((await isMade(path)) && (await readFile(path, 'utf8').catch(orNull)) === text) return false;
  // postmap gives the table the mode of its source; a service's umask would leave it to root.
  const draft = await draftFor(path, Buffer.from(text), { gid: null, mode: 0o644 });
  const outcome = await postmap(draft.path);
  if (outcome !== null) {
    await drop(draft);
    const problem = outcome === 'unavailable' ? 'there is no Postfix here' : outcome.problem;
    throw new TempFail(`Cannot make the table ${path}: ${problem}`);
  }
  // The source last: whoever dies before it does all of it again.
  await install(draft, await endingsOf(draft));
  return true;
}

/** Whether there is a table of the type that Postfix asks now: an upgrade of the system may bring another. */
async function isMade(path: string): Promise<boolean> {
  const [made, end] = [await tablesOf(path), await tableEnd()];
  return end === null ? made.length > 0 : made.includes(`${path}${end}`);
}

/** What postmap made of a source: .db, .lmdb, .cdb, or a pair. */
async function tablesOf(path: string): Promise<string[]> {
  const names = await readdir(dirname(path)).catch(orNull);
  const ends = ['db', 'lmdb', 'cdb', 'pag', 'dir'].map((end) => `${basename(path)}.${end}`);
  return (names ?? []).filter((name) => ends.includes(name)).map((name) => join(dirname(path), name));
}

function orNull(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null;
  throw error;
}
