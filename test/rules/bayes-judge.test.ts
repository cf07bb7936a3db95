/**
 * bayes-judge — which counts keep a snapshot from going.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judgeSnapshot } from '../../rules/bayes-judge.ts';

const last = { nspam: 1000, nham: 1000, tokens: 5000 };

const cases: readonly (readonly [
  string,
  Partial<typeof last>,
  typeof last | null,
  number | null,
  boolean,
])[] = [
  ['the same', {}, last, 5000, true],
  ['the first one, as young as can be', { nspam: 200, nham: 200 }, null, null, true],
  ['one spam short of being active', { nspam: 199 }, null, null, false],
  ['one ham short of being active', { nham: 199 }, null, null, false],
  ['exactly a tenth fewer', { nspam: 900, nham: 900 }, last, null, true],
  ['one spam more than a tenth fewer', { nspam: 899 }, last, null, false],
  ['one ham more than a tenth fewer', { nham: 899 }, last, null, false],
  ['half the tokens', { tokens: 2500 }, last, null, true],
  ['fewer tokens in the dump than the database counts', { tokens: 4499 }, null, 5000, false],
  ['a tenth fewer tokens than counted', { tokens: 4500 }, null, 5000, true],
];

test('judgeSnapshot() doubts by messages learned, and by tokens only where the dump lacks them', () => {
  for (const [label, changes, before, claimed, isFit] of cases) {
    const { impossible, doubts } = judgeSnapshot({ ...last, ...changes }, before, claimed);
    assert.equal(impossible, null, label);
    assert.equal(doubts.length === 0, isFit, `${label}: ${doubts.join()}`);
  }
});

test('judgeSnapshot() takes no empty database, and warns of fewer tokens', () => {
  assert.notEqual(judgeSnapshot({ ...last, tokens: 0 }, null, null).impossible, null);
  assert.equal(judgeSnapshot({ ...last, tokens: 4999 }, last, null).warnings.length, 1);
  assert.equal(judgeSnapshot(last, last, null).warnings.length, 0);
});
