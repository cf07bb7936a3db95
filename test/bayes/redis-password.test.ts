/** the Redis store — the password of bayes_sql_dsn lies in no file longer than a load takes, also where a run was killed. */
import assert from 'node:assert/strict';
import { chownSync, lutimesSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { bayesOf, given, startSite, wordsOf } from '../workers/bayes-rig.ts';

const prefix = join(tmpdir(), 'sluice-scratch-');
const hidden = () => readdirSync(tmpdir()).filter((name) => name.startsWith('sluice-scratch-'));

test('restore() on Redis removes its file with the password, and those that killed runs left; status() makes none', async (t) => {
  const site = await startSite(t, 'redis');
  const [left, foreign] = [mkdtempSync(prefix), mkdtempSync(prefix)];
  for (const folder of [left, foreign]) {
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    writeFileSync(join(folder, 'scratch.cf'), '');
    if (folder === left) chownSync(folder, site.view.user?.uid ?? 0, site.view.user?.gid ?? 0);
    lutimesSync(folder, 1, 1);
  }
  const before = hidden();
  const steps: string[][] = [];
  const status = await bayesOf(site, { onStep: () => steps.push(hidden()) }).status();
  assert.equal(status.kind, 'status', JSON.stringify(status));
  for (const names of [...steps, hidden()]) assert.deepEqual(names, before);
  await given(t, site, wordsOf('spam'));
  assert.deepEqual(
    hidden(),
    before.filter((name) => join(tmpdir(), name) !== left),
  );
});
