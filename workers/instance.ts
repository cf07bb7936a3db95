/**
 * instance — a folder of this process alone, recognisable as an orphan once the process is dead.
 *
 * Hides the lock: a unix socket `owner` in the folder, on which the process listens. The kernel closes it however the
 * process dies, so there is no pid to be reused and no clock to be wrong, and it holds across containers that share
 * the disk. A folder gets its final name only when its socket listens; refused there means dead for ever.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { createConnection, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import type { Log } from './log.ts';

export type Instance = {
  /** Path of the folder, mode 0700. */
  readonly folder: string;
  /** Gives up the lock and removes the folder with all that is in it. */
  close(): Promise<void>;
};

/** What the folder of an instance that has started is called. */
export const instancePattern = /^\d{1,10}-[0-9a-f]{8}$/;
const namePattern = /^(?:starting-)?\d+-[0-9a-f]{8}$/;
/** sockaddr_un (unix(7)) has room for 107 octets. */
const socketPathOctetsMax = 107;

/**
 * Makes and locks a folder under `parent` (made with mode 0700 where missing), after removing those of dead instances.
 * Throws where that is impossible: there is nothing to run on then.
 */
export async function createInstance(parent: string, log: Log): Promise<Instance> {
  await mkdir(parent, { recursive: true, mode: 0o700 });
  await sweep(parent, log);
  for (let tries = 1; ; tries++) {
    try {
      return await claim(parent, `${process.pid}-${randomBytes(4).toString('hex')}`);
    } catch (error) {
      // Another process that starts now may sweep a folder before its socket listens.
      if (tries === 3) throw error;
    }
  }
}

/** Instances that died under `parent` and were not swept yet; rejects where it can't be listed. */
export async function deadInstances(parent: string): Promise<string[]> {
  const folders = (await readdir(parent)).filter((name) => namePattern.test(name));
  const states = await Promise.all(folders.map((name) => stateOf(join(parent, name))));
  return folders.filter((_, at) => states[at] === 'dead');
}

/** Octets by which the path of `parent` is too long for the lock of every instance under it; 0 where it is short enough. */
export function excessOctets(parent: string): number {
  // The longest process id is 4194304 (proc(5), pid_max).
  const longest = Buffer.byteLength(ownerOf(join(parent, 'starting-4194304-00000000')));
  return Math.max(0, longest - socketPathOctetsMax);
}

async function claim(parent: string, name: string): Promise<Instance> {
  const starting = join(parent, `starting-${name}`);
  const folder = join(parent, name);
  if (Buffer.byteLength(ownerOf(starting)) > socketPathOctetsMax)
    throw new Error(
      `Cannot lock ${folder}: the path is too long for a unix socket, set "spool" to a shorter one`,
    );
  await mkdir(starting, { mode: 0o700 });
  const server = createServer((socket) => socket.destroy());
  try {
    server.listen(ownerOf(starting));
    await once(server, 'listening');
    await rename(starting, folder);
    if ((await stateOf(folder)) !== 'alive') throw new Error(`Cannot lock ${folder}: its socket was swept`);
  } catch (error) {
    server.close();
    await rm(starting, { recursive: true, force: true });
    throw error;
  }
  server.unref();
  return { folder, close: () => release(server, folder) };
}

async function release(server: Server, folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  if (server.listening) {
    server.close();
    await once(server, 'close');
  }
}

async function sweep(parent: string, log: Log): Promise<void> {
  for (const name of await readdir(parent)) {
    const folder = join(parent, name);
    if (!namePattern.test(name) || (await stateOf(folder)) !== 'dead') continue;
    try {
      await rm(folder, { recursive: true, force: true });
      log.info({ folder }, 'Removed the spool of a dead instance');
    } catch (error) {
      log.warn({ folder, err: error }, 'Cannot remove the spool of a dead instance');
    }
  }
}

/** `unknown` where the answer is neither a connection nor a refusal: such a folder is left alone. */
function stateOf(folder: string): Promise<'alive' | 'dead' | 'unknown'> {
  return new Promise((resolve) => {
    const socket = createConnection({ path: ownerOf(folder) });
    socket.once('connect', () => {
      socket.destroy();
      resolve('alive');
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code === 'ECONNREFUSED' || error.code === 'ENOENT' ? 'dead' : 'unknown');
    });
  });
}

function ownerOf(folder: string): string {
  return join(folder, 'owner');
}
