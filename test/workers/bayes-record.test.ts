/** bayes-record — the last run with each node, whole or as it was before. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { keepRecord, readRecords } from '../../workers/bayes-record.ts';
import type { NodeOutcome } from '../../workers/bayes-sync.ts';
import { temporaryFolder } from '../folder.ts';

const counts = { nspam: 1, nham: 2, tokens: 3 };
const done: NodeOutcome = {
  kind: 'done',
  warnings: ['w'],
  snapshot: { snapshotId: 5, takenAt: 6 },
  here: counts,
  there: counts,
  parity: { messages: 2, probabilityDiffers: 0, scoreDiffers: 0, flips: 0, worst: 0, notScored: 0 },
};
const failed: NodeOutcome = { kind: 'failed', step: 'connect', message: 'Cannot', remedy: 'do' };

test('keepRecord() keeps the last good run and its parity over runs that fail', async (t) => {
  const folder = temporary(t);
  const keep = (outcome: NodeOutcome, now: number) =>
    keepRecord(folder, 'root@mx2', outcome, { begun: now - 2000, now: () => now, onStep: () => undefined });
  const first = await keep(done, 10_000);
  assert.deepEqual([first.outcome, first.seconds, first.step], ['done', 2, null]);
  const second = await keep(failed, 20_000);
  assert.deepEqual(
    [second.outcome, second.at, second.step, second.remedy],
    ['failed', 20_000, 'connect', 'do'],
  );
  assert.deepEqual(second.lastGood, first.lastGood);
  assert.deepEqual(second.parity, first.parity);
  assert.deepEqual(await readRecords(folder), [second]);
  const third = await keep({ ...done, kind: 'already', parity: null }, 30_000);
  assert.deepEqual([third.outcome, third.parity], ['already', first.parity]);
});

test('writeRecord() gives every name a file of its own inside the folder', async (t) => {
  const folder = temporary(t);
  const names = ['root@[::1]:2222', '../../etc/passwd', '..', 'a/b', 'a%2Fb', '\u0000'];
  for (const name of names)
    await keepRecord(folder, name, failed, { begun: 0, now: () => 1, onStep: () => undefined });
  const records = await readRecords(folder);
  assert.deepEqual(new Set(records.map(({ node }) => node)), new Set(names));
  assert.equal(readdirSync(join(folder, 'record')).length, names.length);
});

test('readRecords() takes a record that is none for missing, and knows no folder yet', async (t) => {
  const folder = temporary(t);
  assert.deepEqual(await readRecords(folder), []);
  await keepRecord(folder, 'a', failed, { begun: 0, now: () => 1, onStep: () => undefined });
  writeFileSync(join(folder, 'record', 'b.json'), '{ "node": ');
  writeFileSync(join(folder, 'record', 'c.json'), '{ "node": "c" }');
  assert.deepEqual(
    (await readRecords(folder)).map(({ node }) => node),
    ['a'],
  );
});

test('keepRecord() says in the record that it could not be written', async (t) => {
  const folder = temporary(t);
  writeFileSync(join(folder, 'record'), 'a file in its place');
  const record = await keepRecord(folder, 'a', done, { begun: 0, now: () => 1, onStep: () => undefined });
  assert.equal(record.outcome, 'done');
  assert.match(record.warnings.at(-1) ?? '', /not written down/);
});

test('keepRecord() of several nodes at once loses none, and sweeps what a killed run left', async (t) => {
  const folder = temporary(t);
  mkdirSync(join(folder, 'record'));
  for (const name of ['.draft-left', '.draft-young']) writeFileSync(join(folder, 'record', name), '{');
  utimesSync(join(folder, 'record', '.draft-left'), 1, 1);
  const nodes = Array.from({ length: 20 }, (_, at) => `mx${at}`);
  const records = await Promise.all(
    nodes.map((node) =>
      keepRecord(folder, node, failed, { begun: 0, now: () => 1, onStep: () => undefined }),
    ),
  );
  assert.deepEqual(
    records.flatMap(({ warnings }) => warnings),
    [],
  );
  assert.equal((await readRecords(folder)).length, nodes.length);
  assert.deepEqual(
    readdirSync(join(folder, 'record')).filter((name) => name.startsWith('.')),
    ['.draft-young'],
  );
});

test('keepRecord() that can not write knows the last good run all the same', async (t) => {
  const folder = temporary(t);
  const keep = (outcome: NodeOutcome, onStep = () => undefined as void) =>
    keepRecord(folder, 'a', outcome, { begun: 0, now: () => 1, onStep });
  const first = await keep(done);
  const second = await keep(failed, () => {
    throw new Error('no room');
  });
  assert.match(second.warnings.at(-1) ?? '', /no room/);
  assert.deepEqual(second.lastGood, first.lastGood);
});

function temporary(t: TestContext): string {
  const folder = temporaryFolder(t);
  return folder;
}
