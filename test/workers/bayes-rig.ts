/**
 * bayes-rig — what the Bayes tests share: each store as a throw-away one, dumps made of words, snapshots made of dumps, and
 * child processes that are killed at a named step.
 *
 * sa-learn, spamd, redis-server and PostgreSQL are Debian's. What is in a database is read by `sa-learn --backup`, so that a
 * test sees what SpamAssassin sees.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { hash } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import { startDaemon } from '../../demo/daemon.ts';
import { startRedis } from '../../demo/redis.ts';
import { type BayesOptions, createBayes, type Exported } from '../../workers/bayes.ts';
import type { BayesView } from '../../workers/bayes-counts.ts';
import { type DumpFigures, measureDump } from '../../workers/bayes-dump.ts';
import { createBayesLock } from '../../workers/bayes-lock.ts';
import { dumpName, formatManifest, type Manifest, manifestName } from '../../workers/bayes-manifest.ts';
import { findUser, type User } from '../../workers/local-process.ts';
import { temporaryFolder } from '../folder.ts';

export type StoreName = Manifest['store'];

/** Words that Bayes knows: how often in spam, how often in ham. */
export type Words = Readonly<Record<string, readonly [number, number]>>;

export type Site = {
  readonly store: StoreName;
  /** Reachable for everybody. */
  readonly folder: string;
  readonly view: BayesView;
  readonly options: BayesOptions;
  /** A configuration of SpamAssassin for the same store, to start spamd with: lines of local.cf. */
  readonly lines: string;
  /** The live database as `sa-learn --backup` has it. */
  figures(): Promise<DumpFigures>;
};

/** As whom sa-learn and spamd work: never root where we are. */
const worker: User | null = process.getuid?.() === 0 ? nobody() : null;

/**
 * A machine with an empty store of this kind, which ends with the test; `onFolder` gets its folder while it is empty. `bySocket`:
 * every server is reached through the file system, also from another network namespace.
 */
export async function startSite(
  t: TestContext,
  store: StoreName,
  onFolder: (folder: string) => void = () => undefined,
  { bySocket = false } = {},
): Promise<Site> {
  const folder = publicFolder(t);
  onFolder(folder);
  const lines = await linesFor[store](t, folder, bySocket);
  const siteFolder = join(folder, 'site');
  mkdirSync(siteFolder);
  for (const name of readdirSync('/etc/spamassassin'))
    if (name.endsWith('.pre')) copyFileSync(join('/etc/spamassassin', name), join(siteFolder, name));
  writeFileSync(join(siteFolder, 'local.cf'), `bayes_auto_learn 0\n${lines}\n`);
  const view = { user: worker, siteFolder };
  const state = join(folder, 'state');
  const lock = createBayesLock(join(state, 'lock'));
  const options = { view, folder: state, keep: 3, sizeBytesMax: 100 * 1024 ** 2, redisScratch: 5, lock };
  return { store, folder, view, options, lines, figures: () => figuresOf(view) };
}

/** The database of a view, counted. */
async function figuresOf({ siteFolder, user }: BayesView): Promise<DumpFigures> {
  const as = user === null ? {} : { uid: user.uid, gid: user.gid };
  const { stdout, stderr } = spawnSync('sa-learn', [`--siteconfigpath=${siteFolder}`, '--backup'], {
    ...as,
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C', HOME: user?.home ?? '/' },
    cwd: '/',
    maxBuffer: 2 ** 28,
  });
  const measured = await measureDump(only(stdout));
  if (measured.kind === 'broken')
    throw new Error(`Cannot read the database: ${measured.why}: ${stderr.toString()}`);
  const { kind: _, ...figures } = measured;
  return figures;
}

/** A dump as sa-learn writes it. */
export function dumpOf(words: Words, { nspam = 300, nham = 300 } = {}): string {
  const head = `v\t3\tdb_version # this must be the first line!!!\nv\t${nspam}\tnum_spam\nv\t${nham}\tnum_nonspam\n`;
  const atime = Math.floor(Date.now() / 1000) - 3600;
  const tokens = Object.entries(words).map(
    ([word, [spam, ham]]) => `t\t${spam}\t${ham}\t${atime}\t${hash('sha1', word).slice(-10)}\n`,
  );
  const seen = ['s', 'h'].map((flag) => `s\t${flag}\t${hash('sha1', flag)}@sa_generated\n`);
  return head + tokens.join('') + seen.join('');
}

/** Words that say spam, or ham; `count` of them. */
export function wordsOf(kind: 'spam' | 'ham', count = 40, prefix = 'word'): Words {
  const counts: readonly [number, number] = kind === 'spam' ? [250, 0] : [0, 250];
  return Object.fromEntries(Array.from({ length: count }, (_, at) => [`${prefix}${letters(at)}`, counts]));
}

/** A message of those words. */
export function letterOf(words: Words): Buffer {
  const text = Object.keys(words)
    .join(' ')
    .replaceAll(/(.{60}\S*) /g, '$1\r\n');
  return Buffer.from(
    `From: a@a.example\r\nTo: b@b.example\r\nSubject: x\r\nMessage-ID: <1@a.example>\r\n\r\n${text}\r\n`,
  );
}

/** A snapshot in a folder of its own, as an export would have made it of this dump. */
export async function snapshotOf(
  t: TestContext,
  dump: string,
  changes: Partial<Manifest> = {},
): Promise<{ folder: string; manifest: Manifest }> {
  const folder = temporaryFolder(t);
  const measured = await measureDump(only(Buffer.from(dump)));
  if (measured.kind === 'broken') throw new Error(`Cannot make a snapshot: ${measured.why}`);
  const { kind: _, ...figures } = measured;
  const bytes = gzipSync(dump);
  const file = { name: dumpName, sizeBytes: bytes.length, sha256: hash('sha256', bytes) };
  const where = { host: 'primary.example', store: 'files' as const, spamassassin: '4.0.1' };
  const manifest = {
    format: 1 as const,
    snapshotId: 1,
    takenAt: 1000,
    ...where,
    ...figures,
    files: [file],
    ...changes,
  };
  writeFileSync(join(folder, dumpName), bytes);
  writeFileSync(join(folder, manifestName), formatManifest(manifest));
  return { folder, manifest };
}

/** The words of a run in a process of its own; see bayes-child. */
export function childWords(site: Site, verb: string, path: string, killAt: string): string[] {
  const { lock: _, view, ...plain } = site.options;
  const script = join(import.meta.dirname, 'bayes-child.ts');
  return [script, verb, path, killAt, JSON.stringify({ ...plain, view })];
}

/** Restores in a process of its own, killed as it begins `killAt` (`never`: not), by the command `before`; resolves with its last line. */
export async function restoreInChild(
  site: Site,
  snapshotFolder: string,
  killAt: string,
  verb = 'restore',
  before: readonly string[] = [],
): Promise<string> {
  const words = [...before, process.execPath, ...childWords(site, verb, snapshotFolder, killAt)];
  const child = spawn(words[0] ?? '', words.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  return `${output.trim().split('\n').at(-1) ?? ''} ${signal ?? code ?? ''}`.trim();
}

/** The Bayes door of a site. */
export function bayesOf(site: Site, more: Partial<BayesOptions> = {}) {
  return createBayes({ ...site.options, ...more });
}

/** Puts a database in place without an export. */
export async function given(t: TestContext, site: Site, words: Words, counts = {}): Promise<void> {
  const { folder } = await snapshotOf(t, dumpOf(words, counts));
  const outcome = await bayesOf(site).restore(folder, { force: true });
  if (outcome.kind !== 'restored' && outcome.kind !== 'already') throw new Error(JSON.stringify(outcome));
}

/** An export that succeeds. */
export async function exported(
  site: Site,
  more: Partial<BayesOptions> = {},
  force = false,
): Promise<Exported> {
  const outcome = await bayesOf(site, more).export({ force });
  if (outcome.kind !== 'exported') throw new Error(JSON.stringify(outcome));
  return outcome;
}

/** One chunk as a stream. */
export async function* only(chunk: Buffer): AsyncGenerator<Buffer> {
  yield chunk;
}

type Lines = (t: TestContext, folder: string, bySocket: boolean) => Promise<string>;

const linesFor: Record<StoreName, Lines> = { files: filesLines, postgres: postgresLines, redis: redisLines };

async function filesLines(_: TestContext, folder: string): Promise<string> {
  const home = join(folder, 'bayes');
  const first = join(home, 'generation-000000000000');
  mkdirSync(first, { recursive: true });
  symlinkSync('generation-000000000000', join(home, 'current'));
  if (worker !== null) for (const path of [home, first]) chownSync(path, worker.uid, worker.gid);
  return `bayes_path ${join(home, 'current', 'bayes')}`;
}

/** A cluster of its own, which PostgreSQL refuses to run as root. */
async function postgresLines(t: TestContext, folder: string): Promise<string> {
  const [home, bin] = [join(folder, 'pg'), postgresBin()];
  mkdirSync(home);
  const owner = worker === null ? null : findUser('postgres');
  if (owner !== null) chownSync(home, owner.uid, owner.gid);
  const as = owner === null ? [] : ['runuser', '-u', owner.name, '--'];
  const run = (...words: readonly string[]) => {
    const [command = '', ...rest] = [...as, ...words];
    return { command, args: rest };
  };
  const init = run(join(bin, 'initdb'), '-D', join(home, 'data'), '-A', 'trust', '-U', 'sa', '--no-sync');
  execFileSync(init.command, init.args, { cwd: '/', stdio: 'ignore' });
  const server = run(
    join(bin, 'postgres'),
    '-D',
    join(home, 'data'),
    '-c',
    'listen_addresses=',
    '-c',
    `unix_socket_directories=${home}`,
  );
  const psql = (...words: readonly string[]) =>
    spawnSync('psql', ['-X', '-q', '-h', home, '-U', 'sa', ...words]);
  const isUp = async () => psql('-d', 'postgres', '-c', 'SELECT 1').status === 0;
  const daemon = await startDaemon({ ...server, logFile: join(folder, 'postgres.log'), isUp });
  t.after(() => daemon.stop());
  psql('-d', 'postgres', '-c', 'CREATE DATABASE sa');
  // The file of SpamAssassin 4.0.1 is for PostgreSQL before 12.
  const tables = execFileSync('sed', ['s/ WITHOUT OIDS//', '/usr/share/doc/spamassassin/sql/bayes_pg.sql']);
  execFileSync('psql', ['-X', '-q', '-h', home, '-U', 'sa', '-d', 'sa', '-v', 'ON_ERROR_STOP=1'], {
    input: tables,
  });
  return [
    'bayes_store_module Mail::SpamAssassin::BayesStore::PgSQL',
    `bayes_sql_dsn DBI:Pg:dbname=sa;host=${home}`,
    'bayes_sql_username sa',
    "bayes_sql_override_username o'bayes",
  ].join('\n');
}

async function redisLines(t: TestContext, folder: string, bySocket: boolean): Promise<string> {
  const home = join(folder, 'redis');
  mkdirSync(home);
  const socket = join(home, 'socket');
  const settings = [`unixsocket ${socket}`, 'unixsocketperm 777'];
  const server = await startRedis({ folder: home, password: 'geheim', settings });
  t.after(() => server.stop());
  const dsn = `server=${bySocket ? socket : `127.0.0.1:${server.port}`};password=geheim;database=4`;
  return `bayes_store_module Mail::SpamAssassin::BayesStore::Redis\nbayes_sql_dsn ${dsn}`;
}

function postgresBin(): string {
  const versions = readdirSync('/usr/lib/postgresql').toSorted((a, b) => Number(b) - Number(a));
  return join('/usr/lib/postgresql', versions[0] ?? '', 'bin');
}

function publicFolder(t: TestContext): string {
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o755);
  return folder;
}

function nobody(): User {
  const user = findUser('nobody');
  if (user === null) throw new Error('Cannot test: there is no user nobody');
  return user;
}

/** A word of its own for each number, of letters only. */
function letters(number: number): string {
  return String(number + 100).replaceAll(/\d/g, (digit) => 'abcdefghij'[Number(digit)] ?? '');
}
