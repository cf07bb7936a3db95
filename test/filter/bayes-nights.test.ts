/**
 * bayes-nights — of several processes one serves a night; one that died on it leaves it to the next.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openNights } from '../../filter/bayes-nights.ts';
import { ownOwner } from '../../filter/owner.ts';
import { TempFail } from '../../workers/fail.ts';
import { temporaryFolder } from '../folder.ts';
import { recordingLog } from './store-rig.ts';

const planned = Date.UTC(2026, 10, 22, 3, 15);

function opener(context: TestContext, file = join(temporaryFolder(context), 'nights.db')) {
  return async (more: { owner?: string; now?: () => number } = {}) => {
    const nights = await openNights({ file, log: recordingLog(), ...more });
    context.after(() => nights.close());
    return nights;
  };
}

/** The name of a process that was here and is dead. */
async function deadOwner(): Promise<string> {
  const child = spawn('sleep', ['60']);
  const owner = ownOwner().replace(/-\d+-\d+$/, `-${child.pid}-1`);
  child.kill('SIGKILL');
  await once(child, 'exit');
  return owner;
}

test('Nights.take() gives a night to one process, once', async (context) => {
  const open = opener(context);
  const [one, two] = [
    await open({ now: () => planned + 9 }),
    await open({ owner: ownOwner().replace(/-\d+-\d+$/, '-1-0') }),
  ];
  assert.equal(await one.take(planned), true);
  assert.deepEqual(await one.recall(), [{ planned, servedAt: null, elsewhere: false }]);
  await one.served(planned, false);
  assert.equal(await one.take(planned), false);
  assert.equal(await two.take(planned), false);
  assert.deepEqual(await two.recall(), [{ planned, servedAt: planned + 9, elsewhere: false }]);
  await two.forget(planned);
  assert.deepEqual(await two.recall(), []);
});

test('Nights.take() of ten at once succeeds for one', async (context) => {
  const open = opener(context);
  const [boot] = ownOwner().split('-');
  const all = await Promise.all(Array.from({ length: 10 }, (_, at) => open({ owner: `${boot}-1-${at}-1` })));
  const taken = await Promise.all(all.map((nights) => nights.take(planned)));
  assert.equal(taken.filter(Boolean).length, 1);
});

test('Nights.take() takes over from a process that died on it, and from one of an earlier boot', async (context) => {
  const open = opener(context);
  for (const [at, owner] of [await deadOwner(), '00000000-1-1-1'].entries()) {
    const night = planned + at;
    assert.equal(await (await open({ owner })).take(night), true);
    const successor = await open();
    assert.equal(await successor.take(night), true);
    await successor.served(night, false);
    assert.equal(await (await open({ owner })).take(night), false);
  }
});

test('Nights.take() waits a day for a taker whom it can not judge', async (context) => {
  const open = opener(context);
  const [boot] = ownOwner().split('-');
  await (await open({ owner: `${boot}-1-1-1`, now: () => planned })).take(planned);
  assert.equal(await (await open({ now: () => planned + 3_600_000 })).take(planned), false);
  assert.equal(await (await open({ now: () => planned + 27 * 3_600_000 })).take(planned), true);
});

test('Nights.served() of a night that ran elsewhere needs nobody who took it, and is forgotten in time', async (context) => {
  const nights = await opener(context)({ now: () => planned + 9 });
  await nights.served(planned, true);
  assert.deepEqual(await nights.recall(), [{ planned, servedAt: planned + 9, elsewhere: true }]);
  assert.equal(await nights.take(planned + 61 * 86_400_000), true);
  assert.equal((await nights.recall()).length, 1);
});

test('Nights rejects with TempFail while its database can not be used, and works again after', async (context) => {
  const folder = temporaryFolder(context);
  writeFileSync(join(folder, 'bayes'), '');
  const nights = await openNights({ file: join(folder, 'bayes', 'nights.db'), log: recordingLog() });
  context.after(() => nights.close());
  await assert.rejects(nights.take(planned), TempFail);
  await assert.rejects(nights.recall(), TempFail);
});
