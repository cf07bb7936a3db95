/**
 * spamassassin-config — what the site's configuration of SpamAssassin says of one setting.
 *
 * Hides which files there are and that the last line counts (Mail::SpamAssassin::Conf(3)). A running spamd may have read
 * them before the last change. Never throws: what can't be read is as if it were not there.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Debian's folder, and the one that SpamAssassin falls back on there. */
export const usualSiteFolder = '/etc/spamassassin';

/** A setting that one value follows, and where it stands; null where no file names it. */
export function settingIn(folder: string, name: string): { value: string; place: string } | null {
  let found: { value: string; place: string } | null = null;
  for (const file of configFiles(folder)) {
    for (const [at, line] of linesOf(file).entries()) {
      const [, key, value] = /^\s*(\w+)\s+(\S+)/.exec(line) ?? [];
      if (key === name && value !== undefined) found = { value, place: `${file}:${at + 1}` };
    }
  }
  return found;
}

/** Every line that begins with one of the names, as SpamAssassin reads them: .pre files first. `value`: the rest of the line. */
export function linesNamed(
  folder: string,
  names: readonly string[],
): { readonly name: string; readonly value: string; readonly place: string }[] {
  return [...configFiles(folder, '.pre'), ...configFiles(folder)].flatMap((file) =>
    linesOf(file).flatMap((line, at) => {
      const [, name, value = ''] = /^\s*(\w+)(?:\s+([^#]*?))?\s*(?:#.*)?$/.exec(line) ?? [];
      return name !== undefined && names.includes(name) ? [{ name, value, place: `${file}:${at + 1}` }] : [];
    }),
  );
}

function configFiles(folder: string, ending = '.cf'): string[] {
  try {
    const names = readdirSync(folder).filter((name) => name.endsWith(ending));
    return names.toSorted().map((name) => join(folder, name));
  } catch {
    return []; // not to be read: the default is as good a guess as any
  }
}

function linesOf(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n');
  } catch {
    return []; // spamd may read it, we may not
  }
}
