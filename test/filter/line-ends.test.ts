/**
 * line-ends — a file's octets come out as the listener would have spooled them, however they are cut.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createLineCleaner } from '../../filter/line-cleaner.ts';
import { cleanLines } from '../../filter/line-ends.ts';
import { bytesOf } from './quarantine-rig.ts';

const octets = fc
  .array(fc.constantFrom('\r', '\n', '\r\n', 'a', '\0', '\u00e4', ' '), { maxLength: 12 })
  .map((parts) => Buffer.from(parts.join(''), 'latin1'));

test('cleanLines() gives what the line cleaner of the listener gives, for all cuts', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(octets, { maxLength: 5 }), async (chunks) => {
      async function* source() {
        yield* chunks;
      }
      const cleaned = await bytesOf(cleanLines(source()));
      assert.equal(cleaned.toString('latin1'), asOnTheWire(Buffer.concat(chunks)));
    }),
    { numRuns: 2000 },
  );
});

/** What comes out when a client sends these octets and then ends DATA; the CRLF of an unended last line is its own. */
function asOnTheWire(message: Buffer): string {
  const unended = message.length > 0 && message.at(-1) !== 0x0a;
  const wire = Buffer.concat([message, Buffer.from(`${unended ? 'Z\r\n' : endOf(message)}.\r\n`)]);
  const { cleaned, rest } = createLineCleaner().clean(wire);
  assert.equal(rest?.length, 0);
  const text = cleaned.toString('latin1');
  return unended ? text.slice(0, -3) : text.slice(0, text.length - endOf(message).length);
}

/** DATA ends behind CRLF only: a bare LF at the end needs one more line. */
function endOf(message: Buffer): string {
  return message.length === 0 || message.at(-2) === 0x0d ? '' : '\r\n';
}
