/**
 * bayes-spamd — a spamd of our own, on the live Bayes database, that reads and never writes: local tests, one child, low priority.
 *
 * Hides what keeps it harmless. Production's spamd is not touched. It lies in a folder in memory (tmpfs): socket, journal, and the
 * parts of messages that SpamAssassin puts into temporary files. A shell in a session of its own waits for the end of a pipe
 * that only we hold, then kills spamd with all its children and removes the folder: also where we are killed. Rejects with
 * BayesFail where there is no spamd, or it does not start.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, statfsSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { BayesView } from './bayes-counts.ts';
import { filesPathOf } from './bayes-files.ts';
import { spawnAs } from './bayes-sa-learn.ts';
import { BayesFail, failed, messageOf } from './bayes-step.ts';
import { siteSetting } from './bayes-store.ts';
import type { Address } from './exchange.ts';
import { findUser } from './local-process.ts';

export type PrivateSpamd = {
  readonly address: Address;
  /** As whom it scores: its User header. */
  readonly userName: string | null;
  /** From the start of the process until it listened. */
  readonly startMs: number;
  /** Resolves when all of it is killed and no file is left. Idempotent. */
  stop(): Promise<void>;
};

/** Where folders live in memory; the first that does is taken. */
const memoryFolders = ['/dev/shm', '/run'];
const tmpfsMagic = 0x01021994;
const startTimeoutMs = 60_000;

/**
 * $0: the folder; arguments: spamd and its own. The shell becomes spamd, whose process group has the shell's number. The one
 * that waits removes what runs left that were killed together with theirs.
 */
const script = `
exec 3<&0 </dev/null
setsid sh -c '
  find "\${0%/*}" -maxdepth 1 -name "sluice-spamd-*" -user "$(id -u)" -mmin +60 -exec rm -rf {} + 2>/dev/null
  cat <&3 >/dev/null; kill -KILL "-$1" 2>/dev/null; rm -rf "$0"' "$0" "$$" >/dev/null &
exec nice -n 10 "$@" 3<&-
`;

/** Scores as spamd does and touches nothing: what Bayes, TxRep and the auto-whitelist would remember is switched off. */
const readOnly = [
  'use_bayes 1',
  'use_learner 1',
  'bayes_auto_learn 0',
  'bayes_auto_expire 0',
  'bayes_learn_during_report 0',
  'bayes_learn_to_journal 0',
  'bayes_journal_max_size 0',
  'ifplugin Mail::SpamAssassin::Plugin::AWL',
  'use_auto_whitelist 0',
  'endif',
  'ifplugin Mail::SpamAssassin::Plugin::TxRep',
  'use_txrep 0',
  'endif',
  'add_header all Sluice-Tests _TESTSSCORES(,)_',
  'add_header all Sluice-Bayes _BAYES_',
];

/** Starts it; `signal` ends it. Another user than ours needs root. */
export async function startPrivateSpamd(wanted: BayesView, signal: AbortSignal): Promise<PrivateSpamd> {
  const view = { ...wanted, user: userOf(wanted) };
  const folder = makeFolder(view);
  const { env, uid, gid, cwd } = spawnAs(view, { ...environmentOf(view), TMPDIR: folder });
  const as = uid === undefined || gid === undefined ? {} : { uid, gid };
  const begun = performance.now();
  const child = spawn('/bin/sh', ['-c', script, folder, 'spamd', ...wordsFor(view, folder)], {
    ...as,
    cwd,
    env: { ...env, PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
    stdio: ['pipe', 'ignore', 'pipe'],
    // A process group of its own, for the shell to kill.
    detached: true,
  });
  const stop = stopper(child, signal);
  try {
    await untilReady(child, signal);
  } catch (cause) {
    await stop();
    throw cause;
  }
  return {
    address: { kind: 'unix', path: socketIn(folder) },
    userName: view.user?.name ?? null,
    startMs: performance.now() - begun,
    stop,
  };
}

/** spamd itself falls back on nobody where root has named no one. */
function userOf({ user }: BayesView): BayesView['user'] {
  return user === null && process.getuid?.() === 0 ? findUser('nobody') : user;
}

/** All that root makes there is made before the folder is another user's: he could put links in the way. */
function makeFolder(view: BayesView): string {
  const parent = memoryFolders.find(isInMemory);
  if (parent === undefined) {
    const message = 'Cannot score: there is no folder in memory for the temporary files of SpamAssassin';
    throw failed('parity', message, 'mount a tmpfs on /dev/shm');
  }
  const folder = mkdtempSync(join(parent, 'sluice-spamd-'));
  try {
    const bayes = dirname(bayesPathIn(folder));
    mkdirSync(bayes, { mode: 0o700 });
    if (isFiles(view)) linkFiles(filesPathOf(view), bayesPathIn(folder));
    const { user } = view;
    if (user !== null && user.uid !== process.getuid?.())
      for (const path of [bayes, folder]) chownSync(path, user.uid, user.gid);
    return folder;
  } catch (cause) {
    rmSync(folder, { recursive: true, force: true });
    throw cause;
  }
}

function isInMemory(folder: string): boolean {
  try {
    return statfsSync(folder).type === tmpfsMagic;
  } catch {
    return false; // there is none
  }
}

function isFiles(view: BayesView): boolean {
  return (siteSetting(view, 'bayes_store_module')?.split('::').at(-1) ?? 'DBM') === 'DBM';
}

/** Links to the live files: what SpamAssassin writes beside them (journal, lock) stays in our folder. */
function linkFiles(live: string, path: string): void {
  // Where `seen` is missing SpamAssassin makes one, through a link as well.
  for (const end of ['_toks', '_seen']) if (existsSync(`${live}${end}`)) symlinkSync(live + end, path + end);
}

function bayesPathIn(folder: string): string {
  return join(folder, 'bayes', 'bayes');
}

function socketIn(folder: string): string {
  return join(folder, 'spamd.sock');
}

/** libpq(3): a scan in PostgreSQL would note when each token was last of use. */
function environmentOf(view: BayesView): Record<string, string> {
  return siteSetting(view, 'bayes_store_module')?.endsWith('::PgSQL') === true
    ? { PGOPTIONS: '-c default_transaction_read_only=on' }
    : {};
}

function wordsFor(view: BayesView, folder: string): string[] {
  const lines = isFiles(view) ? [...readOnly, `bayes_path ${bayesPathIn(folder)}`] : readOnly;
  return [
    '--local',
    '--nouser-config',
    ...(view.siteFolder === null ? [] : [`--siteconfigpath=${view.siteFolder}`]),
    `--socketpath=${socketIn(folder)}`,
    '--socketmode=0600',
    '--max-children=1',
    '--min-children=1',
    '--max-conn-per-child=20000',
    '--syslog=stderr',
    ...lines.map((line) => `--cf=${line}`),
  ];
}

/** It says so when it listens; all that it says is read, or it would stop at a full pipe. */
async function untilReady(child: ChildProcess, signal: AbortSignal): Promise<void> {
  const said: string[] = [];
  const ready = Promise.withResolvers<void>();
  const fail = (why: string, remedy: string, cause?: unknown) =>
    ready.reject(failed('parity', `Cannot score with a spamd of our own: ${why}`, remedy, cause));
  const look = "see what it says: spamd --local --syslog=stderr, with this site's configuration";
  if (child.stderr !== null)
    createInterface({ input: child.stderr }).on('line', (line) => {
      said.push(line.slice(0, 500));
      if (said.length > 5) said.shift();
      if (/\bserver pid: \d+/.test(line)) ready.resolve();
    });
  child.once('error', (cause) => fail(messageOf(cause), 'run it as root', cause));
  child.once('exit', (code, killed) => {
    const missing = code === 127;
    const last = said.at(-1) ?? '';
    fail(
      missing ? 'there is none here' : `it ended with ${killed ?? code}: ${last}`,
      missing ? 'install spamd on this machine' : look,
    );
  });
  const timer = setTimeout(
    () => fail(`it did not start in ${startTimeoutMs / 1000} s`, look),
    startTimeoutMs,
  );
  const onAbort = () => fail('the run was ended', 'run it again');
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    await ready.promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}

function stopper(child: ChildProcess, signal: AbortSignal): () => Promise<void> {
  // 'close': spamd, its children and the shell that ends them all have let go of standard error.
  const closed = once(child, 'close').catch((cause: unknown) => {
    if (!(cause instanceof Error) || cause instanceof BayesFail) throw cause;
  });
  const stop = async (): Promise<void> => {
    signal.removeEventListener('abort', onAbort);
    child.stdin?.destroy();
    await closed;
  };
  const onAbort = (): void => void stop();
  child.stdin?.on('error', () => undefined); // it ended by itself: 'exit' tells
  child.once('exit', () => void stop());
  signal.addEventListener('abort', onAbort, { once: true });
  return stop;
}
