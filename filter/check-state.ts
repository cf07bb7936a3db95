/**
 * check-state — whether the state folder can be trusted with mail: folder, spool, databases, quarantine.
 *
 * Looks and changes nothing: databases are opened as they stand, items and index are compared, not reconciled. A running
 * filter is not disturbed. Never throws: what could not be found out is a finding.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../rules/config.ts';
import { type Finding, fail, ok, warn } from '../rules/finding.ts';
import { checkFolder, checkSync } from '../workers/check-folder.ts';
import { checkSpool } from '../workers/check-spool.ts';
import { silentLog } from '../workers/log.ts';
import { ownerState } from './owner.ts';
import { digits, listItems, readItem, temporaryOwner } from './quarantine-item.ts';
import { openStore, type Store } from './store.ts';

/** Each with the moment at which it is made; review.db holds what people did (review/audit.ts). */
const databases = {
  'quarantine.db': 'at the first start',
  'ledger.db': 'at the first start',
  'history.db': 'at the first start',
  'review.db': 'by the first command that needs it',
} as const;
/** Items that are read: reading all of 100,000 takes minutes. */
const readAtMost = 1000;

/** All findings on state and spool; where the folder can't be used, only why. */
export async function checkState({ state, spool, limits }: Config): Promise<Finding[]> {
  const bytesNeeded = 2 * limits.messageBytes;
  const folder = await checkFolder(state, { name: 'State folder', bytesNeeded });
  if (folder.length === 1) return folder;
  const findings = [...folder, ...checkUser(state)];
  if (folder.every(({ level }) => level !== 'fail')) findings.push(await checkSync(state));
  findings.push(...(await checkSpool(spool, state, bytesNeeded)));
  for (const [name, isMade] of Object.entries(databases))
    findings.push(await checkDatabase(join(state, name), isMade));
  return [...findings, ...(await checkQuarantine(state))];
}

/** Started as root, Sluice becomes the folder's owner; root stays root. */
function checkUser(state: string): Finding[] {
  if (process.getuid?.() !== 0) return [];
  const remedy = `give it to a user of its own: chown -R USER ${state}; started as root, Sluice becomes that user`;
  return [warn('Sluice runs as root, who owns the state folder', state, remedy)];
}

async function checkDatabase(file: string, isMade: string): Promise<Finding> {
  if (!existsSync(file)) return ok(`Database is made ${isMade}`, file);
  const store = await openAsItStands(file);
  try {
    const rows = await store.all<{ quick_check: string }>('PRAGMA quick_check');
    const problem = rows.find(({ quick_check }) => quick_check !== 'ok');
    if (problem !== undefined) {
      const remedy = 'stop Sluice and move the file away, a new one is made';
      return fail(`Database is damaged: ${problem.quick_check}`, file, remedy);
    }
    await store.check();
    return ok('Database is whole and can be written', file);
  } catch (error) {
    return unusable(file, error);
  } finally {
    await store.close();
  }
}

/** Index against folders; what a running filter does meanwhile is no discrepancy. */
async function checkQuarantine(state: string): Promise<Finding[]> {
  const folder = join(state, 'quarantine');
  const file = join(state, 'quarantine.db');
  if (!existsSync(folder)) return [ok('Quarantine is empty: nothing was ever held', folder)];
  const store = existsSync(file) ? await openAsItStands(file) : null;
  try {
    const before = await rowsOf(store);
    const seen = await listAll(folder);
    const after = await rowsOf(store);
    return [
      judgeMissing(folder, [...before].filter(([id, wanted]) => wanted && !seen.ids.has(id)).length),
      judgeUnindexed(folder, [...seen.ids].filter((id) => !after.has(id)).length),
      await judgeBroken(folder, [...seen.ids]),
      ...judgeOrphans(folder, seen.temporary),
      ...(await judgeUnconfirmed(folder, store)),
    ];
  } catch (error) {
    const remedy = 'mend what the lines above say of folder and database, then check again';
    return [fail(`Quarantine can not be compared: ${textOf(error)}`, folder, remedy)];
  } finally {
    await store?.close();
  }
}

/** Every item of the index: whether anybody still wants its message. */
async function rowsOf(store: Store | null): Promise<Map<string, boolean>> {
  const rows = await store?.all<{ id: string; wanted: number }>(
    `SELECT quarantine_id AS id, EXISTS (SELECT 1 FROM item_recipient AS r WHERE r.quarantine_id = item.quarantine_id
        AND r.state NOT IN ('deleted', 'expired')) AS wanted FROM item`,
  );
  return new Map(rows?.map(({ id, wanted }) => [id, wanted === 1]));
}

async function listAll(folder: string): Promise<{ ids: Set<string>; temporary: string[] }> {
  const ids = new Set<string>();
  const temporary: string[] = [];
  for (const digit of digits) {
    const found = await listItems(folder, digit);
    for (const id of found.quarantineIds) ids.add(id);
    temporary.push(...found.temporary);
  }
  return { ids, temporary };
}

function judgeMissing(folder: string, count: number): Finding {
  if (count === 0) return ok('Every item of the index has its folder', folder);
  const remedy = 'restore the quarantine folder from a backup; until then these can not be released';
  return warn(`${count} held items have lost their folder`, folder, remedy);
}

function judgeUnindexed(folder: string, count: number): Finding {
  if (count === 0) return ok('Every held item is in the index', folder);
  const remedy = 'restart Sluice: the filter indexes them again at start';
  return warn(`${count} held items are not in the index: nobody sees them in a list`, folder, remedy);
}

async function judgeBroken(folder: string, ids: readonly string[]): Promise<Finding> {
  const some = ids.slice(0, readAtMost);
  const broken: string[] = [];
  for (const id of some) await readItem(folder, id).catch((error: unknown) => broken.push(textOf(error)));
  if (broken.length === 0)
    return ok(`${some.length} of ${ids.length} items were read, all are whole`, folder);
  const what = `${broken.length} of ${some.length} items can not be read: ${broken[0]}`;
  return warn(what, folder, 'restore them from a backup, or move their folders away');
}

function judgeOrphans(folder: string, temporary: readonly string[]): Finding[] {
  const dead = temporary.filter((path) => ownerState(temporaryOwner(path) ?? '') === 'dead').length;
  if (dead === 0) return [];
  return [ok(`${dead} unfinished items of dead processes: the next start removes them`, folder)];
}

async function judgeUnconfirmed(folder: string, store: Store | null): Promise<Finding[]> {
  const [row] =
    (await store?.all<{ id: string; count: number }>(
      `SELECT quarantine_id AS id, count(*) AS count FROM item_recipient WHERE state = 'unconfirmed'`,
    )) ?? [];
  if (row === undefined || row.count === 0) return [];
  const remedy = `see whether they arrived, then delete or release them: sluice quarantine show ${row.id}`;
  return [warn(`${row.count} releases are unconfirmed`, folder, remedy)];
}

function openAsItStands(file: string): Promise<Store> {
  return openStore({ file, migrations: null, synchronous: 'NORMAL', log: silentLog });
}

/** The store's own words: what is wrong, and after the second colon what to do. */
function unusable(file: string, error: unknown): Finding {
  const [what = '', state = '', ...remedy] = textOf(error).split(': ');
  return fail(`${what}: ${state}`, file, remedy.join(': ') || 'see what the kernel says of the disk (dmesg)');
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
