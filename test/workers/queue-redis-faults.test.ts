/** queue over Redis — Redis and workers die, hang, forget and refuse while a message is under way. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { freePort } from '../../demo/daemon.ts';
import type { RedisServer } from '../../demo/redis.ts';
import type { Act } from '../fakes/clamd.ts';
import { leftIn, openSite, type Site, until } from './remote-rig.ts';

const letter = (body: string) => `Subject: x\r\n\r\n${body}\r\n`;
const hangs: Act = { at: 'end', do: 'hang' };

/** A script that clamd follows until `release` is called. */
function heldScript(): { script: (Act | null)[]; release: () => void } {
  const script: (Act | null)[] = [hangs];
  return { script, release: () => void script.splice(0, script.length, null) };
}

/** Scans go through again, by a worker. */
async function accepts(site: Site): Promise<void> {
  const asked = () => site.clamd.conversations.filter(({ command }) => command === 'zINSTREAM').length;
  await until(
    'mail is accepted again',
    async () => {
      const before = asked();
      const report = await site.scan(letter('again'));
      return report.virus.kind === 'clean' && report.spam.kind === 'scored' && asked() > before;
    },
    5_000,
  );
}

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
  });
}

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
  const site = await openSite(t);
  site.redis.kill('SIGKILL');
  await until('it is noticed', async () => (await site.scan(letter('x'))).virus.kind === 'unchecked');
  const worker = await site.startWorker();
  await site.redis.restart();
  await accepts(site);
  assert.match(site.workerLog(worker), /Redis is away/);
});

test('scan() is unreachable at once where no worker has lived for 5 s', async (t) => {
  const site = await openSite(t);
  const first = await site.scan(letter('x'));
  assert.match(first.virus.kind === 'unchecked' ? first.virus.detail : '', /no worker for virus is alive/);
  const before = performance.now();
  const second = await site.scan(letter('x'));
  assert.equal(second.spam.kind === 'unchecked' && second.spam.reason, 'unreachable');
  assert.ok(performance.now() - before < 4_000, 'it did not wait again');
  await site.startWorker();
  await accepts(site);
});

test('scan() is done by another worker within 10 s of the death of the first', async (t) => {
  const { script, release } = heldScript();
  const site = await openSite(t, { clamdScript: script });
  const first = await site.startWorker();
  const reached = site.clamd.next('end');
  const scanning = site.scan(letter('x'));
  await reached;
  await site.startWorker();
  release();
  const died = performance.now();
  first.kill('SIGKILL');
  assert.deepEqual((await scanning).virus, { kind: 'clean' });
  assert.ok(performance.now() - died < 10_000, `${Math.round(performance.now() - died)} ms`);
  await until('nothing is left in Redis', async () => (await leftIn(site.redis)).length === 0);
});

test('scan() of a message that kills its workers is poison, and never touches the scanner of this process', async (t) => {
  const site = await openSite(t, { clamdScript: [hangs], local: true });
  const asked = () => site.clamd.conversations.filter(({ command }) => command === 'zINSTREAM').length;
  let worker = await site.startWorker();
  let deaths = 0;
  const scanning = site.scan(letter('poison'));
  const report = await Promise.race([
    scanning,
    (async (): Promise<never> => {
      for (;;) {
        await until('a worker has it', () => asked() > deaths);
        deaths++;
        worker.kill('SIGKILL');
        worker = await site.startWorker();
      }
    })(),
  ]);
  assert.equal(report.virus.kind === 'unchecked' && report.virus.reason, 'poison');
  assert.equal(report.spam.kind, 'scored');
  assert.equal(asked(), 3);
  await until('nothing is left in Redis', async () => (await leftIn(site.redis)).length === 0);
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

test('a worker told to stop finishes what it has, takes no more, and ends with 0', async (t) => {
  const { script } = heldScript();
  const site = await openSite(t, { clamdScript: script });
  const worker = await site.startWorker({ more: 'worker: { virus: 1 }' });
  const reached = site.clamd.next('end');
  const first = site.scan(letter('first'));
  await reached;
  const second = site.scan(letter('second'));
  worker.kill('SIGTERM');
  await until('it stops', () => site.workerLog(worker).includes('Stopping'));
  site.clamd.answer('stream: OK\0');
  assert.deepEqual((await first).virus, { kind: 'clean' });
  script.splice(0, script.length, null);
  await site.startWorker();
  assert.deepEqual((await second).virus, { kind: 'clean' });
});

test('scan() that is cancelled ends the scan at the worker, and takes back what waits', async (t) => {
  const { script } = heldScript();
  const site = await openSite(t, { clamdScript: script });
  await site.startWorker({ more: 'worker: { virus: 1 }' });
  const reached = site.clamd.next('end');
  const stops = [new AbortController(), new AbortController()] as const;
  const running = site.scan(letter('running'), stops[0].signal);
  await reached;
  const waiting = site.scan(letter('waiting'), stops[1].signal);
  const jobs = async () => Number(await site.redis.ask('ZCARD', 'test:virus:prioritized'));
  await until('it waits', async () => (await jobs()) === 1);
  stops[1].abort();
  assert.equal((await waiting).virus.kind, 'unchecked');
  await until('it is taken back', async () => (await jobs()) === 0);
  const closed = site.clamd.next('closed');
  stops[0].abort();
  const { virus } = await running;
  assert.equal(virus.kind === 'unchecked' && virus.reason, 'cancelled');
  await closed;
  await until('nothing is left in Redis', async () => (await leftIn(site.redis)).length === 0);
});

test('scan() that no worker had time for is busy, one that was begun is a timeout', async (t) => {
  const site = await openSite(t, { clamdScript: [hangs], deadlineSeconds: 6 });
  await site.startWorker({ more: 'worker: { virus: 1 }' });
  const reached = site.clamd.next('end');
  const begun = site.scan(letter('begun'));
  await reached;
  const waits = site.scan(letter('waits'));
  const [first, second] = [(await begun).virus, (await waits).virus];
  assert.equal(first.kind === 'unchecked' && first.reason, 'timeout');
  assert.equal(second.kind === 'unchecked' && second.reason, 'busy');
});
