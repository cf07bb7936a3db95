/**
 * progress — the line that says what a long run is doing: on a terminal only, and gone when something else is said.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createStatusLine } from '../../review/progress.ts';

const erase = '\r\u001b[K';

function terminal(columns = 80) {
  const written: string[] = [];
  return { isTTY: true, columns, written, write: (text: string) => written.push(text) };
}

test('createStatusLine() draws by the clock, only what changed, and leaves nothing behind', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const stream = terminal();
  const status = createStatusLine(stream);
  status.say('release: 1 of 20');
  assert.deepEqual(stream.written, [], 'what is over at once never flickers');
  t.mock.timers.tick(200);
  t.mock.timers.tick(200);
  assert.deepEqual(stream.written.splice(0), [`${erase}… release: 1 of 20`]);
  status.clear();
  status.clear();
  assert.deepEqual(stream.written.splice(0), [erase]);
  t.mock.timers.tick(200);
  assert.deepEqual(stream.written.splice(0), [`${erase}… release: 1 of 20`], 'the same is still going on');
  status.say('');
  t.mock.timers.tick(200);
  assert.deepEqual(stream.written.splice(0), [erase]);
  status.sayNow('reading');
  assert.deepEqual(stream.written.splice(0), [`${erase}… reading`]);
  status[Symbol.dispose]();
  t.mock.timers.tick(1000);
  assert.deepEqual(stream.written, [erase]);
});

test('createStatusLine() stays in one line, whatever it is told', () => {
  const stream = terminal(20);
  using status = createStatusLine(stream);
  status.sayNow('reading \u001b[2J\n' + 'x'.repeat(100));
  assert.deepEqual(stream.written, [`${erase}… reading ?[2J?xxx…`]);
});

test('createStatusLine() says nothing where nobody sees it', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const written: string[] = [];
  const status = createStatusLine({ isTTY: false, write: (text) => written.push(text) });
  status.say('a');
  status.sayNow('b');
  t.mock.timers.tick(1000);
  status.clear();
  status[Symbol.dispose]();
  assert.deepEqual(written, []);
});
