/**
 * unit-file — what a unit of ours says, as systemd reads it: settings with all their lines, and its system call filter.
 *
 * Names of call groups are resolved by `systemd-analyze syscall-filter`. Knows only what our units use.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Allowed } from './jail.ts';

export type UnitFile = {
  /** Every value of a setting of [Service], in order. */
  all(setting: string): readonly string[];
  /** The last value, '' where there is none. */
  one(setting: string): string;
  /** Lines of [Service], without comments. */
  readonly service: readonly string[];
  /** What its process may call and open. */
  allowed(): Allowed;
};

const familyNumbers: Readonly<Record<string, number>> = { AF_UNIX: 1, AF_INET: 2, AF_INET6: 10 };

/** Reads a unit file. */
export function readUnit(file: string): UnitFile {
  const [, section = ''] = /^\[Service\]$([^]*?)^\[/m.exec(readFileSync(file, 'utf8')) ?? [];
  const service = section.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const all = (setting: string) =>
    service.filter((line) => line.startsWith(`${setting}=`)).map((line) => line.slice(setting.length + 1));
  const one = (setting: string) => all(setting).at(-1) ?? '';
  return {
    all,
    one,
    service,
    allowed: () => ({
      calls: callsOf(all('SystemCallFilter')),
      families: one('RestrictAddressFamilies')
        .split(' ')
        .map((name) => familyNumbers[name] ?? 0),
    }),
  };
}

/** systemd.exec(5): the first line allows, a line with ~ takes away. */
function callsOf(lines: readonly string[]): readonly string[] {
  const calls = new Set<string>();
  for (const line of lines) {
    const names = line.replace(/^~/, '').split(' ').flatMap(callsNamed);
    for (const name of names) {
      if (line.startsWith('~')) calls.delete(name);
      else calls.add(name);
    }
  }
  return [...calls];
}

function callsNamed(name: string): readonly string[] {
  if (!name.startsWith('@')) return [name];
  const listed = execFileSync('systemd-analyze', ['syscall-filter', name], { encoding: 'utf8' });
  return listed
    .split('\n')
    .slice(1)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .flatMap(callsNamed);
}
