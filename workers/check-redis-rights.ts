/**
 * check-redis-rights — what a user of Redis must be allowed to do for us, each thing tried.
 *
 * Hides the list: BullMQ's scripts, the streams of results, octets, presence, and the channel of cancellations. What is
 * written expires within a minute, should the way back fail.
 */
import type { RedisConfig } from '../rules/config.ts';
import { type Finding, fail, ok } from '../rules/finding.ts';
import { parseRedisUrl } from '../rules/redis-url.ts';
import type { Redis } from './redis.ts';

type Trial = { readonly command: string; readonly words: readonly (string | number)[] };

/** As BullMQ asks: commands inside a script need the same rights. */
const script = `
redis.call('HSET', KEYS[1], 'a', '1')
redis.call('HGET', KEYS[1], 'a')
redis.call('DEL', KEYS[1])
redis.call('RPUSH', KEYS[1], 'a')
redis.call('LREM', KEYS[1], 0, 'a')
redis.call('ZADD', KEYS[1], 1, 'a')
redis.call('ZPOPMIN', KEYS[1])
redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], 1000)
redis.call('DEL', KEYS[1])
redis.call('XADD', KEYS[1], '*', 'a', '1')
redis.call('DEL', KEYS[1])
return 1`;

/** Findings on what the user of the URL may do; `id`: of this check, for its keys. */
export async function checkRights(
  connection: Redis,
  redis: RedisConfig,
  where: string,
  id: string,
): Promise<Finding[]> {
  const refused: string[] = [];
  for (const { command, words } of trialsFor(redis.prefix, id)) {
    const reason = await connection.call(command.toLowerCase(), ...words.map(String)).then(
      () => null,
      (cause: unknown) => (cause instanceof Error ? cause.message : String(cause)),
    );
    if (reason !== null) refused.push(`${command}: ${reason}`);
  }
  if (refused.length === 0) return [ok('Redis allows all that the queues need, tried one by one', where)];
  const what = `Redis refuses ${refused.length} of the commands that the queues need: ${refused.join('; ')}`;
  const isRight = refused.some((reason) => reason.includes('NOPERM'));
  const remedy = isRight ? rightsRemedy(redis) : 'see the reason; sluice check again when it is mended';
  return [fail(what, where, remedy)];
}

/** The rights that a user of ours needs, as one command. */
export function rightsRemedy({ url, prefix }: RedisConfig): string {
  const user = parseRedisUrl(url)?.username ?? 'default';
  return `ACL SETUSER ${user} ~${prefix}:* &${prefix}:* +@all -@dangerous +info`;
}

function trialsFor(prefix: string, id: string): Trial[] {
  const key = (name: string) => `${prefix}:check:${id}:${name}`;
  const trial = (command: string, ...words: (string | number)[]): Trial => ({ command, words });
  return [
    trial('TIME'),
    trial('SET', key('text'), 'octets', 'PX', 60_000),
    trial('GET', key('text')),
    trial('MGET', key('text'), key('none')),
    trial('INCR', key('count')),
    trial('PEXPIRE', key('count'), 60_000),
    trial('ZADD', key('set'), 1, 'a'),
    trial('PEXPIRE', key('set'), 60_000),
    trial('ZRANGE', key('set'), 0, -1),
    trial('ZREMRANGEBYSCORE', key('set'), '-inf', 0),
    trial('BZPOPMIN', key('set'), 1),
    trial('HSET', key('hash'), 'a', 1),
    trial('HMGET', key('hash'), 'a'),
    trial('XADD', key('stream'), 'MAXLEN', '~', 10, '*', 'a', 1),
    trial('PEXPIRE', key('stream'), 60_000),
    trial('XREAD', 'COUNT', 1, 'STREAMS', key('stream'), '0-0'),
    trial('XTRIM', key('stream'), 'MINID', '~', '0-1'),
    trial('EVAL', script, 1, key('script')),
    trial('PUBLISH', `${prefix}:cancel`, id),
    trial('UNLINK', key('text'), key('count'), key('hash'), key('stream')),
    trial('DEL', key('set')),
    // Last: a connection that listens can do nothing else.
    trial('SUBSCRIBE', `${prefix}:cancel`),
  ];
}
