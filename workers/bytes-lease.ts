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
import { type JobBytes, keysOf } from './job.ts';
import type { Log } from './log.ts';
import type { Redis } from './redis.ts';
import type { SpooledMessage } from './spool.ts';

/** What is needed of a message. */
export type Leasable = Pick<SpooledMessage, 'spoolId' | 'sizeBytes' | 'inFile' | 'read'>;

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

export type Leases = { readonly hold: (message: Leasable) => Lease };

const pieceBytes = 262_144;
const totalBytesMax = 256 * 1024 ** 2;

type Copy = { readonly bytes: JobBytes & { kind: 'redis' }; readonly taken: number };

/** `mark`: null where there is no spool to share; `fetch`: null where nothing can be fetched. */
export function createLeases(options: {
  redis: Redis;
  prefix: string;
  mark: SpoolMark | null;
  fetch: FetchServer | null;
  messageBytesMax: number;
  totalMax?: number;
  log: Log;
}): Leases {
  const { redis, prefix, mark, fetch, messageBytesMax, log } = options;
  const keys = keysOf(prefix);
  const room = createRoom(options.totalMax ?? totalBytesMax);
  const held = new Map<string, { lease: Lease; holders: number }>();

  function forget({ bytes, taken }: Copy): void {
    room.give(taken);
    const names = Array.from({ length: bytes.pieces }, (_, piece) => keys.bytes(bytes.key, piece));
    if (names.length === 0) return;
    redis
      .unlink(...names)
      .catch((cause: unknown) => log.debug({ err: cause }, 'Octets in Redis will expire'));
  }

  async function put(message: Leasable, expiresMs: number, signal: AbortSignal): Promise<Copy> {
    const { sizeBytes } = message;
    if (!room.takeNow(sizeBytes)) await room.take(sizeBytes, signal);
    const bytes = { kind: 'redis', key: randomUUID(), pieces: Math.ceil(sizeBytes / pieceBytes) } as const;
    try {
      for (let piece = 0; piece < bytes.pieces; piece++) {
        const octets = await pieceOf(message, piece);
        const written = redis.set(keys.bytes(bytes.key, piece), octets, 'PX', expiresMs);
        // The only piece goes out with the job itself; without it the worker asks again.
        if (bytes.pieces > 1) await written;
        else written.catch((cause: unknown) => log.debug({ err: cause }, 'Redis did not take the octets'));
        signal.throwIfAborted();
      }
      return { bytes, taken: sizeBytes };
    } catch (cause) {
      forget({ bytes, taken: sizeBytes });
      throw cause;
    }
  }

  function createLease(message: Leasable): Lease {
    let copy: Promise<Copy> | null = null;
    let current: JobBytes | null = null;
    let ended = false;
    const drop = (): void => {
      void copy?.then(forget, () => undefined /* its own caller knows, and nothing is there */);
      copy = null;
      current = null;
    };
    const throughRedis = async (failed: JobBytes | null, expiresMs: number, signal: AbortSignal) => {
      if (current !== null && current === failed) drop();
      copy ??= put(message, expiresMs, signal);
      try {
        const { bytes } = await copy;
        if (!ended) current = bytes;
        return bytes;
      } catch (cause) {
        copy = null;
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
        ended = true;
        drop();
        fetch?.withdraw(message.spoolId);
      },
    };
  }

  return {
    hold(message) {
      const { spoolId } = message;
      const entry = held.get(spoolId) ?? { lease: createLease(message), holders: 0 };
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
  };
}

async function pieceOf(message: Leasable, piece: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of message.read(piece * pieceBytes, (piece + 1) * pieceBytes)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** So many octets at once; first come, first served. One that is larger than all may have it alone. */
function createRoom(totalMax: number) {
  let free = totalMax;
  const waiting = new Set<() => void>();
  const takeNow = (size: number): boolean => {
    if (waiting.size > 0 || (size > free && free < totalMax)) return false;
    free -= size;
    return true;
  };
  return {
    takeNow,
    async take(size: number, signal: AbortSignal): Promise<void> {
      for (;;) {
        await new Promise<void>((resolve) => {
          const wake = () => {
            waiting.delete(wake);
            signal.removeEventListener('abort', wake);
            resolve();
          };
          waiting.add(wake);
          signal.addEventListener('abort', wake, { once: true });
        });
        signal.throwIfAborted();
        if (takeNow(size)) return;
      }
    },
    give(size: number): void {
      free += size;
      const [wake] = waiting;
      wake?.();
    },
  };
}
