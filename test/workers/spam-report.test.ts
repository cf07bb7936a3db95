/** spam-report — exact scores, the total beside them, and descriptions out of a HEADERS reply. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseReply } from '../../workers/spamc.ts';
import { missingRules, parseReport, parseSenderSeen } from '../../workers/spam-report.ts';
import { sayScored } from '../fakes/spamd.ts';

function report(options: Parameters<typeof sayScored>[0], truncated = false) {
  const reply = parseReply(Buffer.from(sayScored(options), 'latin1'));
  return reply.kind === 'unchecked' ? reply : parseReport(reply, truncated);
}

function brief(result: ReturnType<typeof report>) {
  if (result.kind === 'scored') return result.score;
  return result.kind === 'unchecked' ? result.reason : result.kind;
}

const totals = [
  ['no rule at all', 'none', 'False ; 0.0 / 5.0', 0],
  ['one rule', 'A=1.5', 'False ; 1.5 / 5.0', 1.5],
  ['a negative sum', 'A=-7.5,B=0.25', 'False ; -7.2 / 5.0', -7.25],
  ['a sum of minus nothing', 'A=-0.0001', 'False ; -0.0 / 5.0', 0],
  ['exponents, as Perl prints small numbers', 'A=1e-05,B=2', 'False ; 2.0 / 5.0', 2],
  ['a rule that hit twice', 'A=1.5,A=1.5', 'False ; 3.0 / 5.0', 3],
  ['scores without a leading digit', 'A=.5,B=-.25', 'False ; 0.2 / 5.0', 0.25],
  ['folds in every place', 'A=1,\r\n\tB=2, \r\n C=\r\n\t3', 'True ; 6.0 / 5.0', 6],
  ['folding switched off', 'A=1, B=2', 'False ; 3.0 / 5.0', 3],
  ['many small scores that the total has rounded', `${'A=0.001,'.repeat(49)}B=1`, 'False ; 1.0 / 5.0', 1.049],
  ['ham that rounding would make spam', 'A=4.96', 'False ; 4.9 / 5.0', 4.96],
  ['ham a hair under the threshold', 'A=4.999', 'False ; 4.9 / 5.0', 4.999],
  ['spam at the threshold', 'A=5', 'True ; 5.0 / 5.0', 5],
  ['a scan that ran out of time', 'A=3,TIME_LIMIT_EXCEEDED=0.001', 'False ; 3.0 / 5.0', 'timeout'],
  ['a total that is too low', 'A=4.7', 'False ; 4.6 / 5.0', 'protocol'],
  ['a total that is too high', 'A=4.7', 'False ; 4.8 / 5.0', 'protocol'],
  ['a total under the threshold for spam', 'A=5.3', 'False ; 4.9 / 5.0', 'protocol'],
  ['a hit that got lost', 'A=1', 'True ; 6.0 / 5.0', 'protocol'],
  ['NaN', 'A=1', 'False ; NaN / 5.0', 'protocol'],
  ['nan, as Perl prints it', 'A=1', 'False ; nan / 5.0', 'protocol'],
  ['Inf', 'A=1', 'True ; Inf / 5.0', 'protocol'],
  ['a total without a score', 'A=1', 'False ;  / 5.0', 'protocol'],
  ['a total without a threshold', 'A=1', 'False ; 1.0 /', 'protocol'],
  ['a score that is NaN', 'A=nan', 'False ; 0.0 / 5.0', 'protocol'],
  ['a score that is endless', 'A=1e999', 'False ; 0.0 / 5.0', 'protocol'],
  ['a score that is missing', 'A=,B=1', 'False ; 1.0 / 5.0', 'protocol'],
  ['an empty list', '', 'False ; 0.0 / 5.0', 'protocol'],
  ['a list with a hole', 'A=1,,B=2', 'False ; 3.0 / 5.0', 'protocol'],
  ['a name with a control character', 'A\u0007=1', 'False ; 1.0 / 5.0', 'protocol'],
  ['a comma as the decimal sign', 'A=1,5', 'False ; 1.5 / 5.0', 'protocol'],
] as const;

for (const [label, tests, total, expected] of totals) {
  test(`parseReport() gives ${expected} for ${label}`, () => {
    assert.equal(brief(report({ tests, total })), expected);
  });
}

test('parseReport() says the remedy where sluice.cf is not loaded', () => {
  const result = report({ tests: null, total: 'False ; 1.0 / 5.0' });
  assert.deepEqual(result, { kind: 'unchecked', reason: 'failed', detail: missingRules });
});

test('parseReport() takes the first list of hits: the next one is part of the message', () => {
  const block = 'X-Spam-Sluice-Tests: A=9\r\nX-Spam-Sluice-Tests: A=-100\r\nSubject: x\r\n\r\n';
  assert.equal(brief(report({ tests: null, total: 'True ; 9.0 / 5.0', block })), 9);
});

test('parseReport() does not find a list in a folded line, or behind the header block', () => {
  for (const block of [
    'Subject: x\r\n X-Spam-Sluice-Tests: A=1\r\n\r\n',
    'Subject: x\r\n\r\nX-Spam-Sluice-Tests: A=1\r\n\r\n',
  ]) {
    const result = report({ tests: null, total: 'False ; 1.0 / 5.0', block });
    assert.equal(brief(result), 'failed');
  }
});

test('parseReport() puts descriptions to their rules, unfolded and decoded', () => {
  const result = report({
    tests: 'BAYES_99=3.5,LONG_ONE=1,PLAIN=0.1,UMLAUT=0.5',
    total: 'True ; 5.1 / 5.0',
    report: [
      '',
      '*  0.1 PLAIN No description available.',
      '*  1.0 LONG_ONE From and EnvelopeFrom 2nd level mail',
      '*      domains are different',
      '*  0.5 UMLAUT =?UTF-8?Q?Pr=C3=BCfung?= des Umschlags',
      '*  3.5 BAYES_99 BODY: Bayes spam probability is 99 to 100%',
      '*      [score: 0.9999]',
    ].join('\r\n\t'),
  });
  assert.ok(result.kind === 'scored');
  assert.deepEqual(
    result.tests.map(({ name, description }) => [name, description]),
    [
      ['BAYES_99', 'BODY: Bayes spam probability is 99 to 100% [score: 0.9999]'],
      ['LONG_ONE', 'From and EnvelopeFrom 2nd level mail domains are different'],
      ['PLAIN', null],
      ['UMLAUT', 'Prüfung des Umschlags'],
    ],
  );
});

test('parseReport() finds descriptions with folding switched off, and lives without any', () => {
  const folded = ' * 1.0 A First * -2.0 B Second *      part';
  const options = { tests: 'A=1,B=-2', total: 'False ; -1.0 / 5.0' };
  const withReport = report({ ...options, report: folded });
  const without = report(options);
  assert.ok(withReport.kind === 'scored' && without.kind === 'scored');
  assert.deepEqual(
    withReport.tests.map(({ description }) => description),
    ['First', 'Second part'],
  );
  assert.deepEqual(
    without.tests.map(({ description }) => description),
    [null, null],
  );
});

test('parseReport() takes DKIM and DMARC hits out of the score of a truncated message, and lists them', () => {
  const options = {
    tests: 'DKIM_INVALID=0.1,DKIMWL_WL_HIGH=-1,DMARC_REJECT=2.5,FORGED_DKIM_SIG=1,OTHER=3,SPF_PASS=-0.001',
    total: 'True ; 5.6 / 5.0',
  };
  const cut = report(options, true);
  assert.ok(cut.kind === 'scored');
  assert.equal(cut.truncated, true);
  assert.equal(cut.score, 1.999);
  assert.deepEqual(
    cut.ignored.map(({ name, score }) => [name, score]),
    [
      ['DKIM_INVALID', 0.1],
      ['DMARC_REJECT', 2.5],
      ['FORGED_DKIM_SIG', 1],
    ],
  );
  assert.deepEqual(
    cut.tests.map(({ name }) => name),
    ['DKIMWL_WL_HIGH', 'OTHER', 'SPF_PASS'],
  );
  const whole = report(options, false);
  assert.ok(whole.kind === 'scored');
  assert.deepEqual([whole.score, whole.truncated, whole.ignored, whole.tests.length], [5.599, false, [], 6]);
});

test('parseReport() never scores a reply that was cut anywhere', () => {
  const whole = sayScored({ tests: 'A=1,\r\n\tB=2', total: 'False ; 3.0 / 5.0', report: '\r\n\t* 1.0 A x' });
  for (let size = 0; size < whole.length; size++) {
    const reply = parseReply(Buffer.from(whole.slice(0, size)));
    assert.equal(reply.kind, 'unchecked', `cut to ${size}`);
  }
});

test('parseReport() never scores a list of hits that a wrong length has cut', () => {
  const list = 'X-Spam-Sluice-Tests: A=1,\r\n\tB=2\r\n';
  const block = `${list}Subject: x\r\n\r\n`;
  for (let size = 0; size <= block.length; size++) {
    // Totals that would fit every list that a cut can leave.
    const results = ['0.0', '1.0', '3.0'].map((total) =>
      brief(report({ tests: null, total: `False ; ${total} / 5.0`, block: block.slice(0, size) })),
    );
    assert.equal(results.includes(3), size > list.length, `${size} octets`);
    assert.equal(results.includes(0) || results.includes(1), false, `${size} octets`);
  }
});

test('parseReport() scores a header block that ends without an empty line', () => {
  const block = 'X-Spam-Sluice-Tests: A=1\r\nSubject: x';
  assert.equal(brief(report({ tests: null, total: 'False ; 1.0 / 5.0', block })), 1);
});

test('parseReport() gives the sum of any scores, and the same sum over its tests', () => {
  const score = fc.integer({ min: -20_000, max: 20_000 }).map((points) => points / 1000);
  fc.assert(
    fc.property(fc.array(score, { minLength: 1, maxLength: 60 }), (scores) => {
      const sum = Math.round(scores.reduce((points, one) => points + one, 0) * 1000) / 1000;
      const tests = scores.map((one, index) => `RULE_${index}=${one}`).join(',');
      const result = report({ tests, total: `${sum >= 5 ? 'True' : 'False'} ; ${sum.toFixed(1)} / 5.0` });
      assert.ok(result.kind === 'scored', JSON.stringify(result));
      assert.equal(result.score, sum + 0);
      assert.deepEqual(
        result.tests.map((hit) => hit.score),
        scores.map((one) => one + 0),
      );
    }),
  );
});

test('parseReport() reads a header block of 10 MB in a second of CPU', () => {
  const block = `X-Spam-Sluice-Tests: A=1\r\n${`X-Long: ${'y'.repeat(50)}\r\n`.repeat(160_000)}\r\n`;
  const start = process.cpuUsage();
  assert.equal(brief(report({ tests: null, total: 'False ; 1.0 / 5.0', block })), 1);
  assert.ok(process.cpuUsage(start).user < 1_000_000);
});

test('parseSenderSeen() gives the sender, empty for the null sender, null without sluice.cf', () => {
  const seen = (sender?: string) => {
    const text = sayScored({
      tests: 'none',
      total: 'False ; 0.0 / 5.0',
      ...(sender === undefined ? {} : { sender }),
    });
    const reply = parseReply(Buffer.from(text));
    assert.ok(reply.kind === 'reply');
    return parseSenderSeen(reply);
  };
  assert.deepEqual([seen('a@example.org'), seen(''), seen()], ['a@example.org', '', null]);
});
