/**
 * bayes-files — the contract of restore and roll-back on DB_File, and a spamd that is asked all the while.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { packBundle } from '../../workers/bayes-bundle.ts';
import { declareAborts, declareContract, declareScans } from './bayes-contract.ts';
import { bayesOf, dumpOf, given, restoreInChild, snapshotOf, startSite, wordsOf } from './bayes-rig.ts';

declareContract('files');
declareScans('files');
declareAborts('files');

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

test("rollback() on files follows no name that leads out of its folder: the generations are another user's", async (t) => {
  const site = await startSite(t, 'files');
  const [home, outside] = [join(site.folder, 'bayes'), join(site.folder, 'outside')];
  await given(t, site, wordsOf('spam'));
  mkdirSync(outside);
  writeFileSync(join(outside, 'bayes_toks'), '');
  writeFileSync(join(home, 'current', 'replaced'), '../outside\n');
  const outcome = await bayesOf(site).rollback();
  assert.ok(outcome.kind === 'refused' && outcome.step === 'rollback', JSON.stringify(outcome));
  assert.deepEqual(readdirSync(outside), ['bayes_toks']);
});

test('restore() on files writes nothing where a link takes the place of what it has loaded', async (t) => {
  const site = await startSite(t, 'files');
  const [home, outside] = [join(site.folder, 'bayes'), join(site.folder, 'outside')];
  await given(t, site, wordsOf('spam'));
  const before = await site.figures();
  mkdirSync(outside);
  const known = readdirSync(home);
  const onStep = (step: string) => {
    if (step !== 'mark') return;
    const [loaded = ''] = readdirSync(home).filter((name) => !known.includes(name));
    renameSync(join(home, loaded), join(site.folder, 'elsewhere'));
    symlinkSync(outside, join(home, loaded));
  };
  const next = await snapshotOf(t, dumpOf(wordsOf('ham')), { snapshotId: Date.now() + 1000 });
  const outcome = await bayesOf(site, { onStep }).restore(next.folder);
  assert.ok(outcome.kind === 'failed' && outcome.step === 'mark', JSON.stringify(outcome));
  assert.deepEqual(readdirSync(outside), []);
  assert.deepEqual(await site.figures(), before);
});

test('status() on files is not held up by a pipe in place of a mark', async (t) => {
  const site = await startSite(t, 'files');
  await given(t, site, wordsOf('spam'));
  const mark = join(site.folder, 'bayes', 'current', 'snapshot.json');
  rmSync(mark);
  execFileSync('mkfifo', [mark]);
  const outcome = await bayesOf(site).status();
  assert.ok(outcome.kind === 'status' && outcome.standing.current?.mark === null, JSON.stringify(outcome));
});

test('restore() on files goes without setgid where systemd forbids it (RestrictSUIDSGID=)', async (t) => {
  const site = await startSite(t, 'files');
  const current = join(site.folder, 'bayes', 'current');
  chmodSync(current, 0o2750);
  const { folder } = await snapshotOf(t, dumpOf(wordsOf('spam')));
  // As the filter of systemd.exec(5) does it: the first fchmod(2) asks for setgid; strace counts per thread.
  const strace = [
    'env',
    'UV_THREADPOOL_SIZE=1',
    'strace',
    '-f',
    '--seccomp-bpf',
    '-qqq',
    '-e',
    'trace=fchmod',
    '-o',
    '/dev/null',
  ];
  const inject = ['-e', 'inject=fchmod:error=EPERM:when=1'];
  const said = await restoreInChild(site, folder, 'never', 'restore', [...strace, ...inject]);
  assert.match(said, /^restored/);
  assert.equal(statSync(current).mode & 0o7777, 0o750);
});

test('receive() tells its own trouble, not that old snapshots could not be removed; after the switch that is a warning', async (t) => {
  const site = await startSite(t, 'files');
  await given(t, site, wordsOf('spam'));
  const received = join(site.folder, 'state', 'received');
  const receiveWhile = async (at: string, snapshotId: number) => {
    const next = await snapshotOf(t, dumpOf(wordsOf('ham')), { snapshotId });
    const onStep = (step: string) => {
      if (step !== at) return;
      renameSync(received, `${received}-${at}`);
      writeFileSync(received, '');
    };
    const outcome = await bayesOf(site, { onStep }).receive(packBundle(next));
    rmSync(received);
    return outcome;
  };
  const failed = await receiveWhile('load', Date.now() + 1000);
  assert.ok(failed.kind === 'failed' && !/scandir/.test(failed.message), JSON.stringify(failed));
  const done = await receiveWhile('install', Date.now() + 2000);
  assert.ok(done.kind === 'restored', JSON.stringify(done));
  assert.match(done.companions.warnings.join(), /^Cannot remove old snapshots: ENOTDIR/);
});

test('restore() on files loads the current snapshot again where somebody insists: its database may have drifted', async (t) => {
  const site = await startSite(t, 'files');
  const [home, toks] = [join(site.folder, 'bayes'), 'bayes_toks'];
  await given(t, site, wordsOf('ham'));
  const before = readlinkSync(join(home, 'current'));
  const { folder, manifest } = await snapshotOf(t, dumpOf(wordsOf('spam')), {
    snapshotId: Date.now() + 1000,
  });
  assert.equal((await bayesOf(site).restore(folder)).kind, 'restored');
  copyFileSync(join(home, before, toks), join(home, 'current', toks));
  assert.equal((await bayesOf(site).restore(folder)).kind, 'already');
  assert.equal((await bayesOf(site).restore(folder, { force: true })).kind, 'restored');
  assert.equal((await site.figures()).digest, manifest.digest);
});
