/**
 * check-files — whether the files that the administrator wrote can be read by Sluice, and changed by nobody else.
 *
 * To be asked as the user that Sluice runs as; root would be let through everywhere. Never throws.
 */
import { accessSync, constants, statSync } from 'node:fs';
import { type Finding, fail, ok, warn } from '../rules/finding.ts';
import { findUser } from './local-process.ts';

/** Findings on one file that is there; `name` as in "Policies". */
export function checkFile(name: string, file: string): Finding {
  const uid = process.getuid?.() ?? 0;
  const user = findUser(uid)?.name ?? `uid ${uid}`;
  try {
    accessSync(file, constants.R_OK);
    const { mode } = statSync(file);
    if ((mode & 0o002) === 0) return ok(`${name} in order`, file);
    const what = `Everybody on this machine can change ${file} (mode ${(mode & 0o777).toString(8).padStart(4, '0')})`;
    return warn(what, file, `chmod o-w ${file}`);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    const remedy = `let ${user} read it: chgrp ${user} ${file} && chmod 0640 ${file}; and pass through the folders above it`;
    return fail(`${name} in order, but ${user}, as whom Sluice runs, can not read it: ${code}`, file, remedy);
  }
}
