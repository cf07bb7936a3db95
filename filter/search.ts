/**
 * search — how a message is written into a full-text index (FTS5, trigrams), and how a query reads it there.
 *
 * Hides the alphabets. An index of trigrams finds any three characters or more; to find them in one field only, each
 * field is written in letters of its own (code points moved into the private use areas), and so are verdicts, states and
 * whole points of the score. Thus one MATCH expression says all that a query asks but ids, times and tenths of a point:
 * however rare its hits and however common its words, the index walks them side by side.
 *
 * A plain word is text. One that is also an id that Sluice or Postfix made finds that message besides; a Message-ID,
 * which its sender chose, takes `id:`: else a stranger could change what a word of somebody else's query finds.
 */
import type { DispositionKind } from '../rules/mail.ts';
import type { Query, Term, TextField } from './query.ts';
import type { Store, Value } from './store.ts';

/** What can be found of one message. */
export type Searchable = {
  readonly subject: string | null;
  readonly from: readonly (string | null)[];
  readonly to: readonly string[];
  readonly virusName: string | null;
  /** Verdicts, and states where those never change. */
  readonly marks: readonly string[];
  readonly score: number | null;
};

/** A full-text index and the table behind it, as SQL names them. `row` is the number both share. */
export type Searched = {
  /** The FTS5 table and the fts5vocab table (type row) of its trigrams. */
  readonly index: string;
  readonly trigrams: string;
  readonly table: string;
  /** Its column of row numbers, and the column that is given back. */
  readonly row: string;
  readonly key: string;
  readonly score: string;
  /** Conditions on `table`; each `?` stands for the id: any, and those that no sender chose. */
  readonly hasId: string;
  readonly hasOwnId: string;
  /** A condition that this was decided for one of its recipients. */
  readonly wasDecided: (row: string, disposition: DispositionKind) => string;
  /** Conditions that a message is from then on, or earlier (`?`: the time), or below the one with this key (`?`). */
  readonly since: (row: string) => string;
  readonly earlier: (row: string) => string;
  readonly below: (row: string) => string;
  /** Expressions over `table` in which a text of one or two characters is looked for; null: in any field. */
  readonly texts: (field: TextField | null) => readonly string[];
  /** A query for one row where a recipient may lack the text (`?`, ASCII in lower case); null: it can't be told quickly. */
  readonly hasOtherRecipient: string | null;
};

const offsets: Readonly<Record<TextField, number>> = {
  subject: 0,
  from: 0xf0000,
  to: 0x100000,
  virus: 0xe000,
};
const markOffset = 0xe800;
const scoreBase = 0xf000;
const scoreMax = 99;
/** Stands three times behind each field: so its last two characters begin a trigram too, and every message has this one. */
const end = '\uf8f0';
const fieldEnd = end.repeat(3);
/** Stands in no message. */
const never = '\uf8f1'.repeat(3);
/** A term that begins more trigrams than this is so common that looking at the newest messages is quicker. */
const trigramsMax = 400;
const textCharactersMax = 2000;

/** The text that stands for a message in the index. */
export function searchText({ subject, from, to, virusName, marks, score }: Searchable): string {
  const senders = [...new Set(from)].filter((one) => one !== null);
  return [
    written('subject', clip(subject ?? '')),
    written('from', senders.map(clip).join('\n')),
    written('to', to.map(clip).join('\n')),
    written('virus', clip(virusName ?? '')),
    [...new Set(marks)].map(markText).join(''),
    scoreText(score),
  ].join(fieldEnd);
}

function clip(text: string): string {
  return text.slice(0, textCharactersMax);
}

/** How a verdict or a state stands in the index. */
export function markText(mark: string): string {
  return `${end}${moved(mark, markOffset)}${end}`;
}

/** Keys of what the query finds, newest first, at most `limit`; `before` is the last key seen. */
export async function findKeys<Key extends string | number>(
  store: Store,
  searched: Searched,
  query: Query,
  page: Page<Key>,
): Promise<Key[]> {
  for (const term of query) if (await excludesEverything(store, searched, term)) return [];
  const selects = await Promise.all(
    (await readingsOf(store, searched, query)).map((reading) => selectOf(store, searched, reading, page)),
  );
  const union = selects.map(({ sql }) => `SELECT * FROM (${sql})`).join(' UNION ');
  const rows = await store.all<{ key: Key }>(`SELECT key FROM (${union}) ORDER BY place DESC LIMIT ?`, [
    ...selects.flatMap(({ params }) => params),
    page.limit,
  ]);
  return rows.map((found) => found.key);
}

/**
 * Whether the term excludes a word that each recipient has, as the site's own domain: to find that there is nothing the index
 * would have to be read to its end.
 */
async function excludesEverything(
  store: Store,
  { hasOtherRecipient }: Searched,
  term: Term,
): Promise<boolean> {
  if (hasOtherRecipient === null || term.kind !== 'text' || !term.negated) return false;
  if ((term.field !== null && term.field !== 'to') || !/^[!-~]+$/.test(term.text)) return false;
  const params = [...hasOtherRecipient.matchAll(/\?/g)].map(() => folded(term.text));
  return (await store.all(hasOtherRecipient, params)).length === 0;
}

type Page<Key> = { readonly limit: number; readonly before?: Key | undefined };

/** What a word of a query may be taken for. */
type Reading = Term | { readonly kind: 'ownId'; readonly id: string };

const rareMax = 500;
/** No more ways to read a query than this: further words are text alone. */
const readingsMax = 8;

/** Every way to read the query: a plain word that is an id of ours is either. Each way alone is quick, an OR is not. */
async function readingsOf(store: Store, searched: Searched, query: Query): Promise<Reading[][]> {
  let readings: Reading[][] = [[]];
  for (const term of query) {
    const isEither = readings.length < readingsMax && (await isOwnId(store, searched, term));
    const either: Reading[] =
      isEither && term.kind === 'text' ? [term, { kind: 'ownId', id: term.text }] : [term];
    readings = either.flatMap((one) => readings.map((reading) => [...reading, one]));
  }
  return readings;
}

async function selectOf<Key extends string | number>(
  store: Store,
  searched: Searched,
  reading: readonly Reading[],
  { limit, before }: Page<Key>,
): Promise<Condition> {
  const plan: Plan = { wanted: [], unwanted: [], conditions: [], narrow: false };
  for (const term of reading) await addTerm(plan, store, searched, term);
  const { table, row, key, index } = searched;
  const match = matchOf(plan);
  // The index leads, but where few messages are left, as for an id: it is slow in looking up single rows.
  const lead = match === null || plan.narrow ? row : 'hit.rowid';
  const conditions = plan.conditions.map((condition) => condition(lead));
  if (match !== null) conditions.unshift({ sql: `${index} MATCH ?`, params: [match] });
  if (before !== undefined) conditions.push({ sql: searched.below(lead), params: [before] });
  const join = match === null ? table : joined(plan.narrow, searched);
  return {
    sql: `SELECT ${key} AS key, ${lead} AS place FROM ${join}
      WHERE ${['1', ...conditions.map(({ sql }) => sql)].join(' AND ')} ORDER BY ${lead} DESC LIMIT ?`,
    params: [...conditions.flatMap(({ params }) => params), limit],
  };
}

/** Whether a recipient is one that every `to:` of the query means; a negated one has left out the whole message. */
export function isMeant(query: Query, recipient: string): boolean {
  return query.every(
    (term) =>
      term.kind !== 'text' ||
      term.field !== 'to' ||
      term.negated ||
      folded(recipient).includes(folded(term.text)),
  );
}

type Condition = { readonly sql: string; readonly params: readonly Value[] };

/** What MATCH must find and must not find, conditions besides, and whether those leave only a few rows. */
type Plan = {
  readonly wanted: string[];
  readonly unwanted: string[];
  readonly conditions: ((row: string) => Condition)[];
  narrow: boolean;
};

function joined(narrow: boolean, { table, row, index }: Searched): string {
  const [first, second] = narrow ? [table, `${index} AS hit`] : [`${index} AS hit`, table];
  // CROSS JOIN keeps the order (sqlite.org/optoverview.html#crossjoin).
  return `${first} CROSS JOIN ${second} ON hit.rowid = ${row}`;
}

function matchOf({ wanted, unwanted }: Plan): string | null {
  if (wanted.length === 0 && unwanted.length === 0) return null;
  const all = wanted.length === 0 ? phrase(fieldEnd) : wanted.join(' AND ');
  return unwanted.length === 0 ? all : `(${all}) NOT (${unwanted.join(' OR ')})`;
}

async function addTerm(plan: Plan, store: Store, searched: Searched, term: Reading): Promise<void> {
  const say = (negated: boolean, expression: string) =>
    (negated ? plan.unwanted : plan.wanted).push(expression);
  const ask = (negated: boolean, condition: (row: string) => string, value: Value) =>
    plan.conditions.push((row) => conditionOf(negated, condition(row), value));
  switch (term.kind) {
    case 'id':
      plan.narrow ||= !term.negated;
      return void ask(term.negated, () => searched.hasId, term.id);
    case 'ownId':
      plan.narrow = true;
      return void ask(false, () => searched.hasOwnId, term.id);
    case 'since':
      return void ask(false, term.negated ? searched.earlier : searched.since, term.at);
    case 'verdict':
      return void say(term.negated, phrase(markText(term.verdict)));
    case 'disposition': {
      const { negated, disposition } = term;
      plan.narrow ||= !negated && (await isRare(store, searched, disposition));
      // A sign keeps SQLite from asking the index for one row after the other (sqlite.org/optoverview.html#uplus).
      const decided = (row: string) =>
        searched.wasDecided(row === searched.row ? row : `+${row}`, disposition);
      plan.conditions.push((row) => ({ sql: `${negated ? 'NOT ' : ''}(${decided(row)})`, params: [] }));
      return;
    }
    case 'state':
      return void say(term.negated, `(${term.states.map((state) => phrase(markText(state))).join(' OR ')})`);
    case 'score': {
      const points = pointsOf(term);
      if (points !== null) say(points.negated, points.expression);
      return void ask(term.negated, () => `coalesce(${searched.score} ${term.operator} ?, 0)`, term.score);
    }
    case 'text': {
      const expression = await textExpression(store, searched, term);
      if (expression !== null) return void say(term.negated, expression);
      const condition = shortCondition(searched.texts(term.field), folded(term.text));
      plan.conditions.push(() => (term.negated ? { ...condition, sql: `NOT ${condition.sql}` } : condition));
    }
  }
}

/** Whether few messages were decided so: to look each of them up is quicker than to read the index for a frequent word. */
async function isRare(
  store: Store,
  { table, row, wasDecided }: Searched,
  disposition: DispositionKind,
): Promise<boolean> {
  if (disposition === 'deliver') return false;
  const sql = `SELECT 1 FROM ${table} WHERE ${wasDecided(row, disposition)} LIMIT ${rareMax + 1}`;
  return (await store.all(sql)).length <= rareMax;
}

function conditionOf(negated: boolean, sql: string, value: Value): Condition {
  const params = [...sql.matchAll(/\?/g)].map(() => value);
  return { sql: negated ? `NOT (${sql})` : `(${sql})`, params };
}

/** The whole points that a score must have, or must not have: the comparison itself is a condition besides. */
function pointsOf({ negated, operator, score }: Extract<Term, { kind: 'score' }>) {
  if (negated) return null;
  const isMore = operator === '>' || operator === '>=';
  if (isMore) return score < 0 ? null : { negated: false, expression: phrase(pointText(Math.floor(score))) };
  const first = Math.max(0, operator === '<' ? Math.ceil(score) : Math.floor(score) + 1);
  return first > scoreMax ? null : { negated: true, expression: phrase(pointText(first)) };
}

/** Whether a word may be meant as an id as well: a plain one, not negated. */
async function isOwnId(store: Store, { table, hasOwnId }: Searched, term: Term): Promise<boolean> {
  if (term.kind !== 'text' || term.negated || term.field !== null) return false;
  if (!/^\S{5,}$/.test(term.text)) return false;
  const { sql, params } = conditionOf(false, hasOwnId, term.text);
  const [found] = await store.all(`SELECT 1 FROM ${table} WHERE ${sql} LIMIT 1`, params);
  return found !== undefined;
}

/** What MATCH must be asked for a text, or null where that would be slower than looking. */
async function textExpression(
  store: Store,
  searched: Searched,
  { field, text }: Extract<Term, { kind: 'text' }>,
): Promise<string | null> {
  const fields = field === null ? (Object.keys(offsets) as TextField[]) : [field];
  const found: string[] = [];
  for (const needle of fields.map((one) => written(one, text))) {
    const begun = Array.from(needle).length >= 3 ? [needle] : await trigramsFrom(store, searched, needle);
    found.push(...begun);
    if (found.length > trigramsMax) return null;
  }
  return found.length === 0 ? phrase(never) : `(${found.map(phrase).join(' OR ')})`;
}

async function trigramsFrom(store: Store, { trigrams }: Searched, needle: string): Promise<string[]> {
  const rows = await store.all<{ term: string }>(
    `SELECT term FROM ${trigrams} WHERE term >= ? AND term < ? LIMIT ?`,
    [needle, `${needle}\u{10ffff}`, trigramsMax + 1],
  );
  return rows.map(({ term }) => term);
}

/** SQLite folds ASCII only: every spelling in upper and lower case is looked for. */
function shortCondition(expressions: readonly string[], needle: string): Condition {
  let spellings = [''];
  for (const character of needle) {
    const both = [...new Set([character, character.toUpperCase()])];
    spellings = spellings.flatMap((begun) => both.map((one) => begun + one));
  }
  const found = expressions.flatMap((expression) => spellings.map(() => `instr(${expression}, ?)`));
  return { sql: `(${found.join(' OR ')})`, params: expressions.flatMap(() => spellings) };
}

/** A string of FTS5's query language (sqlite.org/fts5.html#fts5_strings). */
function phrase(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}

/** Text in the letters of its field. */
function written(field: TextField, text: string): string {
  return moved(folded(text), offsets[field]);
}

/** Each code unit as a letter of another alphabet. Only names of viruses and marks, which are ASCII, have a small one. */
function moved(text: string, offset: number): string {
  if (offset === 0) return text;
  const codeMax = offset < 0xf0000 ? 0x7ff : 0xfffd;
  let letters = '';
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    letters += String.fromCodePoint(offset + Math.min(code, codeMax));
  }
  return letters;
}

/**
 * Upper case like lower, blanks and control characters like one blank. Private characters, which are ours here, become
 * unknown ones; a Greek sigma is the same wherever in its word it stands.
 */
function folded(text: string): string {
  const known = text
    .toWellFormed()
    .normalize('NFC')
    .replaceAll(/\p{Co}/gu, '\ufffd')
    .replaceAll(/[\p{Cc}\s]+/gu, ' ');
  return known.toLowerCase().replaceAll('ς', 'σ');
}

/** A run of letters, one for each whole point and two more: three of them from n on stand for "n points or more". */
function scoreText(score: number | null): string {
  if (score === null || score < 0) return '';
  return String.fromCharCode(
    ...Array.from({ length: Math.min(Math.floor(score), scoreMax) + 3 }, (_, point) => scoreBase + point),
  );
}

function pointText(points: number): string {
  const from = scoreBase + Math.min(points, scoreMax);
  return String.fromCharCode(from, from + 1, from + 2);
}
