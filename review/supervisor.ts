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
const passedOn = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/** How fast children are started again. */
export type Pace = { readonly firstMs: number; readonly mostMs: number; readonly livedLongMs: number };

/**
 * How Node is started for a part. V8's young generation would grow to 16 MiB a half, and almost nothing of ours lives long.
 * What this and the environment save: docs/decisions.md.
 */
export const partNodeOptions: readonly string[] = ['--max-semi-space-size=1'];

/**
 * In which environment (mallopt(3)). Each of glibc's arenas keeps what its threads once needed, and Node has ten. Left to
 * itself, glibc takes ever larger blocks from the heap once one was freed, where they leave holes: 128 KiB is its own
 * beginning, and naming it keeps it there.
 */
export const partEnvironment: Readonly<Record<string, string>> = {
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: '131072',
};

const usualPace: Pace = { firstMs: 1000, mostMs: 30_000, livedLongMs: 60_000 };

/** What the children have in common. */
type Family = {
  readonly children: Map<string, ChildProcess>;
  readonly stop: AbortController;
  readonly log: Log;
  readonly pace: Pace;
};

/** Runs the parts until a signal ends them; resolves with the exit code for this process. */
export async function supervise(
  parts: readonly string[],
  argumentsOf: (part: string) => string[],
  log: Log,
  pace: Pace = usualPace,
): Promise<number> {
  const family: Family = { children: new Map(), stop: new AbortController(), log, pace };
  const pass = (signal: NodeJS.Signals): void => {
    if (signal !== 'SIGHUP') family.stop.abort();
    for (const child of family.children.values()) child.kill(signal);
  };
  for (const signal of passedOn) process.on(signal, pass);
  const codes = await Promise.all(parts.map((part) => keepRunning(part, argumentsOf(part), family)));
  for (const signal of passedOn) process.off(signal, pass);
  return Math.max(...codes);
}

/** Exit code of this part for good. */
async function keepRunning(part: string, commandArguments: string[], family: Family): Promise<number> {
  const { children, stop, log, pace } = family;
  for (let backOffMs = pace.firstMs; ; backOffMs = Math.min(backOffMs * 2, pace.mostMs)) {
    const startedAt = performance.now();
    const { code, why } = await runOnce(part, commandArguments, children);
    // Before it listened for it, our signal itself ended it: that is no failure.
    if (stop.signal.aborted) return code ?? (why === 'SIGTERM' || why === 'SIGINT' ? 0 : 1);
    if (code === configurationExit) {
      stop.abort();
      for (const other of children.values()) other.kill('SIGTERM');
      return code;
    }
    if (performance.now() - startedAt > pace.livedLongMs) backOffMs = pace.firstMs;
    log.error({ part, why, backOffMs, alarm: true }, 'Part ended by itself: restarting');
    await delay(backOffMs, undefined, { signal: stop.signal }).catch(() => undefined /* stopped meanwhile */);
    if (stop.signal.aborted) return 0;
  }
}

/** Starts the part and waits for its end: its exit code, or null and the signal (or error) that ended it. */
async function runOnce(
  part: string,
  commandArguments: string[],
  children: Map<string, ChildProcess>,
): Promise<{ code: number | null; why: string }> {
  const { promise, resolve } = Promise.withResolvers<{ code: number | null; why: string }>();
  const child = spawn(process.execPath, [...partNodeOptions, ...commandArguments], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...partEnvironment, ...process.env },
  });
  children.set(part, child);
  child.on('error', (error) => resolve({ code: null, why: error.message }));
  child.on('exit', (code, signal) => resolve({ code, why: signal ?? `exit ${code}` }));
  return promise;
}
