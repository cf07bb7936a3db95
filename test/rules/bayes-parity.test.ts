/**
 * bayes-parity — two nodes' scores compared: what counts as different, what flips, what could not be told.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  compareScores,
  parityJudgementOf,
  type Score,
  type Scored,
  unknownParity,
} from '../../rules/bayes-parity.ts';

const thresholds = [
  { name: 'spam', score: 6.5 },
  { name: 'quarantine', score: 10 },
];

function scored(id: string, probability: number | null, score: number, ...rules: string[]): Scored {
  return { kind: 'scored', id, probability, score, rules };
}

function unscored(id: string, reason: string): Score {
  return { kind: 'unscored', id, reason };
}

test('compareScores() of equal scores is equal, rule names and order aside', () => {
  const here = [scored('a', 0.99, 8, 'BAYES_99', 'X'), scored('b', null, 0)];
  const there = [scored('b', null, 0), scored('a', 0.99, 8, 'X', 'BAYES_99')];
  const { summary, worst, loneRules, notScored } = compareScores(here, there, thresholds);
  assert.deepEqual(summary, {
    messages: 2,
    probabilityDiffers: 0,
    scoreDiffers: 0,
    flips: 0,
    worst: 0,
    notScored: 0,
  });
  assert.equal(parityJudgementOf(summary), 'equal');
  assert.deepEqual([worst, loneRules, notScored], [[], [], []]);
});

for (const [label, here, there, differs] of [
  ['0.1 less', 0.2, 0.3, 0],
  ['0.1 more, which is 0.10000000000000009 as numbers go', 1, 0.9, 0],
  ['over 0.1', 0.2, 0.3001, 1],
  ['no opinion on one side is 0.5', null, 0.5, 0],
  ['no opinion against an opinion', null, 0.99, 1],
  ['no opinion on both', null, null, 0],
] as const)
  test(`compareScores() counts a probability that differs by more than 0.1: ${label}`, () => {
    const { summary } = compareScores([scored('a', here, 1)], [scored('a', there, 1)], thresholds);
    assert.equal(summary.probabilityDiffers, differs);
    assert.equal(parityJudgementOf(summary), differs === 0 ? 'equal' : 'differs');
  });

for (const [label, here, there, differs, flips] of [
  ['−0.1 at the threshold', 6.5, 6.4, 0, 1],
  ['exactly the threshold on both sides', 6.5, 6.5, 0, 0],
  ['+0.1 over it', 6.5, 6.6, 0, 0],
  ['+0.101', 6.5, 6.601, 1, 0],
  ['over two thresholds', 5, 12, 1, 1],
  ['far below', 1, 3, 1, 0],
] as const)
  test(`compareScores() counts scores that differ and verdicts that flip: ${label}`, () => {
    const { summary } = compareScores([scored('a', 0.5, here)], [scored('a', 0.5, there)], thresholds);
    assert.deepEqual([summary.scoreDiffers, summary.flips], [differs, flips]);
    assert.equal(parityJudgementOf(summary), differs + flips === 0 ? 'equal' : 'differs');
  });

test('compareScores() puts flips first, then probabilities, then scores, and names rules of one side', () => {
  const here = [
    scored('score', 0.5, 1, 'A'),
    scored('probability', 0.9, 1, 'BAYES_80'),
    scored('flip', 0.5, 6.5, 'B', 'C'),
    scored('same', 0.5, 2, 'ODD'),
  ];
  const there = [
    scored('score', 0.5, 2, 'A', 'D'),
    scored('probability', 0.1, 1, 'BAYES_05'),
    scored('flip', 0.5, 6.4, 'C'),
    scored('same', 0.5, 2),
  ];
  const { summary, worst, loneRules } = compareScores(here, there, thresholds);
  assert.deepEqual(
    worst.map(({ id, flips, rulesHere, rulesThere }) => [id, flips, rulesHere, rulesThere]),
    [
      ['flip', ['spam'], ['B'], []],
      ['probability', [], ['BAYES_80'], ['BAYES_05']],
      ['score', [], [], ['D']],
    ],
  );
  assert.equal(summary.worst, 0.8);
  assert.deepEqual(loneRules.map(({ name, here, there }) => `${name} ${here} ${there}`).toSorted(), [
    'B 1 0',
    'BAYES_05 0 1',
    'BAYES_80 1 0',
    'D 0 1',
  ]);
});

test('compareScores() tells ten of the worst at most, and counts all', () => {
  const ids = Array.from({ length: 30 }, (_, at) => String(at));
  const { summary, worst, loneRules } = compareScores(
    ids.map((id) => scored(id, 0.99, 9, 'BAYES_99')),
    ids.map((id) => scored(id, null, 5)),
    thresholds,
  );
  assert.deepEqual([worst.length, summary.probabilityDiffers, summary.flips], [10, 30, 30]);
  assert.deepEqual(loneRules, [{ name: 'BAYES_99', here: 30, there: 0 }]);
});

test('compareScores() compares nothing that a side could not score, and says why', () => {
  const here = [scored('a', 0.9, 8), unscored('b', 'gone'), unscored('c', 'gone'), scored('d', 0.1, 0)];
  const there = [unscored('a', 'spamd ended'), scored('b', 0, 0), unscored('c', 'spamd ended')];
  const { summary, notScored } = compareScores(here, there, thresholds);
  assert.deepEqual([summary.messages, summary.notScored, parityJudgementOf(summary)], [0, 4, 'unknown']);
  assert.deepEqual(notScored, [
    { here: null, there: 'spamd ended', messages: 1 },
    { here: 'gone', there: null, messages: 1 },
    { here: 'gone', there: 'spamd ended', messages: 1 },
    { here: null, there: 'no answer for this message', messages: 1 },
  ]);
});

for (const [label, both, one, judgement] of [
  ['half of them', 2, 2, 'equal'],
  ['less than half', 2, 3, 'unknown'],
  ['nothing at all', 0, 0, 'unknown'],
] as const)
  test(`compareScores() says equal only where both sides scored at least half: ${label}`, () => {
    const ids = Array.from({ length: both + one }, (_, at) => String(at));
    const here = ids.map((id) => scored(id, 0.5, 1));
    const there = ids.map((id, at) => (at < both ? scored(id, 0.5, 1) : unscored(id, 'too large')));
    assert.equal(parityJudgementOf(compareScores(here, there, thresholds).summary), judgement);
  });

test('compareScores() says differs even where little could be compared', () => {
  const here = [scored('a', 0.9, 8), unscored('b', 'x'), unscored('c', 'x')];
  const there = [scored('a', 0.1, 1), scored('b', 0.1, 1), scored('c', 0.1, 1)];
  assert.equal(parityJudgementOf(compareScores(here, there, []).summary), 'differs');
});

test('unknownParity() is no judgement', () => {
  assert.equal(parityJudgementOf(unknownParity(0)), 'unknown');
  assert.deepEqual(unknownParity(7), { ...compareScores([], [], []).summary, notScored: 7 });
});
