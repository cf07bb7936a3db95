/**
 * postfix — a private Postfix for demonstrations and tests, beside the machine's own and never touching it.
 *
 * Hides its folders, its two configuration files and the commands that rule it: feed smtpd → scan transport → Sluice →
 * return smtpd → sink. Needs root, as Postfix does. Every command that fails throws with what it said. Its processes
 * outlive this one when it is killed: call `stop` (also after a failed test).
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, readFile, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from './daemon.ts';
import { type Delivered, readMaildir } from './maildir.ts';
import { generationName, mainText, masterText, type Parameters, type Site } from './postfix-config.ts';
import { makeFolders, type Owner, userIds } from './postfix-folders.ts';
import { ageMsOf, type Process, processesOf, sendSignal, stillAlive } from './postfix-processes.ts';
import { parseQueue, type QueueEntry, waitForEmpty } from './postfix-queue.ts';

export type PostfixOptions = {
  /** An existing folder that the postfix user can reach (`createReachableFolder` of postfix-folders.ts); everything is written under it. */
  readonly folder: string;
  readonly feedProtocol: 'lmtp' | 'smtp';
  /** Where the scan transport finds Sluice: `host:port`, or `unix:/path` with LMTP. */
  readonly sluice: string;
  /** `maildir`: every recipient's copy lands in folder/mail; else the next hop is an SMTP server on that port of 127.0.0.1. */
  readonly sink: 'maildir' | { readonly smtp: number };
  /** false: the feed delivers without a filter. Default true. */
  readonly contentFilter?: boolean;
  /** Laid over the return smtpd's own options; null: no return smtpd. */
  readonly returnOptions?: Parameters | null;
  readonly mainOverrides?: Parameters;
  readonly feedOptions?: Parameters;
  readonly scanOptions?: Parameters;
  /** Of the feed, bytes; default 100 MiB. The return smtpd takes 100 KiB more. */
  readonly messageSizeLimit?: number;
  /** Back-off between attempts, for tests; default 2. */
  readonly retrySeconds?: number;
  /** maxproc of the scan transport; default 20. */
  readonly scanProcesses?: number;
  /** Who owns delivered files; default nobody. Never root: virtual(8) refuses. */
  readonly mailOwner?: Owner;
};

/** A part of the instance that tests kill or stop: one service of master.cf, or master with all its children. */
export type Piece = 'feed' | 'scan' | 'return' | 'sink' | 'virtual' | 'qmgr' | 'cleanup' | 'everything';

export type PostfixInstance = {
  readonly folder: string;
  /** For `postfix -c`, `postqueue -c`, `sendmail -C`. */
  readonly configFolder: string;
  readonly feedPort: number;
  readonly returnPort: number;
  /** Path of the mail log. */
  readonly maillog: string;
  queue(): Promise<QueueEntry[]>;
  /** Tries every deferred message now (postqueue -f). */
  flush(): Promise<void>;
  /** postsuper -r ALL and a word to pickup(8): every message passes through cleanup again, now. */
  requeueAll(): Promise<void>;
  /** postsuper -d ALL. */
  deleteAll(): Promise<void>;
  /** What lies in the Maildir sink, in the order of delivery. */
  delivered(): Promise<Delivered[]>;
  /** Resolves when the queue is empty; throws with what is left in it after `timeoutMs`. */
  waitForQueueEmpty(timeoutMs: number): Promise<void>;
  /**
   * Rewrites the return smtpd's options (laid over its defaults; null: the port is closed) and reloads; the next
   * connection sees the new ones. Connections that are open are dropped, as by a restart.
   */
  setReturnOptions(overrides: Parameters | null): Promise<void>;
  /** Rewrites what is laid over main.cf and reloads. */
  setMainOverrides(overrides: Parameters): Promise<void>;
  /** Sends a signal to the living processes of a piece; resolves to their ids (none, where none was running). */
  kill(piece: Piece, signal: NodeJS.Signals): Promise<number[]>;
  /** Living processes of the instance. */
  processes(): Promise<Process[]>;
  /** Ends every process; idempotent. The queue stays, `start` goes on with it. */
  stop(): Promise<void>;
  start(): Promise<void>;
};

const commands = '/usr/sbin';

/** Writes the configuration and starts the instance on two free ports; it accepts mail when this resolves. */
export async function startPostfix(options: PostfixOptions): Promise<PostfixInstance> {
  if (process.getuid?.() !== 0) throw new Error('Cannot start Postfix: it needs root');
  const site = await siteOf(options);
  await makeFolders(site.folder, site.mailOwner);
  for (let attempt = 1; ; attempt++) {
    const ports = { feedPort: await freePort(), returnPort: await freePort() };
    const instance = createInstance({ ...site, ...ports, generation: 0 });
    try {
      await instance.start();
      return instance;
    } catch (error) {
      await instance.stop();
      // Somebody else may have taken a port since it was probed.
      if (attempt === 5 || !/Address already in use/.test(String(error))) throw error;
    }
  }
}

async function siteOf(
  options: PostfixOptions,
): Promise<Omit<Site, 'feedPort' | 'returnPort' | 'generation'>> {
  return {
    folder: options.folder,
    feedProtocol: options.feedProtocol,
    sluice: options.sluice,
    sink: options.sink,
    contentFilter: options.contentFilter ?? true,
    returnOptions: options.returnOptions === undefined ? {} : options.returnOptions,
    mainOverrides: options.mainOverrides ?? {},
    feedOptions: options.feedOptions ?? {},
    scanOptions: options.scanOptions ?? {},
    messageSizeLimit: options.messageSizeLimit ?? 104_857_600,
    retrySeconds: options.retrySeconds ?? 2,
    scanProcesses: options.scanProcesses ?? 20,
    mailOwner: options.mailOwner ?? (await userIds('nobody')),
  };
}

function createInstance(first: Site): PostfixInstance {
  let site = first;
  const { folder } = site;
  const configFolder = join(folder, 'etc');
  const maillog = join(folder, 'log', 'maillog');
  const run = (command: string, ...args: string[]) => runCommand(command, ['-c', configFolder, ...args]);
  const processes = () => processesOf(folder);
  const piecesOf = async (piece: Piece) => (await processes()).filter((each) => isPiece(each, piece, site));
  const generationSocket = () => join(folder, 'queue', 'private', generationName(site));
  const reconfigure = async (change: Partial<Site>) => {
    site = { ...site, ...change, generation: site.generation + 1 };
    await writeConfig(configFolder, site);
    await run('postfix', 'reload');
    // The last line of master.cf: when its socket is there, every service before it has its new options.
    await waitUntil('reload Postfix', () => exists(generationSocket()));
  };
  const olderThanReload = async (some: readonly Process[]) => {
    const [ages, { mtimeMs }] = await Promise.all([Promise.all(some.map(ageMsOf)), stat(generationSocket())]);
    return some.filter((_, at) => (ages[at] ?? 0) > Date.now() - mtimeMs - 20);
  };
  const queue = async () => parseQueue(await run('postqueue', '-j'));
  return {
    folder,
    configFolder,
    feedPort: site.feedPort,
    returnPort: site.returnPort,
    maillog,
    queue,
    processes,
    flush: async () => void (await run('postqueue', '-f')),
    async requeueAll() {
      await run('postsuper', '-r', 'ALL');
      await run('postkick', 'public', 'pickup', 'W');
    },
    deleteAll: async () => void (await run('postsuper', '-d', 'ALL')),
    delivered: () => readMaildir(join(folder, 'mail', 'Maildir')),
    waitForQueueEmpty: (timeoutMs) => waitForEmpty(queue, timeoutMs),
    async setReturnOptions(overrides) {
      await reconfigure({ returnOptions: overrides });
      // A process of before the reload, idle or begun while it went on, could still take the next connection.
      const old = await olderThanReload(await piecesOf('return'));
      for (const { pid } of old) sendSignal(pid, 'SIGTERM');
      await waitUntil('end the old return smtpd', async () => (await stillAlive(old)).length === 0);
      if (overrides === null)
        await waitUntil('close the return port', async () => !(await accepts(site.returnPort)));
    },
    setMainOverrides: (overrides) => reconfigure({ mainOverrides: overrides }),
    async kill(piece, signal) {
      const targets = await piecesOf(piece);
      return targets.filter(({ pid }) => sendSignal(pid, signal)).map(({ pid }) => pid);
    },
    async start() {
      await writeConfig(configFolder, site);
      // Skips the scan for misplaced queue files, which takes seconds, and every look at the machine's shared files.
      await writeFile(join(folder, 'queue', 'quick-start'), '');
      await run('postfix', 'start').catch(async (error: Error) => {
        throw new Error(`${error.message}\n${await tailOf(maillog)}`, { cause: error });
      });
    },
    stop: () => stopAll(run, processes),
  };
}

async function stopAll(
  run: (command: string, ...args: string[]) => Promise<string>,
  processes: () => Promise<Process[]>,
): Promise<void> {
  const living = await processes();
  // SIGCONT: a test may have stopped a process, which could then not obey.
  for (const { pid } of living) sendSignal(pid, 'SIGCONT');
  if (living.some(({ service }) => service === 'master')) await run('postfix', 'stop');
  const until = Date.now() + 5_000;
  for (let left = living; left.length > 0; left = await stillAlive(living)) {
    if (Date.now() > until) for (const { pid } of left) sendSignal(pid, 'SIGKILL');
    await delay(20);
  }
}

async function writeConfig(folder: string, site: Site): Promise<void> {
  for (const [name, text] of [
    ['main.cf', mainText(site)],
    ['master.cf', masterText(site)],
  ] as const) {
    const file = join(folder, name);
    await writeFile(`${file}.new`, text);
    // Postfix waits seconds for a file that changed just now, lest it read half of one (dict_load_file_xt).
    const aMinuteAgo = Date.now() / 1_000 - 60;
    await utimes(`${file}.new`, aMinuteAgo, aMinuteAgo);
    await rename(`${file}.new`, file);
  }
}

function isPiece(candidate: Process, piece: Piece, site: Site): boolean {
  if (piece === 'everything') return true;
  if (piece === 'feed') return candidate.service === `127.0.0.1:${site.feedPort}`;
  if (piece === 'return') return candidate.service === `127.0.0.1:${site.returnPort}`;
  return candidate.service === piece;
}

async function runCommand(command: string, args: readonly string[]): Promise<string> {
  // A clean environment: MAIL_CONFIG and the like of the caller must not lead to another instance.
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
  const child = spawn(join(commands, command), args, { env, cwd: '/', stdio: ['ignore', 'pipe', 'pipe'] });
  const said = { out: [] as Buffer[], error: [] as Buffer[] };
  child.stdout.on('data', (chunk: Buffer) => said.out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => said.error.push(chunk));
  // `postfix reload` leaves a scan of the queue behind that keeps the pipes open: its own end counts.
  const [code] = await once(child, command === 'postfix' ? 'exit' : 'close');
  if (code === 0) return Buffer.concat(said.out).toString();
  throw new Error(`Cannot run ${command} ${args.join(' ')}: ${Buffer.concat(said.error).toString().trim()}`);
}

async function waitUntil(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const until = Date.now() + 10_000;
  while (!(await isSo())) {
    if (Date.now() > until) throw new Error(`Cannot ${what}: not done after 10 s`);
    await delay(10);
  }
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

async function accepts(port: number): Promise<boolean> {
  const socket = createConnection({ host: '127.0.0.1', port });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function tailOf(file: string): Promise<string> {
  return (await readFile(file, 'utf8').catch(() => '')).split('\n').slice(-10).join('\n');
}
