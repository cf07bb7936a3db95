/**
 * site — which files are read, how their problems are told, and that a bad reload changes nothing.
 */
import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { policyFor } from '../../rules/decide.ts';
import type { Log } from '../../workers/log.ts';
import { ConfigurationError, readSite, type Site, watchPolicies } from '../../workers/site.ts';
import { temporaryFolder } from '../folder.ts';

/** Writes the files and gives the path of sluice.yaml. */
function siteOf(t: TestContext, files: Record<string, string>): string {
  const folder = temporaryFolder(t);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return join(folder, 'sluice.yaml');
}

function problemsOf(read: () => unknown): string[] {
  try {
    read();
  } catch (cause) {
    assert.ok(cause instanceof ConfigurationError, String(cause));
    assert.equal(cause.problems.length, cause.message.split('\n').length);
    return cause.message.split('\n');
  }
  throw new Error('no problem at all');
}

/** An event that does not come fails a test, in place of waiting for ever. */
const soon = { timeout: 60_000 };

const spamAt = ({ policies }: Pick<Site, 'policies'>) =>
  policyFor('a@b.test', policies)['thresholds.spam'].value;

test('readSite() takes --config before SLUICE_CONFIG, and policies.yaml beside it where there is one', (t) => {
  const flag = siteOf(t, { 'sluice.yaml': 'state: one\n' });
  const variable = siteOf(t, {
    'sluice.yaml': 'state: two\n',
    'policies.yaml': 'default: { thresholds: { spam: 7 } }',
  });
  const byFlag = readSite(flag, { SLUICE_CONFIG: variable });
  assert.deepEqual([byFlag.configFile, spamAt(byFlag)], [flag, 6.5]);
  const byVariable = readSite(undefined, { SLUICE_CONFIG: variable });
  assert.deepEqual([byVariable.configFile, spamAt(byVariable)], [variable, 7]);
});

test('readSite() names every problem of sluice.yaml and of the environment at once', (t) => {
  const file = siteOf(t, { 'sluice.yaml': 'rol: primary\nmode: watch\nreinject: nowhere\n' });
  const problems = problemsOf(() => readSite(file, { SLUICE_LIMITS_INFLIGHT: '0' }));
  assert.equal(problems.length, 4, problems.join('\n'));
  for (const [at, pattern] of [/:1:1: rol: /, /:2:7: mode: found "watch"/, /:3:11: reinject: /].entries())
    assert.match(problems.find((line) => pattern.test(line)) ?? problems.join('\n'), pattern, String(at));
  assert.ok(problems.some((line) => line.startsWith('environment: SLUICE_LIMITS_INFLIGHT: ')));
});

test('readSite() names every problem of policies.yaml at once', (t) => {
  const file = siteOf(t, {
    'sluice.yaml': '',
    'policies.yaml':
      'default:\n  thresholds: { spam: many }\n  virus: deliver\nrecipients:\n  not an address: {}\n',
  });
  const problems = problemsOf(() => readSite(file, {}));
  assert.deepEqual(
    problems.map((line) => /policies\.yaml:(\d+):/.exec(line)?.[1]),
    ['2', '3', '5'],
    problems.join('\n'),
  );
});

test('readSite() refuses a named file that is missing or can not be read, and says what to do', (t) => {
  const folder = temporaryFolder(t);
  const named = siteOf(t, { 'sluice.yaml': 'policies: other.yaml\n' });
  mkdirSync(join(folder, 'folder.yaml'));
  for (const [label, read, pattern] of [
    [
      '--config',
      () => readSite(join(folder, 'none.yaml'), {}),
      /none\.yaml: no such file: name another with --config/,
    ],
    [
      'SLUICE_CONFIG',
      () => readSite(undefined, { SLUICE_CONFIG: join(folder, 'no.yaml') }),
      /no\.yaml: no such file/,
    ],
    [
      'policies',
      () => readSite(named, {}),
      /other\.yaml: no such file: create it, or name another under policies/,
    ],
    ['a folder', () => readSite(join(folder, 'folder.yaml'), {}), /folder\.yaml: cannot be read: EISDIR/],
  ] as const) {
    const problems = problemsOf(read);
    assert.equal(problems.length, 1, label);
    assert.match(problems[0] ?? '', pattern, label);
  }
});

test(
  'watchPolicies() takes over a replaced or new file; keeps the old policies where it is bad or gone',
  soon,
  async (t) => {
    const config = siteOf(t, { 'sluice.yaml': '' });
    const file = join(config, '..', 'policies.yaml');
    const { log, next } = awaitingLog();
    const watched = watchPolicies(readSite(config, {}), log, 20);
    t.after(watched.close);
    const inForce = () => spamAt({ policies: watched.current() });
    assert.equal(inForce(), 6.5);
    for (const [label, change, level, spam] of [
      ['new', () => replace(file, textFor(7)), 'info', 7],
      ['bad', () => replace(file, 'default: ['), 'error', 7],

      ['replaced by rename', () => replace(file, textFor(8)), 'info', 8],
      ['gone', () => rmSync(file), 'error', 8],
      ['back', () => replace(file, textFor(9)), 'info', 9],
    ] as const) {
      change();
      assert.equal(await next(), level, label);
      assert.equal(inForce(), spam, label);
    }
  },
);

test('watchPolicies() reloads when told to, and without a file of its own does no harm', soon, async (t) => {
  const config = siteOf(t, { 'sluice.yaml': 'policies: null\n' });
  const { log, next } = awaitingLog();
  const watched = watchPolicies(readSite(config, {}), log);
  t.after(watched.close);
  const before = watched.current();
  watched.reload();
  assert.equal(await next(), 'info');
  assert.deepEqual(watched.current(), before);
});

function textFor(spam: number): string {
  return `default: { thresholds: { spam: ${spam} } }\n`;
}

function replace(file: string, text: string): void {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

/** A log whose levels can be awaited one by one. */
function awaitingLog(): { log: Log; next: () => Promise<string> } {
  const levels: string[] = [];
  let wake = (): void => undefined;
  const write = (level: string) => () => {
    levels.push(level);
    wake();
  };
  const log = { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
  const next = async (): Promise<string> => {
    while (levels.length === 0) await new Promise<void>((resolve) => (wake = resolve));
    return levels.shift() ?? '';
  };
  return { log, next };
}
