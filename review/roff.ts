/**
 * roff — text for man(7): nothing in it is taken for a request or an escape, and no source line is long.
 *
 * Hides what must be written how (groff_char(7)): a hyphen-minus that can be copied, quotes that stay straight.
 */
import { fill } from './fill.ts';

const escapes: Readonly<Record<string, string>> = {
  '\\': '\\e',
  '-': '\\-',
  "'": '\\(aq',
  '"': '\\(dq',
  '`': '\\(ga',
  '^': '\\(ha',
  '~': '\\(ti',
  '\u00a0': '\\ ',
};
const sourceColumns = 78;

/** Text as it is, whatever is in it. */
export function literal(text: string): string {
  const escaped = text.replaceAll(/[\\'"`^~\u00a0-]/g, (character) => escapes[character] ?? character);
  const ascii = escaped.replaceAll(
    /[^\u0020-\u007e]/gu,
    (character) => `\\[u${character.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')}]`,
  );
  return /^[.']/.test(ascii) ? `\\&${ascii}` : ascii;
}

/** A paragraph in source lines, each sentence on its own; in prose a hyphen is one, unless it begins an option. */
export function paragraph(text: string): string[] {
  const sentences = text.split(/(?<=[.:?]) (?=[A-Z])/);
  return sentences
    .flatMap((sentence) => fill(sentence, sourceColumns - 20))
    .map((line) => literal(line).replaceAll(/(?<=[a-z])\\-(?=[a-z])/gi, '-'));
}

/** A request with arguments. */
export function request(name: string, ...words: readonly string[]): string {
  return `.${[name, ...words.map((word) => `"${literal(word)}"`)].join(' ')}`;
}

/** A part of a usage line, never broken: what is typed as it is in bold, what stands for something else in italics. */
export function usage(text: string): string {
  return text
    .replaceAll(' ', '\u00a0')
    .split(/([A-Z][A-Z]+|\bN\b|[[\]|.]+|\s+)/)
    .filter((part) => part !== '')
    .map((part) => {
      // Behind dots at the end of a line roff would begin a new sentence.
      if (/^[\s[\]|.]+$/.test(part)) return literal(part) + (part.endsWith('.') ? '\\&' : '');
      return `${/^[A-Z]+$/.test(part) ? '\\fI' : '\\fB'}${literal(part)}\\fR`;
    })
    .join('');
}
