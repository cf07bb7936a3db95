/**
 * bayes-contract — what restore and roll-back promise on every store, with real sa-learn: whole or not at all, whatever dies.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { globSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';
import { startSpamd } from '../../demo/spamd.ts';
import { silentLog } from '../../workers/log.ts';
import { createSpamd } from '../../workers/spamd.ts';
import { isSameContent } from '../../workers/bayes-dump.ts';
import { dumpName, manifestName } from '../../workers/bayes-manifest.ts';
import type { Restored } from '../../workers/bayes.ts';
import {
  bayesOf,
  dumpOf,
  letterOf,
  only,
  restoreInChild,
  type Site,
  snapshotOf,
  startSite,
  type StoreName,
  wordsOf,
} from './bayes-rig.ts';

const execute = promisify(execFile);

const steps = ['bundle', 'order', 'prepare', 'load', 'count', 'mark', 'link', 'switch', 'clean'];

/** Declares the tests for one store. */
export function declareContract(store: StoreName): void {
  test(`restore() on ${store}: counts, forward only, twice is once, roll-back and back`, async (t) => {
    const site = await startSite(t, store);
    const bayes = bayesOf(site);
    const one = await snapshotOf(t, dumpOf(wordsOf('spam')), { snapshotId: 1 });
    const two = await snapshotOf(t, dumpOf(wordsOf('ham', 60), { nspam: 400, nham: 500 }), { snapshotId: 2 });
    await restored(site, one.folder);
    await restored(site, two.folder);
    assert.ok(isSameContent(await site.figures(), two.manifest));
    const again = await bayes.restore(two.folder);
    assert.equal(again.kind, 'already');
    assert.ok(isSameContent(await site.figures(), two.manifest), 'nothing doubled');
    const older = await bayes.restore(one.folder);
    assert.ok(older.kind === 'refused' && older.step === 'order', JSON.stringify(older));
    const status = await bayes.status();
    assert.ok(status.kind === 'status', JSON.stringify(status));
    assert.deepEqual(
      [
        status.store,
        status.standing.current?.mark?.snapshotId,
        status.standing.previous?.mark?.snapshotId,
        status.counts?.nspam,
      ],
      [store, 2, 1, 400],
    );
    assert.doesNotMatch(JSON.stringify(status), /geheim/);
    assert.equal((await bayes.rollback()).kind, 'rolledBack');
    assert.ok(isSameContent(await site.figures(), one.manifest));
    const rolled = await bayes.restore(two.folder);
    assert.ok(rolled.kind === 'refused' && rolled.step === 'order', 'not what was just rolled back');
    assert.equal((await bayes.rollback()).kind, 'rolledBack');
    assert.ok(isSameContent(await site.figures(), two.manifest));
    assert.equal((await bayes.restore(one.folder, { force: true })).kind, 'restored');
    assert.ok(isSameContent(await site.figures(), one.manifest));
  });

  test(`restore() on ${store} takes nothing that is cut, garbled, too large or of other counts`, async (t) => {
    const site = await startSite(t, store);
    const old = await snapshotOf(t, dumpOf(wordsOf('spam')), { snapshotId: 1 });
    await restored(site, old.folder);
    for (const [label, step, spoil] of spoilers) {
      const next = await snapshotOf(t, dumpOf(wordsOf('ham')), { snapshotId: 2 });
      spoil(next.folder);
      const outcome = await bayesOf(site, label === 'too large' ? { sizeBytesMax: 100 } : {}).restore(
        next.folder,
      );
      assert.ok(outcome.kind === 'refused' || outcome.kind === 'failed', `${label}: ${outcome.kind}`);
      assert.equal(outcome.step, step, `${label}: ${outcome.message}`);
      assert.ok(outcome.message.length > 20 && outcome.remedy.length > 10, JSON.stringify(outcome));
      assert.ok(isSameContent(await site.figures(), old.manifest), label);
    }
    const good = await snapshotOf(t, dumpOf(wordsOf('ham')), { snapshotId: 2 });
    await restored(site, good.folder);
    assert.ok(isSameContent(await site.figures(), good.manifest), 'the next night works');
  });
}

/** Declares what holds when the process is killed at any step. */
export function declareKills(store: StoreName): void {
  test(`restore() on ${store}, killed at each step: the complete old one or the complete new one`, async (t) => {
    const site = await startSite(t, store);
    let old = await snapshotOf(t, dumpOf(wordsOf('spam')), { snapshotId: 1 });
    await restored(site, old.folder);
    const reached: string[] = [];
    for (const [at, step] of steps.entries()) {
      const next = await snapshotOf(t, dumpOf(wordsOf('ham', 41 + at), { nham: 400 + at }), {
        snapshotId: 2 + at,
      });
      const end = await restoreInChild(site, next.folder, step);
      if (end.endsWith('SIGKILL')) reached.push(step);
      const found = await site.figures();
      const isNew = isSameContent(found, next.manifest);
      assert.ok(isNew || isSameContent(found, old.manifest), `killed at ${step}: ${JSON.stringify(found)}`);
      assert.equal(isNew, step === 'clean' || !end.endsWith('SIGKILL'), step);
      // The next night.
      assert.match((await bayesOf(site).restore(next.folder)).kind, isNew ? /already/ : /restored/);
      assert.ok(isSameContent(await site.figures(), next.manifest), `after ${step}`);
      old = next;
    }
    assert.deepEqual(
      reached,
      steps.filter((step) => store === 'files' || step !== 'link'),
    );
  });
}

/** Declares that a run which is told to end in the middle of a load leaves nobody who goes on loading, and no later run in trouble. */
export function declareAborts(store: 'files' | 'redis'): void {
  test(`restore() on ${store}, aborted in the middle of a load: nobody loads on, and the next one works`, async (t) => {
    const site = await startSite(t, store);
    const old = await snapshotOf(t, dumpOf(wordsOf('spam')), { snapshotId: 1 });
    await restored(site, old.folder);
    const next = await snapshotOf(t, dumpOf(wordsOf('ham', 8000)), { snapshotId: 2 });
    const ending = new AbortController();
    const running = bayesOf(site, { signal: ending.signal }).restore(next.folder);
    while (!(await isLoading[store](site))) await nextTurn();
    ending.abort();
    const outcome = await running;
    assert.ok(outcome.kind === 'failed' && outcome.step === 'load', JSON.stringify(outcome));
    assert.deepEqual(loadersOf(site), []);
    assert.match(outcome.message, /told to end/);
    assert.ok(isSameContent(await site.figures(), old.manifest));
    await restored(site, next.folder);
    assert.ok(isSameContent(await site.figures(), next.manifest), 'the next one works');
  });
}

/** Whether tokens lie in the scratch database. */
const isLoading = {
  files: ({ folder }: Site) =>
    globSync(join(folder, 'bayes', 'generation-*', 'bayes_toks.convert*')).length > 0,
  async redis({ lines }: Site) {
    const port = /127\.0\.0\.1:(\d+)/.exec(lines)?.[1] ?? '';
    const words = ['-p', port, '-n', '5', 'dbsize'];
    const { stdout } = await execute('redis-cli', words, {
      env: { ...process.env, REDISCLI_AUTH: 'geheim' },
    });
    return Number(stdout) > 200;
  },
};

/** The command lines of processes that load into a database of this site. */
function loadersOf({ folder }: Site): string[] {
  return globSync('/proc/[0-9]*/cmdline').flatMap((file) => {
    try {
      const words = readFileSync(file, 'utf8').replaceAll('\0', ' ');
      return words.includes(folder) && words.includes('--restore') ? [words] : [];
    } catch {
      return []; // it has ended just now
    }
  });
}

/** Declares that real spamd, asked without a pause, has an opinion at every instant. */
export function declareScans(store: StoreName): void {
  test(`restore() on ${store}: spamd answers every scan throughout, by the old database or by the new one`, async (t) => {
    const site = await startSite(t, store);
    const bayes = bayesOf(site);
    const spammy = await snapshotOf(t, dumpOf(wordsOf('spam')), { snapshotId: 1 });
    assert.equal((await bayes.restore(spammy.folder)).kind, 'restored');
    const folder = join(site.folder, 'spamd');
    mkdirSync(folder);
    const daemon = await startSpamd({ folder, children: 2, extraRules: `${site.lines}\nbayes_auto_learn 0` });
    t.after(() => daemon.stop());
    const options = { addresses: [daemon.tcp], user: null, spamBytes: 100_000, timeoutMs: 60_000 };
    const client = createSpamd({ ...options, concurrency: 2, log: silentLog });
    t.after(() => client.close());
    const bytes = letterOf(wordsOf('spam'));
    const ask = async (): Promise<string> => {
      const message = { sizeBytes: bytes.length, read: () => only(bytes) };
      const result = await client.scan(message, { sender: '' }, new AbortController().signal);
      if (result.kind !== 'scored') return JSON.stringify(result);
      return result.tests.find(({ name }) => name.startsWith('BAYES_'))?.name ?? 'no Bayes';
    };
    assert.match(await ask(), /^BAYES_9/);
    let under = true;
    const heard: string[][] = [[], []];
    const askers = heard.map(async (answers) => {
      while (under) answers.push(await ask());
    });
    const kinds: string[] = [];
    for (let at = 0; at < 4; at++) {
      const words = wordsOf(at % 2 === 0 ? 'ham' : 'spam');
      const next = await snapshotOf(t, dumpOf(words), { snapshotId: 2 + at });
      kinds.push(
        (await bayes.restore(next.folder)).kind,
        (await bayes.rollback()).kind,
        (await bayes.rollback()).kind,
      );
    }
    under = false;
    await Promise.all(askers);
    assert.deepEqual(new Set(kinds), new Set(['restored', 'rolledBack']));
    const answers = heard.flat();
    assert.deepEqual(
      [...new Set(answers.map((name) => name.slice(0, 7)))].toSorted(),
      ['BAYES_0', 'BAYES_9'],
      answers.join(' '),
    );
    assert.match(await ask(), /^BAYES_9/, 'the last one was spam again');
    t.diagnostic(`12 switches, ${answers.length} scans`);
  });
}

const spoilers: readonly (readonly [string, string, (folder: string) => void])[] = [
  ['cut', 'bundle', (folder) => truncateSync(join(folder, dumpName), 100)],
  ['garbled', 'bundle', garble],
  ['too large', 'bundle', () => undefined],
  ['manifest missing', 'bundle', (folder) => writeFileSync(join(folder, manifestName), '')],
  ['a name that leads elsewhere', 'bundle', (folder) => edit(folder, /bayes\.gz/, '../bayes.gz')],
  ['counts of another dump', 'count', (folder) => edit(folder, /"nspam": 300/, '"nspam": 301')],
  ['tokens of another dump', 'count', (folder) => edit(folder, /"digest": "..../, '"digest": "0000')],
  ['larger than it says', 'load', (folder) => edit(folder, /"dumpBytes": \d+/, '"dumpBytes": 10')],
  ['unknown version', 'bundle', (folder) => edit(folder, /"dbVersion": 3/, '"dbVersion": 9')],
];

function garble(folder: string): void {
  const bytes = readFileSync(join(folder, dumpName));
  bytes.writeUInt8(bytes.readUInt8(50) ^ 1, 50);
  writeFileSync(join(folder, dumpName), bytes);
}

function edit(folder: string, what: RegExp, by: string): void {
  const file = join(folder, manifestName);
  writeFileSync(file, readFileSync(file, 'utf8').replace(what, by));
}

async function restored(site: Site, folder: string): Promise<Restored> {
  const outcome = await bayesOf(site).restore(folder);
  assert.ok(outcome.kind === 'restored', JSON.stringify(outcome));
  return outcome;
}
