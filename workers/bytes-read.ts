/**
 * bytes-read — a worker's way to the octets of a message: the shared spool, pieces in Redis, or the filter itself.
 *
 * Hides which, and that none of them is trusted: what is handed on has the size and the digest of the job, or reading ends
 * with an exception. A small message is whole in memory before anybody sees an octet of it; of a large one the last
 * octets are held back until the digest is right, so that nobody scans another message to its end.
 */
import { createHash, hash } from 'node:crypto';
import { fetchBytes } from './bytes-fetch.ts';
import { readShared } from './bytes-spool.ts';
import { TempFail } from './fail.ts';
import { type Job, keysOf, sharedBytesMax } from './job.ts';
import type { Patience } from './patience.ts';
import type { Redis } from './redis.ts';

/** Where a worker may look. */
export type Sources = {
  readonly redis: Redis;
  readonly prefix: string;
  readonly spool: string;
  /** Octets under a key; null where there are none. Rejects with TempFail where patience ends first. */
  readonly piece: (key: string, signal: AbortSignal) => Promise<Buffer | null>;
  /** A message in one piece, once its size and digest are right. Rejects with TempFail, and as `piece` does. */
  readonly whole: (job: Wanted, key: string, signal: AbortSignal) => Promise<Buffer>;
};

/** What is needed of a SpooledMessage by the scanners' clients. */
export type WorkMessage = {
  readonly sizeBytes: number;
  read(from?: number, to?: number): AsyncIterable<Uint8Array>;
};

type Wanted = Pick<Job, 'bytes' | 'spoolId' | 'sizeBytes' | 'sha256'>;

/** Up to here a message is kept in memory while it is scanned. */
const memoryBytesMax = 1024 * 1024;
/** Pieces of 256 KiB at most. */
const recentMax = 32;

/** Sources of a worker. What was read for one scanner is at hand for the other, which comes for it at about the same time. */
export function createSources(options: {
  redis: Redis;
  /** For large messages: a lock must not be lost because its extension waits until they are through. */
  octets: Redis;
  prefix: string;
  spool: string;
  patience: Patience;
}): Sources {
  const { redis, octets, prefix, spool, patience } = options;

  const recall = createRecent();
  const { bytes } = keysOf(prefix);
  return {
    redis,
    prefix,
    spool,
    piece: (key, signal) =>
      patience.wait(
        recall(key, () => octets.getBuffer(key)),
        signal,
      ),
    whole(job, key, signal) {
      const name = `${key} ${job.sha256} ${job.sizeBytes}`;
      const connection = job.sizeBytes <= sharedBytesMax ? redis : octets;
      const proved = recall(name, async () =>
        provenWhole(job, key, await connection.getBuffer(bytes(key, 0))),
      );
      return patience.wait(proved, signal);
    },
  };
}

/** The digest of a small message is the larger part of reading it. */
function provenWhole({ spoolId, sizeBytes, sha256 }: Wanted, key: string, octets: Buffer | null): Buffer {
  if (octets === null) throw notThere(key, 0);
  if (octets.length !== sizeBytes || hash('sha256', octets) !== sha256) throw anotherMessage(spoolId);
  return octets;
}

/** Remembers each answer until it is asked for a second time, or others came. */
function createRecent() {
  const recent = new Map<string, Promise<unknown>>();
  return <T extends Buffer | null>(name: string, ask: () => Promise<T>): Promise<T> => {
    const known = recent.get(name);
    if (known !== undefined) {
      recent.delete(name);
      // Names of messages and of pieces are never the same.
      return known as Promise<T>;
    }
    const [oldest] = recent.keys();
    if (recent.size >= recentMax && oldest !== undefined) recent.delete(oldest);
    const asked = ask();
    recent.set(name, asked);
    asked.then(
      (octets) => octets ?? recent.delete(name),
      () => recent.delete(name),
    );
    return asked;
  };
}

/** The message of a job, of which only the first `take` octets will be read. Rejects with TempFail where it can't be had. */
export async function openMessage(
  job: Wanted,
  take: number,
  sources: Sources,
  signal: AbortSignal,
): Promise<WorkMessage> {
  const { sizeBytes, bytes } = job;
  if (bytes.kind === 'redis' && bytes.pieces === 1)
    return kept(job, (await sources.whole(job, bytes.key, signal)).subarray(0, take));
  if (take >= sizeBytes && sizeBytes > memoryBytesMax)
    return { sizeBytes, read: () => proven(job, sources, signal) };
  const parts: Uint8Array[] = [];
  let keptBytes = 0;
  for await (const chunk of proven(job, sources, signal)) {
    const part = chunk.subarray(0, Math.max(0, take - keptBytes));
    if (part.length > 0) parts.push(part);
    keptBytes += part.length;
  }
  return kept(job, Buffer.concat(parts));
}

/** A message of which these first octets are in memory. */
function kept({ spoolId, sizeBytes }: Wanted, octets: Buffer): WorkMessage {
  return {
    sizeBytes,
    async *read(from = 0, to = sizeBytes) {
      if (Math.min(to, sizeBytes) > octets.length)
        throw new TempFail(`Cannot read ${spoolId}: only ${octets.length} octets are kept`);
      yield octets.subarray(from, to);
    },
  };
}

/** Octets with the job's size and digest; the last chunk comes only when both are right. */
async function* proven(job: Wanted, sources: Sources, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  let seenBytes = 0;
  let held: Uint8Array | null = null;
  for await (const chunk of rawOctets(job, sources, signal)) {
    if (signal.aborted) throw new TempFail(`Cannot read ${job.spoolId}: not wanted any more`);
    seenBytes += chunk.length;
    if (seenBytes > job.sizeBytes) break;
    hash.update(chunk);
    if (held !== null) yield held;
    held = chunk;
  }
  if (seenBytes !== job.sizeBytes || hash.digest('hex') !== job.sha256) throw anotherMessage(job.spoolId);
  if (held !== null) yield held;
}

function rawOctets(job: Wanted, sources: Sources, signal: AbortSignal): AsyncIterable<Uint8Array> {
  const { bytes } = job;
  switch (bytes.kind) {
    case 'spool':
      return readShared(sources.spool, bytes, job.spoolId);
    case 'redis':
      return pieces(sources, bytes.key, bytes.pieces, signal);
    case 'fetch':
      return fetchBytes(bytes, job.spoolId, signal);
    default:
      return bytes satisfies never;
  }
}

async function* pieces(
  { prefix, piece: read }: Sources,
  key: string,
  count: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const { bytes } = keysOf(prefix);
  for (let piece = 0; piece < count; piece++) {
    const octets = await read(bytes(key, piece), signal);
    if (octets === null) throw notThere(key, piece);
    yield octets;
  }
}

function notThere(key: string, piece: number): TempFail {
  return new TempFail(`Cannot read ${key} in Redis: piece ${piece} is not there`);
}

function anotherMessage(spoolId: string): TempFail {
  return new TempFail(`Cannot read ${spoolId}: what is there is another message`);
}
