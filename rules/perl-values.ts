/**
 * perl-values — what an expression in a Perl configuration gives, without Perl.
 *
 * Hides arithmetic, interpolation, lists that flatten, hashes, references that are looked up later, and the few functions
 * that configurations use (lc, uc, qw, map over a list). Everything else gives `unknown` with its text: nothing is run,
 * nothing is read, and a budget ends what would grow without end. It never throws.
 */
import { inside, isNext, peek, placeOf, skip, spend, unknown } from './perl-cursor.ts';
import type { Context, Cursor, PerlEntry, PerlValue, Variables } from './perl-cursor.ts';
import { cased, combined, interpolated } from './perl-text.ts';
import type { Token } from './perl-tokens.ts';

const depthMax = 60;
const precedence: Readonly<Record<string, number>> = { '.': 1, '+': 1, '-': 1, '*': 2, '/': 2, '**': 3 };

/** One expression up to the next comma or the end. */
export function readScalar(cursor: Cursor, context: Context, depth = 0): PerlValue {
  const from = cursor.at;
  const value = binary(cursor, context, 0, depth);
  if (cursor.at >= cursor.end || isNext(cursor, ',') || isNext(cursor, '=>')) return value;
  while (cursor.at < cursor.end && !isNext(cursor, ',')) skip(cursor);
  return unknown(cursor, context, from);
}

/** A comma list up to the end, as Perl flattens it: parentheses vanish, `@x` and `%x` are their members. */
export function readList(cursor: Cursor, context: Context, depth = 0): readonly PerlValue[] {
  const items: PerlValue[] = [];
  while (cursor.at < cursor.end && spend(context, 1)) {
    if (isNext(cursor, ',') || isNext(cursor, '=>')) cursor.at++;
    else for (const item of listItem(cursor, context, depth)) if (spend(context, 1)) items.push(item);
  }
  cursor.at = cursor.end;
  return items;
}

/** A flat list as the members of a hash. */
export function entriesOf(items: readonly PerlValue[]): readonly PerlEntry[] {
  const entries: PerlEntry[] = [];
  for (let at = 0; at < items.length; at += 2) {
    const [key, value] = [items[at], items[at + 1]];
    if (key === undefined) continue;
    const { file, line } = key;
    const name = key.kind === 'text' ? key.text : null;
    entries.push({ file, line, key: name, value: value ?? { file, line, kind: 'undef' } });
  }
  return entries;
}

function listItem(cursor: Cursor, context: Context, depth: number): readonly PerlValue[] {
  const [token, next] = [peek(cursor), peek(cursor, 1)];
  if (token === undefined) return [];
  const alone = next === undefined || next.text === ',' || next.text === '=>';
  if (token.kind === 'words') {
    cursor.at++;
    const words = token.text.trim().split(/\s+/);
    return words
      .filter((text) => text !== '')
      .map((text) => ({ ...placeOf(token, context), kind: 'text', text }));
  }
  if (token.kind === 'variable' && alone && (token.text.startsWith('@') || token.text.startsWith('%'))) {
    cursor.at++;
    return membersOf(context.variables.get(token.text), token, context);
  }
  if (token.text === 'map' && token.kind === 'word') return mapped(cursor, context, depth);
  if (token.text === '(' && token.kind === 'operator' && depth < depthMax) {
    const after = (token.partner ?? cursor.end) + 1;
    const behind = after < cursor.end ? cursor.tokens[after] : undefined;
    if (behind === undefined || behind.text === ',' || behind.text === '=>') {
      const inner = { tokens: cursor.tokens, at: cursor.at + 1, end: Math.min(after - 1, cursor.end) };
      cursor.at = Math.min(after, cursor.end);
      return readList(inner, context, depth + 1);
    }
  }
  const before = cursor.at;
  const value = readScalar(cursor, context, depth + 1);
  if (cursor.at === before) skip(cursor);
  return [value];
}

/** What a variable adds to a list. */
function membersOf(value: PerlValue | undefined, token: Token, context: Context): readonly PerlValue[] {
  if (value === undefined) return [];
  if (value.kind === 'list') return value.items;
  if (value.kind === 'hash') {
    return value.entries.flatMap((entry): PerlValue[] => {
      const { file, line, key } = entry;
      return [
        key === null
          ? { file, line, kind: 'unknown', text: 'a key' }
          : { file, line, kind: 'text', text: key },
        entry.value,
      ];
    });
  }
  return [{ ...placeOf(token, context), kind: 'unknown', text: token.text }];
}

/** `map { lc($_) => 1 } LIST` and `map(($_, 1), LIST)`: a list of its members, each with what stands behind it. */
function mapped(cursor: Cursor, context: Context, depth: number): readonly PerlValue[] {
  const from = cursor.at++;
  const isCall = isNext(cursor, '(') && !isNext(cursor, '{', 1);
  const whole = isNext(cursor, '(') ? inside(cursor) : { ...cursor };
  const block = isNext(whole, '{') || isCall ? inside(whole) : null;
  cursor.at = cursor.end;
  if (block === null) return [unknown({ ...cursor, at: from }, context, from)];
  if (isNext(whole, ',')) whole.at++;
  const made: PerlValue[] = [];
  for (const item of readList(whole, context, depth + 1)) {
    const variables = new Map([['$_', item]]);
    const inner = { ...context, variables: layered(variables, context.variables) };
    made.push(...readList({ ...block }, inner, depth + 1));
  }
  return made;
}

function layered(near: Variables, far: Variables): Variables {
  const get = (name: string) => near.get(name) ?? far.get(name);
  return { get } as Variables;
}

function binary(cursor: Cursor, context: Context, least: number, depth: number): PerlValue {
  let left = unary(cursor, context, depth);
  for (;;) {
    const token = peek(cursor);
    const rank = token?.kind === 'operator' ? precedence[token.text] : undefined;
    if (token === undefined || rank === undefined || rank <= least) return left;
    cursor.at++;
    left = combined(token.text, left, binary(cursor, context, rank, depth), context);
  }
}

function unary(cursor: Cursor, context: Context, depth: number): PerlValue {
  const token = peek(cursor);
  if (token === undefined || depth > depthMax || !spend(context, 1))
    return unknown(cursor, context, cursor.at);
  const place = placeOf(token, context);
  switch (token.kind) {
    case 'number':
      cursor.at++;
      return { ...place, kind: 'text', text: String(Number(token.text.replaceAll('_', ''))) };
    case 'text':
      cursor.at++;
      return token.raw === true
        ? interpolated(token.text, place, context)
        : { ...place, kind: 'text', text: token.text };
    case 'regexp':
      cursor.at++;
      return { ...place, kind: 'regexp', pattern: token.text, flags: token.flags ?? '' };
    case 'variable':
      return scalarVariable(cursor, context, token);
    case 'word':
      return named(cursor, context, depth, token);
    case 'operator':
      return prefixed(cursor, context, depth, token);
    case 'words':
    case 'opaque':
      cursor.at++;
      return { ...place, kind: 'unknown', text: token.kind === 'words' ? 'qw()' : 'code' };
    default:
      return assertNever(token.kind);
  }
}

function scalarVariable(cursor: Cursor, context: Context, token: Token): PerlValue {
  const value = token.text.startsWith('$') ? context.variables.get(token.text) : undefined;
  const from = cursor.at++;
  if (isNext(cursor, '{') || isNext(cursor, '[') || isNext(cursor, '->')) {
    while (isNext(cursor, '{') || isNext(cursor, '[') || isNext(cursor, '(') || isNext(cursor, '->'))
      skip(cursor);
    return unknown(cursor, context, from);
  }
  return value === undefined ? unknown(cursor, context, from) : { ...value, ...placeOf(token, context) };
}

/** A word: `undef`, a key before `=>`, a function, or a constant like D_DISCARD, which stands for itself. */
function named(cursor: Cursor, context: Context, depth: number, token: Token): PerlValue {
  const place = placeOf(token, context);
  cursor.at++;
  if (isNext(cursor, '=>')) return { ...place, kind: 'text', text: token.text };
  if (token.text === 'sub' || token.text === 'do') {
    while (cursor.at < cursor.end && !isNext(cursor, ',')) skip(cursor);
    return { ...place, kind: 'unknown', text: `${token.text} {…}` };
  }
  if (isNext(cursor, '(')) return called(inside(cursor), context, depth, token);
  if (token.text === 'undef') return { ...place, kind: 'undef' };
  const isOneWordFunction = token.text === 'lc' || token.text === 'uc';
  if (isOneWordFunction && cursor.at < cursor.end)
    return cased(token.text, unary(cursor, context, depth + 1));
  return { ...place, kind: 'text', text: token.text };
}

function called(words: Cursor, context: Context, depth: number, token: Token): PerlValue {
  const items = readList(words, context, depth + 1);
  const [first] = items;
  if (token.text === 'undef') return { ...placeOf(token, context), kind: 'undef' };
  if ((token.text === 'lc' || token.text === 'uc') && first !== undefined) return cased(token.text, first);
  return { ...placeOf(token, context), kind: 'call', name: token.text, items };
}

function prefixed(cursor: Cursor, context: Context, depth: number, token: Token): PerlValue {
  const place = placeOf(token, context);
  const from = cursor.at;
  if (token.text === '[')
    return { ...place, kind: 'list', items: readList(inside(cursor), context, depth + 1) };
  if (token.text === '{') {
    return { ...place, kind: 'hash', entries: entriesOf(readList(inside(cursor), context, depth + 1)) };
  }
  if (token.text === '(') {
    const inner = inside(cursor);
    const items = readList(inner, context, depth + 1);
    return items.length === 1 && items[0] !== undefined ? items[0] : unknown(cursor, context, from);
  }
  cursor.at++;
  const operand = peek(cursor);
  if (
    token.text === '\\' &&
    operand?.kind === 'variable' &&
    !isNext(cursor, '{', 1) &&
    !isNext(cursor, '[', 1)
  ) {
    cursor.at++;
    return { ...place, kind: 'reference', name: operand.text };
  }
  if (token.text !== '-' && token.text !== '+') return unknown(cursor, context, from);
  const value = unary(cursor, context, depth + 1);
  if (value.kind !== 'text') return unknown(cursor, context, from);
  // CC_SPAM and the like are written +CC_SPAM where a word would be taken for a key.
  if (token.text === '+') return value;
  return Number.isFinite(Number(value.text)) ? { ...value, text: String(-Number(value.text)) } : value;
}

function assertNever(value: never): never {
  throw new TypeError(`Cannot read a Perl token: unknown ${JSON.stringify(value)}`);
}
