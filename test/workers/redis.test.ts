/**
 * redis — connections by role with a real Redis: credentials, TLS, Sentinel, and what an outage looks like.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { freePort, startDaemon } from '../../demo/daemon.ts';
import type { RedisConfig } from '../../rules/config.ts';
import { connectRedis, createOutage, type Redis, type RedisRole } from '../../workers/redis.ts';
import { listeningLog, redisConfigOf, startTestRedis } from './redis-rig.ts';

const roles: readonly RedisRole[] = ['producer', 'reader', 'worker', 'octets', 'subscriber', 'once'];

/** A connection that ends with the test, and what is logged. */
function connected(t: TestContext, config: RedisConfig, role: RedisRole) {
  const { log, lines } = listeningLog();
  const connection = connectRedis(config, role, createOutage(config, log));
  t.after(() => connection.disconnect());
  return { connection, lines };
}

/** Not once() of node:events: that rejects with the next error, and errors are expected here. */
function heard(connection: Redis, event: string): Promise<void> {
  return new Promise((resolve) => void connection.once(event, () => resolve()));
}

async function ready(connection: Redis): Promise<Redis> {
  if (connection.status !== 'ready') await heard(connection, 'ready');
  return connection;
}

test('connectRedis() speaks to Redis in every role', async (t) => {
  const server = await startTestRedis(t);
  for (const role of roles) {
    const { connection, lines } = connected(t, redisConfigOf(server.url), role);
    if (role === 'once') await connection.connect();
    else await ready(connection);
    assert.equal(await connection.ping(), 'PONG', role);
    assert.deepEqual(lines, []);
    assert.match(await server.ask('CLIENT', 'LIST'), new RegExp(`name=sluice-${role}`));
  }
});

test('connectRedis() proves itself as a user of an access list, with a password of all signs', async (t) => {
  const server = await startTestRedis(t);
  await server.ask(
    'ACL',
    'SETUSER',
    'mail',
    'on',
    '>p@ss:w%rd/',
    '~sluice:*',
    '&sluice:*',
    '+@all',
    '-@dangerous',
    '+info',
  );
  const url = `redis://mail:${encodeURIComponent('p@ss:w%rd/')}@127.0.0.1:${server.port}`;
  const { connection } = connected(t, redisConfigOf(url), 'producer');
  await ready(connection);
  assert.equal(await connection.set('sluice:a', '1'), 'OK');
  await assert.rejects(connection.set('b', '1'), /NOPERM/);
});

test('createOutage() tells a wrong password once, without it', async (t) => {
  const server = await startTestRedis(t, { password: 'richtig' });
  const config = redisConfigOf(`redis://:falsch@127.0.0.1:${server.port}`);
  const { connection, lines } = connected(t, config, 'producer');
  for (let attempt = 0; attempt < 3; attempt++) await heard(connection, 'reconnecting');
  assert.equal(lines.length, 1, lines.join('\n'));
  assert.match(lines[0] ?? '', /^warn Redis is away .*WRONGPASS/);
  assert.ok(!lines.join().includes('falsch'));
});

test('a producer fails at once while Redis is away, and works again within a second of its return', async (t) => {
  const server = await startTestRedis(t);
  const { connection, lines } = connected(t, redisConfigOf(server.url), 'producer');
  await ready(connection);
  const closed = heard(connection, 'close');
  server.kill('SIGKILL');
  await closed;
  await assert.rejects(connection.set('a', '1'), /writeable/);
  await heard(connection, 'error');
  await server.restart();
  await ready(connection);
  assert.equal(await connection.set('a', '1'), 'OK');
  assert.equal(lines.filter((line) => line.includes('Redis is away')).length, 1, lines.join('\n'));
});

test('a producer does not send again later what was under way when its connection broke', async (t) => {
  const server = await startTestRedis(t);
  const { connection } = connected(t, redisConfigOf(server.url), 'producer');
  await ready(connection);
  server.kill('SIGSTOP');
  const lost = assert.rejects(connection.set('a', '1'));
  const closed = heard(connection, 'close');
  connection.disconnect(true);
  await closed;
  await lost;
  await server.restart();
  await ready(connection);
  assert.equal(await connection.get('a'), null);
});

test('a producer does not wait for a Redis that stands still', async (t) => {
  const server = await startTestRedis(t);
  const { connection } = connected(t, redisConfigOf(server.url), 'producer');
  await ready(connection);
  server.kill('SIGSTOP');
  await assert.rejects(connection.set('a', '1'), /timed out/);
  server.kill('SIGCONT');
});

test('a worker waits for Redis to come back', async (t) => {
  const server = await startTestRedis(t);
  const { connection } = connected(t, redisConfigOf(server.url), 'worker');
  await ready(connection);
  server.kill('SIGKILL');
  await heard(connection, 'close');
  const answer = connection.set('a', '1');
  await server.restart();
  assert.equal(await answer, 'OK');
});

test('connectRedis() speaks TLS, and trusts the named authority only', async (t) => {
  const folder = (await startTestRedis(t)).folder;
  const tls = await createCertificate(folder);
  const server = await startTestRedis(t, { tls });
  const trusting = connected(t, redisConfigOf(server.url, `caFile: ${tls.ca}`), 'producer');
  await ready(trusting.connection);
  assert.equal(await trusting.connection.ping(), 'PONG');
  const wary = connected(t, redisConfigOf(server.url), 'producer');
  await heard(wary.connection, 'close');
  assert.match(wary.lines[0] ?? '', /Redis is away .*(?:self-signed|certificate)/);
});

test('connectRedis() follows Sentinel to the master, and to the next one', async (t) => {
  const [first, second] = [await startTestRedis(t), await startTestRedis(t)];
  await second.ask('REPLICAOF', '127.0.0.1', String(first.port));
  const sentinelPort = await startSentinel(t, first.folder, first.port);
  const config = redisConfigOf('redis://ignored.test', `sentinels: 127.0.0.1:${sentinelPort}, master: mail`);
  const { connection } = connected(t, config, 'producer');
  await ready(connection);
  await connection.set('sluice:a', '1');
  assert.equal(await first.ask('GET', 'sluice:a'), '1');
  // What Sentinel does at a failover.
  await second.ask('REPLICAOF', 'NO', 'ONE');
  await first.ask('REPLICAOF', '127.0.0.1', String(second.port));
  await sentinelKnows(sentinelPort, second.port);
  await assert.rejects(connection.set('sluice:a', '2'), /READONLY/);
  await heard(connection, 'ready');
  await connection.set('sluice:a', '3');
  assert.equal(await second.ask('GET', 'sluice:a'), '3');
});

test('connectRedis() proves itself to Sentinel, and never tells its password', async (t) => {
  const server = await startTestRedis(t);
  const port = await startSentinel(t, server.folder, server.port, 'hunter2');
  const configOf = (password: string) =>
    redisConfigOf(
      'redis://ignored.test',
      `sentinels: 127.0.0.1:${port}, master: mail, sentinelPassword: ${password}`,
    );
  const { connection } = connected(t, configOf('hunter2'), 'producer');
  assert.equal(await (await ready(connection)).set('sluice:a', '1'), 'OK');
  const wrong = connected(t, configOf('wrong2'), 'producer');
  await heard(wrong.connection, 'error');
  assert.match(wrong.lines[0] ?? '', /Redis is away/);
  assert.doesNotMatch(wrong.lines.join(), /wrong2/);
});

const execute = promisify(execFile);

async function createCertificate(folder: string) {
  const [ca, key] = [join(folder, 'ca.pem'), join(folder, 'key.pem')];
  const subject = ['-subj', '/CN=sluice test', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2'];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  await execute('openssl', ['req', '-x509', '-nodes', ...curve, ...subject, '-keyout', key, '-out', ca]);
  return { cert: ca, key, ca };
}

async function startSentinel(
  t: TestContext,
  folder: string,
  masterPort: number,
  password: string | null = null,
): Promise<number> {
  const port = await freePort();
  const file = join(folder, 'sentinel.conf');
  const secret = password === null ? [] : [`requirepass ${password}`];
  const monitor = `sentinel monitor mail 127.0.0.1 ${masterPort} 1`;
  const lines = [`port ${port}`, 'bind 127.0.0.1', `dir ${folder}`, ...secret, monitor, ''];
  await writeFile(file, lines.join('\n'));
  const env = { ...process.env, ...(password === null ? {} : { REDISCLI_AUTH: password }) };
  const sentinel = await startDaemon({
    command: 'redis-server',
    args: [file, '--sentinel'],
    logFile: join(folder, 'sentinel.log'),
    isUp: () =>
      execute('redis-cli', ['-p', String(port), 'PING'], { env }).then(
        ({ stdout }) => stdout.startsWith('PONG'),
        () => false,
      ),
  });
  t.after(() => sentinel.stop());
  return port;
}

async function sentinelKnows(port: number, masterPort: number): Promise<void> {
  const ask = (...words: string[]) => execute('redis-cli', ['-e', '-p', String(port), 'SENTINEL', ...words]);
  await ask('REMOVE', 'mail');
  await ask('MONITOR', 'mail', '127.0.0.1', String(masterPort), '1');
}
