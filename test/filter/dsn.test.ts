/**
 * dsn — the notification is wanted when the table says so, parses back, and nothing hostile gets in.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { composeDsn, type DsnReport, wantsDsn } from '../../filter/dsn.ts';
import { decodeWire, type Envelope, type Recipient, type Verdict } from '../../rules/mail.ts';

const boundary = 'b-4f8a6c1e-0000-4000-8000-000000000000';
const envelope: Envelope = {
  sender: 'anna@sender.example',
  body: null,
  smtputf8: false,
  ret: null,
  envid: null,
  recipients: [],
  xforward: {},
};
const failing: Recipient = { address: 'bernd@site.example', notify: null, orcpt: null };
const unknown = { code: 550, enhanced: '5.1.1', text: 'User unknown' };

function report(changes: Partial<DsnReport> = {}): DsnReport {
  return {
    envelope,
    failed: [{ recipient: failing, reply: unknown }],
    header: Buffer.from('Subject: Offer\r\nFrom: anna@sender.example\r\n\r\nbody\r\n'),
    reportingMta: 'mx.site.example',
    arrivalAt: Date.UTC(2026, 0, 5, 9, 0, 0),
    now: Date.UTC(2026, 0, 5, 9, 0, 7),
    boundary,
    messageId: '<dsn-1@mx.site.example>',
    ...changes,
  };
}

type Part = { readonly fields: Map<string, string>; readonly body: string };

/** Parses a multipart/report strictly, without any of the code under test. */
function parse(bytes: Uint8Array): { top: Part; parts: Part[] } {
  const text = Buffer.from(bytes).toString('utf8');
  assert.ok(text.endsWith('\r\n'));
  for (const line of text.slice(0, -2).split('\r\n')) {
    assert.doesNotMatch(line, /[\r\n\0]/);
    assert.ok(Buffer.byteLength(line) <= 998, line);
  }
  const top = parsePart(text);
  const delimiter = /boundary="([^"]+)"/.exec(top.fields.get('content-type') ?? '')?.[1] ?? '';
  const pieces = `\r\n${top.body}`.split(`\r\n--${delimiter}`);
  assert.equal(pieces.at(-1), '--\r\n');
  return { top, parts: pieces.slice(1, -1).map((piece) => parsePart(piece.replace(/^\r\n/, ''))) };
}

function parsePart(text: string): Part {
  const end = text.startsWith('\r\n') ? 0 : text.indexOf('\r\n\r\n') + 2;
  assert.ok(end >= 0);
  return { fields: fieldsOf(text.slice(0, end)), body: text.slice(end + 2) };
}

function fieldsOf(block: string): Map<string, string> {
  const lines = block.replaceAll(/\r\n(?=[ \t])/g, '').split('\r\n');
  const fields = new Map<string, string>();
  for (const line of lines.filter((one) => one !== '')) {
    const [, name = '', value = ''] = /^([!-9;-~]+): ?(.*)$/su.exec(line) ?? [];
    assert.notEqual(name, '', `no field: ${line}`);
    assert.ok(!fields.has(name.toLowerCase()), `twice: ${name}`);
    fields.set(name.toLowerCase(), value);
  }
  return fields;
}

/** The groups of a delivery-status body: per message, then per recipient. */
function statusOf(bytes: Uint8Array): Map<string, string>[] {
  const body = parse(bytes).parts[1]?.body ?? '';
  return body.replace(/\r\n$/, '').split('\r\n\r\n').map(fieldsOf);
}

const wants: { label: string; sender?: string; notify: string | null; verdict: Verdict; wanted: boolean }[] =
  [
    { label: 'NOTIFY not given', notify: null, verdict: 'clean', wanted: true },
    { label: 'NOTIFY=FAILURE', notify: 'FAILURE', verdict: 'clean', wanted: true },
    { label: 'NOTIFY=success,failure', notify: 'success,failure', verdict: 'clean', wanted: true },
    { label: 'NOTIFY=SUCCESS,DELAY', notify: 'SUCCESS,DELAY', verdict: 'clean', wanted: false },
    { label: 'NOTIFY=NEVER', notify: 'NEVER', verdict: 'clean', wanted: false },
    { label: 'an empty NOTIFY', notify: '', verdict: 'clean', wanted: false },
    { label: 'null sender', sender: '', notify: 'FAILURE', verdict: 'clean', wanted: false },
    { label: 'spam', notify: 'FAILURE', verdict: 'spam', wanted: false },
    { label: 'virus', notify: null, verdict: 'virus', wanted: false },
    { label: 'unchecked', notify: null, verdict: 'unchecked', wanted: true },
  ];

for (const { label, sender = 'a@b.example', notify, verdict, wanted } of wants) {
  test(`wantsDsn() ${label}: ${wanted}`, () => {
    assert.equal(wantsDsn({ ...envelope, sender }, { ...failing, notify }, verdict), wanted);
  });
}

test('composeDsn() is a report from the null sender to the sender, never itself notified', () => {
  const dsn = composeDsn(report());
  assert.equal(dsn.recipient, 'anna@sender.example');
  const { sender, smtputf8, body, envid, recipients } = dsn.envelope;
  assert.deepEqual([sender, smtputf8, body, envid], ['', false, '7BIT', null]);
  assert.deepEqual(recipients, [{ address: 'anna@sender.example', notify: 'NEVER', orcpt: null }]);
});

test('composeDsn() has the header and three parts of RFC 3464', () => {
  const { top, parts } = parse(composeDsn(report()).bytes);
  assert.equal(top.fields.get('from'), 'Mail Delivery System <MAILER-DAEMON@mx.site.example>');
  assert.equal(top.fields.get('to'), '<anna@sender.example>');
  assert.equal(top.fields.get('date'), 'Mon, 05 Jan 2026 09:00:07 +0000');
  assert.equal(top.fields.get('message-id'), '<dsn-1@mx.site.example>');
  assert.equal(top.fields.get('auto-submitted'), 'auto-replied');
  assert.equal(top.fields.get('mime-version'), '1.0');
  assert.match(top.fields.get('content-type') ?? '', /^multipart\/report; report-type=delivery-status;/);
  assert.deepEqual(
    parts.map(({ fields }) => fields.get('content-type')),
    ['text/plain; charset=us-ascii', 'message/delivery-status', 'text/rfc822-headers'],
  );
  assert.match(parts[0]?.body ?? '', /<bernd@site\.example>:\r\n {4}550 5\.1\.1 User unknown\r\n/);
});

test('composeDsn() returns the header block alone, byte for byte', () => {
  const { parts } = parse(composeDsn(report()).bytes);
  assert.equal(parts[2]?.body, 'Subject: Offer\r\nFrom: anna@sender.example\r\n');
});

test('composeDsn() has one group per message and one per recipient, ENVID and ORCPT copied', () => {
  const second = {
    address: '"odd x"@site.example',
    notify: 'FAILURE',
    orcpt: 'rfc822;other+2Bx+40y@site.example',
  };
  const failed = [
    { recipient: failing, reply: unknown },
    { recipient: second, reply: { code: 552, enhanced: null, text: 'Too big\nfor us' } },
  ];
  const [message, ...recipients] = statusOf(
    composeDsn(report({ failed, envelope: { ...envelope, envid: 'QQ+3D314+2B' } })).bytes,
  );
  assert.deepEqual(
    [...(message ?? [])],
    [
      ['reporting-mta', 'dns; mx.site.example'],
      ['original-envelope-id', 'QQ=314+'],
      ['arrival-date', 'Mon, 05 Jan 2026 09:00:00 +0000'],
    ],
  );
  assert.deepEqual(
    recipients.map((group) => [...group]),
    [
      [
        ['final-recipient', 'rfc822; bernd@site.example'],
        ['action', 'failed'],
        ['status', '5.1.1'],
        ['diagnostic-code', 'smtp; 550 5.1.1 User unknown'],
      ],
      [
        ['original-recipient', 'rfc822; other+x@y@site.example'],
        ['final-recipient', 'rfc822; "odd x"@site.example'],
        ['action', 'failed'],
        ['status', '5.0.0'],
        ['diagnostic-code', 'smtp; 552 Too big for us'],
      ],
    ],
  );
});

const orcpts = [
  {
    label: 'xtext with an encoded CRLF',
    orcpt: 'rfc822;a+0D+0AX-Evil:+201@b',
    original: 'rfc822; a  X-Evil: 1@b',
  },
  { label: 'a plus that begins no xtext', orcpt: 'rfc822;a+b@c', original: 'rfc822; a+b@c' },
  { label: 'xtext of UTF-8 octets', orcpt: 'rfc822;j+C3+BCrgen@b', original: 'utf-8; jürgen@b' },
  {
    label: 'xtext of octets that are no UTF-8',
    orcpt: 'rfc822;j+FCrgen@b',
    original: 'utf-8; j\ufffdrgen@b',
  },
  { label: 'utf-8-addr-xtext', orcpt: 'utf-8;j\\x{FC}rgen@b', original: 'utf-8; j\\x{FC}rgen@b' },
  { label: 'another type', orcpt: 'X400;C=x+3B', original: 'X400; C=x;' },
  { label: 'no type', orcpt: 'a@b', original: undefined },
  { label: 'no address', orcpt: 'rfc822;', original: undefined },
  { label: 'a type that is none', orcpt: 'rfc 822;a@b', original: undefined },
];

for (const { label, orcpt, original } of orcpts) {
  test(`composeDsn() Original-Recipient of ${label}`, () => {
    const failed = [{ recipient: { ...failing, orcpt }, reply: unknown }];
    assert.equal(statusOf(composeDsn(report({ failed })).bytes)[1]?.get('original-recipient'), original);
  });
}

test('composeDsn() takes the global forms of RFC 6533 for an address that is not ASCII', () => {
  const recipient = { ...failing, address: 'jürgen@bücher.example' };
  const header = Buffer.from('Subject: Grüße\r\n\r\n');
  const dsn = composeDsn(report({ failed: [{ recipient, reply: unknown }], header }));
  const { top, parts } = parse(dsn.bytes);
  assert.equal(top.fields.get('content-transfer-encoding'), '8bit');
  assert.deepEqual(
    parts.map(({ fields }) => fields.get('content-type')),
    ['text/plain; charset=utf-8', 'message/global-delivery-status', 'message/global-headers'],
  );
  assert.ok(parts.every(({ fields }) => fields.get('content-transfer-encoding') === '8bit'));
  assert.equal(statusOf(dsn.bytes)[1]?.get('final-recipient'), 'utf-8; jürgen@bücher.example');
  assert.deepEqual([dsn.envelope.body, dsn.envelope.smtputf8], ['8BITMIME', false]);
  assert.equal(parts[2]?.body, 'Subject: Grüße\r\n');
});

test('composeDsn() to a sender that is not ASCII needs SMTPUTF8', () => {
  const dsn = composeDsn(report({ envelope: { ...envelope, sender: 'jürgen@bücher.example' } }));
  assert.deepEqual([dsn.envelope.body, dsn.envelope.smtputf8], ['8BITMIME', true]);
  assert.equal(parse(dsn.bytes).top.fields.get('to'), '<jürgen@bücher.example>');
});

test('composeDsn() marks an 8-bit header as such, the octets unchanged', () => {
  const header = Buffer.from('Subject: Gr\xfc\xdfe\r\n', 'latin1');
  const dsn = composeDsn(report({ header }));
  assert.ok(Buffer.from(dsn.bytes).includes(header));
  assert.match(
    Buffer.from(dsn.bytes).toString('latin1'),
    /text\/rfc822-headers\r\nContent-Transfer-Encoding: 8bit\r\n/,
  );
  assert.equal(dsn.envelope.body, '8BITMIME');
});

test('composeDsn() returns at most 64 KiB of whole header fields', () => {
  const field = `X-Long: ${'a'.repeat(500)}\r\n b\r\n`;
  const { parts } = parse(composeDsn(report({ header: Buffer.from(`${field.repeat(500)}\r\n`) })).bytes);
  const body = parts[2]?.body ?? '';
  assert.ok(body.length <= 65_536 && body.length > 64_000);
  assert.equal(body, field.repeat(body.length / field.length));
});

const odd: { label: string; header: string; body: string }[] = [
  { label: 'no header', header: '', body: '' },
  { label: 'no field', header: '\r\nbody\r\n', body: '' },
  {
    label: 'a field that holds the boundary',
    header: `A: 1\r\n--${boundary}--: x\r\nB: 2\r\n`,
    body: 'A: 1\r\nB: 2\r\n',
  },
  {
    label: 'a line over 998 octets',
    header: `A: 1\r\nL: ${'x'.repeat(999)}\r\nB: 2\r\n`,
    body: 'A: 1\r\nB: 2\r\n',
  },
  { label: 'a field cut at its end', header: 'A: 1\r\nB: 2', body: 'A: 1\r\n' },
  { label: 'bare CR and bare LF', header: 'A: 1\nC: x\ry\r\nB: 2\r\n', body: 'B: 2\r\n' },
];

for (const { label, header, body } of odd) {
  test(`composeDsn() leaves out of the header: ${label}`, () => {
    const { parts } = parse(composeDsn(report({ header: Buffer.from(header) })).bytes);
    assert.equal(parts.length, 3);
    assert.equal(parts[2]?.body, body);
  });
}

test('composeDsn() stays a report of three parts and the same fields, whatever the values', () => {
  const wire = fc.oneof(
    fc.uint8Array({ maxLength: 80 }).map(decodeWire),
    fc.string({ unit: 'binary', maxLength: 1500 }),
    fc.constantFrom(
      'a\r\n\r\nb',
      `x\r\n--${boundary}--`,
      'a@b>\r\nBcc: c@d',
      '+0D+0A',
      'rfc822;+0D+0A+00',
      '\u2028',
    ),
  );
  const failed = fc.array(
    fc.record({
      recipient: fc.record({ address: wire, notify: fc.constant(null), orcpt: fc.option(wire) }),
      reply: fc.record({ code: fc.integer({ min: 500, max: 599 }), enhanced: fc.option(wire), text: wire }),
    }),
    { minLength: 1, maxLength: 3 },
  );
  fc.assert(
    fc.property(failed, wire, fc.option(wire), wire, wire, (list, sender, envid, host, messageId) => {
      const hostile = {
        failed: list,
        envelope: { ...envelope, sender, envid },
        reportingMta: host,
        messageId,
      };
      const { bytes } = composeDsn(report(hostile));
      const { top, parts } = parse(bytes);
      assert.equal(parts.length, 3);
      assert.equal(top.fields.size, top.fields.has('content-transfer-encoding') ? 9 : 8);
      const [message, ...recipients] = statusOf(bytes);
      assert.equal(message?.size, envid === null ? 2 : 3);
      assert.equal(recipients.length, list.length);
      for (const group of recipients) assert.equal(group.size, group.has('original-recipient') ? 5 : 4);
    }),
    { numRuns: 1000 },
  );
});
