/**
 * mail — the vocabulary's only two functions: wire octets to string and back.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeWire, encodeWire } from '../../rules/mail.ts';

const octets = fc.uint8Array({ maxLength: 64 });
/** Text, cut text and random octets next to each other: the borders are where decoders go wrong. */
const mixed = fc
  .array(
    fc.oneof(
      octets,
      fc.string({ unit: 'binary', maxLength: 5 }).map((text) => Buffer.from(text)),
      fc
        .string({ unit: 'binary', minLength: 1, maxLength: 2 })
        .map((text) => Buffer.from(text).subarray(0, -1)),
    ),
    { maxLength: 8 },
  )
  .map((parts) => new Uint8Array(Buffer.concat(parts)));

test('encodeWire() gives back the octets of decodeWire(), whatever they are', () => {
  fc.assert(
    fc.property(mixed, (wire) => {
      assert.deepEqual(encodeWire(decodeWire(wire)), wire);
    }),
    { numRuns: 5000 },
  );
});

test('encodeWire() gives back every sequence of two octets', () => {
  for (let first = 0; first < 256; first++) {
    for (let second = 0; second < 256; second++) {
      const wire = Uint8Array.of(first, second);
      assert.deepEqual(encodeWire(decodeWire(wire)), wire);
    }
  }
});

test('decodeWire() gives valid UTF-8 as itself, the byte order mark included', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.equal(decodeWire(Buffer.from(text)), text.toWellFormed());
    }),
  );
  assert.equal(decodeWire(Buffer.from('\ufeffa')), '\ufeffa');
});

const cases = [
  { label: 'nothing', wire: '', text: '' },
  { label: 'latin1 é', wire: '6de96d', text: 'm\udce9m' },
  { label: 'overlong slash', wire: 'c0af', text: '\udcc0\udcaf' },
  { label: 'surrogate in UTF-8', wire: 'eda080', text: '\udced\udca0\udc80' },
  { label: 'beyond U+10FFFF', wire: 'f4908080', text: '\udcf4\udc90\udc80\udc80' },
  { label: 'cut in the middle, then good', wire: 'f09f98f09f9880', text: '\udcf0\udc9f\udc98😀' },
  { label: 'good, then a stray continuation', wire: 'f09f988080', text: '😀\udc80' },
];

for (const { label, wire, text } of cases) {
  test(`decodeWire() ${label}`, () => {
    assert.equal(decodeWire(Buffer.from(wire, 'hex')), text);
  });
}

test('encodeWire() gives U+FFFD for a lone surrogate that stands for no octet', () => {
  assert.deepEqual(Buffer.from(encodeWire('a\ud800b\udfff')).toString(), 'a\ufffdb\ufffd');
});

test('decodeWire() is linear: a million bad octets in under a second', () => {
  const started = process.cpuUsage();
  assert.equal(decodeWire(new Uint8Array(1_000_000).fill(0xff)).length, 1_000_000);
  assert.ok(process.cpuUsage(started).user < 1_000_000);
});
