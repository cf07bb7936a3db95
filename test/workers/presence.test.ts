/**
 * presence — who is seen, and every way in which Redis can be away, with a real Redis.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type FilterPresence,
  type Presence,
  readPresence,
  startPresence,
  type WorkerPresence,
} from '../../workers/presence.ts';
import { connectRedis, createOutage } from '../../workers/redis.ts';
import { startTcpProxy } from '../fakes/tcp-proxy.ts';
import { listeningLog, redisConfigOf, startTestRedis } from './redis-rig.ts';

const common = { host: 'a.test', pid: 7, version: '1.2.3', startedAt: 5 };
const scanner = { ok: true, detail: null, downSince: null, addresses: [], concurrency: 16, running: 3 };
const worker: WorkerPresence = { ...common, id: 'w1', virus: scanner, spam: null, spools: ['f1'] };
const filter: FilterPresence = { ...common, id: 'f1', inFlight: 4, spool: { folder: '7-0', marker: 'ab' } };

type Rig = Presence & { readonly lines: readonly string[]; readonly changes: readonly boolean[] };

/** A filter that beats fast, and ends with the test. */
function beating(
  t: TestContext,
  url: string,
  me: FilterPresence | WorkerPresence = filter,
  everyMs = 50,
): Rig {
  const config = redisConfigOf(url);
  const { log, lines } = listeningLog();
  const changes: boolean[] = [];
  const outage = createOutage(config, log);
  const connection = connectRedis(config, 'producer', outage);
  const options = { connection, prefix: 'sluice', outage, log, everyMs };
  const onChange = (up: boolean) => void changes.push(up);
  const presence =
    'inFlight' in me
      ? startPresence({ ...options, onChange, kind: 'filters', describe: () => me })
      : startPresence({ ...options, onChange, kind: 'workers', describe: () => me });
  t.after(async () => {
    await presence.close();
    connection.disconnect();
  });
  return { ...presence, lines, changes };
}

async function until(what: string, look: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 20_000; !(await look()); await delay(10))
    if (Date.now() > end) throw new Error(`Not seen: ${what}`);
}

test('startPresence() is up after the first beat, and sees who else is there', async (t) => {
  const server = await startTestRedis(t);
  const first = beating(t, server.url);
  assert.equal(first.isUp(), false);
  await first.firstBeat;
  assert.equal(first.isUp(), true);
  assert.deepEqual(first.seen(), { workers: [], filters: [filter] });
  const second = beating(t, server.url, worker);
  await second.firstBeat;
  assert.deepEqual(second.seen(), { workers: [worker], filters: [filter] });
  await until('the worker', () => first.seen().workers.length === 1);
  await second.close();
  await until('no worker', () => first.seen().workers.length === 0);
  assert.deepEqual(first.changes, [true]);
  assert.deepEqual(first.lines, []);
});

test('tell() writes at once what has changed', async (t) => {
  const server = await startTestRedis(t);
  const me = { ...filter, inFlight: 1 };
  const presence = beating(t, server.url, me, 60_000);
  await presence.firstBeat;
  me.inFlight = 2;
  await presence.tell();
  assert.match(await server.ask('GET', 'sluice:filters:f1'), /"inFlight":2/);
  server.kill('SIGKILL');
  await presence.tell();
  assert.equal(presence.isUp(), false);
});

test('readPresence() sees nobody who said nothing for ten seconds, and no stranger', async (t) => {
  const server = await startTestRedis(t);
  // Its next beat would forget those who stand in the list with a score of 1.
  const me = beating(t, server.url, worker, 60_000);
  await me.firstBeat;
  const ttl = Number(await server.ask('PTTL', 'sluice:workers:w1'));
  assert.ok(ttl > 8000 && ttl <= 10_000, `${ttl}`);
  await server.ask('ZADD', 'sluice:workers', '1', 'gone', '1', 'stranger', '1', 'half');
  await server.ask('SET', 'sluice:workers:stranger', 'hello');
  await server.ask('SET', 'sluice:workers:half', '{"id":"half"}');
  await server.ask(
    'SET',
    'sluice:workers:new',
    JSON.stringify({ ...worker, id: 'new', of: 'a later version' }),
  );
  await server.ask('ZADD', 'sluice:workers', '1', 'new');
  const config = redisConfigOf(server.url);
  const connection = connectRedis(config, 'once', createOutage(config, listeningLog().log));
  t.after(() => connection.disconnect());
  const { workers } = await readPresence(connection, 'sluice');
  assert.deepEqual(workers.map(({ id }) => id).toSorted(), ['new', 'w1']);
  assert.deepEqual((await readPresence(connection, 'other')).workers, []);
});

test('the clock is that of Redis', async (t) => {
  const server = await startTestRedis(t);
  const me = beating(t, server.url);
  await me.firstBeat;
  const [seconds = ''] = (await server.ask('TIME')).split('\n');
  assert.ok(Math.abs(me.clock.now() - Number(seconds) * 1000) < 2000);
});

test('a killed Redis is noticed at once, its return by the first beat', async (t) => {
  const server = await startTestRedis(t);
  const me = beating(t, server.url);
  await me.firstBeat;
  server.kill('SIGKILL');
  await until('away', () => !me.isUp());
  assert.deepEqual(me.seen(), { workers: [], filters: [] });
  await server.restart();
  await until('up', me.isUp);
  assert.deepEqual(me.changes, [true, false, true]);
  assert.equal(me.lines.filter((line) => line.includes('Redis is away')).length, 1, me.lines.join('\n'));
  assert.equal(me.lines.filter((line) => line.includes('Redis is back')).length, 1, me.lines.join('\n'));
});

test('an absent Redis is no failure: it is away from the first beat on', async (t) => {
  const server = await startTestRedis(t);
  await server.stop();
  const me = beating(t, server.url);
  await me.firstBeat;
  assert.equal(me.isUp(), false);
  assert.match(me.lines[0] ?? '', /Redis is away .*ECONNREFUSED/);
  await server.restart();
  await until('up', me.isUp);
});

test('a Redis that stands still is away within a beat, and back as soon as it goes on', async (t) => {
  const server = await startTestRedis(t);
  const me = beating(t, server.url);
  await me.firstBeat;
  server.kill('SIGSTOP');
  await until('away', () => !me.isUp());
  assert.match(me.lines[0] ?? '', /timed out/);
  server.kill('SIGCONT');
  await until('up', me.isUp);
  assert.deepEqual(me.changes, [true, false, true]);
});

test('a Redis that is full, or a read-only replica, is away though it answers', async (t) => {
  const server = await startTestRedis(t);
  const me = beating(t, server.url);
  const trouble = async (pattern: RegExp, begin: string[], end: string[]): Promise<void> => {
    await until('up', me.isUp);
    const before = me.lines.length;
    await server.ask(...begin);
    await until('away', () => !me.isUp());
    assert.match(me.lines[before] ?? '', pattern);
    await delay(300); // several beats: it stays away, and is told once
    assert.equal(me.lines.length, before + 1, me.lines.join('\n'));
    await server.ask(...end);
    await until('up', me.isUp);
  };
  await trouble(/OOM/, ['CONFIG', 'SET', 'maxmemory', '1'], ['CONFIG', 'SET', 'maxmemory', '0']);
  await trouble(/READONLY/, ['REPLICAOF', '127.0.0.1', '1'], ['REPLICAOF', 'NO', 'ONE']);
});

test('a connection that became half-open is made anew', async (t) => {
  const server = await startTestRedis(t);
  const proxy = await startTcpProxy(server.port);
  t.after(() => proxy.stop());
  const me = beating(t, `redis://127.0.0.1:${proxy.port}`);
  await me.firstBeat;
  proxy.swallow(true);
  await until('away', () => !me.isUp());
  proxy.swallow(false);
  await until('up', me.isUp);
});

test('an emptied Redis has us again with the next beat', async (t) => {
  const server = await startTestRedis(t);
  const me = beating(t, server.url, worker);
  await me.firstBeat;
  await server.ask('FLUSHALL');
  await until('the key', async () => (await server.ask('EXISTS', 'sluice:workers:w1')) === '1');
  assert.deepEqual(me.changes, [true]);
});
