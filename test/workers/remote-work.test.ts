/** remote-work — what a worker does with jobs that are taken back, or that a worker died on, with a real Redis and a fake clamd. */
import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { createSources } from '../../workers/bytes-read.ts';
import { createClamd } from '../../workers/clamd.ts';
import { type Job, keysOf } from '../../workers/job.ts';
import { silentLog } from '../../workers/log.ts';
import { createPatience } from '../../workers/patience.ts';
import { connectRedis, createOutage } from '../../workers/redis.ts';
import { createSuspects } from '../../workers/remote-suspects.ts';
import { createWork } from '../../workers/remote-work.ts';
import { type Act, startFakeClamd } from '../fakes/clamd.ts';
import { redisConfigOf, startTestRedis } from './redis-rig.ts';
import { until } from './remote-rig.ts';

async function setUp(t: TestContext, script: (Act | null)[] = [null]) {
  const server = await startTestRedis(t);
  const config = redisConfigOf(server.url);
  const redis = connectRedis(config, 'worker', createOutage(config, silentLog));
  t.after(() => redis.disconnect());
  await once(redis, 'ready');
  const daemon = await startFakeClamd({ script });
  t.after(() => daemon.stop());
  const address = { ...daemon.address, mode: null, owner: null } as never;
  const clamd = createClamd({ addresses: [address], concurrency: 10, timeoutMs: 60_000, log: silentLog });
  t.after(() => clamd.close());
  const patience = createPatience();
  const work = createWork({
    id: 'w',
    sources: createSources({ redis, octets: redis, prefix: 'test', spool: '/nowhere', patience }),
    suspects: createSuspects(redis, 'test', patience),
    clients: { clamd, spamd: null },
    spamBytes: 1024,
    clock: { now: Date.now },
    log: silentLog,
  });
  const results = keysOf('test').results(instance);
  await redis.xadd(results, '*', 'alive', '');
  const jobOf = async (text: string): Promise<Job> => {
    const key = randomUUID();
    await redis.set(keysOf('test').bytes(key, 0), text);
    return {
      jobId: randomUUID(),
      instance,
      task: 'scan',
      spoolId: 'ab'.repeat(16),
      sizeBytes: text.length,
      sha256: createHash('sha256').update(text).digest('hex'),
      queueId: null,
      sender: '',
      deadline: Date.now() + 60_000,
      bytes: { kind: 'redis', key, pieces: 1 },
    };
  };
  const outcomes = async () =>
    (await redis.xrange(results, '-', '+')).flatMap(([, [name, text]]) =>
      name === 'result'
        ? [(JSON.parse(text ?? '') as { outcome: { kind: string; reason?: string } }).outcome]
        : [],
    );
  const scanned = () =>
    daemon.conversations
      .filter(({ command }) => command === 'zINSTREAM')
      .map(({ stream }) => stream.toString());
  return { server, redis, daemon, patience, work, jobOf, outcomes, scanned };
}

const instance = randomUUID();

test('take() drops a job that was taken back before it came', async (t) => {
  const { work, jobOf, outcomes, scanned } = await setUp(t);
  const [taken, other] = [await jobOf('taken back'), await jobOf('other')];
  work.cancel(taken.jobId);
  await work.take('virus', taken, 0);
  await work.take('virus', other, 0);
  assert.deepEqual(scanned(), ['other']);
  assert.deepEqual(await outcomes(), [{ kind: 'clean' }]);
});

for (const together of [1, 10]) {
  test(`take() writes each result before BullMQ hears of it, with ${together} at once`, async (t) => {
    const { redis, work, jobOf, outcomes } = await setUp(t);
    const jobs = await Promise.all(Array.from({ length: together }, (_, n) => jobOf(`${n}`)));
    const seen = jobs.map(async (job) => {
      await work.take('virus', job, 0);
      // Asked where BullMQ says "done": in the batch behind the result.
      return redis.xlen(keysOf('test').results(instance));
    });
    const lengths = await Promise.all(seen);
    // The first entry is the reader's.
    for (const [at, length] of lengths.toSorted((a, b) => a - b).entries()) assert.ok(length >= at + 2);
    assert.deepEqual(
      await outcomes(),
      jobs.map(() => ({ kind: 'clean' })),
    );
  });
}

test('take() works on one suspect at a time, and on others meanwhile', async (t) => {
  const { redis, daemon, work, jobOf, outcomes, scanned } = await setUp(t, [{ at: 'end', do: 'hang' }]);
  const suspects = [await jobOf('suspect 1'), await jobOf('suspect 2'), await jobOf('suspect 3')];
  const normal = await jobOf('normal');
  const taken = suspects.map((job) => work.take('virus', job, 1));
  await until('the first is scanned', () => scanned().includes('suspect 1'));
  const other = work.take('virus', normal, 0);
  await until('the normal one is scanned', () => scanned().includes('normal'));
  assert.equal(work.running('virus'), 4);
  assert.equal(scanned().length, 2);
  for (const turn of [2, 3]) {
    daemon.answer('stream: OK\0');
    await until('the next one is scanned', () => scanned().includes(`suspect ${turn}`));
    assert.equal(scanned().length, turn + 1);
  }
  daemon.answer('stream: OK\0');
  await Promise.all([...taken, other]);
  assert.equal((await outcomes()).filter(({ kind }) => kind === 'clean').length, 4);
  const begun = (job: Job) => redis.get(keysOf('test').begun(job.jobId));
  assert.deepEqual(await Promise.all([...suspects, normal].map(begun)), ['1', '1', '1', null]);
  assert.ok((await redis.pttl(keysOf('test').begun(suspects[0]?.jobId ?? ''))) > 0);
});

test('take() calls poison what began alone twice before, however many workers died beside it', async (t) => {
  const { redis, work, jobOf, outcomes, scanned } = await setUp(t);
  const [innocent, poison] = [await jobOf('innocent'), await jobOf('poison')];
  await redis.set(keysOf('test').begun(poison.jobId), '2');
  await Promise.all([work.take('virus', poison, 3), work.take('virus', innocent, 20)]);
  assert.deepEqual(scanned(), ['innocent']);
  const kinds = (await outcomes()).map(({ kind, reason }) => reason ?? kind);
  assert.deepEqual(kinds, ['poison', 'clean']);
});

test('take() of suspects ends while Redis is away: with what was taken back, and with the worker', async (t) => {
  const { server, patience, work, jobOf } = await setUp(t);
  const [first, second, third] = [await jobOf('1'), await jobOf('2'), await jobOf('3')];
  server.kill('SIGSTOP');
  const taken = [first, second, third].map((job) => work.take('virus', job, 1));
  work.cancel(first.jobId);
  await taken[0];
  work.cancel(third.jobId);
  await taken[2];
  assert.equal(work.running('virus'), 1);
  patience.end();
  await taken[1];
  server.kill('SIGCONT');
});
