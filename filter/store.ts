/**
 * store — a SQLite database behind an async door, in a worker thread of its own.
 *
 * Hides the thread, its restart, and the opening and reopening of the file. Calls are performed in the order made, writes
 * that wait together in one commit. A database that is locked, corrupt, missing or on a full disk fails the call with TempFail and nothing else:
 * the next call tries again, so that it recovers by itself once the cause is gone.
 */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { TempFail } from '../workers/fail.ts';
import type { Log } from '../workers/log.ts';
import {
  type Answer,
  type Failure,
  monotonicMs,
  type Request,
  type Step,
  type ThreadOptions,
  type Value,
  type Work,
} from './store-thread.ts';

export type { Step, Value };

/** One database; every method rejects with TempFail, and what was rejected was not done (unless the thread itself died). */
export interface Store {
  /** Rows of a query, in the shape that its columns have. */
  all<Row>(sql: string, params?: readonly Value[]): Promise<Row[]>;
  /** Rows of several queries, asked at once. They don't wait for calls that are not answered yet, and may not see those. */
  read(steps: readonly Step[]): Promise<unknown[][]>;
  /** One statement in a transaction of its own. */
  run(sql: string, params?: readonly Value[]): Promise<{ changes: number }>;
  /** All steps or none; `durable` syncs this commit to disk on a store that is opened with NORMAL. */
  transaction(steps: readonly Step[], options?: { durable?: boolean }): Promise<{ changes: number }[]>;
  /** Resolves where the database can be written now. */
  check(): Promise<void>;
  /** Finishes what was asked for, then closes the database. */
  close(): Promise<void>;
}

/**
 * A store on `file`; it never rejects because of the database: one that can't be opened now is tried again with each
 * call. `migrations[n]` is SQL that leads from `user_version` n to n + 1; null: only an existing file, as it stands. A lock of another process is waited for
 * `busyTimeoutMs`; a call that waited `queueTimeoutMs` behind others fails untried.
 */
export async function openStore(options: {
  file: string;
  migrations: readonly string[] | null;
  synchronous: 'FULL' | 'NORMAL';
  log: Log;
  busyTimeoutMs?: number;
  queueTimeoutMs?: number;
}): Promise<Store> {
  const { file, migrations, synchronous, log, busyTimeoutMs = 2000, queueTimeoutMs = 10_000 } = options;
  const thread = new Thread({ file, migrations, synchronous, busyTimeoutMs }, queueTimeoutMs, log);
  // Its failure is logged by the thread's owner; whoever needs the database meets it again at his own call.
  await thread.ask({ kind: 'open' }).catch(() => undefined);
  return {
    all: async <Row>(sql: string, params: readonly Value[] = []) =>
      (await thread.ask({ kind: 'all', step: { sql, params } })) as Row[],
    read: async (steps) => (await thread.ask({ kind: 'read', steps })) as unknown[][],
    run: async (sql, params = []) => {
      const [changed] = await transact(thread, [{ sql, params }], false);
      return changed ?? { changes: 0 };
    },
    transaction: (steps, { durable = false } = {}) => transact(thread, steps, durable),
    check: async () => void (await thread.ask({ kind: 'check' })),
    close: () => thread.close(),
  };
}

/** An INSERT of one row whose keys are the columns. */
export function insertStep(table: string, row: Readonly<Record<string, Value>>, onConflict = ''): Step {
  const columns = Object.keys(row);
  const places = columns.map(() => '?').join(', ');
  return {
    sql: `INSERT INTO ${table} (${columns.join(', ')}) VALUES (${places}) ${onConflict}`,
    params: Object.values(row),
  };
}

async function transact(thread: Thread, steps: readonly Step[], durable: boolean) {
  return (await thread.ask({ kind: 'transaction', steps, durable })) as { changes: number }[];
}

type Waiting = { resolve(rows: unknown[]): void; reject(error: Error): void };

/** The worker thread's lifetime: started by the first call, started anew by the first call after its death. */
class Thread {
  readonly #options: ThreadOptions;
  readonly #queueTimeoutMs: number;
  readonly #log: Log;
  readonly #waiting = new Map<number, Waiting>();
  #outbox: Request[] = [];
  #worker: Worker | null = null;
  #lastId = 0;
  #available = true;
  #closed = false;

  constructor(options: ThreadOptions, queueTimeoutMs: number, log: Log) {
    this.#options = options;
    this.#queueTimeoutMs = queueTimeoutMs;
    this.#log = log;
  }

  ask(work: Work): Promise<unknown[]> {
    if (this.#closed) return Promise.reject(new TempFail(`Cannot use ${this.#options.file}: it was closed`));
    return this.#send(work);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const worker = this.#worker;
    if (worker === null) return;
    const gone = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
    // A thread that died is as good as one that closed.
    await this.#send({ kind: 'close' }).catch(() => undefined);
    worker.ref();
    await gone;
  }

  #send(work: Work): Promise<unknown[]> {
    const worker = (this.#worker ??= this.#start());
    const request: Request = { id: ++this.#lastId, expiresAtMs: monotonicMs() + this.#queueTimeoutMs, work };
    return new Promise((resolve, reject) => {
      worker.ref();
      this.#waiting.set(request.id, { resolve, reject });
      this.#outbox.push(request);
      // What this turn of the event loop asks for goes in one message: waking a thread costs more than its work.
      if (this.#outbox.length === 1) setImmediate(() => this.#post());
    });
  }

  #post(): void {
    const requests = this.#outbox;
    this.#outbox = [];
    if (requests.length > 0) this.#worker?.postMessage(requests);
  }

  #start(): Worker {
    // dist/ holds .js files, the sources are .ts: the thread's file has the extension of this one.
    const url = new URL(`./store-thread${extname(import.meta.filename)}`, import.meta.url);
    // No resourceLimits: a worker that reaches them inside node:sqlite takes the whole process with it (seen).
    const worker = new Worker(url, { workerData: this.#options, execArgv: [] });
    let cause: unknown = null;
    worker.on('message', (answers: readonly Answer[]) => {
      for (const answer of answers) this.#settle(worker, answer);
    });
    worker.on('error', (error) => (cause = error));
    worker.on('exit', (code) => this.#bury(worker, cause ?? new Error(`exit code ${code}`)));
    worker.unref();
    return worker;
  }

  #settle(worker: Worker, answer: Answer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    // An idle thread keeps no process alive.
    if (this.#waiting.size === 0) worker.unref();
    if (answer.ok) this.#noteAvailable();
    if (answer.ok) waiting?.resolve(answer.rows);
    else waiting?.reject(this.#fail(answer.failure));
  }

  #bury(worker: Worker, cause: unknown): void {
    if (this.#worker === worker) this.#worker = null;
    const error = new TempFail(`Cannot use ${this.#options.file}: its thread died`, { cause });
    if (!this.#closed) this.#log.error({ err: error }, 'database thread died');
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
    this.#outbox = [];
  }

  #fail(failure: Failure): TempFail {
    const remedy = failure.code === null ? undefined : remedies[failure.code];
    const cause = Object.assign(new Error(failure.message), { code: failure.code });
    const message = `Cannot use ${this.#options.file}: ${failure.message}${remedy === undefined ? '' : `: ${remedy}`}`;
    const error = new TempFail(message, { cause });
    if (this.#available) this.#log.error({ err: error, file: this.#options.file }, 'database unavailable');
    this.#available = false;
    return error;
  }

  #noteAvailable(): void {
    if (!this.#available) this.#log.info({ file: this.#options.file }, 'database available again');
    this.#available = true;
  }
}

/** What helps, by SQLite's primary result code (sqlite.org/rescode.html). */
const remedies: Readonly<Record<number, string>> = {
  5: 'another process holds its lock; tried again with the next call',
  8: 'make the file and its folder writable',
  10: 'see what the kernel says of the disk',
  11: 'stop Sluice and move the file away, a new one is made',
  13: 'make room on the disk',
  14: 'see that its folder exists and can be written',
  26: 'stop Sluice and move the file away, a new one is made',
};
