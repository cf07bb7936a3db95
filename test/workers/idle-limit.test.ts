/** idle-limit — a stream that says nothing any more ends with an error. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withIdleLimit } from '../../workers/idle-limit.ts';

test('withIdleLimit() passes chunks on and ends with them', async () => {
  const chunks: Buffer[] = [];
  for await (const chunk of withIdleLimit(some(), 60_000)) chunks.push(chunk);
  assert.deepEqual(chunks.map(String), ['a', 'b']);
});

test('withIdleLimit() rejects where no chunk comes', async () => {
  const silent = async function* (): AsyncGenerator<Buffer> {
    yield* some();
    await new Promise(() => undefined);
  };
  const read = async () => {
    for await (const _ of withIdleLimit(silent(), 5));
  };
  await assert.rejects(read(), /Nothing came for/);
});

test('withIdleLimit() rejects at its signal, however often a chunk comes', async () => {
  const controller = new AbortController();
  let given = 0;
  const dripping = async function* (): AsyncGenerator<Buffer> {
    for (;;) {
      if (++given === 100) controller.abort();
      yield Buffer.from('a');
    }
  };
  const read = async () => {
    for await (const _ of withIdleLimit(dripping(), 60_000, controller.signal));
  };
  await assert.rejects(read(), /time is over/);
  assert.equal(given, 100);
});

async function* some(): AsyncGenerator<Buffer> {
  yield Buffer.from('a');
  yield Buffer.from('b');
}
