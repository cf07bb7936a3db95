/**
 * bayes-files — the contract of restore and roll-back on DB_File, and a spamd that is asked all the while.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startSpamd } from '../../demo/spamd.ts';
import { silentLog } from '../../workers/log.ts';
import { createSpamd } from '../../workers/spamd.ts';
import { declareContract } from './bayes-contract.ts';
import { bayesOf, dumpOf, letterOf, only, snapshotOf, startSite, wordsOf } from './bayes-rig.ts';

declareContract('files');

test('restore(): spamd answers every scan throughout, by the old database or by the new one', async (t) => {
  const site = await startSite(t, 'files');
  const bayes = bayesOf(site);
  const spammy = await snapshotOf(t, dumpOf(wordsOf('spam')), { snapshotId: 1 });
  assert.equal((await bayes.restore(spammy.folder)).kind, 'restored');
  const folder = join(site.folder, 'spamd');
  mkdirSync(folder);
  const daemon = await startSpamd({ folder, children: 2, extraRules: `${site.lines}\nbayes_auto_learn 0` });
  t.after(() => daemon.stop());
  const options = { addresses: [daemon.tcp], user: null, spamBytes: 100_000, timeoutMs: 60_000 };
  const client = createSpamd({ ...options, concurrency: 2, log: silentLog });
  t.after(() => client.close());
  const bytes = letterOf(wordsOf('spam'));
  const ask = async (): Promise<string> => {
    const message = { sizeBytes: bytes.length, read: () => only(bytes) };
    const result = await client.scan(message, { sender: '' }, new AbortController().signal);
    if (result.kind !== 'scored') return JSON.stringify(result);
    return result.tests.find(({ name }) => name.startsWith('BAYES_'))?.name ?? 'no Bayes';
  };
  assert.match(await ask(), /^BAYES_9/);
  let under = true;
  const heard: string[][] = [[], []];
  const askers = heard.map(async (answers) => {
    while (under) answers.push(await ask());
  });
  const kinds: string[] = [];
  for (let at = 0; at < 4; at++) {
    const words = wordsOf(at % 2 === 0 ? 'ham' : 'spam');
    const next = await snapshotOf(t, dumpOf(words), { snapshotId: 2 + at });
    kinds.push(
      (await bayes.restore(next.folder)).kind,
      (await bayes.rollback()).kind,
      (await bayes.rollback()).kind,
    );
  }
  under = false;
  await Promise.all(askers);
  assert.deepEqual(new Set(kinds), new Set(['restored', 'rolledBack']));
  const answers = heard.flat();
  assert.deepEqual(
    [...new Set(answers.map((name) => name.slice(0, 7)))].toSorted(),
    ['BAYES_0', 'BAYES_9'],
    answers.join(' '),
  );
  assert.match(await ask(), /^BAYES_9/, 'the last one was spam again');
  t.diagnostic(`12 switches, ${answers.length} scans`);
});

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
