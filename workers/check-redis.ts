/**
 * check-redis — whether the Redis of the configuration can carry the queues, and whether there are workers to take from them.
 *
 * Every right is tried on keys of our own that expire; nothing else in it is looked at or changed. Never throws: what could not
 * be found out is a finding. Loaded only where `redis` is configured.
 */
import { randomUUID } from 'node:crypto';
import type { Config, RedisConfig } from '../rules/config.ts';
import { type Finding, fail, ok, warn } from '../rules/finding.ts';
import { parseRedisUrl, redisText } from '../rules/redis-url.ts';
import { checkRights, rightsRemedy } from './check-redis-rights.ts';
import { judgeWorkers } from './check-workers.ts';
import { readPresence } from './presence.ts';
import { connectOnce, type Redis, reasonOf } from './redis.ts';

/** What INFO says, by field. */
type Info = ReadonlyMap<string, string>;

/** XTRIM MINID came with it. */
const oldestVersion = [6, 2];
/** What Redis holds of a message in flight at most, but for its octets: two jobs and two results. */
const bytesPerMessage = 16 * 1024;
/** Octets of one filter's messages in Redis at once (bytes-lease.ts). */
const octetsMax = 256 * 1024 ** 2;

/** All findings; `version`: of this Sluice. */
export async function checkRedis(config: Config, redis: RedisConfig, version: string): Promise<Finding[]> {
  const where = redisText(redis.url);
  let connection: Redis | null = null;
  try {
    connection = await connectOnce(redis);
    const info = parseInfo(await connection.info());
    const server = judgeServer(info, where);
    if (server.some(({ level }) => level === 'fail')) return server;
    const seen = await readPresence(connection, redis.prefix).catch(() => null);
    // Where even that is refused, the rights are what is missing. They come last: the connection listens after that.
    const workers = seen === null ? [] : judgeWorkers(config, seen, version);
    const filters = Math.max(1, seen?.filters.length ?? 1);
    const memory = [...judgeEviction(info, where), ...judgeMemory(info, config, filters, where)];
    const rights = await checkRights(connection, redis, where, randomUUID());
    return [...server, ...rights, ...memory, ...judgePersistence(info, where), ...workers];
  } catch (cause) {
    return [unusable(cause, redis, where)];
  } finally {
    connection?.disconnect();
  }
}

function unusable(cause: unknown, redis: RedisConfig, where: string): Finding {
  const reason = reasonOf(cause, redis);
  if (/WRONGPASS|NOAUTH|invalid password/i.test(reason)) {
    const user = parseRedisUrl(redis.url)?.username ?? 'default';
    return fail(
      `Redis refuses the password of user ${user}: ${reason}`,
      where,
      'correct redis.url in sluice.yaml',
    );
  }
  if (/NOPERM/.test(reason)) return fail(`Redis allows too little: ${reason}`, where, rightsRemedy(redis));
  const remedy = 'start Redis, or correct redis.url; until then scans run in the filter, or mail is deferred';
  return fail(`Redis does not answer: ${reason}`, where, remedy);
}

function judgeServer(info: Info, where: string): Finding[] {
  const name = info.get('server_name') === 'valkey' ? 'Valkey' : 'Redis';
  const version = info.get('valkey_version') ?? info.get('redis_version') ?? '';
  // Valkey says under redis_version which Redis it can stand in for.
  const [major = 0, minor = 0] = (info.get('redis_version') ?? '').split('.').map(Number);
  const [neededMajor = 0, neededMinor = 0] = oldestVersion;
  if (major < neededMajor || (major === neededMajor && minor < neededMinor))
    return [fail(`${name} ${version} is too old`, where, `install ${oldestVersion.join('.')} or newer`)];
  if (info.get('cluster_enabled') === '1') {
    const remedy = 'take a Redis of its own, or Sentinel: what waits in the queues is small';
    return [fail(`${name} is a cluster: its nodes hold only parts of a queue`, where, remedy)];
  }
  if (info.get('role') !== 'master') {
    const master = `${info.get('master_host')}:${info.get('master_port')}`;
    const what = `${name} is a replica of ${master}: it takes no job`;
    return [fail(what, where, 'name the master in redis.url, or Sentinel under redis.sentinels')];
  }
  if (info.get('loading') === '1')
    return [fail(`${name} is still loading its dump`, where, 'wait until it is done')];
  return [ok(`${name} ${version} answers`, where)];
}

function judgeEviction(info: Info, where: string): Finding[] {
  const policy = info.get('maxmemory_policy');
  if (policy === undefined)
    return [ok('Redis does not tell its eviction policy: it must be noeviction', where)];
  if (policy === 'noeviction') return [ok('Redis evicts nothing (maxmemory-policy noeviction)', where)];
  const what = `Redis throws jobs away when it is full: maxmemory-policy is ${policy}`;
  return [fail(what, where, 'CONFIG SET maxmemory-policy noeviction, and the same in redis.conf')];
}

/** `filters`: as many as are alive; each is thought to have the limits of this configuration. */
function judgeMemory(info: Info, config: Config, filters: number, where: string): Finding[] {
  const most = Number(info.get('maxmemory') ?? 0);
  if (!(most > 0)) return [ok('Redis may use all memory (maxmemory 0)', where)];
  const used = Number(info.get('used_memory') ?? 0);
  const { inFlight, messageBytes } = config.limits;
  const octets = Math.min(octetsMax, inFlight * Math.min(messageBytes, config.redis?.messageBytesMax ?? 0));
  const needed = filters * (inFlight * bytesPerMessage + octets);
  const text = `maxmemory is ${megabytes(most)}, of which ${megabytes(used)} are taken`;
  if (most - used >= needed) return [ok(`Redis has room: ${text}`, where)];
  const each = filters === 1 ? '' : ` of each of ${filters} filters`;
  const what = `${text}; ${inFlight} messages in flight${each} need up to ${megabytes(needed)}`;
  const remedy = 'raise maxmemory of Redis, or lower limits.inFlight or redis.messageBytesMax';
  return [warn(`Redis may get full, and then takes no job: ${what}`, where, remedy)];
}

function judgePersistence(info: Info, where: string): Finding[] {
  if (info.get('rdb_last_bgsave_status') === 'err') {
    const remedy =
      'make room in its folder or correct its rights, or write save "" in redis.conf: Sluice needs no dump';
    return [fail('Redis could not save its dump: it may refuse every write until it can', where, remedy)];
  }
  if (info.get('aof_enabled') === '1')
    return [
      ok('Redis keeps a log on disk (appendonly yes): Sluice needs none, Redis is scratch to it', where),
    ];
  return [];
}

function parseInfo(text: string): Info {
  const fields = text.split('\r\n').filter((line) => line.includes(':'));
  return new Map(
    fields.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)] as const),
  );
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1024 ** 2)} MB`;
}
