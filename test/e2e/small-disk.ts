/**
 * small-disk — a disk of a test's own (tmpfs), which can be filled to the last octet and emptied again. Needs root.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export type SmallDisk = {
  readonly folder: string;
  /** Takes what room is left. */
  fill(): void;
  /** Gives it back. */
  free(): void;
  /** Idempotent. */
  unmount(): void;
};

/** Mounts a disk on `folder`, which is made where it is missing. */
export function mountSmallDisk(folder: string, sizeBytes: number): SmallDisk {
  mkdirSync(folder, { recursive: true });
  const options = `size=${sizeBytes},mode=0700`;
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'sluice-test', folder], { stdio: 'inherit' });
  let mounted = true;
  const filler = join(folder, 'filler');
  return {
    folder,
    fill() {
      for (const size of [1 << 20, 1 << 16, 1 << 12]) fillBy(filler, size);
    },
    free: () => rmSync(filler, { force: true }),
    unmount() {
      if (mounted) execFileSync('umount', ['-l', folder], { stdio: 'inherit' });
      mounted = false;
    },
  };
}

function fillBy(file: string, sizeBytes: number): void {
  try {
    for (;;) writeFileSync(file, Buffer.alloc(sizeBytes), { flag: 'a' });
  } catch (error) {
    if (!String(error).includes('ENOSPC')) throw error;
  }
}
