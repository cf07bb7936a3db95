/** spamc — requests and replies of the SPAMC protocol as octets. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatRequest, isWholeReply, parseReply } from '../../workers/spamc.ts';

test('formatRequest() writes command, lines, length and an empty line', () => {
  const cases = [
    [formatRequest('PING', [], null), 'PING SPAMC/1.5\r\n\r\n'],
    [formatRequest('HEADERS', [], 12), 'HEADERS SPAMC/1.5\r\nContent-length: 12\r\n\r\n'],
    [
      formatRequest('TELL', ['User: a', 'Set: local'], 0),
      'TELL SPAMC/1.5\r\nUser: a\r\nSet: local\r\nContent-length: 0\r\n\r\n',
    ],
  ] as const;
  for (const [request, expected] of cases) assert.equal(request.toString(), expected);
});

const headers = 'SPAMD/1.1 0 EX_OK\r\nContent-length: 4\r\nSpam: False ; 1.0 / 5.0\r\n\r\n';

const replies = [
  ['a whole reply', `${headers}abcd`, 'reply'],
  ['an empty body', 'SPAMD/1.1 0 EX_OK\r\nContent-length: 0\r\n\r\n', 'reply'],
  ['PONG, which has no empty line', 'SPAMD/1.5 0 PONG\r\n', 'reply'],
  ['TELL, which has no length', 'SPAMD/1.1 0 EX_OK\r\nDidSet: local\r\n\r\n\r\n', 'reply'],
  ['nothing', '', 'protocol'],
  ['an octet too few', `${headers}abc`, 'protocol'],
  ['an octet too many', `${headers}abcde`, 'protocol'],
  ['a head without its end', 'SPAMD/1.1 0 EX_OK\r\nDidSet: local\r\n', 'protocol'],
  ['a status line without its end', 'SPAMD/1.1 0 EX_O', 'protocol'],
  ['a length that is no number', 'SPAMD/1.1 0 EX_OK\r\nContent-length: 4x\r\n\r\nabcd', 'protocol'],
  ['a negative length', 'SPAMD/1.1 0 EX_OK\r\nContent-length: -1\r\n\r\n', 'protocol'],
  ['an endless number', `SPAMD/1.1 0 EX_OK\r\nContent-length: ${'9'.repeat(400)}\r\n\r\n`, 'protocol'],
  ['another protocol', '220 mail.example.org ESMTP\r\n', 'protocol'],
  ['a code that is no number', 'SPAMD/1.1 x EX_OK\r\n\r\n', 'protocol'],
  ['EX_TEMPFAIL', 'SPAMD/1.1 75 EX_TEMPFAIL\r\n\r\n', 'busy'],
  ['EX_TIMEOUT', 'SPAMD/1.0 79 Timeout: (300 second timeout while trying to HEADERS)\r\n', 'timeout'],
  ['EX_UNAVAILABLE', 'SPAMD/1.0 69 Service Unavailable: SQL is away\r\n', 'failed'],
  ['EX_PROTOCOL', 'SPAMD/1.0 76 Bad header line: (EOF during headers)\r\n', 'failed'],
  ['a code nobody knows', 'SPAMD/1.1 200 Fine\r\n\r\n', 'failed'],
] as const;

for (const [label, text, expected] of replies) {
  test(`parseReply() takes ${label} for ${expected}`, () => {
    const reply = parseReply(Buffer.from(text));
    assert.equal(reply.kind === 'unchecked' ? reply.reason : reply.kind, expected);
  });
}

test('parseReply() gives headers in lower case and the body octet for octet', () => {
  const body = Buffer.from([0, 255, 13, 10, 13, 10, 128]);
  const reply = parseReply(
    Buffer.concat([
      Buffer.from('SPAMD/1.1 0 EX_OK\r\nContent-length: 7\r\nSpam: True ; 9.9 / 5.0\r\n\r\n'),
      body,
    ]),
  );
  assert.ok(reply.kind === 'reply');
  assert.deepEqual(reply.body, body);
  assert.equal(reply.headers.get('spam'), 'True ; 9.9 / 5.0');
});

test('parseReply() escapes and cuts what a strange daemon says', () => {
  const reply = parseReply(Buffer.from(`\u001b[31m\u0000${'x'.repeat(5000)}`));
  assert.ok(reply.kind === 'unchecked');
  assert.match(reply.detail, /^[\x20-\x7e…]{1,200}$/);
});

test('parseReply() is total and isWholeReply() never asks for octets that are there', () => {
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 30 }).map((octets) => Buffer.from(octets)),
    fc
      .constantFrom('SPAMD/1.1 ', '0 EX_OK', '\r\n', '\r\n\r\n', 'Content-length: ', '3', 'Spam: ')
      .map((text) => Buffer.from(text)),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const reply = Buffer.concat(pieces);
      const parsed = parseReply(reply);
      assert.ok(parsed.kind === 'reply' || parsed.reason !== undefined);
      if (parsed.kind === 'reply' && parsed.headers.has('content-length')) assert.ok(isWholeReply(reply));
    }),
    { numRuns: 500 },
  );
});

test('isWholeReply() waits for the last octet, and no longer', () => {
  const reply = Buffer.from(`${headers}abcd`);
  for (let size = 0; size < reply.length; size++)
    assert.equal(isWholeReply(reply.subarray(0, size)), false, `${size}`);
  assert.equal(isWholeReply(reply), true);
});
