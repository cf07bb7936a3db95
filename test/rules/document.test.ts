/**
 * document — where things stand in a YAML text, and which texts are refused.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatProblem, memberPath, parseDocument, type SourceNode } from '../../rules/document.ts';

/** A tree as plain data, to compare with. */
function plain(node: SourceNode): unknown {
  if (node.kind === 'scalar') return node.value;
  if (node.kind === 'list') return node.items.map(plain);
  return Object.fromEntries([...node.entries].map(([key, entry]) => [key, plain(entry.value)]));
}

function problemsOf(text: string): string[] {
  const { root, problems } = parseDocument(text, 'a.yaml');
  assert.equal(root === null, problems.length > 0);
  return problems.map(formatProblem);
}

test('parseDocument() gives values of the core schema', () => {
  const table: [text: string, value: unknown][] = [
    ['a: 1.5\nb: [x, "2", true, null]\nc: {d: }', { a: 1.5, b: ['x', '2', true, null], c: { d: null } }],
    ['yes: no\n0x10: 0x10\nnull: ~\n1: 1', { yes: 'no', '0x10': 16, null: null, 1: 1 }],
    ['a: &x [1]\nb: *x', { a: [1], b: [1] }],
    ['.example.com: 1\nsales@example.com: 2', { '.example.com': 1, 'sales@example.com': 2 }],
    ['a: |\n  one\n  two\n', { a: 'one\ntwo\n' }],
    ['\ufeffa: 1\r\nb: 2\r\n', { a: 1, b: 2 }],
  ];
  for (const [text, value] of table) {
    const { root, problems } = parseDocument(text, 'a.yaml');
    assert.deepEqual(problems, [], text);
    assert.ok(root !== null);
    assert.deepEqual(plain(root), value, text);
  }
});

test('parseDocument() knows where keys and values stand', () => {
  const { root } = parseDocument('a:\n  b: { c: 1 }\n  "d e":\n    - x\n    - y\n', 'a.yaml');
  assert.ok(root?.kind === 'map');
  const a = root.entries.get('a')?.value;
  assert.ok(a?.kind === 'map');
  const c = a.entries.get('b')?.value;
  assert.ok(c?.kind === 'map');
  const found = c.entries.get('c');
  assert.deepEqual([found?.key.line, found?.key.column], [2, 8]);
  assert.deepEqual([found?.value.line, found?.value.column, found?.value.path], [2, 11, 'a.b.c']);
  const list = a.entries.get('d e')?.value;
  assert.ok(list?.kind === 'list');
  assert.deepEqual([list.items[1]?.line, list.items[1]?.column, list.items[1]?.path], [5, 7, 'a."d e"[1]']);
});

test('parseDocument() tells an empty value from an explicit null', () => {
  const { root } = parseDocument('a:\nb: null\nc: ~', 'a.yaml');
  assert.ok(root?.kind === 'map');
  const empty = [...root.entries.values()].map(({ value }) => value.kind === 'scalar' && value.empty);
  assert.deepEqual(empty, [true, false, false]);
  for (const text of ['', '# only a comment\n', '---\n']) {
    const nothing = parseDocument(text, 'a.yaml');
    assert.deepEqual([nothing.root?.kind, nothing.problems], ['scalar', []], JSON.stringify(text));
  }
});

test('parseDocument() refuses with line, column and remedy', () => {
  const table: [text: string, problem: RegExp][] = [
    ['a: 1\nb: 2\na: 3', /^a\.yaml:3:1: a: stands twice, first in line 1: remove one/],
    ['a: { b: 1, b: 2 }', /^a\.yaml:1:12: a\.b: stands twice/],
    ['a: 1\n__proto__: { x: 1 }', /^a\.yaml:2:1: __proto__: the key __proto__ is not allowed: remove it/],
    ['a: { constructor: 1 }', /^a\.yaml:1:6: a\.constructor: the key constructor is not allowed/],
    ['a:\n\tb: 1', /^a\.yaml:2:1: Tabs .*: indent with spaces/],
    ['a: @x', /^a\.yaml:1:4: .*: put the value in quotes/],
    ['"@x": 1\n@y: 2', /^a\.yaml:2:1: .*: put the value in quotes/],
    ['a: *x', /^a\.yaml:1:4: a: unknown alias \*x: put the value in quotes/],
    ['*.example.com: 1', /^a\.yaml:1:\d+: .*quot/],
    ['a: [::1]:10024', /^a\.yaml:1:9: .*: put the value in quotes if it is meant to begin with \[/],
    ['a: !foo 1', /^a\.yaml:1:4: .*: remove the tag/],
    ['a: !!binary aGk=', /^a\.yaml:1:4: .*: remove the tag/],
    ['a: "x', /^a\.yaml:1:\d: .*: add what is missing/],
    ['a: b: c', /^a\.yaml:1:4: .*: check the indentation/],
    ['---\na: 1\n---\nb: 2', /^a\.yaml:3:1: .*: keep one document/],
    ['? [1, 2]\n: x', /^a\.yaml:1:3: a key must be a plain word/],
    ['&x a: *x', /^a\.yaml:1:7: a: unknown alias/],
    ['a: &x [1, *x]', /^a\.yaml:1:11: .*alias \*x contains itself/],
    ['a: &x { b: *x }', /^a\.yaml:1:12: .*alias \*x contains itself/],
  ];
  for (const [text, expected] of table) {
    const [problem, ...rest] = problemsOf(text);
    assert.match(problem ?? '(none)', expected, text);
    assert.deepEqual(rest, [], text);
  }
});

test('parseDocument() tells every problem, not the first only', () => {
  const problems = problemsOf('a: 1\na: 2\nb: { c: 1, c: 2 }\n__proto__: 1\nd: *nobody\n');
  assert.deepEqual(
    problems.map((problem) => problem.split(':')[1]),
    ['2', '3', '4', '5'],
  );
});

test('parseDocument() stops an alias bomb', () => {
  let bomb = 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n';
  for (let level = 1; level <= 30; level++) {
    bomb += `a${level}: &a${level} [${Array.from({ length: 10 }, () => `*a${level - 1}`).join(', ')}]\n`;
  }
  const problems = problemsOf(bomb);
  assert.equal(problems.length, 1);
  assert.match(
    problems[0] ?? '',
    /^a\.yaml:\d+:\d+: .*aliases expand to more than 10000 values: write them out$/,
  );
});

test('parseDocument() survives depth and length', () => {
  for (const depth of [50, 5_000, 200_000]) {
    assert.ok(problemsOf(`${'['.repeat(depth)}${']'.repeat(depth)}`).length > 0, `${depth} brackets`);
  }
  assert.match(problemsOf('#'.repeat(17 * 1024 * 1024))[0] ?? '', /longer than 16 MB/);
});

test('parseDocument() never throws, whatever the text', () => {
  const piece = fc.constantFrom(
    'a',
    ':',
    ' ',
    '\n',
    '-',
    '[',
    ']',
    '{',
    '}',
    '&a',
    '*a',
    '!x',
    '"',
    "'",
    '#',
    '%',
    '|',
    '?',
    '\t',
    '<<',
    '@',
    ',',
    '\0',
    '\ud800',
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(piece, fc.string()), { maxLength: 40 }), (pieces) => {
      const { root, problems } = parseDocument(pieces.join(''), 'a.yaml');
      assert.equal(root === null, problems.length > 0);
    }),
    { numRuns: 2000 },
  );
});

test('formatProblem() leaves out what is not known', () => {
  const place = { file: 'f', line: null, column: null, path: '' };
  assert.equal(formatProblem({ ...place, message: 'm' }), 'f: m');
  assert.equal(formatProblem({ ...place, path: 'SLUICE_X', message: 'm' }), 'f: SLUICE_X: m');
  assert.equal(formatProblem({ ...place, line: 3, column: 7, path: 'a.b', message: 'm' }), 'f:3:7: a.b: m');
});

test('memberPath() quotes what is no plain word', () => {
  assert.equal(memberPath('', 'a'), 'a');
  assert.equal(memberPath('a', 'example.com'), 'a."example.com"');
});
