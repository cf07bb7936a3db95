/**
 * report-text — why a message is judged as it is, in words: the same for `scan` and `quarantine show`.
 *
 * What the scanners said, each rule that hit, what was decided for whom and by which threshold, and the thresholds of
 * each recipient with where they were set.
 */
import type { HeldUnder } from '../rules/decide.ts';
import type { ScanReport, SpamResult, VirusResult } from '../rules/mail.ts';
import { fill } from './fill.ts';
import { printable, table } from './table.ts';

/** What is done, for whom, and why. */
type Decided = {
  readonly kind: string;
  readonly verdict: string;
  readonly why: string;
  readonly recipients: readonly { readonly address: string }[];
};

/** All that explains what becomes of a message. */
export type Explanation = {
  readonly report: ScanReport;
  readonly dispositions: readonly Decided[];
  /** Each policy that was looked at, and whose it is. */
  readonly policies: readonly { readonly values: HeldUnder; readonly recipients: readonly string[] }[];
};

/** The explanation line by line, in lines of so many columns. */
export function formatExplanation(
  { report, dispositions, policies }: Explanation,
  columns: number,
): string[] {
  return [
    ...reportLines(report, columns),
    '',
    ...dispositions.flatMap((one) => decidedLines(one, columns)),
    ...policies.flatMap((one) => ['', ...policyLines(one, columns)]),
  ];
}

/** What the scanners said: one line each, then the rules that hit, heaviest first. */
function reportLines({ virus, spam }: ScanReport, columns: number): string[] {
  const lines = [`virus  ${describe(virus)}`, `spam   ${describe(spam)}`];
  if (spam.kind !== 'scored') return lines;
  if (spam.truncated) lines.push('       only the first part was scanned (limits.spamBytes)');
  const rules = spam.tests.toSorted((a, b) => Math.abs(b.score) - Math.abs(a.score));
  if (rules.length === 0) return lines;
  const ignored = new Set(spam.ignored.map(({ name }) => name));
  const rows = rules.map(({ name, score, description }) => [
    ignored.has(name) ? `(${score})` : String(score),
    name,
    ignored.has(name) ? 'not counted: the message was cut' : (description ?? ''),
  ]);
  return [...lines, '', table(['score', 'rule', 'description'], rows, { columns, wrapsLast: true })];
}

function decidedLines({ kind, verdict, recipients, why }: Decided, columns: number): string[] {
  const whom = recipients.map(({ address }) => address).join(', ');
  return [...paragraph(`${kind} (${verdict}): ${whom}`, columns, ''), ...paragraph(why, columns, '  ')];
}

function policyLines(
  { values: { thresholds, retentionDays }, recipients }: Explanation['policies'][number],
  columns: number,
): string[] {
  const rows = Object.entries({ ...thresholds, 'kept for days': retentionDays }).map(
    ([name, { value, origin }]) => [name, value === null ? 'off' : String(value), origin],
  );
  const [first = '', ...others] = recipients;
  const who = others.length === 0 ? first : `${first} and ${others.length} more`;
  return [
    `policy of ${printable(who)}`,
    table(['threshold', 'value', 'set by'], rows, { columns, wrapsLast: true }),
  ];
}

function describe(result: VirusResult | SpamResult): string {
  switch (result.kind) {
    case 'clean':
      return 'clean';
    case 'infected':
      return `infected: ${printable(result.name)}`;
    case 'scored':
      return `score ${result.score}`;
    case 'unchecked':
      return `unchecked (${result.reason}): ${printable(result.detail)}`;
    case 'off':
      return 'off';
  }
}

/** Text as lines that fit, the first like the rest behind `margin`; without bounds one line. */
function paragraph(text: string, columns: number, margin: string): string[] {
  const harmless = printable(text);
  const lines = Number.isFinite(columns) ? fill(harmless, columns - margin.length) : [harmless];
  return lines.map((line) => margin + line);
}
