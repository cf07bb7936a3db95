/**
 * document, the way out — what is changed in a YAML text, and that everything else stays.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  changeDocument,
  formatProblem,
  parseDocument,
  type Change,
  type Draft,
  type SourceNode,
} from '../../rules/document.ts';

function changed(text: string, ...changes: Change[]): string {
  const written = changeDocument({ file: 'a.yaml', text }, changes);
  assert.deepEqual(written.problems, []);
  assert.ok(written.text !== null);
  return written.text;
}

const scalar = (value: string | number | boolean | null, comment?: string): Draft => ({
  kind: 'scalar',
  value,
  ...(comment === undefined ? {} : { comment }),
});

/** A tree as plain data, members in order. */
function plain(node: SourceNode): unknown {
  if (node.kind === 'scalar') return node.value;
  if (node.kind === 'list') return node.items.map(plain);
  return [...node.entries].map(([key, entry]) => [key, plain(entry.value)]);
}

test('changeDocument() changes a value and keeps comments, order and spelling of everything else', () => {
  const text =
    '# site\n\ndefault:\n  # all\n  thresholds: { tag: 2.0, spam: 0x7 } # levels\n  # why\n  retentionDays: 30 # days\n\n# ours\nrecipients:\n  "@x": 1\n';
  const table: [label: string, change: Change, from: string, to: string][] = [
    [
      'a value keeps its comment',
      { path: ['default', 'retentionDays'], draft: scalar(14) },
      'retentionDays: 30 # days',
      'retentionDays: 14 # days',
    ],
    [
      'a value with a comment of its own',
      { path: ['default', 'retentionDays'], draft: scalar(14, 'new') },
      '30 # days',
      '14 # new',
    ],
    ['inside { }', { path: ['default', 'thresholds', 'tag'], draft: scalar(null) }, 'tag: 2.0', 'tag: null'],
    [
      'a new member',
      { path: ['recipients', '.b.example'], draft: scalar(2) },
      '"@x": 1\n',
      '"@x": 1\n  .b.example: 2\n',
    ],
    [
      'taken away',
      { path: ['default', 'thresholds', 'spam'], draft: null },
      'tag: 2.0, spam: 0x7',
      'tag: 2.0',
    ],
    ['nothing to take away', { path: ['other'], draft: null }, '', ''],
  ];
  for (const [label, change, from, to] of table)
    assert.equal(changed(text, change), text.replace(from, to), label);
});

test('changeDocument() makes sections that are not there, or empty', () => {
  const member: Change = { path: ['a', 'b'], draft: scalar(1) };
  assert.equal(changed('', member), 'a:\n  b: 1\n');
  assert.equal(changed('# only a comment\n', member), '# only a comment\n\na:\n  b: 1\n');
  assert.equal(changed('a:\nc: 2\n', member), 'a:\n  b: 1\nc: 2\n');
  assert.equal(changed('# nothing\n'), '# nothing\n');
  const all: Draft = {
    kind: 'map',
    entries: [
      ['x', { kind: 'list', items: [scalar('y', 'one')], comment: 'two\nlines' }],
      ['z', { kind: 'map', entries: [] }],
    ],
  };
  assert.equal(changed('old: 1\n', { path: [], draft: all }), 'x:\n  # two\n  # lines\n  - y # one\nz: {}\n');
});

test('changeDocument() gives problems for a text or a path that cannot be changed', () => {
  for (const [text, path, problem] of [
    ['a: [', ['a'], /a\.yaml:1:\d+: /],
    ['a: 1\na: 2', ['a'], /stands twice/],
    ['a: 1', ['a', 'b'], /a\.b: cannot be written: .*: make it a map/],
  ] as const) {
    const { text: written, problems } = changeDocument({ file: 'a.yaml', text }, [
      { path, draft: scalar(1) },
    ]);
    assert.equal(written, null);
    assert.match(problems.map(formatProblem).join('\n'), problem);
  }
});

test('changeDocument() writes whatever values and comments, and they are read back the same', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 8 }),
    fc.constantFrom(
      'null',
      'yes',
      '1',
      '0x1',
      '~',
      '- a',
      'a: b',
      '# c',
      '*x',
      '&x',
      '!t',
      '"',
      '%',
      '@x',
      '',
      ' x ',
      'a\nb',
      '...',
      '---',
    ),
  );
  const key = fc
    .oneof(text, fc.constantFrom('.a.example', 'u@a.example'))
    .filter((one) => one !== '' && !/^(?:__proto__|constructor|prototype)$/.test(one));
  const comment = fc.option(
    fc.oneof(
      fc.string({ unit: 'binary', maxLength: 6 }),
      fc.constantFrom('a\nb: 1', 'x\r- y', 'x\u2028y', 'x\u0085y'),
    ),
    { nil: undefined },
  );
  const value = fc.oneof(
    text,
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((one) => one + 0),
  );
  const { draft } = fc.letrec<{ draft: Draft }>((tie) => ({
    draft: fc.oneof(
      { maxDepth: 3 },
      fc.tuple(value, comment).map(([one, said]) => scalar(one, said)),
      fc.tuple(fc.array(tie('draft'), { maxLength: 3 }), comment).map(
        ([items, said]): Draft => ({
          kind: 'list',
          items,
          ...(said === undefined ? {} : { comment: said }),
        }),
      ),
      fc
        .tuple(
          fc.uniqueArray(fc.tuple(key, tie('draft')), { maxLength: 3, selector: ([name]) => name }),
          comment,
        )
        .map(
          ([entries, said]): Draft => ({
            kind: 'map',
            entries,
            ...(said === undefined ? {} : { comment: said }),
          }),
        ),
    ),
  }));
  const plainDraft = (one: Draft): unknown => {
    if (one.kind === 'scalar') return one.value;
    return one.kind === 'list'
      ? one.items.map(plainDraft)
      : one.entries.map(([name, member]) => [name, plainDraft(member)]);
  };
  fc.assert(
    fc.property(fc.array(fc.tuple(key, draft), { minLength: 1, maxLength: 3 }), (members) => {
      const entries = [...new Map(members)];
      const written = changed(
        '# head\n',
        ...entries.map(([name, one]): Change => ({ path: [name], draft: one })),
      );
      const { root, problems } = parseDocument(written, 'a.yaml');
      assert.deepEqual(problems.map(formatProblem), [], written);
      assert.ok(root !== null);
      assert.deepEqual(
        plain(root),
        entries.map(([name, one]) => [name, plainDraft(one)]),
        written,
      );
      assert.ok(written.startsWith('# head\n'));
    }),
    { numRuns: 1000 },
  );
});
