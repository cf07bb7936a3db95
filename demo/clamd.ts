/**
 * clamd — a private clamd for demonstrations and tests, as root or as any user.
 *
 * Hides its configuration, its signature database and the wait until it answers PING. The `test` database holds one
 * signature, EICAR: it starts within a second and protects nothing. AlertEncrypted and AlertExceedsMax are on, as
 * `sluice check` asks for. Everything is written under `folder`; keep that under /tmp, the only place to write that
 * Debian's AppArmor profile of clamd leaves open.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { type Daemon, freePort, startDaemon } from './daemon.ts';

/** The fields of the configuration's addresses that a client needs. */
export type TcpAddress = { readonly kind: 'tcp'; readonly host: string; readonly port: number };
export type UnixAddress = {
  readonly kind: 'unix';
  readonly path: string;
  readonly mode: null;
  readonly owner: null;
};

export type Clamd = Daemon & { readonly unix: UnixAddress; readonly tcp: TcpAddress };

/**
 * Starts clamd on a unix socket in `folder` and on a free port. `extraConfig`: lines of clamd.conf(5) that go last
 * and replace the lines of the same name written here. `folder` is made; its path must leave room for a socket's 107 octets.
 */
export async function startClamd(options: {
  folder: string;
  signatures: 'test' | 'system';
  extraConfig?: readonly string[];
}): Promise<Clamd> {
  const { folder } = options;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const unix = { kind: 'unix', path: join(folder, 'clamd.ctl'), mode: null, owner: null } as const;
  const tcp = { kind: 'tcp', host: '127.0.0.1', port: await freePort() } as const;
  const database = options.signatures === 'system' ? '/var/lib/clamav' : writeTestSignatures(folder);
  const config = join(folder, 'clamd.conf');
  writeFileSync(config, configLines(unix, tcp, database, folder, options.extraConfig ?? []).join('\n'));
  const daemon = await startDaemon({
    command: '/usr/sbin/clamd',
    args: ['--foreground', `--config-file=${config}`],
    logFile: join(folder, 'clamd.log'),
    isUp: () => answersPing(unix.path),
  });
  return { ...daemon, unix, tcp };
}

/** The EICAR test string (eicar.org), put together here so that no file of ours is itself reported. */
export function eicar(): string {
  return ['X5O!P%@AP[4\\PZX54(P^)7CC)7}', '$EICAR-STANDARD', '-ANTIVIRUS-TEST-FILE!', '$H+H*'].join('');
}

function writeTestSignatures(folder: string): string {
  const database = join(folder, 'database');
  mkdirSync(database, { recursive: true });
  const hex = Buffer.from(eicar(), 'latin1').toString('hex');
  writeFileSync(join(database, 'test.ndb'), `Eicar-Test-Signature:0:*:${hex}\n`);
  return database;
}

function configLines(
  unix: UnixAddress,
  tcp: TcpAddress,
  database: string,
  folder: string,
  extra: readonly string[],
): readonly string[] {
  const ours = [
    `LocalSocket ${unix.path}`,
    'LocalSocketMode 666',
    'FixStaleSocket yes',
    `TCPSocket ${tcp.port}`,
    `TCPAddr ${tcp.host}`,
    `DatabaseDirectory ${database}`,
    `TemporaryDirectory ${folder}`,
    'AlertEncrypted yes',
    'AlertExceedsMax yes',
    'StreamMaxLength 110M',
    'MaxScanSize 220M',
    'MaxFileSize 110M',
  ];
  const replaced = new Set(extra.map(nameOf));
  return [...ours.filter((line) => !replaced.has(nameOf(line))), ...extra, ''];
}

function nameOf(line: string): string {
  return line.split(' ', 1)[0] ?? line;
}

function answersPing(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ path });
    socket.on('connect', () => socket.write('zPING\0'));
    socket.on('data', (chunk) => resolve(chunk.toString('latin1').startsWith('PONG')));
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(false));
    socket.setTimeout(1_000, () => socket.destroy());
  });
}
