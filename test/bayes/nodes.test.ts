/**
 * nodes — two nodes with real sshd and spamd each: one `sluice bayes sync --now` (or `fetch`) and the backup, which scored
 * otherwise, has the same counts and tokens and scores as the primary does; for each store.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { isSameContent } from '../../workers/bayes-dump.ts';
import { readRecords } from '../../workers/bayes-record.ts';
import { openReservoir } from '../../workers/bayes-sample.ts';
import { silentLog } from '../../workers/log.ts';
import { given, letterOf, only, type StoreName, wordsOf } from '../workers/bayes-rig.ts';
import { ham, spam, teach } from './lessons.ts';
import { type BayesNode, type Nodes, scoresOf, startNodes } from './nodes-rig.ts';

const taught = 800;
/** What the backup has learned by itself: enough for an opinion. */
const taughtThere = 250;
/** Of each kind, taught to nobody. */
const asked = 100;
/** Where it is about something else: words that one node has seen in spam, the other one in good mail. */
const words = 2000;
const letters = [0, 100, 200].map((from) =>
  letterOf(Object.fromEntries(Object.entries(wordsOf('spam', words)).slice(from, from + 50))),
);

test('sluice bayes sync --now: trained on 800 + 800 messages, the backup scores 200 others as the primary', async (t) => {
  const nodes = await startNodes(t);
  teachBoth(nodes);
  nodes.primary.configure({ bayes: { sample: 2 * asked } });
  await keepSample(nodes.primary, heldOut(asked));
  await synced(t, nodes, heldOut(asked), () => nodes.primary.sluice(['bayes', 'sync', '--now']));
  const status = await nodes.primary.sluice(['bayes', 'status']);
  t.diagnostic(`status there:\n${status.stdout}`);
  assert.equal(status.code, 0, status.stderr);
  const [record] = await readRecords(nodes.primary.site.options.folder);
  const { at: _, worst, ...parity } = record?.parity ?? { worst: Number.NaN };
  t.diagnostic(`parity: ${JSON.stringify({ ...parity, worst })}`);
  const none = { probabilityDiffers: 0, scoreDiffers: 0, flips: 0, notScored: 0 };
  assert.deepEqual(parity, { messages: 2 * asked, ...none });
  const there = await nodes.backup.sluice(['bayes', 'status']);
  assert.equal(there.code, 0, there.stderr);
});

for (const store of ['postgres', 'redis'] satisfies StoreName[])
  test(`sluice bayes sync --now on ${store}: equal, and the same snapshot twice changes no count`, async (t) => {
    const nodes = await startNodes(t, { primary: store, backup: store, lean: true });
    await giveBoth(t, nodes);
    await synced(t, nodes, letters, () => nodes.primary.sluice(['bayes', 'sync', '--now']));
    const first = await nodes.backup.site.figures();
    // The same content under a new number, then the very same snapshot by hand.
    const again = await nodes.primary.sluice(['bayes', 'sync', '--now']);
    assert.equal(again.code, 0, again.stdout + again.stderr);
    assert.ok(isSameContent(await nodes.backup.site.figures(), first), 'nothing doubled');
    const [record] = await readRecords(nodes.backup.site.options.folder);
    const folder = join(
      nodes.primary.site.options.folder,
      'exported',
      String(record?.lastGood?.snapshotId ?? ''),
    );
    const byHand = await nodes.backup.sluice(['bayes', 'restore', folder]);
    assert.match(byHand.stdout, /^in place already/, byHand.stdout + byHand.stderr);
    assert.equal((await nodes.backup.sluice(['bayes', 'restore', folder, '--force'])).code, 0);
    assert.ok(isSameContent(await nodes.backup.site.figures(), first), 'nothing doubled by force');
    t.diagnostic(`${store}: ${first.nspam} spam, ${first.nham} ham, ${first.tokens} tokens, four times`);
  });

test('sluice bayes fetch: the backup gets the database where only it may call', async (t) => {
  const nodes = await startNodes(t, { way: 'pull', lean: true });
  await giveBoth(t, nodes);
  await synced(t, nodes, letters, () => nodes.backup.sluice(['bayes', 'fetch']));
});

function heldOut(count: number): Buffer[] {
  return [...ham.slice(-count), ...spam.slice(-count)].map((file) => readFileSync(file));
}

/** As the filter keeps what it has delivered, where bayes.sample asks for it. */
async function keepSample({ site }: BayesNode, messages: readonly Buffer[]): Promise<void> {
  const state = join(site.folder, 'state');
  const limits = { capacity: messages.length, messageBytesMax: 512 * 1024 };
  const reservoir = await openReservoir({ state, ...limits, log: silentLog });
  for (const bytes of messages) {
    reservoir.offer({ sender: 'a@a.example', sizeBytes: bytes.length, read: () => only(bytes) });
    // What comes while it is busy is passed over.
    await reservoir.idle();
  }
  await reservoir.close();
  assert.equal(reservoir.counts.kept, messages.length);
}

async function giveBoth(t: TestContext, { primary, backup }: Nodes): Promise<void> {
  await given(t, primary.site, wordsOf('spam', words), { nspam: 500, nham: 600 });
  await given(t, backup.site, wordsOf('ham', words), { nspam: 400, nham: 300 });
}

function teachBoth({ primary, backup }: Nodes): void {
  teach(primary.site, 'ham', ham.slice(0, taught));
  teach(primary.site, 'spam', spam.slice(0, taught));
  teach(backup.site, 'ham', ham.slice(taught, taught + taughtThere));
  teach(backup.site, 'spam', spam.slice(taught, taught + taughtThere));
}

/** What must hold of a run that succeeds, with its figures. */
async function synced(
  t: TestContext,
  { primary, backup }: Nodes,
  sample: readonly Buffer[],
  sync: () => ReturnType<BayesNode['sluice']>,
): Promise<void> {
  const wanted = await scoresOf(primary, sample);
  const before = await scoresOf(backup, sample);
  const had = await backup.site.figures();
  const begun = Date.now();
  const { code, stdout, stderr } = await sync();
  const tookMs = Date.now() - begun;
  assert.equal(code, 0, stdout + stderr);
  const [here, there] = [await primary.site.figures(), await backup.site.figures()];
  assert.ok(isSameContent(here, there), JSON.stringify([here, there]));
  const after = await scoresOf(backup, sample);
  const same = (scores: readonly string[]) => scores.filter((score, at) => score === wanted[at]).length;
  for (const [name, { nspam, nham, tokens }] of Object.entries({ 'backup before': had, here, there }))
    t.diagnostic(`${name}: ${nspam} spam, ${nham} ham, ${tokens} tokens`);
  t.diagnostic(
    `scores equal: ${same(before)} of ${sample.length} before, ${same(after)} after, ${tookMs} ms`,
  );
  assert.deepEqual(after, wanted);
  // Taught less and other mail it often agrees at the ends of the scale.
  assert.ok(same(before) < sample.length * 0.8);
  for (const node of [primary, backup]) {
    const [record] = await readRecords(node.site.options.folder);
    assert.equal(record?.outcome, 'done', `${node.name}: ${JSON.stringify(record)}`);
    assert.deepEqual(
      [record.lastGood?.here, record.lastGood?.there].map((counts) => counts?.nspam),
      [here.nspam, here.nspam],
    );
  }
}
