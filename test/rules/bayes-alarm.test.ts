/**
 * bayes-alarm — what is worth an alarm, to the hour, and that a trouble is told once.
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { type AlarmTerms, newsOf, type SeenNode, type Trouble, troublesOf } from '../../rules/bayes-alarm.ts';

const hourMs = 3_600_000;
const now = Date.UTC(2026, 10, 22, 12, 0);
const terms: AlarmTerms = {
  now,
  hours: 26,
  watchedSince: now - hourMs,
  elsewhereAt: null,
  openNight: null,
  remedy: 'do it',
  told: [],
};
const good = { at: now - hourMs, outcome: 'done', step: null, message: null, remedy: null } as const;
const bad = {
  ...good,
  outcome: 'failed',
  step: 'connect',
  message: 'Cannot connect',
  remedy: 'mend it',
} as const;

const states: readonly [string, Partial<SeenNode>, Partial<AlarmTerms>, readonly string[]][] = [
  ['a run that was done', {}, {}, []],
  ['one that found the snapshot in place', { last: { ...good, outcome: 'already' } }, {}, []],
  ['one that failed', { last: bad }, {}, ['failed failed at connect: Cannot connect: mend it']],
  [
    'one that was refused',
    { last: { ...bad, outcome: 'refused', step: 'judge' } },
    {},
    ['failed refused at judge: Cannot connect: mend it'],
  ],
  ['one that found another run', { last: { ...bad, outcome: 'refused', step: 'lock' } }, {}, []],
  ['one that was cut short: the night is open', { last: bad }, { openNight: bad.at - 60_000 }, []],
  [
    'one that failed before the night that is open',
    { last: bad },
    { openNight: bad.at + 60_000 },
    ['failed failed at connect: Cannot connect: mend it'],
  ],
  [
    'one of a night that nobody ends',
    { last: { ...bad, at: now - 2 * hourMs } },
    { openNight: now - 3 * hourMs },
    ['failed failed at connect: Cannot connect: mend it'],
  ],
  ['exactly 26 hours old', { takenAt: now - 26 * hourMs }, {}, []],
  [
    'a millisecond older',
    { takenAt: now - 26 * hourMs - 1 },
    {},
    ['old the Bayes database in place is 26 h old, bayes.alarm.hours is 26: do it'],
  ],
  ['another limit', { takenAt: now - 26 * hourMs - 1 }, { hours: 50 }, []],
  [
    'failed and old',
    { last: bad, takenAt: now - 50 * hourMs },
    {},
    [
      'failed failed at connect: Cannot connect: mend it',
      'old the Bayes database in place is 50 h old, bayes.alarm.hours is 26: do it',
    ],
  ],
  ['from a clock that is ahead', { takenAt: now + 100 * hourMs }, {}, []],
  [
    'from a clock that was ahead, and nothing since',
    { takenAt: Date.UTC(2027, 0, 1) },
    { watchedSince: now - 27 * hourMs },
    [
      'old the Bayes database in place says that it is of 2027-01-01T00:00:00.000Z: no other one has come in 27 h: do it',
    ],
  ],
  ['from a clock a little ahead', { takenAt: now + hourMs }, { watchedSince: now - 27 * hourMs }, []],
  [
    'served elsewhere by a clock that was ahead',
    { takenAt: now - 27 * hourMs },
    { elsewhereAt: now + 100 * hourMs },
    ['old the Bayes database in place is 27 h old, bayes.alarm.hours is 26: do it'],
  ],
  ['nothing yet, watched for an hour', { last: null, takenAt: null }, {}, []],
  [
    'nothing in 27 hours',
    { last: null, takenAt: null },
    { watchedSince: now - 27 * hourMs },
    ['old no Bayes database has come into place in 27 h: do it'],
  ],
  [
    'another node serves the nights',
    { last: null, takenAt: null },
    { watchedSince: 0, elsewhereAt: now - hourMs },
    [],
  ],
  [
    'another node served them long ago',
    { takenAt: now - 90 * hourMs },
    { elsewhereAt: now - 30 * hourMs },
    ['old the Bayes database in place is 30 h old, bayes.alarm.hours is 26: do it'],
  ],
];

suite('troublesOf()', () => {
  for (const [label, seen, more, expected] of states)
    test(label, () => {
      const node = { node: 'mx2', last: good, takenAt: now - hourMs, ...seen };
      const found = troublesOf([node], { ...terms, ...more });
      assert.deepEqual(
        found.map(({ kind, message, remedy }) => `${kind} ${message}: ${remedy}`),
        expected,
      );
    });
});

test('troublesOf() takes neither a busy run nor one that was cut short for the end of a trouble', () => {
  const trouble: Trouble = { node: 'a', kind: 'failed', message: 'failed at connect', remedy: 'mend it' };
  const told = [trouble, { ...trouble, node: 'b' }, { ...trouble, kind: 'old' as const }];
  const busy = { ...bad, outcome: 'refused', step: 'lock' } as const;
  const found = (last: SeenNode['last'], openNight: number | null) =>
    troublesOf([{ node: 'a', last, takenAt: now }], { ...terms, told, openNight });
  assert.deepEqual(found(busy, null), [trouble]);
  assert.deepEqual(found(bad, bad.at - 60_000), [trouble]);
  assert.deepEqual(found(good, null), []);
});

test('newsOf() names what began and what is over, by node and kind', () => {
  const trouble = (node: string, kind: Trouble['kind']): Trouble => ({
    node,
    kind,
    message: 'm',
    remedy: 'r',
  });
  const [a, b, c] = [trouble('mx2', 'failed'), trouble('mx2', 'old'), trouble('mx3', 'failed')];
  assert.deepEqual(newsOf([], [a, b]), { begun: [a, b], over: [] });
  assert.deepEqual(newsOf([a, b], [{ ...a, message: 'another reason' }, b]), { begun: [], over: [] });
  assert.deepEqual(newsOf([a, c], [b]), { begun: [b], over: [a, c] });
});
