/**
 * amavis-line — every outcome as a line that parsers of amavisd-new's log understand.
 *
 * The expressions below are in the form of those that are in use: logwatch's for the whole line, a counter of statuses
 * that wants digits in the parentheses, and grok patterns that pick single fields.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'node:test';
import type { Account, RecipientAccount } from '../../filter/account.ts';
import { createAmavisLines } from '../../filter/amavis-line.ts';
import type { ScanReport } from '../../rules/mail.ts';
import { replyFor } from '../../rules/replies.ts';

const scored: ScanReport = {
  virus: { kind: 'clean' },
  spam: { kind: 'scored', score: 1.2, tests: [], truncated: false, ignored: [] },
  virusMs: 20,
  spamMs: 100,
};

function to(recipient: string, more: Partial<RecipientAccount> = {}): RecipientAccount {
  return {
    recipient,
    outcome: 'delivered',
    verdict: 'clean',
    disposition: 'deliver',
    score: 1.2,
    why: 'score 1.2 < tag 2',
    reply: replyFor('delivered'),
    quarantineId: null,
    queueIdOut: '4d8Zy2',
    repeated: false,
    reason: null,
    alarm: false,
    ...more,
  };
}

function account(recipients: readonly RecipientAccount[], more: Partial<Account> = {}): Account {
  return {
    queueId: '4c7Yx1',
    digest: 'd'.repeat(64),
    client: '192.0.2.7',
    sender: 'anna@partner.example',
    messageId: '<1@partner.example>',
    waitingSince: 0,
    direction: 'inbound',
    protocol: 'lmtp',
    sizeBytes: 1234,
    report: scored,
    ms: { receive: 3, scan: 100, quarantine: 0, reinject: 10, ledger: 1, total: 120 },
    signedHeadersDropped: 0,
    dsnSuppressed: 0,
    recipients,
    ...more,
  };
}

const held = {
  outcome: 'held',
  disposition: 'quarantine',
  quarantineId: 'a'.repeat(32),
  queueIdOut: null,
} as const;
const eicar: ScanReport = { ...scored, virus: { kind: 'infected', name: 'Eicar-Test-Signature' } };
const encrypted: ScanReport = { ...scored, virus: { kind: 'unchecked', reason: 'encrypted', detail: 'zip' } };
const tail = 'Queue-ID: 4c7Yx1, Message-ID: <1@partner.example>';

/** Label, account, line after the number in parentheses. */
const table: [string, Account, string][] = [
  [
    'clean',
    account([to('bob@site.example')]),
    `Passed CLEAN {RelayedInbound}, [192.0.2.7] <anna@partner.example> -> <bob@site.example>, ${tail}, Hits: 1.2, size: 1234, queued_as: 4d8Zy2, 123 ms`,
  ],
  [
    'flagged and delivered',
    account([to('bob@site.example', { verdict: 'spam', score: 7 })]),
    `Passed SPAMMY {RelayedTaggedInbound}, [192.0.2.7] <anna@partner.example> -> <bob@site.example>, ${tail}, Hits: 7, size: 1234, queued_as: 4d8Zy2, 123 ms`,
  ],
  [
    'spam held',
    account([to('bob@site.example', { ...held, verdict: 'spam', score: 12.345 })]),
    `Blocked SPAM {DiscardedInbound,Quarantined}, [192.0.2.7] <anna@partner.example> -> <bob@site.example>, quarantine: ${'a'.repeat(32)}, ${tail}, Hits: 12.345, size: 1234, 123 ms`,
  ],
  [
    'virus held, null sender, no score',
    account([to('bob@site.example', { ...held, verdict: 'virus', score: null })], {
      sender: '',
      report: eicar,
    }),
    `Blocked INFECTED (Eicar-Test-Signature) {DiscardedInbound,Quarantined}, [192.0.2.7] <> -> <bob@site.example>, quarantine: ${'a'.repeat(32)}, ${tail}, Hits: -, size: 1234, 123 ms`,
  ],
  [
    'discarded',
    account([to('bob@site.example', { outcome: 'discarded', verdict: 'spam', score: 30, queueIdOut: null })]),
    `Blocked SPAM {DiscardedInbound}, [192.0.2.7] <anna@partner.example> -> <bob@site.example>, ${tail}, Hits: 30, size: 1234, 123 ms`,
  ],
  [
    'encrypted, delivered, outbound, submitted here',
    account([to('bob@site.example', { verdict: 'unchecked' })], {
      report: encrypted,
      direction: 'outbound',
      client: null,
    }),
    `Passed UNCHECKED {RelayedOutbound}, <anna@partner.example> -> <bob@site.example>, ${tail}, Hits: 1.2, size: 1234, queued_as: 4d8Zy2, 123 ms`,
  ],
  [
    'scanner down',
    account([
      to('bob@site.example', { outcome: 'deferred', verdict: 'unchecked', score: null, queueIdOut: null }),
    ]),
    `Blocked UNCHECKED {TempFailedInbound}, [192.0.2.7] <anna@partner.example> -> <bob@site.example>, ${tail}, Hits: -, size: 1234, 123 ms`,
  ],
  [
    'return smtpd away',
    account([to('bob@site.example', { outcome: 'deferred', queueIdOut: null })]),
    `Blocked TEMPFAIL {TempFailedInbound}, [192.0.2.7] <anna@partner.example> -> <bob@site.example>, ${tail}, Hits: 1.2, size: 1234, 123 ms`,
  ],
  [
    'refused',
    account([to('bob@site.example', { outcome: 'refused', queueIdOut: null })]),
    `Blocked MTA-BLOCKED {RejectedInbound}, [192.0.2.7] <anna@partner.example> -> <bob@site.example>, ${tail}, Hits: 1.2, size: 1234, 123 ms`,
  ],
  [
    'repeated, nothing known',
    account([to('bob@site.example', { verdict: null, disposition: null, score: null, repeated: true })], {
      report: null,
      queueId: null,
      messageId: null,
    }),
    'Passed OTHER {RelayedInbound}, [192.0.2.7] <anna@partner.example> -> <bob@site.example>, Hits: -, size: 1234, queued_as: 4d8Zy2, 123 ms',
  ],
];

/** In the form of logwatch's service script for amavis, after it has taken the parentheses off. */
const logwatch =
  /^(?:Passed|Blocked) (CLEAN|SPAM(?:MY)?|INFECTED \(.*?\)|UNCHECKED|MTA-BLOCKED|OTHER|TEMPFAIL)(?: \{[^}]+\})?, ([^[]+ )?(?:([^<]+) )?[<(](.*?)[>)] -> ([(<].*?[)>]), (?:.*Hits: ([-+.\d]+))(?:.* size: (\d+))?/;

test('createAmavisLines() writes each outcome in the words of amavisd-new', () => {
  for (const [label, one, expected] of table) {
    const linesOf = createAmavisLines(415);
    assert.deepEqual(linesOf(one), [`(00415-01) ${expected}`], label);
    const [, , , ips, sender, to, hits, size] = logwatch.exec(expected) ?? [];
    assert.equal(ips, one.client === null ? undefined : '[192.0.2.7]', label);
    assert.deepEqual([sender, to, size], [one.sender, '<bob@site.example>', '1234'], label);
    assert.equal(hits, String(one.recipients[0]?.score ?? '-'), label);
  }
});

test('createAmavisLines() writes what counters and grok patterns pick out', () => {
  const linesOf = createAmavisLines(123_456);
  const [first = ''] = linesOf(account([to('bob@site.example')]));
  const [second = ''] = linesOf(account([to('bob@site.example', { ...held, verdict: 'spam' })]));
  const counter = /^.*amavis\[\d+\]: \([\d-]+\) (Passed|Blocked) ([A-Z\d-]+)[, ].*$/;
  const syslog = (line: string) => `Jan  5 10:00:00 mx amavis[415]: ${line}`;
  assert.deepEqual(counter.exec(syslog(first))?.slice(1), ['Passed', 'CLEAN']);
  assert.deepEqual(counter.exec(syslog(second))?.slice(1), ['Blocked', 'SPAM']);
  assert.deepEqual([first.slice(0, 12), second.slice(0, 12)], ['(123456-01) ', '(123456-02) ']);
  assert.equal(/, Queue-ID: (\w+),/.exec(first)?.[1], '4c7Yx1');
  assert.equal(/, Message-ID: <([^>]*)>/.exec(first)?.[1], '1@partner.example');
  assert.equal(/, queued_as: ([0-9A-Za-z]+)/.exec(first)?.[1], '4d8Zy2');
  assert.equal(/, (\d+) ms$/.exec(first)?.[1], '123');
  assert.equal(/ \{(\w+),Quarantined\}/.exec(second)?.[1], 'DiscardedInbound');
});

test('createAmavisLines() groups recipients with one outcome, and keeps others apart', () => {
  const linesOf = createAmavisLines(1);
  const lines = linesOf(
    account([
      to('a@x.example'),
      to('b@y.example', { ...held, verdict: 'spam', score: 12 }),
      to('c@x.example'),
      to('d@x.example', { queueIdOut: '4d8Zy3' }),
    ]),
  );
  assert.deepEqual(
    lines.map((line) => /^\(00001-01\) (\w+ \w+) .*-> (\S+), Q?q?/.exec(line)?.slice(1)),
    [
      ['Passed CLEAN', '<a@x.example>,<c@x.example>'],
      ['Blocked SPAM', '<b@y.example>'],
      ['Passed CLEAN', '<d@x.example>'],
    ],
  );
});

test('createAmavisLines() lets nothing from outside end the line, or reach a terminal', () => {
  const linesOf = createAmavisLines(1);
  const hostile = fc.string({ unit: 'binary', maxLength: 700 });
  fc.assert(
    fc.property(hostile, hostile, hostile, hostile, (sender, recipient, messageId, name) => {
      const report: ScanReport = { ...scored, virus: { kind: 'infected', name } };
      const one = account([to(recipient, { verdict: 'virus' })], { sender, messageId, client: name, report });
      for (const line of linesOf(one)) {
        assert.match(line, /^[\x20-\x7e]+$/);
        assert.ok(line.length < 4 * 500 + 1000);
      }
    }),
    { examples: [['a\nb', '\ud800', '\u202e', '\x1b[2J']] },
  );
  const [line = ''] = linesOf(account([to('bücher@x.example')], { sender: 'a\\b\r\n' }));
  assert.match(line, /<a\\x5Cb\\x0D\\x0A> -> <b\\xC3\\xBCcher@x\.example>/);
});
