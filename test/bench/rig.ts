/**
 * rig — what all contestants of the bench share: one clamd, one spamd, and sinks that swallow what they hand on.
 *
 * Hides folders and ports. The scanners are private ones, so that nothing else asks them: clamd with one signature,
 * spamd with two children and local tests only. Needs root: smtp-sink and the scanners give their rights away.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { chmod, cp, mkdir, rm, symlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Clamd, startClamd } from '../../demo/clamd.ts';
import { type Daemon, freePort, startDaemon } from '../../demo/daemon.ts';
import { createReachableFolder } from '../../demo/postfix-folders.ts';
import { type SpamDaemon, startSpamd } from '../../demo/spamd.ts';

/** Everything that outlives a single contestant. `folder` is reachable for every user. */
export type Rig = {
  readonly folder: string;
  readonly clamd: Clamd;
  readonly spamd: SpamDaemon;
  readonly sinkPort: number;
  /** Nobody will read the figures: no time for warming up. */
  readonly isSmoke: boolean;
  /** Path of a socket where a stand-in answers like spamd, at once: for warming up. */
  readonly quickSpamd: string;
  /** For temporary files, everybody's: a tmpfs where one can be mounted, else on disk like everything else. */
  readonly temporary: { readonly folder: string; readonly kind: 'tmpfs' | 'disk' };
  /** Sluice as it ships: JavaScript made of these sources, bin/sluice.js above it. */
  readonly packageFolder: string;
  stop(): Promise<void>;
};

const run = promisify(execFile);
const top = join(import.meta.dirname, '..', '..');

/** Children of spamd, and of amavisd-new. */
export const spamChildren = 2;

/** clamsmtpd keeps a thread of clamd for each of its connections. */
const clamdThreads = 64;

/** Starts scanners and sink. */
export async function startRig({ isSmoke }: Pick<Rig, 'isSmoke'>): Promise<Rig> {
  await using started = new AsyncDisposableStack();
  const folder = await createReachableFolder('sluice-bench');
  started.defer(() => rm(folder, { recursive: true, force: true }));
  const temporary = await mountTemporary(join(folder, 'temporary'));
  if (temporary.kind === 'tmpfs')
    started.defer(async () => void (await run('umount', ['-l', temporary.folder])));
  const clamd = await startClamd({
    folder: join(folder, 'clamd'),
    signatures: 'test',
    extraConfig: [`MaxThreads ${clamdThreads}`, `TemporaryDirectory ${temporary.folder}`],
  });
  started.defer(() => clamd.stop());
  // The peers run as nobody and must reach the socket.
  await chmod(join(folder, 'clamd'), 0o755);
  await mkdir(join(folder, 'spamd'));
  const spamd = await startSpamd({ folder: join(folder, 'spamd'), children: spamChildren });
  started.defer(() => spamd.stop());
  const sinkPort = await freePort();
  const sink = await startSink(folder, sinkPort);
  started.defer(() => sink.stop());
  const quick = await startFakeScanners(join(folder, 'quick'), 0);
  started.defer(() => quick.stop());
  const packageFolder = await build(folder);
  const owned = started.move();
  const rest = { isSmoke, temporary, packageFolder, quickSpamd: `${quick.name}-spamd` };
  return { folder, clamd, spamd, sinkPort, ...rest, stop: () => owned.disposeAsync() };
}

/**
 * A folder for everybody's temporary files. On disk, three quarters of clamd's CPU time went to ext4's search for free
 * inodes (perf, Linux 6.18), and the comparison was one of ext4 with itself.
 */
async function mountTemporary(folder: string): Promise<Rig['temporary']> {
  await mkdir(folder);
  try {
    await run('mount', ['-t', 'tmpfs', '-o', 'mode=1777', 'tmpfs', folder]);
    return { folder, kind: 'tmpfs' };
  } catch {
    await chmod(folder, 0o1777); // Not allowed here, as in most containers: said in the report.
    return { folder, kind: 'disk' };
  }
}

/** What `npm pack` would ship (prepack in package.json), without writing dist/ into the checkout. */
async function build(folder: string): Promise<string> {
  const home = join(folder, 'package');
  const project = join(top, 'tsconfig.build.json');
  const compiler = join(top, 'node_modules', '.bin', 'tsc');
  await run(compiler, ['-p', project, '--outDir', join(home, 'dist')]);
  for (const name of ['policies.yaml', 'sluice.cf'])
    await cp(join(top, 'rules', name), join(home, 'dist', 'rules', name));
  for (const name of ['bin', 'package.json'])
    await cp(join(top, name), join(home, name), { recursive: true });
  await symlink(join(top, 'node_modules'), join(home, 'node_modules'));
  return home;
}

/** Both scanners as fakes, on the sockets `name`-clamd and `name`-spamd. */
export type FakeScanners = Daemon & { readonly name: string };

/** Starts fakes that answer after so many milliseconds (fake-scanners.ts). */
export async function startFakeScanners(name: string, delayMs: number): Promise<FakeScanners> {
  const logFile = `${name}-scanners.log`;
  const script = join(import.meta.dirname, 'fake-scanners.ts');
  const daemon = await startDaemon({
    command: process.execPath,
    args: [script, `${name}-clamd`, `${name}-spamd`, String(delayMs)],
    logFile,
    isUp: async () => readFileSync(logFile, 'utf8').startsWith('up'),
  });
  return { ...daemon, name };
}

/** Postfix's own sink: takes everything, keeps nothing. */
export function startSink(folder: string, port: number): Promise<Daemon> {
  return startDaemon({
    command: '/usr/sbin/smtp-sink',
    args: ['-u', 'nobody', `127.0.0.1:${port}`, '1000'],
    logFile: join(folder, 'sink.log'),
    isUp: () => accepts(port),
  });
}

/** True when somebody listens on this port of loopback. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
