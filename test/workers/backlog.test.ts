/**
 * backlog — counted on queues as BullMQ itself keeps them, and shown by `sluice queue status`.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { readBacklog } from '../../workers/backlog.ts';
import { openJobs, openTaker } from '../../workers/bull.ts';
import type { Job } from '../../workers/job.ts';
import { readQueueStatus } from '../../workers/queue-status.ts';
import { connectRedis, createOutage } from '../../workers/redis.ts';
import { listeningLog, redisConfigOf, startTestRedis } from './redis-rig.ts';

const empty = { waiting: 0, active: 0, oldestMs: null };

function jobOf(): Job {
  return {
    jobId: randomUUID(),
    instance: randomUUID(),
    task: 'scan',
    spoolId: 'ab'.repeat(16),
    sizeBytes: 1,
    sha256: 'cd'.repeat(32),
    queueId: null,
    sender: '',
    deadline: Date.now() + 60_000,
    bytes: { kind: 'spool', folder: '1-0123abcd', marker: 'ef'.repeat(32) },
  };
}

async function setUp(t: TestContext) {
  const server = await startTestRedis(t);
  const config = redisConfigOf(server.url);
  const { log } = listeningLog();
  const connect = async (role: 'producer' | 'worker') => {
    const connection = connectRedis(config, role, createOutage(config, log));
    t.after(() => connection.disconnect());
    await once(connection, 'ready');
    return connection;
  };
  const producer = await connect('producer');
  return { config, log, producer, connect, jobs: openJobs(producer, 'sluice', log) };
}

test('readBacklog() counts what waits, and knows the oldest whatever its place in line is', async (t) => {
  const { producer, jobs } = await setUp(t);
  assert.deepEqual(await readBacklog(producer, 'sluice', Date.now()), { virus: empty, spam: empty });
  // Redis' clock, an hour behind ours.
  const before = Date.now() - 3_600_000;
  // The first one is served last.
  for (const priority of [300, 200, 100]) await jobs.add('virus', jobOf(), { priority, arrivalMs: before });
  const { virus, spam } = await readBacklog(producer, 'sluice', before + 10_000);
  assert.deepEqual([virus, spam], [{ waiting: 3, active: 0, oldestMs: 10_000 }, empty]);
});

test('readBacklog() counts what is under way', async (t) => {
  const { config, log, producer, connect, jobs } = await setUp(t);
  const before = Date.now();
  const begun = Promise.withResolvers<void>();
  const end = Promise.withResolvers<void>();
  const taker = openTaker({
    queue: 'spam',
    redis: await connect('worker'),
    prefix: 'sluice',
    concurrency: 1,
    log,
    async onJob() {
      begun.resolve();
      await end.promise;
    },
  });
  for (const priority of [1, 2]) await jobs.add('spam', jobOf(), { priority, arrivalMs: before });
  await begun.promise;
  const { virus, spam } = await readBacklog(producer, 'sluice', before + 1000);
  assert.deepEqual([virus, spam], [empty, { waiting: 1, active: 1, oldestMs: 1000 }]);
  const status = await readQueueStatus(config);
  assert.deepEqual([status.queues.spam.waiting, status.queues.spam.active], [1, 1]);
  assert.deepEqual([status.workers, status.filters, status.prefix], [[], [], 'sluice']);
  end.resolve();
  await taker.close();
  assert.deepEqual((await readBacklog(producer, 'sluice', Date.now())).spam.active, 0);
});

test('readQueueStatus() rejects where Redis is away, and says how', async () => {
  await assert.rejects(readQueueStatus(redisConfigOf('redis://:hunter2@127.0.0.1:1')), (error: Error) => {
    assert.match(error.message, /^Cannot ask Redis at redis:\/\/127\.0\.0\.1:1\/0: .*ECONNREFUSED/);
    return !error.message.includes('hunter2');
  });
});
