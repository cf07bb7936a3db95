/**
 * rooms — reads every import line and fails on an arrow that points up, or on a library outside its owner.
 *
 * The rooms are a chain: review → filter → workers → rules → nothing (DESIGN.md, sentence 3). One foreign library has
 * one owner (sentence 4). `rules` is pure: no node:*, no process, no clock. A cycle of imports fails as well.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { test } from 'node:test';

const top = normalize(join(import.meta.dirname, '..'));
const rooms = ['rules', 'workers', 'filter', 'review'] as const;

/** Foreign library (or node module of note) → the only files that may import it. */
const owners: Record<string, readonly string[]> = {
  yaml: ['rules/document.ts'],
  pino: ['workers/log.ts'],
  'prom-client': ['workers/metrics.ts'],
  'node:sqlite': ['filter/store-thread.ts'],
  ioredis: ['workers/redis.ts'],
  bullmq: ['workers/bull.ts'],
  nodemailer: ['workers/notice.ts'],
  // zod may be named in the few files that check outside data.
  zod: [
    'filter/quarantine-record.ts',
    'review/bayes-mail-answers.ts',
    'workers/bayes-frame.ts',
    'workers/bayes-hello.ts',
    'workers/bayes-manifest.ts',
    'workers/bayes-mark.ts',
    'workers/bayes-told.ts',
    'workers/bayes-record.ts',
    'workers/bayes-scores.ts',
    'workers/bayes-wire.ts',
    'workers/queue.ts',
    'workers/job.ts',
    'workers/postfix-queue.ts',
    'workers/presence.ts',
  ],
};

type Import = {
  readonly file: string;
  readonly specifier: string;
  readonly typeOnly: boolean;
  /** Only loaded where the line is reached: `import('…')`. */
  readonly dynamic: boolean;
};

test('every import points down the chain of rooms', () => {
  const wrong = allImports().filter(({ file, specifier }) => {
    if (!specifier.startsWith('.')) return false;
    const from = roomOf(file);
    const target = targetOf(file, specifier);
    const to = roomOf(target);
    if (to === -1) return from !== -1; // a room never imports from demo/ or test/
    return from !== -1 && to > from;
  });
  assert.deepEqual(wrong, []);
});

test('every foreign library is imported by its owner alone', () => {
  const wrong = allImports().filter(({ file, specifier }) => {
    if (specifier.startsWith('.') || roomOf(file) === -1) return false;
    if (specifier.startsWith('node:') && specifier !== 'node:sqlite') return false;
    return !(owners[specifier] ?? []).includes(file);
  });
  assert.deepEqual(wrong, []);
});

test('every run-time dependency has an owner that imports it', () => {
  const dependencies = JSON.parse(readFileSync(join(top, 'package.json'), 'utf8')).dependencies as object;
  const imports = allImports();
  for (const name of Object.keys(dependencies)) {
    const users = imports.filter(({ specifier }) => specifier === name).map(({ file }) => file);
    assert.ok(owners[name] !== undefined, `${name} has no owner in test/rooms.test.ts`);
    assert.ok(users.length > 0, `nobody imports ${name}: take it out of package.json`);
  }
});

test('rules is pure: no node modules, process, clock, chance, console or Buffer', () => {
  const impure =
    /'node:|\bprocess\.|\bDate\.now\b|\bnew Date\(\)|\bMath\.random\b|\bconsole\.|\bBuffer\b|\bsetTimeout\b|\bfetch\(/;
  for (const file of sources('rules/**/*.ts')) {
    for (const [at, line] of withoutComments(readFileSync(join(top, file), 'utf8'))
      .split('\n')
      .entries()) {
      assert.doesNotMatch(line, impure, `${file}:${at + 1} is not pure`);
    }
  }
});

test('decide.ts can be imported by a browser: everything it reaches at run time is in rules and no library', () => {
  const imports = allImports().filter(({ typeOnly }) => !typeOnly);
  const reached = new Set<string>();
  const waiting = ['rules/decide.ts'];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (reached.has(file)) continue;
    reached.add(file);
    for (const { specifier } of imports.filter((line) => line.file === file)) {
      assert.ok(specifier.startsWith('.'), `${file} imports ${specifier}`);
      waiting.push(targetOf(file, specifier));
    }
  }
  assert.ok(
    [...reached].every((file) => file.startsWith('rules/')),
    [...reached].join(' '),
  );
});

test('a site without Redis loads neither ioredis nor bullmq', () => {
  const reached = loadedAtStart();
  for (const library of ['ioredis', 'bullmq']) assert.equal(reached.get(library), undefined);
  assert.ok(reached.has('workers/queue.ts'), [...reached.keys()].join(' '));
});

test('nobody but the Bayes part and its commands loads them, or nodemailer', () => {
  const reached = loadedAtStart();
  for (const one of ['nodemailer', 'workers/bayes.ts', 'workers/bayes-part.ts', 'review/bayes-verbs.ts'])
    assert.equal(reached.get(one), undefined);
});

/** Files and libraries that every start loads, each with a file that loads it. */
function loadedAtStart(): ReadonlyMap<string, string> {
  const imports = allImports().filter(({ typeOnly, dynamic }) => !typeOnly && !dynamic);
  const roots = ['review/cli.ts', 'filter/main.ts', 'workers/main.ts'];
  const reached = new Map(roots.map((file) => [file, 'the start']));
  // A Map goes on with what is added on the way.
  for (const [file] of reached)
    for (const { specifier } of imports.filter((line) => line.file === file)) {
      const target = specifier.startsWith('.') ? targetOf(file, specifier) : specifier;
      if (!reached.has(target)) reached.set(target, file);
    }
  return reached;
}

test('main.ts files stay short', () => {
  for (const file of sources('{rules,workers,filter,review}/main.ts')) {
    const lines = readFileSync(join(top, file), 'utf8').split('\n').length;
    assert.ok(lines <= 81, `${file} has ${lines} lines`);
  }
});

test('every source file opens with a header comment', () => {
  for (const file of sources('{rules,workers,filter,review,demo}/**/*.ts')) {
    assert.match(readFileSync(join(top, file), 'utf8'), /^\/\*\*\n \* \S/, file);
  }
});

function sources(pattern: string): string[] {
  return globSync(pattern, { cwd: top }).toSorted();
}

function roomOf(file: string): number {
  return rooms.findIndex((room) => file.startsWith(`${room}/`));
}

function targetOf(file: string, specifier: string): string {
  return relative(top, join(top, dirname(file), specifier));
}

function allImports(): Import[] {
  return sources('{rules,workers,filter,review,demo}/**/*.{ts,tsx}').flatMap((file) => {
    const text = withoutComments(readFileSync(join(top, file), 'utf8'));
    const statement = /^\s*(?:import|export)\s+(type\s)?(?:[^'";]*?\sfrom\s+)?'([^']+)'/gm;
    const dynamic = /\bimport\(\s*'([^']+)'/g;
    return [
      ...[...text.matchAll(statement)].map((m) => ({
        file,
        specifier: m[2] ?? '',
        typeOnly: m[1] !== undefined,
        dynamic: false,
      })),
      ...[...text.matchAll(dynamic)].map((m) => ({
        file,
        specifier: m[1] ?? '',
        typeOnly: false,
        dynamic: true,
      })),
    ];
  });
}

function withoutComments(text: string): string {
  return text
    .replaceAll(/\/\*[\s\S]*?\*\//g, (comment) => comment.replaceAll(/[^\n]/g, ''))
    .replaceAll(/^\s*\/\/.*$/gm, '');
}
