/**
 * facts — what is read out of a header block, hostile ones included, and what the ledger leaves out of its digest.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { ledgerSkip, parseFacts } from '../../rules/headers.ts';

const octets = (text: string) => Buffer.from(text.replaceAll('\n', '\r\n'));
const facts = (header: string) => parseFacts(octets(header));
const fixture = (name: string) => readFileSync(join(import.meta.dirname, '..', 'messages', `${name}.eml`));

const fromTable: { value: string; from: string | null }[] = [
  { value: 'a@b.example', from: 'a@b.example' },
  { value: ' <A@B.Example> ', from: 'a@b.example' },
  { value: 'Anna Beispiel <anna@b.example>', from: 'anna@b.example' },
  { value: '"Beispiel, Anna" <anna@b.example>', from: 'anna@b.example' },
  { value: 'Beispiel, Anna <anna@b.example>', from: 'anna@b.example' },
  { value: '"x@evil.example" <anna@b.example>', from: 'anna@b.example' },
  { value: 'x@evil.example <anna@b.example>', from: 'anna@b.example' },
  { value: '<x@evil.example> <anna@b.example>', from: 'anna@b.example' },
  { value: '"<x@evil.example>" <anna@b.example>', from: 'anna@b.example' },
  { value: '"a\\"<x@evil.example>" <anna@b.example>', from: 'anna@b.example' },
  { value: 'anna@b.example (x@evil.example)', from: 'anna@b.example' },
  { value: '(nested (<x@evil.example>) \\) here) <anna@b.example> (more)', from: 'anna@b.example' },
  { value: '=?utf-8?q?x=40evil.example?= <anna@b.example>', from: 'anna@b.example' },
  { value: 'Anna\n <anna@b.example>', from: 'anna@b.example' },
  { value: '"quoted local"@b.example', from: '"quoted local"@b.example' },
  { value: 'X <"a@b,c"@b.example>', from: '"a@b,c"@b.example' },
  { value: '<@relay.example,@other.example:anna@b.example>', from: 'anna@b.example' },
  { value: 'Team: anna@b.example;', from: 'anna@b.example' },
  { value: 'anna@[192.0.2.1]', from: 'anna@[192.0.2.1]' },
  { value: 'Jürgen <Jürgen@Bücher.example>', from: 'jürgen@bücher.example' },
  { value: 'anna@b.example, ANNA@b.example', from: 'anna@b.example' },
  { value: 'anna@b.example, other@b.example', from: null },
  { value: 'Anna <anna@b.example>, X <x@evil.example>', from: null },
  { value: '"never closed <anna@b.example>', from: null },
  { value: '(never closed <anna@b.example>', from: null },
  { value: '<anna@b.example', from: null },
  { value: 'undisclosed:;', from: null },
  { value: 'anna', from: null },
  { value: '@b.example', from: null },
  { value: 'anna@', from: null },
  { value: '<>', from: null },
  { value: '', from: null },
];

for (const { value, from } of fromTable) {
  test(`parseFacts() From: ${value.replaceAll('\n', '⏎')}`, () =>
    assert.equal(facts(`From: ${value}\n\n`).from, from));
}

test('parseFacts() takes two From fields that disagree for no author', () => {
  assert.equal(facts('From: a@b.example\nFrom: x@evil.example\n').from, null);
  assert.equal(facts('From: a@b.example\nFrom: x\n').from, null);
  assert.equal(facts('From: a@b.example\nfrom : <A@b.example>\n').from, 'a@b.example');
});

test('parseFacts() does not read an address out of a From field over 16 KiB', () => {
  assert.equal(facts(`From: a@b.example ${' '.repeat(17_000)} <x@evil.example>\n`).from, null);
});

const subjectTable: { value: string; subject: string | null }[] = [
  { value: 'Hello', subject: 'Hello' },
  { value: 'folded\n once', subject: 'folded once' },
  { value: '', subject: null },
  { value: '=?UTF-8?Q?Gr=C3=BC=C3=9Fe?=', subject: 'Grüße' },
  { value: '=?utf-8?b?R3LDvMOfZQ==?=', subject: 'Grüße' },
  { value: '=?utf-8*de?b?R3LDvMOfZQ==?=', subject: 'Grüße' },
  { value: '=?utf-8?b?R3LDvM?= =?utf-8?b?OfZQ?=', subject: 'Grü9�P' },
  { value: '=?utf-8?b?R3LD?=\n =?UTF-8?Q?=BC=C3=9Fe?= x', subject: 'Grüße x' },
  { value: '=?iso-8859-1?q?Gr=FC=DFe_5?= =?windows-1252?Q?_=80?=', subject: 'Grüße 5 €' },
  { value: '=?koi8-r?B?8NLJ18XU?=', subject: 'Привет' },
  { value: '=?x-unknown?q?abc?=', subject: '=?x-unknown?q?abc?=' },
  { value: 'a =?utf-8?q?b?= c', subject: 'a b c' },
  { value: '=?utf-8?q?a=0D=0AX-Evil:_1?=', subject: 'a  X-Evil: 1' },
  { value: '=?utf-8?q?never closed', subject: '=?utf-8?q?never closed' },
  { value: '=?utf-8?b?!!!?=', subject: null },
  { value: 'Grüße 😀', subject: 'Grüße 😀' },
];

for (const { value, subject } of subjectTable) {
  test(`parseFacts() Subject: ${value.replaceAll('\n', '⏎')}`, () => {
    assert.equal(facts(`Subject: ${value}\n\n`).subject, subject);
  });
}

test('parseFacts() reads the fixtures', () => {
  assert.equal(parseFacts(fixture('eight-bit')).subject, 'Grüße');
  assert.equal(parseFacts(fixture('utf8-header')).subject, 'Grüße aus Köln 😀');
  assert.equal(parseFacts(fixture('utf8-header')).from, 'jürgen@bücher.example');
  assert.equal(parseFacts(fixture('encoded-subject')).subject, 'Grüße aus Köln für 5 €');
  assert.deepEqual(parseFacts(fixture('plain')), {
    from: 'bernd@sender.example',
    subject: 'Offer',
    messageId: '<20260105.1@sender.example>',
    receivedAtMs: Date.parse('2026-01-05T10:00:00+01:00'),
    topReceivedId: '4c7Yx16WkPz1',
    localQueueId: null,
  });
  const nothing = { from: null, subject: null, messageId: null };
  assert.deepEqual(parseFacts(fixture('empty')), {
    ...nothing,
    receivedAtMs: null,
    topReceivedId: null,
    localQueueId: null,
  });
});

test('parseFacts() reads the header block alone, and the first of each field', () => {
  assert.equal(facts('Subject: a\nSubject: b\n\nSubject: c\n').subject, 'a');
  assert.equal(facts('A: 1\n\nSubject: c\n').subject, null);
  assert.equal(facts('A: 1\nno field\nSubject: c\n').subject, null);
});

const dates: { date: string; iso: string | null }[] = [
  { date: 'Mon, 05 Jan 2026 10:00:00 +0100 (CET)', iso: '2026-01-05T09:00:00Z' },
  { date: '5 Jan 2026 10:00 -0530', iso: '2026-01-05T15:30:00Z' },
  { date: 'Mon,  5 jan 2026 10:00:00 GMT', iso: '2026-01-05T10:00:00Z' },
  { date: 'Mon, 5 Jan 2026 10:00:00 EST', iso: '2026-01-05T15:00:00Z' },
  { date: 'Wed, 31 Dec 2025 23:59:60 +0000', iso: '2026-01-01T00:00:00Z' },
  { date: 'Mon, 5 Jan 2026 25:00:00 +0000', iso: null },
  { date: 'Mon, 5 Foo 2026 10:00:00 +0000', iso: null },
  { date: 'yesterday', iso: null },
  { date: '', iso: null },
];

for (const { date, iso } of dates) {
  test(`parseFacts() Received date "${date}"`, () => {
    const { receivedAtMs } = facts(`Received: from a (b; c)\n\tby d id X; ${date}\n\n`);
    assert.equal(receivedAtMs, iso === null ? null : Date.parse(iso));
  });
}

const receivedTable: { label: string; received: string; id: string | null }[] = [
  {
    label: 'Postfix',
    received: 'from a (b [192.0.2.1])\n\tby c (Postfix) with ESMTP id 4c7Yx1\n\tfor <d@e>; date',
    id: '4c7Yx1',
  },
  { label: 'without for', received: 'by c (Postfix, from userid 0)\n\tid 4c7Yx1; date', id: '4c7Yx1' },
  {
    label: 'HELO that claims an id',
    received: 'from x id FORGED (b)\n\tby c (Postfix) with SMTP id REAL1\n\tfor <d@e>; date',
    id: 'REAL1',
  },
  {
    label: 'recipient that claims an id',
    received: 'from a (b) by c id REAL1\n\tfor <"x id FORGED"@e>; date',
    id: 'REAL1',
  },
  {
    label: 'comment that claims an id',
    received: 'from a (b) by c id REAL1 (x id FORGED); date',
    id: 'REAL1',
  },
  { label: 'no id', received: 'from a by c with SMTP; date', id: null },
  { label: 'an id that is none', received: 'from a by c id é; date', id: null },
];

for (const { label, received, id } of receivedTable) {
  test(`parseFacts() topReceivedId: ${label}`, () => {
    assert.equal(facts(`Received: ${received}\nReceived: by other id LOWER; date\n`).topReceivedId, id);
  });
}

/** Length of the first `lines` lines. */
function lengthOf(message: Buffer, lines: number): number {
  let at = 0;
  for (let line = 0; line < lines; line++) at = message.indexOf('\n', at) + 1;
  return at;
}

test('ledgerSkip() and localQueueId: a message from pickup is known by its own line, nothing is left out', () => {
  const message = fixture('local-pickup');
  assert.equal(parseFacts(message).localQueueId, '4c7Yx1aaaaa');
  assert.equal(ledgerSkip(message), 0);
});

test('ledgerSkip() leaves out what postsuper -r put in front: the rest equals the first try', () => {
  const message = fixture('local-requeued');
  assert.equal(parseFacts(message).localQueueId, '4c7Yx1aaaaa');
  assert.equal(parseFacts(message).topReceivedId, '4c7Zx3ccccc');
  assert.equal(ledgerSkip(message), lengthOf(message, 4));
  assert.deepEqual(message.subarray(ledgerSkip(message)), fixture('local-pickup'));
});

test('ledgerSkip() with an IDENT leaves out every leading line: the message came from a client', () => {
  const message = fixture('remote-requeued');
  assert.equal(ledgerSkip(message, '4c7Yx16WkPz1'), lengthOf(message, 2));
  assert.equal(ledgerSkip(message), 0);
  assert.equal(ledgerSkip(fixture('plain'), '4c7Yx16WkPz1'), 0);
});

test('ledgerSkip() looks at leading lines alone', () => {
  const local = 'Received: by mx (Postfix, from userid 0)\n\tid AAA; date\n';
  const other = 'Received: from a by b (Postfix) with SMTP id BBB; date\n';
  assert.equal(ledgerSkip(octets(other + local)), 0);
  assert.equal(facts(other + local).localQueueId, null);
  assert.equal(facts(`X: 1\n${local}`).localQueueId, null);
  assert.equal(facts(`${local}${other}${local.replace('AAA', 'CCC')}`).localQueueId, 'AAA');
  assert.equal(ledgerSkip(octets('')), 0);
});

test('parseFacts() and ledgerSkip() are total, and no fact holds a control character', () => {
  const names = ['From', 'Subject', 'Received', 'Message-ID'];
  const marks = [
    ':',
    ': ',
    '\r\n',
    '\r\n ',
    '\n',
    '<',
    '>',
    '(',
    ')',
    '"',
    '\\',
    ',',
    ';',
    '@',
    '\0',
    '\xff',
  ];
  const texts = [
    'a@b',
    'id ',
    'by x (Postfix, from userid 0) id A;',
    '=?utf-8?q?=00=0d=0a?=',
    '=?utf-8?b?AA0K?=',
  ];
  const words = fc.constantFrom(...names, ...marks, ...texts);
  const header = fc.array(words, { maxLength: 40 }).map((parts) => Buffer.from(parts.join(''), 'latin1'));
  fc.assert(
    fc.property(fc.oneof(header, fc.uint8Array({ maxLength: 300 })), (head) => {
      for (const fact of Object.values(parseFacts(head))) {
        if (typeof fact === 'string') assert.doesNotMatch(fact, /[\p{Cc}\p{Cs}]/u);
      }
      const skip = ledgerSkip(head);
      assert.ok(skip >= 0 && skip <= head.length);
    }),
    { numRuns: 3000 },
  );
});

const pathological: Record<string, string> = {
  'open brackets': `From: ${'<'.repeat(1e6)}\r\n`,
  'open comments': `From: ${'('.repeat(1e6)}\r\n`,
  quotes: `From: ${'"\\'.repeat(5e5)}\r\n`,
  commas: `From: ${'a@b,'.repeat(2.5e5)}\r\n`,
  'encoded-word starts': `Subject: ${'=?a?q?'.repeat(1.6e5)}\r\n`,
  'encoded-words': `Subject: ${'=?utf-8?q?a?= '.repeat(7e4)}\r\n`,
  spaces: `Subject: ${' '.repeat(1e6)}x\r\n`,
  'Received ids': `Received: ${'id ('.repeat(2.5e5)}\r\n`,
  'Received spaces': `Received: by x (Postfix, from userid ${'0'.repeat(5e5)}${' '.repeat(5e5)}\r\n`,
  'many fields': 'From: a@b\r\nReceived: x; y\r\n'.repeat(4e4),
  'many local lines': 'Received: by x (Postfix, from userid 0) id A; d\r\n'.repeat(2e4),
  'continuation lines': `Subject: a\r\n${' \r\n'.repeat(3e5)}`,
  'names without end': `${'a'.repeat(1e6)}: b\r\n`,
  colons: `${'a:\r\n'.repeat(2.5e5)}`,
};

for (const [label, header] of Object.entries(pathological)) {
  test(`parseFacts() is linear: 1 MB of ${label}`, () => {
    const head = Buffer.from(header);
    const started = process.cpuUsage();
    parseFacts(head);
    ledgerSkip(head);
    const { user } = process.cpuUsage(started);
    assert.ok(user < 1_000_000, `${user} µs`);
  });
}
