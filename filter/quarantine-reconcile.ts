/**
 * quarantine-reconcile — makes the index agree with the item folders (R7), at start and after the index was away.
 *
 * A folder without a row is indexed with the states its own states.jsonl tells; a row without a folder is flagged. No
 * item is ever removed: only the leftovers of puts whose process died, and octets whose deletion is on record. It can
 * die at any point and simply runs again; TempFail where folder or index can't be used.
 */
import { PermFail, TempFail } from '../workers/fail.ts';
import { ownerState } from './owner.ts';
import {
  appendChanges,
  digits,
  listItems,
  prepareFolder,
  readChanges,
  readItem,
  sweepTemporary,
} from './quarantine-item.ts';
import type { IndexEntry } from './quarantine-index.ts';
import type { ItemRecord } from './quarantine-record.ts';
import { changeState, type Parts, removeUnwanted } from './quarantine-state.ts';

/** What dead processes had begun. */
export type Finished = {
  /** Releases that a process left half way when it died: shown as unconfirmed. */
  readonly unconfirmed: readonly { quarantineId: string; slot: number }[];
  /** Changes of state that a process had made and not yet written into the folder when it died. */
  readonly recorded: number;
  /** Items deleted earlier whose octets had remained. */
  readonly removed: number;
};

/** What `reconcile` found and did. */
export type Reconciled = Finished & {
  /** Folders that had no row and have one now. */
  readonly indexed: number;
  /** Rows whose folder is gone: flagged, never removed. */
  readonly missing: readonly string[];
  /** Folders whose item.json can't be understood: left as they are. */
  readonly broken: readonly { quarantineId: string; why: string }[];
  /** Unfinished puts of dead processes. */
  readonly swept: number;
};

const unjudgedAgeMs = 3_600_000;
/** Items read side by side and indexed in one commit. */
const batchSize = 100;

/** Compares all folders with all rows, once. */
export async function reconcile(parts: Parts): Promise<Reconciled> {
  const { folder, index, log } = parts;
  await index.check();
  await prepareFolder(folder).catch(failUsing(folder));
  await index.fillSearch();
  const compared = await compare(parts);
  const result = { ...compared, ...(await finish(parts)) };
  const quiet = compared.missing.length + compared.broken.length + result.unconfirmed.length === 0;
  log[quiet ? 'info' : 'warn'](result, 'quarantine reconciled');
  return result;
}

/** Ends what processes had begun when they died, of this index alone; one that may still be at it is left to it. */
export async function finish(parts: Parts): Promise<Finished> {
  const recorded = await recordAbandoned(parts);
  const unconfirmed = await unconfirm(parts);
  const removed = await removeUnwanted(parts);
  const finished = { recorded, unconfirmed, removed };
  if (recorded + unconfirmed.length + removed > 0)
    parts.log.warn(finished, 'Ended what dead processes had begun in the quarantine');
  return finished;
}

/** Gives items rows from what their folders say; returns those that can't be understood, with the reason. */
export async function indexFolders(
  { folder, index }: Parts,
  quarantineIds: readonly string[],
): Promise<{ quarantineId: string; why: string }[]> {
  const broken: { quarantineId: string; why: string }[] = [];
  for (const some of inBatches(quarantineIds)) {
    const read = await Promise.all(some.map((quarantineId) => readEntry(folder, quarantineId)));
    await index.add(read.filter((entry) => 'record' in entry));
    broken.push(...read.filter((entry) => 'why' in entry));
  }
  return broken;
}

/** The records of all items that can be read, without the index. */
export async function* readItems(folder: string): AsyncGenerator<ItemRecord> {
  await prepareFolder(folder).catch(failUsing(folder));
  for (const digit of digits) {
    for (const some of inBatches((await listItems(folder, digit)).quarantineIds)) {
      const read = await Promise.all(some.map((quarantineId) => readEntry(folder, quarantineId)));
      yield* read.flatMap((entry) => ('record' in entry ? [entry.record] : []));
    }
  }
}

async function readEntry(
  folder: string,
  quarantineId: string,
): Promise<IndexEntry | { quarantineId: string; why: string }> {
  try {
    return {
      record: await readItem(folder, quarantineId),
      changes: await readChanges(folder, quarantineId),
    };
  } catch (error) {
    if (error instanceof PermFail) return { quarantineId, why: error.message };
    throw error;
  }
}

function* inBatches(quarantineIds: readonly string[]): Generator<readonly string[]> {
  for (let at = 0; at < quarantineIds.length; at += batchSize) yield quarantineIds.slice(at, at + batchSize);
}

/** In sixteen parts, so that a million items need little memory. */
async function compare(parts: Parts): Promise<Omit<Reconciled, keyof Finished>> {
  const { folder, index, now } = parts;
  const missing: string[] = [];
  const broken: { quarantineId: string; why: string }[] = [];
  let indexed = 0;
  let swept = 0;
  for (const digit of digits) {
    // Rows first: a put adds its folder before its row, so that one in between is never taken for missing.
    const rows = await index.idsFrom(digit);
    const { quarantineIds, temporary } = await listItems(folder, digit);
    for (const path of temporary) {
      if (await sweepTemporary(path, now()).catch(failUsing(path))) swept++;
    }
    const unknown = quarantineIds.filter((quarantineId) => !rows.has(quarantineId));
    const misread = await indexFolders(parts, unknown);
    indexed += unknown.length - misread.length;
    broken.push(...misread);
    for (const quarantineId of quarantineIds) {
      if (rows.get(quarantineId) === 'missing') await index.flag(quarantineId, null);
      rows.delete(quarantineId);
    }
    for (const [quarantineId, flag] of rows) {
      missing.push(quarantineId);
      if (flag === null) await index.flag(quarantineId, 'missing');
    }
  }
  return { indexed, missing, broken, swept };
}

/** Writes into the folders what index and folder must agree on, where the process that changed the index died. */
async function recordAbandoned({ folder, index, log, now }: Parts): Promise<number> {
  let recorded = 0;
  for (const { quarantineId, slot, state, owner, at, trail } of await index.unrecorded()) {
    const last = trail.at(-1);
    if (last === undefined || mayLive(owner, at, now())) continue;
    try {
      const known = (await readChanges(folder, quarantineId)).findLast((change) => change.slot === slot);
      if ((known?.to ?? 'held') !== state) {
        await appendChanges(folder, quarantineId, [last]);
        recorded++;
      }
      await index.noteRecorded(quarantineId, [last]);
    } catch (error) {
      // Its folder may be missing, which is told elsewhere.
      log.warn({ err: error, quarantineId }, 'state not recorded in the item folder');
    }
  }
  return recorded;
}

/** Whether the process that did something at `at` may still be at it. */
function mayLive(owner: string | null, at: number, now: number): boolean {
  const state = owner === null ? 'dead' : ownerState(owner);
  return state === 'alive' || (state === 'unknown' && now - at <= unjudgedAgeMs);
}

/** A release whose process died may have happened or not: only a human can tell (W6). */
async function unconfirm(parts: Parts): Promise<{ quarantineId: string; slot: number }[]> {
  const unconfirmed: { quarantineId: string; slot: number }[] = [];
  const claim = { from: 'releasing', to: 'unconfirmed', actor: 'reconcile', queueIdOut: null } as const;
  for (const { quarantineId, slot, owner, at } of await parts.index.releasing()) {
    if (mayLive(owner, at, parts.now())) continue;
    const [changed] = await changeState(parts, quarantineId, [slot], claim);
    if (changed === true) unconfirmed.push({ quarantineId, slot });
  }
  return unconfirmed;
}

/** Throws what keeps a folder from being used, as TempFail. */
export function failUsing(folder: string): (cause: unknown) => never {
  return (cause) => {
    const state = cause instanceof Error ? cause.message : String(cause);
    throw new TempFail(`Cannot use ${folder}: ${state}`, { cause });
  };
}
