/**
 * clamd-setting — the finding that a setting of clamd is wrong: where it stands, and what to do about it.
 *
 * Hides that the file may be unknown, may not name the setting, or may have it right already, so that only a restart is
 * missing.
 */
import { type Finding, fail } from '../rules/finding.ts';
import { type ClamdConfig, isSwitchedOn, parseClamdSize } from './clamd-config.ts';

/** Where a clamd is, and what is known of its file. */
export type At = { readonly where: string; readonly config: ClamdConfig | null };

/** What is wrong, with the setting that cures it; one that the file has right already asks for a restart. */
export function misset(at: At, name: string, value: string, what: string): Finding {
  const found = at.config?.get(name) ?? null;
  const place = placeOf(at, name);
  if (found !== null && isAlready(found.value, value))
    return fail(what, place, `restart clamd: its file says ${name} ${found.value}, what runs does otherwise`);
  const file = at.config?.file ?? 'clamd.conf';
  const instead = found === null ? '' : ` in place of ${found.value}`;
  return fail(what, place, `write "${name} ${value}"${instead} in ${file} and restart clamd`);
}

/** The limit in the file; null where it is not known, or there is none. */
export function limitOf({ config }: At, name: string): number | null {
  const found = config?.get(name) ?? null;
  return found === null ? null : parseClamdSize(found.value) || null;
}

/** The line of the file where a setting stands; the address of clamd where it does not. */
export function placeOf({ where, config }: At, name: string): string {
  const line = config?.get(name)?.line;
  return config === null || line === undefined ? where : `${config.file}:${line}`;
}

function isAlready(found: string, wanted: string): boolean {
  const wantedSize = parseClamdSize(wanted);
  if (wantedSize !== null) return (parseClamdSize(found) ?? 0) >= wantedSize;
  return isSwitchedOn(found) === isSwitchedOn(wanted);
}
