/**
 * headers — the header lines that Sluice adds, and the door to all it does on raw header octets.
 *
 * Hides the wording and the folding: a line is folded at 78 octets where it can be and never longer than 998. Names of
 * rules, versions and hosts come from outside: whatever could begin another line or break the list becomes `_`.
 */
import type { Marks, RuleHit } from './mail.ts';

export { type ParsedFacts, ledgerSkip, parseFacts } from './facts.ts';
export { type HeaderFilter, type HeaderFilterOptions, createHeaderFilter } from './header-filter.ts';

/** Who marks: `scanner` is our name and version ("Sluice 0.1.0"), as they stand in X-Virus-Scanned. */
export type MarkOptions = { readonly scanner: string; readonly hostname: string };

const foldAt = 78;
const levelMax = 50;
const testsMax = 100;
const wordCharactersMax = 100;
const hostnameCharactersMax = 255;

/** The lines to put in front of a message, each ended by CRLF; no line where there is nothing to say. */
export function formatMarks(marks: Marks, options: MarkOptions): Uint8Array {
  return new TextEncoder().encode([...spamLines(marks), ...virusLines(marks, options)].join(''));
}

/** The line that tells a released message from a forged one: X-Quarantine-ID. */
export function formatQuarantineId(quarantineId: string): Uint8Array {
  return new TextEncoder().encode(foldField('X-Quarantine-ID', [safeToken(quarantineId)]));
}

/**
 * A score with at least `digits` decimals, and with more where fewer would contradict the comparison with `threshold`:
 * 6.4996 is not "6.5" where spam begins at 6.5.
 */
export function formatScore(score: number, threshold: number | null, digits: number): string {
  for (let decimals = digits; decimals <= 15; decimals++) {
    const text = score.toFixed(decimals).replace(/^-(0\.?0*)$/, '$1');
    if (threshold === null || Number(text) >= threshold === score >= threshold) return text;
  }
  return String(score);
}

function spamLines(marks: Marks): string[] {
  const { spam, score, required } = marks;
  if (spam === 'none') return [];
  if (spam === 'unchecked' || score === null) {
    return [foldField('X-Spam-Status', ['unchecked', `(${marks.spamReason ?? 'unknown'})`])];
  }
  const stars = '*'.repeat(Math.max(0, Math.min(levelMax, Math.floor(score))));
  return [
    spam === 'flag' ? foldField('X-Spam-Flag', ['YES']) : '',
    foldField('X-Spam-Score', [formatScore(score, required, 1)]),
    stars === '' ? '' : foldField('X-Spam-Level', [stars]),
    foldField('X-Spam-Status', [
      spam === 'flag' ? 'Yes,' : 'No,',
      `score=${formatScore(score, required, 3)}`,
      `required=${required ?? 'off'}`,
      ...testWords(marks.tests),
    ]),
  ];
}

function virusLines({ virus }: Marks, { scanner, hostname }: MarkOptions): string[] {
  if (virus === 'none') return [];
  if (typeof virus === 'object')
    return [foldField('X-Virus-Status', ['Infected', `(${safeToken(virus.infected)})`])];
  if (virus !== 'clean') return [foldField('X-Virus-Scanned', ['no', `(${virus})`])];
  const version = scanner
    .slice(0, wordCharactersMax)
    .trim()
    .split(/\s+/)
    .map((word) => safeToken(word))
    .join(' ');
  return [
    foldField('X-Virus-Scanned', ['yes', `(${version} at ${safeToken(hostname, hostnameCharactersMax)})`]),
  ];
}

/** The words of `tests=[A=1.2, B=0.3]`; a list that is too long is cut, and says so. */
function testWords(tests: readonly RuleHit[]): string[] {
  const shown = tests
    .slice(0, testsMax)
    .map(({ name, score }) => `${safeToken(name)}=${Number(score.toFixed(3))}`);
  if (tests.length > testsMax) shown.push(`and_${tests.length - testsMax}_more`);
  return `tests=[${shown.join(', ')}]`.split(' ');
}

/** One field, folded in front of a word that would pass column 78. A word that is longer stays whole. */
function foldField(name: string, words: readonly string[]): string {
  const lines = [`${name}:`];
  for (const word of words) {
    const line = lines.at(-1) ?? '';
    const first = lines.length === 1 && line === `${name}:`;
    if (first || line.length + 1 + word.length <= foldAt) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(`\t${word}`);
  }
  return `${lines.join('\r\n')}\r\n`;
}

/** A name from outside as one word that can't end a list, a comment or a line. */
function safeToken(name: string, charactersMax = wordCharactersMax): string {
  const safe = name.slice(0, charactersMax).replaceAll(/[^A-Za-z0-9_.:/@+-]/g, '_');
  return safe === '' ? '_' : safe;
}
