/**
 * suggestion — what somebody probably meant, and nothing where that is not clear.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { distanceOf, nearest } from '../../review/suggestion.ts';

const words = ['run', 'check', 'scan', 'quarantine', 'policy', 'history', 'release'];

for (const [typed, meant] of [
  ['chekc', 'check'],
  ['Quarentine', 'quarantine'],
  ['quar', 'quarantine'],
  ['relase', 'release'],
  ['sacn', 'scan'],
  ['rn', 'run'],
  ['frobnicate', null],
  ['x', null],
  ['', null],
] as const) {
  test(`nearest() takes "${typed}" for ${meant ?? 'nothing'}`, () => {
    assert.equal(nearest(typed, words), meant);
  });
}

test('distanceOf() counts letters added, left out, changed, and neighbours swapped', () => {
  for (const [one, other, distance] of [
    ['', 'abc', 3],
    ['abc', 'abc', 0],
    ['abc', 'acb', 1],
    ['abc', 'abxc', 1],
    ['abc', 'xbc', 1],
    ['kitten', 'sitting', 3],
  ] as const)
    assert.equal(distanceOf(one, other), distance, `${one} ${other}`);
});
