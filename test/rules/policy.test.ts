/**
 * policy — what stands in policies.yaml, which layer wins, and which mistakes are found where.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  explain,
  outboundPolicyFor,
  policyFor,
  thresholdsOf,
  virusAsSpamPatterns,
} from '../../rules/decide.ts';
import { formatProblem } from '../../rules/document.ts';
import { parsePolicies } from '../../rules/policy.ts';
import { matchesVirusName } from '../../rules/virus-name.ts';
import { policiesOf, problemsOf, recipientOf, shipped } from './policy-texts.ts';

/** DESIGN's section "Policy", field by field. */
const documentedDefaults: Record<string, unknown> = {
  'thresholds.tag': 2,
  'thresholds.spam': 6.5,
  'thresholds.quarantine': 10,
  'thresholds.discard': null,
  virus: 'quarantine',
  'onUnchecked.virus': 'defer',
  'onUnchecked.spam': 'defer',
  'onUnchecked.encrypted': 'deliver',
  'onUnchecked.overLimit': 'quarantine',
  'onUnchecked.ambiguous': 'quarantine',
  'onUnchecked.poison': 'quarantine',
  'deferAtMost.attempts': 3,
  'deferAtMost.hours': 24,
  virusAsSpam: {},
  subjectTag: null,
  'senders.allow': {},
  'senders.block': {},
  'senders.score': {},
  retentionDays: 30,
  'outbound.thresholds.alarm': 8,
  'outbound.virus': 'quarantine',
};

test('policies.yaml holds the documented defaults, every one of them', () => {
  const { policies, problems } = parsePolicies(shipped, null, 'primary');
  assert.deepEqual(problems.map(formatProblem), []);
  assert.ok(policies !== null);
  const defaults = Object.fromEntries(
    Object.entries(policies.defaults).map(([field, { value }]) => [field, value]),
  );
  assert.deepEqual(defaults, documentedDefaults);
  assert.deepEqual(Object.keys(defaults), Object.keys(documentedDefaults), 'in the order of the file');
  assert.deepEqual(policies.caps, {});
  assert.deepEqual(Object.keys(policies.recipients), []);
});

test('policies.yaml caps a backup', () => {
  const { policies } = parsePolicies(shipped, null, 'backup');
  const caps = Object.entries(policies?.caps ?? {}).map(([field, { value }]) => [field, value]);
  assert.deepEqual(caps, [
    ['thresholds.spam', 5.5],
    ['thresholds.quarantine', 8],
  ]);
});

test('policies.yaml says of every key what it is for and why it is so', () => {
  const lines = shipped.text.split('\n');
  const keys = lines.flatMap((line, at) => (/^\s*[\w-]+:/.test(line) ? [at] : []));
  assert.ok(keys.length >= 25);
  for (const at of keys) {
    const before = lines[at - 1] ?? '';
    assert.match(before, /^\s*# /, `a comment before line ${at + 1}: ${lines[at]}`);
    // A section says what it is; every value also why it is what it is.
    if (/:\s*$/.test(lines[at] ?? '')) continue;
    const start = lines.findLastIndex((line, index) => index < at && !/^\s*# /.test(line)) + 1;
    assert.match(lines.slice(start, at).join('\n'), /\bWhy /, `a reason before line ${at + 1}: ${lines[at]}`);
  }
});

const layered = `default: { thresholds: { tag: 1 }, subjectTag: "[SPAM] " }
recipients:
  .example: { retentionDays: 5, thresholds: { spam: 7 } }
  .example.example: { retentionDays: 6 }
  a.example.example: { thresholds: { spam: 8 } }
  u@a.example.example: { thresholds: { quarantine: null } }
  U+x@A.example.example: { thresholds: { discard: 20 } }
`;

test('policyFor() resolves each field by itself, nearest first, with its origin', () => {
  const policies = policiesOf(layered);
  type Row = [address: string, field: keyof ReturnType<typeof policyFor>, value: unknown, origin: string];
  const table: Row[] = [
    ['nobody@elsewhere.test', 'thresholds.spam', 6.5, 'shipped default'],
    ['nobody@elsewhere.test', 'thresholds.tag', 1, 'policies.yaml:1 default'],
    ['nobody@elsewhere.test', 'subjectTag', '[SPAM] ', 'policies.yaml:1 default'],
    ['x@b.example', 'thresholds.spam', 7, 'policies.yaml:3 recipients: .example'],
    ['x@b.example', 'retentionDays', 5, 'policies.yaml:3 recipients: .example'],
    ['x@example', 'retentionDays', 30, 'shipped default'],
    ['x@b.example.example', 'retentionDays', 6, 'policies.yaml:4 recipients: .example.example'],
    ['x@a.example.example', 'thresholds.spam', 8, 'policies.yaml:5 recipients: a.example.example'],
    ['x@a.example.example', 'retentionDays', 6, 'policies.yaml:4 recipients: .example.example'],
    ['x@a.example.example', 'thresholds.quarantine', 10, 'shipped default'],
    ['u@a.example.example', 'thresholds.quarantine', null, 'policies.yaml:6 recipients: u@a.example.example'],
    ['u@a.example.example', 'thresholds.discard', null, 'shipped default'],
    [
      'u+y@a.example.example',
      'thresholds.quarantine',
      null,
      'policies.yaml:6 recipients: u@a.example.example',
    ],
    ['u+x@a.example.example', 'thresholds.discard', 20, 'policies.yaml:7 recipients: U+x@A.example.example'],
    [
      '"u+x"@A.EXAMPLE.example',
      'thresholds.discard',
      20,
      'policies.yaml:7 recipients: U+x@A.example.example',
    ],
    ['u+x@a.example.example', 'thresholds.spam', 8, 'policies.yaml:5 recipients: a.example.example'],
    ['postmaster', 'thresholds.spam', 6.5, 'shipped default'],
    ['', 'thresholds.spam', 6.5, 'shipped default'],
    ['__proto__@constructor', 'thresholds.spam', 6.5, 'shipped default'],
  ];
  for (const [address, field, value, origin] of table) {
    assert.deepEqual(policyFor(address, policies)[field], { value, origin }, `${address} ${field}`);
  }
});

test('policyFor() knows U-labels and A-labels as one', () => {
  const policies = policiesOf(
    'recipients: { bücher.example: { retentionDays: 3 }, .xn--bcher-kva.test: { retentionDays: 4 } }',
  );
  const days = (address: string) => policyFor(address, policies).retentionDays.value;
  assert.deepEqual(
    [days('a@xn--bcher-kva.example'), days('a@BÜCHER.example'), days('a@x.bücher.test')],
    [3, 3, 4],
  );
});

test('policyFor() caps by role: the lower one, and a cap for what is off', () => {
  const text = `default: { thresholds: { spam: 5 } }
roles: { backup: { thresholds: { tag: null, quarantine: 7 } } }
recipients:
  off.test: { thresholds: { spam: null, quarantine: null } }
  strict.test: { thresholds: { spam: 3, quarantine: 6 } }
`;
  const policies = policiesOf(text, 'backup');
  const rows = (address: string) =>
    Object.values(thresholdsOf(policyFor(address, policies)).thresholds).map(
      ({ value, origin }) => `${value} ${origin}`,
    );
  assert.deepEqual(rows('a@other.test'), [
    '2 shipped default',
    '5 policies.yaml:1 default',
    '7 policies.yaml:2 roles: backup, which caps 10 of shipped default',
    'null shipped default',
  ]);
  assert.deepEqual(rows('a@off.test'), [
    '2 shipped default',
    '5.5 shipped roles: backup, which caps null of policies.yaml:4 recipients: off.test',
    '7 policies.yaml:2 roles: backup, which caps null of policies.yaml:4 recipients: off.test',
    'null shipped default',
  ]);
  assert.deepEqual(rows('a@strict.test')[1], '3 policies.yaml:5 recipients: strict.test');
  assert.equal(policyFor('a@off.test', policiesOf(text, 'primary'))['thresholds.spam'].value, null);
});

test('policyFor() takes null in a role for no cap', () => {
  const policies = policiesOf(
    'roles: { backup: { thresholds: { spam: null, quarantine: null } } }',
    'backup',
  );
  assert.equal(policyFor('a@b.test', policies)['thresholds.spam'].value, 6.5);
});

test('policyFor() drops nothing on a backup, whoever asks for it, and says so', () => {
  const text = `default: { virus: discard, thresholds: { discard: 20 } }
roles: { backup: { thresholds: { discard: 15 } } }
recipients:
  drop.test: { thresholds: { discard: 12 } }
`;
  const backup = policyFor('a@drop.test', policiesOf(text, 'backup'));
  assert.deepEqual([backup['thresholds.discard'].value, backup.virus.value], [null, 'quarantine']);
  assert.equal(
    backup['thresholds.discard'].origin,
    'role: backup, which drops nothing, over 12 of policies.yaml:4 recipients: drop.test',
  );
  assert.equal(
    backup.virus.origin,
    'role: backup, which drops nothing, over discard of policies.yaml:1 default',
  );
  const primary = policyFor('a@drop.test', policiesOf(text, 'primary'));
  assert.deepEqual([primary['thresholds.discard'].value, primary.virus.value], [12, 'discard']);
});

test('outboundPolicyFor() looks up outbound by sender, the rest is default', () => {
  const policies = policiesOf(
    `default: { onUnchecked: { virus: quarantine } }
outbound: { thresholds: { alarm: 9 } }
recipients:
  example.com: { thresholds: { spam: 3 }, retentionDays: 1, outbound: { virus: discard } }
  news@example.com: { outbound: { thresholds: { alarm: null } } }
`,
    'backup',
  );
  const rows = (sender: string) => {
    const policy = outboundPolicyFor(sender, policies);
    return [
      policy['outbound.thresholds.alarm'].value,
      policy['outbound.virus'].value,
      policy['onUnchecked.virus'].value,
      policy.retentionDays.value,
    ];
  };
  // A backup drops nothing, of what is sent neither.
  assert.deepEqual(rows('a@example.com'), [9, 'quarantine', 'quarantine', 30]);
  assert.deepEqual(rows('news@example.com'), [null, 'quarantine', 'quarantine', 30]);
  assert.deepEqual(rows(''), [9, 'quarantine', 'quarantine', 30]);
});

test('explain() shows what matters in a direction, with origins', () => {
  const policies = policiesOf('outbound: { virus: discard }');
  const inbound = explain(policyFor('a@b.test', policies));
  assert.deepEqual(
    inbound.map(({ field }) => field),
    Object.keys(documentedDefaults).filter((field) => !field.startsWith('outbound.')),
  );
  const outbound = explain(outboundPolicyFor('a@b.test', policies), 'outbound');
  assert.deepEqual(outbound.at(-1), {
    field: 'outbound.virus',
    value: 'discard',
    origin: 'policies.yaml:1 outbound',
  });
  assert.ok(!outbound.some(({ field }) => field.startsWith('thresholds.') || field === 'virus'));
});

test('virusAsSpamPatterns() is the union over the recipients', () => {
  const policies = policiesOf(`default: { virusAsSpam: { "Heuristics.*": 1 } }
recipients:
  a.test: { virusAsSpam: { "Phishing.*": 2 } }
  b.test: { virusAsSpam: null }
`);
  const patterns = (...addresses: string[]) => virusAsSpamPatterns(addresses.map(recipientOf), policies);
  assert.deepEqual(patterns('x@a.test', 'x@b.test'), ['Heuristics.*', 'Phishing.*']);
  assert.deepEqual(patterns('x@b.test'), ['Heuristics.*']);
  assert.deepEqual(Object.keys(policyFor('x@b.test', policies).virusAsSpam.value), []);
});

test('parsePolicies() freezes all of it', () => {
  const policies = policiesOf('recipients: { a.test: { senders: { score: { "@b.test": 1 } } } }');
  assert.throws(() => Object.assign(policies.recipients, { b: 1 }), TypeError);
  assert.throws(
    () => Object.assign(policies.recipients['a.test']?.['senders.score']?.value ?? {}, { b: 1 }),
    TypeError,
  );
  assert.throws(() => Object.assign(policies.defaults.retentionDays, { value: 1 }), TypeError);
});

test('parsePolicies() is plain data: it survives JSON', () => {
  const policies = policiesOf(layered);
  const copy = JSON.parse(JSON.stringify(policies));
  assert.deepEqual(policyFor('u@a.example.example', copy), policyFor('u@a.example.example', policies));
  assert.deepEqual(policyFor('x@constructor', copy), policyFor('x@constructor', policies));
});

test('parsePolicies() takes empty texts and empty sections for nothing said', () => {
  for (const text of [
    '',
    '# nothing\n',
    'default:\n',
    'recipients:\n',
    'default:\n  thresholds:\nroles:\n  backup:\n',
    'recipients:\n  a.test:\n',
  ]) {
    const policies = policiesOf(text);
    assert.equal(policyFor('x@a.test', policies)['thresholds.spam'].value, 6.5, text);
  }
});

/** Each text has one mistake, or as many as there are expected lines. */
const mistakes: [text: string, ...problems: RegExp[]][] = [
  ['defalt: {}', /^policies\.yaml:1:1: defalt: unknown key: did you mean "default"\?$/],
  [
    'default:\n  thresholds:\n    spma: 5',
    /^policies\.yaml:3:5: default\.thresholds\.spma: unknown key: did you mean "spam"\?$/,
  ],
  [
    'default: { thresholds: { banana: 5 } }',
    /:1:26: .*unknown key: known here: tag, spam, quarantine, discard$/,
  ],
  ['default: { thresholds: { alarm: 5 } }', /:1:26: default\.thresholds\.alarm: unknown key/],
  ['default: { Virus: discard }', /unknown key: did you mean "virus"\?$/],
  ['default: 5', /^policies\.yaml:1:10: default: found 5: write the keys/],
  ['default: null', /^policies\.yaml:1:10: default: found null: write the keys/],
  ['default:\n  - thresholds', /^policies\.yaml:2:3: default: found a list: write the keys/],
  ['- default', /^policies\.yaml:1:1: found a list: write the keys default, outbound, roles, recipients/],
  [
    'default: { thresholds: { spam: "5" } }',
    /:1:32: default\.thresholds\.spam: found "5": write a number from 0 to 1000, or null/,
  ],
  ['default: { thresholds: { spam: -0.1 } }', /found -0\.1: write a number from 0/],
  ['default: { thresholds: { spam: 1001 } }', /found 1001: write a number from 0 to 1000/],
  ['default: { thresholds: { spam: .nan } }', /found NaN: write a number/],
  ['default: { thresholds: { spam: .inf } }', /found Infinity: write a number/],
  ['default: { thresholds: { spam: 1e999 } }', /found Infinity: write a number/],
  ['default: { thresholds: { spam: true } }', /found true: write a number/],
  ['default: { thresholds: { spam: [5] } }', /found a list: write a number/],
  [
    'default:\n  thresholds:\n    quarantine:\n    spam: 5',
    /^policies\.yaml:3:\d+: default\.thresholds\.quarantine: found nothing: write a number from 0 to 1000, or null to switch it off$/,
  ],
  ['default: { thresholds: { tag: -1001 } }', /found -1001: write a number from -1000/],
  [
    'default: { virus: deliver }',
    /^policies\.yaml:1:19: default\.virus: a virus is never delivered: write quarantine or discard$/,
  ],
  ['default: { virus: null }', /found null: write quarantine or discard/],
  ['outbound: { virus: deliver }', /^policies\.yaml:1:20: outbound\.virus: a virus is never delivered/],
  [
    'outbound: { thresholds: { spam: 5 } }',
    /:1:27: outbound\.thresholds\.spam: unknown key: known here: alarm/,
  ],
  ['outbound: { onUnchecked: { virus: defer } }', /unknown key: known here: thresholds, virus/],
  ['default: { onUnchecked: { virus: ignore } }', /found "ignore": write deliver, quarantine or defer/],
  ...['encrypted', 'overLimit', 'ambiguous', 'poison'].map((key): [string, RegExp] => [
    `default: { onUnchecked: { ${key}: defer } }`,
    new RegExp(`onUnchecked\\.${key}: waiting never clears this up: write deliver or quarantine$`),
  ]),
  ['default: { onUnchecked: { overlimit: deliver } }', /did you mean "overLimit"\?/],
  ['default: { deferAtMost: { attempts: 0 } }', /found 0: write a whole number from 1 to 1000, or null/],
  ['default: { deferAtMost: { attempts: 2.5 } }', /found 2\.5: write a whole number/],
  ['default: { deferAtMost: { hours: null } }', /found null: write a number from 0\.1 to 120/],
  ['default: { retentionDays: null }', /found null: write a whole number from 1 to 3650/],
  ['default: { retentionDays: 30d }', /found "30d": write a whole number/],
  ['default: { subjectTag: "" }', /found "": write a short text, or null/],
  ['default: { subjectTag: "a\\r\\nBcc: x" }', /contains control characters: write/],
  [`default: { subjectTag: ${'x'.repeat(51)} }`, /longer than 50 characters: write/],
  ['default: { virusAsSpam: { "*": 1 } }', /:1:27: default\.virusAsSpam\."\*": would match almost any virus/],
  ['default: { virusAsSpam: { "*.a?*": 1 } }', /would match almost any virus/],
  ['default: { virusAsSpam: { "Heuristics.*": -1 } }', /:1:43: .*found -1: write a number from 0/],
  ['default: { virusAsSpam: [Heuristics] }', /found a list: write a map/],
  ['default: { senders: { allow: partner.example } }', /found "partner\.example": write a list of senders/],
  [
    'default:\n  senders:\n    allow:\n      - partner.example',
    /^policies\.yaml:4:9: .*a sender's domain is written with @: write "@partner\.example"$/,
  ],
  ['default: { senders: { block: ["*@spam.test"] } }', /no wildcards here: write user@domain, @domain/],
  [
    'default: { senders: { block: ["a b@spam.test", "@spam_.test-"] } }',
    /"a b@spam\.test" is no mail address/,
    /"@spam_\.test-" is no sender/,
  ],
  [
    'default: { senders: { score: { "@a.test": high } } }',
    /:1:43: .*found "high": write a number from -1000 to 1000/,
  ],
  [
    'default: { senders: { score: { "@a.test": 1, "@A.test": 2 } } }',
    /:1:46: .*the same as another key here/,
  ],
  ['default: { senders: { deny: [] } }', /unknown key: known here: allow, block, score/],
  ['roles: { secondary: {} }', /unknown key: known here: primary, backup/],
  [
    'roles: { backup: { virus: discard } }',
    /:1:20: roles\.backup\.virus: unknown key: known here: thresholds/,
  ],
  ['recipients: [a.test]', /found a list: write addresses and domains under it/],
  [
    'recipients:\n  "@a.test": {}',
    /^policies\.yaml:2:3: recipients\."@a\.test": a domain is written without @: write "a\.test"$/,
  ],
  ['recipients: { "*.a.test": {} }', /no wildcards here/],
  ['recipients: { "a@": {} }', /"a@" is no mail address: write user@domain/],
  ['recipients: { "a@b..test": {} }', /is no mail address/],
  ['recipients: { "-a.test": {} }', /no address and no domain/],
  ['recipients: { "..test": {} }', /no address and no domain/],
  [`recipients: { ${'a'.repeat(64)}.test: {} }`, /no address and no domain/],
  ['recipients: { "a/b.test": {} }', /no address and no domain/],
  [
    'recipients:\n  a.test: {}\n  A.test: {}',
    /^policies\.yaml:3:3: recipients\."A\.test": the same as line 2: remove one of the two$/,
  ],
  ['recipients:\n  bücher.test: {}\n  xn--bcher-kva.test: {}', /^policies\.yaml:3:3: .*the same as line 2/],
  ['recipients:\n  a.test: {}\n  a.test: {}', /^policies\.yaml:3:3: .*stands twice, first in line 2/],
  [
    'recipients:\n  a.test: { role: backup }',
    /^policies\.yaml:2:13: recipients\."a\.test"\.role: unknown key/,
  ],
  [
    'recipients:\n  a.test: { outbound: { alarm: 5 } }',
    /outbound\.alarm: unknown key: known here: thresholds, virus/,
  ],
  [
    'recipients:\n  a.test: { __proto__: { virus: discard } }',
    /^policies\.yaml:2:13: .*__proto__ is not allowed/,
  ],
  ['default: { <<: { virus: discard } }', /:1:12: default\."<<": unknown key/],
  [
    'default:\n  virus: deliver\n  thresholds: { spam: x, spma: 1 }\nrecipients:\n  "@a": {}\nroles: 5\n',
    /^policies\.yaml:2:/,
    /^policies\.yaml:3:23: /,
    /^policies\.yaml:3:26: /,
    /^policies\.yaml:5:/,
    /^policies\.yaml:6:/,
  ],
];

test('parsePolicies() finds every planted mistake in its line, and nothing else', () => {
  assert.ok(mistakes.length > 60);
  for (const [text, ...expected] of mistakes) {
    const problems = problemsOf(text);
    assert.equal(problems.length, expected.length, `${text}\n${problems.join('\n')}`);
    for (const [at, pattern] of expected.entries()) assert.match(problems[at] ?? '', pattern, text);
  }
});

test('parsePolicies() checks tag <= spam <= quarantine <= discard on every effective combination', () => {
  const table: [text: string, role: 'primary' | 'backup', ...problems: RegExp[]][] = [
    ['default: { thresholds: { spam: 10 } }', 'primary'],
    [
      'default: { thresholds: { spam: 10.1 } }',
      'primary',
      /^policies\.yaml:1:32: .*thresholds\.spam 10\.1 \(policies\.yaml:1 default\) is above thresholds\.quarantine 10 \(shipped default\): make tag/,
    ],
    // Off thresholds are passed over: tag meets discard.
    [
      'default:\n  thresholds: { tag: 3, spam: null, quarantine: null, discard: 2 }',
      'primary',
      /^policies\.yaml:2:22: .*thresholds\.tag 3 .* is above thresholds\.discard 2/,
    ],
    // Each layer is right by itself, only together they are wrong; said once although two addresses meet it.
    [
      'recipients:\n  a.test: { thresholds: { quarantine: 8 } }\n  u@a.test: { thresholds: { spam: 9 } }\n  u+x@a.test: { retentionDays: 1 }\n',
      'primary',
      /^policies\.yaml:3:35: .*spam 9 \(policies\.yaml:3 recipients: u@a\.test\) is above thresholds\.quarantine 8 \(policies\.yaml:2 recipients: a\.test\)/,
    ],
    // Only the cap of the role makes it wrong.
    [
      'default: { thresholds: { tag: 6 } }',
      'backup',
      /^policies\.yaml:1:31: .*tag 6 \(policies\.yaml:1 default\) is above thresholds\.spam 5\.5 \(shipped roles: backup, which caps 6\.5 of shipped default\)/,
    ],
    ['default: { thresholds: { tag: 6 } }', 'primary'],
    [
      'roles: { backup: { thresholds: { quarantine: 5 } } }',
      'backup',
      /^policies\.yaml:1:46: .*spam 5\.5 \(shipped roles.*\) is above thresholds\.quarantine 5 \(policies\.yaml:1 roles: backup/,
    ],
    [
      'recipients:\n  .test: { thresholds: { discard: 9 } }\n',
      'primary',
      /^policies\.yaml:2:35: .*quarantine 10 \(shipped default\) is above thresholds\.discard 9 \(policies\.yaml:2 recipients: \.test\)/,
    ],
  ];
  for (const [text, role, ...expected] of table) {
    const problems = problemsOf(text, role);
    assert.equal(problems.length, expected.length, `${text}\n${problems.join('\n')}`);
    for (const [at, pattern] of expected.entries()) assert.match(problems[at] ?? '', pattern, text);
  }
});

test('parsePolicies() names what an incomplete shipped file lacks', () => {
  const { problems } = parsePolicies(
    { file: 's', text: shipped.text.replace(/^ {2}retentionDays: 30$/m, '') },
    null,
    'primary',
  );
  assert.deepEqual(problems.map(formatProblem), [
    's: retentionDays: missing in the shipped policies: restore them',
  ]);
});

test('parsePolicies() takes 10,000 recipients and finds the one mistake among them', () => {
  const lines = Array.from(
    { length: 10_000 },
    (_, at) => `  u${at}@d${at % 100}.test: { thresholds: { spam: 7 } }`,
  );
  const policies = policiesOf(`recipients:\n${lines.join('\n')}\n`);
  assert.equal(Object.keys(policies.recipients).length, 10_000);
  assert.equal(
    policyFor('u9999@d99.test', policies)['thresholds.spam'].origin,
    'policies.yaml:10001 recipients: u9999@d99.test',
  );
  lines[5000] = '  u5000@d0.test: { thresholds: { spam: 11 } }';
  const problems = problemsOf(`recipients:\n${lines.join('\n')}\n`);
  assert.equal(problems.length, 1);
  assert.match(problems[0] ?? '', /^policies\.yaml:5002:40: /);
});

test('matchesVirusName() knows * and ?, and nothing else', () => {
  const table: [pattern: string, name: string, matches: boolean][] = [
    ['Heuristics.Phishing.*', 'Heuristics.Phishing.Email.SpoofedDomain', true],
    ['Heuristics.Phishing.*', 'Heuristics.Phishing.', true],
    ['Heuristics.Phishing.*', 'Heuristics.Phishing', false],
    ['Heuristics.Phishing.*', 'heuristics.phishing.x', false],
    ['*.UNOFFICIAL', 'Sanesecurity.Junk.1.UNOFFICIAL', true],
    ['*.UNOFFICIAL', 'Sanesecurity.Junk.1.UNOFFICIAL.2', false],
    ['A?C', 'ABC', true],
    ['A?C', 'AC', false],
    ['A.C', 'ABC', false],
    ['A*B*C', 'AxBxBxC', true],
    ['A*B*C', 'AxCxB', false],
    ['', '', true],
    ['', 'A', false],
    ['**', 'anything', true],
    ['[A]', 'A', false],
  ];
  for (const [pattern, name, matches] of table)
    assert.equal(matchesVirusName(pattern, name), matches, `${pattern} ${name}`);
});

test('matchesVirusName() agrees with a regular expression, and is quick where that is not', () => {
  const letters = fc.array(fc.constantFrom('a', 'b', '*', '?'), { maxLength: 8 }).map((all) => all.join(''));
  const name = fc.array(fc.constantFrom('a', 'b'), { maxLength: 12 }).map((all) => all.join(''));
  fc.assert(
    fc.property(letters, name, (pattern, text) => {
      const expression = new RegExp(`^${pattern.replaceAll('?', '.').replaceAll('*', '.*')}$`);
      assert.equal(matchesVirusName(pattern, text), expression.test(text));
    }),
    { numRuns: 1000 },
  );
  assert.equal(matchesVirusName(`${'*a'.repeat(90)}b`, 'a'.repeat(10_000)), false);
});
