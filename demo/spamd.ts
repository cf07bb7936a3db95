/**
 * spamd — a private SpamAssassin daemon for demonstrations and tests: Debian's spamd with its local rules only.
 *
 * Everything it writes lies under `folder`: site configuration with rules/sluice.cf, Bayes database, log, unix socket.
 * Started by root it works as `nobody`, who must be able to reach the folder (which gets mode 0711); started by an
 * ordinary user it works as that user. Rejects where spamd does not answer PING, with the end of its log.
 */
import { readFileSync } from 'node:fs';
import { chmod, chown, copyFile, mkdir, readdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { TcpAddress, UnixAddress } from './clamd.ts';
import { type Daemon, freePort, startDaemon } from './daemon.ts';

export type SpamDaemon = Daemon & {
  readonly unix: UnixAddress;
  readonly tcp: TcpAddress;
  /** What `sa-learn --siteconfigpath=` needs to see the same Bayes database. */
  readonly siteFolder: string;
};

export type SpamdOptions = {
  readonly folder: string;
  /** Messages at once, default 1. */
  readonly children?: number;
  /** Offer TELL, default no. */
  readonly allowTell?: boolean;
  /** Lines appended to local.cf. */
  readonly extraRules?: string;
  /** False leaves rules/sluice.cf out, as on a site that has not installed it. */
  readonly sluiceRules?: boolean;
};

const shippedRules = '/usr/share/spamassassin';
const debianSite = '/etc/spamassassin';
const sluiceRules = new URL('../rules/sluice.cf', import.meta.url);
const asRoot = process.getuid?.() === 0;
const nobody = 65_534;

/** Starts spamd on a unix socket and a free TCP port; resolves when both answer. Signals go to its children as well. */
export async function startSpamd(options: SpamdOptions): Promise<SpamDaemon> {
  const siteFolder = join(options.folder, 'spamassassin');
  const path = join(options.folder, 'spamd.sock');
  const port = await freePort();
  await writeSite(siteFolder, options);
  const daemon = await startDaemon({
    command: '/usr/sbin/spamd',
    args: [
      '--local',
      '--nouser-config',
      `--configpath=${shippedRules}`,
      `--siteconfigpath=${siteFolder}`,
      `--listen=127.0.0.1:${port}`,
      `--listen=${path}`,
      '--socketmode=0666',
      `--max-children=${options.children ?? 1}`,
      '--min-children=1',
      '--syslog=stderr',
      ...(asRoot ? ['--username=nobody'] : []),
      ...(options.allowTell === true ? ['--allow-tell'] : []),
    ],
    logFile: join(options.folder, 'spamd.log'),
    isUp: async () => (await answersPing({ host: '127.0.0.1', port })) && answersPing({ path }),
  });
  return {
    ...withChildren(daemon),
    unix: { kind: 'unix', path, mode: null, owner: null },
    tcp: { kind: 'tcp', host: '127.0.0.1', port },
    siteFolder,
  };
}

async function writeSite(siteFolder: string, options: SpamdOptions): Promise<void> {
  const bayesFolder = join(options.folder, 'bayes');
  await mkdir(siteFolder, { recursive: true });
  await mkdir(bayesFolder, { recursive: true });
  for (const name of await readdir(debianSite)) {
    // *.pre loads the plug-ins; the machine's own local.cf stays out.
    if (name.endsWith('.pre')) await copyFile(join(debianSite, name), join(siteFolder, name));
  }
  if (options.sluiceRules !== false) await copyFile(sluiceRules, join(siteFolder, 'sluice.cf'));
  const local = [`bayes_path ${join(bayesFolder, 'bayes')}`, 'bayes_auto_learn 0', options.extraRules ?? ''];
  await writeFile(join(siteFolder, 'local.cf'), `${local.join('\n')}\n`);
  if (!asRoot) return;
  await chmod(options.folder, 0o711);
  await chown(bayesFolder, nobody, nobody);
}

/** The children do the work, and share the listening sockets: spamd is stopped, hung or killed only when they are too. */
function withChildren(daemon: Daemon): Daemon {
  const children = new Set<number>();
  const note = () => childrenOf(daemon.pid).forEach((pid) => children.add(pid));
  return {
    ...daemon,
    kill(signal) {
      note();
      for (const pid of [daemon.pid, ...childrenOf(daemon.pid)]) sendSignal(pid, signal);
    },
    async stop() {
      note();
      // No grace for the children: a stopped or busy one would outlive its parent.
      for (const pid of childrenOf(daemon.pid)) sendSignal(pid, 'SIGKILL');
      await daemon.stop();
      while ([...children].some(isRunning)) await delay(10);
    },
  };
}

/** False for a zombie too: its sockets are closed, only its new parent has not looked yet. */
function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    // No such process.
    return false;
  }
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  } catch {
    // The process is gone, and its children are no longer known.
    return [];
  }
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // ESRCH: it is gone, which is all that a signal here could ask for.
  }
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
