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

async function* some(): AsyncGenerator<Buffer> {
  yield Buffer.from('a');
  yield Buffer.from('b');
}
