/**
 * bayes-export — snapshots of a live database (DB_File, real sa-learn), kept, judged, packed and received elsewhere.
 */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { packBundle } from '../../workers/bayes-bundle.ts';
import { isSameContent } from '../../workers/bayes-dump.ts';
import { temporaryFolder } from '../folder.ts';
import { bayesOf, dumpOf, exported, given, only, snapshotOf, startSite, wordsOf } from './bayes-rig.ts';

test('export() writes a manifest that fits, ids that grow though the clock goes back, and keeps so many', async (t) => {
  const site = await startSite(t, 'files');
  await given(t, site, wordsOf('spam'), { nspam: 500, nham: 600 });
  const clock = [5000, 4000, 9000, 9000];
  const ids: number[] = [];
  for (const time of clock)
    ids.push((await exported(site, { now: () => time })).snapshot.manifest.snapshotId);
  assert.deepEqual(ids, [5000, 5001, 9000, 9001]);
  const home = join(site.options.folder, 'exported');
  assert.deepEqual(readdirSync(home).toSorted(), ['5001', '9000', '9001']);
  const { snapshot, warnings } = await exported(site);
  assert.deepEqual(warnings, []);
  const { nspam, nham, tokens, spamassassin, dbVersion, dumpBytes } = snapshot.manifest;
  assert.deepEqual([nspam, nham, tokens, dbVersion], [500, 600, 40, 3]);
  assert.match(spamassassin, /^\d+\.\d+/);
  const dump = gunzipSync(readFileSync(join(snapshot.folder, 'bayes.gz')));
  assert.equal(dump.length, dumpBytes);
  assert.ok(isSameContent(await site.figures(), snapshot.manifest));
});

test('export() refuses what is empty, too young, or has lost messages, and tells of fewer tokens', async (t) => {
  const site = await startSite(t, 'files');
  const refusal = async (force: boolean): Promise<string> => {
    const outcome = await bayesOf(site).export({ force });
    return outcome.kind === 'exported'
      ? outcome.warnings.join()
      : `${outcome.kind} at ${outcome.step}: ${outcome.message}`;
  };
  assert.match(await refusal(true), /refused at judge: .*holds no token/);
  await given(t, site, wordsOf('spam'), { nspam: 500, nham: 199 });
  assert.match(await refusal(false), /refused at judge: .*199 ham messages learned, Bayes needs 200/);
  await given(t, site, wordsOf('spam', 60), { nspam: 500, nham: 500 });
  assert.equal(await refusal(false), '');
  await given(t, site, wordsOf('spam', 20), { nspam: 450, nham: 450 });
  assert.match(await refusal(false), /^20 tokens, the last snapshot had 60/);
  await given(t, site, wordsOf('spam', 20), { nspam: 404, nham: 450 });
  assert.match(
    await refusal(false),
    /refused at judge: .*404 spam messages learned, the last snapshot had 450/,
  );
  assert.match(await refusal(true), /404 spam messages/);
});

test('export() tells that sa-learn broke off, and keeps nothing of it', async (t) => {
  const site = await startSite(t, 'files');
  await given(t, site, wordsOf('spam'));
  // sa-learn makes a lock beside the database, and may not here.
  const live = realpathSync(join(site.folder, 'bayes', 'current'));
  chmodSync(live, 0o500);
  const outcome = await bayesOf(site).export();
  chmodSync(live, 0o700);
  assert.ok(outcome.kind === 'failed' && outcome.step === 'backup', JSON.stringify(outcome));
  assert.match(outcome.message, /sa-learn .*ended with/);
  assert.deepEqual(readdirSync(join(site.options.folder, 'exported')), []);
});

test('export(): of two at once one says that the other is under way', async (t) => {
  const site = await startSite(t, 'files');
  await given(t, site, wordsOf('spam'));
  let second: Awaited<ReturnType<ReturnType<typeof bayesOf>['export']>> | null = null;
  const first = await bayesOf(site).export({
    companions: [
      {
        name: 'policies.yaml',
        async *read() {
          second = await bayesOf(site).export();
          yield Buffer.from('default: {}\n');
        },
      },
    ],
  });
  assert.equal(first.kind, 'exported');
  assert.match(JSON.stringify(second), /"refused","step":"lock"/);
});

test('receive() takes a bundle with its companions, and nothing of one that is cut or garbled anywhere', async (t) => {
  const [primary, backup] = [await startSite(t, 'files'), await startSite(t, 'files')];
  await given(t, primary, wordsOf('spam'), { nspam: 500, nham: 500 });
  const companions = [{ name: 'policies.yaml', read: () => only(Buffer.from('default: {}\n')) }];
  const sent = await bayesOf(primary).export({ companions });
  assert.ok(sent.kind === 'exported', JSON.stringify(sent));
  const bundle = await allOf(packBundle(sent.snapshot));
  const received = join(backup.options.folder, 'received');
  mkdirSync(received, { recursive: true });
  const spoiled = [0, 0.01, 0.25, 0.5, 0.99].map((part) =>
    bundle.subarray(0, Math.floor(bundle.length * part)),
  );
  const flipped = Buffer.from(bundle);
  flipped.writeUInt8(flipped.readUInt8(bundle.length - 100) ^ 4, bundle.length - 100);
  for (const bytes of [
    ...spoiled,
    flipped,
    Buffer.concat([bundle, Buffer.from('x')]),
    Buffer.from('sluice-bayes 2 1\n{'),
  ]) {
    const outcome = await bayesOf(backup).receive(only(bytes));
    assert.ok(outcome.kind === 'refused' && outcome.step === 'receive', JSON.stringify(outcome));
    assert.deepEqual(readdirSync(received, { withFileTypes: true }), []);
  }
  const small = await bayesOf(backup, { sizeBytesMax: 10 }).receive(only(bundle));
  assert.ok(small.kind === 'refused' && /octets/.test(small.message), JSON.stringify(small));
  const pieces = async function* () {
    for (let at = 0; at < bundle.length; at += 7) yield bundle.subarray(at, at + 7);
  };
  const outcome = await bayesOf(backup).receive(pieces());
  assert.equal(outcome.kind, 'restored', JSON.stringify(outcome));
  assert.ok(isSameContent(await backup.figures(), sent.snapshot.manifest));
  const [name = ''] = readdirSync(received);
  assert.equal(readFileSync(join(received, name, 'policies.yaml'), 'utf8'), 'default: {}\n');
  assert.equal((await bayesOf(backup).receive(only(bundle))).kind, 'already');
});

test('every door says as whom and why it can not work where sa-learn can not', async (t) => {
  const site = await startSite(t, 'files');
  const signal = AbortSignal.abort();
  const stopped = await bayesOf(site, { signal }).export();
  assert.ok(stopped.kind === 'failed' && stopped.step === 'sync', JSON.stringify(stopped));
  const nowhere = { ...site.view, siteFolder: temporaryFolder(t) };
  const unset = await bayesOf(site, { view: nowhere }).restore(
    (await snapshotOf(t, dumpOf(wordsOf('spam')))).folder,
  );
  assert.ok(unset.kind === 'failed' && unset.step === 'prepare', JSON.stringify(unset));
});

async function allOf(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}
