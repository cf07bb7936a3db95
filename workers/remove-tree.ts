/**
 * remove-tree — removes a folder in which another user may be busy.
 *
 * Node goes into folders by their names: whoever exchanges one for a link just then has root empty what the link leads to. rm(1)
 * goes by descriptors and follows none. Rejects with what it says; nothing happens where there is nothing.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** Removes it with all that is in it; of a link, the link. */
export async function removeTree(path: string): Promise<void> {
  await promisify(execFile)('rm', ['-rf', '--one-file-system', '--', path], {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
  });
}
