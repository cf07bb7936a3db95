/**
 * quarantine-search — the full-text index finds exactly what a look at every item finds, through every change.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { parseQuery, type Query, type Term, textFields } from '../../filter/query.ts';
import { openIndex, type QuarantineIndex } from '../../filter/quarantine-index.ts';
import { type ItemRecord, recipientStates } from '../../filter/quarantine-record.ts';
import { temporaryFolder } from '../folder.ts';
import { recordingLog } from './store-rig.ts';

type Mail = {
  readonly subject: string | null;
  readonly sender: string;
  readonly from: string | null;
  readonly to: readonly string[];
  readonly virus: string | null;
  readonly score: number | null;
  readonly heldAt: number;
};

const mail: Mail = {
  subject: 'Your invoice',
  sender: 'bounce@lists.example.net',
  from: 'seller@example.net',
  to: ['anna@example.com'],
  virus: null,
  score: 12.5,
  heldAt: 1_700_000_000_000,
};

async function openIn(t: TestContext): Promise<{ index: QuarantineIndex; file: string }> {
  const file = join(temporaryFolder(t), 'quarantine.db');
  const index = await openIndex({ file, log: recordingLog() });
  t.after(() => index.close());
  return { index, file };
}

function idOf(number: number): string {
  return number.toString(16).padStart(32, '0');
}

function recordOf({ subject, sender, from, to, virus, score, heldAt }: Mail, number: number): ItemRecord {
  const recipients = to.map((address) => ({ address, notify: null, orcpt: null }));
  const verdict = virus === null ? 'spam' : 'virus';
  const marks = {
    spam: 'none',
    score,
    required: null,
    tests: [],
    spamReason: null,
    virus: 'none',
    subjectTag: null,
  } as const;
  const spam = { kind: 'scored', score: score ?? 0, tests: [], truncated: false, ignored: [] } as const;
  return {
    format: 1,
    quarantineId: idOf(number),
    heldAt,
    receivedAt: heldAt,
    queueId: `Q${number}x`,
    direction: 'inbound',
    sizeBytes: 1,
    sha256: '0'.repeat(64),
    facts: { from, subject, messageId: `<${number}@mid.example>` },
    envelope: { sender, body: null, smtputf8: false, ret: null, envid: null, recipients, xforward: {} },
    report: {
      virus: virus === null ? { kind: 'clean' } : { kind: 'infected', name: virus },
      spam: score === null ? { kind: 'off' } : { ...spam, tests: [], ignored: [] },
      virusMs: 1,
      spamMs: 1,
    },
    dispositions: [{ kind: 'quarantine', verdict, why: '', alarm: false, marks: { ...marks, tests: [] } }],
    slots: recipients.map((recipient) => ({
      recipient,
      ledgerKey: null,
      disposition: 0,
      expiresAt: heldAt + 1,
    })),
  };
}

async function fill(index: QuarantineIndex, mails: readonly Partial<Mail>[]): Promise<void> {
  await index.add(mails.map((one, at) => ({ record: recordOf({ ...mail, ...one }, at), changes: [] })));
}

/** Positions of the mails that are found, newest first. */
async function found(index: QuarantineIndex, text: string, limit = 1000): Promise<number[]> {
  const { query, problems } = parseQuery(text, { states: recipientStates, now: mail.heldAt });
  assert.deepEqual(problems, []);
  const ids = await index.searchIds(query, { limit });
  return ids.map((id) => Number.parseInt(id, 16));
}

const change = (slot: number, to: 'released' | 'deleted') =>
  ({ slot, from: 'held', to, actor: 'a', at: 1, owner: 'o', queueIdOut: 'OUT77' }) as const;

test('QuarantineIndex.search() finds by every kind of term', async (t) => {
  const { index } = await openIn(t);
  const at = (day: number) => new Date(2026, 0, day).getTime();
  await fill(index, [
    { heldAt: at(1), subject: 'Rechnung für Größe', score: 4.75 },
    { heldAt: at(2), subject: 'Your INVOICE no 42', from: 'Ö@bücher.example', score: 7 },
    { heldAt: at(3), subject: null, from: null, sender: '', virus: 'Eicar-Test-Signature', score: null },
    { heldAt: at(4), subject: '东京 meeting', to: ['bob@example.com', 'carl@shop.example'], score: -2.5 },
    { heldAt: at(5), subject: 'virus held spam 100%_"quoted"', score: 1000 },
  ]);
  await index.change(idOf(3), [change(1, 'released')]);
  await index.change(idOf(4), [change(0, 'deleted')]);
  for (const [query, expected] of [
    ['invoice', [1]],
    ['INVOICE', [1]],
    ['nvoic', [1]],
    ['größe', [0]],
    ['GRÖSSE', []],
    ['Für gr', [0]],
    ['"für größe"', [0]],
    ['"größe für"', []],
    ['東京', []],
    ['东京', [3]],
    ['京', [3]],
    ['no', [1]],
    ['42', [1]],
    ['42 invoice', [1]],
    ['zz', []],
    ['100%_', [4]],
    ['seller', [4, 3, 0]],
    ['from:seller', [4, 3, 0]],
    ['to:seller', []],
    ['from:example.com', []],
    ['to:example.com', [4, 3, 2, 1, 0]],
    ['to:shop', [3]],
    ['from:bücher', [1]],
    ['from:Ö@', [1]],
    ['subject:held', [4]],
    ['held', [4]],
    ['virus:eicar', [2]],
    ['eicar', [2]],
    ['subject:eicar', []],
    ['verdict:virus', [2]],
    ['disposition:quarantine verdict:virus', [2]],
    ['disposition:discard', []],
    ['-verdict:virus', [4, 3, 1, 0]],
    ['state:held', [3, 2, 1, 0]],
    ['-state:held', [4]],
    ['state:released', [3]],
    ['state:deleted', [4]],
    ['state:held state:released', [3]],
    ['state:released,deleted', [4, 3]],
    ['-state:released,deleted', [2, 1, 0]],
    ['-invoice', [4, 3, 2, 0]],
    ['-invoice -seller', [2]],
    ['-no', [4, 3, 2, 0]],
    ['-to:@example.com', []],
    ['score:>4.75', [4, 1]],
    ['score:>=4.75', [4, 1, 0]],
    ['score:<4.75', [3]],
    ['score:<=4.75', [3, 0]],
    ['score:>999', [4]],
    ['score:<2000', [4, 3, 1, 0]],
    ['score:<-2', [3]],
    ['score:>-3', [4, 3, 1, 0]],
    ['-score:>5', [3, 2, 0]],
    ['score:>5 -invoice', [4]],
    ['after:2026-01-03', [4, 3, 2]],
    ['before:2026-01-03', [1, 0]],
    ['after:2026-01-02 before:2026-01-04 seller', []],
    ['after:2026-01-02 before:2026-01-05 seller', [3]],
    ['id:Q1x', [1]],
    ['Q1xx', []],
    [`id:${idOf(2)}`, [2]],
    [idOf(2), [2]],
    ['id:1@mid.example', [1]],
    ['id:<1@mid.example>', [1]],
    ['<1@mid.example>', []],
    ['1@mid.example', []],
    ['-OUT77', [4, 3, 2, 1, 0]],
    [`${idOf(2)} OUT77`, []],
    ['id:OUT77', [4, 3]],
    ['OUT77 meeting', [3]],
    ['-id:OUT77 seller', [0]],
    ['id:nothing', []],
    ['', [4, 3, 2, 1, 0]],
  ] as const) {
    assert.deepEqual(await found(index, query), expected, `${query}`);
  }
  const rows = await index.search(parseQuery('seller', { states: [], now: 0 }).query, { limit: 2 });
  assert.deepEqual(
    rows.map(({ subject, slots }) => [subject?.slice(0, 5), slots.length]),
    [
      ['virus', 1],
      ['东京 me', 2],
    ],
  );
  const { query } = parseQuery('seller', { states: [], now: 0 });
  assert.deepEqual(await index.searchIds(query, { limit: 5, before: rows.at(-1)?.quarantineId }), [idOf(0)]);
});

test('QuarantineIndex.search() takes a word for text, whatever ids there are', async (t) => {
  const { index } = await openIn(t);
  await fill(index, [
    { subject: 'Your invoice' },
    { subject: 'Buy pills' },
    { subject: 'About order 4c7Yx1' },
    { subject: 'Order no 7' },
  ]);
  // A sender chooses the Message-ID: it must not change what somebody else's words find.
  const named = recordOf({ ...mail, subject: 'Buy pills' }, 4);
  const spam = { ...named, facts: { ...named.facts, messageId: '<invoice>' }, queueId: '4c7Yx1' };
  await index.add([{ record: spam, changes: [] }]);
  for (const [query, expected] of [
    ['invoice', [0]],
    ['-invoice', [4, 3, 2, 1]],
    ['-invoice score:>12', [4, 3, 2, 1]],
    ['id:invoice', [4]],
    ['-id:invoice', [3, 2, 1, 0]],
    ['4c7Yx1', [4, 2]],
    ['4c7Yx1 pills', [4]],
    ['4c7Yx1 order', [2]],
    ['4c7Yx1 score:>13', []],
    ['-4c7Yx1', [4, 3, 1, 0]],
    ['-4c7Yx1 pills', [4, 1]],
    [`4c7Yx1 ${idOf(4)}`, [4]],
    [`4c7Yx1 ${idOf(2)}`, [2]],
    [`4c7Yx1 4c7Yx1 4c7Yx1 ${'order '.repeat(17)}`, [2]],
  ] as const) {
    assert.deepEqual(await found(index, query), expected, query);
  }
  assert.deepEqual(await found(index, '4c7Yx1', 1), [4]);
  const { query } = parseQuery('4c7Yx1', { states: [], now: 0 });
  assert.deepEqual(await index.searchIds(query, { limit: 5, before: idOf(4) }), [idOf(2)]);
});

test('QuarantineIndex.search() finds words that begin thousands of trigrams', async (t) => {
  const { index } = await openIn(t);
  const letters = Array.from({ length: 1200 }, (_, at) => String.fromCodePoint(0x4e00 + at));
  await fill(
    index,
    letters.map((letter) => ({ subject: `e${letter}E` })),
  );
  assert.equal((await found(index, 'e', 2000)).length, 1200);
  assert.equal((await found(index, 'subject:E', 2000)).length, 1200);
  assert.equal((await found(index, '-subject:e', 2000)).length, 0);
  assert.equal((await found(index, '-to:e', 2000)).length, 0);
  assert.deepEqual(await found(index, `e${letters[7]}`), [7]);
});

test('QuarantineIndex.search() takes any text and any word, and agrees with a look at every item', async (t) => {
  const word = fc.oneof(
    fc.constantFrom(
      'a',
      'ab',
      'abc',
      'Σίσυφος',
      'ΣΑΣ',
      'ß',
      'İ',
      '東',
      '"',
      '*',
      '-',
      ' ',
      '\0',
      '\ue000\uf8f0',
      '😀',
      '\ud800',
    ),
    fc.string({ unit: 'grapheme', maxLength: 6 }),
  );
  const texts = fc.array(word, { maxLength: 6 }).map((words) => words.join(''));
  const mails = fc.record({
    subject: fc.option(texts),
    sender: texts,
    from: fc.option(texts),
    to: fc.array(texts, { minLength: 1, maxLength: 3 }),
    virus: fc.option(fc.string({ maxLength: 8 })),
    score: fc.option(fc.integer({ min: -500, max: 2000 }).map((tenths) => tenths / 10)),
    heldAt: fc.integer({ min: 1, max: 50 }),
  });
  const term: fc.Arbitrary<Term> = fc.oneof(
    fc.record({
      kind: fc.constant('text' as const),
      negated: fc.boolean(),
      field: fc.option(fc.constantFrom(...textFields)),
      text: texts.filter((text) => text.trim() !== '' && fold(text).trim() !== ''),
    }),
    fc.record({
      kind: fc.constant('score' as const),
      negated: fc.boolean(),
      operator: fc.constantFrom('>' as const, '>=' as const, '<' as const, '<=' as const),
      score: fc.integer({ min: -60, max: 1200 }).map((tenths) => tenths / 10),
    }),
    fc.record({
      kind: fc.constant('since' as const),
      negated: fc.boolean(),
      at: fc.integer({ min: 1, max: 50 }),
    }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(mails, { minLength: 1, maxLength: 12 }),
      fc.array(fc.array(term, { minLength: 1, maxLength: 3 }), { minLength: 8, maxLength: 8 }),
      async (given, queries) => {
        await using place = new AsyncDisposableStack();
        const file = join(temporaryFolder(t), 'quarantine.db');
        const index = place.adopt(await openIndex({ file, log: recordingLog() }), (opened) => opened.close());
        await fill(index, given);
        for (const query of queries) {
          const ids = await index.searchIds(query, { limit: 100 });
          const expected = given.flatMap((one, at) => (holds(one, query) ? [idOf(at)] : []));
          assert.deepEqual(ids.toSorted(), expected, JSON.stringify(query));
        }
      },
    ),
    { numRuns: 25 },
  );
});

/** The definition: each field alone, upper case like lower, blanks like one blank. */
function holds(one: Mail, query: Query): boolean {
  const fields = {
    subject: one.subject ?? '',
    from: [...new Set([one.sender, one.from ?? one.sender])].join('\n'),
    to: one.to.join('\n'),
    virus: one.virus ?? '',
  };
  return query.every((term) => {
    switch (term.kind) {
      case 'text': {
        const where = term.field === null ? Object.values(fields) : [fields[term.field]];
        return where.some((text) => fold(text).includes(fold(term.text))) !== term.negated;
      }
      case 'score': {
        const { score } = one;
        const compare = {
          '>': (a: number) => a > term.score,
          '>=': (a: number) => a >= term.score,
          '<': (a: number) => a < term.score,
          '<=': (a: number) => a <= term.score,
        };
        return (score !== null && compare[term.operator](score)) !== term.negated;
      }
      case 'since':
        return one.heldAt >= term.at !== term.negated;
      case 'id':
      case 'verdict':
      case 'disposition':
      case 'state':
        throw new Error('not in this property');
    }
  });
}

function fold(text: string): string {
  const plain = text
    .toWellFormed()
    .normalize('NFC')
    .replaceAll(/\p{Co}/gu, '\ufffd')
    .replaceAll(/[\p{Cc}\s]+/gu, ' ');
  return plain.toLowerCase().replaceAll('ς', 'σ');
}

test('QuarantineIndex adds items of before there was a full-text index to it, and agrees with itself', async (t) => {
  const { index, file } = await openIn(t);
  await fill(
    index,
    Array.from({ length: 450 }, (_, at) => ({ subject: `number ${at}.` })),
  );
  const raw = new DatabaseSync(file);
  raw.exec('DELETE FROM item_text WHERE number % 9 <> 0');
  assert.ok((await found(index, 'number')).length < 100);
  assert.equal(await index.fillSearch(), 400);
  assert.equal((await found(index, 'number')).length, 450);
  assert.deepEqual(await found(index, '"number 449."'), [449]);
  raw.exec(`DELETE FROM item WHERE quarantine_id = '${idOf(7)}'`);
  assert.deepEqual(await found(index, '"number 7."'), []);
  raw.exec("INSERT INTO item_search (item_search, rank) VALUES ('integrity-check', 1)");
  raw.close();
});
