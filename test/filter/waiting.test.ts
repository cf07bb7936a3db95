/** waiting — which deferred messages count, from when to when. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createWaiting, type Try } from '../../filter/waiting.ts';

const hourMs = 3_600_000;

function setUp() {
  let now = 100 * hourMs;
  const waiting = createWaiting({ now: () => now });
  const note = (outcomes: Record<string, string>, more: Partial<Try> = {}) =>
    waiting.note({
      queueId: '4c7Yx1',
      digest: 'd',
      waitingSince: 99 * hourMs,
      recipients: Object.entries(outcomes).map(([recipient, outcome]) => ({ recipient, outcome })),
      ...more,
    });
  return { note, hours: () => waiting.oldestSeconds() / 3600, pass: (ms: number) => (now += ms) };
}

test('createWaiting() tells the age of the oldest deferred message, since Postfix took it', () => {
  const { note, hours, pass } = setUp();
  assert.equal(hours(), 0);
  note({ a: 'deferred' });
  note({ a: 'deferred' }, { queueId: '4c7Yx2', waitingSince: 95 * hourMs });
  note({ a: 'delivered' }, { queueId: '4c7Yx3', waitingSince: 90 * hourMs });
  assert.equal(hours(), 5);
  pass(hourMs);
  assert.equal(hours(), 6);
});

test('createWaiting() lets go of a message that a later try settles', () => {
  const { note, hours } = setUp();
  note({ a: 'deferred', b: 'deferred' });
  note({ a: 'delivered', b: 'deferred' });
  assert.equal(hours(), 1);
  note({ b: 'held' });
  assert.equal(hours(), 0);
});

test('createWaiting() keeps a deferred part although another part of the same message was settled', () => {
  const { note, hours } = setUp();
  note({ a: 'deferred', b: 'deferred' });
  note({ c: 'delivered', d: 'delivered' });
  assert.equal(hours(), 1);
});

test('createWaiting() forgets a message that nobody tried for two of the longest pauses', () => {
  const { note, hours, pass } = setUp();
  note({ a: 'deferred' });
  pass(8_000_000);
  assert.ok(hours() > 3);
  pass(1);
  assert.equal(hours(), 0);
});

test('createWaiting() knows a message without a queue id by its digest; a clock ahead of ours makes no age', () => {
  const { note, hours } = setUp();
  note({ a: 'deferred' }, { queueId: null, digest: 'x' });
  note({ a: 'deferred' }, { queueId: null, digest: 'y', waitingSince: 1000 * hourMs });
  note({ a: 'delivered' }, { queueId: null, digest: 'x' });
  assert.equal(hours(), 0);
});

test('createWaiting() is bounded: 20,000 messages, and the oldest known stays', () => {
  const { note, hours } = setUp();
  note({ a: 'deferred' }, { waitingSince: 90 * hourMs });
  for (let count = 0; count < 20_000; count++) note({ a: 'deferred' }, { queueId: `Q${count}` });
  assert.equal(hours(), 10);
  note({ a: 'delivered' }, { queueId: '4c7Yx1' });
  assert.equal(hours(), 1);
});
