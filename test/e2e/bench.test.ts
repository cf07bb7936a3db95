/**
 * bench — the bench itself runs: every kind of case once, without the peers.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { percentile, ratioOf, spreadOf } from '../bench/figures.ts';
import { top } from './site.ts';

test('percentile() takes the nearest rank', () => {
  const hundred = Array.from({ length: 100 }, (_, at) => 100 - at);
  assert.deepEqual(
    [50, 95, 99, 100].map((percent) => percentile(hundred, percent)),
    [50, 95, 99, 100],
  );
  assert.equal(percentile([7], 99), 7);
  assert.ok(Number.isNaN(percentile([], 50)));
});

test('ratioOf() compares round by round', () => {
  // A machine half as fast in the second round: the ratio is that of every round.
  assert.deepEqual(ratioOf([30, 15, 30], [10, 5, 10]), { median: 3, low: 3, high: 3 });
  assert.deepEqual(spreadOf([4, 1, 2, 3]), { median: 2.5, low: 1, high: 4 });
});

test('bench --smoke measures Sluice and the bare scanners', () => {
  const script = join(top, 'test', 'bench', 'main.ts');
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, '--smoke'], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^\| Sluice \| \d+\.\d \| \d/m);
  assert.match(stdout, /^\| bare spamd \| \d+\.\d \| \d/m);
});

test('bench names its cases to whoever asks for one that is not there', () => {
  const script = join(top, 'test', 'bench', 'main.ts');
  const { status, stderr } = spawnSync(process.execPath, [script, '--case', 'none'], { encoding: 'utf8' });
  assert.equal(status, 64);
  assert.match(stderr, /no case none; there are: both-5k, /);
});

test('bench:search fills both databases as they are and answers every question', () => {
  const script = join(top, 'test', 'bench', 'search.ts');
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, '300', '1000'], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^quarantine: 300 items/m);
  assert.match(stdout, /^history: 1000 messages/m);
});

test('bench:queue --short measures whole filters over Redis and in one process', () => {
  const script = join(top, 'test', 'bench', 'queue.ts');
  const run = (...words: string[]) => spawnSync(process.execPath, [script, ...words], { encoding: 'utf8' });
  const { status, stdout, stderr } = run('--short', '--part', 'filter');
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^\| messages\/s of 5 KB, filter \+ Redis \+ one worker \| ≥ 1200 \| \d+ \|/m);
  assert.match(stdout, /^\| over Redis \| \d+ \| \d+\.\d\d \|/m);
  const unknown = run('--part', 'none');
  assert.deepEqual(
    [unknown.status, unknown.stderr],
    [64, 'bench: no part none; there are: door, filter, scaling\n'],
  );
});
