/**
 * bayes-answers — what a primary hands out when a backup asks for a snapshot.
 */
import assert from 'node:assert/strict';
import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { sendingAnswers } from '../../workers/bayes-answers.ts';
import { unpackBundle } from '../../workers/bayes-bundle.ts';
import { dumpName } from '../../workers/bayes-manifest.ts';
import { bayesOf, dumpOf, snapshotOf, startSite, wordsOf } from './bayes-rig.ts';

test('sendingAnswers() hands a fresh export out again, and makes another where its files have gone bad', async (t) => {
  const site = await startSite(t, 'files');
  const bayes = bayesOf(site);
  const { folder: taught } = await snapshotOf(t, dumpOf(wordsOf('spam')), { snapshotId: 1 });
  assert.equal((await bayes.restore(taught)).kind, 'restored');
  const folder = join(site.folder, 'state');
  const options = { bayes, folder, role: 'primary' as const, version: '1', view: site.view };
  const { snapshot } = sendingAnswers({ ...options, companions: () => [] });
  const fetched = async () => {
    const answer = await snapshot?.({ newestSeen: 1 }, none());
    const got = await unpackBundle(answer?.payload ?? none(), join(site.folder, 'got'), 2 ** 27);
    return got.manifest.snapshotId;
  };
  const first = await fetched();
  assert.equal(await fetched(), first);
  truncateSync(join(folder, 'exported', String(first), dumpName), 100);
  assert.ok((await fetched()) > first);
});

async function* none(): AsyncGenerator<Buffer> {
  yield* [];
}
