/**
 * encoded-words — RFC 2047 both ways: what we write is read back, by us and within its limits.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeWords, encodeWords, plainText } from '../../rules/encoded-words.ts';

test('encodeWords() is read back by decodeWords(), control characters as spaces', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
      assert.equal(decodeWords(encodeWords(text).replaceAll('\r\n', '')), plainText(text));
    }),
    { numRuns: 2000 },
  );
});

test('encodeWords() gives ASCII words of at most 75 octets, folded', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 300 }), (text) => {
      const encoded = encodeWords(`${text}é`);
      for (const word of encoded.split('\r\n ')) assert.match(word, /^=\?UTF-8\?B\?[A-Za-z0-9+/=]{1,60}\?=$/);
    }),
  );
});

test('encodeWords() leaves ASCII alone, and encodes what would be read as an encoded-word', () => {
  assert.equal(encodeWords('[SPAM] 100%'), '[SPAM] 100%');
  assert.equal(decodeWords(encodeWords('=?utf-8?q?a?=')), '=?utf-8?q?a?=');
});
