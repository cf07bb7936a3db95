/**
 * bayes-part — what an administrator sees of `sluice run bayes`: runs at their time, errands, health, metrics, its end.
 */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { freePort } from '../../demo/daemon.ts';
import { openNights } from '../../filter/bayes-nights.ts';
import { parseConfig } from '../../rules/config.ts';
import { type BayesDuties, type BayesPart, openBayesPart } from '../../workers/bayes-part.ts';
import { type SyncRecord, writeRecord } from '../../workers/bayes-record.ts';
import { createNotice } from '../../workers/notice.ts';
import { listeningLog } from './redis-rig.ts';

const counts = { nspam: 800, nham: 810, tokens: 150_000 };

function recordOf(node: string, at: number, changes: Partial<SyncRecord> = {}): SyncRecord {
  const lastGood = { at, snapshotId: 1, takenAt: at, here: counts, there: { ...counts, tokens: 149_000 } };
  const parity = {
    messages: 200,
    probabilityDiffers: 2,
    scoreDiffers: 1,
    flips: 0,
    worst: 0.25,
    notScored: 3,
  };
  const run = { node, at, seconds: 12.5, outcome: 'done' as const, warnings: [], lastGood, parity };
  return { ...run, step: null, message: null, remedy: null, ...changes };
}

/** A part of a site; `duties` get the folder where records lie. */
async function startPart(t: TestContext, yaml: string, dutiesIn: (folder: string) => Partial<BayesDuties>) {
  const state = await mkdtemp(join(tmpdir(), 'sluice-part-'));
  const parts: BayesPart[] = [];
  t.after(async () => {
    for (const part of parts) await part.drain();
    await rm(state, { recursive: true, force: true });
  });
  const folder = join(state, 'bayes');
  mkdirSync(folder);
  const port = await freePort();
  const text = `state: ${state}\nhealth: { bayes: 127.0.0.1:${port} }\n${yaml}`;
  const { config, problems } = parseConfig({ file: 'sluice.yaml', text }, {});
  assert.ok(config !== null, JSON.stringify(problems));
  const { log, lines } = listeningLog();
  const start = async () => {
    const nights = await openNights({ file: join(folder, 'nights.db'), log });
    const duties = { runSync: null, runErrands: null, status: null, ...dutiesIn(folder) };
    const notice = createNotice({ address: config.reinject, hostname: 'mx1' });
    const part = await openBayesPart(config, {
      duties,
      nights,
      notice,
      log,
      pace: { everyMs: 5, settleMs: 0, busyMs: 0, lookEveryMs: 5 },
    });
    parts.push(part);
    return part;
  };
  const get = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`);
    return { code: response.status, text: await response.text() };
  };
  return { start, get, lines, folder };
}

async function eventually(isTrue: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await isTrue())) await new Promise((resolve) => setTimeout(resolve, 10));
}

const primary = 'bayes: { nodes: [mx2.example, mx3.example], sync: { at: "03:15", zone: UTC } }';
const nodes = ['root@mx2.example', 'root@mx3.example'];

test('openBayesPart() runs a night that was missed, once, and /metrics has all of it', async (t) => {
  let runs = 0;
  const site = await startPart(t, primary, (folder) => ({
    async runSync() {
      runs++;
      const [good, bad] = nodes.map((node) => recordOf(node, Date.now()));
      assert.ok(good !== undefined && bad !== undefined);
      const failed = {
        ...bad,
        outcome: 'failed' as const,
        step: 'connect' as const,
        message: 'Cannot reach it',
        remedy: 'start it',
        lastGood: null,
        parity: null,
      };
      for (const record of [good, failed]) await writeRecord(folder, record);
      return [good, failed];
    },
  }));
  const part = await site.start();
  await eventually(() => site.lines.some((line) => line.includes('Bayes night ends')));
  await eventually(() => part.watch.view().troubles.length > 0);
  const { text } = await site.get('/metrics');
  for (const line of [
    /^sluice_bayes_last_run_timestamp_seconds\{node="root@mx3\.example"\} 1\.?\d+/m,
    /^sluice_bayes_last_good_timestamp_seconds\{node="root@mx2\.example"\} 1\.?\d+/m,
    /^sluice_bayes_run_seconds\{node="root@mx2\.example"\} 12\.5$/m,
    /^sluice_bayes_last_outcome\{node="root@mx3\.example",outcome="failed"\} 1$/m,
    /^sluice_bayes_last_outcome\{node="root@mx2\.example",outcome="failed"\} 0$/m,
    /^sluice_bayes_snapshot_age_seconds\{node="root@mx2\.example"\} \d/m,
    /^sluice_bayes_messages\{node="root@mx2\.example",side="here",learned="spam"\} 800$/m,
    /^sluice_bayes_messages\{node="root@mx2\.example",side="there",learned="ham"\} 810$/m,
    /^sluice_bayes_tokens\{node="root@mx2\.example",side="there"\} 149000$/m,
    /^sluice_bayes_parity_messages\{node="root@mx2\.example",result="compared"\} 200$/m,
    /^sluice_bayes_parity_messages\{node="root@mx2\.example",result="flipped"\} 0$/m,
    /^sluice_bayes_parity_worst\{node="root@mx2\.example"\} 0\.25$/m,
    /^sluice_bayes_alarm\{node="root@mx3\.example",trouble="failed"\} 1$/m,
    /^sluice_bayes_alarm\{node="root@mx2\.example",trouble="failed"\} 0$/m,
    /^sluice_bayes_alarm\{node="root@mx3\.example",trouble="old"\} 0$/m,
    /^sluice_bayes_next_run_timestamp_seconds 1\.?\d+/m,
  ])
    assert.match(text, line);
  assert.doesNotMatch(text, /^sluice_bayes_last_good_timestamp_seconds\{node="root@mx3/m);
  const ready = await site.get('/readyz');
  assert.equal(ready.code, 200, ready.text);
  assert.match(
    ready.text,
    /"checks":\{"nights":"ok"\}.*"next":"\d{4}-\d\d-\d\dT03:(?:1[5-9]|2\d).*"troubles":\[\{"node":"root@mx3\.example","kind":"failed"/,
  );
  assert.equal(runs, 1);
  const failure = site.lines.find((line) => line.includes('Bayes sync failed')) ?? '';
  assert.match(
    failure,
    /"node":"root@mx3\.example","outcome":"failed".*"step":"connect","detail":"Cannot reach it","remedy":"start it","alarm":true/,
  );
});

test('openBayesPart() aborts a run when it is told to end, and begins it anew after the restart', async (t) => {
  let runs = 0;
  const { promise: running, resolve: begun } = Promise.withResolvers<void>();
  const site = await startPart(t, primary, (folder) => ({
    async runSync(signal) {
      runs++;
      begun();
      if (runs === 1) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      const records = nodes.map((node) =>
        recordOf(node, Date.now(), signal.aborted ? { outcome: 'failed' } : {}),
      );
      for (const record of records) await writeRecord(folder, record);
      return records;
    },
  }));
  const first = await site.start();
  await running;
  await first.drain();
  assert.ok(site.lines.some((line) => line.includes('"outcome":"stopped"')));
  await site.start();
  await eventually(() => site.lines.some((line) => line.includes('"outcome":"done","ms"')));
  assert.equal(runs, 2);
  // Being told to end is no trouble.
  assert.deepEqual(
    site.lines.filter((line) => line.includes('"alarm":true')),
    [],
  );
});

test('openBayesPart() goes back to a node that was busy, to no other one, before a night counts as served', async (t) => {
  const asked: (readonly string[] | null)[] = [];
  const site = await startPart(t, primary, () => ({
    async runSync(_, only) {
      asked.push(only);
      const busy = { outcome: 'refused' as const, step: 'lock' as const, lastGood: null };
      if (asked.length > 2) return [recordOf('root@mx3.example', Date.now())];
      return (only ?? nodes).map((node) => recordOf(node, Date.now(), node === nodes[1] ? busy : {}));
    },
  }));
  await site.start();
  await eventually(() => site.lines.some((line) => line.includes('"outcome":"done","ms"')));
  assert.deepEqual(asked, [null, [nodes[1]], [nodes[1]]]);
});

test('openBayesPart() has event, figures and alarm of a run that could not be written down', async (t) => {
  const site = await startPart(t, primary, () => ({
    runSync: async () =>
      nodes.map((node) => recordOf(node, Date.now(), { outcome: 'failed', step: 'keep', message: 'full' })),
  }));
  const part = await site.start();
  // Not before the night is marked as served: until then the run may have been cut short.
  await eventually(() => part.watch.view().troubles.length === nodes.length);
  assert.equal(site.lines.filter((line) => line.includes('Bayes sync failed')).length, nodes.length);
  const { text } = await site.get('/metrics');
  assert.match(text, /^sluice_bayes_last_outcome\{node="root@mx3\.example",outcome="failed"\} 1$/m);
});

test('openBayesPart() runs errands again and again, and tells an error once', async (t) => {
  let asked = 0;
  const site = await startPart(t, 'bayes: { nodes: [mx2.example] }', () => ({
    async runErrands() {
      asked++;
      if (asked < 5) throw new Error('mx2 is away');
    },
  }));
  const part = await site.start();
  await eventually(() => asked > 8);
  assert.equal(site.lines.filter((line) => line.includes('Cannot run the errands')).length, 1);
  // Without bayes.sync.at nothing runs by itself.
  assert.equal(part.schedule, null);
  assert.match((await site.get('/readyz')).text, /"next":null/);
});

test('openBayesPart() on a backup looks at what is in place, and says when it can not write down its nights', async (t) => {
  const site = await startPart(t, 'role: backup\nbayes: { alarm: { hours: 1 } }', () => ({
    status: async () => ({
      kind: 'failed',
      step: 'settings',
      message: 'Cannot run sa-learn',
      remedy: 'install it',
    }),
  }));
  await writeRecord(site.folder, recordOf('mx1.example', Date.now() - 2 * 3_600_000));
  await site.start();
  const { text } = await site.get('/metrics');
  assert.match(text, /^sluice_bayes_alarm\{node="mx1\.example",trouble="old"\} 1$/m);
  assert.match(text, /^sluice_bayes_snapshot_age_seconds\{node="mx1\.example"\} 7\d\d\d/m);
  assert.ok(site.lines.some((line) => line.startsWith('warn Cannot ask which Bayes database is in place')));
});
