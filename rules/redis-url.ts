/**
 * redis-url — where a Redis is, out of the URL in sluice.yaml.
 *
 * Hides the spellings: redis://, rediss:// (TLS) and unix:/path, credentials percent-encoded, the database as path. The
 * text that is shown to people never holds a password. Valkey is spoken of in the same way.
 */
import { formatAddress } from './address.ts';
import type { Address } from './address.ts';

/** A URL taken apart; `username` null where only a password, or nothing, is given. */
export type RedisPlace = {
  readonly address: Address;
  readonly username: string | null;
  readonly password: string | null;
  readonly database: number;
  readonly tls: boolean;
};

/** The parts of a URL, or null where it is none of ours. */
export function parseRedisUrl(text: string): RedisPlace | null {
  const path = /^unix:(\/[^?#]+)$/.exec(text)?.[1];
  if (path !== undefined) {
    const address = { kind: 'unix', path, mode: null, owner: null } as const;
    return { address, username: null, password: null, database: 0, tls: false };
  }
  if (!/^rediss?:\/\//.test(text) || !URL.canParse(text)) return null;
  const { protocol, hostname, port, username, password, pathname, search, hash } = new URL(text);
  const database = /^\/?(\d{0,5})$/.exec(pathname)?.[1];
  if (hostname === '' || database === undefined || search !== '' || hash !== '') return null;
  const [user, secret] = [decoded(username), decoded(password)];
  if (user === null || secret === null) return null;
  const host = hostname.replace(/^\[|\]$/g, '');
  return {
    address: { kind: 'tcp', host, port: port === '' ? 6379 : Number(port) },
    username: user === '' ? null : user,
    password: secret === '' ? null : secret,
    database: Number(database),
    tls: protocol === 'rediss:',
  };
}

/** The URL as people may see it: without credentials. */
export function redisText(text: string): string {
  const place = parseRedisUrl(text);
  if (place === null) return 'redis';
  if (place.address.kind === 'unix') return formatAddress(place.address);
  return `${place.tls ? 'rediss' : 'redis'}://${formatAddress(place.address)}/${place.database}`;
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    // A lone percent sign: it would be another password than the one meant.
    return null;
  }
}
