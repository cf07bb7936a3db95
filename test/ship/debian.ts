/**
 * debian — a plain Debian to ship into: a tree as the Dockerfile's base image has it, made once and kept.
 *
 * Hides mmdebstrap, the cache (/var/cache/sluice-tests, or SLUICE_TEST_CACHE) and how a command runs in such a tree:
 * as root, with a /proc and process ids of its own, nothing of it outliving the command. Needs root.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const top = join(import.meta.dirname, '..', '..');

/** True for `npm run deb:test`: all of it, however long it takes. */
export const isLong = process.env['SLUICE_TEST_LONG'] === '1';

/** Release of Debian that the Dockerfile's BASE names. */
export const release =
  /^ARG BASE=debian:(\w+)-slim$/m.exec(readFileSync(join(top, 'Dockerfile'), 'utf8'))?.[1] ?? '';

/** What took long to make and can be used again. */
export const cache = process.env['SLUICE_TEST_CACHE'] ?? '/var/cache/sluice-tests';

/** A tar archive of a minimal Debian: the essential packages and apt. */
export function baseArchive(): string {
  const architecture = execFileSync('dpkg', ['--print-architecture'], { encoding: 'utf8' }).trim();
  const file = join(cache, `debian-${release}-${architecture}.tar`);
  if (existsSync(file)) return file;
  mkdirSync(cache, { recursive: true });
  // Tests run side by side: the second one waits for what the first one makes.
  const words = [join(cache, '.lock'), 'sh', '-ec', makeOnce, 'sh', release, file];
  execFileSync('flock', words, { stdio: 'pipe' });
  return file;
}

const makeOnce = `[ ! -e "$2" ] || exit 0
mmdebstrap --quiet --variant=minbase --mode=root "$1" "$2.new.tar"
mv "$2.new.tar" "$2"`;

export type Tree = {
  readonly root: string;
  /** Runs a command inside; nothing of it goes on afterwards. */
  run(...command: readonly string[]): { code: number | null; stdout: string; stderr: string };
  remove(): void;
};

/** A tree to install into. */
export function createTree(): Tree {
  const root = mkdtempSync(join(tmpdir(), 'sluice-tree-'));
  execFileSync('tar', ['-xpf', baseArchive(), '-C', root, '--numeric-owner']);
  return {
    root,
    run(...command) {
      const inside = ['--mount', '--pid', '--fork', '--kill-child', `--mount-proc=${join(root, 'proc')}`];
      const { status, stdout, stderr } = spawnSync('unshare', [...inside, 'chroot', root, ...command], {
        encoding: 'utf8',
        env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' },
      });
      return { code: status, stdout, stderr };
    },
    remove: () => rmSync(root, { recursive: true }),
  };
}
