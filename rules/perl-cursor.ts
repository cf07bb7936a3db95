/**
 * perl-cursor — reading along the tokens of a Perl text: what comes next, what stands inside a bracket, what could not be told.
 *
 * Hides partners of brackets and the budget that ends what would grow without end. It never throws; every step moves on.
 */
import type { Token } from './perl-tokens.ts';

export type PerlPlace = { readonly file: string; readonly line: number };
/** A value and where it stands. Numbers are texts, as in Perl; `list` and `hash` also stand for references to one. */
export type PerlValue = PerlPlace &
  (
    | { readonly kind: 'text'; readonly text: string }
    | { readonly kind: 'undef' }
    | { readonly kind: 'list'; readonly items: readonly PerlValue[] }
    | { readonly kind: 'hash'; readonly entries: readonly PerlEntry[] }
    | { readonly kind: 'regexp'; readonly pattern: string; readonly flags: string }
    /** `\$x`, `\@x`, `\%x`: whatever the variable holds in the end. */
    | { readonly kind: 'reference'; readonly name: string }
    | { readonly kind: 'call'; readonly name: string; readonly items: readonly PerlValue[] }
    | { readonly kind: 'unknown'; readonly text: string }
  );
/** A member of a hash; the key is null where only Perl could tell it. */
export type PerlEntry = PerlPlace & { readonly key: string | null; readonly value: PerlValue };
/** Variables by name with sigil (`$x`, `@x`, `%x`). */
export type Variables = ReadonlyMap<string, PerlValue>;

/** A run of tokens: from `at` up to `end`; reading moves `at` on. */
export type Cursor = { readonly tokens: readonly Token[]; at: number; readonly end: number };
/** What reading an expression needs: variables so far, and how much may still be made. */
export type Context = {
  readonly file: string;
  readonly variables: Variables;
  readonly budget: { left: number };
};

/** The token at the cursor, or undefined at the end. */
export function peek(cursor: Cursor, ahead = 0): Token | undefined {
  const at = cursor.at + ahead;
  return at < cursor.end ? cursor.tokens[at] : undefined;
}

/** Whether the token at the cursor is this operator or word. */
export function isNext(cursor: Cursor, text: string, ahead = 0): boolean {
  const token = peek(cursor, ahead);
  return token !== undefined && (token.kind === 'operator' || token.kind === 'word') && token.text === text;
}

/** What stands inside the bracket at the cursor, which moves behind it. */
export function inside(cursor: Cursor): Cursor {
  const close = Math.min(peek(cursor)?.partner ?? cursor.end, cursor.end);
  const inner = { tokens: cursor.tokens, at: cursor.at + 1, end: close };
  cursor.at = Math.min(close + 1, cursor.end);
  return inner;
}

/** Moves over one token, or over a whole bracket. */
export function skip(cursor: Cursor): void {
  const partner = peek(cursor)?.partner;
  cursor.at = Math.min(partner === undefined ? cursor.at + 1 : partner + 1, cursor.end);
}

/** The tokens since `from` as a value that only Perl could tell. */
export function unknown(cursor: Cursor, context: Context, from: number): PerlValue {
  const token = cursor.tokens[Math.min(from, cursor.tokens.length - 1)];
  const words = cursor.tokens.slice(from, Math.min(Math.max(cursor.at, from + 1), from + 8));
  const text = words.map((one) => one.text.slice(0, 40)).join(' ');
  return { file: context.file, line: token?.line ?? 1, kind: 'unknown', text };
}

export function placeOf(token: Token, context: Context): PerlPlace {
  return { file: context.file, line: token.line };
}

/** Takes from the budget; false where it is used up. */
export function spend(context: Context, amount: number): boolean {
  context.budget.left -= amount;
  return context.budget.left > 0;
}
