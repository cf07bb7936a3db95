/**
 * redis-clock — one time for machines whose clocks differ.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRedisClock } from '../../workers/redis-clock.ts';

/** Redis is so far ahead of this process's monotonic clock. */
const ahead = 1_800_000_000_000;
const timeAt = (ms: number) => [String(Math.floor(ms / 1000)), String((ms % 1000) * 1000)];

test('now() is the own clock until Redis was heard, then that of Redis', () => {
  let monotonic = 5000;
  const clock = createRedisClock(
    () => monotonic,
    () => 1_700_000_005_000,
  );
  monotonic = 6000;
  assert.equal(clock.now(), 1_700_000_006_000);
  clock.learn(timeAt(ahead + 6000), 6000);
  assert.equal(clock.now(), ahead + 6000);
  monotonic = 9000;
  assert.equal(clock.now(), ahead + 9000);
});

test('learn() trusts the answer with the shortest way, and forgets it after eight others', () => {
  let monotonic = 0;
  const clock = createRedisClock(
    () => monotonic,
    () => 0,
  );
  const answer = (askedAt: number, arrivedAt: number, at: number) => {
    monotonic = arrivedAt;
    clock.learn(timeAt(at), askedAt);
  };
  answer(1000, 1002, ahead + 1001);
  // The whole second of the way was the way back.
  answer(2000, 3000, ahead + 2000);
  assert.equal(clock.now(), ahead + 3000);
  for (let second = 4; second < 12; second++)
    answer(second * 1000, second * 1000 + 4, ahead + second * 1000 + 602);
  assert.equal(clock.now(), ahead + 11_004 + 600);
});

test('learn() takes no answer that is none', () => {
  const clock = createRedisClock(
    () => 10,
    () => 1000,
  );
  for (const answer of [null, undefined, 'QUEUED', [], ['1'], ['x', 'y']]) clock.learn(answer, 0);
  assert.equal(clock.now(), 1000);
});
