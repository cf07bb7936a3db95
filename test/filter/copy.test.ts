/**
 * copy — the bytes that leave: our lines in front, forged ones dropped, everything else as it was, read as often as asked.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { copyOf } from '../../filter/copy.ts';
import { formatMarks } from '../../rules/headers.ts';
import type { Marks } from '../../rules/mail.ts';
import { dropForged } from '../rules/drop-forged.ts';
import { bytesOf } from './quarantine-rig.ts';

const marker = { scanner: 'Sluice 0', hostname: 'filter.example' };
const marks: Marks = {
  spam: 'flag',
  score: 8,
  required: 6.5,
  tests: [],
  spamReason: null,
  virus: 'clean',
  subjectTag: null,
};
const folder = join(import.meta.dirname, '../messages');
const fixtures = readdirSync(folder).filter((name) => name.endsWith('.eml'));

test('copyOf() is our lines and then the message without forged ones, for every fixture and any chunks', async () => {
  const added = Buffer.from(formatMarks(marks, marker));
  for (const name of fixtures) {
    const message = readFileSync(join(folder, name));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(message.length), { maxLength: 5 }), async (cuts) => {
        const read = () => inChunks(message, cuts);
        const copy = copyOf(read, { marks, direction: 'inbound', marker });
        const expected = Buffer.concat([added, dropForged(message).kept]);
        assert.ok((await bytesOf(copy())).equals(expected), name);
        assert.ok((await bytesOf(copy())).equals(expected), `${name}, read again`);
      }),
      { numRuns: 10 },
    );
  }
});

test('copyOf() puts extra lines in front of all', async () => {
  const extra = Buffer.from('X-Quarantine-ID: 1\r\n');
  const read = () => inChunks(Buffer.from('A: b\r\n\r\nbody\r\n'), []);
  const copy = await bytesOf(copyOf(read, { marks, direction: 'inbound', marker, extra })());
  assert.match(copy.toString(), /^X-Quarantine-ID: 1\r\nX-.*A: b\r\n\r\nbody\r\n$/s);
});

test('copyOf() passes on an error of the source: no short copy is taken for a whole one', async () => {
  async function* read() {
    yield Buffer.from('A: b\r\n');
    throw new Error('disk');
  }
  await assert.rejects(bytesOf(copyOf(read, { marks, direction: 'inbound', marker })()), /disk/);
});

async function* inChunks(message: Buffer, cuts: readonly number[]): AsyncIterable<Uint8Array> {
  const at = [0, ...cuts.toSorted((a, b) => a - b), message.length];
  for (const [index, from] of at.entries()) yield message.subarray(from, at[index + 1] ?? message.length);
}
