/**
 * quarantine-walk — the full walk of held mail in its short form: 300 items, up to 25 kills. The long one: npm run soak:quarantine.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { walk } from './walk.ts';

test('300 items walk through the quarantine, the process is killed at random, files and index agree', async (t) => {
  const { kills, unconfirmed } = await walk(300, 25, 700);
  const total = Object.values(kills).reduce((sum, one) => sum + one, 0);
  t.diagnostic(`${total} kills behind ${JSON.stringify(kills)}; ${unconfirmed} copies unconfirmed (W6)`);
  assert.ok(total >= 2, 'killed at least twice');
  assert.ok(Object.keys(kills).length > 1, 'killed in more than one stage');
});
