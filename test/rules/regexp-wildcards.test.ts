/**
 * regexp-wildcards — regular expressions as patterns: never more (within), never less (around) than they match.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { wildcardsOf, wildcardsOverlap } from '../../rules/regexp-wildcards.ts';
import { matchesVirusName } from '../../rules/virus-name.ts';

test('wildcardsOf() says in patterns what an expression matches', () => {
  const table: [expression: string, flags: string, within: string[], exact: boolean][] = [
    [String.raw`^Phishing\.`, '', ['Phishing.*'], true],
    [String.raw`^(Heuristics\.)?Phishing\.`, '', ['Heuristics.Phishing.*', 'Phishing.*'], true],
    [String.raw`^A\.(B|C)$`, '', ['A.B', 'A.C'], true],
    ['^A.B', '', ['A?B*'], true],
    ['^A.*B$', '', ['A*B'], true],
    ['^A.+B', '', ['A?*B*'], true],
    ['Joke', '', ['*Joke*'], true],
    [String.raw`-Info\.com(\.|\z)`, '', ['*-Info.com.*', '*-Info.com'], true],
    [String.raw`[@.]a\.example$`, '', ['*@a.example', '*.a.example'], true],
    [String.raw`(?:a|b)c`, '', ['*ac*', '*bc*'], true],
    ['ab{3}c', '', ['*abbbc*'], true],
    ['^a b # c', 'x', ['ab*'], true],
    ['^ABC', 'i', ['ABC*'], false],
    ['(?i)^ABC', '', ['ABC*'], false],
    [String.raw`^AB\b`, '', ['AB', 'AB.*', 'AB-*', 'AB/*', 'AB:*'], false],
    ['^ab+c', '', ['abc*'], false],
    [String.raw`^a(\.b)*c`, '', ['ac*', 'a.bc*'], false],
    [String.raw`^A\.(?!B)`, '', [], false],
    [String.raw`^A\d+`, '', [], false],
    ['^A[^b]', '', [], false],
    ['^A[a-z]', '', [], false],
    ['^(A', '', [], false],
    ['A)', '', [], false],
    ['a^b', '', [], true],
  ];
  for (const [expression, flags, patterns, exact] of table) {
    assert.deepEqual(wildcardsOf(expression, flags, 'within'), { patterns, exact }, expression);
  }
  assert.deepEqual(wildcardsOf(String.raw`^A\.(?!B)`, '', 'around').patterns, ['A.*']);
  assert.deepEqual(wildcardsOf('^A[^b]', '', 'around').patterns, ['A?*']);
});

const atom = fc.constantFrom(
  'a',
  'b',
  'C',
  '.',
  String.raw`\.`,
  '[ab]',
  '[^a]',
  String.raw`\d`,
  '(a|b)',
  String.raw`(?:b\.|a)`,
  '(?!a)',
  '(?=b)',
);
const quantified = fc
  .tuple(atom, fc.constantFrom('', '', '', '?', '*', '+', '{2}'))
  .map(([one, many]) => (/^\(\?[!=]/.test(one) ? one : one + many));
const expression = fc
  .tuple(
    fc.constantFrom('', '^', String.raw`\b`),
    fc.array(quantified, { minLength: 1, maxLength: 5 }),
    fc.constantFrom('', '$', String.raw`\b`, '(b|$)'),
  )
  .map(([start, body, end]) => start + body.join('') + end);
const name = fc.string({ unit: fc.constantFrom('a', 'b', 'C', '.', '-', '1'), maxLength: 6 });

test('wildcardsOf() within matches no more, around no less than the expression', () => {
  fc.assert(
    fc.property(expression, fc.array(name, { minLength: 1, maxLength: 30 }), (text, names) => {
      const regexp = new RegExp(text, 's');
      const within = wildcardsOf(text, '', 'within');
      const around = wildcardsOf(text, '', 'around');
      for (const one of names) {
        const matches = regexp.test(one);
        const inner = within.patterns.some((pattern) => matchesVirusName(pattern, one));
        const outer = around.patterns.some((pattern) => matchesVirusName(pattern, one));
        assert.ok(!inner || matches, `${text} within ${within.patterns.join(' ')} matches ${one}`);
        assert.ok(!matches || outer, `${text} around ${around.patterns.join(' ')} misses ${one}`);
        if (within.exact)
          assert.equal(inner, matches, `${text} exactly ${within.patterns.join(' ')}: ${one}`);
      }
    }),
    { numRuns: 3000 },
  );
});

test('wildcardsOverlap() finds a name that both match, or there is none', () => {
  const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '*', '?'), maxLength: 5 });
  const all = [''];
  for (let at = 0; all[at] !== undefined && (all[at] ?? '').length < 6; at++)
    all.push(`${all[at]}a`, `${all[at]}b`);
  fc.assert(
    fc.property(pattern, pattern, (a, b) => {
      // A shortest common name has no more letters than both patterns together need.
      const common = all.some((one) => matchesVirusName(a, one) && matchesVirusName(b, one));
      if (common) assert.ok(wildcardsOverlap(a, b), `${a} and ${b}`);
      else if (a.length + b.length <= 6) assert.ok(!wildcardsOverlap(a, b), `${a} and ${b}`);
    }),
    { numRuns: 3000 },
  );
});

test('wildcardsOf() is bounded, whatever the expression', () => {
  for (const text of [
    '(a|b)'.repeat(50),
    '('.repeat(5000),
    '(a?'.repeat(500),
    '[ab]'.repeat(400),
    'a{9}'.repeat(400),
    `${'('.repeat(18)}a${'{9})'.repeat(18)}`,
    '\\'.repeat(1999),
  ]) {
    const began = performance.now();
    wildcardsOf(text, '', 'within');
    wildcardsOf(text, '', 'around');
    assert.ok(performance.now() - began < 5000, text.slice(0, 20));
  }
});
