/**
 * perl-tokens — a Perl configuration text as words, variables, strings, regular expressions and operators, each with its line.
 *
 * Hides Perl's quoting (q qq qw qr, here documents, POD, comments) and where a `/`, `%` or `<<` begins something rather
 * than divides. Linear in the length of the text; nothing is run. It never throws: what never ends ends with the text.
 */

export type Token = {
  /** `text` interpolates its variables where `raw` is true; `opaque` is code that only Perl could run. */
  readonly kind: 'variable' | 'word' | 'number' | 'text' | 'words' | 'regexp' | 'opaque' | 'operator';
  readonly text: string;
  readonly line: number;
  readonly raw?: boolean;
  readonly flags?: string;
  /** Of an opening bracket: where in the list of tokens its partner stands. */
  readonly partner?: number;
};

type Piece = { readonly text: string; readonly end: number };

const closers: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}', '<': '>' };
const operators =
  /<=>|\*\*=|\|\|=|&&=|\/\/=|\.\.\.|=>|->|=~|!~|==|!=|<=|>=|\.=|\+=|-=|\*=|\/=|\*\*|\|\||&&|\/\/|\+\+|--|\.\.|<<|>>|[\s\S]/uy;
const variable =
  /(?:\$#?|[@%&])(?:\^?\w+(?:::\w+)*|\{\s*\^?\w+(?:::\w+)*\s*\})|[$@][&`'+!/\\,;.0-9_@$<>()[\]^-]/y;
const word = /[A-Za-z_]\w*(?:::[A-Za-z_]\w*)*/y;
const number =
  /0[xX][\da-fA-F_]+|0[bB][01_]+|(?:\d[\d_]*)(?:\.(?!\.)[\d_]*)?(?:[eE][+-]?\d+)?|\.\d[\d_]*(?:[eE][+-]?\d+)?/y;
const quoteWords = /^(?:q|qq|qw|qr|qx|m|s|tr|y)$/;
const hereDocument = /<<(~?)(?:"([^"\n]*)"|'([^'\n]*)'|([A-Za-z_]\w*))/y;

/** The tokens of a Perl text, up to its end, `__END__` or `__DATA__`. */
export function tokensOf(text: string): readonly Token[] {
  const tokens: Token[] = [];
  const open: number[] = [];
  const awaited = new Map<string, number>();
  let [at, line, counted, hereEnd] = [0, 1, 0, -1];

  function add(kind: Token['kind'], content: string, end: number, extra: Partial<Token> = {}): void {
    for (; counted < at; counted++) if (text.charCodeAt(counted) === 10) line++;
    tokens.push({ kind, text: content, line, ...extra });
    at = end;
  }

  function bracket(character: string): void {
    const closer = character === '<' ? undefined : closers[character];
    if (closer !== undefined) {
      open.push(tokens.length);
      awaited.set(closer, (awaited.get(closer) ?? 0) + 1);
    } else if ((awaited.get(character) ?? 0) > 0) {
      // An unbalanced one closes what it fits, so that one slip does not swallow the rest.
      const closerOf = (index: number) => closers[tokens[index]?.text ?? ''] ?? '';
      for (const index of open.splice(open.findLastIndex((at) => closerOf(at) === character))) {
        awaited.set(closerOf(index), (awaited.get(closerOf(index)) ?? 1) - 1);
        mark(index, tokens.length);
      }
    }
  }

  function mark(index: number, partner: number): void {
    const token = tokens[index];
    if (token !== undefined) tokens[index] = { ...token, partner };
  }

  /** Whether the last token can be divided: then `/` divides, `%` is modulo, `<<` shifts. */
  function afterOperand(): boolean {
    const last = tokens.at(-1);
    if (last === undefined || last.kind === 'word') return false;
    return last.kind !== 'operator' || /^[)\]}]$/.test(last.text);
  }

  function quoted(name: string, from: number): void {
    const first = delimited(text, from);
    if (name === 'q') add('text', unescapedSingle(first.text), first.end);
    else if (name === 'qq') add('text', first.text, first.end, { raw: true });
    else if (name === 'qw') add('words', first.text, first.end);
    else if (name === 'qx') add('opaque', name, first.end);
    else {
      const isPair = name === 's' || name === 'tr' || name === 'y';
      // s/a/b/ shares the delimiter in the middle, s{a}{b} does not.
      const second = closers[text.charAt(from)] === undefined ? first.end - 1 : skipSpace(text, first.end);
      const end = isPair ? delimited(text, second).end : first.end;
      const flags = matchAt(/[a-z]*/y, text, end) ?? '';
      if (name === 'qr') add('regexp', first.text, end + flags.length, { flags });
      else add('opaque', name, end + flags.length);
    }
  }

  /** `q`, `s` and the like quote, unless they are a key (`s => 1`), a member (`->y`) or a file test (`-s`). */
  function wordOrQuote(name: string): void {
    const end = at + name.length;
    const from = skipSpace(text, end);
    const delimiter = text.charAt(from);
    const isMember = text.charAt(at - 1) === '-' || text.slice(at - 2, at) === '->';
    const isDelimiter = !/^[\w,;)}=]?$/.test(delimiter) && !(delimiter === '#' && from > end);
    if (quoteWords.test(name) && isDelimiter && !isMember) quoted(name, from);
    else add('word', name, end);
  }

  function next(): boolean {
    if (text.charCodeAt(at) === 10 && hereEnd >= 0) [at, hereEnd] = [hereEnd, -1];
    const character = text.charAt(at);
    if (/\s/.test(character)) at++;
    else if (character === '#') at = endOfLine(text, at);
    else if (
      character === '=' &&
      (at === 0 || text.charAt(at - 1) === '\n') &&
      /^=[a-zA-Z]/.test(text.slice(at, at + 2))
    ) {
      const cut = text.indexOf('\n=cut', at);
      at = cut < 0 ? text.length : endOfLine(text, cut + 1);
    } else return token(character);
    return true;
  }

  function token(character: string): boolean {
    const operand = afterOperand();
    const name = matchAt(word, text, at);
    if (name === '__END__' || name === '__DATA__') return false;
    if (name !== null) return (wordOrQuote(name), true);
    const here = operand ? null : matchAt(hereDocument, text, at);
    if (here !== null) return (heredoc(here), true);
    // `%` and `&` before a name are sigils where no operand stands before them.
    const found = operand && (character === '%' || character === '&') ? null : matchAt(variable, text, at);
    if (found !== null) add('variable', plainName(found), at + found.length);
    else if (character === "'" || character === '"' || character === '`') {
      const piece = delimited(text, at);
      if (character === "'") add('text', unescapedSingle(piece.text), piece.end);
      else add(character === '"' ? 'text' : 'opaque', piece.text, piece.end, { raw: true });
    } else if (
      /[\d.]/.test(character) &&
      matchAt(number, text, at) !== null &&
      !(operand && character === '.')
    ) {
      const digits = matchAt(number, text, at) ?? character;
      add('number', digits, at + digits.length);
    } else if (character === '/' && !operand) quoted('m', at);
    else {
      bracket(character);
      const operator = matchAt(operators, text, at) ?? character;
      add('operator', operator, at + operator.length);
    }
    return true;
  }

  function heredoc(found: string): void {
    const [, , double, single, bare] = /<<(~?)(?:"([^"\n]*)"|'([^'\n]*)'|(\w+))/.exec(found) ?? [];
    const tag = double ?? single ?? bare ?? '';
    let from = hereEnd >= 0 ? hereEnd + 1 : endOfLine(text, at) + 1;
    const start = from;
    while (from < text.length && text.slice(from, endOfLine(text, from)).trim() !== tag)
      from = endOfLine(text, from) + 1;
    const body = text.slice(start, from);
    hereEnd = Math.min(endOfLine(text, from), text.length);
    if (single === undefined) add('text', body, at + found.length, { raw: true });
    else add('text', body, at + found.length);
  }

  while (at < text.length && next());
  for (const index of open) mark(index, tokens.length);
  return tokens;
}

/** `${name}` as `$name`. */
function plainName(found: string): string {
  return found.length > 2 ? found.replace(/^(\W+?)\{\s*(.*?)\s*\}$/, '$1$2') : found;
}

/** What stands between the delimiter at `from` and its partner: brackets nest, a backslash protects. */
function delimited(text: string, from: number): Piece {
  const open = text.charAt(from);
  const close = closers[open] ?? open;
  let depth = 1;
  let at = from + 1;
  for (; at < text.length; at++) {
    const character = text.charAt(at);
    if (character === '\\') at++;
    else if (character === close && --depth === 0) break;
    else if (character === open) depth++;
  }
  return { text: text.slice(from + 1, at), end: Math.min(at + 1, text.length) };
}

function unescapedSingle(text: string): string {
  return text.replaceAll(/\\([\\'])/g, '$1');
}

function skipSpace(text: string, from: number): number {
  return from + (matchAt(/\s*/y, text, from)?.length ?? 0);
}

function endOfLine(text: string, from: number): number {
  const end = text.indexOf('\n', from);
  return end < 0 ? text.length : end;
}

function matchAt(pattern: RegExp, text: string, at: number): string | null {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? null;
}
