/**
 * perl-text — arithmetic, joining, and strings in double quotes: what Perl makes of texts and numbers.
 *
 * Hides escapes, interpolation and the bound on a text that grows by including itself. What only Perl could tell is
 * `unknown`. It never throws.
 */
import { spend } from './perl-cursor.ts';
import type { Context, PerlPlace, PerlValue } from './perl-cursor.ts';

const textMax = 65_536;

/** Two values with an operator between them: `.`, `+`, `-`, `*`, `/`, `**`. */
export function combined(operator: string, left: PerlValue, right: PerlValue, context: Context): PerlValue {
  const place = { file: left.file, line: left.line };
  const nothing: PerlValue = { ...place, kind: 'unknown', text: `an expression with ${operator}` };
  if (left.kind !== 'text' || right.kind !== 'text') return nothing;
  if (operator === '.') {
    const text = left.text + right.text;
    return text.length <= textMax && spend(context, text.length / 4)
      ? { ...place, kind: 'text', text }
      : nothing;
  }
  const result = calculated(operator, Number(left.text), Number(right.text));
  return Number.isFinite(result) ? { ...place, kind: 'text', text: String(result) } : nothing;
}

function calculated(operator: string, left: number, right: number): number {
  switch (operator) {
    case '+':
      return left + right;
    case '-':
      return left - right;
    case '*':
      return left * right;
    case '/':
      return left / right;
    default:
      return left ** right;
  }
}

/** `lc` and `uc`. */
export function cased(name: string, value: PerlValue): PerlValue {
  if (value.kind !== 'text') return value;
  return { ...value, text: name === 'lc' ? value.text.toLowerCase() : value.text.toUpperCase() };
}

/** A string in double quotes: escapes, and variables that are known texts. */
export function interpolated(raw: string, place: PerlPlace, context: Context): PerlValue {
  const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', '0': '\0', e: '\x1b' };
  const missing: string[] = [];
  const text = raw.replaceAll(
    /\\(.)|\$(?:(\w+)|\{(\w+)\})/gs,
    (_, escaped?: string, plain?: string, braced?: string) => {
      if (escaped !== undefined) return escapes[escaped] ?? escaped;
      const name = `$${plain ?? braced ?? ''}`;
      const value = context.variables.get(name);
      // Text that grows by including itself is cut off long before it fills the memory.
      if (value?.kind === 'text' && value.text.length <= textMax && spend(context, value.text.length / 4))
        return value.text;
      missing.push(name);
      return '';
    },
  );
  const [first] = missing;
  if (first !== undefined)
    return { ...place, kind: 'unknown', text: `${first}, whose value only Perl knows` };
  return text.length > textMax
    ? { ...place, kind: 'unknown', text: 'a very long text' }
    : { ...place, kind: 'text', text };
}
