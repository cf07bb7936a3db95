/**
 * faults — full disks, foreign data, missing rights, a server that is gone, and kill -9 at random instants: the old database or
 * the new one, a message that names step and remedy, and the next run works.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { packBundle } from '../../workers/bayes-bundle.ts';
import { isSameContent } from '../../workers/bayes-dump.ts';
import type { BayesTrouble } from '../../workers/bayes.ts';
import { mountSmallDisk, type SmallDisk } from '../e2e/small-disk.ts';
import {
  bayesOf,
  childWords,
  dumpOf,
  exported,
  given,
  restoreInChild,
  type Site,
  snapshotOf,
  startSite,
  type StoreName,
  type Words,
  wordsOf,
} from '../workers/bayes-rig.ts';

/** Of each store; SLUICE_BAYES_KILLS for more. */
const kills = Number(process.env.SLUICE_BAYES_KILLS ?? 8);
/** A store and a state folder that are full, and then not. */
const diskBytes = 16 * 1024 ** 2;

test('a disk that is full of something else: the old database stays, export and restore say so, and go on after', async (t) => {
  const disks: SmallDisk[] = [];
  // Before the folder around them is removed: what is registered first runs first.
  t.after(() => disks.forEach((disk) => disk.unmount()));
  const site = await startSite(t, 'files', (folder) => {
    for (const name of ['bayes', 'state']) disks.push(mountSmallDisk(join(folder, name), diskBytes));
  });
  const many = wordsOf('ham', 20_000);
  const old = await snapshotOf(t, dumpOf(wordsOf('spam')), { snapshotId: 1 });
  const next = await snapshotOf(t, dumpOf(many), { snapshotId: 2 });
  await given(t, site, wordsOf('spam'));
  for (const disk of disks) disk.fill();
  const restored = troubleOf(await bayesOf(site).restore(next.folder));
  assert.ok(['lock', 'load', 'count', 'mark'].includes(restored.step), JSON.stringify(restored));
  // To read its database sa-learn must write a lock beside it.
  disks[0]?.free();
  assert.ok(isSameContent(await site.figures(), old.manifest));
  const exportedToo = troubleOf(await bayesOf(site).export());
  assert.match(exportedToo.remedy, /room/, JSON.stringify(exportedToo));
  disks[1]?.free();
  assert.equal((await bayesOf(site).restore(next.folder)).kind, 'restored');
  await exported(site);
  // The store alone.
  disks[0]?.fill();
  const last = await snapshotOf(t, dumpOf(wordsOf('spam', 30_000)), { snapshotId: 3 });
  troubleOf(await bayesOf(site).restore(last.folder));
  disks[0]?.free();
  assert.ok(isSameContent(await site.figures(), next.manifest));
  assert.equal((await bayesOf(site).restore(last.folder)).kind, 'restored');
  // What is received.
  const primary = await startSite(t, 'files');
  await given(t, primary, many);
  const { snapshot } = await exported(primary);
  disks[1]?.fill();
  troubleOf(await bayesOf(site).receive(packBundle(snapshot)));
  assert.ok(isSameContent(await site.figures(), last.manifest));
  disks[1]?.free();
  assert.equal((await bayesOf(site).receive(packBundle(snapshot))).kind, 'restored');
});

test('an index of Redis that holds anything else is never exchanged, and one that is gone is told', async (t) => {
  const site = await startSite(t, 'redis');
  const old = await snapshotOf(t, dumpOf(wordsOf('spam')), { snapshotId: 1 });
  const next = await snapshotOf(t, dumpOf(wordsOf('ham')), { snapshotId: 2 });
  await given(t, site, wordsOf('spam'));
  for (const index of ['4', '5']) {
    redis(site, index, 'SET', 'bull:virus:1', 'a job');
    const { step, message } = troubleOf(await bayesOf(site).restore(next.folder));
    assert.match(`${step}: ${message}`, /^prepare: .*bull:virus:1/);
    assert.ok(isSameContent(await site.figures(), old.manifest));
    redis(site, index, 'DEL', 'bull:virus:1');
  }
  redis(site, '7', 'SET', 'w:else', '1');
  const seven = troubleOf(await bayesOf(site, { redisScratch: 7 }).restore(next.folder));
  assert.match(seven.message, /1 keys that no restore has brought/);
  const same = troubleOf(await bayesOf(site, { redisScratch: 4 }).restore(next.folder));
  assert.match(`${same.step} ${same.message}`, /^settings .*the same/);
  redis(site, '4', 'ACL', 'SETUSER', 'default', '-swapdb');
  const rights = troubleOf(await bayesOf(site).restore(next.folder));
  assert.match(`${rights.step} ${rights.remedy}`, /^prepare .*\+swapdb/);
  redis(site, '4', 'ACL', 'SETUSER', 'default', '+swapdb');
  assert.equal((await bayesOf(site).restore(next.folder)).kind, 'restored');
  redis(site, '4', 'CONFIG', 'SET', 'requirepass', 'other');
  const closed = troubleOf(await bayesOf(site).restore(old.folder));
  assert.equal(closed.step, 'settings');
  assert.doesNotMatch(JSON.stringify(closed), /geheim/);
});

test('PostgreSQL without the rights, and one that is gone, are told with a remedy', async (t) => {
  const site = await startSite(t, 'postgres');
  await given(t, site, wordsOf('spam'));
  const next = await snapshotOf(t, dumpOf(wordsOf('ham')), { snapshotId: 2 });
  const host = join(site.folder, 'pg');
  const sql = (text: string) =>
    execFileSync('psql', ['-X', '-q', '-h', host, '-U', 'sa', '-d', 'sa', '-c', text]);
  sql('CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader');
  execFileSync('sed', [
    '-i',
    's/bayes_sql_username sa/bayes_sql_username reader/',
    join(site.folder, 'site', 'local.cf'),
  ]);
  const rights = troubleOf(await bayesOf(site).restore(next.folder));
  assert.match(`${rights.step} ${rights.remedy}`, /^prepare grant bayes_sql_username/);
  execFileSync('sed', [
    '-i',
    's/bayes_sql_username reader/bayes_sql_username sa/',
    join(site.folder, 'site', 'local.cf'),
  ]);
  assert.equal((await bayesOf(site).restore(next.folder)).kind, 'restored');
  execFileSync('sed', ['-i', 's/host=[^ ]*/host=\\/nowhere/', join(site.folder, 'site', 'local.cf')]);
  const gone = troubleOf(await bayesOf(site).restore(next.folder));
  assert.match(`${gone.step} ${gone.message} ${gone.remedy}`, /^settings .*nowhere.*server runs/);
});

for (const store of ['files', 'postgres', 'redis'] satisfies StoreName[]) {
  test(`restore() on ${store}, killed at ${kills} random instants: the old one or the new one, nothing else`, async (t) => {
    const site = await startSite(t, store);
    const words = (at: number): Words => wordsOf(at % 2 === 0 ? 'spam' : 'ham', 3000 + at);
    let old = await snapshotOf(t, dumpOf(words(0)), { snapshotId: 1 });
    const begun = Date.now();
    assert.match(await restoreInChild(site, old.folder, 'never'), /^restored/);
    const usualMs = Date.now() - begun;
    let switched = 0;
    for (let at = 1; at <= kills; at++) {
      const next = await snapshotOf(t, dumpOf(words(at)), { snapshotId: 1 + at });
      const child = spawn(process.execPath, childWords(site, 'restore', next.folder, 'never'), {
        stdio: 'ignore',
      });
      const ended = once(child, 'close');
      await Promise.race([delay(randomInt(Math.ceil(usualMs * 1.2))), ended]);
      child.kill('SIGKILL');
      await ended;
      const found = await site.figures();
      const isNew = isSameContent(found, next.manifest);
      assert.ok(isNew || isSameContent(found, old.manifest), JSON.stringify(found));
      if (!isNew) continue;
      switched += 1;
      old = next;
    }
    const last = await snapshotOf(t, dumpOf(words(kills + 1)), { snapshotId: 100 });
    assert.equal((await bayesOf(site).restore(last.folder)).kind, 'restored');
    assert.ok(isSameContent(await site.figures(), last.manifest));
    t.diagnostic(`${store}: ${kills} kills within ${usualMs} ms, ${switched} after the switch`);
  });
}

function troubleOf(outcome: { kind: string } | BayesTrouble): BayesTrouble {
  assert.ok('remedy' in outcome, JSON.stringify(outcome));
  assert.ok(outcome.message.length > 20 && outcome.remedy.length > 10, JSON.stringify(outcome));
  return outcome;
}

function redis({ lines }: Site, index: string, ...words: readonly string[]): void {
  const port = /server=127\.0\.0\.1:(\d+)/.exec(lines)?.[1] ?? '';
  const env = { ...process.env, REDISCLI_AUTH: 'geheim' };
  execFileSync('redis-cli', ['-p', port, '-n', index, '-e', ...words], { env, stdio: 'ignore' });
}
