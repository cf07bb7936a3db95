/**
 * table — columns that stand under each other, and nothing in them that a terminal acts on.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { widthOf } from '../../review/fill.ts';
import { localTime, printable, table } from '../../review/table.ts';

test('table() makes columns as wide as their widest cell and pads no line end', () => {
  assert.equal(
    table(
      ['id', 'subject'],
      [
        ['1', 'a long subject'],
        ['1000', ''],
      ],
    ),
    ['id    subject', '1     a long subject', '1000'].join('\n'),
  );
  assert.equal(table(['id', 'subject'], []), 'id  subject');
});

test('table() takes as many rows as there are', () => {
  const rows = Array.from({ length: 200_000 }, (_, at) => [String(at), 'x']);
  assert.equal(table(['n', 'what'], rows).split('\n').at(-1), '199999  x');
});

test('table() goes on in the next line where a row is too wide, and cuts only what may be cut', () => {
  const id = 'f'.repeat(32);
  const head = ['held since', 'id', 'from', 'subject'];
  const row = [
    '2026-11-22 10:00:00',
    id,
    'somebody@example.com',
    'a subject that is longer than all the rest',
  ];
  assert.deepEqual(table(head, [row], { columns: 80, cut: ['from', 'subject'] }).split('\n'), [
    `held since           id${' '.repeat(30)}  from`,
    '  subject',
    `2026-11-22 10:00:00  ${id}  somebody@example.com`,
    '  a subject that is longer than all the rest',
  ]);
  const narrow = table(head, [row], { columns: 40, cut: ['from', 'subject'] }).split('\n');
  assert.deepEqual(narrow.slice(4), [
    row[0],
    `  ${id}`,
    '  somebody@example.com',
    '  a subject that is longer than all the…',
  ]);
  assert.equal(table(head, [row]).split('\n').length, 2, 'without bounds a row is a line');
});

test('table() breaks the last column under itself where that is wanted', () => {
  const rows = [['1.5', 'HTML_MESSAGE', 'HTML included in message, and more words']];
  assert.deepEqual(
    table(['score', 'rule', 'description'], rows, { columns: 45, wrapsLast: true }).split('\n'),
    [
      'score  rule          description',
      '1.5    HTML_MESSAGE  HTML included in',
      '                     message, and more words',
    ],
  );
});

test('table() fits any width that its columns leave room for', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 60 });
  fc.assert(
    fc.property(fc.array(fc.tuple(text, text, text)), fc.integer({ min: 22, max: 120 }), (rows, columns) => {
      const cut = ['a', 'b', 'c'];
      for (const line of table(cut, rows, { columns, cut }).split('\n'))
        assert.ok(widthOf(line) <= columns, line);
    }),
  );
});

test('table() and printable() let nothing through that a terminal acts on', () => {
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  const acts = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]/u;
  const text = fc.array(
    fc.constantFrom(
      '\u001b[2J',
      '\u009b31m',
      '\r',
      '\n',
      '\t',
      '\u0007',
      '\u202e',
      '\u2066',
      '\u2028',
      '\ud800',
      'ä',
      '日',
      '👋',
      'x',
    ),
  );
  fc.assert(
    fc.property(text, (parts) => {
      const hostile = parts.join('');
      assert.doesNotMatch(printable(hostile), acts);
      const lines = table(['a', 'b'], [[hostile, hostile]]).split('\n');
      assert.equal(lines.length, 2);
      for (const line of lines) assert.doesNotMatch(line, acts);
    }),
  );
  assert.equal(printable('Grüße, 日本 👋'), 'Grüße, 日本 👋');
});

test('localTime() writes the time as people here read it, to the second', () => {
  const at = new Date(2026, 0, 5, 9, 7, 3).getTime();
  assert.equal(localTime(at), '2026-01-05 09:07:03');
});
