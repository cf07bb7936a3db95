/**
 * check-postfix — reads Postfix's configuration folder for the comparison in rules/postfix-check.ts.
 *
 * Never throws: a folder that can't be read is a finding.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../rules/config.ts';
import { type Finding, fail, warn } from '../rules/finding.ts';
import type { Policies } from '../rules/policy.ts';
import { checkPostfix } from '../rules/postfix-check.ts';
import { tableFiles } from '../rules/postfix-check-tables.ts';

/** Debian's place. */
const usualFolder = '/etc/postfix';

/** Findings on main.cf and master.cf in `folder`; null: the usual one, if Postfix is on this machine at all. */
export function checkPostfixFolder(folder: string | null, config: Config, policies: Policies): Finding[] {
  const place = folder ?? usualFolder;
  try {
    const [main, master] = [textOf(join(place, 'main.cf')), textOf(join(place, 'master.cf'))];
    const tables = tableFiles(main).flatMap((file) => textOrNone(file));
    return checkPostfix({ main, master, tables }, config, policies);
  } catch (error) {
    const state = error instanceof Error ? error.message : String(error);
    const remedy = 'name the folder of main.cf and master.cf: --postfix-config DIR';
    if (folder !== null) return [fail(`Postfix's configuration can not be read: ${state}`, place, remedy)];
    return [warn("Postfix's configuration is not here: nothing was compared", place, remedy)];
  }
}

/** A file of Postfix's; throws where it can't be read. */
export function textOf(file: string): { file: string; text: string } {
  return { file, text: readFileSync(file, 'utf8') };
}

/** As `textOf`, and none where it can't be read. */
export function textOrNone(file: string): { file: string; text: string }[] {
  try {
    return [textOf(file)];
  } catch {
    return []; // the check does with those that can be read
  }
}
