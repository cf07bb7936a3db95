/** smtp-reply: every split gives the same replies; what is no reply throws, whatever it is. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { createReplyParser } from '../../filter/smtp-reply.ts';
import type { PeerReply } from '../../rules/replies.ts';
import { TempFail } from '../../workers/fail.ts';

const replies: [label: string, octets: string, expected: PeerReply[]][] = [
  ['a plain reply', '250 2.1.0 Ok\r\n', [{ code: 250, enhanced: '2.1.0', text: 'Ok' }]],
  ['a code alone', '354\r\n', [{ code: 354, enhanced: null, text: '' }]],
  ['an enhanced code without text', '550 5.1.1\r\n', [{ code: 550, enhanced: '5.1.1', text: '' }]],
  ['a bare LF as line end', '250 Ok\n', [{ code: 250, enhanced: null, text: 'Ok' }]],
  [
    'several lines, the enhanced code on each',
    '550-5.1.1 <a>\r\n550 5.1.1 unknown\r\n',
    [{ code: 550, enhanced: '5.1.1', text: '<a>\nunknown' }],
  ],
  [
    'several lines, the enhanced code on the first only',
    '550-5.1.1 <a>\r\n550 unknown\r\n',
    [{ code: 550, enhanced: '5.1.1', text: '<a>\nunknown' }],
  ],
  [
    'lines whose enhanced codes contradict: none',
    '550-5.1.1 <a>\r\n550 5.7.1 no\r\n',
    [{ code: 550, enhanced: null, text: '<a>\nno' }],
  ],
  [
    'an enhanced code of another class: text',
    '550 4.2.2 over\r\n',
    [{ code: 550, enhanced: null, text: 'over' }],
  ],
  [
    'EHLO keywords',
    '250-fake.example\r\n250-8BITMIME\r\n250 SIZE 5\r\n',
    [{ code: 250, enhanced: null, text: 'fake.example\n8BITMIME\nSIZE 5' }],
  ],
  [
    'two replies at once',
    '250 one\r\n451 4.3.0 two\r\n',
    [
      { code: 250, enhanced: null, text: 'one' },
      { code: 451, enhanced: '4.3.0', text: 'two' },
    ],
  ],
];

for (const [label, octets, expected] of replies) {
  test(`createReplyParser() reads ${label}, in every two-way split`, () => {
    for (let cut = 0; cut <= octets.length; cut++) {
      const parser = createReplyParser();
      const got = [octets.slice(0, cut), octets.slice(cut)].flatMap((part) => parser.push(Buffer.from(part)));
      assert.deepEqual(got, expected);
      assert.equal(parser.pending(), false);
    }
  });
}

const hostile: [label: string, octets: string][] = [
  ['no code', 'Hello\r\n'],
  ['an empty line', '\r\n'],
  ['a code of two digits', '25 Ok\r\n'],
  ['a code of four digits', '2500 Ok\r\n'],
  ['a code under 200', '199 Ok\r\n'],
  ['a code over 599', '600 Ok\r\n'],
  ['no blank behind the code', '250Ok\r\n'],
  ['another code in a later line', '250-Ok\r\n550 no\r\n'],
  ['a NUL', '250 O\0k\r\n'],
  ['a bare CR', '250 Ok\r550 no\r\n'],
  ['an escape character', '250 \u001b[2J\r\n'],
  ['a line of 5,000 octets', `250 ${'x'.repeat(5000)}\r\n`],
  ['a line that never ends', 'x'.repeat(5000)],
  ['101 lines', `${'250-x\r\n'.repeat(100)}250 x\r\n`],
  ['another protocol', 'HTTP/1.1 400 Bad Request\r\n'],
];

for (const [label, octets] of hostile) {
  test(`createReplyParser() throws TempFail for ${label}`, () => {
    assert.throws(() => createReplyParser().push(Buffer.from(octets, 'latin1')), TempFail);
  });
}

test('createReplyParser() never throws anything else for any octets', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 20 }), (chunks) => {
      const parser = createReplyParser();
      try {
        for (const chunk of chunks) parser.push(chunk);
      } catch (error) {
        assert.ok(error instanceof TempFail);
      }
    }),
  );
});
