/** bayes-hello — what another node says is read with care, and judged before anything is carried. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Hello,
  isBelievable,
  judgeHello,
  newestSeen,
  readHello,
  readRestored,
} from '../../workers/bayes-hello.ts';

const mark = { snapshotId: 7, takenAt: 1, nspam: 2, nham: 3, tokens: 4, digest: 'd', restoredAt: 5 };
const there: Hello = {
  host: 'mx2',
  role: 'backup',
  sluice: '1.0.0',
  spamassassin: '4.0.1',
  store: 'files',
  clock: 1_000_000,
  counts: null,
  current: mark,
  previous: null,
  settings: {},
  messageSizeLimit: null,
  exported: null,
};
const own = { role: 'primary', sluice: '1.0.0', spamassassin: '4.0.1' } as const;
const times = { askedAt: 999_000, now: 1_001_000 };

test('readHello() takes what it knows and leaves what it does not; anything else is a failure that names the field', () => {
  assert.deepEqual(readHello({ ...there, newer: 1 }), there);
  for (const [field, value] of [
    ['role', 'both'],
    ['clock', -1],
    ['host', 'x'.repeat(300)],
    ['current', { ...mark, nspam: 'many' }],
  ] as const)
    assert.throws(() => readHello({ ...there, [field]: value }), {
      step: 'answer',
      message: new RegExp(field),
    });
  assert.throws(() => readHello(null), { step: 'answer' });
  assert.throws(() => readRestored({ kind: 'done' }), { step: 'answer' });
});

test('judgeHello() refuses two nodes of one role, whatever else is right', () => {
  assert.throws(() => judgeHello({ ...own, role: 'backup' }, there, 'mx2', times), {
    kind: 'refused',
    step: 'connect',
    remedy: /role: primary/,
  });
});

test('judgeHello() warns of other versions and of a clock that is over a minute off, by whichever side', () => {
  const warned = (changes: Partial<Hello>, at = times) =>
    judgeHello(own, { ...there, ...changes }, 'mx2', at);
  const table: readonly (readonly [string, Partial<Hello>, RegExp | null])[] = [
    ['alike', {}, null],
    ['another patch', { spamassassin: '4.0.2' }, null],
    ['another series', { spamassassin: '3.4.6' }, /SpamAssassin 4\.0\.1 here, 3\.4\.6/],
    ['another Sluice', { sluice: '1.1.0' }, /Sluice 1\.0\.0 here, 1\.1\.0/],
    ['a minute ahead', { clock: times.now + 60_000 }, null],
    ['over a minute ahead', { clock: times.now + 60_001 }, /clock .* 60 s off/],
    ['over a minute behind', { clock: times.askedAt - 60_001 }, /clock/],
  ];
  for (const [name, changes, expected] of table) {
    const [first, ...more] = warned(changes);
    assert.deepEqual(more, [], name);
    if (expected === null) assert.equal(first, undefined, name);
    else assert.match(first ?? '', expected, name);
  }
});

test('newestSeen() and isBelievable() let ids go on beyond what a node has seen, but not to their end', () => {
  assert.equal(newestSeen({ current: mark, previous: { ...mark, snapshotId: 9 } }), 9);
  assert.equal(newestSeen({ current: null, previous: null }), 0);
  const now = Date.UTC(2026, 10, 22);
  assert.ok(isBelievable(now + 366 * 86_400_000, now));
  assert.ok(!isBelievable(Number.MAX_SAFE_INTEGER, now));
});
