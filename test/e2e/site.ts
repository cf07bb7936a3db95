/**
 * site — a whole site for end-to-end tests: private Postfix, real clamd and spamd, Sluice as a process of its own.
 *
 * Hides folders, ports, configuration and the order of starting and stopping. `sink: 'smtp'` puts a recording SMTP
 * server behind Postfix, so that envelope, DSN parameters and octets can be seen as they leave. Needs root.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type Clamd, startClamd } from '../../demo/clamd.ts';
import { type Daemon, freePort, startDaemon } from '../../demo/daemon.ts';
import { createReachableFolder } from '../../demo/postfix-folders.ts';
import { type PostfixInstance, type PostfixOptions, startPostfix } from '../../demo/postfix.ts';
import { type SpamDaemon, type SpamdOptions, startSpamd } from '../../demo/spamd.ts';
import type { RedisServer } from '../../demo/redis.ts';
import { formatAddress } from '../../rules/config.ts';
import { type Sink, startSink } from '../fakes/sink.ts';
import { openDialog, type SmtpDialog } from '../fakes/smtp-dialog.ts';
import { openRedisSide, type RedisSideOptions, type Workers } from './redis-side.ts';

export const top = join(import.meta.dirname, '..', '..');

export type SiteOptions = {
  readonly feedProtocol: 'lmtp' | 'smtp';
  /** Default maildir. */
  readonly sink?: 'maildir' | 'smtp';
  /** Further keys of sluice.yaml, as YAML lines. */
  readonly config?: string;
  readonly policies?: string;
  /** Parent of everything Sluice keeps; default folder/state. */
  readonly state?: string;
  readonly spamd?: Omit<SpamdOptions, 'folder'>;
  readonly clamdConfig?: readonly string[];
  readonly postfix?: Partial<PostfixOptions>;
  /** Listen for outbound mail as well, default no. */
  readonly outbound?: boolean;
  /** Open the filter's health server on a free port, default no: its own port may be another site's. */
  readonly health?: boolean;
  /**
   * Scans go over Redis to workers in other processes, or even `apart`, on other addresses and without a shared spool. Default: as
   * the variable SLUICE_TEST_REDIS says (1 or apart; `npm run e2e:redis`).
   */
  readonly redis?: boolean | 'apart';
  /** Default 2. */
  readonly workers?: number;
  /** Addresses of other scanners, as YAML lines: neither clamd nor spamd is started. */
  readonly scanners?: string;
  /** More about them. */
  readonly side?: Partial<RedisSideOptions> & { readonly filterScans?: boolean };
};

export type TestSite = {
  readonly folder: string;
  readonly configFile: string;
  readonly postfix: PostfixInstance;
  readonly clamd: Clamd;
  readonly spamd: SpamDaemon;
  /** The recording server behind Postfix; null with a Maildir. */
  readonly sink: Sink | null;
  /** Sluice's own listeners, past Postfix. */
  readonly smtpPort: number;
  readonly lmtpPort: number;
  /** The listener for what the site itself sends; null without one. */
  readonly outboundPort: number | null;
  /** /healthz, /readyz and /metrics; null without them. */
  readonly healthPort: number | null;
  /** Null where scans run in the filter. */
  readonly redis: { readonly server: RedisServer; readonly workers: Workers } | null;
  /** The filter process that runs now. */
  sluice(): Daemon;
  /** Ends Sluice by SIGTERM (or has noticed that it is gone) and starts it again on the same state. */
  restart(): Promise<void>;
  /** A dialog with Postfix's feed. */
  dial(): Promise<SmtpDialog>;
  /** One message into the feed; gives the reply to the dot. `mail` and `rcpt` may carry parameters. */
  send(message: { mail: string; rcpt: readonly string[]; bytes: Uint8Array; ehlo?: string }): Promise<string>;
  /** Runs `sluice` with this site's configuration. */
  cli(...words: readonly string[]): Promise<{ code: number | null; stdout: string; stderr: string }>;
  stop(): Promise<void>;
};

/** Starts everything; it takes mail when this resolves. */
export async function startSite(options: SiteOptions): Promise<TestSite> {
  const stops: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (const one of stops.splice(0).toReversed()) await one();
  };
  try {
    return await startAll(options, stops, stop);
  } catch (cause) {
    await stop();
    throw cause;
  }
}

async function startAll(
  options: SiteOptions,
  stops: (() => Promise<unknown>)[],
  stop: () => Promise<void>,
): Promise<TestSite> {
  const folder = await createReachableFolder('sluice-e2e');
  stops.push(() => rm(folder, { recursive: true, force: true }));
  const scanners = options.scanners === undefined ? await startScanners(options, folder, stops) : null;
  const sink = options.sink === 'smtp' ? await startSink() : null;
  if (sink !== null) stops.push(() => sink.stop());
  const [smtpPort, lmtpPort] = [await freePort(), await freePort()];
  const outboundPort = options.outbound === true ? await freePort() : null;
  const healthPort = options.health === true ? await freePort() : null;
  const postfix = await startPostfix({
    folder: await made(folder, 'postfix'),
    feedProtocol: options.feedProtocol,
    sluice: `127.0.0.1:${options.feedProtocol === 'lmtp' ? lmtpPort : smtpPort}`,
    sink: sink === null ? 'maildir' : { smtp: sink.port },
    ...options.postfix,
  });
  stops.push(() => postfix.stop());
  const configFile = join(folder, 'sluice.yaml');
  const script = join(top, 'bin', 'sluice.js');
  const wanted = options.redis ?? process.env['SLUICE_TEST_REDIS'];
  const overRedis = wanted === true || wanted === '1' || wanted === 'apart';
  const sided = {
    folder,
    configFile,
    script,
    workers: options.workers ?? 2,
    apart: wanted === 'apart',
    ...options.side,
  };
  const side = overRedis ? await openRedisSide(sided) : null;
  if (side !== null) stops.push(() => side.stop());
  await writeFile(
    configFile,
    `listen:
  smtp: 127.0.0.1:${smtpPort}
  lmtp: 127.0.0.1:${lmtpPort}
  outbound: ${outboundPort === null ? 'null' : `127.0.0.1:${outboundPort}`}
reinject: 127.0.0.1:${postfix.returnPort}
${options.scanners ?? addressesOf(scanners)}
state: ${options.state ?? join(folder, 'state')}
health: { filter: ${healthPort === null ? 'null' : `127.0.0.1:${healthPort}`} }
redis: ${side?.config ?? 'null'}
${options.config ?? ''}
`,
  );
  if (options.policies !== undefined) await writeFile(join(folder, 'policies.yaml'), options.policies);
  const redis = side === null ? null : { server: side.server, workers: await side.startWorkers() };
  // Over Redis it has no scanner of its own: what it knows, a worker told it.
  const env =
    redis === null || options.side?.filterScans === true
      ? {}
      : { SLUICE_CLAMD: 'null', SLUICE_SPAMD: 'null' };
  const start = () => startSluice(folder, configFile, env, smtpPort, lmtpPort);
  let sluice = await start();
  stops.push(() => sluice.stop());
  const dial = () => openDialog({ kind: 'tcp', host: '127.0.0.1', port: postfix.feedPort });
  return {
    folder,
    configFile,
    postfix,
    get clamd() {
      return ours(scanners).clamd;
    },
    get spamd() {
      return ours(scanners).spamd;
    },
    sink,
    smtpPort,
    lmtpPort,
    outboundPort,
    healthPort,
    redis,
    dial,
    stop,
    sluice: () => sluice,
    restart: async () => {
      await sluice.stop();
      sluice = await start();
    },
    send: async (message) => send(await dial(), message),
    cli: (...words) => runCli(configFile, words),
  };
}

type Scanners = { readonly clamd: Clamd; readonly spamd: SpamDaemon };

async function startScanners(
  options: SiteOptions,
  folder: string,
  stops: (() => Promise<unknown>)[],
): Promise<Scanners> {
  const clamd = await startClamd({
    folder: await made(folder, 'clamd'),
    signatures: 'test',
    ...(options.clamdConfig === undefined ? {} : { extraConfig: options.clamdConfig }),
  });
  stops.push(() => clamd.stop());
  const spamd = await startSpamd({ folder: await made(folder, 'spamd'), ...options.spamd });
  stops.push(() => spamd.stop());
  return { clamd, spamd };
}

function addressesOf(scanners: Scanners | null): string {
  const { clamd, spamd } = ours(scanners);
  return `clamd: ${formatAddress(clamd.unix)}\nspamd: ${formatAddress(spamd.unix)}`;
}

function ours(scanners: Scanners | null): Scanners {
  if (scanners === null) throw new Error('This site has other scanners than clamd and spamd');
  return scanners;
}

/** The filter process alone, in its own group of nothing: killed, it stays dead until the test starts it again. */
async function startSluice(
  folder: string,
  configFile: string,
  env: NodeJS.ProcessEnv,
  ...ports: number[]
): Promise<Daemon> {
  return startDaemon({
    command: process.execPath,
    args: [join(top, 'bin', 'sluice.js'), 'run', 'filter', '--config', configFile],
    logFile: join(folder, 'sluice.log'),
    env: { ...process.env, ...env },
    isUp: async () => (await Promise.all(ports.map(accepts))).every(Boolean),
  });
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    // Nobody listens yet.
    return false;
  } finally {
    socket.destroy();
  }
}

async function send(
  dialog: SmtpDialog,
  message: { mail: string; rcpt: readonly string[]; bytes: Uint8Array; ehlo?: string },
): Promise<string> {
  await dialog.reply();
  await dialog.ask(`EHLO ${message.ehlo ?? 'client.example'}`);
  await expectCode(dialog, `MAIL FROM:${message.mail}`, '250');
  for (const rcpt of message.rcpt) await expectCode(dialog, `RCPT TO:${rcpt}`, '250');
  await expectCode(dialog, 'DATA', '354');
  await dialog.send(stuffed(message.bytes));
  const reply = await dialog.ask('.');
  await dialog.send('QUIT\r\n');
  await dialog.rest();
  return reply;
}

async function expectCode(dialog: SmtpDialog, line: string, code: string): Promise<void> {
  const reply = await dialog.ask(line);
  if (!reply.startsWith(code)) throw new Error(`Feed said "${reply}" to ${line}`);
}

/** Dots doubled at the start of lines (RFC 5321 §4.5.2), a final CRLF added where there is none. */
function stuffed(bytes: Uint8Array): Buffer {
  const text = Buffer.from(bytes).toString('latin1').replaceAll(/^\./gm, '..');
  return Buffer.from(text === '' || text.endsWith('\r\n') ? text : `${text}\r\n`, 'latin1');
}

async function runCli(
  configFile: string,
  words: readonly string[],
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const script = join(top, 'bin', 'sluice.js');
  const child = spawn(process.execPath, [script, ...words, '--config', configFile], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

async function made(folder: string, name: string): Promise<string> {
  const path = join(folder, name);
  await mkdir(path);
  await chmod(path, 0o755);
  return path;
}
