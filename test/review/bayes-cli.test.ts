/**
 * bayes-cli — `sluice bayes` as it is typed, on a database in files, with real sa-learn.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createBayesLock } from '../../workers/bayes-lock.ts';
import { dumpOf, snapshotOf, startSite, wordsOf } from '../workers/bayes-rig.ts';
import { sluice } from './desk-rig.ts';

test('sluice bayes status|export|restore|rollback: what each says, and its exit code', async (t) => {
  const site = await startSite(t, 'files');
  const state = join(site.folder, 'state');
  const file = join(site.folder, 'sluice.yaml');
  writeFileSync(
    file,
    `state: state\nspamd: null\nscan: { spam: false }\nbayes: { siteFolder: site, user: ${site.view.user?.name ?? null} }\n`,
  );
  const say = (...words: string[]) => {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [sluice, 'bayes', ...words, '--config', file],
      {
        encoding: 'utf8',
      },
    );
    return { status, said: stdout + stderr };
  };
  const none = say('status');
  assert.match(
    none.said,
    /no database, or sa-learn can not read it\n  current   none\n  previous  none\n\nNo snapshot/,
  );
  assert.equal(none.status, 1);
  const young = await snapshotOf(t, dumpOf(wordsOf('spam'), { nspam: 500, nham: 100 }), { snapshotId: 1 });
  const old = await snapshotOf(t, dumpOf(wordsOf('spam'), { nspam: 500, nham: 600 }), { snapshotId: 2 });
  assert.match(
    say('restore', young.folder).said,
    /^restored: snapshot 1 of .*: 500 spam, 100 ham, 40 tokens\n$/,
  );
  const refused = say('export');
  assert.match(refused.said, /^refused at judge: .*100 ham messages learned.*\n  remedy: .*--force\n$/);
  assert.equal(refused.status, 1);
  assert.equal(say('restore', old.folder).status, 0);
  assert.match(say('restore', old.folder).said, /^in place already: snapshot 2/);
  const kept = say('export', '--json');
  assert.equal(kept.status, 0, kept.said);
  assert.equal((JSON.parse(kept.said) as { kind: string }).kind, 'exported');
  assert.match(
    say('rollback').said,
    /^rolled back: snapshot 1 .* is in place, snapshot 2 .* is the previous one\n$/,
  );
  const status = say('status');
  assert.match(
    status.said,
    /now       500 spam and 100 ham messages learned, 40 tokens\n  current   snapshot 1 .*\n  previous  snapshot 2/,
  );
  assert.equal(status.status, 0);
  const release = await createBayesLock(join(state, 'bayes', 'lock'))();
  assert.ok(release !== null);
  const busy = say('rollback');
  assert.match(busy.said, /^refused at lock/);
  assert.equal(busy.status, 75);
  await release();
  const nowhere = say('restore', '/nowhere');
  assert.match(nowhere.said, /^refused at bundle: Cannot read the snapshot \/nowhere: ENOENT/);
  assert.equal(say('status', '--spamd-user', 'nobody-at-all').status, 64);
  assert.equal(say('frobnicate').status, 64);
});

test('sluice bayes takes no database of root for that of a spamd that is down', async (t) => {
  const site = await startSite(t, 'files');
  const file = join(site.folder, 'sluice.yaml');
  const say = (spamd: string) => {
    writeFileSync(file, `state: state\nspamd: ${spamd}\nbayes: { siteFolder: site }\n`);
    const ran = spawnSync(process.execPath, [sluice, 'bayes', 'status', '--config', file], {
      encoding: 'utf8',
    });
    return [ran.status, ran.stdout];
  };
  const [code, said] = say('unix:/nonexistent/spamd.sock');
  assert.match(
    String(said),
    /^failed at settings: Cannot tell whose .*no spamd runs here at unix:.*\n {2}remedy: .*bayes\.user/,
  );
  assert.equal(code, 69);
});

test('sluice bayes keeps nothing in a folder that another user may replace', async (t) => {
  const site = await startSite(t, 'files');
  const [state, file] = [join(site.folder, 'other'), join(site.folder, 'sluice.yaml')];
  mkdirSync(state);
  chmodSync(state, 0o777);
  symlinkSync(site.folder, join(state, 'bayes'));
  writeFileSync(file, `state: other\nspamd: null\nscan: { spam: false }\n`);
  const { status, stderr } = spawnSync(process.execPath, [sluice, 'bayes', 'export', '--config', file], {
    encoding: 'utf8',
  });
  assert.match(stderr, /Cannot use .*: it is no folder of this user/);
  assert.equal(status, 69);
  rmSync(join(state, 'bayes'));
});
