/**
 * postfix-judge — a parameter in force against what the filter needs: one finding where it is wrong, none where right.
 *
 * Hides how a value's place and Postfix's default are named. A value that the files alone don't tell is a warning.
 */
import { type Finding, warn } from './finding.ts';
import type { MasterService } from './postfix-files.ts';
import type { Check } from './postfix-roles.ts';
import type { Effective } from './postfix-site.ts';

/** What one parameter must be, and what it costs where it is not. */
export type Judge = {
  readonly level: 'warn' | 'fail';
  /** What is wrong with the value, or null. */
  readonly bad: (value: string, check: Check) => string | null;
};

/** A finding where a judge says so, or where the value can't be known from the files. */
export function judged(
  check: Check,
  judge: Judge,
  { name, value, where, known }: Effective,
  service: MasterService,
  remedy: string,
): Finding[] {
  const title = `${service.name}: ${name} = ${value}`;
  if (!known) return [warn(`${title} can't be judged from the files alone`, where ?? service.where, remedy)];
  const bad = judge.bad(value, check);
  if (bad === null) return [];
  return [
    {
      level: judge.level,
      what: `${title}${where === null ? ' (default)' : ''}: ${bad}`,
      where: where ?? service.where,
      remedy,
    },
  ];
}

/** Wrong where anything is set at all. */
export function nonEmpty(value: string, cost: string): string | null {
  return value === '' ? null : cost;
}
