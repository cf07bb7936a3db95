/**
 * spool — the bytes of messages in flight: small ones in memory, larger ones in a file of this process's own folder.
 *
 * Hides where the bytes are. The spool is disposable (RELIABILITY R7): nothing is fsynced, nothing is ever reinjected
 * from it, and folders of dead instances are removed at start. Every error of the disk, close included, is a TempFail;
 * a message that could not be written whole leaves no file, and one that got shorter is never read as if it were whole.
 */
import { createHash, randomUUID } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { markSpool, type SpoolMark } from './bytes-spool.ts';
import { TempFail } from './fail.ts';
import { createInstance } from './instance.ts';
import type { Log } from './log.ts';

export interface Spool {
  /** A new message; it exists for nobody else until `finish`. */
  open(): SpoolWriter;
  /** A finished message that has not been removed. */
  get(spoolId: string): SpooledMessage | undefined;
  /** Lets other processes that see the folder prove that it is this one. Rejects where the disk fails. */
  mark(): Promise<SpoolMark>;
  /** Removes this instance's folder; messages in files can't be read any more. */
  close(): Promise<void>;
}

/** Calls run in turn. `write` and `finish` reject with TempFail when the disk fails; the file is gone then. */
export interface SpoolWriter {
  /** `chunk` may be used again once this has resolved. */
  write(chunk: Uint8Array): Promise<void>;
  finish(): Promise<SpooledMessage>;
  /** Drops what was written. Idempotent, never rejects; without effect after `finish`. */
  abort(): Promise<void>;
}

export interface SpooledMessage {
  readonly spoolId: string;
  readonly sizeBytes: number;
  /** Of all octets, hex. */
  readonly sha256: string;
  /** The octets are in a file of the instance's folder; else in memory. */
  readonly inFile?: boolean;
  /** Octets `from` (included) to `to` (excluded) in chunks of 64 KiB; as often and by as many as one likes. Rejects with TempFail. */
  read(from?: number, to?: number): AsyncIterable<Uint8Array>;
  /** The first octets, at most `maxBytes`. Rejects with TempFail. */
  head(maxBytes: number): Promise<Uint8Array>;
  /** Frees memory or file. Idempotent, never rejects; readers under way may finish. */
  remove(): Promise<void>;
}

const chunkBytes = 65_536;

/** Opens a spool under `folder`. Messages of up to `memoryBytesMax` (default 256 KiB) stay in memory. */
export async function createSpool(options: {
  folder: string;
  memoryBytesMax?: number;
  log: Log;
}): Promise<Spool> {
  const { log } = options;
  const instance = await createInstance(options.folder, log);
  const messages = new Map<string, SpooledMessage>();
  return {
    open: () => createWriter(instance.folder, options.memoryBytesMax ?? 262_144, messages, log),
    get: (spoolId) => messages.get(spoolId),
    mark: () => markSpool(instance.folder),
    async close() {
      messages.clear();
      await instance.close();
    },
  };
}

function createWriter(
  folder: string,
  memoryBytesMax: number,
  messages: Map<string, SpooledMessage>,
  log: Log,
): SpoolWriter {
  const spoolId = randomUUID().replaceAll('-', ''); // node keeps random octets for these in store
  const file = join(folder, spoolId);
  const hash = createHash('sha256');
  const pending = createBlocks(); // the whole message as long as it is small, then what is too little for a write
  let handle: FileHandle | null = null;
  let writtenBytes = 0;
  let state: 'open' | 'finished' | 'gone' = 'open';
  let last: Promise<unknown> = Promise.resolve();

  async function write(chunk: Uint8Array): Promise<void> {
    hash.update(chunk);
    const waitingMax = handle === null ? memoryBytesMax : chunkBytes - 1;
    if (pending.size() + chunk.length <= waitingMax) return pending.add(chunk);
    await flush();
    // As it is: a copy of each chunk would be most of what a large message costs.
    writtenBytes += await writeAll(await opened(), chunk, writtenBytes);
  }

  async function opened(): Promise<FileHandle> {
    handle ??= await open(file, 'wx', 0o600);
    return handle;
  }

  async function flush(): Promise<void> {
    if (pending.size() > 0) writtenBytes += await writeAll(await opened(), pending.take(), writtenBytes);
  }

  async function finish(): Promise<SpooledMessage> {
    let store: Store;
    if (handle === null) store = { kind: 'memory', bytes: pending.take() };
    else {
      await flush();
      await handle.close();
      store = { kind: 'file', file, sizeBytes: writtenBytes };
    }
    state = 'finished';
    const message = createMessage(spoolId, hash.digest('hex'), store, messages, log);
    messages.set(spoolId, message);
    return message;
  }

  async function drop(): Promise<void> {
    state = 'gone';
    pending.take();
    // The reason of failing is told already; a second error of the same disk adds nothing.
    await handle
      ?.close()
      .catch((error: unknown) => log.debug({ spoolId, err: error }, 'Close failed as well'));
    if (handle !== null) await removeFile(file, log);
  }

  async function orDrop<T>(action: () => Promise<T>): Promise<T> {
    if (state !== 'open') throw new TempFail(`Cannot spool ${spoolId}: it is ${state}`);
    try {
      return await action();
    } catch (cause) {
      await drop();
      throw new TempFail(`Cannot spool ${spoolId}: ${textOf(cause)}`, { cause });
    }
  }

  /** An abort must not overtake a write that is about to create the file. */
  function inTurn<T>(action: () => Promise<T>): Promise<T> {
    const turn = last.then(action);
    last = turn.catch(() => undefined); // whoever called gets the error from `turn`
    return turn;
  }

  return {
    write: (chunk) => inTurn(() => orDrop(() => write(chunk))),
    finish: () => inTurn(() => orDrop(finish)),
    abort: () =>
      inTurn(async () => {
        if (state === 'open') await drop();
      }),
  };
}

type Store =
  | { readonly kind: 'memory'; readonly bytes: Buffer }
  | { readonly kind: 'file'; readonly file: string; readonly sizeBytes: number };

function createMessage(
  spoolId: string,
  sha256: string,
  initial: Store,
  messages: Map<string, SpooledMessage>,
  log: Log,
): SpooledMessage {
  const sizeBytes = initial.kind === 'memory' ? initial.bytes.length : initial.sizeBytes;
  let store: Store | null = initial;

  async function* read(from = 0, to = sizeBytes): AsyncGenerator<Uint8Array> {
    const start = Math.max(from, 0);
    const end = Math.min(to, sizeBytes);
    if (store === null) throw new TempFail(`Cannot read ${spoolId}: it is removed`);
    if (store.kind === 'memory') yield* slices(store.bytes.subarray(start, Math.max(start, end)));
    else yield* readFile(store.file, start, end);
  }

  return {
    spoolId,
    sizeBytes,
    sha256,
    inFile: initial.kind === 'file',
    read,
    async head(maxBytes) {
      if (store?.kind === 'memory') return store.bytes.subarray(0, maxBytes);
      const chunks: Uint8Array[] = [];
      for await (const chunk of read(0, maxBytes)) chunks.push(chunk);
      return Buffer.concat(chunks);
    },
    async remove() {
      const removed = store;
      store = null;
      messages.delete(spoolId);
      if (removed?.kind === 'file') await removeFile(removed.file, log);
    },
  };
}

function* slices(bytes: Buffer): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

async function* readFile(file: string, from: number, to: number): AsyncGenerator<Uint8Array> {
  const handle = await open(file, 'r').catch((cause: unknown) => {
    throw new TempFail(`Cannot read ${file}: ${textOf(cause)}`, { cause });
  });
  try {
    for (let at = from; at < to; ) {
      const chunk = await readChunk(handle, file, at, Math.min(chunkBytes, to - at));
      yield chunk;
      at += chunk.length;
    }
  } finally {
    await handle.close();
  }
}

async function readChunk(handle: FileHandle, file: string, at: number, sizeBytes: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(sizeBytes);
  const { bytesRead } = await handle.read(buffer, 0, sizeBytes, at).catch((cause: unknown) => {
    throw new TempFail(`Cannot read ${file}: ${textOf(cause)}`, { cause });
  });
  if (bytesRead === 0) throw new TempFail(`Cannot read ${file}: it ends at ${at}, before its size`);
  return buffer.subarray(0, bytesRead);
}

/** A write may be short (a disk that is nearly full): pwrite(2) says how far it came. */
async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<number> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
  return bytes.length;
}

async function removeFile(file: string, log: Log): Promise<void> {
  try {
    await rm(file, { force: true });
  } catch (error) {
    log.warn({ file, err: error }, 'Cannot remove a spool file; the next start sweeps it');
  }
}

/**
 * Octets in blocks, each as large as all before it, up to 64 KiB: a million chunks of one octet cost no more than one chunk,
 * and nothing is copied anew as it grows.
 */
function createBlocks() {
  let blocks: Buffer[] = [];
  let free = Buffer.alloc(0); // what is left of the last block
  let used = 0;
  return {
    size: () => used,
    add(chunk: Uint8Array): void {
      for (let at = 0; at < chunk.length; ) {
        if (free.length === 0) {
          free = Buffer.allocUnsafeSlow(Math.min(Math.max(4_096, used, chunk.length - at), chunkBytes));
          blocks.push(free);
        }
        const part = chunk.subarray(at, at + free.length);
        free.set(part);
        free = free.subarray(part.length);
        at += part.length;
      }
      used += chunk.length;
    },
    /** An exact copy of what is there; empty afterwards. */
    take(): Buffer {
      const taken = Buffer.allocUnsafeSlow(used);
      let at = 0;
      for (const block of blocks) at += block.copy(taken, at, 0, used - at);
      [blocks, free, used] = [[], Buffer.alloc(0), 0];
      return taken;
    },
  };
}

function textOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
