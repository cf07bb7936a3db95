/**
 * sshd-rig — a real sshd on loopback with keys of its own, whose one authorized key leads to one command; and a way to it that
 * can be cut.
 *
 * Needs root and openssh-server. Nothing of the machine's own sshd is used or changed.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Daemon, freePort, startDaemon } from '../../demo/daemon.ts';
import type { Config } from '../../rules/config.ts';
import type { SshNode } from '../../rules/node-fields.ts';
import { temporaryFolder } from '../folder.ts';

export type SshConfig = Config['bayes']['ssh'];

export type Sshd = {
  readonly folder: string;
  readonly port: number;
  readonly node: SshNode;
  /** As sluice.yaml would have it: the authorized key, the pinned host key. */
  readonly ssh: SshConfig;
  readonly daemon: Daemon;
  /** What its one key leads to from now on, with or without `restrict`. */
  authorize(command: string | null, options?: string): void;
  /** Another host key, as of a machine that was set up anew. */
  changeHostKey(): void;
  /** A key that is not authorized. */
  otherKey(): string;
};

const session = '/run/sshd';

/** Starts sshd; `command` is forced on whoever comes with the key. `rootLogin` as sluice bayes setup asks for it. */
export async function startSshd(
  t: TestContext,
  command: string,
  rootLogin = 'forced-commands-only',
): Promise<Sshd> {
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o755);
  mkdirSync(session, { recursive: true, mode: 0o755 });
  const file = (name: string) => join(folder, name);
  for (const name of ['host', 'user', 'stranger']) makeKey(file(name));
  const port = await freePort();
  const authorize = (wanted: string | null, options = 'restrict') => {
    const forced = wanted === null ? options : `${options},command="${wanted.replaceAll('"', '\\"')}"`;
    writeFileSync(file('authorized'), `${forced} ${readFileSync(file('user.pub'), 'utf8')}`, { mode: 0o600 });
  };
  authorize(command);
  writeFileSync(file('sshd_config'), configOf(port, file('host'), file('authorized'), rootLogin));
  const [type, key] = readFileSync(file('host.pub'), 'utf8').split(' ');
  writeFileSync(file('known_hosts'), `[127.0.0.1]:${port} ${type} ${key}\n`);
  const daemon = await startDaemon({
    command: '/usr/sbin/sshd',
    args: ['-D', '-e', '-f', file('sshd_config')],
    logFile: file('sshd.log'),
    isUp: () => isListening(port),
  });
  t.after(() => daemon.stop());
  return {
    folder,
    port,
    node: { host: '127.0.0.1', user: 'root', port },
    ssh: { key: file('user'), knownHosts: file('known_hosts'), connectSeconds: 5, deadlineSeconds: 60 },
    daemon,
    authorize,
    changeHostKey: () => {
      rmSync(file('host'));
      makeKey(file('host'));
      // sshd reads its keys at SIGHUP.
      daemon.kill('SIGHUP');
    },
    otherKey: () => file('stranger'),
  };
}

/** A way to `port` that ends after so many octets to it (`up`) or back (`down`); resolves with the port to use. */
export async function cutWay(
  t: TestContext,
  port: number,
  limit: { readonly up?: number; readonly down?: number },
): Promise<{ readonly port: number; readonly seen: { up: number; down: number } }> {
  const sockets = new Set<Socket>();
  const seen = { up: 0, down: 0 };
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    for (const socket of [near, far]) {
      sockets.add(socket);
      // A reset is what the test is about.
      socket.on('error', () => undefined);
    }
    const pass = (from: Socket, to: Socket, way: 'up' | 'down') =>
      from.on('data', (chunk: Buffer) => {
        const room = (limit[way] ?? Number.POSITIVE_INFINITY) - seen[way];
        seen[way] += chunk.length;
        to.write(chunk.subarray(0, room));
        if (chunk.length > room) for (const socket of [near, far]) socket.destroy();
      });
    pass(near, far, 'up');
    pass(far, near, 'down');
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('Cannot listen');
  return { port: address.port, seen };
}

/** The same machine by another port: its host key is pinned for that one, too. */
export function by(sshd: Sshd, port: number): SshNode {
  const text = readFileSync(sshd.ssh.knownHosts, 'utf8');
  const [first = ''] = text.split('\n');
  writeFileSync(sshd.ssh.knownHosts, `${text}${first.replace(/^\S+/, `[127.0.0.1]:${port}`)}\n`);
  return { ...sshd.node, port };
}

function configOf(port: number, hostKey: string, authorized: string, rootLogin: string): string {
  return [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${hostKey}`,
    `AuthorizedKeysFile ${authorized}`,
    'PidFile none',
    'UsePAM no',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    `PermitRootLogin ${rootLogin}`,
    // The folder is under /tmp.
    'StrictModes no',
    'MaxStartups 100',
    '',
  ].join('\n');
}

function makeKey(file: string): void {
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'sluice-test', '-f', file]);
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false; // not yet
  } finally {
    socket.destroy();
  }
}
