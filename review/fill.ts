/**
 * fill — text in lines of a given width, for people at a terminal.
 *
 * Widths are in columns of a terminal: CJK and emoji take two, combining marks none.
 */

/** Breaks at blanks, but not at U+00A0; no line is longer than `width` unless a word is. A last line of one short word is avoided. */
export function fill(text: string, width: number): string[] {
  return fillParts(text.split(/[ \n]+/), width);
}

/** As `fill`, with parts that are not to be broken. */
export function fillParts(parts: readonly string[], width: number): string[] {
  const lines = greedy(parts, width);
  const [last = ''] = lines.slice(-1);
  if (lines.length < 2 || last.includes(' ')) return lines;
  // An orphan: as many lines of less width have more words in the last one.
  for (let narrower = width - 1; narrower > width / 2; narrower--) {
    const other = greedy(parts, narrower);
    if (other.length > lines.length) break;
    if (other.at(-1)?.includes(' ') === true) return other;
  }
  return lines;
}

function greedy(parts: readonly string[], width: number): string[] {
  const lines: string[] = [];
  for (const part of parts) {
    const last = lines.at(-1);
    if (last !== undefined && widthOf(last) + 1 + widthOf(part) <= width)
      lines[lines.length - 1] = `${last} ${part}`;
    else lines.push(part);
  }
  return lines;
}

/** Terms in a column of their own, what they mean beside them; a term too long for it stands on a line of its own. */
export function fillTerms(
  terms: readonly (readonly [string, string])[],
  width: number,
  termColumns = 26,
): string[] {
  const column = Math.min(termColumns, Math.max(...terms.map(([term]) => term.length + 2)));
  return terms.flatMap(([term, meaning]) => {
    const [first = '', ...rest] = fill(meaning, width - column);
    const others = rest.map((line) => ' '.repeat(column) + line);
    return term.length + 2 > column
      ? [term, ' '.repeat(column) + first, ...others]
      : [term.padEnd(column) + first, ...others];
  });
}

/** Columns that a terminal gives to this text. */
export function widthOf(text: string): number {
  // oxlint-disable-next-line no-control-regex -- the quick way for what nearly all texts are made of
  if (/^[\u0000-\u007f]*$/.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += columnsOf(character);
  return width;
}

/** As much of the text as fits, with "…" for the rest. */
export function cut(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let kept = '';
  let columns = 0;
  for (const character of text) {
    columns += columnsOf(character);
    if (columns > width - 1) break;
    kept += character;
  }
  return `${kept}…`;
}

function columnsOf(character: string): number {
  if (/^\p{M}$/u.test(character)) return 0;
  return /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\u3000-\u303e\uff01-\uff60\uffe0-\uffe6]$/u.test(
    character,
  )
    ? 2
    : 1;
}
