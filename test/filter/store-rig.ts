/**
 * store-rig — what the tests of store, quarantine, ledger and history share: a log that remembers, and child processes
 * that can be killed at a named point.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import type { Log } from '../../workers/log.ts';

/** A log that keeps each line as `level message`. */
export function recordingLog(): Log & { readonly lines: string[] } {
  const lines: string[] = [];
  const write = (level: string) => (_: object, message: string) => void lines.push(`${level} ${message}`);
  return { lines, debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
}

export type Child = {
  readonly process: ChildProcess;
  /** The next line of its output; rejects where it ends without one. */
  line(): Promise<string>;
  /** Lines until this one, without it. */
  until(line: string): Promise<string[]>;
  write(line: string): void;
  /** kill -9, and waits until it is gone. */
  kill(): Promise<void>;
  /** Its exit code, once it has ended by itself. */
  ended(): Promise<number | null>;
};

/** Starts a TypeScript file beside this one as a process, `prefix` (strace, say) in front of node. */
export function startChild(
  context: TestContext,
  file: string,
  args: readonly string[],
  prefix: readonly string[] = [],
): Child {
  const [command = process.execPath, ...rest] = [
    ...prefix,
    process.execPath,
    join(import.meta.dirname, file),
    ...args,
  ];
  const child = spawn(command, rest, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, UV_THREADPOOL_SIZE: '1' },
  });
  const ended = once(child, 'exit');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  context.after(() => child.kill('SIGKILL'));

  async function line(): Promise<string> {
    const next = await lines.next();
    if (next.done === true) throw new Error(`${file} ended without another line`);
    return next.value;
  }

  return {
    process: child,
    line,
    async until(wanted) {
      const seen: string[] = [];
      for (let next = await line(); next !== wanted; next = await line()) seen.push(next);
      return seen;
    },
    write: (text) => void child.stdin.write(`${text}\n`),
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
    async ended() {
      await ended;
      return child.exitCode;
    },
  };
}
