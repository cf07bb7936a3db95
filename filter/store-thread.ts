/**
 * store-thread — the worker thread that owns one SQLite database.
 *
 * Hides node:sqlite, which is synchronous: here a commit, or a wait for another process's lock, stalls this thread and
 * never the mail (FACTS.md). Transactions that wait together are committed together: one sync to disk for all of them.
 * The database is opened by the first request that needs it and opened anew after a failure that a fresh connection may
 * cure; every failure goes back as a value, and a request that failed was rolled back.
 */
import { statfsSync, statSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { dirname } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';

export type Value = string | number | bigint | null | Uint8Array;
export type Step = { readonly sql: string; readonly params?: readonly Value[] };

/** What the thread is started with; `migrations` null: an existing file as it stands. */
export type ThreadOptions = {
  readonly file: string;
  readonly migrations: readonly string[] | null;
  readonly synchronous: 'FULL' | 'NORMAL';
  readonly busyTimeoutMs: number;
};

export type Work =
  | { readonly kind: 'open' | 'check' | 'close' }
  | { readonly kind: 'all'; readonly step: Step }
  /** Reads only; done before what waits in front of it. */
  | { readonly kind: 'read'; readonly steps: readonly Step[] }
  | Transaction;

type Transaction = {
  readonly kind: 'transaction';
  readonly steps: readonly Step[];
  readonly durable: boolean;
};

/** `expiresAtMs` is of `monotonicMs`: a request that waited longer behind others is refused untried. */
export type Request = { readonly id: number; readonly expiresAtMs: number; readonly work: Work };

/** `code` is SQLite's primary result code, or null where SQLite did not speak. */
export type Failure = { readonly message: string; readonly code: number | null };
export type Answer = { readonly id: number } & (
  | { readonly ok: true; readonly rows: unknown[] }
  | { readonly ok: false; readonly failure: Failure }
);

type Connection = {
  readonly database: DatabaseSync;
  readonly statements: Map<string, StatementSync>;
  readonly inode: bigint;
};

/** Milliseconds of a clock that all threads share and nobody can set. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}

const statementsMax = 200;
const busyCode = 5;
const ioErrorCode = 10;
const fullCode = 13;
/** SQLite grows a -shm file by so much (sqlite.org/walformat.html). */
const shmBytes = 32_768;
// ERROR, BUSY, LOCKED, FULL, CONSTRAINT, MISMATCH, MISUSE, RANGE: the connection itself is in order.
const harmlessCodes = new Set([1, busyCode, 6, 13, 19, 20, 21, 25]);

let connection: Connection | null = null;

if (parentPort !== null) {
  const port = parentPort;
  const options = workerData as ThreadOptions;
  port.on('message', (requests: readonly Request[]) => {
    const waiting = [...requests];
    for (let more = receiveMessageOnPort(port); more !== undefined; more = receiveMessageOnPort(port))
      waiting.push(...(more.message as readonly Request[]));
    for (const group of inGroups(waiting)) port.postMessage(answerAll(group, options));
    if (waiting.some(({ work }) => work.kind === 'close')) port.close();
  });
}

/** What is done and answered together: all reads first, then in the order made, neighbouring transactions as one. */
function inGroups(requests: readonly Request[]): Request[][] {
  const reads = requests.filter(({ work }) => work.kind === 'read');
  const groups: Request[][] = reads.length === 0 ? [] : [reads];
  let open: Request[] | null = null;
  for (const request of requests) {
    if (request.work.kind === 'read') continue;
    if (request.work.kind === 'transaction' && open !== null) open.push(request);
    else groups.push((open = [request]));
    if (request.work.kind !== 'transaction') open = null;
  }
  return groups;
}

function answerAll(group: readonly Request[], options: ThreadOptions): Answer[] {
  const transactions = group.flatMap(({ work }) => (work.kind === 'transaction' ? [work] : []));
  const alone = transactions.length < 2 || group.some(isLate);
  return (
    (alone ? null : answerTogether(group, transactions, options)) ?? group.map((one) => answer(one, options))
  );
}

/** One commit for all; null where a step failed, and nothing was done: each alone shows whose it was. */
function answerTogether(
  group: readonly Request[],
  works: readonly Transaction[],
  options: ThreadOptions,
): Answer[] | null {
  try {
    const raise = options.synchronous !== 'FULL' && works.some(({ durable }) => durable);
    const done = guarded(() => transact(connect(options), works, raise));
    return group.map(({ id }, at) => ({ id, ok: true, rows: done[at] ?? [] }));
  } catch (error) {
    if (error instanceof StepFailed) return null;
    return group.map(({ id }) => ({ id, ok: false, failure: tellFailure(error, options) }));
  }
}

function isLate({ work, expiresAtMs }: Request): boolean {
  return work.kind !== 'close' && monotonicMs() > expiresAtMs;
}

function answer(request: Request, options: ThreadOptions): Answer {
  try {
    if (isLate(request)) throw new Error('too many requests wait for it');
    return { id: request.id, ok: true, rows: guarded(() => perform(request.work, options)) };
  } catch (error) {
    const cause = error instanceof StepFailed ? error.cause : error;
    return { id: request.id, ok: false, failure: tellFailure(cause, options) };
  }
}

function perform(work: Work, options: ThreadOptions): unknown[] {
  switch (work.kind) {
    case 'open':
      connect(options);
      return [];
    case 'check':
      return transact(connect(options), [], false);
    case 'all':
      return query(connect(options), work.step);
    case 'read': {
      const current = connect(options);
      return work.steps.map((step) => query(current, step));
    }
    case 'transaction': {
      const raise = work.durable && options.synchronous !== 'FULL';
      return transact(connect(options), [work], raise)[0] ?? [];
    }
    case 'close':
      disconnect();
      return [];
  }
}

/** Does `action`; after a failure that a fresh connection may cure, the next action gets one. */
function guarded<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    const { code } = failureOf(error instanceof StepFailed ? error.cause : error);
    if (code === null || !harmlessCodes.has(code)) disconnect();
    throw error;
  }
}

/** A statement failed before the commit was tried: all is rolled back. */
class StepFailed extends Error {}

function query(current: Connection, step: Step): unknown[] {
  return prepare(current, step.sql).all(...bound(step));
}

/** All steps of all works or none; `raise` makes this one commit as durable as FULL, on a database that otherwise runs on NORMAL. */
function transact(
  current: Connection,
  works: readonly Transaction[],
  raise: boolean,
): { changes: number }[][] {
  const { database } = current;
  // The setting can't change inside a transaction (sqlite.org/pragma.html#pragma_synchronous).
  if (raise) database.exec('PRAGMA synchronous = FULL');
  try {
    database.exec('BEGIN IMMEDIATE');
    const changes = works.map(({ steps }) => steps.map((step) => change(current, step)));
    database.exec('COMMIT');
    return changes;
  } finally {
    if (database.isTransaction) rollback(current);
    if (raise && database.isOpen) database.exec('PRAGMA synchronous = NORMAL');
  }
}

function change(current: Connection, step: Step): { changes: number } {
  try {
    return { changes: Number(prepare(current, step.sql).run(...bound(step)).changes) };
  } catch (cause) {
    throw new StepFailed('A statement failed', { cause });
  }
}

function rollback({ database }: Connection): void {
  try {
    database.exec('ROLLBACK');
  } catch {
    // After an I/O error SQLite may have rolled back already; a new connection is in no transaction for certain.
    disconnect();
  }
}

/** Values as SQLite takes them: a lone surrogate (see decodeWire) has no UTF-8 and becomes U+FFFD. */
function bound(step: Step): Value[] {
  return (step.params ?? []).map((value) => (typeof value === 'string' ? value.toWellFormed() : value));
}

function prepare(current: Connection, sql: string): StatementSync {
  const known = current.statements.get(sql);
  if (known !== undefined) return known;
  if (current.statements.size >= statementsMax) current.statements.clear();
  const statement = current.database.prepare(sql);
  current.statements.set(sql, statement);
  return statement;
}

/** The open connection; a file that was replaced or removed under it is opened anew, else we would write to nowhere. */
function connect(options: ThreadOptions): Connection {
  if (connection !== null && inodeOf(options.file) !== connection.inode) disconnect();
  if (connection !== null) return connection;
  const { file, migrations, synchronous, busyTimeoutMs } = options;
  const database = new DatabaseSync(migrations === null ? existing(file) : file, { timeout: busyTimeoutMs });
  try {
    if (migrations !== null) enterWal(database, busyTimeoutMs);
    database.exec(`PRAGMA synchronous = ${synchronous}`);
    if (migrations !== null) migrate(database, migrations);
  } catch (error) {
    database.close();
    throw error;
  }
  connection = { database, statements: new Map(), inode: inodeOf(options.file) };
  return connection;
}

/** A name under which SQLite makes no new file (sqlite.org/uri.html). */
function existing(file: string): URL {
  const url = pathToFileURL(file);
  url.searchParams.set('mode', 'rw');
  return url;
}

/** The switch to WAL does not wait for locks by itself where two processes open a new file at once. */
function enterWal(database: DatabaseSync, busyTimeoutMs: number): void {
  const until = monotonicMs() + busyTimeoutMs;
  for (;;) {
    try {
      database.exec('PRAGMA journal_mode = WAL');
      return;
    } catch (error) {
      if (failureOf(error).code !== busyCode || monotonicMs() > until) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    }
  }
}

/** `migrations[n]` leads from user_version n to n + 1; all missing ones in one transaction. */
function migrate(database: DatabaseSync, migrations: readonly string[]): void {
  if (versionOf(database) === migrations.length) return;
  database.exec('BEGIN IMMEDIATE');
  try {
    // Read again under the lock: another process may have been quicker.
    const version = versionOf(database);
    if (version > migrations.length) {
      throw new Error(
        `its schema has version ${version}, this Sluice knows up to ${migrations.length}: ` +
          'install the newer Sluice again, or stop Sluice and move the file away',
      );
    }
    for (const sql of migrations.slice(version)) database.exec(sql);
    database.exec(`PRAGMA user_version = ${migrations.length}`);
    database.exec('COMMIT');
  } finally {
    if (database.isTransaction) database.exec('ROLLBACK');
  }
}

function versionOf(database: DatabaseSync): number {
  return Number(database.prepare('PRAGMA user_version').get()?.['user_version']);
}

function disconnect(): void {
  const old = connection;
  connection = null;
  if (old?.database.isOpen === true) old.database.close();
}

function inodeOf(file: string): bigint {
  return statSync(file, { bigint: true, throwIfNoEntry: false })?.ino ?? 0n;
}

/** As `failureOf`; an I/O error on a full disk is what SQLite says where its own pages found no room (it can't tell of others). */
function tellFailure(error: unknown, { file }: ThreadOptions): Failure {
  const failure = failureOf(error);
  return failure.code === ioErrorCode && isFull(dirname(file)) ? { ...failure, code: fullCode } : failure;
}

function isFull(folder: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize < shmBytes;
  } catch {
    // What can't be asked is not known to be full.
    return false;
  }
}

function failureOf(error: unknown): Failure {
  if (!(error instanceof Error)) return { message: String(error), code: null };
  const extended = 'errcode' in error && typeof error.errcode === 'number' ? error.errcode : null;
  return { message: error.message, code: extended === null ? null : extended & 0xff };
}
