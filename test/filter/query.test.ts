/**
 * query — what the words of a search mean, and what is said where they mean nothing.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseQuery, type Term } from '../../filter/query.ts';

const now = new Date(2026, 6, 15, 12).getTime();
const context = { states: ['held', 'released'], now };
const text = (negated: boolean, field: 'from' | 'to' | 'subject' | 'virus' | null, value: string): Term => ({
  kind: 'text',
  negated,
  field,
  text: value,
});
const score = (operator: '>' | '>=' | '<' | '<=', value: number, negated = false): Term => ({
  kind: 'score',
  negated,
  operator,
  score: value,
});
const since = (negated: boolean, ...at: [number, number, number, number?, number?]): Term => ({
  kind: 'since',
  negated,
  at: new Date(at[0], at[1] - 1, at[2], at[3] ?? 0, at[4] ?? 0).getTime(),
});

for (const [query, terms] of [
  ['', []],
  ['invoice', [text(false, null, 'invoice')]],
  ['two  words', [text(false, null, 'two'), text(false, null, 'words')]],
  ['"two words"', [text(false, null, 'two words')]],
  ['-invoice', [text(true, null, 'invoice')]],
  ['-"two words"', [text(true, null, 'two words')]],
  ['-', [text(false, null, '-')]],
  ['--x', [text(true, null, '-x')]],
  ['from:bob', [text(false, 'from', 'bob')]],
  ['FROM:Bob', [text(false, 'from', 'Bob')]],
  ['-to:@example.com', [text(true, 'to', '@example.com')]],
  ['subject:"re: your order"', [text(false, 'subject', 're: your order')]],
  ['-subject:"a b" c', [text(true, 'subject', 'a b'), text(false, null, 'c')]],
  ['virus:eicar', [text(false, 'virus', 'eicar')]],
  ['http://x.example/', [text(false, null, 'http://x.example/')]],
  ['Re: hello', [text(false, null, 'Re:'), text(false, null, 'hello')]],
  ['form:bob', [text(false, null, 'form:bob')]],
  ['constructor:x', [text(false, null, 'constructor:x')]],
  ['id:4c7Yx1', [{ kind: 'id', negated: false, id: '4c7Yx1' }]],
  ['-id:<1@example.com>', [{ kind: 'id', negated: true, id: '<1@example.com>' }]],
  ['score:>5', [score('>', 5)]],
  ['score:>=6.5 score:<10', [score('>=', 6.5), score('<', 10)]],
  ['-score:<=-1.25', [score('<=', -1.25, true)]],
  ['verdict:SPAM', [{ kind: 'verdict', negated: false, verdict: 'spam' }]],
  ['-state:held', [{ kind: 'state', negated: true, states: ['held'] }]],
  ['state:Held,released', [{ kind: 'state', negated: false, states: ['held', 'released'] }]],
  ['after:2026-01-31', [since(false, 2026, 1, 31)]],
  ['before:2026-01-31T18:05', [since(true, 2026, 1, 31, 18, 5)]],
  ['-before:2026-01-31', [since(false, 2026, 1, 31)]],
  ['after:12h', [{ kind: 'since', negated: false, at: now - 12 * 3_600_000 }]],
  ['before:4w', [{ kind: 'since', negated: true, at: now - 28 * 86_400_000 }]],
] as const satisfies readonly (readonly [string, readonly Term[]])[]) {
  test(`parseQuery() reads ${query === '' ? 'nothing' : query}`, () => {
    assert.deepEqual(parseQuery(query, context), { query: terms, problems: [] });
  });
}

for (const [query, problem] of [
  ['score:5', 'score: "5" is no comparison: write score:>5, score:>=6.5, score:<2 or score:<=2'],
  ['score:>1e3', 'score: ">1e3" is no comparison: write score:>5, score:>=6.5, score:<2 or score:<=2'],
  ['verdict:ham', 'verdict: "ham" is none: write clean, spam, virus or unchecked'],
  ['state:held,', 'state: "" is none: write held or released'],
  ['state:delivered', 'state: "delivered" is none: write held or released'],
  ['after:2026-02-31', 'after: "2026-02-31" is no time: write 2026-01-31, 2026-01-31T18:00, 12h, 7d or 4w'],
  ['before:yesterday', 'before: "yesterday" is no time: write 2026-01-31, 2026-01-31T18:00, 12h, 7d or 4w'],
  ['from:', 'from: needs a value, as in from:news@example.com'],
  ['subject:""', 'subject: needs a value, as in subject:"your invoice"'],
  ['""', 'an empty word finds nothing: leave it out'],
  ['"two words', 'a quotation mark is not closed: write "two words"'],
  ['a '.repeat(21), '21 terms are too many: write up to 20'],
] as const) {
  test(`parseQuery() refuses ${query.slice(0, 30)}`, () => {
    assert.deepEqual(parseQuery(query, context).problems, [problem]);
  });
}

test('parseQuery() never throws and loses no plain word', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), (any) => {
      const { query, problems } = parseQuery(any, context);
      assert.ok(query.length > 0 || problems.length > 0 || any.trim() === '', any);
    }),
  );
});
