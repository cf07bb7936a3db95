/**
 * message — the proof that an installed Sluice filters: real clamd, spamd and Redis on free ports, a recording return smtpd,
 * and mails handed in over LMTP. Root must have made `folder`, and everybody must be able to reach it.
 */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eicar, startClamd } from '../../demo/clamd.ts';
import { freePort } from '../../demo/daemon.ts';
import { startRedis } from '../../demo/redis.ts';
import { startSpamd } from '../../demo/spamd.ts';
import { type Sink, startSink } from '../fakes/sink.ts';
import { openDialog } from '../fakes/smtp-dialog.ts';

type Environment = Readonly<Record<string, string>>;

export type Surroundings = {
  readonly folder: string;
  readonly sink: Sink;
  readonly lmtpPort: number;
  /** The environment that tells Sluice where everything is; its filter scans itself. */
  readonly env: Environment;
  /** The same for a filter without scanners, which needs workers. */
  readonly filterEnv: Environment;
  /** For a worker: Redis and scanners, and nobody to hand mail to. */
  readonly workerEnv: Environment;
  /** Whether Sluice accepts mail and says that it is ready. */
  readonly isUp: () => Promise<boolean>;
  /** Whether a worker says that it is ready. */
  readonly isWorkerUp: () => Promise<boolean>;
  stop(): Promise<void>;
};

/** Starts what Sluice asks and hands mail to. */
export async function startSurroundings(): Promise<Surroundings> {
  await using started = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'sluice-ship-'));
  chmodSync(folder, 0o755);
  started.defer(() => rmSync(folder, { recursive: true }));
  const stopping = <T extends { stop(): Promise<unknown> }>(one: T): T =>
    started.adopt(one, async () => void (await one.stop()));
  const clamd = stopping(await startClamd({ folder: join(folder, 'clamd'), signatures: 'test' }));
  mkdirSync(join(folder, 'spamd'));
  const spamd = stopping(await startSpamd({ folder: join(folder, 'spamd') }));
  mkdirSync(join(folder, 'redis'));
  const redis = stopping(await startRedis({ folder: join(folder, 'redis') }));
  const sink = stopping(await startSink());
  const [lmtpPort, healthPort, workerPort] = [await freePort(), await freePort(), await freePort()];
  const env = {
    SLUICE_LISTEN_LMTP: `127.0.0.1:${lmtpPort}`,
    SLUICE_LISTEN_SMTP: 'null',
    SLUICE_REINJECT: `127.0.0.1:${sink.port}`,
    SLUICE_CLAMD: `127.0.0.1:${clamd.tcp.port}`,
    SLUICE_SPAMD: `127.0.0.1:${spamd.tcp.port}`,
    SLUICE_HEALTH_FILTER: `127.0.0.1:${healthPort}`,
    // Their usual ports may be another site's on this machine.
    SLUICE_HEALTH_WORKER: 'null',
    SLUICE_HEALTH_REVIEW: 'null',
  };
  const filterEnv = { ...env, SLUICE_REDIS: redis.url, SLUICE_CLAMD: 'null', SLUICE_SPAMD: 'null' };
  const { SLUICE_CLAMD, SLUICE_SPAMD } = env;
  const scanners = { SLUICE_CLAMD, SLUICE_SPAMD };
  const workerEnv = { SLUICE_REDIS: redis.url, ...scanners, SLUICE_HEALTH_WORKER: `127.0.0.1:${workerPort}` };
  const owned = started.move();
  return {
    folder,
    sink,
    lmtpPort,
    env,
    filterEnv,
    workerEnv,
    isUp: async () => (await accepts(lmtpPort)) && (await isReady(healthPort)),
    isWorkerUp: () => isReady(workerPort),
    stop: () => owned.disposeAsync(),
  };
}

/** One good mail and one with a virus: the first arrives scanned, the second is taken and goes nowhere. */
export async function assertFilters({ sink, lmtpPort }: Surroundings): Promise<void> {
  const before = sink.messages.length;
  const good = 'From: anna@partner.example\r\nSubject: an order\r\n\r\nTwelve, please.\r\n';
  assert.match(await handIn(lmtpPort, good), /^250 /);
  assert.match(await handIn(lmtpPort, `Subject: a gift\r\n\r\n${eicar()}\r\n`), /^250 /);
  assert.equal(sink.messages.length, before + 1);
  const text = sink.messages.at(-1)?.bytes.toString('latin1') ?? '';
  assert.ok(text.endsWith(good), text);
  assert.match(text, /^X-Virus-Scanned: yes \(Sluice /m);
  assert.match(text, /^X-Spam-Status: No, score=/m);
}

/** Hands in one message; gives the reply to its dot. */
async function handIn(port: number, message: string): Promise<string> {
  const dialog = await openDialog({ kind: 'tcp', host: '127.0.0.1', port });
  await dialog.reply();
  for (const line of ['LHLO ship.example', 'MAIL FROM:<anna@partner.example>', 'RCPT TO:<bob@site.example>'])
    assert.match(await dialog.ask(line), /^250/, line);
  assert.match(await dialog.ask('DATA'), /^354/);
  const reply = await dialog.ask(`${message}.`);
  await dialog.send('QUIT\r\n');
  await dialog.rest();
  return reply;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.on('connect', () => socket.destroy());
    socket.on('error', () => resolve(false));
    socket.on('close', (hadError) => resolve(!hadError));
  });
}

async function isReady(port: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${port}/readyz`)).ok;
  } catch {
    // Nobody listens yet.
    return false;
  }
}
