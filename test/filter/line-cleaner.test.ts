/**
 * line-cleaner — against an oracle that looks at the whole message at once, in every way of cutting it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createLineCleaner } from '../../filter/line-cleaner.ts';

/** What DATA means, said in four lines over the whole buffer (latin1, an octet a character); null: no end yet. */
function oracle(wire: string): { content: string; rest: string } | null {
  const end = `\r\n${wire}`.indexOf('\r\n.\r\n');
  if (end === -1) return null;
  const lines = wire
    .slice(0, end)
    .replaceAll(/\r(?!\n)/g, ' ')
    .split(/\r?\n/);
  const unstuffed = lines.map((line) => (line.startsWith('.') && line.length > 1 ? line.slice(1) : line));
  return { content: unstuffed.join('\r\n'), rest: wire.slice(end + 3) };
}

function clean(chunks: readonly string[]): { content: string; rest: string | null } {
  const cleaner = createLineCleaner();
  let content = '';
  for (const [at, chunk] of chunks.entries()) {
    const { cleaned, rest } = cleaner.clean(Buffer.from(chunk, 'latin1'));
    content += cleaned.toString('latin1');
    if (rest !== null) return { content, rest: rest.toString('latin1') + chunks.slice(at + 1).join('') };
  }
  return { content, rest: null };
}

const cases: readonly { label: string; wire: string; content: string; rest?: string }[] = [
  { label: 'empty message', wire: '.\r\n', content: '' },
  { label: 'one empty line', wire: '\r\n.\r\n', content: '\r\n' },
  { label: 'stuffed dot', wire: '..\r\n.\r\n', content: '.\r\n' },
  { label: 'stuffed dots', wire: '...x\r\n.\r\n', content: '..x\r\n' },
  { label: 'dot that a client forgot to stuff (RFC 5321 §4.5.2)', wire: '.x\r\n.\r\n', content: 'x\r\n' },
  { label: 'dot inside a line', wire: 'a.\r\n.b.\r\n.\r\n', content: 'a.\r\nb.\r\n' },
  { label: 'bare LF', wire: 'a\nb\r\n.\r\n', content: 'a\r\nb\r\n' },
  { label: 'bare CR', wire: 'a\rb\r\n.\r\n', content: 'a b\r\n' },
  { label: 'CR CR LF', wire: 'a\r\r\nb\r\n.\r\n', content: 'a \r\nb\r\n' },
  { label: 'LF CR', wire: 'a\n\rb\r\n.\r\n', content: 'a\r\n b\r\n' },
  { label: 'LF . LF is content', wire: 'a\n.\nb\r\n.\r\n', content: 'a\r\n.\r\nb\r\n' },
  { label: 'LF . CRLF is content', wire: 'a\n.\r\nb\r\n.\r\n', content: 'a\r\n.\r\nb\r\n' },
  { label: 'CRLF . LF is content', wire: 'a\r\n.\nb\r\n.\r\n', content: 'a\r\n.\r\nb\r\n' },
  { label: 'CR . CR is content', wire: 'a\r.\rb\r\n.\r\n', content: 'a . b\r\n' },
  { label: 'CRLF . CR is content', wire: 'a\r\n.\rb\r\n.\r\n', content: 'a\r\n b\r\n' },
  { label: 'CRLF . CR CRLF is content', wire: 'a\r\n.\r\r\nb\r\n.\r\n', content: 'a\r\n \r\nb\r\n' },
  { label: 'LF . CRLF, then the end', wire: 'a\n.\r\n.\r\n', content: 'a\r\n.\r\n' },
  { label: 'CR CRLF . CRLF is the end', wire: 'a\r\r\n.\r\nNOOP', content: 'a \r\n', rest: 'NOOP' },
  { label: 'what follows the end', wire: 'a\r\n.\r\nMAIL\r\n.\r\n', content: 'a\r\n', rest: 'MAIL\r\n.\r\n' },
  { label: 'NUL and 8-bit', wire: '\0\xff\x80\r\n.\r\n', content: '\0\xff\x80\r\n' },
];

for (const { label, wire, content, rest } of cases) {
  test(`createLineCleaner() ${label}, cut anywhere`, () => {
    for (let cut = 0; cut <= wire.length; cut++) {
      assert.deepEqual(clean([wire.slice(0, cut), wire.slice(cut)]), { content, rest: rest ?? '' });
    }
    assert.deepEqual(oracle(wire), { content, rest: rest ?? '' });
  });
}

test('createLineCleaner() equals the oracle for any octets in any chunks', () => {
  const octet = fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom('\r', '\n', '.', '\r\n', '.\r\n', 'x') },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)) },
  );
  const wires = fc.array(octet, { maxLength: 60 }).map((octets) => octets.join(''));
  fc.assert(
    fc.property(wires, fc.array(fc.integer({ min: 1, max: 7 }), { maxLength: 30 }), (wire, sizes) => {
      const whole = `${wire}\r\n.\r\n`;
      const chunks: string[] = [];
      let at = 0;
      for (const size of sizes) chunks.push(whole.slice(at, (at += size)));
      assert.deepEqual(clean([...chunks, whole.slice(at)]), oracle(whole));
    }),
    { numRuns: 5000 },
  );
});

test('createLineCleaner() never ends a message that has no CRLF . CRLF', () => {
  const octet = fc.constantFrom('\r', '\n', '.', 'x');
  fc.assert(
    fc.property(fc.array(octet, { maxLength: 40 }), (octets) => {
      const wire = octets.join('');
      fc.pre(oracle(wire) === null);
      assert.equal(clean(wire.split('')).rest, null);
    }),
    { numRuns: 5000 },
  );
});

const floods: readonly { label: string; unit: string }[] = [
  { label: 'nothing but `..` lines', unit: '..\r\n' },
  { label: 'lines of 76', unit: `${'x'.repeat(76)}\r\n` },
  { label: 'one line', unit: 'x' },
  { label: 'bare LF only', unit: '\n' },
  { label: 'bare CR only', unit: '\r' },
];

for (const { label, unit } of floods) {
  test(`createLineCleaner() takes 25 MB of ${label} in under a second of CPU`, () => {
    const chunk = Buffer.alloc(64 * 1024, unit);
    const cleaner = createLineCleaner();
    const before = process.cpuUsage();
    for (let sent = 0; sent < 25 * 1024 * 1024; sent += chunk.length) cleaner.clean(chunk);
    const { user, system } = process.cpuUsage(before);
    assert.ok(user + system < 1_000_000, `${(user + system) / 1000} ms`);
  });
}
