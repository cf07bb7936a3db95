/**
 * report-text — a scan report and its dispositions in words, the same for `scan` and `quarantine show`.
 */
import type { ScanReport } from '../rules/mail.ts';
import { printable, table } from './table.ts';

type Decided = {
  readonly kind: string;
  readonly verdict: string;
  readonly why: string;
  readonly recipients: readonly { readonly address: string }[];
};

/** What the scanners said: one line each, then the rules that hit, heaviest first. */
export function formatReport({ virus, spam }: ScanReport): string[] {
  const lines = [
    `virus  ${describe(virus)}`,
    `spam   ${spam.kind === 'scored' ? `score ${spam.score}` : describe(spam)}`,
  ];
  if (spam.kind !== 'scored') return lines;
  if (spam.truncated) lines.push('       only the first part was scanned (limits.spamBytes)');
  const rules = spam.tests.toSorted((a, b) => Math.abs(b.score) - Math.abs(a.score));
  if (rules.length > 0) {
    const ignored = new Set(spam.ignored.map(({ name }) => name));
    const rows = rules.map(({ name, score, description }) => [
      ignored.has(name) ? `(${score})` : String(score),
      name,
      ignored.has(name) ? 'not counted: the message was cut' : (description ?? ''),
    ]);
    lines.push('', table(['score', 'rule', 'description'], rows));
  }
  return lines;
}

/** What is done, for whom, and why: one paragraph per disposition. */
export function formatDispositions(dispositions: readonly Decided[]): string[] {
  return dispositions.flatMap(({ kind, verdict, recipients, why }) => [
    `${kind} (${verdict}): ${recipients.map(({ address }) => printable(address)).join(', ')}`,
    `  ${printable(why)}`,
  ]);
}

function describe(result: ScanReport['virus'] | ScanReport['spam']): string {
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
