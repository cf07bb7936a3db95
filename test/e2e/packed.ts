/**
 * packed — the archive that `npm pack` makes of these sources, without touching the checkout.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

const top = join(import.meta.dirname, '..', '..');

/** Makes it in `folder`, which exists; gives its path. */
export function packSluice(folder: string): string {
  // A copy, because prepack writes dist/ and a checkout under test stays as it is.
  const source = join(folder, 'source');
  cpSync(top, source, {
    recursive: true,
    filter: (path) => !/\/(?:node_modules|\.git|dist)(?:\/|$)/.test(path.slice(top.length)),
  });
  symlinkSync(join(top, 'node_modules'), join(source, 'node_modules'));
  execFileSync('npm', ['pack', '--silent', '--pack-destination', folder], { cwd: source, stdio: 'pipe' });
  const archive = readdirSync(folder).find((name) => name.endsWith('.tgz'));
  if (archive === undefined) throw new Error('Cannot pack Sluice: npm pack made no archive');
  return join(folder, archive);
}
