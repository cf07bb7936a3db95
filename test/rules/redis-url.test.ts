/**
 * redis-url — the spellings of where a Redis is, and that no password is shown.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRedisUrl, redisText } from '../../rules/redis-url.ts';

const tcp = (host: string, port: number) => ({ kind: 'tcp', host, port });
const plain = { username: null, password: null, database: 0, tls: false };

test('parseRedisUrl() takes a URL apart', () => {
  const table: [text: string, place: object, shown: string][] = [
    ['redis://h', { ...plain, address: tcp('h', 6379) }, 'redis://h:6379/0'],
    ['redis://h:1/', { ...plain, address: tcp('h', 1) }, 'redis://h:1/0'],
    ['redis://[::1]:1/15', { ...plain, address: tcp('::1', 1), database: 15 }, 'redis://[::1]:1/15'],
    ['rediss://h', { ...plain, address: tcp('h', 6379), tls: true }, 'rediss://h:6379/0'],
    ['redis://:p%40%2F:%25@h', { ...plain, address: tcp('h', 6379), password: 'p@/:%' }, 'redis://h:6379/0'],
    [
      'redis://sluice:geheim@h/2',
      { ...plain, address: tcp('h', 6379), username: 'sluice', password: 'geheim', database: 2 },
      'redis://h:6379/2',
    ],
    [
      'unix:/run/redis/redis.sock',
      { ...plain, address: { kind: 'unix', path: '/run/redis/redis.sock', mode: null, owner: null } },
      'unix:/run/redis/redis.sock',
    ],
  ];
  for (const [text, place, shown] of table) {
    assert.deepEqual(parseRedisUrl(text), place, text);
    assert.equal(redisText(text), shown);
  }
});

test('parseRedisUrl() gives null for what it does not know, and redisText() nothing of it', () => {
  const texts = ['', 'h:6379', 'http://h', 'redis://', 'redis:///0', 'redis://h/a', 'redis://h/0?db=1'];
  for (const text of [
    ...texts,
    'redis://h#x',
    'redis://:%@h',
    'redis://:%E4@h',
    'unix:relative',
    'unix:/a?x',
  ]) {
    assert.equal(parseRedisUrl(text), null, text);
    assert.equal(redisText(text), 'redis');
  }
});
