/**
 * stage — puts into a folder what an installation consists of: the npm package's files, the packages it needs at run
 * time, and the Node that came with them. Dockerfile and Debian package are made from it.
 *
 * usage: node packaging/stage.ts FOLDER   (after npm ci; writes dist/ as npm pack does)
 *
 * Production packages are those that package-lock.json does not call dev; one that is missing or of another version
 * than the lock's ends it. No network, no npm.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

type LockEntry = { readonly version: string; readonly dev?: boolean; readonly optional?: boolean };

const top = join(import.meta.dirname, '..');
/** What stands at the top of a package and is there for its makers. */
const ballast =
  /^(?:\..*|tests?|docs|docsify|examples?|benchmarks?|include|share|(?:README|CHANGELOG).*|.*\.html)$/i;

if (import.meta.main) {
  const [target] = process.argv.slice(2);
  if (target === undefined) throw new Error('usage: node packaging/stage.ts FOLDER');
  stage(target);
}

/** Fills `target` (made where missing): bin/, dist/, docs/, node_modules/, and `node`, a link to Node itself. */
export function stage(target: string): void {
  execFileSync(process.execPath, ['--run', 'prepack'], { cwd: top, stdio: ['ignore', 'ignore', 'inherit'] });
  mkdirSync(target, { recursive: true });
  const { files } = readJson('package.json') as { files: readonly string[] };
  for (const file of ['package.json', ...files])
    cpSync(join(top, file), join(target, file), { recursive: true });
  for (const folder of productionPackages()) copyPackage(folder, target);
  // As npm does when it installs a command.
  chmodSync(join(target, 'bin', 'sluice.js'), 0o755);
  symlinkSync(join('node_modules', `node-linux-${process.arch}`, 'bin', 'node'), join(target, 'node'));
}

/** Folders under node_modules of what is needed at run time on this machine, each checked against the lock. */
export function productionPackages(): readonly string[] {
  const { packages } = readJson('package-lock.json') as { packages: Record<string, LockEntry> };
  return Object.entries(packages)
    .filter(([folder, entry]) => folder !== '' && entry.dev !== true && isHere(folder, entry))
    .map(([folder]) => folder);
}

/** An optional package for another platform may be missing. */
function isHere(folder: string, entry: LockEntry): boolean {
  if (!existsSync(join(top, folder))) {
    if (entry.optional === true) return false;
    throw new Error(`Cannot stage ${folder}: not installed, run npm ci`);
  }
  const { version } = readJson(join(folder, 'package.json')) as { version: string };
  if (version === entry.version) return true;
  throw new Error(
    `Cannot stage ${folder}: ${version} is there, package-lock.json has ${entry.version}: run npm ci`,
  );
}

function copyPackage(folder: string, target: string): void {
  const destination = join(target, folder);
  mkdirSync(dirname(destination), { recursive: true });
  // Packages inside this one have entries of their own: one of them may be for development only.
  const own = join(top, folder);
  cpSync(own, destination, {
    recursive: true,
    dereference: true,
    filter: (path) => path === own || dirname(path) !== own || !isBallast(basename(path)),
  });
}

function isBallast(entry: string): boolean {
  return entry === 'node_modules' || ballast.test(entry);
}

function readJson(file: string): unknown {
  return JSON.parse(readFileSync(join(top, file), 'utf8'));
}
