/**
 * held-kills — the errands between real processes that are killed at any instant, on either side, again and again.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openQuarantine } from '../../filter/quarantine.ts';
import { runErrands } from '../../review/bayes-errands.ts';
import { createJournal } from '../../review/journal.ts';
import { silentLog } from '../../workers/log.ts';
import { bytesOf, messageOf } from '../filter/quarantine-rig.ts';
import { callOf, fill, makeSite, noSignal, pathsIn } from '../review/owner-sites.ts';

test('runErrands() killed at any instant, on either side, again and again: everything arrives once', async (t) => {
  const [backup, primary] = [await makeSite(t, 'backup'), await makeSite(t, 'primary')];
  const ids = await fill(backup, 6, 3);
  let killed = 0;
  for (let at = 0; at < Number(process.env['SLUICE_TEST_KILLS'] ?? 20); at++) {
    // The delay grows: each of the processes that a run starts is hit at some time.
    const signal = AbortSignal.timeout(150 + ((at * 397) % 2600));
    const sides =
      at % 2 === 0 ? [callOf(backup, signal), callOf(primary)] : [callOf(backup), callOf(primary, signal)];
    const [from, to] = sides;
    if (from === undefined || to === undefined) throw new Error('two sides');
    killed += (await runErrands(from, to, silentLog, noSignal)).troubles.length > 0 ? 1 : 0;
  }
  assert.ok(killed > 0, 'some were killed');
  const last = await runErrands(callOf(backup), callOf(primary), silentLog, noSignal);
  assert.deepEqual(last.troubles, []);
  const [here, there] = [
    await openQuarantine({ ...pathsIn(backup.state), log: silentLog }),
    await openQuarantine({ ...pathsIn(primary.state), log: silentLog }),
  ];
  t.after(() => Promise.all([here.close(), there.close()]));
  await there.reconcile();
  const states = async (quarantine: typeof here) =>
    (await quarantine.list({ limit: 99 }))
      .map(({ quarantineId, slots }) => `${quarantineId} ${slots.map(({ state }) => state).join()}`)
      .toSorted();
  assert.deepEqual(await states(here), ids.map((id) => `${id} moved`).toSorted());
  assert.deepEqual(await states(there), ids.map((id) => `${id} held`).toSorted());
  for (const [at, id] of ids.entries())
    assert.deepEqual(await bytesOf(there.read(id)), messageOf(3000 + at * 40_000));
  assert.deepEqual(await createJournal(backup.state).list(), []);
  // SpamAssassin takes a message once, however often it is told.
  const told = primary.spamd.conversations.filter(({ command }) => command.startsWith('TELL'));
  assert.equal(new Set(told.map(({ message }) => message.toString())).size, 3);
});
