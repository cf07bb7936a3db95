/**
 * demo/spamd — a private SpamAssassin daemon for the demonstration and the tests: Debian's spamd, local rules only.
 *
 * Everything it writes lies under `folder`: site configuration with rules/sluice.cf, Bayes database, log, unix socket.
 * Started by root it works as `nobody`, who must be able to reach the folder (it gets mode 0711); started by an
 * ordinary user it works as that user. Rejects, with the end of the log, where spamd does not answer within 60 s.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Address } from '../rules/config.ts';

const program = '/usr/sbin/spamd';
const shippedRules = '/usr/share/spamassassin';
const debianSite = '/etc/spamassassin';
const sluiceRules = new URL('../rules/sluice.cf', import.meta.url);
const startMs = 60_000;
const nobody = 65_534;

/** A running private spamd. */
export type SpamDaemon = {
  readonly pid: number;
  readonly logFile: string;
  readonly unix: Address;
  readonly tcp: Address;
  /** For sa-learn: `--siteconfigpath=` of this daemon, with its own bayes_path. */
  readonly siteFolder: string;
  /** SIGTERM, and SIGKILL where that does not end it; resolves when no process of it is left. */
  stop(): Promise<void>;
  /** A signal to the parent and all its children. */
  kill(signal: NodeJS.Signals): void;
};

/** Starts spamd on a unix socket and a free TCP port; resolves when both answer PING. */
export async function startSpamd(options: {
  folder: string;
  children?: number;
  allowTell?: boolean;
  /** Lines appended to local.cf. */
  extraRules?: string;
  /** False leaves rules/sluice.cf out, as on a site that has not installed it. */
  sluiceRules?: boolean;
}): Promise<SpamDaemon> {
  const { folder } = options;
  const siteFolder = join(folder, 'spamassassin');
  const socketPath = join(folder, 'spamd.sock');
  const logFile = join(folder, 'spamd.log');
  const port = await freePort();
  await writeSite(folder, siteFolder, options);
  const child = spawn(
    program,
    [
      '--local',
      '--nouser-config',
      `--configpath=${shippedRules}`,
      `--siteconfigpath=${siteFolder}`,
      `--listen=127.0.0.1:${port}`,
      `--listen=${socketPath}`,
      '--socketmode=0666',
      `--max-children=${options.children ?? 1}`,
      '--min-children=1',
      `--syslog=${logFile}`,
      ...(process.getuid?.() === 0 ? ['--username=nobody'] : []),
      ...(options.allowTell === true ? ['--allow-tell'] : []),
    ],
    // A group of its own: the children are what hangs or dies in a test, not only the parent.
    { stdio: 'ignore', detached: true },
  );
  await once(child, 'spawn');
  const daemon: SpamDaemon = {
    pid: child.pid ?? 0,
    logFile,
    unix: { kind: 'unix', path: socketPath, mode: null, owner: null },
    tcp: { kind: 'tcp', host: '127.0.0.1', port },
    siteFolder,
    stop: () => stopGroup(child),
    kill: (signal) => signalGroup(child, signal),
  };
  await untilAnswering(child, port, socketPath, logFile);
  return daemon;
}

async function writeSite(
  folder: string,
  siteFolder: string,
  options: { extraRules?: string; sluiceRules?: boolean },
): Promise<void> {
  const bayesFolder = join(folder, 'bayes');
  await mkdir(siteFolder, { recursive: true });
  await mkdir(bayesFolder, { recursive: true });
  for (const name of await readdir(debianSite)) {
    // *.pre loads the plug-ins; the machine's own local.cf stays out.
    if (name.endsWith('.pre')) await copyFile(join(debianSite, name), join(siteFolder, name));
  }
  if (options.sluiceRules !== false) await copyFile(sluiceRules, join(siteFolder, 'sluice.cf'));
  const local = [
    `bayes_path ${join(bayesFolder, 'bayes')}`,
    'bayes_auto_learn 0',
    'dns_available no',
    options.extraRules ?? '',
  ];
  await writeFile(join(siteFolder, 'local.cf'), `${local.join('\n')}\n`);
  if (process.getuid?.() !== 0) return;
  await chmod(folder, 0o711);
  await chown(bayesFolder, nobody, nobody);
}

async function untilAnswering(
  child: ChildProcess,
  port: number,
  path: string,
  logFile: string,
): Promise<void> {
  const deadline = Date.now() + startMs;
  while (Date.now() < deadline && child.exitCode === null && child.signalCode === null) {
    if ((await answersPing({ host: '127.0.0.1', port })) && (await answersPing({ path }))) return;
    await delay(50);
  }
  await stopGroup(child);
  const log = await readFile(logFile, 'utf8').catch(() => '(no log)');
  throw new Error(
    `Cannot start spamd: no answer to PING, its log ends with ${JSON.stringify(log.slice(-600))}`,
  );
}

async function answersPing(target: { host: string; port: number } | { path: string }): Promise<boolean> {
  const socket = connect(target);
  try {
    socket.setTimeout(5_000, () => socket.destroy());
    socket.end('PING SPAMC/1.5\r\n\r\n');
    let reply = '';
    for await (const chunk of socket) reply += String(chunk);
    return reply.includes('PONG');
  } catch {
    // Not listening yet.
    return false;
  } finally {
    socket.destroy();
  }
}

async function stopGroup(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const exited = once(child, 'exit');
    signalGroup(child, 'SIGCONT');
    signalGroup(child, 'SIGTERM');
    await Promise.race([exited, delay(5_000, undefined, { ref: false })]);
  }
  signalGroup(child, 'SIGKILL');
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    // ESRCH: the group is gone already, which is all that a signal could ask for.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string')
    throw new Error('Cannot probe a free port: no address');
  return address.port;
}
