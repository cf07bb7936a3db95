/**
 * query — what somebody looks for in quarantine or history: words in, terms out.
 *
 * Words are ANDed. `"a phrase"`, `-word`, `from: to: subject: virus: id: score:>5 verdict: disposition: state: before:
 * after:`, each of them negated by a leading `-`. A word with another prefix ("http://x") is a plain word. Mistakes are values, each
 * with its remedy; nothing is thrown.
 */
import type { DispositionKind, Verdict } from '../rules/mail.ts';

export const textFields = ['from', 'to', 'subject', 'virus'] as const;
/** Where a word may stand; a word without a field is looked for in all of them. */
export type TextField = (typeof textFields)[number];

export type Term = { readonly negated: boolean } & (
  | { readonly kind: 'text'; readonly field: TextField | null; readonly text: string }
  | { readonly kind: 'id'; readonly id: string }
  | { readonly kind: 'score'; readonly operator: '>' | '>=' | '<' | '<='; readonly score: number }
  | { readonly kind: 'verdict'; readonly verdict: Verdict }
  | { readonly kind: 'disposition'; readonly disposition: DispositionKind }
  /** Any of these. */
  | { readonly kind: 'state'; readonly states: readonly string[] }
  /** From `at` on (epoch milliseconds); negated: earlier than that. */
  | { readonly kind: 'since'; readonly at: number }
);

/** All of its terms must hold. */
export type Query = readonly Term[];

/** What the words may mean here: the states there are, and what "7d" counts back from. */
export type QueryContext = { readonly states: readonly string[]; readonly now: number };

const verdicts: readonly Verdict[] = ['clean', 'spam', 'virus', 'unchecked'];
/** What may have been decided, whatever became of it. */
export const dispositionKinds = [
  'deliver',
  'quarantine',
  'discard',
  'defer',
] as const satisfies readonly DispositionKind[];
const termsMax = 20;
const unitMs: Readonly<Record<string, number>> = { h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** The query in `text`; where `problems` are, it is not to be used. */
export function parseQuery(text: string, context: QueryContext): { query: Query; problems: string[] } {
  const words = text.match(/-?(?:[a-z]+:)?"[^"]*"|\S+/gi) ?? [];
  const parsed = words.map((word) => parseWord(word, context));
  const query = parsed.filter((one) => typeof one !== 'string');
  const problems = parsed.filter((one) => typeof one === 'string');
  if ((text.split('"').length - 1) % 2 === 1)
    problems.push('a quotation mark is not closed: write "two words"');
  if (words.length > termsMax) problems.push(`${words.length} terms are too many: write up to ${termsMax}`);
  return { query, problems };
}

/** The term in one word, or what is wrong with it. */
function parseWord(word: string, context: QueryContext): Term | string {
  const negated = word.startsWith('-') && word !== '-';
  const bare = negated ? word.slice(1) : word;
  const [, name = '', rest = ''] = /^([a-z]+):(.*)$/is.exec(bare) ?? [];
  const value = unquoted(rest);
  const field = name.toLowerCase();
  if (!isField(field)) return textTerm(negated, null, unquoted(bare));
  if (value === '') return `${field}: needs a value, as in ${examples[field]}`;
  switch (field) {
    case 'from':
    case 'to':
    case 'subject':
    case 'virus':
      return textTerm(negated, field, value);
    case 'id':
      return { kind: 'id', negated, id: value };
    case 'score':
      return parseScore(negated, value);
    case 'verdict': {
      const verdict = verdicts.find((one) => one === value.toLowerCase());
      return verdict === undefined
        ? unknown('verdict', value, verdicts)
        : { kind: 'verdict', negated, verdict };
    }
    case 'disposition': {
      const disposition = dispositionKinds.find((one) => one === value.toLowerCase());
      return disposition === undefined
        ? unknown('disposition', value, dispositionKinds)
        : { kind: 'disposition', negated, disposition };
    }
    case 'state': {
      const states = value.toLowerCase().split(',');
      const stray = states.find((one) => !context.states.includes(one));
      return stray === undefined
        ? { kind: 'state', negated, states }
        : unknown('state', stray, context.states);
    }
    case 'after':
    case 'before': {
      const at = parseTime(value, context.now);
      if (at === null)
        return `${field}: "${value}" is no time: write 2026-01-31, 2026-01-31T18:00, 12h, 7d or 4w`;
      return { kind: 'since', negated: (field === 'before') !== negated, at };
    }
  }
}

const examples = {
  from: 'from:news@example.com',
  to: 'to:@example.com',
  subject: 'subject:"your invoice"',
  virus: 'virus:Eicar',
  id: 'id:4c7Yx1',
  score: 'score:>5',
  verdict: 'verdict:spam',
  disposition: 'disposition:quarantine',
  state: 'state:held or state:held,released',
  after: 'after:7d',
  before: 'before:2026-01-31',
} as const;

function isField(name: string): name is keyof typeof examples {
  return Object.hasOwn(examples, name);
}

function textTerm(negated: boolean, field: TextField | null, text: string): Term | string {
  return text.trim() === ''
    ? 'an empty word finds nothing: leave it out'
    : { kind: 'text', negated, field, text };
}

function parseScore(negated: boolean, value: string): Term | string {
  const [, operator, digits] = /^(>=|<=|>|<)(-?\d+(?:\.\d+)?)$/.exec(value) ?? [];
  if (operator !== '>' && operator !== '>=' && operator !== '<' && operator !== '<=')
    return `score: "${value}" is no comparison: write score:>5, score:>=6.5, score:<2 or score:<=2`;
  return { kind: 'score', negated, operator, score: Number(digits) };
}

/** A day or minute in local time, or so many hours, days or weeks before `now`; null where it is neither. */
function parseTime(value: string, now: number): number | null {
  const [, count, unit = ''] = /^(\d{1,5})([hdw])$/.exec(value) ?? [];
  if (count !== undefined) return now - Number(count) * (unitMs[unit] ?? 0);
  const parts = /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d))?$/.exec(value);
  if (parts === null) return null;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0] = parts
    .slice(1)
    .map((part) => Number(part ?? 0));
  const date = new Date(year, month - 1, day, hour, minute);
  // 2026-02-31 would become a day in March.
  const isReal = date.getMonth() === month - 1 && date.getDate() === day && hour < 24 && minute < 60;
  return isReal ? date.getTime() : null;
}

function unknown(field: string, value: string, known: readonly string[]): string {
  return `${field}: "${value}" is none: write ${known.slice(0, -1).join(', ')} or ${known.at(-1)}`;
}

function unquoted(text: string): string {
  return text.length >= 2 && text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text;
}
