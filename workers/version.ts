/**
 * version — the version of this Sluice, as package.json has it.
 *
 * Hides that the file lies one folder higher when the code runs out of dist/.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Version of the package, for X-Virus-Scanned, `--version` and the log. */
export const version = readVersion();

function readVersion(): string {
  const candidates = [
    join(import.meta.dirname, '..', 'package.json'),
    join(import.meta.dirname, '..', '..', 'package.json'),
  ];
  const file = candidates.find((candidate) => existsSync(candidate));
  if (file === undefined) return 'unknown';
  const parsed: unknown = JSON.parse(readFileSync(file, 'utf8'));
  return parsed instanceof Object && 'version' in parsed ? String(parsed.version) : 'unknown';
}
