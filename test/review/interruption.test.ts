/**
 * interruption — once: no further step; twice: the step under way is broken off; the same signal heard twice counts once.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listenForInterruption } from '../../review/interruption.ts';

test('listenForInterruption() stops on the first signal and breaks off on the second one', () => {
  let now = 0;
  let told = 0;
  const before = process.listenerCount('SIGINT');
  const interruption = listenForInterruption(
    () => told++,
    () => now,
  );
  assert.equal(interruption.exitCode(), null);
  process.emit('SIGINT', 'SIGINT');
  now = 100;
  process.emit('SIGINT', 'SIGINT');
  assert.deepEqual([interruption.exitCode(), told, interruption.breakOff.aborted], [130, 1, false]);
  now = 1000;
  process.emit('SIGTERM', 'SIGTERM');
  assert.deepEqual([interruption.exitCode(), told, interruption.breakOff.aborted], [130, 1, true]);
  assert.equal(process.listenerCount('SIGINT'), before, 'a third one ends the process as usual');
});

test('listenForInterruption() leaves signals alone when it is disposed of', () => {
  const before = process.listenerCount('SIGHUP');
  {
    using interruption = listenForInterruption(() => undefined);
    assert.equal(process.listenerCount('SIGHUP'), before + 1);
    assert.equal(interruption.exitCode(), null);
  }
  assert.equal(process.listenerCount('SIGHUP'), before);
});
