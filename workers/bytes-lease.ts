/**
 * bytes-lease — how the octets of a message get to workers: which way, one copy for both queues, gone when both are done.
 *
 * Hides the choice: a small message goes through Redis; a larger one through the spool where every living worker shares
 * it, else through Redis up to `messageBytesMax`, else a worker fetches it from here. What is in Redis expires by itself, and
 * all of it together stays under a cap: who comes too late waits. A worker that could not read asks again, and
 * gets another way or a fresh copy.
 */
import { randomUUID } from 'node:crypto';
import type { FetchServer } from './bytes-fetch.ts';
import type { SpoolMark } from './bytes-spool.ts';
import { type JobBytes, keysOf, sharedBytesMax } from './job.ts';
import type { Log } from './log.ts';
import type { Redis } from './redis.ts';
import type { SpooledMessage } from './spool.ts';

/** What is needed of a message. */
export type Leasable = Pick<SpooledMessage, 'spoolId' | 'sizeBytes' | 'inFile' | 'read' | 'head'>;

export type Lease = {
  /**
   * Where a worker finds the octets; null where there is no way. `failed`: what did not work before. Rejects where Redis
   * does not take them, or the message can't be read. `expiresMs`: how long they may stay at most.
   */
  readonly way: (
    wanted: { shared: boolean; failed: JobBytes | null; expiresMs: number },
    signal: AbortSignal,
  ) => Promise<JobBytes | null>;
  /** Once for each `hold`. */
  readonly release: () => void;
};

export type Leases = {
  readonly hold: (message: Leasable) => Lease;
  /** Takes away what was released; resolves when Redis has said so, or does not say anything. */
  readonly close: () => Promise<void>;
};

const pieceBytes = 262_144;
const totalBytesMax = 256 * 1024 ** 2;
/** Keys are removed together: one command for each message cost as much as writing it. */
const unlinkEveryMs = 20;
const unlinkCount = 100;

type Options = {
  readonly redis: Redis;
  /** For large messages: on `redis` everything else, signs of life too, would wait until they are through. */
  readonly octets: Redis;
  readonly prefix: string;
  /** Null where there is no spool to share. */
  readonly mark: SpoolMark | null;
  /** Null where nothing can be fetched. */
  readonly fetch: FetchServer | null;
  readonly messageBytesMax: number;
  readonly totalMax?: number;
  readonly log: Log;
};

/** Leases for the messages of a process. */
export function createLeases(options: Options): Leases {
  const store = createStore(options);
  const held = new Map<string, { readonly lease: Lease; holders: number }>();
  return {
    hold(message) {
      const { spoolId } = message;
      const entry = held.get(spoolId) ?? { lease: createLease(message, store, options), holders: 0 };
      held.set(spoolId, entry);
      entry.holders++;
      let released = false;
      return {
        way: entry.lease.way,
        release() {
          if (released) return;
          released = true;
          if (--entry.holders > 0) return;
          held.delete(spoolId);
          entry.lease.release();
        },
      };
    },
    close: () => store.flush(),
  };
}

function createLease(
  message: Leasable,
  store: Store,
  { mark, fetch, messageBytesMax }: Pick<Options, 'mark' | 'fetch' | 'messageBytesMax'>,
): Lease {
  let copy: Promise<RedisBytes> | null = null;
  let current: RedisBytes | null = null;
  const drop = (): void => {
    void copy?.then(
      (bytes) => store.remove(bytes, message.sizeBytes),
      () => undefined /* its own caller knows, and nothing is there */,
    );
    copy = null;
    current = null;
  };
  const throughRedis = async (failed: JobBytes | null, expiresMs: number, signal: AbortSignal) => {
    // Who comes second with the same failure finds the fresh copy.
    if (current !== null && current === failed) drop();
    const mine = (copy ??= store.put(message, expiresMs, signal));
    try {
      const bytes = await mine;
      if (copy === mine) current = bytes;
      return bytes;
    } catch (cause) {
      if (copy === mine) copy = null;
      throw cause;
    }
  };
  return {
    async way({ shared, failed, expiresMs }, signal) {
      if (message.inFile === true && shared && mark !== null && failed === null)
        return { kind: 'spool', ...mark };
      if (message.sizeBytes <= Math.max(messageBytesMax, pieceBytes))
        return throughRedis(failed, expiresMs, signal);
      if (fetch === null || failed?.kind === 'fetch') return null;
      return { kind: 'fetch', ...fetch.offer(message) };
    },
    release() {
      drop();
      fetch?.withdraw(message.spoolId);
    },
  };
}

type RedisBytes = JobBytes & { readonly kind: 'redis' };

type Store = {
  /** Rejects where Redis does not take them, the message can't be read, or nobody wants it any more. */
  readonly put: (message: Leasable, expiresMs: number, signal: AbortSignal) => Promise<RedisBytes>;
  readonly remove: (bytes: RedisBytes, sizeBytes: number) => void;
  /** Never rejects: what is not removed expires. */
  readonly flush: () => Promise<void>;
};

/** Octets in Redis, all together under a cap. */
function createStore({ redis, octets: bulk, prefix, totalMax = totalBytesMax, log }: Options): Store {
  const keys = keysOf(prefix);
  const room = createRoom(totalMax);

  let leftover: string[] = [];
  let timer: NodeJS.Timeout | null = null;

  const flush = async (): Promise<void> => {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    const names = leftover;
    leftover = [];
    if (names.length === 0) return;
    await redis
      .unlink(...names)
      .catch((cause: unknown) => log.debug({ err: cause }, 'Octets in Redis will expire'));
  };
  const remove = ({ key, pieces }: RedisBytes, sizeBytes: number): void => {
    room.give(sizeBytes);
    for (let piece = 0; piece < pieces; piece++) leftover.push(keys.bytes(key, piece));
    // What is large goes at once.
    if (pieces > 1 || leftover.length >= unlinkCount) void flush();
    else timer ??= setTimeout(() => void flush(), unlinkEveryMs).unref();
  };
  return {
    remove,
    flush,
    async put(message, expiresMs, signal) {
      const { sizeBytes } = message;
      if (!room.takeNow(sizeBytes)) await room.take(sizeBytes, signal);
      const bytes: RedisBytes = {
        kind: 'redis',
        key: randomUUID(),
        pieces: Math.ceil(sizeBytes / pieceBytes),
      };
      try {
        for (let piece = 0; piece < bytes.pieces; piece++) {
          const octets = await pieceOf(message, piece);
          const isSmall = sizeBytes <= sharedBytesMax;
          const written = (isSmall ? redis : bulk).set(keys.bytes(bytes.key, piece), octets, 'PX', expiresMs);
          // What is small goes out with the job itself; without it the worker asks again.
          if (!isSmall) await written;
          else written.catch((cause: unknown) => log.debug({ err: cause }, 'Redis did not take the octets'));
          signal.throwIfAborted();
        }
        return bytes;
      } catch (cause) {
        remove(bytes, sizeBytes);
        throw cause;
      }
    },
  };
}

async function pieceOf(message: Leasable, piece: number): Promise<Buffer> {
  // The first is mostly the only one: of a message in memory it is no copy.
  if (piece === 0) return bufferOf(await message.head(pieceBytes));
  const chunks: Uint8Array[] = [];
  for await (const chunk of message.read(piece * pieceBytes, (piece + 1) * pieceBytes)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function bufferOf(octets: Uint8Array): Buffer {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.length);
}

/** So many octets at once; first come, first served. One that is larger than all may have it alone. */
function createRoom(totalMax: number) {
  let free = totalMax;
  const waiting = new Set<{ readonly size: number; readonly enter: () => void }>();
  const fits = (size: number): boolean => size <= free || free === totalMax;
  const letIn = (): void => {
    for (const one of waiting) {
      if (!fits(one.size)) return;
      waiting.delete(one);
      free -= one.size;
      one.enter();
    }
  };
  return {
    takeNow(size: number): boolean {
      if (waiting.size > 0 || !fits(size)) return false;
      free -= size;
      return true;
    },
    /** Rejects where the signal comes first. */
    take: (size: number, signal: AbortSignal) =>
      new Promise<void>((resolve, reject) => {
        const leave = (): void => {
          waiting.delete(one);
          reject(signal.reason as Error);
          letIn();
        };
        const one = {
          size,
          enter() {
            signal.removeEventListener('abort', leave);
            resolve();
          },
        };
        if (signal.aborted) return reject(signal.reason as Error);
        waiting.add(one);
        signal.addEventListener('abort', leave, { once: true });
        return undefined;
      }),
    give(size: number): void {
      free += size;
      letIn();
    },
  };
}
