/**
 * bayes-shelf — the files of the sample: one for each message, and which of them stay.
 *
 * Hides names and their order. A name says all that is decided by: when it was taken, its rank, its size, which key sealed it.
 * A file gets its name only when it is whole; what a killed process left is swept. Nothing is fsynced: a sample that a crash
 * of the machine has cut can't be opened, and is missed by nobody. Rejects with what the disk says.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeSeal, readSeal, type Seal } from './bayes-seal.ts';

/** One message that is kept. */
export type Entry = {
  readonly name: string;
  /** Epoch milliseconds. */
  readonly takenAt: number;
  /** The higher, the longer it stays. */
  readonly rank: number;
  /** Of the message. */
  readonly sizeBytes: number;
  readonly keyId: string;
};

export type SampleMessage = {
  /** As in Envelope; '' is the null sender. */
  readonly sender: string;
  readonly bytes: Buffer;
};

/** After four weeks a message is no recent one. */
export const expiryMs = 28 * 86_400_000;
const clockSlackMs = 86_400_000;
const draftPrefix = '.draft-';
const namePattern = /^(\d{13})-(\d{1,15})-(\d{1,10})-([0-9a-f]{8})-[0-9a-f]{16}$/;

/** Where sample and key lie under a state folder; both are their owner's alone. */
export function samplePlaces(state: string): { readonly folder: string; readonly key: string } {
  return { folder: join(state, 'sample'), key: join(state, 'sample.key') };
}

/** Removes sample and key for good. */
export async function clearSample(state: string): Promise<void> {
  const { folder, key } = samplePlaces(state);
  // Without the key what is left of the entries is noise.
  await rm(key, { force: true });
  await rm(folder, { recursive: true, force: true });
}

/** Makes folder and key where they are missing, sweeps drafts. */
export async function openShelf(state: string): Promise<Seal> {
  const { folder, key } = samplePlaces(state);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const name of await readdir(folder))
    if (name.startsWith(draftPrefix)) await rm(join(folder, name), { force: true });
  return makeSeal(key, join(folder, draftName()));
}

/** The seal of a sample that somebody else keeps; null where nothing is kept. PermFail where its key can't be used. */
export function sealOf(state: string): Promise<Seal | null> {
  return readSeal(samplePlaces(state).key);
}

/** What is kept, lowest rank first; also what is too old, or of another key. */
export async function listEntries(state: string): Promise<Entry[]> {
  const names = await readdir(samplePlaces(state).folder).catch((cause: unknown) => {
    if (isMissing(cause)) return [];
    throw cause;
  });
  return names.flatMap((name) => entryOf(name) ?? []).toSorted((one, other) => one.rank - other.rank);
}

/** True where an entry says nothing any more; one from the future was taken by a clock that was wrong. */
export function isExpired({ takenAt }: Entry, now: number): boolean {
  return takenAt < now - expiryMs || takenAt > now + clockSlackMs;
}

/** Keeps a message. */
export async function writeEntry(
  state: string,
  seal: Seal,
  message: SampleMessage,
  { takenAt, rank }: Pick<Entry, 'takenAt' | 'rank'>,
): Promise<Entry> {
  const { folder } = samplePlaces(state);
  const sizeBytes = message.bytes.length;
  const name = `${takenAt}-${rank}-${sizeBytes}-${seal.keyId}-${randomBytes(8).toString('hex')}`;
  const draft = join(folder, draftName());
  const head = Buffer.from(`${JSON.stringify({ sender: message.sender })}\n`);
  const sealed = seal.seal(name, Buffer.concat([head, message.bytes]));
  try {
    await writeFile(draft, sealed, { mode: 0o600, flag: 'wx' });
    await rename(draft, join(folder, name));
  } catch (cause) {
    await rm(draft, { force: true });
    throw cause;
  }
  return { name, takenAt, rank, sizeBytes, keyId: seal.keyId };
}

/** The message of an entry; null where it is gone or can't be opened. */
export async function readEntry(
  state: string,
  seal: Seal,
  name: string,
): Promise<SampleMessage | 'gone' | 'unreadable'> {
  if (!namePattern.test(name)) return 'gone';
  const sealed = await readFile(join(samplePlaces(state).folder, name)).catch((cause: unknown) => {
    if (isMissing(cause)) return null;
    throw cause;
  });
  if (sealed === null) return 'gone';
  const plain = seal.open(name, sealed);
  return plain === null ? 'unreadable' : messageIn(plain);
}

/** Nothing happens where it is gone already. */
export async function removeEntry(state: string, { name }: Entry): Promise<void> {
  await rm(join(samplePlaces(state).folder, name), { force: true });
}

function messageIn(plain: Buffer): SampleMessage | 'unreadable' {
  const end = plain.indexOf('\n');
  const head: unknown = JSON.parse(plain.toString('utf8', 0, end));
  const sender = typeof head === 'object' && head !== null && 'sender' in head ? head.sender : null;
  return typeof sender === 'string' ? { sender, bytes: plain.subarray(end + 1) } : 'unreadable';
}

function entryOf(name: string): Entry | null {
  const [, takenAt, rank, sizeBytes, keyId = ''] = namePattern.exec(name) ?? [];
  if (takenAt === undefined) return null;
  return { name, takenAt: Number(takenAt), rank: Number(rank), sizeBytes: Number(sizeBytes), keyId };
}

function draftName(): string {
  return `${draftPrefix}${randomBytes(6).toString('hex')}`;
}

function isMissing(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
}
