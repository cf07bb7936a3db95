/**
 * headers — the lines Sluice adds: wording, folding, rounding, and that nothing from outside can forge one.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatMarks, formatQuarantineId, formatScore } from '../../rules/headers.ts';
import type { Marks, RuleHit } from '../../rules/mail.ts';

const here = { scanner: 'Sluice 0.1.0', hostname: 'mx.example.com' };
const clean: Marks = {
  spam: 'none',
  score: null,
  required: 6.5,
  tests: [],
  spamReason: null,
  virus: 'clean',
  subjectTag: null,
};
const hit = (name: string, score: number): RuleHit => ({ name, score, description: null });

function lines(marks: Partial<Marks>, options = here): string {
  return Buffer.from(formatMarks({ ...clean, ...marks }, options)).toString();
}

const scanned = 'X-Virus-Scanned: yes (Sluice 0.1.0 at mx.example.com)\r\n';
const table: { label: string; marks: Partial<Marks>; out: string }[] = [
  { label: 'nothing where both scanners are off', marks: { virus: 'none' }, out: '' },
  { label: 'a clean message below tag', marks: {}, out: scanned },
  {
    label: 'a score below spam',
    marks: { spam: 'score', score: 2.5, tests: [hit('BAYES_50', 0.8), hit('HTML_ONLY', 1.7)] },
    out:
      'X-Spam-Score: 2.5\r\nX-Spam-Level: **\r\n' +
      `X-Spam-Status: No, score=2.500 required=6.5 tests=[BAYES_50=0.8,\r\n\tHTML_ONLY=1.7]\r\n${scanned}`,
  },
  {
    label: 'spam',
    marks: { spam: 'flag', score: 7.123, tests: [hit('A', 1.2), hit('B', 0.3)] },
    out:
      'X-Spam-Flag: YES\r\nX-Spam-Score: 7.1\r\nX-Spam-Level: *******\r\n' +
      `X-Spam-Status: Yes, score=7.123 required=6.5 tests=[A=1.2, B=0.3]\r\n${scanned}`,
  },
  {
    label: 'no tests, no threshold, a negative score: no empty Level',
    marks: { spam: 'score', score: -1.25, required: null, virus: 'none' },
    out: 'X-Spam-Score: -1.3\r\nX-Spam-Status: No, score=-1.250 required=off tests=[]\r\n',
  },
  {
    label: 'unchecked spam',
    marks: { spam: 'unchecked', spamReason: 'timeout' },
    out: `X-Spam-Status: unchecked (timeout)\r\n${scanned}`,
  },
  { label: 'unchecked virus', marks: { virus: 'encrypted' }, out: 'X-Virus-Scanned: no (encrypted)\r\n' },
  {
    label: 'a score that is missing: never a number out of nothing',
    marks: { spam: 'flag', score: null, virus: 'none' },
    out: 'X-Spam-Status: unchecked (unknown)\r\n',
  },
];

for (const { label, marks, out } of table) {
  test(`formatMarks() ${label}`, () => assert.equal(lines(marks), out));
}

test('formatMarks() shows at most 50 stars', () => {
  assert.match(lines({ spam: 'flag', score: 1000 }), /^X-Spam-Level: \*{50}\r$/m);
});

const scores = [
  { score: 6.4996, threshold: 6.5, digits: 1, text: '6.4996' },
  { score: 6.46, threshold: 6.5, digits: 1, text: '6.46' },
  { score: 6.5, threshold: 6.5, digits: 1, text: '6.5' },
  { score: 6.54, threshold: 6.54, digits: 1, text: '6.54' },
  { score: 6.4, threshold: 6.5, digits: 1, text: '6.4' },
  { score: -0.04, threshold: 6.5, digits: 1, text: '0.0' },
  { score: -0.04, threshold: 0, digits: 1, text: '-0.04' },
  { score: 7, threshold: null, digits: 3, text: '7.000' },
];

for (const { score, threshold, digits, text } of scores) {
  test(`formatScore() ${score} of ${threshold} with ${digits} digits is ${text}`, () => {
    assert.equal(formatScore(score, threshold, digits), text);
  });
}

test('formatScore() never contradicts the comparison with the threshold', () => {
  const number = fc.double({ min: -1000, max: 1000, noNaN: true });
  const near = fc.tuple(number, fc.double({ min: -0.01, max: 0.01, noNaN: true }));
  fc.assert(
    fc.property(near, fc.integer({ min: 0, max: 3 }), ([threshold, off], digits) => {
      const score = threshold + off;
      assert.equal(Number(formatScore(score, threshold, digits)) >= threshold, score >= threshold);
    }),
    { numRuns: 5000 },
  );
});

const hostile = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 2000 }),
  fc.constantFrom(
    'A\r\nX-Evil: 1',
    'A]\r\n\r\nbody',
    'é\u2028\ud800',
    '',
    ' ',
    'a'.repeat(5000),
    'A, B',
    ') x (',
  ),
);

test('formatMarks() is well-formed whatever names come: our fields alone, lines of 998 octets of printable ASCII', () => {
  const hits = fc.array(fc.tuple(hostile, fc.double({ noNaN: true, min: -1e6, max: 1e6 })), {
    maxLength: 130,
  });
  fc.assert(
    fc.property(hits, hostile, hostile, (pairs, scanner, hostname) => {
      const tests = pairs.map(([name, score]) => hit(name, score));
      const out = lines({ spam: 'flag', score: 7, tests }, { scanner, hostname });
      for (const line of out.split('\r\n')) {
        assert.match(line, /^[\t\x20-\x7e]*$/);
        assert.ok(line.length <= 998);
      }
      const names = out.match(/^[^\t:\r\n]+(?=:)/gm);
      assert.deepEqual(names, [
        'X-Spam-Flag',
        'X-Spam-Score',
        'X-Spam-Level',
        'X-Spam-Status',
        'X-Virus-Scanned',
      ]);
      const status = out.replaceAll('\r\n\t', ' ').match(/^X-Spam-Status: .* tests=\[([^[\]]*)\]\r$/m);
      assert.ok(status, out);
    }),
    { numRuns: 300 },
  );
});

test('formatMarks() folds at 78 octets where the words allow it', () => {
  const tests = Array.from({ length: 60 }, (_, at) => hit(`RULE_NUMBER_${at}`, 0.1));
  for (const line of lines({ spam: 'flag', score: 7, tests }).split('\r\n'))
    assert.ok(line.length <= 78, line);
});

test('formatMarks() cuts a list of thousands of rules and says so', () => {
  const tests = Array.from({ length: 5000 }, (_, at) => hit(`R${at}`, 1));
  const out = lines({ spam: 'flag', score: 7, tests });
  assert.match(out, /R99=1,[ \r\n\t]+and_4900_more\]/);
  assert.ok(out.length < 20_000);
});

test('formatQuarantineId() is one line, whatever comes', () => {
  const id = 'abcdefghijklmnopqrstuvwxy2';
  assert.equal(Buffer.from(formatQuarantineId(id)).toString(), `X-Quarantine-ID: ${id}\r\n`);
  assert.equal(Buffer.from(formatQuarantineId('a\r\nB: 1')).toString(), 'X-Quarantine-ID: a__B:_1\r\n');
});
