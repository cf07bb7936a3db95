/**
 * bayes-files — the contract of restore and roll-back on DB_File, and a spamd that is asked all the while.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { declareContract, declareScans } from './bayes-contract.ts';
import { bayesOf, dumpOf, snapshotOf, startSite, wordsOf } from './bayes-rig.ts';

declareContract('files');
declareScans('files');

test('restore() on files says how to prepare a bayes_path without the link, and keeps two generations only', async (t) => {
  const site = await startSite(t, 'files');
  const home = join(site.folder, 'bayes');
  for (let snapshotId = 1; snapshotId < 5; snapshotId++) {
    const next = await snapshotOf(t, dumpOf(wordsOf('spam', 40 + snapshotId)), { snapshotId });
    assert.equal((await bayesOf(site).restore(next.folder)).kind, 'restored');
  }
  assert.equal(readdirSync(home).filter((name) => name.startsWith('generation-')).length, 2);
  rmSync(join(home, 'current'));
  mkdirSync(join(home, 'current'));
  const next = await snapshotOf(t, dumpOf(wordsOf('spam')), { snapshotId: 9 });
  const outcome = await bayesOf(site).restore(next.folder);
  assert.ok(outcome.kind === 'failed' && outcome.step === 'prepare', JSON.stringify(outcome));
  assert.match(outcome.remedy, /ln -s/);
});
