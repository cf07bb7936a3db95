/**
 * bayes-sa-learn — runs sa-learn(1p) as the right user, with the right configuration, on the live database or on another one.
 *
 * Hides processes and streams. A dump never lies uncompressed in memory or on disk: it flows out of `backup` and into
 * `restore`. sa-learn takes half a dump without complaint, so an exit status of 0 proves nothing: callers count. Rejects
 * with BayesFail where sa-learn can't be run, says so, takes longer than its limit or is told to end; by then it has ended.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { pipeline } from 'node:stream/promises';
import { parseMagic, type BayesView } from './bayes-counts.ts';
import { type BayesStep, failed } from './bayes-step.ts';

/** What `--dump magic` says; `tokens` is 0 for Redis, which does not count them. */
export type Magic = { readonly nspam: number; readonly nham: number; readonly tokens: number };

/** `lines` are configuration that goes over the site's (`--cf`): they name another database than the live one. */
export type SaLearn = {
  /** As in `SpamAssassin version 4.0.1`. */
  version(): Promise<string>;
  /** Writes the journal into the database. */
  sync(): Promise<void>;
  /** Null where there is no database yet. */
  magic(lines?: readonly string[]): Promise<Magic | null>;
  /** The dump as it comes; rejects at its end where sa-learn failed. */
  backup(step: BayesStep, lines?: readonly string[]): AsyncIterable<Buffer>;
  /** Loads a dump into a database that `lines` name. If this process dies, sa-learn sees the end of its input and ends. */
  restore(dump: AsyncIterable<Buffer>, lines: readonly string[]): Promise<void>;
};

/** How long one of the programs that work on the database may take. */
export const programMsMax = 30 * 60_000;
/** Whoever was told to end has so long to let go of the live database. */
const graceMs = 5000;
/** cat(1) makes the pipe after the change of user: whoever does not own a pipe can't open it as /dev/stdin. */
const throughCat = 'cat | exec sa-learn "$@"';

/** For one view; `signal` ends what runs. Another user than ours needs root. */
export function createSaLearn(view: BayesView, signal: AbortSignal): SaLearn {
  const site = view.siteFolder === null ? [] : [`--siteconfigpath=${view.siteFolder}`];
  const wordsFor = (lines: readonly string[], ...words: readonly string[]) => [
    ...site,
    ...lines.map((line) => `--cf=${line}`),
    ...words,
  ];
  const run = (step: BayesStep, words: readonly string[]) => textOf(start(view, signal, step, words));
  return {
    version: async () => /version (\S+)/.exec(await run('settings', ['--version']))?.[1] ?? 'unknown',
    async sync() {
      await run('sync', wordsFor([], '--sync'));
    },
    async magic(lines = []) {
      const text = await run('count', wordsFor(lines, '--dump', 'magic')).catch(() => '');
      const counts = parseMagic(text);
      const tokens = /\s(\d+)\s+\d+\s+non-token data: ntokens\n/.exec(text)?.[1];
      return counts === null ? null : { ...counts, tokens: Number(tokens ?? 0) };
    },
    backup: (step, lines = []) => outputOf(start(view, signal, step, wordsFor(lines, '--backup'))),
    async restore(dump, lines) {
      const words = wordsFor(lines, '--restore=/dev/stdin');
      await feed(start(view, signal, 'load', words, ['/bin/sh', '-c', throughCat, 'sh']), dump);
    },
  };
}

type Run = {
  readonly child: ChildProcess;
  /** Settles when all of its processes are gone. */
  readonly ended: Promise<void>;
  readonly kill: () => void;
};

/** How another program is run so that it sees what sa-learn sees: user, home and a plain environment. */
export function spawnAs({ user }: BayesView, env: Readonly<Record<string, string>> = {}) {
  const isOther = user !== null && user.uid !== process.getuid?.();
  const as = isOther ? { uid: user.uid, gid: user.gid } : {};
  const home = user?.home ?? process.env.HOME ?? '/';
  const plain = { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', HOME: home };
  return { ...as, env: { ...plain, ...env }, cwd: '/' };
}

function start(
  view: BayesView,
  signal: AbortSignal,
  step: BayesStep,
  words: readonly string[],
  [command, ...before]: readonly [string, ...string[]] = ['sa-learn'],
): Run {
  // A process group of its own: a shell that is killed leaves sa-learn behind, which would load on.
  const child = spawn(command, [...before, ...words], { ...spawnAs(view), detached: true });
  const stopped = stopping(child, signal);
  const ended = endOf(child, step, view, stopped);
  // Whoever reads its output first learns of its end later.
  ended.catch(() => undefined);
  return { child, ended, kill: () => killGroup(child, 'SIGKILL') };
}

/** Ends the group at a signal, or when it takes too long; says why. */
function stopping(child: ChildProcess, signal: AbortSignal): () => string | null {
  let why: string | null = null;
  let grace: NodeJS.Timeout | undefined;
  const stop = (reason: string): void => {
    why ??= reason;
    // Nobody empties these pipes any more, and its end waits for them.
    child.stdout?.resume();
    killGroup(child, 'SIGTERM');
    grace ??= setTimeout(() => killGroup(child, 'SIGKILL'), graceMs);
  };
  const onAbort = (): void => stop('was told to end');
  const limit = setTimeout(() => stop(`took longer than ${programMsMax / 60_000} minutes`), programMsMax);
  signal.addEventListener('abort', onAbort, { once: true });
  child.once('close', () => {
    clearTimeout(limit);
    clearTimeout(grace);
    signal.removeEventListener('abort', onAbort);
  });
  if (signal.aborted) onAbort();
  return () => why;
}

function killGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return; // it never began
  try {
    process.kill(-pid, signal);
  } catch (cause) {
    // It has ended just now.
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'ESRCH')) throw cause;
  }
}

function endOf(
  child: ChildProcess,
  step: BayesStep,
  { user }: BayesView,
  stopped: () => string | null,
): Promise<void> {
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString('latin1')).slice(-2000);
  });
  return new Promise((resolve, reject) => {
    child.once('error', (cause: NodeJS.ErrnoException) => {
      const message = `Cannot run sa-learn${user === null ? '' : ` as ${user.name}`}: ${cause.message}`;
      const missing = 'install SpamAssassin on this machine';
      reject(
        failed(step, message, cause.code === 'ENOENT' ? missing : 'run it as root, or as that user', cause),
      );
    });
    // All who held standard error have let go of it: none of the group is left.
    child.once('close', (code, signal) => {
      const why = stopped();
      if (why !== null)
        return reject(failed(step, `Cannot go on after sa-learn (step ${step}): it ${why}`, 'run it again'));
      if (code === 0) return resolve();
      const last = said.trim().split('\n').at(-1) ?? '';
      const message = `Cannot go on after sa-learn (step ${step}): it ended with ${signal ?? code}: ${last}`;
      reject(failed(step, message, 'see its words with -D bayes: sa-learn -D bayes --dump magic'));
    });
  });
}

async function* outputOf({ child, ended, kill }: Run): AsyncGenerator<Buffer> {
  child.stdin?.destroy();
  try {
    if (child.stdout !== null) yield* child.stdout as AsyncIterable<Buffer>;
    await ended;
  } finally {
    // Where the reader has left, nobody empties the pipe any more.
    if (child.exitCode === null && child.signalCode === null) kill();
    await ended.catch(() => undefined); // told above, where it matters
  }
}

async function textOf(run: Run): Promise<string> {
  let text = '';
  for await (const chunk of outputOf(run)) text += chunk.toString('latin1');
  return text;
}

async function feed({ child, ended, kill }: Run, dump: AsyncIterable<Buffer>): Promise<void> {
  if (child.stdin === null) return ended;
  child.stdout?.resume();
  try {
    await pipeline(dump, child.stdin);
  } catch (cause) {
    kill();
    const end = await ended.catch((trouble: unknown) => trouble);
    // sa-learn that ended early says more than the broken pipe.
    throw isPipeError(cause) ? (end ?? cause) : cause;
  }
  await ended;
}

function isPipeError(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && (cause.code === 'EPIPE' || cause.code === 'ECONNRESET');
}
