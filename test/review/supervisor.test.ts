/**
 * supervisor — children that die, that are told to stop, and one whose configuration is wrong.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type ScriptChild, startScript } from '../workers/script-child.ts';

const module = JSON.stringify(join(import.meta.dirname, '../../review/supervisor.ts'));
const head = `import { writeSync } from 'node:fs'; const say = (line) => writeSync(1, line + '\\n');`;
/** Says its name and every signal; ends at SIGTERM. */
const lives = (name: string) => `${head}
  for (const signal of ['SIGHUP', 'SIGTERM', 'SIGINT'])
    process.on(signal, () => { say('${name} ' + signal); if (signal !== 'SIGHUP') process.exit(0); });
  setInterval(() => {}, 1000);
  say('${name} runs');`;

/** A process that supervises these scripts, each by its part's name. */
function supervise(
  t: TestContext,
  parts: Record<string, string>,
  pace = '{ firstMs: 10, mostMs: 40, livedLongMs: 60000 }',
): Promise<ScriptChild> {
  return startScript(
    t,
    `import { supervise } from ${module};
     const parts = ${JSON.stringify(parts)};
     const log = { debug() {}, info() {}, warn() {}, error: (f) => say('log ' + f.part + ' ' + f.why + ' ' + f.backOffMs) };
     say('up');
     const code = await supervise(Object.keys(parts), (part) => ['--input-type=module', '--eval', parts[part]], log, ${pace});
     say('code ' + code);
     process.exit(code);`,
  );
}

test('supervise() starts a child that ended again, later each time, and says why', async (t) => {
  const dies = await supervise(t, { filter: 'process.exit(70)' });
  for (const backOffMs of [10, 20, 40, 40])
    assert.equal(await dies.line(), `log filter exit 70 ${backOffMs}`);
  dies.process.kill('SIGTERM');
  while (!(await dies.line()).startsWith('code 0'));
  assert.deepEqual(await dies.ended, [0, null]);
});

test('supervise() names the signal that killed a child, and begins anew with one that lived long', async (t) => {
  const killed = await supervise(
    t,
    { filter: `process.kill(process.pid, 'SIGKILL')` },
    '{ firstMs: 10, mostMs: 40, livedLongMs: 0 }',
  );
  for (let times = 0; times < 3; times++) assert.equal(await killed.line(), 'log filter SIGKILL 10');
});

test('supervise() passes SIGHUP and SIGTERM on to every child, and ends with them', async (t) => {
  const both = await supervise(t, { filter: lives('filter'), review: lives('review') });
  assert.deepEqual([await both.line(), await both.line()].toSorted(), ['filter runs', 'review runs']);
  both.process.kill('SIGHUP');
  assert.deepEqual([await both.line(), await both.line()].toSorted(), ['filter SIGHUP', 'review SIGHUP']);
  both.process.kill('SIGTERM');
  assert.deepEqual([await both.line(), await both.line()].toSorted(), ['filter SIGTERM', 'review SIGTERM']);
  assert.equal(await both.line(), 'code 0');
  assert.deepEqual(await both.ended, [0, null]);
});

test('supervise() goes on restarting after a SIGHUP', async (t) => {
  const script = `${head} process.on('SIGHUP', () => process.exit(3)); setInterval(() => {}, 1000); say('runs');`;
  const child = await supervise(t, { filter: script });
  for (const backOffMs of [10, 20]) {
    assert.equal(await child.line(), 'runs');
    child.process.kill('SIGHUP');
    assert.equal(await child.line(), `log filter exit 3 ${backOffMs}`);
  }
});

test('supervise() waits for no back-off once it is told to stop', async (t) => {
  const dead = await supervise(
    t,
    { filter: 'process.exit(1)' },
    '{ firstMs: 600000, mostMs: 600000, livedLongMs: 60000 }',
  );
  assert.equal(await dead.line(), 'log filter exit 1 600000');
  dead.process.kill('SIGTERM');
  assert.equal(await dead.line(), 'code 0');
});

test('supervise() takes exit 78 for final and stops the others', async (t) => {
  const wrong = await supervise(t, {
    review: lives('review'),
    filter: `setTimeout(() => process.exit(78), 300)`,
  });
  while ((await wrong.line()) !== 'code 78');
  assert.deepEqual(await wrong.ended, [78, null]);
});

test('supervise() takes a child that was stopped before it listened for signals for stopped in order', async (t) => {
  const young = await supervise(t, { filter: `${head} say('young'); setInterval(() => {}, 1000);` });
  assert.equal(await young.line(), 'young');
  young.process.kill('SIGTERM');
  assert.equal(await young.line(), 'code 0');
});
