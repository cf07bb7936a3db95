/**
 * check-text — the findings of `sluice check` as people read them: everything in order, then what is to be done.
 *
 * What is wrong stands at the end, failures last, where the eye is when the command is done. Texts of daemons and peers
 * are among it: nothing that a terminal would act on gets through.
 */
import type { Finding } from '../rules/finding.ts';
import { printable } from './table.ts';

/** Findings that belong together. */
export type FindingGroup = { readonly name: string; readonly findings: readonly Finding[] };

/** How many findings of each level. */
export type Count = Readonly<Record<Finding['level'], number>>;

const marks = { ok: 'ok  ', warn: 'warn', fail: 'FAIL' } as const;

/** One line per finding, by group. */
export function formatGroup({ name, findings }: FindingGroup): string {
  return [name, ...findings.map((finding) => `  ${marks[finding.level]}  ${formatWhat(finding)}`)].join('\n');
}

/** What is to be done, failures last, and the count. */
export function formatSummary(groups: readonly FindingGroup[]): string {
  const wrong = (['warn', 'fail'] as const).flatMap((level) =>
    groups.flatMap(({ name, findings }) =>
      findings.filter((finding) => finding.level === level).map((finding) => ({ name, finding })),
    ),
  );
  const todo = wrong.flatMap(({ name, finding }) => [
    `  ${marks[finding.level]}  ${name}: ${formatWhat(finding)}`,
    `        ${printable(finding.remedy ?? '')}`,
  ]);
  const { ok, warn, fail } = countOf(groups);
  const count = `${fail} failed, ${warn} ${warn === 1 ? 'warning' : 'warnings'}, ${ok} ok`;
  return [...(todo.length === 0 ? [] : ['What to do', ...todo, '']), count].join('\n');
}

/** Counts the findings of all groups. */
export function countOf(groups: readonly FindingGroup[]): Count {
  const count = { ok: 0, warn: 0, fail: 0 };
  for (const { findings } of groups) for (const { level } of findings) count[level]++;
  return count;
}

function formatWhat({ what, where }: Finding): string {
  return printable(where === null ? what : `${what} (${where})`);
}
