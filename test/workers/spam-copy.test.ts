/** spam-copy — what spamd gets to see: a trustworthy sender line, then the beginning of the message. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeWire } from '../../rules/mail.ts';
import { TempFail } from '../../workers/fail.ts';
import { formatSender, readCopy } from '../../workers/spam-copy.ts';

async function* chunks(octets: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < octets.length; at += size) yield octets.subarray(at, at + size);
}

const front = Buffer.from('X-Sluice-Envelope-From: <a@example.org>\r\n');

const senders = [
  ['an address', 'alice@example.org', '<alice@example.org>'],
  ['the null sender', '', '<>'],
  ['a quoted local part', '"a,b c"@example.org', '<"a,b c"@example.org>'],
  ['a source route, left out', '@hop.example,@b.example:alice@example.org', '<alice@example.org>'],
  ['UTF-8', 'jörg@exämple.org', '<jörg@exämple.org>'],
  ['line ends, taken out', 'a@b\r\nX-Spam-Flag: NO\r\n\r\nbody', '<a@bX-Spam-Flag: NObody>'],
  ['other control characters, taken out', '\u0000a\u001b[1m\u007f@b', '<a[1m@b>'],
] as const;

for (const [label, sender, expected] of senders) {
  test(`formatSender() writes ${label}`, () => {
    assert.equal(formatSender(sender).toString(), `X-Sluice-Envelope-From: ${expected}\r\n`);
  });
}

test('formatSender() writes octets that are no UTF-8 as they were received', () => {
  const octets = Buffer.from([0x6a, 0xf6, 0x72, 0x67, 0x40, 0x62]);
  const line = formatSender(decodeWire(octets));
  assert.ok(line.includes(Buffer.concat([Buffer.from('<'), octets, Buffer.from('>\r\n')])));
});

test('formatSender() is one line for any sender', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (sender) => {
      const line = formatSender(sender);
      assert.equal(line.indexOf('\r\n'), line.length - 2);
      assert.equal(
        line.subarray(0, -2).findIndex((octet) => octet < 0x20 || octet === 0x7f),
        -1,
      );
    }),
  );
});

const forged = [
  ['as it is', 'X-Sluice-Envelope-From: <forged@example.org>\r\n'],
  ['in another case', 'x-sLUICE-envelope-FROM: <forged@example.org>\r\n'],
  ['folded', 'X-Sluice-Envelope-From:\r\n\t<forged@example.org>\r\n'],
  ['with space before the colon', 'X-Sluice-Envelope-From : <forged@example.org>\r\n'],
  ['with a bare LF', 'X-Sluice-Envelope-From: <forged@example.org>\n'],
] as const;

for (const [label, line] of forged) {
  test(`readCopy() drops a forged sender line ${label}, first or last in the header block`, async () => {
    for (const message of [`${line}Subject: x\r\n\r\nbody\r\n`, `Subject: x\r\n${line}\r\nbody\r\n`]) {
      const copy = await readCopy(chunks(Buffer.from(message), 7), message.length, front);
      assert.equal(copy.toString(), `${front.toString()}Subject: x\r\n\r\nbody\r\n`);
    }
  });
}

test('readCopy() never lets the first line of a message continue our line', async () => {
  const message = Buffer.from('\t<forged@example.org>\r\nSubject: x\r\n\r\nbody\r\n');
  const copy = await readCopy(chunks(message, 100), message.length, front);
  assert.match(copy.toString(), /^X-Sluice-Envelope-From: <a@example\.org>\r\n(?![ \t])/);
});

test('readCopy() keeps such a line in the body', async () => {
  const message = Buffer.from('Subject: x\r\n\r\nX-Sluice-Envelope-From: <b@example.org>\r\n');
  assert.deepEqual(
    await readCopy(chunks(message, 3), message.length, front),
    Buffer.concat([front, message]),
  );
});

test('readCopy() gives the same octets however the message is chunked, and never more than asked for', async () => {
  const line = fc.constantFrom(
    'Subject: x\r\n',
    'X-Sluice-A: b\r\n',
    ' folded\r\n',
    '\r\n',
    'text',
    '\n',
    'X-Sluice-: \r\n',
  );
  const message = fc.array(fc.oneof(line, fc.string({ unit: 'binary', maxLength: 9 })), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(
      message,
      fc.nat({ max: 100 }),
      fc.integer({ min: 1, max: 20 }),
      async (lines, cut, size) => {
        const octets = Buffer.from(lines.join(''));
        const take = Math.min(cut, octets.length);
        const whole = await readCopy(chunks(octets, 1_000_000), take, front);
        assert.deepEqual(await readCopy(chunks(octets, size), take, front), whole);
        assert.deepEqual(await readCopy(chunks(octets.subarray(0, take), size), take, front), whole);
        assert.ok(whole.subarray(0, front.length).equals(front));
      },
    ),
  );
});

test('readCopy() stops reading where it has enough', async () => {
  let read = 0;
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) {
      read++;
      yield Buffer.alloc(10, 'a');
    }
  }
  assert.equal((await readCopy(endless(), 25, front)).length, front.length + 25);
  assert.equal(read, 3);
});

test('readCopy() rejects with TempFail where the message is shorter than its size', async () => {
  await assert.rejects(readCopy(chunks(Buffer.from('Subject'), 3), 8, front), TempFail);
});
