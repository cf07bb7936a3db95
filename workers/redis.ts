/**
 * redis — connections to Redis (or Valkey): the one owner of ioredis.
 *
 * Hides the library, Sentinel, TLS and credentials, and the settings that each use of a connection needs. A connection
 * comes back by itself within a second of Redis' return; an outage is told once in the log, however many connections notice
 * it and however long it lasts, and never with a password. Nothing here is loaded where no `redis` is configured.
 */
import { readFileSync } from 'node:fs';
import { Redis, type RedisOptions } from 'ioredis';
import type { RedisConfig } from '../rules/config.ts';
import { parseRedisUrl, redisText } from '../rules/redis-url.ts';
import type { Log } from './log.ts';

export type { ChainableCommander, Redis, RedisOptions } from 'ioredis';

/**
 * What a connection is for. `producer`: commands that fail at once when Redis is away, in at most `commandTimeoutMs`.
 * `reader`: XREAD that blocks for at most `blockMsMax`. `worker`: BullMQ's worker, blocks as long and waits for Redis.
 * `octets`: what is large, and takes its time; waits for Redis. `subscriber`: pub/sub. `once`: a command line that asks and leaves.
 */
export type RedisRole = 'producer' | 'reader' | 'worker' | 'octets' | 'subscriber' | 'once';

/** What the connections of a process have in common: who tells that Redis is away, once. */
export type Outage = {
  readonly lost: (cause: unknown) => void;
  readonly back: () => void;
};

/** What XADD is asked with. */
export type StreamEntry = [key: string, ...words: (string | number)[]];

/** After which a producer's command counts as failed. */
export const commandTimeoutMs = 1500;
/** The longest BLOCK that is asked of Redis: a connection that is silent for longer is dead, and made anew. */
export const blockMsMax = 5000;

const retryMsMax = 1000;
const connectTimeoutMs = 5000;

/** A connection in the making; it resolves nothing and never fails: commands do. Close it with `disconnect()`. */
export function connectRedis(
  redis: RedisConfig,
  role: RedisRole,
  outage: Outage,
  overrides: RedisOptions = {},
): Redis {
  const connection = new Redis({ ...placeOf(redis), ...usual(role), ...byRole[role], ...overrides });
  // Not back with the first connection that is ready: a full or read-only Redis lets us connect, too (presence.ts).
  return connection.on('error', outage.lost);
}

/** A connection for one command line, made when this resolves; rejects with what keeps it from being made. */
export async function connectOnce(redis: RedisConfig): Promise<Redis> {
  let first: unknown = null;
  const lost = (cause: unknown): void => {
    first ??= cause;
  };
  const connection = connectRedis(redis, 'once', { lost, back: () => undefined });
  try {
    await connection.connect();
    return connection;
  } catch (cause) {
    connection.disconnect();
    // That it is closed is all that the library says here.
    throw first ?? cause;
  }
}

/**
 * Scripts that will be defined on this connection go out alone and at once, but for those that `isFrequent`. ioredis copies all
 * that it may send together into each batch: with BullMQ's 64 that was most of what a batch cost (105 µs against 3).
 */
export function batchOnly(connection: Redis, isFrequent: (script: string) => boolean): void {
  const define = connection.defineCommand.bind(connection);
  connection.defineCommand = (name, definition) => {
    define(name, definition);
    const batched: Record<string, unknown> = connection.scriptsSet;
    // It is not there where two queues share the connection.
    if (isFrequent(name) || !(name in batched)) return;
    delete batched[name];
    // A list of its own: the connections of a role begin with the same.
    const { autoPipeliningIgnoredCommands: alone = [] } = connection.options;
    connection.options.autoPipeliningIgnoredCommands = [...alone, name];
  };
}

/** Adds an entry to a stream at once, ahead of the batch that is being gathered. */
export async function xaddNow(connection: Redis, ...words: StreamEntry): Promise<void> {
  const answers = await connection
    .pipeline()
    .xadd(...words)
    .exec();
  const [error] = answers?.[0] ?? [];
  if (error instanceof Error) throw error;
}

/** An outage of this Redis, told to `log` when it begins and when it ends. */
export function createOutage(redis: RedisConfig, log: Log, now: () => number = Date.now): Outage {
  const where = redisText(redis.url);
  let since: number | null = null;
  return {
    lost(cause) {
      if (since !== null) return;
      since = now();
      log.warn({ redis: where, reason: reasonOf(cause, redis), alarm: true }, 'Redis is away');
    },
    back() {
      if (since === null) return;
      log.info({ redis: where, awayMs: now() - since }, 'Redis is back');
      since = null;
    },
  };
}

/** What went wrong, in words that hold no credentials. */
export function reasonOf(cause: unknown, redis: RedisConfig): string {
  // A refused connection to a name with several addresses is an AggregateError without a message.
  const first: unknown = cause instanceof AggregateError ? cause.errors[0] : cause;
  const text = first instanceof Error ? first.message : String(first);
  const secrets = [parseRedisUrl(redis.url)?.password ?? null, redis.sentinelPassword];
  return secrets.reduce<string>(
    (shown, secret) => (secret === null ? shown : shown.replaceAll(secret, '***')),
    text,
  );
}

const byRole: Readonly<Record<RedisRole, RedisOptions>> = {
  // What was under way when a connection broke fails at once: the message is waiting, and a job sent again later would
  // be one that nobody waits for.
  producer: {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: commandTimeoutMs,
    enableAutoPipelining: true,
  },
  reader: { maxRetriesPerRequest: null, socketTimeout: blockMsMax * 2 },
  worker: {
    maxRetriesPerRequest: null,
    socketTimeout: blockMsMax * 3,
    enableAutoPipelining: true,
    // BullMQ copies the connection for this one: it must not wait for others, nor they for it.
    autoPipeliningIgnoredCommands: ['bzpopmin'],
  },
  // Silence of a Redis that hangs; one that is only slow answers piece by piece.
  octets: { maxRetriesPerRequest: null, socketTimeout: blockMsMax * 2 },
  subscriber: { maxRetriesPerRequest: null },
  once: { maxRetriesPerRequest: 0, commandTimeout: 5000, retryStrategy: null, lazyConnect: true },
};

function usual(role: RedisRole): RedisOptions {
  return {
    connectionName: `sluice-${role}`,
    disableClientInfo: true,
    connectTimeout: connectTimeoutMs,
    disconnectTimeout: 500,
    // While it loads its dump, it is asked so often whether it is done.
    maxLoadingRetryTime: 500,
    // The kernel finds out about a peer that is gone where nobody waits for an answer (subscriber).
    keepAlive: 10_000,
    retryStrategy: (times) => Math.min(50 * 2 ** times, retryMsMax),
    sentinelRetryStrategy: (times) => Math.min(50 * 2 ** times, retryMsMax),
    sentinelCommandTimeout: connectTimeoutMs,
  };
}

function placeOf(redis: RedisConfig): RedisOptions {
  const place = parseRedisUrl(redis.url);
  if (place === null) throw new Error('Cannot connect to Redis: its URL is none');
  const { address, username, password, database } = place;
  const tls = redis.tls ? { tls: redis.caFile === null ? {} : { ca: readFileSync(redis.caFile) } } : {};
  return {
    ...(username === null ? {} : { username }),
    ...(password === null ? {} : { password }),
    db: database,
    ...tls,
    ...(redis.sentinels.length > 0 ? sentinelsOf(redis) : addressOf(address)),
  };
}

function addressOf(address: { kind: 'tcp'; host: string; port: number } | { kind: 'unix'; path: string }) {
  return address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
}

function sentinelsOf({ sentinels, master, tls, ...redis }: RedisConfig): RedisOptions {
  const addresses = sentinels.flatMap((one) =>
    one.kind === 'tcp' ? [{ host: one.host, port: one.port }] : [],
  );
  // A master that was made a replica says READONLY: Sentinel knows the new one.
  const reconnectOnError = (error: Error) => error.message.startsWith('READONLY');
  return {
    sentinels: addresses,
    name: master,
    ...(redis.sentinelUser === null ? {} : { sentinelUsername: redis.sentinelUser }),
    ...(redis.sentinelPassword === null ? {} : { sentinelPassword: redis.sentinelPassword }),
    enableTLSForSentinelMode: tls,
    reconnectOnError,
  };
}
