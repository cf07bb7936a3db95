/**
 * signals — drain once, reload as often as told, end at once when told again, and never live on after an unexpected error.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type ScriptChild, startScript } from './script-child.ts';

const module = JSON.stringify(join(import.meta.dirname, '../../workers/signals.ts'));
const log = '{ debug() {}, info: (f, m) => say(m), warn: (f, m) => say(m), error: (f, m) => say(m) }';

function start(t: TestContext, drain: string): Promise<ScriptChild> {
  return startScript(
    t,
    `import { untilSignal, endOnUncaught } from ${module};
     endOnUncaught(${log});
     const alive = setInterval(() => {}, 1000);
     process.on('message', () => { throw new Error('nobody foresaw this') });
     const code = untilSignal(() => say('reload'), ${drain}, ${log});
     say('up');
     process.exit(await code);`,
  );
}

test('untilSignal() drains at the first signal and ends with 0', async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const child = await start(t, `async () => say('drained')`);
    child.process.kill('SIGHUP');
    assert.equal(await child.line(), 'reload');
    child.process.kill(signal);
    assert.equal(await child.line(), 'Stopping: finishing what is in flight');
    assert.equal(await child.line(), 'drained');
    assert.deepEqual(await child.ended, [0, null]);
  }
});

test('untilSignal() takes the Ctrl-C that comes twice for one, and ends at once at a later signal', async (t) => {
  const child = await start(t, `() => new Promise(() => setTimeout(() => say('still draining'), 1100))`);
  child.process.kill('SIGINT');
  assert.equal(await child.line(), 'Stopping: finishing what is in flight');
  child.process.kill('SIGINT');
  child.process.kill('SIGTERM');
  assert.equal(await child.line(), 'still draining');
  child.process.kill('SIGTERM');
  assert.equal(await child.line(), 'Told again to stop: ending at once');
  assert.deepEqual(await child.ended, [1, null]);
});

test('untilSignal() ends with 1 where draining fails', async (t) => {
  const child = await start(t, `async () => { throw new Error('disk') }`);
  child.process.kill('SIGTERM');
  assert.equal(await child.line(), 'Stopping: finishing what is in flight');
  assert.equal(await child.line(), 'Cannot stop in an orderly way');
  assert.deepEqual(await child.ended, [1, null]);
});

test('endOnUncaught() ends with 70 and says why', async (t) => {
  const child = await start(t, 'async () => {}');
  child.process.send('go');
  assert.equal(await child.line(), 'Unexpected error outside any message: ending');
  assert.deepEqual(await child.ended, [70, null]);
});
