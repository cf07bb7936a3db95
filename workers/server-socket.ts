/**
 * server-socket — binds a server to a TCP port or a unix socket.
 *
 * Hides what unix sockets need: a stale file of a dead process is taken away (only a socket, only when nobody listens),
 * mode and owner are right before the first client can connect. Fails with PermFail for what an administrator must
 * change, with TempFail where the place is taken.
 */
import { chmodSync, chownSync, lstatSync, readFileSync, unlinkSync } from 'node:fs';
import { createConnection, type Server } from 'node:net';
import type { Address } from '../rules/config.ts';
import { PermFail, TempFail } from './fail.ts';

type UnixAddress = Extract<Address, { kind: 'unix' }>;

const backlog = 1024;

/** Listens; resolves with the address bound, port filled in. Closing the server removes a unix socket's file. */
export async function openServerSocket(server: Server, address: Address): Promise<Address> {
  if (address.kind === 'unix') {
    const owner = address.owner === null ? null : parseOwner(address.owner);
    await removeStaleSocket(address.path);
    await listenUnix(server, address, owner);
    return address;
  }
  await listening(server, address, () => server.listen({ host: address.host, port: address.port, backlog }));
  const bound = server.address();
  return { ...address, port: typeof bound === 'object' && bound !== null ? bound.port : address.port };
}

/** The file appears closed to everybody else, and is opened once it belongs to the right user. */
async function listenUnix(server: Server, address: UnixAddress, owner: Owner | null): Promise<void> {
  const { path, mode } = address;
  const restricted = mode !== null || owner !== null;
  await listening(server, address, () => {
    // bind(2) happens inside listen(), before it returns: nothing else of this process sees this umask.
    const umask = restricted ? process.umask(0o177) : null;
    try {
      server.listen({ path, backlog });
    } finally {
      if (umask !== null) process.umask(umask);
    }
  });
  try {
    if (owner !== null) chownSync(path, owner.uid, owner.gid);
    if (mode !== null) chmodSync(path, mode);
  } catch (cause) {
    server.close();
    throw new PermFail(`Cannot give unix:${path} its mode and owner: ${messageOf(cause)}`, { cause });
  }
}

function listening(server: Server, address: Address, listen: () => void): Promise<void> {
  const name = address.kind === 'unix' ? `unix:${address.path}` : `${address.host}:${address.port}`;
  return new Promise((resolve, reject) => {
    const onError = (cause: Error) => {
      const taken = codeOf(cause) === 'EADDRINUSE';
      const Fail = taken ? TempFail : PermFail;
      reject(new Fail(`Cannot listen on ${name}: ${taken ? 'in use' : cause.message}`, { cause }));
    };
    server.once('error', onError);
    server.once('listening', () => {
      server.off('error', onError);
      resolve();
    });
    try {
      listen();
    } catch (cause) {
      onError(cause instanceof Error ? cause : new Error(String(cause)));
    }
  });
}

async function removeStaleSocket(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket())
    throw new PermFail(`Cannot listen on unix:${path}: a file that is no socket is there`);
  if (await answers(path)) throw new TempFail(`Cannot listen on unix:${path}: another process listens there`);
  unlinkSync(path);
}

/** Only ECONNREFUSED says that nobody listens; EACCES or a full backlog says nothing of the kind. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error) => resolve(codeOf(error) !== 'ECONNREFUSED'));
  });
}

type Owner = { readonly uid: number; readonly gid: number };

/** `user`, `user:group` or their numbers; a user without a group keeps our own group (chown(2): -1). */
function parseOwner(owner: string): Owner {
  const [user = '', group] = owner.split(':');
  return {
    uid: idOf(user, '/etc/passwd'),
    gid: group === undefined ? -1 : idOf(group, '/etc/group'),
  };
}

function idOf(name: string, file: string): number {
  if (/^\d+$/.test(name)) return Number(name);
  const line = readFileSync(file, 'utf8')
    .split('\n')
    .find((entry) => name !== '' && entry.startsWith(`${name}:`));
  const id = line?.split(':')[2];
  if (id === undefined) throw new PermFail(`Cannot own a unix socket as ${name}: no such name in ${file}`);
  return Number(id);
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
