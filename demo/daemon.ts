/**
 * daemon — starts a real daemon in the foreground for demonstrations and tests, waits till it answers, stops it.
 *
 * Hides spawning, the log file, the wait and the escalation from SIGTERM to SIGKILL. A daemon that ends before it
 * answers, or never answers, is an error that shows the end of its log. Nothing outlives this process on its exit.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export type Daemon = {
  readonly pid: number;
  readonly logFile: string;
  /** SIGTERM (also to a stopped process), after 5 s SIGKILL; resolves when the process is gone. Idempotent. */
  stop(): Promise<void>;
  /** Sends any signal, for example SIGSTOP or SIGKILL. */
  kill(signal: NodeJS.Signals): void;
};

/**
 * Starts `command`; resolves once `isUp` says true (asked every 50 ms for `startTimeoutMs`, default 60 s: a full
 * signature database takes long). Standard output and error go to `logFile`.
 */
export async function startDaemon(options: {
  command: string;
  args: readonly string[];
  logFile: string;
  isUp: () => Promise<boolean>;
  env?: NodeJS.ProcessEnv;
  startTimeoutMs?: number;
}): Promise<Daemon> {
  const log = openSync(options.logFile, 'a', 0o600);
  const child = spawn(options.command, options.args, {
    stdio: ['ignore', log, log],
    env: options.env ?? process.env,
  });
  closeSync(log);
  const ended = endOf(child);
  const daemon = daemonOf(child, options.logFile, ended);
  const cause = await Promise.race([ended, answers(options.isUp, child, options.startTimeoutMs ?? 60_000)]);
  if (cause === 'up') return daemon;
  await daemon.stop();
  throw new Error(
    `Cannot start ${options.command}: ${cause}; its log ends with:\n${tailOf(options.logFile)}`,
  );
}

/** A TCP port of 127.0.0.1 that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('Cannot probe for a free port');
  return address.port;
}

function daemonOf(child: ChildProcess, logFile: string, ended: Promise<string>): Daemon {
  const kill = (signal: NodeJS.Signals) => void child.kill(signal);
  const dieWithUs = () => kill('SIGKILL');
  process.once('exit', dieWithUs);
  return {
    pid: child.pid ?? 0,
    logFile,
    kill,
    async stop() {
      process.off('exit', dieWithUs);
      kill('SIGTERM');
      kill('SIGCONT');
      const timer = setTimeout(() => kill('SIGKILL'), 5_000);
      await ended;
      clearTimeout(timer);
    },
  };
}

function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(`it ended with ${signal ?? code}`));
  });
}

async function answers(
  isUp: () => Promise<boolean>,
  child: ChildProcess,
  timeoutMs: number,
): Promise<string> {
  const until = Date.now() + timeoutMs;
  const lives = () => child.pid !== undefined && child.exitCode === null && child.signalCode === null;
  while (Date.now() < until && lives()) {
    if (await isUp()) return 'up';
    await delay(50);
  }
  return `no answer within ${timeoutMs} ms`;
}

function tailOf(file: string): string {
  return readFileSync(file, 'utf8').split('\n').slice(-15).join('\n');
}
