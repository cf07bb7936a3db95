/**
 * supervisor — `sluice run all`: one child process per part, restarted with back-off, told to stop together.
 *
 * SIGTERM, SIGINT and SIGHUP are passed on. A child that ends by itself is started again after 1 s, then 2, 4 … 30 s;
 * one that lived for a minute starts from 1 s. Configuration errors (exit 78) are final: trying again can't help.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import type { Log } from '../workers/log.ts';

const configurationExit = 78;
const backOffMsMax = 30_000;
const livedLongMs = 60_000;

/** Runs the parts until a signal ends them; resolves with the exit code for this process. */
export async function supervise(
  parts: readonly string[],
  argumentsOf: (part: string) => string[],
  log: Log,
): Promise<number> {
  const children = new Map<string, ChildProcess>();
  const stop = new AbortController();
  const pass = (signal: NodeJS.Signals): void => {
    if (signal !== 'SIGHUP') stop.abort();
    for (const child of children.values()) child.kill(signal);
  };
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, pass);
  const codes = await Promise.all(
    parts.map((part) => keepRunning(part, argumentsOf(part), children, stop, log)),
  );
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.off(signal, pass);
  return Math.max(...codes);
}

async function keepRunning(
  part: string,
  commandArguments: string[],
  children: Map<string, ChildProcess>,
  stop: AbortController,
  log: Log,
): Promise<number> {
  for (let backOffMs = 1000; ; backOffMs = Math.min(backOffMs * 2, backOffMsMax)) {
    const startedAt = performance.now();
    const { promise, resolve } = Promise.withResolvers<{ code: number | null; why: string }>();
    const child = spawn(process.execPath, commandArguments, { stdio: ['ignore', 'inherit', 'inherit'] });
    children.set(part, child);
    child.on('error', (error) => resolve({ code: null, why: error.message }));
    child.on('exit', (code, signal) => resolve({ code, why: signal ?? `exit ${code}` }));
    const { code, why } = await promise;
    if (stop.signal.aborted) return code ?? 1;
    if (code === configurationExit) {
      stop.abort();
      for (const other of children.values()) other.kill('SIGTERM');
      return code;
    }
    if (performance.now() - startedAt > livedLongMs) backOffMs = 1000;
    log.error({ part, why, backOffMs, alarm: true }, 'Part ended by itself: restarting');
    await delay(backOffMs, undefined, { signal: stop.signal }).catch(() => undefined /* stopped meanwhile */);
    if (stop.signal.aborted) return 0;
  }
}
