/**
 * sql-values — strings, names and rows in the spelling of a SQL dump.
 *
 * Hides quotes and what stands in them: '' and backslash escapes, _binary and N'…', 0x… and X'…', bytea as \x…, casts,
 * dollar quotes, comments. All positions are offsets into the text. It never throws: what never ends ends with the text.
 */

/** A dump, and whether a backslash inside '…' escapes (MySQL) or is itself (PostgreSQL, SQLite). */
export type SqlText = { readonly text: string; readonly escapes: boolean };

const escaped: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  '0': '\0',
  b: '\b',
  Z: '\x1a',
  f: '\f',
  v: '\v',
};
const literal =
  /(null|default)\b|(true|false)\b|([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)(?![\w'])|0x([\da-f]*)(?!\w)|x'([\da-f]*)'|(e|n|_\w+\s*)?(?=['"])/iy;
const cast = /\s*::\s*(?:"[^"]*"|[\w ]+(?:\(\d+\))?)/y;

/** One `(…)` of values, each as text or null; `values` is null where something else stands in it. */
export function readSqlValues(
  source: SqlText,
  from: number,
): { values: (string | null)[] | null; end: number } {
  const { text } = source;
  const values: (string | null)[] = [];
  let at = skipSpace(text, from + 1);
  for (;;) {
    literal.lastIndex = at;
    const found = literal.exec(text);
    if (found === null) return { values: null, end: at };
    let end = literal.lastIndex;
    if (/^['"]/.test(text.slice(end, end + 1)) && found[4] === undefined && found[5] === undefined) {
      const piece = quoted(source, end, found[6]?.toLowerCase() === 'e');
      values.push(bytesAsText(piece.text, source));
      end = piece.end;
    } else values.push(plain(found));
    cast.lastIndex = end;
    if (cast.test(text)) end = cast.lastIndex;
    at = skipSpace(text, end);
    const next = text.charAt(at);
    if (next === ')') return { values, end: at + 1 };
    if (next !== ',') return { values: null, end: at };
    at = skipSpace(text, at + 1);
  }
}

function plain(found: RegExpExecArray): string | null {
  const [, nothing, truth, number, hex, bits] = found;
  if (nothing !== undefined) return null;
  if (truth !== undefined) return /^t/i.test(truth) ? '1' : '0';
  return number ?? hexText(hex ?? bits ?? '');
}

/** The string whose opening quote stands at `from`. */
function quoted({ text, escapes }: SqlText, from: number, isEscaped = false): { text: string; end: number } {
  const quote = text.charAt(from);
  const pieces: string[] = [];
  let [at, start] = [from + 1, from + 1];
  for (; at < text.length; at++) {
    const character = text.charAt(at);
    const isEscape = character === '\\' && (escapes || isEscaped);
    if (!isEscape && (character !== quote || text.charAt(at + 1) !== quote)) {
      if (character === quote) break;
      continue;
    }
    const next = text.charAt(at + 1);
    pieces.push(text.slice(start, at), isEscape ? (escaped[next] ?? next) : quote);
    at++;
    start = at + 1;
  }
  return { text: pieces.join('') + text.slice(start, at), end: Math.min(at + 1, text.length) };
}

/** PostgreSQL's bytea, as \x7573… or with octal escapes, is text to us. */
function bytesAsText(text: string, { escapes }: SqlText): string {
  if (escapes) return text;
  if (/^\\x(?:[\da-f]{2})*$/i.test(text)) return hexText(text.slice(2));
  return text.replaceAll(/\\(\\|[0-3][0-7]{2})/g, (_, code: string) =>
    code === '\\' ? code : String.fromCharCode(Number.parseInt(code, 8)),
  );
}

function hexText(hex: string): string {
  const bytes = Uint8Array.from(hex.match(/[\da-f]{2}/gi) ?? [], (pair) => Number.parseInt(pair, 16));
  return new TextDecoder().decode(bytes);
}

/** The fields of one line of COPY, tabs between them; `\N` is null. */
export function copiedFields(line: string): (string | null)[] {
  return line
    .replace(/\r$/, '')
    .split('\t')
    .map((field) => {
      if (field === '\\N') return null;
      const text = field.replaceAll(/\\([0-7]{1,3}|x[\da-f]{1,2}|.)/gis, (_, code: string) => {
        if (/^[0-7]/.test(code)) return String.fromCharCode(Number.parseInt(code, 8));
        if (/^x./i.test(code)) return String.fromCharCode(Number.parseInt(code.slice(1), 16));
        return escaped[code] ?? code;
      });
      return bytesAsText(text, { text, escapes: false });
    });
}

/** The names of a `(…)` in lower case: of a column list, or of what CREATE TABLE defines (the first word of each part). */
export function sqlNames(text: string, from: number): { names: readonly string[]; end: number } {
  const names: string[] = [];
  const source = { text, escapes: false };
  let [at, depth, fresh] = [from + 1, 1, true];
  while (at < text.length && depth > 0) {
    const name = fresh ? nameAt(text, (at = skipSpace(text, at))) : null;
    const character = text.charAt(at);
    if (name !== null) {
      names.push(sqlName(name));
      at += name.length;
      fresh = false;
    } else if (character === "'" || text.startsWith('--', at) || text.startsWith('/*', at))
      at = stepOver(source, at);
    else {
      if (character === '(') depth++;
      else if (character === ')') depth--;
      fresh = character === ',' && depth === 1;
      at++;
    }
  }
  return { names, end: at };
}

function nameAt(text: string, at: number): string | null {
  const name = /`[^`]*`|"[^"]*"|[\w$]+/y;
  name.lastIndex = at;
  return name.exec(text)?.[0] ?? null;
}

/** The last part of a name, without quotes, in lower case: "public"."users" → users. */
export function sqlName(written: string): string {
  return (written.split('.').at(-1) ?? '').replaceAll(/[`"[\]]/g, '').toLowerCase();
}

/** Where the statement that goes on at `at` is over: behind its semicolon, or at the end of psql's own line. */
export function stepsOver(source: SqlText, at: number): number {
  const { text } = source;
  if (text.charAt(at) === '\\') return lineEnd(text, at);
  const plainText = /[^;'"`$\-/#]*/y;
  for (let next = at; next < text.length; ) {
    plainText.lastIndex = next;
    plainText.exec(text);
    next = Math.max(next, plainText.lastIndex);
    if (text.charAt(next) === ';') return next + 1;
    // A comment at the start is a statement of its own: what follows may be an INSERT.
    const end = stepOver(source, next);
    if (next === at && end > next + 1) return end;
    next = end;
  }
  return text.length;
}

/** Behind the string or comment at `at`, or one character on. */
function stepOver(source: SqlText, at: number): number {
  const { text } = source;
  const character = text.charAt(at);
  if (character === "'" || character === '"' || character === '`') return quoted(source, at).end;
  if (text.startsWith('--', at) || (character === '#' && source.escapes)) return lineEnd(text, at);
  if (text.startsWith('/*', at)) return behind(text, '*/', at + 2);
  const dollar = /\$(?:[A-Za-z_]\w*)?\$/y;
  dollar.lastIndex = at;
  const tag = dollar.exec(text)?.[0];
  return tag === undefined ? at + 1 : behind(text, tag, at + tag.length);
}

function behind(text: string, mark: string, from: number): number {
  const at = text.indexOf(mark, from);
  return at < 0 ? text.length : at + mark.length;
}

function lineEnd(text: string, from: number): number {
  const end = text.indexOf('\n', from);
  return end < 0 ? text.length : end;
}

/** Behind white space and comments. */
function skipSpace(text: string, from: number): number {
  const space = /(?:\s+|--[^\n]*\n|\/\*[^*]*(?:\*(?!\/)[^*]*)*\*\/)*/y;
  space.lastIndex = from;
  space.exec(text);
  return Math.max(from, space.lastIndex);
}
