/** queue over Redis — Redis dies, hangs, forgets and refuses while a message is under way. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { freePort } from '../../demo/daemon.ts';
import type { RedisServer } from '../../demo/redis.ts';
import type { Act } from '../fakes/clamd.ts';
import { accepts, heldScript, leftIn, letter, openSite, until } from './remote-rig.ts';

const hangs: Act = { at: 'end', do: 'hang' };

type Fault = {
  readonly name: string;
  readonly begin: (redis: RedisServer) => Promise<unknown>;
  readonly end: (redis: RedisServer) => Promise<unknown>;
  /** Redis goes on and has forgotten the job: a worker gets it again. */
  readonly forgets?: true;
};

const faults: readonly Fault[] = [
  {
    name: 'killed',
    begin: async (redis) => redis.kill('SIGKILL'),
    end: (redis) => redis.restart(),
  },
  {
    name: 'stopped',
    begin: async (redis) => redis.kill('SIGSTOP'),
    end: async (redis) => redis.kill('SIGCONT'),
  },
  {
    name: 'read-only',
    begin: (redis) => redis.ask('REPLICAOF', '127.0.0.1', '1'),
    end: (redis) => redis.ask('REPLICAOF', 'NO', 'ONE'),
  },
  {
    name: 'out of memory',
    begin: (redis) => redis.ask('CONFIG', 'SET', 'maxmemory', '1'),
    end: (redis) => redis.ask('CONFIG', 'SET', 'maxmemory', '0'),
  },
  { name: 'flushed', begin: (redis) => redis.ask('FLUSHALL'), end: async () => undefined, forgets: true },
];

for (const { name, begin, end, forgets } of faults) {
  test(`scan() comes to an end when Redis is ${name}, and works again within 5 s of its return`, async (t) => {
    const { script, release } = heldScript();
    const site = await openSite(t, { clamdScript: script });
    await site.startWorker();
    const reached = site.clamd.next('end');
    const scanning = site.scan(letter('under way'));
    await reached;
    await begin(site.redis);
    release();
    const report = await scanning;
    if (forgets === true) assert.deepEqual(report.virus, { kind: 'clean' });
    else assert.equal(report.virus.kind === 'unchecked' && report.virus.reason, 'unreachable');
    // At once, as long as it is away.
    if (forgets !== true) {
      const meanwhile = await site.scan(letter('meanwhile'));
      assert.equal(meanwhile.spam.kind === 'unchecked' && meanwhile.spam.reason, 'unreachable');
    }
    await end(site.redis);
    await accepts(site);
    await until('nothing is left in Redis', async () => (await leftIn(site.redis)).length === 0);
    for (const queue of ['virus', 'spam'])
      assert.equal(await site.redis.ask('HGET', `test:${queue}:meta`, 'opts.maxLenEvents'), '100', queue);
  });
}

for (const { name, begin, end, forgets } of faults) {
  if (forgets === true) continue;
  test(`scan() asks the scanners of this process when Redis is ${name}`, async (t) => {
    const site = await openSite(t, { local: true });
    await site.startWorker();
    await accepts(site);
    await begin(site.redis);
    for (const body of ['before it is noticed', 'meanwhile']) {
      const { virus, spam } = await site.scan(letter(body));
      assert.deepEqual(virus, { kind: 'clean' }, body);
      assert.equal(spam.kind, 'scored', body);
    }
    await end(site.redis);
    await until('Redis is back', () => site.queue.view?.isUp() === true, 5_000);
    await accepts(site);
  });
}

test('scan() goes through a Redis that is slow', async (t) => {
  const site = await openSite(t, { redisDelayMs: 100 });
  await site.startWorker();
  const reports = await Promise.all(Array.from({ length: 10 }, (_, n) => site.scan(letter(`${n}`))));
  for (const { virus, spam } of reports) assert.deepEqual([virus.kind, spam.kind], ['clean', 'scored']);
  const large = await site.scan(letter('b'.repeat(600_000)));
  assert.deepEqual([large.virus.kind, large.spam.kind], ['clean', 'scored']);
  await until('nothing is left in Redis', async () => (await leftIn(site.redis)).length === 0);
});

test('scan() of a job that Redis lost half of leaves nothing behind', async (t) => {
  const { script, release } = heldScript();
  const site = await openSite(t, { clamdScript: script });
  await site.startWorker({ more: 'worker: { virus: 1 }' });
  const reached = site.clamd.next('end');
  const first = site.scan(letter('first'));
  await reached;
  const second = site.scan(letter('second'));
  const waiting = () => site.redis.ask('ZRANGE', 'test:virus:prioritized', '0', '-1');
  await until('it waits', async () => (await waiting()) !== '');
  const evicted = await waiting();
  await site.redis.ask('DEL', 'test:virus:prioritized');
  await until('it is added again', async () => !['', evicted].includes(await waiting()));
  await until('its other half is gone', async () => {
    return (await site.redis.ask('EXISTS', `test:virus:${evicted}`)) === '0';
  });
  release();
  site.clamd.answer('stream: OK\0');
  assert.deepEqual((await first).virus, { kind: 'clean' });
  assert.deepEqual((await second).virus, { kind: 'clean' });
  await until('nothing is left in Redis', async () => (await leftIn(site.redis)).length === 0);
});

for (const [way, isApart] of [
  ['lies in the shared spool', false],
  ['is fetched from the filter', true],
] as const) {
  test(`scan() of a message that ${way} outlives a Redis that forgets`, async (t) => {
    const { script, release } = heldScript();
    const redisMore = `messageBytesMax: 300KB, fetch: "127.0.0.1:${await freePort()}"`;
    const site = await openSite(t, {
      clamdScript: script,
      memoryBytesMax: 0,
      trusts: () => true,
      ...(isApart ? { redisMore } : { redisMore: 'messageBytesMax: 300KB' }),
    });
    await site.startWorker(isApart ? { env: { SLUICE_SPOOL: join(site.folder, 'elsewhere') } } : {});
    await site.untilSeen(1);
    const reached = site.clamd.next('end');
    const scanning = site.scan(letter('b'.repeat(600_000)));
    await reached;
    // Before the worker can write the result.
    await site.redis.ask('FLUSHALL');
    release();
    site.clamd.answer('stream: OK\0');
    assert.deepEqual((await scanning).virus, { kind: 'clean' });
  });
}

test('scan() asks the scanners of this process while Redis is away', async (t) => {
  const { script, release } = heldScript();
  const site = await openSite(t, { clamdScript: script, local: true });
  await site.startWorker();
  const reached = site.clamd.next('end');
  const scanning = site.scan(letter('under way'));
  await reached;
  release();
  site.redis.kill('SIGKILL');
  assert.deepEqual((await scanning).virus, { kind: 'clean' });
  assert.equal((await site.scan(letter('meanwhile'))).spam.kind, 'scored');
  await site.redis.restart();
  await accepts(site);
});

test('openQueue() starts while Redis is away, and uses it when it comes', async (t) => {
  const site = await openSite(t, { redisAway: true });
  const { virus } = await site.scan(letter('x'));
  assert.match(
    virus.kind === 'unchecked' ? `${virus.reason} ${virus.detail}` : '',
    /unreachable .*Redis is away/,
  );
  const worker = await site.startWorker();
  await site.redis.restart();
  await accepts(site);
  assert.match(site.workerLog(worker), /Redis is away/);
});

test('scan() that a worker began is not repeated in this process when Redis goes', async (t) => {
  const site = await openSite(t, { clamdScript: [hangs], local: true });
  await site.startWorker();
  const reached = site.clamd.next('end');
  const scanning = site.scan(letter('x'));
  await reached;
  // Looked for after 2 s, then known to have been begun.
  await new Promise((resolve) => setTimeout(resolve, 3_500));
  site.redis.kill('SIGKILL');
  const { virus } = await scanning;
  assert.equal(virus.kind === 'unchecked' && virus.reason, 'unreachable');
  assert.equal(site.clamd.conversations.filter(({ command }) => command === 'zINSTREAM').length, 1);
});
