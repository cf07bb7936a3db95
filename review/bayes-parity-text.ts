/**
 * bayes-parity-text — how two nodes judge the same messages, for people: figures first, then the worst, then what may be the cause.
 */
import {
  type Difference,
  type LoneRule,
  type NotScored,
  parityJudgementOf,
  type ParitySummary,
  type Scored,
} from '../rules/bayes-parity.ts';
import type { ParityReport } from '../workers/bayes-parity.ts';
import { printable, table } from './table.ts';

const rulesMax = 10;

/** The whole comparison with one node. */
export function parityText(node: string, report: ParityReport): string {
  const name = printable(node);
  switch (report.kind) {
    case 'off':
      return `${name}: nothing to compare: the primary keeps no sample (bayes.sample)`;
    case 'unknown':
      return `${name}: unknown: ${printable(report.message)}\n  remedy: ${printable(report.remedy)}`;
    case 'compared': {
      const { summary, worst, loneRules, notScored } = report.parity;
      return [
        `${name}: ${judgements[parityJudgementOf(summary)]}: ${paritySummaryText(summary)}`,
        ...report.warnings.map((warning) => `  warning: ${printable(warning)}`),
        ...notScored.map(notScoredLine),
        ...worstLines(worst),
        ...ruleLines(loneRules),
      ].join('\n');
    }
  }
}

/** The figures in one line. */
export function paritySummaryText(summary: ParitySummary): string {
  const { messages, probabilityDiffers, scoreDiffers, flips, worst, notScored } = summary;
  const alike = `${messages} of ${messages + notScored} messages scored on both`;
  const apart = worst > 0 ? ` (at most ${worst.toFixed(2)} apart)` : '';
  return `${alike}: ${probabilityDiffers} with another probability${apart}, ${scoreDiffers} with another score, ${flips} with another verdict`;
}

const judgements = {
  equal: 'judges alike',
  differs: 'judges otherwise',
  unknown: 'unknown',
} as const;

function notScoredLine({ here, there, messages }: NotScored): string {
  const sides = [here === null ? null : `here: ${here}`, there === null ? null : `there: ${there}`];
  const why = sides.filter((side) => side !== null).join('; ');
  return `  ${messages} not scored ${printable(why)}`;
}

function worstLines(worst: readonly Difference[]): string[] {
  if (worst.length === 0) return [];
  const rows = worst.map(({ id, here, there, flips, rulesHere, rulesThere }) => [
    id,
    scoreText(here),
    scoreText(there),
    flips.join(' ') || '-',
    rulesHere.join(' ') || '-',
    rulesThere.join(' ') || '-',
  ]);
  const head = ['the worst', 'here', 'there', 'between them', 'only here', 'only there'];
  return ['', table(head, rows)];
}

/** Probability and score. */
function scoreText({ probability, score }: Scored): string {
  return `${probability === null ? 'no opinion' : probability.toFixed(4)}, ${score}`;
}

function ruleLines(rules: readonly LoneRule[]): string[] {
  if (rules.length === 0) return [];
  const shown = rules.slice(0, rulesMax).map(({ name, here, there }) => [name, String(here), String(there)]);
  const more = rules.length > rulesMax ? [`and ${rules.length - rulesMax} more`] : [];
  return ['', table(['rule that hit on one side', 'only here', 'only there'], shown), ...more];
}
