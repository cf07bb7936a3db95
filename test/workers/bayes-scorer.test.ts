/**
 * bayes-scorer — scores by a real spamd of our own: the same as production's, nothing learned, nothing written, nothing left.
 */
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, watch, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { startSpamd } from '../../demo/spamd.ts';
import { openScorer, type Scorer } from '../../workers/bayes-scorer.ts';
import { BayesFail } from '../../workers/bayes-step.ts';
import { silentLog } from '../../workers/log.ts';
import { createSpamd } from '../../workers/spamd.ts';
import { given, letterOf, only, startSite, type Site, wordsOf } from './bayes-rig.ts';
import { startScript } from './script-child.ts';

const never = new AbortController().signal;
const spam = letterOf(wordsOf('spam'));
const ham = letterOf(wordsOf('spam', 3, 'unknown'));
/** What SpamAssassin puts into temporary files. */
const attached = Buffer.from(
  [
    'From: a@a.example',
    'Subject: x',
    'MIME-Version: 1.0',
    'Content-Type: multipart/mixed; boundary=b',
    '',
    '--b',
    'Content-Type: application/octet-stream',
    '',
    'a secret part of a message',
    '--b--',
    '',
  ].join('\r\n'),
);

test("score() is production's score, with the probability that Bayes has, or none", async (t) => {
  const site = await startSite(t, 'files');
  await given(t, site, wordsOf('spam'));
  const folder = join(site.folder, 'spamd');
  mkdirSync(folder);
  const daemon = await startSpamd({ folder, extraRules: site.lines });
  t.after(() => daemon.stop());
  const client = createSpamd({
    addresses: [daemon.tcp],
    user: null,
    spamBytes: 500_000,
    concurrency: 1,
    timeoutMs: 60_000,
    log: silentLog,
  });
  const scorer = await openScorer(site.view, never);
  t.after(() => scorer.close());
  for (const [id, bytes, probability] of [
    ['spam', spam, 1],
    ['ham', ham, null],
  ] as const) {
    const wanted = await client.scan(
      { sizeBytes: bytes.length, read: () => only(bytes) },
      { sender: '' },
      never,
    );
    assert.ok(wanted.kind === 'scored', JSON.stringify(wanted));
    const rules = wanted.tests.map(({ name }) => name);
    const score = await scorer.score({ id, sender: '', bytes });
    assert.ok(score.kind === 'scored', JSON.stringify(score));
    assert.deepEqual([score.id, score.score, score.rules], [id, wanted.score, rules]);
    assert.equal(score.probability === null ? null : Math.round(score.probability), probability);
  }
  client.close();
  const start = Math.round(scorer.startMs);
  const begun = performance.now();
  for (let at = 0; at < 20; at++) await scorer.score({ id: String(at), sender: '', bytes: spam });
  t.diagnostic(`started in ${start} ms, ${(20_000 / (performance.now() - begun)).toFixed(1)} messages/s`);
});

test('score() writes nothing beside or into the database, learns nothing, whatever the site has switched on', async (t) => {
  const site = await startSite(t, 'files');
  await given(t, site, wordsOf('spam'));
  const eager = [
    'bayes_auto_learn 1',
    'bayes_auto_learn_threshold_spam 6.0',
    'bayes_learn_to_journal 1',
    'bayes_journal_max_size 1',
    'loadplugin Mail::SpamAssassin::Plugin::TxRep',
    'use_txrep 1',
    'score MISSING_DATE 30',
  ];
  writeFileSync(join(site.view.siteFolder ?? '', 'zz.cf'), `${eager.join('\n')}\n`);
  const before = filesIn(join(site.folder, 'bayes'));
  const scorer = await openScorer(site.view, never);
  for (let at = 0; at < 5; at++) await scored(scorer, spam);
  await scorer.close();
  assert.deepEqual(filesIn(join(site.folder, 'bayes')), before);
  assert.deepEqual(readdirSync(site.folder).toSorted(), ['bayes', 'site', 'state']);
});

test('score() follows the switch of the live database', async (t) => {
  const site = await startSite(t, 'files');
  await given(t, site, wordsOf('spam'));
  const scorer = await openScorer(site.view, never);
  t.after(() => scorer.close());
  const before = await scored(scorer, spam);
  await given(t, site, Object.fromEntries(Object.keys(wordsOf('spam')).map((word) => [word, [0, 250]])));
  const after = await scored(scorer, spam);
  assert.ok(
    (before.probability ?? 0) > 0.9 && (after.probability ?? 1) < 0.1,
    JSON.stringify([before, after]),
  );
});

test('score() keeps every octet of a message off the disk', async (t) => {
  const site = await startSite(t, 'files');
  await given(t, site, wordsOf('spam'));
  const seen: string[] = [];
  const scorer = await openScorer(site.view, never);
  t.after(() => scorer.close());
  const folder = folderOf(site);
  const watchers = [folder, tmpdir(), '/var/tmp', site.folder].map((place) =>
    watch(place, (_, name) => void seen.push(join(place, name ?? ''))),
  );
  t.after(() => watchers.forEach((one) => one.close()));
  await scored(scorer, attached);
  // Events come in order: once this one is here, those of before are.
  const last = join(site.folder, 'last');
  writeFileSync(last, '');
  while (!seen.includes(last)) await new Promise((done) => setImmediate(done));
  const temporary = seen.filter((path) => /spamassassin/.test(path));
  assert.ok(temporary.length > 0, 'SpamAssassin wrote no temporary file: this test proves nothing');
  assert.deepEqual(
    temporary.filter((path) => !path.startsWith(`${folder}/`)),
    [],
  );
  assert.equal(statSync(folder).mode & 0o777, 0o700);
});

test('close() leaves no process and no file, and further messages are unscored', async (t) => {
  const site = await startSite(t, 'files');
  const scorer = await openScorer(site.view, never);
  t.after(() => scorer.close());
  await scored(scorer, ham);
  const folder = folderOf(site);
  assert.ok(processesOf(folder).length >= 4, 'spamd, its child, two that wait');
  await scorer.close();
  await scorer.close();
  assert.equal(existsSync(folder), false);
  await gone(folder);
  const late = await scorer.score({ id: 'late', sender: '', bytes: ham });
  assert.ok(late.kind === 'unscored' && /no such socket/.test(late.reason), JSON.stringify(late));
});

test('a run that is ended, or killed by kill -9, takes its spamd along', async (t) => {
  const site = await startSite(t, 'files');
  const ending = new AbortController();
  const scorer = await openScorer(site.view, ending.signal);
  t.after(() => scorer.close());
  await scored(scorer, ham);
  const first = folderOf(site);
  assert.ok(processesOf(first).length >= 4);
  ending.abort();
  await scorer.close();
  assert.equal(existsSync(first), false);
  await gone(first);
  const module = JSON.stringify(join(import.meta.dirname, '../../workers/bayes-scorer.ts'));
  const child = await startScript(
    t,
    `import { openScorer } from ${module};
     await openScorer(${JSON.stringify(site.view)}, new AbortController().signal);
     setInterval(() => undefined, 1000);
     say('up');`,
  );
  const folder = folderOf(site);
  assert.ok(processesOf(folder).length >= 3);
  child.process.kill('SIGKILL');
  await child.ended;
  await gone(folder);
});

test('openScorer() says why nothing can be scored', async (t) => {
  const site = await startSite(t, 'files');
  const aborted = AbortSignal.abort();
  await assert.rejects(openScorer(site.view, aborted), (cause) => {
    assert.ok(cause instanceof BayesFail);
    assert.deepEqual([cause.kind, cause.step], ['failed', 'parity']);
    return /the run was ended/.test(cause.message);
  });
  // A user who may not read the configuration.
  const siteFolder = join(site.folder, 'closed');
  mkdirSync(siteFolder, { mode: 0o700 });
  writeFileSync(join(siteFolder, 'local.cf'), '', { mode: 0o600 });
  await assert.rejects(openScorer({ ...site.view, siteFolder }, never), /it ended with 255: .*plugin/);
  assert.throws(() => folderOf(site));
});

async function scored(scorer: Scorer, bytes: Buffer) {
  const score = await scorer.score({ id: 'x', sender: 'a@a.example', bytes });
  assert.ok(score.kind === 'scored', JSON.stringify(score));
  return score;
}

/** Every file below: name, digest, time of its last change. */
function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .toSorted()
    .map((name) => {
      const found = statSync(join(folder, name));
      const digest = found.isFile() ? hash('sha256', readFileSync(join(folder, name))) : '';
      return `${name} ${digest} ${found.mtimeMs}`;
    });
}

/** Where the spamd of this site's scorer has its socket. */
function folderOf({ view }: Site): string {
  const own = `--siteconfigpath=${view.siteFolder}`;
  for (const pid of pids()) {
    const words = textOf(`/proc/${pid}/cmdline`).split('\0');
    const socket = words.find((word) => word.startsWith('--socketpath='));
    if (words.includes(own) && socket !== undefined) return dirname(socket.slice('--socketpath='.length));
  }
  throw new Error('There is no such process');
}

/** A process that was killed lets go of its files a moment before it is a zombie. */
async function gone(folder: string): Promise<void> {
  while (existsSync(folder) || processesOf(folder).length > 0)
    await new Promise((done) => setImmediate(done));
}

/** spamd, its children (which overwrite their environment), and the shell that waits in a session of its own. */
function processesOf(folder: string): number[] {
  const isNamed = (pid: number) => textOf(`/proc/${pid}/environ`).split('\0').includes(`TMPDIR=${folder}`);
  const groups = groupsOf.get(folder) ?? new Set<number>();
  groupsOf.set(folder, groups);
  const all = pids().map((pid) => ({ pid, group: groupOf(pid), named: isNamed(pid) }));
  for (const { group, named } of all) if (named && group > 0) groups.add(group);
  return all.filter(({ group, named }) => named || groups.has(group)).map(({ pid }) => pid);
}

/** Process groups that were seen with a folder: a child may outlive all that is named. */
const groupsOf = new Map<string, Set<number>>();

/** Fields 3 and 5 of proc_pid_stat(5); −1 where it is gone, or a zombie that its parent has not looked at yet. */
function groupOf(pid: number): number {
  const stat = textOf(`/proc/${pid}/stat`);
  const [state = 'X', , group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return state === 'Z' || state === 'X' || state === '' ? -1 : Number(group);
}

function pids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // gone meanwhile
  }
}
