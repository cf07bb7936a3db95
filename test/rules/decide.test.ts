/**
 * decide — every threshold from both sides, every doubt, and what must hold for any message, report and policy.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decide, isFailedAttempt, policyFor } from '../../rules/decide.ts';
import type {
  Disposition,
  MailFacts,
  Reason,
  ScanReport,
  SpamResult,
  VirusResult,
} from '../../rules/mail.ts';
import { parsePolicies, type Policies } from '../../rules/policy.ts';
import { virusAsSpamPoints } from '../../rules/virus-name.ts';
import { clean, hit, mailTo, policiesOf, reportOf, scored, shipped } from './policy-texts.ts';

const defaults = policiesOf('');
const recipient = 'user@example.com';
const transient: Reason[] = ['unreachable', 'busy', 'timeout', 'protocol', 'failed', 'cancelled'];
const lasting: Reason[] = ['encrypted', 'overLimit', 'ambiguous', 'poison'];

function unchecked(reason: Reason): VirusResult & SpamResult {
  return { kind: 'unchecked', reason, detail: 'test' };
}

/** The one disposition of a message to one recipient. */
function decideOne(
  report: ScanReport,
  policies: Policies = defaults,
  mail: MailFacts = mailTo([recipient]),
): Disposition {
  const [first, ...rest] = decide(mail, report, policies);
  assert.ok(first !== undefined);
  assert.equal(rest.length, 0);
  assert.deepEqual(first.recipients, mail.envelope.recipients);
  return first;
}

const brief = ({ kind, verdict, marks }: Disposition) => `${kind} ${verdict} ${marks.spam}`;

test('decide() compares with >= at every threshold', () => {
  const all = policiesOf('default: { thresholds: { tag: 2, spam: 6.5, quarantine: 10, discard: 20 } }');
  const table: [score: number, expected: string][] = [
    [-5, 'deliver clean none'],
    [1.9, 'deliver clean none'],
    [2, 'deliver clean score'],
    [2.1, 'deliver clean score'],
    [6.4, 'deliver clean score'],
    [6.5, 'deliver spam flag'],
    [6.6, 'deliver spam flag'],
    [9.9, 'deliver spam flag'],
    [10, 'quarantine spam flag'],
    [10.1, 'quarantine spam flag'],
    [19.9, 'quarantine spam flag'],
    [20, 'discard spam flag'],
    [20.1, 'discard spam flag'],
  ];
  for (const [score, expected] of table) {
    assert.equal(brief(decideOne(reportOf(clean, scored(score)), all)), expected, String(score));
  }
});

test('decide() passes over thresholds that are off', () => {
  const table: [thresholds: string, score: number, expected: string][] = [
    ['{ tag: null }', 6.4, 'deliver clean none'],
    ['{ spam: null }', 9.9, 'deliver clean score'],
    ['{ spam: null }', 10, 'quarantine spam flag'],
    ['{ quarantine: null }', 999, 'deliver spam flag'],
    ['{ quarantine: null, discard: 20 }', 19.9, 'deliver spam flag'],
    ['{ quarantine: null, discard: 20 }', 20, 'discard spam flag'],
    ['{ tag: null, spam: null, quarantine: null }', 999, 'deliver clean none'],
    ['{ tag: -1000 }', -50, 'deliver clean score'],
    ['{ tag: 0, spam: 0 }', 0, 'deliver spam flag'],
  ];
  for (const [thresholds, score, expected] of table) {
    const policies = policiesOf(`default: { thresholds: ${thresholds} }`);
    assert.equal(
      brief(decideOne(reportOf(clean, scored(score)), policies)),
      expected,
      `${thresholds} ${score}`,
    );
  }
});

test('decide() gives three domains three outcomes in one transaction', () => {
  const policies = policiesOf(`recipients:
  strict.test: { thresholds: { quarantine: 7 } }
  lax.test: { thresholds: { spam: 9 } }
`);
  const mail = mailTo(['a@strict.test', 'b@normal.test', 'c@lax.test', 'd@strict.test', 'a@strict.test']);
  const dispositions = decide(mail, reportOf(clean, scored(8)), policies);
  const rows = dispositions.map(
    (one) => `${brief(one)}: ${one.recipients.map(({ address }) => address).join(' ')}`,
  );
  assert.deepEqual(rows, [
    'quarantine spam flag: a@strict.test d@strict.test a@strict.test',
    'deliver spam flag: b@normal.test',
    'deliver clean score: c@lax.test',
  ]);
  assert.equal(
    dispositions[0]?.recipients[2],
    mail.envelope.recipients[4],
    'the very object, not an equal one',
  );
});

test('decide() makes as few copies as the bytes allow', () => {
  const policies = policiesOf(`recipients:
  a.test: { thresholds: { spam: 8 }, retentionDays: 5 }
  b.test: { thresholds: { quarantine: null }, senders: { score: { "@sender.example": 0.5 } } }
  c.test: { subjectTag: "[SPAM] " }
`);
  const mail = mailTo(['x@a.test', 'x@b.test', 'x@c.test', 'x@d.test']);
  const groups = (score: number) =>
    decide(mail, reportOf(clean, scored(score)), policies).map((one) => one.recipients.length);
  assert.deepEqual(groups(0), [4], 'no header tells them apart');
  assert.deepEqual(groups(3), [1, 1, 2], 'required= and score= differ');
  assert.deepEqual(groups(7), [1, 1, 1, 1], 'so does the subject');
  const virus = reportOf({ kind: 'infected', name: 'X' }, unchecked('cancelled'));
  assert.deepEqual(
    decide(mail, virus, policies).map((one) => one.recipients.length),
    [4],
  );
});

test('decide() joins reasons and scores without regard to the order of recipients', () => {
  const policies = policiesOf(
    `recipients:\n${['a', 'b', 'c', 'd', 'e'].map((name, at) => `  ${name}.test: { senders: { score: { "@sender.example": ${at / 10} } } }\n`).join('')}`,
  );
  const addresses = ['x@a.test', 'x@b.test', 'x@c.test', 'x@d.test', 'x@e.test'];
  const forth = decide(mailTo(addresses), reportOf(clean, scored(1)), policies);
  const back = decide(mailTo(addresses.toReversed()), reportOf(clean, scored(1)), policies);
  assert.equal(forth.length, 1);
  assert.equal(forth[0]?.why, back[0]?.why);
  assert.match(forth[0]?.why ?? '', / \| and 2 other reasons$/);
  assert.deepEqual([forth[0]?.marks.score, back[0]?.marks.score], [1.4, 1.4]);
});

test('decide() says value, threshold and where it was set', () => {
  const policies = policiesOf('recipients:\n  example.com: { thresholds: { quarantine: 8 } }\n');
  const table: [virus: VirusResult, spam: SpamResult, why: string][] = [
    [clean, scored(8.25), 'score 8.25 >= quarantine 8 (policies.yaml:2 recipients: example.com)'],
    [clean, scored(1), 'score 1 is below every threshold'],
    [{ kind: 'infected', name: 'Eicar\r\nX' }, scored(1), 'virus Eicar X: quarantine (shipped default)'],
    [
      unchecked('encrypted'),
      scored(3),
      'score 3 >= tag 2 (shipped default); virus unchecked (encrypted): deliver (shipped default)',
    ],
    [{ kind: 'off' }, { kind: 'off' }, 'spam not scanned'],
  ];
  for (const [virus, spam, why] of table) assert.equal(decideOne(reportOf(virus, spam), policies).why, why);
});

test('decide() holds or discards a virus, whatever the score', () => {
  const infected: VirusResult = { kind: 'infected', name: 'Eicar-Test-Signature' };
  const discard = policiesOf('default: { virus: discard, senders: { allow: ["@sender.example"] } }');
  for (const spam of [
    scored(-50, [hit('SPF_PASS')]),
    scored(999),
    { kind: 'off' } as const,
    ...[...transient, ...lasting].map(unchecked),
  ]) {
    const held = decideOne(reportOf(infected, spam));
    assert.deepEqual([held.kind, held.verdict, held.marks.virus], ['quarantine', 'virus', 'none']);
    assert.equal(decideOne(reportOf(infected, spam), discard).kind, 'discard');
  }
});

test('decide() counts virusAsSpam names as points, the highest that matches', () => {
  const policies = policiesOf('default: { virusAsSpam: { "Heuristics.*": 1, "Heuristics.Phishing.*": 4 } }');
  const infected = (name: string): VirusResult => ({ kind: 'infected', name });
  const phishing = infected('Heuristics.Phishing.Email');
  const table: [virus: VirusResult, spam: SpamResult, expected: string, score: number | null][] = [
    [phishing, scored(2.4), 'deliver clean score', 6.4],
    [phishing, scored(2.5), 'deliver spam flag', 6.5],
    [phishing, scored(6), 'quarantine spam flag', 10],
    [infected('Heuristics.Other'), scored(5.5), 'deliver spam flag', 6.5],
    [infected('Heuristic'), scored(0), 'quarantine virus none', 0],
    [phishing, { kind: 'off' }, 'deliver clean score', 4],
    [phishing, unchecked('unreachable'), 'defer unchecked unchecked', null],
  ];
  for (const [virus, spam, expected, score] of table) {
    const one = decideOne(reportOf(virus, spam), policies);
    assert.deepEqual([brief(one), one.marks.score], [expected, score], JSON.stringify([virus, spam]));
  }
  const one = decideOne(reportOf(phishing, scored(2.5)), policies);
  assert.match(one.why, /; \+4 for Heuristics\.Phishing\.Email \(policies\.yaml:1 default\)$/);
  assert.equal(one.marks.virus, 'clean');
});

test('decide() judges a name that is spam for one recipient and a virus for another', () => {
  const policies = policiesOf('recipients: { a.test: { virusAsSpam: { "Heuristics.*": 1 } } }');
  const dispositions = decide(
    mailTo(['x@a.test', 'x@b.test']),
    reportOf({ kind: 'infected', name: 'Heuristics.X' }, scored(0)),
    policies,
  );
  assert.deepEqual(dispositions.map(brief), ['deliver clean none', 'quarantine virus none']);
});

test('decide() defers, holds or delivers what a scanner could not tell, by its own key', () => {
  const choices = ['deliver', 'quarantine', 'defer'] as const;
  for (const choice of choices) {
    for (const reason of transient) {
      const policies = policiesOf(
        `default: { onUnchecked: { virus: ${choice}, spam: deliver }, deferAtMost: { attempts: null } }`,
      );
      const virus = decideOne(reportOf(unchecked(reason), scored(0)), policies);
      assert.deepEqual([virus.kind, virus.verdict, virus.marks.virus], [choice, 'unchecked', reason]);
      const other = policiesOf(
        `default: { onUnchecked: { spam: ${choice}, virus: deliver }, deferAtMost: { attempts: null } }`,
      );
      const spam = decideOne(reportOf(clean, unchecked(reason)), other);
      assert.deepEqual(
        [spam.kind, spam.verdict, spam.marks.spam, spam.marks.spamReason],
        [choice, 'unchecked', 'unchecked', reason],
      );
    }
  }
  for (const choice of ['deliver', 'quarantine'] as const) {
    for (const reason of lasting) {
      const policies = policiesOf(`default: { onUnchecked: { ${reason}: ${choice} } }`);
      assert.equal(decideOne(reportOf(unchecked(reason), scored(0)), policies).kind, choice, reason);
      assert.equal(decideOne(reportOf(clean, unchecked(reason)), policies).kind, choice, `${reason}, spam`);
    }
  }
});

test('decide() lets the graver side win: defer > discard > quarantine > deliver', () => {
  const policies = policiesOf(
    'default: { thresholds: { discard: 20 }, onUnchecked: { overLimit: quarantine, encrypted: deliver } }',
  );
  const table: [label: string, virus: VirusResult, spam: SpamResult, expected: string][] = [
    ['defer before discard', unchecked('busy'), scored(20), 'defer unchecked flag'],
    ['discard before held', unchecked('overLimit'), scored(20), 'discard spam flag'],
    ['held by the virus side', unchecked('overLimit'), scored(7), 'quarantine unchecked flag'],
    ['held by both', unchecked('overLimit'), scored(12), 'quarantine spam flag'],
    ['held by the spam side', unchecked('encrypted'), scored(12), 'quarantine spam flag'],
    ['delivered, flagged and unchecked', unchecked('encrypted'), scored(7), 'deliver spam flag'],
    ['delivered, unchecked', unchecked('encrypted'), scored(0), 'deliver unchecked none'],
    ['both deferred', unchecked('busy'), unchecked('busy'), 'defer unchecked unchecked'],
    ['both scanners off', { kind: 'off' }, { kind: 'off' }, 'deliver clean none'],
    ['virus scanner off', { kind: 'off' }, scored(12), 'quarantine spam flag'],
  ];
  for (const [label, virus, spam, expected] of table) {
    assert.equal(brief(decideOne(reportOf(virus, spam), policies)), expected, label);
  }
});

test('decide() stops deferring after attempts or hours: spam is delivered marked, virus held', () => {
  const hour = 3_600_000;
  const table: [label: string, reason: Reason, failedAttempts: number, waitedMs: number, overdue: boolean][] =
    [
      ['first failure', 'timeout', 0, 0, false],
      ['second', 'timeout', 1, 0, false],
      ['third', 'timeout', 2, 0, true],
      ['third, broken answer', 'protocol', 2, 0, true],
      ['third, its own error', 'failed', 2, 0, true],
      ['a scanner that is away did not fail', 'unreachable', 9, 0, false],
      ['nor one that is busy', 'busy', 9, 0, false],
      ['nor one that was not asked', 'cancelled', 9, 0, false],
      ['just under 24 h', 'unreachable', 0, 24 * hour - 1, false],
      ['24 h', 'unreachable', 0, 24 * hour, true],
      ['over 24 h', 'busy', 0, 24 * hour + 1, true],
    ];
  for (const [label, reason, failedAttempts, waitedMs, overdue] of table) {
    const mail = mailTo([recipient], { failedAttempts, waitedMs });
    const virus = decideOne(reportOf(unchecked(reason), scored(0)), defaults, mail);
    assert.deepEqual([virus.kind, virus.verdict], [overdue ? 'quarantine' : 'defer', 'unchecked'], label);
    const spam = decideOne(reportOf(clean, unchecked(reason)), defaults, mail);
    assert.deepEqual([spam.kind, spam.marks.spam], [overdue ? 'deliver' : 'defer', 'unchecked'], label);
    if (overdue)
      assert.match(virus.why, /deferAtMost\.(attempts 3|hours 24) \(shipped default\): quarantine/);
  }
  const patient = policiesOf('default: { deferAtMost: { attempts: null, hours: 48 } }');
  const mail = mailTo([recipient], { failedAttempts: 99, waitedMs: 47 * hour });
  assert.equal(decideOne(reportOf(clean, unchecked('timeout')), patient, mail).kind, 'defer');
});

test('isFailedAttempt() counts only what speaks of the message', () => {
  const failures = transient.filter((reason) => isFailedAttempt(reportOf(clean, unchecked(reason))));
  assert.deepEqual(failures, ['timeout', 'protocol', 'failed']);
  assert.equal(isFailedAttempt(reportOf(unchecked('timeout'), scored(0))), true);
  assert.equal(
    lasting.some((reason) => isFailedAttempt(reportOf(unchecked(reason), scored(0)))),
    false,
  );
});

test('decide() never takes a score that is no number for a low one', () => {
  for (const score of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e300, -1e300]) {
    const one = decideOne(reportOf(clean, scored(score)));
    assert.deepEqual([one.kind, one.marks.spamReason], ['defer', 'protocol'], String(score));
  }
});

test('decide() does not miss a threshold by the rounding of sums', () => {
  const policies = policiesOf(
    'default: { senders: { score: { "@sender.example": 0.1 } }, thresholds: { tag: 0, spam: 0.8 } }',
  );
  const sum = [0.7, 0.1].reduce((total, points) => total + points, 0);
  assert.ok(sum < 0.8, 'binary fractions');
  assert.equal(decideOne(reportOf(clean, scored(0.7)), policies).marks.spam, 'flag');
});

test('decide() allows a sender only where its own domain is vouched for', () => {
  const policies = policiesOf(`default:
  senders: { allow: [friend@partner.test, "@news.test", .shop.test] }
`);
  const spf = hit('SPF_PASS');
  const dkim = hit('DKIM_VALID_AU', -0.1);
  type Row = [
    label: string,
    sender: string,
    from: string | null,
    tests: (typeof spf)[],
    note: 'allowed' | 'ignored' | null,
  ];
  const table: Row[] = [
    ['envelope with SPF', 'friend@partner.test', null, [spf], 'allowed'],
    ['From with DKIM', 'x@bulk.test', 'friend@partner.test', [dkim], 'allowed'],
    ['From with SPF of the same domain', 'bounce-1@news.test', 'editor@news.test', [spf], 'allowed'],
    ['From with SPF of another domain', 'x@evil.test', 'friend@partner.test', [spf], 'ignored'],
    ['envelope with DKIM of another domain', 'friend@partner.test', 'x@evil.test', [dkim], 'ignored'],
    ['no proof', 'friend@partner.test', 'friend@partner.test', [], 'ignored'],
    [
      'other hits are no proof',
      'friend@partner.test',
      null,
      [hit('SPF_HELO_PASS'), hit('DKIM_VALID')],
      'ignored',
    ],
    ['an address extension', 'friend+x@partner.test', null, [spf], 'allowed'],
    ['case', 'Friend@PARTNER.test', null, [spf], 'allowed'],
    ['BATV', 'prvs=4312ab89cd=friend@partner.test', null, [spf], 'allowed'],
    [
      'an SRS address proves the forwarder only',
      'SRS0=a=b=partner.test=friend@evil.test',
      null,
      [spf],
      'ignored',
    ],
    ['a colleague', 'other@partner.test', null, [spf], null],
    ['a subdomain of .shop.test', 'x@a.shop.test', null, [spf], 'allowed'],
    ['.shop.test itself', 'x@shop.test', null, [spf], null],
    ['a subdomain of @news.test', 'x@a.news.test', null, [spf], null],
    ['a longer name', 'x@evilnews.test', null, [spf], null],
    ['null sender', '', null, [spf], null],
  ];
  for (const [label, sender, from, tests, note] of table) {
    const one = decideOne(
      reportOf(clean, scored(50, tests)),
      policies,
      mailTo([recipient], { sender, from }),
    );
    assert.equal(brief(one), note === 'allowed' ? 'deliver clean score' : 'quarantine spam flag', label);
    assert.equal(/sender allowed by/.test(one.why), note === 'allowed', label);
    assert.equal(
      /allow ".*" ignored: .*\(policies\.yaml:2 default\)/.test(one.why),
      note === 'ignored',
      label,
    );
    if (note === 'allowed') assert.equal(one.marks.required, null, label);
  }
});

test('decide() takes no proof from a hit that was taken out of a truncated score', () => {
  const policies = policiesOf('default: { senders: { allow: ["@sender.example"] } }');
  const tests = [hit('DKIM_VALID_AU')];
  const spam: SpamResult = { kind: 'scored', score: 50, tests, truncated: true, ignored: tests };
  assert.equal(
    decideOne(reportOf(clean, spam), policies, mailTo([recipient], { from: 'a@sender.example' })).kind,
    'quarantine',
  );
});

test('decide() lets allow lift neither virus nor doubt', () => {
  const policies = policiesOf('default: { senders: { allow: ["@sender.example"] } }');
  const allowed = scored(50, [hit('SPF_PASS')]);
  assert.equal(decideOne(reportOf({ kind: 'infected', name: 'X' }, allowed), policies).kind, 'quarantine');
  assert.equal(decideOne(reportOf(unchecked('unreachable'), allowed), policies).kind, 'defer');
  assert.equal(decideOne(reportOf(unchecked('overLimit'), allowed), policies).kind, 'quarantine');
  assert.equal(decideOne(reportOf(clean, unchecked('unreachable')), policies).kind, 'defer');
});

test('decide() blocks a sender with 100 points that never discard by themselves', () => {
  const table: [thresholds: string, score: number, expected: string, shown: number][] = [
    ['{}', 0, 'quarantine spam flag', 100],
    ['{ discard: 20 }', 19.9, 'quarantine spam flag', 119.9],
    ['{ discard: 20 }', 20, 'discard spam flag', 120],
    ['{ quarantine: null, discard: 20 }', 0, 'deliver spam flag', 100],
    ['{ quarantine: null }', -95, 'deliver clean score', 5],
  ];
  for (const [thresholds, score, expected, shown] of table) {
    const policies = policiesOf(
      `default: { thresholds: ${thresholds}, senders: { block: ["@sender.example"] } }`,
    );
    const one = decideOne(reportOf(clean, scored(score)), policies);
    assert.deepEqual([brief(one), one.marks.score], [expected, shown], `${thresholds} ${score}`);
    assert.match(one.why, /sender blocked by "@sender\.example" \(policies\.yaml:1 default\)/);
  }
  const policies = policiesOf('default: { senders: { block: ["@sender.example"] } }');
  assert.equal(
    decideOne(reportOf(clean, { kind: 'off' }), policies).kind,
    'quarantine',
    'also without a spam scanner',
  );
  const fromOnly = mailTo([recipient], { sender: '', from: 'x@sender.example' });
  assert.equal(
    decideOne(reportOf(clean, scored(0)), policies, fromOnly).kind,
    'quarantine',
    'by header From',
  );
});

test('decide() lets the more exact entry win between allow and block, and block between equals', () => {
  const table: [allow: string, block: string, kind: string][] = [
    ['a@x.y.test', '"@x.y.test"', 'deliver'],
    ['"@x.y.test"', 'a@x.y.test', 'quarantine'],
    ['"@x.y.test"', '.y.test', 'deliver'],
    ['.test', '.y.test', 'quarantine'],
    ['"@x.y.test"', '"@x.y.test"', 'quarantine'],
  ];
  for (const [allow, block, kind] of table) {
    const policies = policiesOf(`default: { senders: { allow: [${allow}], block: [${block}] } }`);
    const mail = mailTo([recipient], { sender: 'a@x.y.test' });
    assert.equal(
      decideOne(reportOf(clean, scored(0, [hit('SPF_PASS')])), policies, mail).kind,
      kind,
      `${allow} ${block}`,
    );
  }
});

test('decide() adds the points of senders, once per entry', () => {
  const policies = policiesOf(
    'default: { senders: { score: { "@a.test": 2, vip@a.test: -3, "@b.test": 0.5 } } }',
  );
  const table: [sender: string, from: string | null, score: number][] = [
    ['x@a.test', null, 3],
    ['x@a.test', 'y@a.test', 3],
    ['vip@a.test', null, -2],
    ['vip@a.test', 'x@a.test', 0],
    ['x@a.test', 'x@b.test', 3.5],
    ['srs0=h=t=a.test=x@forwarder.test', null, 3],
    ['x@c.test', null, 1],
  ];
  for (const [sender, from, score] of table) {
    const one = decideOne(reportOf(clean, scored(1)), policies, mailTo([recipient], { sender, from }));
    assert.equal(one.marks.score, score, `${sender} ${from}`);
  }
});

test('decide() tags the subject of flagged deliveries only', () => {
  const policies = policiesOf('default: { subjectTag: "[SPAM] " }');
  const tags = [3, 7, 12].map(
    (score) => decideOne(reportOf(clean, scored(score)), policies).marks.subjectTag,
  );
  assert.deepEqual(tags, [null, '[SPAM] ', null]);
});

test('decide() gives marks with what the headers need', () => {
  const tests = [hit('BAYES_99', 3.5)];
  assert.deepEqual(decideOne(reportOf(clean, scored(7, tests))).marks, {
    spam: 'flag',
    score: 7,
    required: 6.5,
    tests,
    spamReason: null,
    virus: 'clean',
    subjectTag: null,
  });
});

test('decide() never holds or defers outbound mail for spam, and raises the alarm', () => {
  const table: [score: number, expected: string, alarm: boolean][] = [
    [7.9, 'deliver clean none', false],
    [8, 'deliver spam none', true],
    [8.1, 'deliver spam none', true],
    [999, 'deliver spam none', true],
  ];
  const policies = policiesOf(
    'default: { thresholds: { discard: 20 }, senders: { block: ["@sender.example"] } }',
  );
  const mail = mailTo(['a@x.test', 'b@y.test'], { direction: 'outbound' });
  for (const [score, expected, alarm] of table) {
    const one = decideOne(reportOf(clean, scored(score)), policies, mail);
    assert.deepEqual([brief(one), one.alarm], [expected, alarm], String(score));
  }
  for (const reason of [...transient, ...lasting]) {
    const one = decideOne(reportOf(clean, unchecked(reason)), policies, mail);
    assert.deepEqual([one.kind, one.verdict, one.marks.spam], ['deliver', 'unchecked', 'none'], reason);
  }
});

test('decide() judges viruses in outbound mail by the sender, doubt by the default', () => {
  const policies = policiesOf(
    'recipients: { sender.example: { outbound: { virus: discard } }, x.test: { virus: discard } }',
  );
  const infected: VirusResult = { kind: 'infected', name: 'X' };
  const mail = (sender: string) => mailTo(['a@x.test'], { direction: 'outbound', sender });
  assert.equal(decideOne(reportOf(infected, scored(0)), policies, mail('me@sender.example')).kind, 'discard');
  const held = decideOne(reportOf(infected, scored(0)), policies, mail('me@other.example'));
  assert.deepEqual([held.kind, held.why], ['quarantine', 'virus X: quarantine (shipped outbound)']);
  assert.equal(decideOne(reportOf(unchecked('unreachable'), scored(0)), policies, mail('')).kind, 'defer');
  assert.equal(decideOne(reportOf(unchecked('encrypted'), scored(0)), policies, mail('')).kind, 'deliver');
});

test('decide() of no recipients is no disposition', () => {
  assert.deepEqual(decide(mailTo([]), reportOf(clean, scored(0)), defaults), []);
});

test('decide() takes 10,000 recipients under 10,000 policies', () => {
  const addresses = Array.from({ length: 10_000 }, (_, at) => `u${at}@example.com`);
  const lines = addresses.map(
    (address, at) => `  ${address}: { thresholds: { quarantine: ${at % 2 === 0 ? 7 : 12} } }`,
  );
  const dispositions = decide(
    mailTo(addresses),
    reportOf(clean, scored(8)),
    policiesOf(`recipients:\n${lines.join('\n')}\n`),
  );
  assert.deepEqual(
    dispositions.map((one) => [one.kind, one.recipients.length]),
    [
      ['quarantine', 5000],
      ['deliver', 5000],
    ],
  );
});

// Properties: any message, any report, any policy.
const reasons = fc.constantFrom(...transient, ...lasting);
const uncheckeds = fc.record({
  kind: fc.constant('unchecked' as const),
  reason: reasons,
  detail: fc.string(),
});
const viruses: fc.Arbitrary<VirusResult> = fc.oneof(
  fc.constantFrom<VirusResult[]>({ kind: 'clean' }, { kind: 'off' }),
  fc.record({
    kind: fc.constant('infected' as const),
    name: fc.oneof(fc.string(), fc.constantFrom('Heuristics.Phishing.X', 'Eicar')),
  }),
  uncheckeds,
);
const hits = fc.array(
  fc.constantFrom('SPF_PASS', 'DKIM_VALID_AU', 'BAYES_99').map((name) => hit(name, 1)),
  { maxLength: 3 },
);
const scores = fc.oneof(fc.double(), fc.integer({ min: -20, max: 30 }), fc.constantFrom(1.9, 2, 6.5, 10));
const spams: fc.Arbitrary<SpamResult> = fc.oneof(
  fc.constant<SpamResult>({ kind: 'off' }),
  fc.record({
    kind: fc.constant('scored' as const),
    score: scores,
    tests: hits,
    truncated: fc.boolean(),
    ignored: hits,
  }),
  uncheckeds,
);
const addresses = fc.oneof(
  fc.constantFrom('a@x.test', 'a+e@x.test', 'b@y.x.test', 'c@z.test', 'postmaster', 'A@X.test'),
  fc.string({ unit: 'binary' }),
);
const mails = fc
  .record({
    to: fc.array(addresses, { maxLength: 12 }),
    sender: fc.oneof(addresses, fc.constantFrom('', 's@x.test')),
    from: fc.option(addresses),
    direction: fc.constantFrom('inbound' as const, 'outbound' as const),
    waitedMs: fc.oneof(fc.double(), fc.nat({ max: 2e8 })),
    failedAttempts: fc.nat({ max: 5 }),
  })
  .map(({ to, ...facts }) => mailTo(to, facts));

/** Thresholds in order, some of them off: one layer alone is always right. */
const thresholds = fc
  .tuple(
    fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 4, maxLength: 4 }),
    fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
  )
  .map(([values, on]) => {
    const sorted = values.toSorted((a, b) => a - b);
    return ['tag', 'spam', 'quarantine', 'discard'].map(
      (name, at) => `${name}: ${on[at] === true ? sorted[at] : null}`,
    );
  });
const layers = fc
  .record({
    thresholds,
    virus: fc.constantFrom('quarantine', 'discard'),
    unchecked: fc.tuple(
      fc.constantFrom('deliver', 'quarantine', 'defer'),
      fc.constantFrom('deliver', 'quarantine', 'defer'),
    ),
    lists: fc.constantFrom(
      'allow: ["@x.test"]',
      'block: ["@x.test", .test]',
      'score: { "@z.test": -3, "@x.test": 4 }',
      'allow: null',
    ),
    asSpam: fc.constantFrom('{}', '{ "Heuristics.*": 3 }', '{ "Eicar": 0 }'),
  })
  .map(
    ({ thresholds: levels, virus, unchecked: [onVirus, onSpam], lists, asSpam }) =>
      `{ thresholds: { ${levels.join(', ')} }, virus: ${virus}, onUnchecked: { virus: ${onVirus}, spam: ${onSpam} }, senders: { ${lists} }, virusAsSpam: ${asSpam} }`,
  );
/** Only policies that the parser takes; where layers contradict each other, the shipped ones alone. */
const anyPolicies = fc
  .record({
    base: fc.option(layers),
    x: fc.option(layers),
    a: fc.option(layers),
    role: fc.constantFrom('primary' as const, 'backup' as const),
  })
  .map(({ base, x, a, role }) => {
    const parts = [
      base === null ? '' : `default: ${base}`,
      'recipients:',
      `  .test: ${x ?? '{}'}`,
      `  a@x.test: ${a ?? '{}'}`,
    ];
    const { policies } = parsePolicies(shipped, { file: 'p', text: parts.join('\n') }, role);
    return policies ?? defaults;
  });

test('decide() is total: every recipient exactly once, whatever comes', () => {
  fc.assert(
    fc.property(mails, viruses, spams, anyPolicies, (mail, virus, spam, policies) => {
      const dispositions = decide(mail, reportOf(virus, spam), policies);
      const placed = dispositions.flatMap(({ recipients }) => recipients);
      assert.equal(placed.length, mail.envelope.recipients.length);
      assert.deepEqual(new Set(placed), new Set(mail.envelope.recipients));
      assert.equal(new Set(placed).size, placed.length);
      for (const one of dispositions) {
        assert.ok(one.recipients.length > 0 && one.why !== '');
        assert.equal(one.marks.score === null || Number.isFinite(one.marks.score), true);
      }
    }),
    { numRuns: 800 },
  );
});

test('decide() on a backup discards nothing, and judges no recipient milder than the primary does', () => {
  const layer = fc.tuple(
    fc.uniqueArray(fc.integer({ min: 0, max: 30 }), { minLength: 4, maxLength: 4 }),
    fc.constantFrom('quarantine', 'discard'),
  );
  const textOf = layer.map(([levels, virus]) => {
    const [tag, spam, quarantine, discard] = levels.toSorted((one, other) => one - other);
    return `default: { virus: ${virus}, thresholds: { tag: ${tag}, spam: ${spam}, quarantine: ${quarantine}, discard: ${discard} } }`;
  });
  const graver = ['deliver', 'quarantine', 'discard', 'defer'];
  fc.assert(
    fc.property(mails, viruses, spams, textOf, (mail, virus, spam, text) => {
      const at = (role: 'primary' | 'backup') => {
        const { policies } = parsePolicies(shipped, { file: 'p', text }, role);
        // Caps below a site's own tag contradict it: the parser refuses that combination.
        return policies === null ? null : decide(mail, reportOf(virus, spam), policies);
      };
      const [here, there] = [at('primary'), at('backup')];
      if (here === null || there === null) return;
      for (const { kind, recipients } of there) {
        assert.notEqual(kind, 'discard');
        for (const recipient of recipients) {
          const same = here.find((one) => one.recipients.includes(recipient));
          const wanted = same?.kind === 'discard' ? 'quarantine' : (same?.kind ?? '');
          assert.ok(
            graver.indexOf(kind) >= graver.indexOf(wanted),
            `${kind} where the primary has ${wanted}`,
          );
        }
      }
    }),
    { numRuns: 500 },
  );
});

test('decide() never delivers or defers an infected message, whoever sent it', () => {
  const infected = fc.record({
    kind: fc.constant('infected' as const),
    name: fc.constantFrom('Eicar', 'Heuristics.X', 'Win.Y'),
  });
  fc.assert(
    fc.property(mails, infected, spams, anyPolicies, (mail, virus, spam, policies) => {
      for (const one of decide(mail, reportOf(virus, spam), policies)) {
        if (one.kind === 'quarantine' || one.kind === 'discard') continue;
        for (const { address } of one.recipients) {
          const policy = mail.direction === 'outbound' ? policies.defaults : policyFor(address, policies);
          assert.notEqual(
            virusAsSpamPoints(virus.name, policy.virusAsSpam.value),
            null,
            `${virus.name} ${one.kind}`,
          );
        }
      }
    }),
    { numRuns: 800 },
  );
});

test('decide() discards only for a virus or a score, never for doubt or a block alone', () => {
  fc.assert(
    fc.property(mails, viruses, spams, anyPolicies, (mail, virus, spam, policies) => {
      for (const one of decide(mail, reportOf(virus, spam), policies)) {
        if (one.kind !== 'discard') continue;
        assert.ok(one.verdict === 'virus' || one.verdict === 'spam');
        if (one.verdict === 'virus') assert.equal(virus.kind, 'infected');
        else assert.match(one.why, / >= discard /);
      }
    }),
    { numRuns: 400 },
  );
});

test('decide() never treats a higher score more kindly', () => {
  const severity = ['deliver', 'quarantine', 'discard'];
  const low = fc.integer({ min: -200, max: 300 });
  fc.assert(
    fc.property(low, fc.nat({ max: 200 }), anyPolicies, (first, more, policies) => {
      const mail = mailTo(['a@x.test'], { sender: 's@q.example' });
      const [one] = decide(mail, reportOf(clean, scored(first / 10)), policies);
      const [other] = decide(mail, reportOf(clean, scored((first + more) / 10)), policies);
      assert.ok(severity.indexOf(one?.kind ?? '') <= severity.indexOf(other?.kind ?? ''));
    }),
    { numRuns: 400 },
  );
});
