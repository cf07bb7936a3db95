/**
 * kills — kill -9 at each step of a restore, on every store, and of an export: always the complete old or the complete new one.
 */
import assert from 'node:assert/strict';
import { createWriteStream, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { test } from 'node:test';
import { packBundle } from '../../workers/bayes-bundle.ts';
import { declareKills } from '../workers/bayes-contract.ts';
import { bayesOf, exported, given, restoreInChild, startSite, wordsOf } from '../workers/bayes-rig.ts';

declareKills('files');
declareKills('postgres');
declareKills('redis');

test('export() killed at each step leaves the snapshots that were there, and the next one works', async (t) => {
  const site = await startSite(t, 'files');
  await given(t, site, wordsOf('spam'));
  await exported(site);
  const home = join(site.options.folder, 'exported');
  for (const step of ['sync', 'backup', 'judge', 'keep']) {
    assert.match(await restoreInChild(site, '', step, 'export'), /SIGKILL$/);
    const status = await bayesOf(site).status();
    assert.ok(status.kind === 'status' && status.exported.length === 1 && status.broken.length === 0, step);
  }
  await exported(site);
  assert.deepEqual(
    readdirSync(home).filter((name) => !/^\d+$/.test(name)),
    [],
  );
});

test('receive() killed as it begins to restore: what was received is whole, and the next one takes it', async (t) => {
  const [primary, backup] = [await startSite(t, 'files'), await startSite(t, 'files')];
  await given(t, primary, wordsOf('spam'));
  const { snapshot } = await exported(primary);
  const bundle = join(primary.folder, 'bundle');
  await pipeline(packBundle(snapshot), createWriteStream(bundle));
  for (const step of ['receive', 'bundle', 'load', 'switch']) {
    assert.match(await restoreInChild(backup, bundle, step, 'receive'), /SIGKILL$/);
    const status = await bayesOf(backup).status();
    assert.ok(
      status.kind === 'status' && status.standing.current === null && status.broken.length === 0,
      step,
    );
  }
  assert.match(await restoreInChild(backup, bundle, 'never', 'receive'), /^restored/);
  assert.deepEqual(readdirSync(join(backup.options.folder, 'received')), [
    String(snapshot.manifest.snapshotId),
  ]);
});
