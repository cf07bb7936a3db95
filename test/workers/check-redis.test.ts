/**
 * check-redis — a Redis as it should be is passed in silence, and each planted mistake is found with its remedy.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { parseConfig } from '../../rules/config.ts';
import { checkRedis } from '../../workers/check-redis.ts';
import { version } from '../../workers/version.ts';
import { startTestRedis } from './redis-rig.ts';

async function findingsOf(url: string, more = ''): Promise<string[]> {
  const text = `clamd: a:1\nspamd: a:2\nredis: { url: "${url}" ${more} }`;
  const { config } = parseConfig({ file: 'sluice.yaml', text }, {});
  assert.ok(config !== null && config.redis !== null);
  const findings = await checkRedis(config, config.redis, version);
  return findings.map(({ level, what, remedy }) => `${level} ${what}${remedy === null ? '' : `: ${remedy}`}`);
}

/** What is not in order, workers aside: there are none here. */
async function wrongWith(url: string, more = ''): Promise<string[]> {
  return (await findingsOf(url, more)).filter(
    (line) => !line.startsWith('ok ') && !line.includes('No worker'),
  );
}

async function mistake(t: TestContext, settings: readonly string[], ...expected: RegExp[]): Promise<void> {
  const server = await startTestRedis(t, { settings });
  const wrong = await wrongWith(server.url);
  assert.equal(wrong.length, expected.length, wrong.join('\n'));
  for (const [at, pattern] of expected.entries()) assert.match(wrong[at] ?? '', pattern);
}

test('checkRedis() has nothing against a Redis as it should be, and leaves nothing in it', async (t) => {
  const server = await startTestRedis(t, { settings: ['maxmemory 1gb'] });
  const findings = await findingsOf(server.url);
  assert.deepEqual(await wrongWith(server.url), []);
  for (const pattern of [
    /Redis \d+\.\d+\.\d+ answers/,
    /allows all that the queues need/,
    /evicts nothing/,
    /has room/,
  ])
    assert.ok(
      findings.some((line) => pattern.test(line)),
      `${pattern}\n${findings.join('\n')}`,
    );
  assert.equal(await server.ask('DBSIZE'), '0');
});

test('checkRedis() fails on every eviction policy but noeviction', async (t) => {
  const server = await startTestRedis(t);
  for (const policy of ['allkeys-lru', 'volatile-lru', 'allkeys-random', 'volatile-ttl']) {
    await server.ask('CONFIG', 'SET', 'maxmemory-policy', policy);
    const wrong = await wrongWith(server.url);
    assert.equal(wrong.length, 1, wrong.join('\n'));
    assert.match(
      wrong[0] ?? '',
      new RegExp(`^fail Redis throws jobs away when it is full: maxmemory-policy is ${policy}: CONFIG SET`),
    );
  }
});

test('checkRedis() warns of a Redis that what is in flight may fill', async (t) => {
  await mistake(
    t,
    ['maxmemory 20mb'],
    /^warn Redis may get full, .*maxmemory is 20 MB, .* need up to 258 MB: raise/,
  );
});

test('checkRedis() counts what every filter that is alive may have in flight', async (t) => {
  const server = await startTestRedis(t, { settings: ['maxmemory 300mb'] });
  assert.deepEqual(await wrongWith(server.url), []);
  for (const id of ['a', 'b', 'c']) {
    const filter = { id, host: 'mx', pid: 1, version, startedAt: 1, inFlight: 0, spool: null };
    await server.ask('ZADD', 'sluice:filters', '1', id);
    await server.ask('SET', `sluice:filters:${id}`, JSON.stringify(filter));
  }
  assert.match((await wrongWith(server.url)).join(), /in flight of each of 3 filters need up to 773 MB/);
});

test('checkRedis() finds a replica', async (t) => {
  const server = await startTestRedis(t);
  await server.ask('REPLICAOF', '127.0.0.1', '1');
  assert.match(
    (await wrongWith(server.url)).join(),
    /^fail Redis is a replica of 127\.0\.0\.1:1: .*: name the master/,
  );
});

test('checkRedis() finds a cluster', (t) =>
  mistake(t, ['cluster-enabled yes'], /^fail Redis is a cluster: .*: take a Redis of its own/));

test('checkRedis() says that Redis is away, and how', async () => {
  assert.match(
    (await wrongWith('redis://127.0.0.1:1')).join(),
    /^fail Redis does not answer: .*ECONNREFUSED.*: start Redis/,
  );
});

test('checkRedis() says that the certificates can not be read', async () => {
  const wrong = await wrongWith('rediss://127.0.0.1:1', ', caFile: /nowhere.pem');
  assert.match(wrong.join(), /^fail Redis does not answer: .*ENOENT.*nowhere\.pem/);
});

test('checkRedis() says that the password is wrong, and not what it was', async (t) => {
  const server = await startTestRedis(t, { password: 'richtig' });
  for (const url of [`redis://:hunter2@127.0.0.1:${server.port}`, `redis://127.0.0.1:${server.port}`]) {
    const wrong = (await wrongWith(url)).join();
    assert.match(wrong, /^fail Redis refuses the password of user default: .*: correct redis\.url/);
    assert.ok(!wrong.includes('hunter2'));
  }
});

test('checkRedis() finds the right that is missing, and its remedy is enough', async (t) => {
  const server = await startTestRedis(t);
  const url = `redis://mail:pw@127.0.0.1:${server.port}`;
  await server.ask(
    'ACL',
    'SETUSER',
    'mail',
    'on',
    '>pw',
    '~sluice:*',
    '&sluice:*',
    '+@all',
    '-@dangerous',
    '+info',
    '-xadd',
  );
  const wrong = await wrongWith(url);
  assert.equal(wrong.length, 1);
  assert.match(wrong[0] ?? '', /^fail Redis refuses 2 of the commands .*XADD: NOPERM.*EVAL:/);
  const remedy = /ACL SETUSER mail .*$/.exec(wrong[0] ?? '')?.[0] ?? '';
  await server.ask(...remedy.split(' '));
  assert.deepEqual(await wrongWith(url), []);
  await server.ask('ACL', 'SETUSER', 'mail', 'resetkeys', '~other:*');
  assert.match((await wrongWith(url)).join(), /^fail Redis refuses \d+ of the commands .*SET: NOPERM/);
  await server.ask('ACL', 'SETUSER', 'mail', 'resetchannels');
  assert.match((await wrongWith(url)).join(), /PUBLISH: NOPERM/);
});
