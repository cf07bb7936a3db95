/**
 * openssh — asks the programs of OpenSSH other than ssh(1): ssh-keygen(1) about keys, sshd(8) about its settings.
 *
 * Never rejects: a program that is not here, or says no, is null.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const timeoutMs = 20_000;
const env = { PATH: '/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C' };

/** The public key of a private one without a passphrase, as a line of authorized_keys has it. */
export function publicKeyOf(file: string): Promise<string | null> {
  return said('ssh-keygen', '-y', '-P', '', '-f', file);
}

/** Size, fingerprint, comment and type of each key in a file. */
export function fingerprintsOf(file: string): Promise<string | null> {
  return said('ssh-keygen', '-l', '-f', file);
}

/** The lines of a file of known hosts that are about a host, as `ssh` looks it up. */
export function pinnedKeysOf(host: string, port: number, file: string): Promise<string | null> {
  return said('ssh-keygen', '-F', port === 22 ? host : `[${host}]:${port}`, '-f', file);
}

/** Makes a key without a passphrase; false where that failed. */
export async function makeKey(file: string, comment: string): Promise<boolean> {
  return (await said('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', comment, '-f', file)) !== null;
}

/** What sshd would do with a login of root: name in lower case → values. It needs root. */
export async function sshdSettings(): Promise<ReadonlyMap<string, readonly string[]> | null> {
  const text = await said('sshd', '-T', '-C', 'user=root,host=localhost,addr=127.0.0.1');
  if (text === null) return null;
  const settings = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const [name = '', ...values] = line.split(' ');
    settings.set(name, [...(settings.get(name) ?? []), ...values]);
  }
  return settings;
}

async function said(command: string, ...words: readonly string[]): Promise<string | null> {
  try {
    const { stdout } = await promisify(execFile)(command, words, { env, cwd: '/', timeout: timeoutMs });
    return stdout.trim();
  } catch {
    // Not here, or no: whoever asked says what that means.
    return null;
  }
}
