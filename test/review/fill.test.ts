/**
 * fill — lines that fit, and no word left alone.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { cut, fill, fillTerms, widthOf } from '../../review/fill.ts';

test('fill() keeps every word in order, and no line is longer than the width or a single word', () => {
  const word = fc.string({ minLength: 1, maxLength: 12 }).filter((text) => !/\s/.test(text));
  fc.assert(
    fc.property(fc.array(word, { minLength: 1 }), fc.integer({ min: 5, max: 40 }), (words, width) => {
      const lines = fill(words.join(' '), width);
      assert.deepEqual(lines.join(' ').split(' '), words);
      for (const line of lines) assert.ok(widthOf(line) <= width || !line.includes(' '), line);
    }),
  );
});

test('fill() leaves no word alone in the last line where as many lines can do without', () => {
  assert.deepEqual(fill('one two three four', 14), ['one two', 'three four']);
  assert.deepEqual(fill('one two', 4), ['one', 'two']);
});

test('fillTerms() sets meanings beside terms, and below a term that is too long', () => {
  assert.deepEqual(
    fillTerms(
      [
        ['a', 'one two three'],
        ['much-too-long', 'four'],
      ],
      14,
      6,
    ),
    ['a     one two', '      three', 'much-too-long', '      four'],
  );
});

test('cut() and widthOf() count columns of the terminal: two for CJK and emoji, none for marks', () => {
  assert.equal(widthOf('日本👋e\u0301'), 7);
  assert.equal(cut('日本語', 5), '日本…');
  assert.equal(cut('日本語', 6), '日本語');
  assert.equal(cut('subject', 4), 'sub…');
});
