/**
 * journal — what was taught on a backup, kept until the primary has been taught it too.
 *
 * The next sync puts the primary's Bayes database in place of the backup's: what people taught here during a failover would
 * be lost with it. An entry is one file, written and fsynced under another name first: a line of JSON, then the message. On the
 * primary the same folder has a mark for each entry that was taught, so that an entry whose answer got lost is not taught anew.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PermFail, TempFail } from '../workers/fail.ts';
import type { LearnAs } from '../workers/spamd.ts';

/** What was taught: of which message, as what, by whom, when (epoch milliseconds). */
export type Taught = {
  readonly sha256: string;
  readonly as: LearnAs;
  readonly by: string;
  readonly at: number;
  readonly sizeBytes: number;
};

/** The journal of one state folder; TempFail where the disk does not let it. */
export interface Journal {
  /** Keeps a lesson: durable when it resolves. The last one about a message stays; PermFail where the journal is full. */
  add(lesson: Omit<Taught, 'at'>, bytes: () => AsyncIterable<Uint8Array>): Promise<void>;
  /** All that waits, in the order in which it was taught. */
  list(): Promise<Taught[]>;
  /** The message of a lesson. */
  read(lesson: Pick<Taught, 'sha256' | 'as'>): Promise<Buffer>;
  /** The primary knows it: no longer kept. A later lesson about the same message stays. */
  remove(lesson: Pick<Taught, 'sha256' | 'as'>): Promise<void>;
  /** On the primary: whether this lesson of that time was taught already, and that it is now. */
  isDone(lesson: Taught): Promise<boolean>;
  noteDone(lesson: Taught): Promise<void>;
}

const lessonsMax = 1000;
const bytesMax = 256 * 1024 ** 2;
/** A backup that was away for longer asks for a lesson to be repeated, which SpamAssassin itself knows. */
const markDays = 60;
const dayMs = 86_400_000;

const lessonPattern = /^([0-9a-f]{64})\.(spam|ham|forget)$/;
const markPattern = /^done-[0-9a-f]{64}\.(?:spam|ham|forget)\.\d+$/;
const lineBytesMax = 4096;

/** The journal under a state folder; nothing is made before there is something to keep. */
export function createJournal(state: string, now: () => number = Date.now): Journal {
  const folder = join(state, 'taught');
  return {
    add: (lesson, bytes) => telling(folder, () => add(folder, { ...lesson, at: now() }, bytes)),
    list: () => telling(folder, () => list(folder)),
    read: (lesson) => telling(folder, () => readLesson(folder, lesson)),
    remove: (lesson) => telling(folder, () => removeFile(folder, nameOf(lesson))),
    isDone: (lesson) => telling(folder, async () => (await namesIn(folder)).includes(markOf(lesson))),
    noteDone: (lesson) => telling(folder, () => noteDone(folder, lesson, now())),
  };
}

/** How many lessons wait, for a look from outside; 0 where there is no journal. */
export async function countTaught(state: string): Promise<number> {
  return (await namesIn(join(state, 'taught'))).filter((name) => lessonPattern.test(name)).length;
}

async function add(folder: string, lesson: Taught, bytes: () => AsyncIterable<Uint8Array>): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const names = await namesIn(folder);
  await sweep(folder, names);
  const kept = names.filter((name) => lessonPattern.test(name) && name !== nameOf(lesson));
  const sizes = await Promise.all(kept.map(async (name) => (await stat(join(folder, name))).size));
  const used = sizes.reduce((sum, size) => sum + size, 0);
  if (kept.length >= lessonsMax || used + lesson.sizeBytes > bytesMax)
    throw new PermFail(
      `Cannot keep it for the primary: the journal ${folder} is full (${kept.length} messages, ${used} octets)`,
    );
  await writeWhole(folder, nameOf(lesson), lesson, bytes);
  // The older lesson goes only when the newer one is safe; both for a moment are told in their order.
  for (const name of kept) if (name.startsWith(`${lesson.sha256}.`)) await removeFile(folder, name);
}

async function writeWhole(
  folder: string,
  name: string,
  lesson: Taught,
  bytes: () => AsyncIterable<Uint8Array>,
): Promise<void> {
  const temporary = join(folder, `tmp-${process.pid}-${randomBytes(8).toString('hex')}`);
  const hash = createHash('sha256');
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(`${JSON.stringify(lesson)}\n`);
      for await (const chunk of bytes()) {
        hash.update(chunk);
        await file.writeFile(chunk);
      }
      await file.sync();
    } finally {
      await file.close();
    }
    if (hash.digest('hex') !== lesson.sha256) throw new Error('these are not the octets that were held');
    await rename(temporary, join(folder, name));
    await syncFolder(folder);
  } catch (cause) {
    await rm(temporary, { force: true });
    throw cause;
  }
}

async function list(folder: string): Promise<Taught[]> {
  const names = (await namesIn(folder)).filter((name) => lessonPattern.test(name));
  const found = await Promise.all(names.map((name) => headOf(folder, name)));
  return found.filter((one) => one !== null).toSorted((one, other) => one.at - other.at);
}

/** Null where another process has just removed it, or it speaks of something else. */
async function headOf(folder: string, name: string): Promise<Taught | null> {
  const file = await open(join(folder, name)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (file === null) return null;
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(lineBytesMax), 0, lineBytesMax, 0);
    return lessonIn(buffer.subarray(0, bytesRead), name)?.lesson ?? null;
  } finally {
    await file.close();
  }
}

async function readLesson(folder: string, wanted: Pick<Taught, 'sha256' | 'as'>): Promise<Buffer> {
  const octets = await readFile(join(folder, nameOf(wanted)));
  const found = lessonIn(octets, nameOf(wanted));
  if (found === null) throw new PermFail(`Cannot read ${join(folder, nameOf(wanted))}: it has another form`);
  return octets.subarray(found.from);
}

function lessonIn(octets: Buffer, name: string): { lesson: Taught; from: number } | null {
  const end = octets.indexOf(10);
  const [, sha256, as] = lessonPattern.exec(name) ?? [];
  const lesson = end < 0 ? null : jsonOf(octets.subarray(0, end).toString('utf8'));
  if (lesson === null || lesson.sha256 !== sha256 || lesson.as !== as) return null;
  return { lesson, from: end + 1 };
}

function jsonOf(text: string): Taught | null {
  try {
    return JSON.parse(text) as Taught;
  } catch {
    // Cut by a broken disk: told by whoever reads the message.
    return null;
  }
}

async function noteDone(folder: string, lesson: Taught, now: number): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const old = (await namesIn(folder)).filter(
    (name) => markPattern.test(name) && now - Number(name.split('.').at(-1)) > markDays * dayMs,
  );
  for (const name of old) await rm(join(folder, name), { force: true });
  const file = await open(join(folder, markOf(lesson)), 'w', 0o600);
  await file.close();
  await syncFolder(folder);
}

/** What a process left that died while it wrote. */
async function sweep(folder: string, names: readonly string[]): Promise<void> {
  const mine = `tmp-${process.pid}-`;
  for (const name of names) {
    if (name.startsWith('tmp-') && !name.startsWith(mine) && !isRunning(Number(name.split('-')[1])))
      await rm(join(folder, name), { force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

async function removeFile(folder: string, name: string): Promise<void> {
  await rm(join(folder, name), { force: true });
  if ((await namesIn(folder)).length > 0) await syncFolder(folder);
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
}

function nameOf({ sha256, as }: Pick<Taught, 'sha256' | 'as'>): string {
  const name = `${sha256}.${as}`;
  if (lessonPattern.test(name)) return name;
  throw new PermFail(`Cannot look up ${JSON.stringify(name.slice(0, 80))}: this is no lesson`);
}

function markOf(lesson: Taught): string {
  return `done-${nameOf(lesson)}.${lesson.at}`;
}

async function telling<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof PermFail) throw cause;
    const state = cause instanceof Error ? cause.message : String(cause);
    throw new TempFail(`Cannot use the journal ${folder}: ${state}`, { cause });
  }
}
