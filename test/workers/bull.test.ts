/** bull — what BullMQ's scripts cost on our connections, by what ioredis and BullMQ have inside at their pinned versions. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { openJobs, openTaker } from '../../workers/bull.ts';
import { silentLog } from '../../workers/log.ts';
import { connectRedis, createOutage, type Redis } from '../../workers/redis.ts';
import { redisConfigOf, startTestRedis } from './redis-rig.ts';

/** Names without BullMQ's version behind them. */
const bare = (names: Iterable<string>) => [...names].map((name) => name.replace(/:\d.*$/, ''));

function assertLean(connection: Redis, frequent: readonly string[]): void {
  // Where this fails after another version came: see batchOnly(), and bench:queue.
  assert.deepEqual(bare(Object.keys(connection.scriptsSet)).toSorted(), frequent);
  const copied = bare(Object.keys(connection.pipeline()).filter((name) => /:\d/.test(name)));
  assert.deepEqual([...new Set(copied)].toSorted(), frequent);
  const alone = connection.options.autoPipeliningIgnoredCommands ?? [];
  assert.ok(bare(alone).includes('getCounts'), 'the others go out alone');
  assert.equal(new Set(alone).size, alone.length);
}

test('openJobs() and openTaker() keep all but the frequent scripts out of batches, and those work alone', async (t) => {
  const server = await startTestRedis(t);
  const config = redisConfigOf(server.url);
  const connect = async (role: 'producer' | 'worker') => {
    const connection = connectRedis(config, role, createOutage(config, silentLog));
    t.after(() => connection.disconnect());
    await once(connection, 'ready');
    return connection;
  };
  const producer = await connect('producer');
  openJobs(producer, 'test', silentLog);
  assertLean(producer, ['addPrioritizedJob', 'changePriority', 'removeJob']);
  const name = producer.options.autoPipeliningIgnoredCommands?.find((one) => one.startsWith('getCounts:'));
  assert.ok(name !== undefined && name in producer);
  const ask = (producer as unknown as Record<string, (words: string[]) => Promise<unknown>>)[name];
  assert.deepEqual(await ask?.call(producer, ['test:virus:', 'active']), [0]);

  const worker = await connect('worker');
  const shared = { redis: worker, prefix: 'test', concurrency: 1, log: silentLog };
  const onJob = async () => undefined;
  const takers = (['virus', 'spam'] as const).map((queue) => openTaker({ queue, ...shared, onJob }));
  // BullMQ defines its scripts a moment later; a batch that was begun before would not know them.
  await new Promise(setImmediate);
  assertLean(worker, ['extendLocks', 'moveStalledJobsToWait', 'moveToActive', 'moveToFinished']);
  await Promise.all(takers.map((taker) => taker.close()));
});
