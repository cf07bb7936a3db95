/**
 * quarantine-item — one held message on disk: a folder with message.eml, item.json and, later, states.jsonl.
 *
 * Hides what makes it durable: both files written and fsynced in `<xx>/tmp-<owner>-<id>`, that folder fsynced, renamed
 * to `<xx>/<id>`, its parent fsynced; only then is it held. The 256 parents keep folders small at 100,000 items and
 * more. Any error on the way, fsync and close included, removes all of it again (R10).
 */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { PermFail, TempFail } from '../workers/fail.ts';
import { ownerPattern, ownerState, ownOwner } from './owner.ts';
import {
  formatChanges,
  formatRecord,
  type ItemRecord,
  type ItemStory,
  parseChanges,
  parseRecord,
  quarantineIdPattern,
  type StateChange,
} from './quarantine-record.ts';

/** Steps of a put, each named after what has just been done; tests die at them. */
export type PutStep =
  | 'prepared'
  | 'made'
  | 'messageSynced'
  | 'itemSynced'
  | 'folderSynced'
  | 'renamed'
  | 'committed'
  | 'indexed';

/** An octet source that can be read from the start again and again. */
export type Bytes = () => AsyncIterable<Uint8Array>;

const temporaryPattern = new RegExp(`^tmp-(${ownerPattern.source})-[0-9a-f]{32}$`);
const shards = Array.from({ length: 256 }, (_, number) => number.toString(16).padStart(2, '0'));
const unjudgedAgeMs = 3_600_000;

/** Makes the quarantine folder and its 256 parents of items, durably; does nothing twice. */
export async function prepareFolder(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true, mode: 0o700 });
  const there = new Set(await readdir(folder));
  for (const shard of shards) {
    if (!there.has(shard)) await mkdir(join(folder, shard), { mode: 0o700 }).catch(ignoreCode('EEXIST'));
  }
  await syncFolder(folder);
  if (first === undefined) return;
  for (let made = folder; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made));
}

/** Writes a new item; when it resolves the item is durable, when it rejects (TempFail) nothing of it is left. */
export async function writeItem(
  folder: string,
  { record, changes }: ItemStory,
  bytes: Bytes,
  onStep: (step: PutStep) => Promise<void> | void,
): Promise<void> {
  const parent = join(folder, record.quarantineId.slice(0, 2));
  const temporary = join(parent, `tmp-${ownOwner()}-${record.quarantineId}`);
  const final = join(parent, record.quarantineId);
  let at = temporary;
  try {
    await mkdir(temporary, { mode: 0o700 });
    await onStep('made');
    await writeMessage(join(temporary, 'message.eml'), record, bytes);
    await onStep('messageSynced');
    await writeSynced(join(temporary, 'item.json'), formatRecord(record));
    if (changes.length > 0) await writeSynced(join(temporary, 'states.jsonl'), formatChanges(changes));
    await onStep('itemSynced');
    await syncFolder(temporary);
    await onStep('folderSynced');
    await rename(temporary, final);
    at = final;
    await onStep('renamed');
    await syncFolder(parent);
    await onStep('committed');
  } catch (cause) {
    const left = await remove(at, temporary);
    throw new TempFail(`Cannot hold ${record.quarantineId}: ${messageOf(cause)}${left}`, { cause });
  }
}

/** What item.json of an item says; PermFail where there is none or it can't be understood, TempFail on an I/O error. */
export async function readItem(folder: string, quarantineId: string): Promise<ItemRecord> {
  const path = join(itemFolder(folder, quarantineId), 'item.json');
  const text = await readFile(path, 'utf8').catch(failReading(path));
  const record = parseRecord(text, path);
  if (record.quarantineId !== quarantineId)
    throw new PermFail(`Cannot read ${path}: it speaks of ${record.quarantineId}`);
  return record;
}

/** Whether such an item is here, with or without octets; an I/O error is TempFail. */
export async function isItem(folder: string, quarantineId: string): Promise<boolean> {
  const path = join(itemFolder(folder, quarantineId), 'item.json');
  const found = await stat(path).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return null;
    throw new TempFail(`Cannot look at ${path}: ${messageOf(error)}`, { cause: error });
  });
  return found !== null;
}

/** Resolves where an item is here whole and durable; PermFail or TempFail where it can't be read, or is cut. */
export async function confirmItem(folder: string, quarantineId: string): Promise<void> {
  for await (const _ of readMessage(folder, await readItem(folder, quarantineId)));
  // Whoever wrote it may have died between its rename and this.
  await syncFolder(dirname(itemFolder(folder, quarantineId)));
}

/** All recorded changes of state of an item, oldest first. */
export async function readChanges(folder: string, quarantineId: string): Promise<StateChange[]> {
  const path = join(itemFolder(folder, quarantineId), 'states.jsonl');
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return '';
    throw new TempFail(`Cannot read ${path}: ${messageOf(error)}`, { cause: error });
  });
  return parseChanges(text);
}

/** Adds changes of state to an item, durably; TempFail where that failed, and then they may or may not be there. */
export async function appendChanges(
  folder: string,
  quarantineId: string,
  changes: readonly StateChange[],
): Promise<void> {
  const path = join(itemFolder(folder, quarantineId), 'states.jsonl');
  try {
    await writeSynced(path, formatChanges(changes), 'a');
    await syncFolder(dirname(path));
  } catch (cause) {
    throw new TempFail(`Cannot record a state in ${path}: ${messageOf(cause)}`, { cause });
  }
}

/** The held octets; throws PermFail, at the end at the latest, where they are not the ones that were held. */
export async function* readMessage(folder: string, record: ItemRecord): AsyncGenerator<Uint8Array> {
  const path = join(itemFolder(folder, record.quarantineId), 'message.eml');
  const seen = { sizeBytes: 0, hash: createHash('sha256') };
  try {
    const chunks: AsyncIterable<Uint8Array> = createReadStream(path, { highWaterMark: 65_536 });
    for await (const chunk of counted(chunks, seen)) yield chunk;
  } catch (error) {
    failReading(path)(error);
  }
  if (seen.sizeBytes === record.sizeBytes && seen.hash.digest('hex') === record.sha256) return;
  throw new PermFail(`Cannot read ${path}: these are not the ${record.sizeBytes} octets that were held`);
}

/** Removes the octets of an item and keeps what is known of it; nothing happens where they are gone already. */
export async function removeMessage(folder: string, quarantineId: string): Promise<void> {
  const path = itemFolder(folder, quarantineId);
  await rm(join(path, 'message.eml'), { force: true });
  await syncFolder(path);
}

/** Removes all that is known of an item; under a temporary name first, so that dying here leaves no half item. */
export async function removeItem(folder: string, quarantineId: string): Promise<void> {
  const path = itemFolder(folder, quarantineId);
  const parent = dirname(path);
  const temporary = join(parent, `tmp-${ownOwner()}-${quarantineId}`);
  const gone = await rename(path, temporary).then(() => false, ignoreCode('ENOENT'));
  if (gone === undefined) return;
  await syncFolder(parent);
  await rm(temporary, { recursive: true, force: true });
}

/** The first characters of ids: a listing is made in sixteen parts. */
export const digits = '0123456789abcdef'.split('');

/** Ids of the items that begin with `digit`, and paths of unfinished puts there; an I/O error is TempFail. */
export async function listItems(
  folder: string,
  digit: string,
): Promise<{ quarantineIds: string[]; temporary: string[] }> {
  const own = shards.filter((shard) => shard.startsWith(digit));
  const paths = (await Promise.all(own.map((shard) => listFolder(join(folder, shard))))).flat();
  return {
    quarantineIds: paths.map((path) => basename(path)).filter((name) => quarantineIdPattern.test(name)),
    temporary: paths.filter((path) => temporaryPattern.test(basename(path))),
  };
}

async function listFolder(path: string): Promise<string[]> {
  const names = await readdir(path).catch((cause: unknown) => {
    throw new TempFail(`Cannot list ${path}: ${messageOf(cause)}`, { cause });
  });
  return names.map((name) => join(path, name));
}

/** Who made the unfinished put at a path from a listing. */
export function temporaryOwner(path: string): string | undefined {
  return temporaryPattern.exec(basename(path))?.[1];
}

/** Removes an unfinished put (a path from a listing) if its process is dead; one that may go on is left alone. */
export async function sweepTemporary(path: string, now: number): Promise<boolean> {
  if (!(await isOrphan(path, temporaryOwner(path), now))) return false;
  await rm(path, { recursive: true, force: true });
  return true;
}

async function isOrphan(path: string, owner: string | undefined, now: number): Promise<boolean> {
  if (owner === undefined) return false;
  const state = ownerState(owner);
  if (state !== 'unknown') return state === 'dead';
  // Another container: no put takes an hour, the message's deadline is 300 s.
  const found = await stat(path).catch(ignoreCode('ENOENT'));
  return found !== undefined && now - found.mtimeMs > unjudgedAgeMs;
}

async function writeMessage(path: string, record: ItemRecord, bytes: Bytes): Promise<void> {
  const seen = { sizeBytes: 0, hash: createHash('sha256') };
  await writeSynced(path, counted(bytes(), seen));
  if (seen.sizeBytes === record.sizeBytes && seen.hash.digest('hex') === record.sha256) return;
  throw new Error(`got ${seen.sizeBytes} octets that are not the ${record.sizeBytes} that were scanned`);
}

async function* counted(chunks: AsyncIterable<Uint8Array>, seen: { sizeBytes: number; hash: Hash }) {
  for await (const chunk of chunks) {
    seen.sizeBytes += chunk.length;
    seen.hash.update(chunk);
    yield chunk;
  }
}

async function writeSynced(
  path: string,
  content: string | AsyncIterable<Uint8Array>,
  flag: 'wx' | 'a' = 'wx',
): Promise<void> {
  const handle = await open(path, flag, 0o600);
  await closing(handle, async () => {
    await handle.writeFile(content);
    await handle.sync();
  });
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  await closing(handle, () => handle.sync());
}

/** Runs `work`, closes in any case; an error of close counts, but never hides the first one. */
async function closing(handle: FileHandle, work: () => Promise<void>): Promise<void> {
  const failed = await work().then(
    () => null,
    (error: unknown) => ({ error }),
  );
  const unclosed = await handle.close().then(
    () => null,
    (error: unknown) => ({ error }),
  );
  const first = failed ?? unclosed;
  if (first !== null) throw first.error;
}

/** Removes what a failed put wrote: under its temporary name, so that dying here leaves no half item. Says what is left. */
async function remove(at: string, temporary: string): Promise<string> {
  try {
    if (at !== temporary) await rename(at, temporary);
    await rm(temporary, { recursive: true, force: true });
    return '';
  } catch (error) {
    return ` (and ${at} can't be removed: ${messageOf(error)})`;
  }
}

function itemFolder(folder: string, quarantineId: string): string {
  if (!quarantineIdPattern.test(quarantineId)) {
    throw new PermFail(
      `Cannot look up ${JSON.stringify(quarantineId.slice(0, 80))}: this is no quarantine id`,
    );
  }
  return join(folder, quarantineId.slice(0, 2), quarantineId);
}

function failReading(path: string): (error: unknown) => never {
  return (cause) => {
    const Failure = codeOf(cause) === 'ENOENT' ? PermFail : TempFail;
    const state = codeOf(cause) === 'ENOENT' ? 'it is not there (any more)' : messageOf(cause);
    throw new Failure(`Cannot read ${path}: ${state}`, { cause });
  };
}

function ignoreCode(code: string): (error: unknown) => undefined {
  return (error) => {
    if (codeOf(error) !== code) throw error;
    return undefined;
  };
}

/** The system's name of an error, such as ENOENT. */
export function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
