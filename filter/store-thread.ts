/**
 * store-thread — the worker thread that owns one SQLite database.
 *
 * Hides node:sqlite, which is synchronous: here a commit, or a wait for another process's lock, stalls this thread and
 * never the mail (FACTS.md). The database is opened by the first request that needs it and opened anew after a failure
 * that a fresh connection may cure; every failure goes back as a value, and a request that failed was rolled back.
 */
import { statSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';

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
  | { readonly kind: 'transaction'; readonly steps: readonly Step[]; readonly durable: boolean };

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
// ERROR, BUSY, LOCKED, FULL, CONSTRAINT, MISMATCH, MISUSE, RANGE: the connection itself is in order.
const harmlessCodes = new Set([1, busyCode, 6, 13, 19, 20, 21, 25]);

let connection: Connection | null = null;

if (parentPort !== null) {
  const port = parentPort;
  const options = workerData as ThreadOptions;
  port.on('message', (request: Request) => {
    port.postMessage(answer(request, options));
    if (request.work.kind === 'close') port.close();
  });
}

function answer(request: Request, options: ThreadOptions): Answer {
  try {
    const late = request.work.kind !== 'close' && monotonicMs() > request.expiresAtMs;
    if (late) throw new Error('too many requests wait for it');
    return { id: request.id, ok: true, rows: perform(request.work, options) };
  } catch (error) {
    return { id: request.id, ok: false, failure: failureOf(error) };
  }
}

function perform(work: Work, options: ThreadOptions): unknown[] {
  try {
    switch (work.kind) {
      case 'open':
        connect(options);
        return [];
      case 'check':
        return transact(connect(options), [], false);
      case 'all':
        return prepare(connect(options), work.step.sql).all(...bound(work.step));
      case 'transaction':
        return transact(connect(options), work.steps, work.durable && options.synchronous !== 'FULL');
      case 'close':
        disconnect();
        return [];
    }
  } catch (error) {
    const { code } = failureOf(error);
    if (code === null || !harmlessCodes.has(code)) disconnect();
    throw error;
  }
}

/** All steps or none; `raise` makes this one commit as durable as FULL, on a database that otherwise runs on NORMAL. */
function transact(current: Connection, steps: readonly Step[], raise: boolean): { changes: number }[] {
  const { database } = current;
  // The setting can't change inside a transaction (sqlite.org/pragma.html#pragma_synchronous).
  if (raise) database.exec('PRAGMA synchronous = FULL');
  try {
    database.exec('BEGIN IMMEDIATE');
    const changes = steps.map((step) => ({
      changes: Number(prepare(current, step.sql).run(...bound(step)).changes),
    }));
    database.exec('COMMIT');
    return changes;
  } finally {
    if (database.isTransaction) rollback(current);
    if (raise && database.isOpen) database.exec('PRAGMA synchronous = NORMAL');
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

function failureOf(error: unknown): Failure {
  if (!(error instanceof Error)) return { message: String(error), code: null };
  const extended = 'errcode' in error && typeof error.errcode === 'number' ? error.errcode : null;
  return { message: error.message, code: extended === null ? null : extended & 0xff };
}
