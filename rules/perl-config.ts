/**
 * perl-config — what a configuration written in Perl sets, without running Perl.
 *
 * Hides statements: assignments and chains of them, members of hashes, push, loops over a list, later files over
 * earlier ones. What only Perl could tell (conditions, code, commands) is named with its line, never guessed. Time and
 * memory are bounded by the length of the text and by a budget. It never throws.
 */
import type { SourceText } from './document.ts';
import { inside, isNext, peek, placeOf, skip, spend, unknown } from './perl-cursor.ts';
import type { Context, Cursor, PerlEntry, PerlPlace, PerlValue } from './perl-cursor.ts';
import { tokensOf } from './perl-tokens.ts';
import type { Token } from './perl-tokens.ts';
import { entriesOf, readList, readScalar } from './perl-values.ts';

export type { PerlEntry, PerlPlace, PerlValue } from './perl-cursor.ts';

/** A statement that only Perl could run: its first words, and the variables in it. */
export type Unread = PerlPlace & { readonly text: string; readonly names: readonly string[] };
export type PerlConfig = {
  /** By name with sigil; the place is that of the assignment. */
  readonly variables: ReadonlyMap<string, PerlValue>;
  /** Functions called for their effect: `read_hash(\%x, 'file')`, `dkim_key(…)`. */
  readonly calls: readonly (PerlValue & { readonly kind: 'call' })[];
  readonly unread: readonly Unread[];
  /** False where the texts would have made more values than the budget allows: the rest was not read. */
  readonly complete: boolean;
};

const valuesMax = 3_000_000;
const unreadMax = 500;
const sigils = new Set(['$', '@', '%']);
const ignoredWords = new Set(['use', 'no', 'package', 'require', 'return']);
const modifiers = new Set(['if', 'unless', 'while', 'until', 'for', 'foreach', 'and', 'or']);
const compounds = new Set(['if', 'unless', 'while', 'until', 'sub', 'BEGIN', 'END', 'else', 'elsif']);

/** Reads the files in order: later ones win. */
export function readPerl(files: readonly SourceText[]): PerlConfig {
  const variables = new Map<string, PerlValue>();
  const calls: (PerlValue & { kind: 'call' })[] = [];
  const unread: Unread[] = [];
  const budget = { left: valuesMax };
  for (const { file, text } of files) {
    const context = { file, variables, budget };
    const tokens = tokensOf(text);
    createReader(context, variables, calls, unread).run({ tokens, at: 0, end: tokens.length });
  }
  return { variables, calls, unread, complete: budget.left > 0 };
}

function createReader(
  context: Context,
  variables: Map<string, PerlValue>,
  calls: (PerlValue & { kind: 'call' })[],
  unread: Unread[],
) {
  function run(cursor: Cursor): void {
    while (cursor.at < cursor.end && spend(context, 1)) statement(cursor);
  }

  function statement(cursor: Cursor): void {
    const token = peek(cursor);
    if (token === undefined) return;
    if (token.kind === 'operator' && token.text === '{') return run(inside(cursor));
    if (token.kind === 'operator' && /^[;)\]}]$/.test(token.text)) cursor.at++;
    else if (token.kind === 'word' && /^for(each)?$/.test(token.text)) loop(cursor);
    else if (token.kind === 'word' && compounds.has(token.text)) block(cursor);
    else {
      const { tokens, at } = cursor;
      while (cursor.at < cursor.end && !isNext(cursor, ';')) skip(cursor);
      simple({ tokens, at, end: cursor.at++ });
    }
  }

  /** A condition or a function: up to the end of its block, and it is not read. */
  function block(cursor: Cursor): void {
    const from = cursor.at;
    while (cursor.at < cursor.end && !isNext(cursor, '{') && !isNext(cursor, ';')) skip(cursor);
    skip(cursor);
    note({ tokens: cursor.tokens, at: from, end: cursor.at });
  }

  /** `for my $x (LIST) { … }`, run once for each member. */
  function loop(cursor: Cursor): void {
    const from = cursor.at++;
    if (isNext(cursor, 'my') || isNext(cursor, 'our')) cursor.at++;
    const named = peek(cursor)?.kind === 'variable' ? peek(cursor)?.text : undefined;
    if (named !== undefined) cursor.at++;
    if (!isNext(cursor, '(')) return block(cursor);
    const list = inside(cursor);
    if (!isNext(cursor, '{')) return;
    const body = inside(cursor);
    const counts = list.tokens
      .slice(list.at, list.end)
      .some((one) => one.kind === 'operator' && one.text === ';');
    if (counts) note({ tokens: cursor.tokens, at: from, end: cursor.at });
    else repeat(named ?? '$_', list, () => run({ ...body }));
  }

  function repeat(name: string, list: Cursor, act: () => void): void {
    const before = variables.get(name);
    for (const item of readList(list, context)) {
      if (!spend(context, 1)) break;
      variables.set(name, item);
      act();
    }
    if (before === undefined) variables.delete(name);
    else variables.set(name, before);
  }

  function simple(cursor: Cursor): void {
    while (isNext(cursor, 'my') || isNext(cursor, 'our') || isNext(cursor, 'local')) cursor.at++;
    const modifier = modifierOf(cursor);
    if (modifier !== null) return modified(cursor, modifier);
    const token = peek(cursor);
    if (token?.kind === 'variable') {
      const from = cursor.at;
      if (assign(cursor) === null) note({ ...cursor, at: from });
    } else if (token?.kind === 'word') command(cursor, token);
    else if (token !== undefined && token.kind !== 'number' && token.kind !== 'text') note(cursor);
  }

  function modified(cursor: Cursor, at: number): void {
    const word = cursor.tokens[at]?.text ?? '';
    if (!/^for(each)?$/.test(word)) return note(cursor);
    repeat('$_', { ...cursor, at: at + 1 }, () => simple({ ...cursor, end: at }));
  }

  function command(cursor: Cursor, { text }: Token): void {
    if (ignoredWords.has(text)) return;
    const from = cursor.at;
    const isBlock =
      text === 'map' && (isNext(cursor, '{', 1) || (isNext(cursor, '(', 1) && isNext(cursor, '{', 2)));
    const target = peek(cursor, 1);
    if (text === 'push' || text === 'unshift') append(cursor);
    else if (text === 'undef' && target?.kind === 'variable' && cursor.at + 2 === cursor.end) {
      const place = placeOf(target, context);
      const isScalar = target.text.startsWith('$');
      set(
        target.text,
        isScalar ? { ...place, kind: 'undef' } : { ...place, kind: 'list', items: [] },
        target,
      );
    } else if (text === 'chomp' && isNext(cursor, '(', 1)) {
      cursor.at++;
      if (assign(inside(cursor)) === null) note({ ...cursor, at: from });
    } else if (isBlock) {
      cursor.at++;
      const whole = isNext(cursor, '(') ? inside(cursor) : cursor;
      const body = inside(whole);
      if (isNext(whole, ',')) whole.at++;
      repeat('$_', whole, () => run({ ...body }));
    } else {
      const value = readScalar(cursor, context);
      if (value.kind === 'call') calls.push(value);
      else note({ ...cursor, at: from });
    }
  }

  /** push(@name, LIST) and unshift(@name, LIST), with and without parentheses. */
  function append(cursor: Cursor): void {
    const [from, isPush] = [cursor.at, isNext(cursor, 'push')];
    cursor.at++;
    const words = isNext(cursor, '(') ? inside(cursor) : cursor;
    const name = peek(words);
    words.at++;
    if (name?.kind !== 'variable' || !name.text.startsWith('@')) return note({ ...cursor, at: from });
    const before = variables.get(name.text);
    const [old, added] = [before?.kind === 'list' ? before.items : [], readList(words, context)];
    const place = before ?? placeOf(name, context);
    spend(context, old.length / 16);
    const items = isPush ? [...old, ...added] : [...added, ...old];
    variables.set(name.text, { file: place.file, line: place.line, kind: 'list', items });
  }

  /** An assignment, or a chain of them; null where it is none that can be read. */
  function assign(cursor: Cursor): PerlValue | null {
    const token = peek(cursor);
    if (token?.kind !== 'variable' || !sigils.has(token.text.charAt(0))) return null;
    cursor.at++;
    const key = isNext(cursor, '{') ? keyOf(inside(cursor)) : null;
    const operator = peek(cursor);
    cursor.at++;
    if (operator?.kind !== 'operator' || !/^(?:\|\||\/\/|[.+*-])?=$/.test(operator.text)) return null;
    if (key !== null) return setMember(cursor, token, key, operator.text);
    const isChain = peek(cursor)?.kind === 'variable' && (isNext(cursor, '=', 1) || isNext(cursor, '{', 1));
    const chained = isChain ? assign({ ...cursor }) : null;
    const value = chained ?? valueFor(token, cursor);
    const before = variables.get(token.text);
    if (operator.text === '=') return set(token.text, value, token);
    if (operator.text === '||=' || operator.text === '//=') return before ?? set(token.text, value, token);
    return set(token.text, unknown(cursor, context, cursor.at), token);
  }

  function valueFor(token: Token, cursor: Cursor): PerlValue {
    const place = placeOf(token, context);
    if (token.text.startsWith('$')) {
      const from = cursor.at;
      const value = readScalar(cursor, context);
      return cursor.at < cursor.end ? unknown(cursor, context, from) : value;
    }
    const items = readList(cursor, context);
    if (token.text.startsWith('@')) return { ...place, kind: 'list', items };
    return { ...place, kind: 'hash', entries: entriesOf(items) };
  }

  function set(name: string, value: PerlValue, token: Token): PerlValue {
    const placed = { ...value, ...placeOf(token, context) };
    variables.set(name, placed);
    return placed;
  }

  /** `$name{key} = value`: a member more of `%name`. */
  function setMember(cursor: Cursor, token: Token, key: PerlValue, operator: string): PerlValue | null {
    if (operator !== '=' || !token.text.startsWith('$')) return null;
    const isChain = peek(cursor)?.kind === 'variable' && (isNext(cursor, '=', 1) || isNext(cursor, '{', 1));
    const value = (isChain ? assign({ ...cursor }) : null) ?? readScalar(cursor, context);
    const name = `%${token.text.slice(1)}`;
    const place = placeOf(token, context);
    const entry = { ...place, key: key.kind === 'text' ? key.text : null, value };
    const before = variables.get(name);
    // In place: thousands of such lines must not copy the hash each time. Nobody else holds this array.
    if (before?.kind === 'hash') (before.entries as PerlEntry[]).push(entry);
    else variables.set(name, { ...place, kind: 'hash', entries: [entry] });
    return value;
  }

  function keyOf(cursor: Cursor): PerlValue {
    return readScalar(cursor, context);
  }

  function note({ tokens, at, end }: Cursor): void {
    const words = tokens.slice(at, Math.min(end, at + 2000));
    const [first] = words;
    if (first === undefined || unread.length >= unreadMax) return;
    const text = words
      .slice(0, 8)
      .map((one) => one.text.slice(0, 40))
      .join(' ');
    const names = words.flatMap((one, index) =>
      one.kind === 'variable' ? [memberName(one.text, words[index + 1])] : [],
    );
    unread.push({ ...placeOf(first, context), text, names: [...new Set(names)] });
  }

  return { run };
}

/** The variable that is meant: `$x{` speaks of `%x`. */
function memberName(name: string, next: Token | undefined): string {
  if (next?.text === '{') return `%${name.slice(1)}`;
  return next?.text === '[' ? `@${name.slice(1)}` : name;
}

/** Where a statement has its `if`, `for` and so on behind it, or null. */
function modifierOf(cursor: Cursor): number | null {
  const scout = { ...cursor };
  skip(scout);
  while (scout.at < scout.end) {
    const token = peek(scout);
    if (token?.kind === 'word' && modifiers.has(token.text) && !isNext(scout, '=>', 1)) return scout.at;
    skip(scout);
  }
  return null;
}
