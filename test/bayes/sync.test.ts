/**
 * sync — two nodes joined by a real sshd: what one has learned, the other has after `sluice bayes sync --now` or `fetch`, and
 * where anything is wrong it has the complete old database and both say why.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createBayesLock } from '../../workers/bayes-lock.ts';
import { isSameContent } from '../../workers/bayes-dump.ts';
import { readRecords, type SyncRecord } from '../../workers/bayes-record.ts';
import { given, wordsOf } from '../workers/bayes-rig.ts';
import { by, cutWay } from '../workers/sshd-rig.ts';
import { doorCommand, type Node, type Pair, type Ran, run, startPair } from './carry-rig.ts';

for (const way of ['push', 'fetch'] as const)
  test(`${way}: the backup has what the primary has, both say so, and a second run adds nothing`, async (t) => {
    const { primary, backup } = await taught(t, way);
    const go = () => (way === 'push' ? run(primary, 'sync', '--now') : run(backup, 'fetch'));
    const first = await go();
    assert.equal(first.code, 0, first.out + first.err);
    t.diagnostic(first.out);
    const sent = await primary.site.figures();
    assert.ok(isSameContent(await backup.site.figures(), sent));
    const counts = { nspam: sent.nspam, nham: sent.nham, tokens: sent.tokens };
    for (const node of [primary, backup]) {
      const record = await recordOf(node);
      assert.equal(record.outcome, 'done', JSON.stringify(record));
      assert.deepEqual([record.lastGood?.here, record.lastGood?.there], [counts, counts]);
    }
    const called = way === 'push' ? primary : backup;
    const { out } = await run(called, 'status');
    t.diagnostic(out);
    assert.match(out, /done in [\s\S]*\n {2}here +300 spam, 300 ham, 40 tokens\n {2}there +300 spam/);
    assert.match(out, / now: .*, Sluice .*\n {2}counts +300 spam, 300 ham, 40 tokens/);
    const again = await go();
    assert.equal(again.code, 0, again.out + again.err);
    // Fetched again within minutes it is the very same snapshot, unless what travels along is another one by now.
    assert.match(again.out, way === 'push' ? /: done in/ : /: in place already/);
    assert.ok(isSameContent(await backup.site.figures(), sent));
    if (way === 'push') return;
    writeFileSync(primary.policies, 'default: { thresholds: { tag: 1.75 } }\n');
    const third = await go();
    assert.match(third.out, /: done in/, third.out + third.err);
    assert.match(readFileSync(backup.policies, 'utf8'), /1\.75/);
  });

test('policies and the map of recipients travel along; a bundle with bad ones is refused before anything is switched', async (t) => {
  const pair = await taught(t, 'push');
  const { primary, backup, sshd } = pair;
  primary.configure({ role: 'primary', bayes: [...sshOf(pair), `recipients: ${primary.recipients}`] });
  backup.configure({ role: 'backup', bayes: [`recipients: ${backup.recipients}`] });
  const old = await backup.site.figures();
  const table = [
    [
      'policies',
      'default: {}\nrecipients: { a@b.example: { thresholds: { spam: x } } }\n',
      'a@b.example OK\n',
    ],
    ['map', 'default: {}\n', '# nobody\n'],
  ] as const;
  for (const [what, policies, recipients] of table) {
    writeFileSync(primary.policies, policies);
    writeFileSync(primary.recipients, recipients);
    const ran = await run(primary, 'sync', '--now');
    refusedAt(ran, 'companions', what);
    assert.ok(isSameContent(await backup.site.figures(), old), what);
    assert.ok(!existsSync(backup.policies) && !existsSync(backup.recipients), what);
    assert.equal((await recordOf(backup)).step, 'companions');
  }
  writeFileSync(primary.recipients, 'a@b.example OK\n');
  // Killed between the switch and the files: the next run puts them in place.
  sshd.authorize(doorCommand(backup, 'receive', killing('install')));
  assert.equal((await run(primary, 'sync', '--now')).code, 69);
  assert.ok(isSameContent(await backup.site.figures(), await primary.site.figures()));
  assert.ok(!existsSync(backup.policies) && !existsSync(backup.recipients));
  sshd.authorize(doorCommand(backup, 'receive'));
  const ran = await run(primary, 'sync', '--now');
  assert.equal(ran.code, 0, ran.out + ran.err);
  assert.equal(readFileSync(backup.policies, 'utf8'), 'default: {}\n');
  assert.equal(readFileSync(backup.recipients, 'utf8'), 'a@b.example OK\n');
  assert.ok(existsSync(`${backup.recipients}.db`));
});

test('what is wrong on the way leaves the old database, names its step and remedy on both sides, and the next run works', async (t) => {
  const pair = await taught(t, 'push');
  const { primary, backup, sshd } = pair;
  const old = await backup.site.figures();
  const fails = async (label: string, step: string, code: number) => {
    const ran = await run(primary, 'sync', '--now');
    assert.equal(ran.code, code, `${label}: ${ran.out}${ran.err}`);
    assert.match(ran.out, new RegExp(`(?:failed|refused) at ${step}: .*\\n {2}remedy: .`), label);
    assert.ok(isSameContent(await backup.site.figures(), old), label);
    const record = await recordOf(primary);
    assert.deepEqual([record.step, record.lastGood], [step, null], label);
  };
  // The question who is there goes through; the bundle behind it does not.
  const cut = await cutWay(t, sshd.port, { up: 5500 });
  primary.configure({ role: 'primary', bayes: sshOf(pair, by(sshd, cut.port).port) });
  await fails('cut half way', 'answer', 69);
  primary.configure({ role: 'primary', bayes: sshOf(pair) });
  backup.configure({ role: 'primary' });
  await fails('two primaries', 'connect', 1);
  backup.configure({ role: 'backup' });
  for (const [step, kill] of [
    ['load', 'answer'],
    ['switch', 'answer'],
  ] as const) {
    sshd.authorize(doorCommand(backup, 'receive', killing(step)));
    await fails(`killed at ${step}`, kill, 69);
  }
  sshd.authorize(doorCommand(backup, 'receive'));
  const release = await createBayesLock(join(backup.bayesFolder, 'lock'))();
  await fails('another run there', 'lock', 75);
  await release?.();
  const ran = await run(primary, 'sync', '--now');
  assert.equal(ran.code, 0, ran.out + ran.err);
  assert.ok(isSameContent(await backup.site.figures(), await primary.site.figures()));
});

test('a node that can not be reached keeps no other from its snapshot; --node asks one alone', async (t) => {
  const pair = await taught(t, 'push');
  const { primary, backup, sshd } = pair;
  const dead = 'root@127.0.0.2:9';
  const [ssh = ''] = sshOf(pair);
  primary.configure({ role: 'primary', bayes: [ssh, `nodes: ["${dead}", "root@127.0.0.1:${sshd.port}"]`] });
  const both = await run(primary, 'sync', '--now', '--json');
  assert.equal(both.code, 69, both.out + both.err);
  const outcomes = (JSON.parse(both.out) as SyncRecord[]).map(({ node, outcome, step }) => [
    node,
    outcome,
    step,
  ]);
  assert.deepEqual(outcomes, [
    [dead, 'failed', 'connect'],
    [`root@127.0.0.1:${sshd.port}`, 'done', null],
  ]);
  assert.ok(isSameContent(await backup.site.figures(), await primary.site.figures()));
  const one = await run(primary, 'sync', '--now', '--node', '127.0.0.2');
  assert.deepEqual([one.code, one.out.trim().split('\n').length], [69, 2], one.out + one.err);
  const none = await run(primary, 'sync', '--now', '--node', 'mx9');
  assert.equal(none.code, 64);
  assert.match(none.err, /root@127\.0\.0\.2:9, root@127\.0\.0\.1/);
});

test('two at once on the primary: one does it, the other is told to wait', async (t) => {
  const { primary, backup } = await taught(t, 'push');
  const ran = await Promise.all([run(primary, 'sync', '--now'), run(primary, 'sync', '--now')]);
  const codes = ran.map(({ code }) => code).toSorted((a, b) => Number(a) - Number(b));
  assert.deepEqual(codes, [0, 75], JSON.stringify(ran));
  assert.ok(isSameContent(await backup.site.figures(), await primary.site.figures()));
});

/** Two nodes that have learned different things; the primary has policies. */
async function taught(t: TestContext, way: 'push' | 'fetch'): Promise<Pair> {
  const pair = await startPair(t, { way });
  await given(t, pair.primary.site, wordsOf('spam'));
  await given(t, pair.backup.site, wordsOf('ham', 20, 'old'));
  writeFileSync(pair.primary.policies, 'default: { thresholds: { tag: 1.5 } }\n');
  return pair;
}

function sshOf({ sshd: { ssh, port } }: Pair, by = port): string[] {
  const settings = `ssh: { key: ${ssh.key}, knownHosts: ${ssh.knownHosts}, deadlineSeconds: 60 }`;
  return [settings, `nodes: ["root@127.0.0.1:${by}"]`];
}

async function recordOf(node: Node): Promise<SyncRecord> {
  const records = await readRecords(node.bayesFolder);
  const newest = records.toSorted((a, b) => b.at - a.at)[0];
  if (newest === undefined) throw new Error(`Nothing is written down in ${node.bayesFolder}`);
  return newest;
}

/** Before a command: it is killed as that step begins. */
function killing(step: string): string {
  const hooks = join(import.meta.dirname, 'fault-hooks.ts');
  return `SLUICE_TEST_STEP=${step} SLUICE_TEST_DO=kill NODE_OPTIONS=--import=${hooks} `;
}

function refusedAt({ code, out, err }: Ran, step: string, label: string): void {
  assert.equal(code, 1, `${label}: ${out}${err}`);
  assert.match(out, new RegExp(`refused at ${step}: .*\\n {2}remedy: .`), label);
}
