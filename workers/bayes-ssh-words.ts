/**
 * bayes-ssh-words — how ssh(1) is called: with our key and the pinned host keys alone, asking nobody, opening nothing.
 *
 * Nothing of the user's or the machine's configuration of ssh counts.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Config } from '../rules/config.ts';
import type { SshNode } from '../rules/node-fields.ts';

type Ssh = Config['bayes']['ssh'];

const aliveSeconds = 15;

/** The words of ssh(1) without a node and a command, see ssh_config(5). */
export function sshWords({ key, knownHosts, connectSeconds }: Ssh): string[] {
  const options = [
    'BatchMode=yes',
    'IdentitiesOnly=yes',
    'IdentityAgent=none',
    'PreferredAuthentications=publickey',
    'StrictHostKeyChecking=yes',
    `UserKnownHostsFile=${quoted(knownHosts)}`,
    'GlobalKnownHostsFile=/dev/null',
    'UpdateHostKeys=no',
    'ForwardAgent=no',
    'ForwardX11=no',
    'ClearAllForwardings=yes',
    'ControlPath=none',
    'EscapeChar=none',
    `ConnectTimeout=${connectSeconds}`,
    `ServerAliveInterval=${aliveSeconds}`,
    'ServerAliveCountMax=3',
  ];
  return ['-F', 'none', '-T', '-i', key, ...options.flatMap((option) => ['-o', option])];
}

/** Whether our key opens ports of that machine's own (ssh -W): `restrict` in authorized_keys forbids it. */
export async function forwardingOf(node: SshNode, ssh: Ssh): Promise<'refused' | 'open' | 'unknown'> {
  const { host, user, port } = node;
  const where = ['-p', String(port), '-l', user, '--', host];
  // Nothing listens on port 1: whoever may open ports is told so by that machine's kernel, others by its sshd.
  const words = [...sshWords(ssh).filter((word) => word !== '-T'), '-W', '127.0.0.1:1', ...where];
  const child = spawn('ssh', words, { env: sshEnv(), cwd: '/', stdio: ['ignore', 'ignore', 'pipe'] });
  const timer = setTimeout(() => child.kill('SIGKILL'), 5000 + ssh.connectSeconds * 1000);
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString('latin1')));
  await once(child, 'close').catch(() => undefined);
  clearTimeout(timer);
  if (/administratively prohibited/.test(said)) return 'refused';
  return /open failed/.test(said) ? 'open' : 'unknown';
}

/** Its environment: English, and nothing of ours. */
export function sshEnv(): Record<string, string> {
  return { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', HOME: process.env.HOME ?? '/' };
}

/** A path as ssh_config(5) reads it: no percent token, no list of several. */
function quoted(path: string): string {
  return `"${path.replaceAll('%', '%%')}"`;
}
