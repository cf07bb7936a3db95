/**
 * presence — who is there: every process around a queue writes a key that expires, each second, and reads the others'.
 *
 * Hides the keys. The write is also the proof that Redis works for us: one that is away, stopped, full, read-only or refuses
 * our password does not take it, and the process counts it as away from then until the first write that succeeds. A
 * connection that does not answer is made anew. Nothing here throws, and nobody waits for it.
 */
import { z } from 'zod';
import type { Log } from './log.ts';
import type { Outage, Redis } from './redis.ts';
import { createRedisClock, type RedisClock } from './redis-clock.ts';

const scannerShape = z.object({
  /** It answered the last probe. */
  ok: z.boolean(),
  /** Why not, in its client's words. */
  detail: z.string().nullable(),
  /** Redis' time, epoch milliseconds. */
  downSince: z.number().nullable(),
  /** Each of its addresses, as the configuration there has it. */
  addresses: z.array(z.object({ address: z.string(), ok: z.boolean(), detail: z.string().nullable() })),
  concurrency: z.int().nonnegative(),
  running: z.int().nonnegative(),
});

const processShape = {
  id: z.string(),
  host: z.string(),
  pid: z.int(),
  version: z.string(),
  /** Redis' time, epoch milliseconds. */
  startedAt: z.number(),
};

const workerShape = z.object({
  ...processShape,
  /** Null: this worker does not serve the queue. */
  virus: scannerShape.nullable(),
  spam: scannerShape.nullable(),
  /** Ids of the filters whose spool it has proved to share. */
  spools: z.array(z.string()),
});

const filterShape = z.object({
  ...processShape,
  inFlight: z.int().nonnegative(),
  /** By which a worker can prove that it shares the spool: the folder's name, and the SHA-256 of the secret in it. */
  spool: z.object({ folder: z.string(), marker: z.string() }).nullable(),
});

export type ScannerPresence = z.infer<typeof scannerShape>;
export type WorkerPresence = z.infer<typeof workerShape>;
export type FilterPresence = z.infer<typeof filterShape>;

/** Who was alive at the last look. */
export type Seen = {
  readonly workers: readonly WorkerPresence[];
  readonly filters: readonly FilterPresence[];
};

export type Presence = {
  /** Whether Redis took our last word. */
  readonly isUp: () => boolean;
  readonly clock: RedisClock;
  /** As of the last beat; nobody while Redis is away. */
  readonly seen: () => Seen;
  /** Resolves after the first beat, whatever became of it. */
  readonly firstBeat: Promise<void>;
  /** Writes what has changed without waiting for the next beat; resolves when it is done, whatever became of it. */
  readonly tell: () => Promise<void>;
  /** Ends it and takes our key away, so that nobody counts on us. */
  readonly close: () => Promise<void>;
};

export type PresenceOptions = {
  /** Role `producer`: it fails at once. Not closed here. */
  readonly connection: Redis;
  readonly prefix: string;
  /** Where to tell that Redis is away, and that it is back. */
  readonly outage: Outage;
  readonly log: Log;
  /** Called when it becomes true or false; it begins as false. */
  readonly onChange?: (isUp: boolean) => void;
  readonly everyMs?: number;
} & (
  | { readonly kind: 'workers'; readonly describe: () => WorkerPresence }
  | { readonly kind: 'filters'; readonly describe: () => FilterPresence }
);

/** How long a process that said nothing more counts as alive. */
export const expiryMs = 10_000;

const nobody: Seen = { workers: [], filters: [] };
/** Entries of the index without a key are forgotten after that. */
const forgottenMs = 6 * expiryMs;

/** Begins to beat; the first beat is made at once. */
export function startPresence(options: PresenceOptions): Presence {
  const { connection, outage, log, everyMs = 1000 } = options;
  const clock = createRedisClock();
  let isUp = false;
  let seen = nobody;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let beating: Promise<void> | null = null;

  const become = (up: boolean, cause?: unknown): void => {
    if (up) outage.back();
    else outage.lost(cause);
    if (up === isUp) return;
    isUp = up;
    if (!up) seen = nobody;
    try {
      options.onChange?.(up);
    } catch (error) {
      log.error({ err: error, alarm: true }, 'Cannot act on the state of Redis');
    }
  };
  const beat = async (): Promise<void> => {
    try {
      seen = await writeAndLook(options, clock);
      if (!closed) become(true);
    } catch (cause) {
      if (closed) return;
      become(false, cause);
      // It may be half-open, or a master that became a replica: the next one may be another server.
      if (connection.status === 'ready') connection.disconnect(true);
    }
  };
  const beatNow = (): Promise<void> => {
    clearTimeout(timer);
    beating ??= beat().finally(() => {
      beating = null;
      if (!closed) timer = setTimeout(() => void beatNow(), everyMs);
    });
    return beating;
  };
  const onReady = () => void beatNow();
  const onClose = () => {
    if (!closed) become(false, new Error('Connection lost'));
  };
  connection.on('ready', onReady).on('close', onClose);
  const firstBeat = connection.status === 'ready' ? beatNow() : beatWhenKnown(connection, beatNow);
  return {
    isUp: () => isUp,
    clock,
    seen: () => seen,
    firstBeat,
    async tell() {
      // One that is under way may have described us before.
      await beating;
      await beatNow();
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      connection.off('ready', onReady).off('close', onClose);
      await beating;
      await forget(options).catch((cause: unknown) => log.debug({ err: cause }, 'Our key will expire'));
    },
  };
}

/** Reads who is alive without being part of it; rejects where Redis is away. */
export async function readPresence(connection: Redis, prefix: string): Promise<Seen> {
  const [workers, filters] = await Promise.all([
    connection.zrange(indexOf(prefix, 'workers'), 0, -1),
    connection.zrange(indexOf(prefix, 'filters'), 0, -1),
  ]);
  return readKeys(connection, prefix, workers, filters);
}

/** A connection that is being made: its first word, good or bad, is worth the first beat. */
async function beatWhenKnown(connection: Redis, beatNow: () => Promise<void>): Promise<void> {
  await new Promise<void>((resolve) => {
    const known = (): void => {
      connection.off('ready', known).off('close', known);
      resolve();
    };
    connection.on('ready', known).on('close', known);
  });
  await beatNow();
}

/** One round trip to write our key and to ask who else is there, one more to read theirs. */
async function writeAndLook(options: PresenceOptions, clock: RedisClock): Promise<Seen> {
  const { connection, prefix, kind } = options;
  const mine = options.describe();
  const now = clock.now();
  const askedAt = clock.monotonic();
  const answers = await connection
    .pipeline()
    .set(keyOf(prefix, kind, mine.id), JSON.stringify(mine), 'PX', expiryMs)
    .zadd(indexOf(prefix, kind), now, mine.id)
    .zremrangebyscore(indexOf(prefix, kind), '-inf', now - forgottenMs)
    .time()
    .zrange(indexOf(prefix, 'workers'), 0, -1)
    .zrange(indexOf(prefix, 'filters'), 0, -1)
    .exec();
  if (answers === null) throw new Error('Redis gave no answer');
  for (const [error] of answers) if (error !== null) throw error;
  const [time, workers, filters] = answers.slice(3).map(([, answer]) => answer);
  clock.learn(time, askedAt);
  return readKeys(connection, prefix, textsOf(workers), textsOf(filters));
}

async function readKeys(
  connection: Redis,
  prefix: string,
  workers: readonly string[],
  filters: readonly string[],
): Promise<Seen> {
  const keys = [
    ...workers.map((id) => keyOf(prefix, 'workers', id)),
    ...filters.map((id) => keyOf(prefix, 'filters', id)),
  ];
  if (keys.length === 0) return nobody;
  const values = await connection.mget(keys);
  return {
    workers: values.slice(0, workers.length).flatMap((value) => parsed(workerShape, value)),
    filters: values.slice(workers.length).flatMap((value) => parsed(filterShape, value)),
  };
}

async function forget(options: PresenceOptions): Promise<void> {
  const { connection, prefix, kind } = options;
  const { id } = options.describe();
  await Promise.all([connection.del(keyOf(prefix, kind, id)), connection.zrem(indexOf(prefix, kind), id)]);
}

/** None where the key expired, or holds what none of ours wrote. */
function parsed<T>(shape: z.ZodType<T>, value: string | null): T[] {
  if (value === null) return [];
  try {
    const result = shape.safeParse(JSON.parse(value));
    return result.success ? [result.data] : [];
  } catch {
    // No JSON: a stranger's.
    return [];
  }
}

function textsOf(answer: unknown): string[] {
  return Array.isArray(answer) ? answer.map(String) : [];
}

function keyOf(prefix: string, kind: 'workers' | 'filters', id: string): string {
  return `${prefix}:${kind}:${id}`;
}

/** Ids by the time of their last beat: no search through all keys. */
function indexOf(prefix: string, kind: 'workers' | 'filters'): string {
  return `${prefix}:${kind}`;
}
