/**
 * corpus — a database taught with 800 + 800 real messages, exported and received by stores of all kinds: what had no opinion
 * there scores then as it does here, by real spamd on both sides.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type SpamDaemon, startSpamd } from '../../demo/spamd.ts';
import { packBundle } from '../../workers/bayes-bundle.ts';
import { silentLog } from '../../workers/log.ts';
import { createSpamd } from '../../workers/spamd.ts';
import { bayesOf, exported, only, type Site, startSite, type StoreName } from '../workers/bayes-rig.ts';
import { ham, spam, teach } from './lessons.ts';

const taught = 800;
/** Of each kind, none of them taught. */
const asked = 50;

test('800 + 800 messages: every store that receives the snapshot scores as the one that was taught', async (t) => {
  const primary = await startSite(t, 'files');
  teach(primary, 'ham', ham.slice(0, taught));
  teach(primary, 'spam', spam.slice(0, taught));
  const { snapshot } = await exported(primary);
  const { nspam, nham, tokens } = snapshot.manifest;
  // Some of the corpus are copies of others, which sa-learn does not learn twice.
  assert.ok(nspam > taught - 10 && nham > taught - 10, `${nspam} spam, ${nham} ham`);
  t.diagnostic(
    `${nspam} spam, ${nham} ham, ${tokens} tokens, ${snapshot.manifest.files[0]?.sizeBytes} octets`,
  );
  const sample = [...ham.slice(-asked), ...spam.slice(-asked)];
  const wanted = await scoresOf(t, primary, sample);
  for (const store of ['files', 'postgres', 'redis'] satisfies StoreName[]) {
    const backup = await startSite(t, store);
    const before = await scoresOf(t, backup, sample);
    const outcome = await bayesOf(backup).receive(packBundle(snapshot));
    assert.equal(outcome.kind, 'restored', JSON.stringify(outcome));
    const after = await scoresOf(t, backup, sample);
    const same = (scores: readonly string[]) => scores.filter((score, at) => score === wanted[at]).length;
    t.diagnostic(`${store}: ${same(before)} of ${sample.length} scores equal before, ${same(after)} after`);
    assert.deepEqual(after, wanted);
    assert.ok(same(before) < sample.length / 2);
  }
});

/** Score and Bayes rule of each message, from a spamd that was started anew. */
async function scoresOf(t: TestContext, site: Site, files: readonly string[]): Promise<string[]> {
  const folder = join(site.folder, `spamd-${spamds++}`);
  mkdirSync(folder);
  const daemon: SpamDaemon = await startSpamd({ folder, children: 2, extraRules: site.lines });
  t.after(() => daemon.stop());
  const options = {
    addresses: [daemon.tcp],
    user: null,
    spamBytes: 500_000,
    concurrency: 2,
    timeoutMs: 120_000,
  };
  const client = createSpamd({ ...options, log: silentLog });
  const scores = await Promise.all(
    files.map(async (file) => {
      const bytes = readFileSync(file);
      const message = { sizeBytes: bytes.length, read: () => only(bytes) };
      const result = await client.scan(message, { sender: '' }, new AbortController().signal);
      assert.ok(result.kind === 'scored', JSON.stringify(result));
      return `${result.score} ${result.tests.find(({ name }) => name.startsWith('BAYES_'))?.name ?? '-'}`;
    }),
  );
  client.close();
  await daemon.stop();
  return scores;
}

let spamds = 0;
