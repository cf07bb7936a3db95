/**
 * history — what became of every message: one scan row each, one outcome row per recipient, clean mail too.
 *
 * Hides history.db (NORMAL). Nobody's mail waits for statistics: rows are written some at a time, several messages in one
 * commit, and what can't be written is dropped and counted. The exception is a discard, where the row is all that is
 * left: it is synced to disk, or TempFail makes it a 451.
 */
import type { DispositionKind, ScanReport, Verdict } from '../rules/mail.ts';
import type { Reply } from '../rules/replies.ts';
import type { Log } from '../workers/log.ts';
import {
  dispositionMigration,
  fillSearch,
  searchedScans,
  searchMigration,
  textStep,
} from './history-search.ts';
import type { Query } from './query.ts';
import { findKeys } from './search.ts';
import { insertStep, openStore, type Step, type Store } from './store.ts';

/** One message as it passed; `report` is null where none was made (a repeated outcome). Times are epoch milliseconds. */
export type ScanRow = {
  readonly at: number;
  readonly queueId: string | null;
  readonly direction: 'inbound' | 'outbound';
  /** The client that brought it to Postfix (XFORWARD ADDR), or null. */
  readonly client: string | null;
  readonly sender: string;
  readonly from: string | null;
  readonly subject: string | null;
  readonly messageId: string | null;
  readonly sizeBytes: number;
  readonly report: ScanReport | null;
  readonly totalMs: number;
};

/** What became of one recipient's copy. */
export type OutcomeRow = {
  readonly recipient: string;
  /** `moved`: it was held here, and is at the primary now. */
  readonly outcome: 'delivered' | 'held' | 'discarded' | 'refused' | 'deferred' | 'moved';
  readonly verdict: Verdict | null;
  readonly disposition: DispositionKind | null;
  /** Score after this recipient's policy, or null. */
  readonly score: number | null;
  readonly why: string;
  readonly reply: Reply;
  readonly quarantineId: string | null;
  readonly queueIdOut: string | null;
};

/** A message's scan row as it is listed, with its outcomes. */
export type HistoryRow = Omit<ScanRow, 'report'> & {
  readonly scanId: number;
  /** `clean`, `infected`, `unchecked`, `off`, or null without a report; reason and name where there are any. */
  readonly virus: string | null;
  readonly virusName: string | null;
  readonly virusReason: string | null;
  readonly virusMs: number | null;
  readonly spam: string | null;
  readonly score: number | null;
  readonly spamReason: string | null;
  readonly spamMs: number | null;
  readonly outcomes: readonly OutcomeRow[];
};

/** The history of one filter. */
export interface History {
  /** True when written. False: dropped and counted. With `durable` it is on disk when it resolves, or TempFail. */
  record(scan: ScanRow, outcomes: readonly OutcomeRow[], options: { durable: boolean }): Promise<boolean>;
  /** Messages, newest first; `before` is the last scanId seen. */
  list(options: { limit: number; before?: number; queueId?: string }): Promise<HistoryRow[]>;
  /** Messages for which every term of the query holds, newest first; `before` is the last scanId seen. */
  search(query: Query, options: { limit: number; before?: number | undefined }): Promise<HistoryRow[]>;
  /** Forgets messages from before this time; stops with the signal. */
  sweep(before: number, signal?: AbortSignal): Promise<void>;
  /** Messages that have no row because the database was down. */
  readonly dropped: number;
  /** Resolves where the history can be written now. */
  check(): Promise<void>;
  close(): Promise<void>;
}

const migrations = [
  `CREATE TABLE scan (
     scan_id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, queue_id TEXT, direction TEXT NOT NULL,
     client TEXT, sender TEXT NOT NULL, header_from TEXT, subject TEXT, message_id TEXT, size_bytes INTEGER NOT NULL,
     virus TEXT, virus_name TEXT, virus_reason TEXT, virus_ms REAL,
     spam TEXT, score REAL, spam_reason TEXT, spam_ms REAL, total_ms REAL NOT NULL
   );
   CREATE INDEX scan_at ON scan (at);
   CREATE INDEX scan_queue_id ON scan (queue_id);
   CREATE TABLE outcome (
     scan_id INTEGER NOT NULL REFERENCES scan ON DELETE CASCADE, position INTEGER NOT NULL, recipient TEXT NOT NULL,
     outcome TEXT NOT NULL, verdict TEXT, disposition TEXT, score REAL, why TEXT NOT NULL, reply TEXT NOT NULL,
     quarantine_id TEXT, queue_id_out TEXT,
     PRIMARY KEY (scan_id, position)
   ) WITHOUT ROWID;
   CREATE INDEX outcome_recipient ON outcome (recipient);
   CREATE INDEX outcome_quarantine_id ON outcome (quarantine_id);
   CREATE INDEX outcome_queue_id_out ON outcome (queue_id_out);`,
  searchMigration,
  dispositionMigration,
];

const pendingMax = 1000;
/** Messages that end the rest between two groups: well before anything is dropped. */
const groupFull = 200;
const textCharactersMax = 2000;
const sweptAtOnce = 500;

/**
 * The history in `file`; it resolves even where that can't be opened now. `asItStands`: only to look, changing nothing of
 * a file that another process owns. Rows are written at most every `groupMs`, sooner where many wait.
 */
export async function openHistory(options: {
  file: string;
  log: Log;
  busyTimeoutMs?: number;
  asItStands?: boolean;
  groupMs?: number;
}): Promise<History> {
  const { asItStands = false, groupMs = 500, log } = options;
  const store = await openStore({
    ...options,
    migrations: asItStands ? null : migrations,
    synchronous: 'NORMAL',
  });
  const groups = new Groups(store, groupMs, log);
  return {
    async record(scan, outcomes, { durable }) {
      const steps = [scanStep(scan), ...outcomes.map(outcomeStep), textStep(scan, outcomes)];
      if (!durable) return groups.add(steps);
      await store.transaction(steps, { durable });
      return true;
    },
    list: (wanted) => list(store, wanted),
    search: (query, wanted) => search(store, query, wanted),
    sweep: (before, signal) => sweep(store, before, signal),
    get dropped() {
      return groups.dropped;
    },
    check: () => store.check(),
    close: async () => {
      await groups.close();
      await store.close();
    },
  };
}

type Waiting = { readonly steps: readonly Step[]; readonly resolve: (written: boolean) => void };

/** Rows on their way: a commit of one takes ten times its share of a commit of fifty (docs/decisions.md). */
class Groups {
  readonly #store: Store;
  readonly #groupMs: number;
  readonly #log: Log;
  #waiting: Waiting[] = [];
  #pending = 0;
  #writing: Promise<void> | null = null;
  #closed = false;
  #wake: (() => void) | null = null;
  dropped = 0;

  constructor(store: Store, groupMs: number, log: Log) {
    this.#store = store;
    this.#groupMs = groupMs;
    this.#log = log;
  }

  /** True when written, with whatever else waits; false: dropped and counted. */
  add(steps: readonly Step[]): Promise<boolean> {
    // Memory stays bounded where the database is slower than the mail.
    if (this.#pending >= pendingMax) return Promise.resolve(this.#drop(1, null));
    this.#pending++;
    return new Promise((resolve) => {
      this.#waiting.push({ steps, resolve });
      if (this.#waiting.length >= groupFull) this.#wake?.();
      this.#writing ??= this.#writeAll();
    });
  }

  /** Writes what waits, without waiting for more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wake?.();
    await this.#writing;
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#waiting;
      this.#waiting = [];
      const written = await this.#write(group);
      this.#pending -= group.length;
      for (const { resolve } of group) resolve(written);
      if (!this.#closed) await this.#rest();
    }
    this.#writing = null;
  }

  async #write(group: readonly Waiting[]): Promise<boolean> {
    try {
      await this.#store.transaction(group.flatMap(({ steps }) => steps));
      return true;
    } catch (error) {
      return this.#drop(group.length, error);
    }
  }

  #drop(count: number, error: unknown): false {
    this.dropped += count;
    this.#log.debug({ err: error, dropped: this.dropped }, 'history row dropped');
    return false;
  }

  #rest(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.#groupMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

function scanStep(scan: ScanRow): Step {
  const { virus, spam } = scan.report ?? { virus: null, spam: null };
  return insertStep('scan', {
    at: scan.at,
    queue_id: scan.queueId,
    direction: scan.direction,
    client: clip(scan.client),
    sender: clip(scan.sender),
    header_from: clip(scan.from),
    subject: clip(scan.subject),
    message_id: clip(scan.messageId),
    size_bytes: scan.sizeBytes,
    virus: virus?.kind ?? null,
    virus_name: virus?.kind === 'infected' ? clip(virus.name) : null,
    virus_reason: virus?.kind === 'unchecked' ? virus.reason : null,
    virus_ms: scan.report?.virusMs ?? null,
    spam: spam?.kind ?? null,
    score: spam?.kind === 'scored' ? spam.score : null,
    spam_reason: spam?.kind === 'unchecked' ? spam.reason : null,
    spam_ms: scan.report?.spamMs ?? null,
    total_ms: scan.totalMs,
  });
}

/** Stands behind its scan row in one transaction: under its lock the highest scan_id is that row's. */
function outcomeStep(outcome: OutcomeRow, position: number): Step {
  return {
    sql: `INSERT INTO outcome (scan_id, position, recipient, outcome, verdict, disposition, score, why, reply,
                               quarantine_id, queue_id_out)
          VALUES ((SELECT max(scan_id) FROM scan), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    params: [
      position,
      clip(outcome.recipient),
      outcome.outcome,
      outcome.verdict,
      outcome.disposition,
      outcome.score,
      clip(outcome.why),
      JSON.stringify(outcome.reply),
      outcome.quarantineId,
      outcome.queueIdOut,
    ],
  };
}

async function list(
  store: Store,
  { limit, before, queueId }: { limit: number; before?: number; queueId?: string },
): Promise<HistoryRow[]> {
  return rowsOf(
    store,
    `WHERE scan_id < ? ${queueId === undefined ? '' : 'AND queue_id = ?'} ORDER BY scan_id DESC LIMIT ?`,
    [before ?? Number.MAX_SAFE_INTEGER, ...(queueId === undefined ? [] : [queueId]), limit],
  );
}

async function search(
  store: Store,
  query: Query,
  options: { limit: number; before?: number | undefined },
): Promise<HistoryRow[]> {
  const scanIds = await findKeys<number>(store, searchedScans, query, options);
  const which = 'WHERE scan_id IN (SELECT value FROM json_each(?)) ORDER BY scan_id DESC';
  return rowsOf(store, which, [JSON.stringify(scanIds)]);
}

async function rowsOf(
  store: Store,
  which: string,
  params: readonly (string | number)[],
): Promise<HistoryRow[]> {
  const scans = await store.all<Omit<HistoryRow, 'outcomes'>>(
    `SELECT scan_id AS scanId, at, queue_id AS queueId, direction, client, sender, header_from AS "from", subject,
            message_id AS messageId, size_bytes AS sizeBytes, virus, virus_name AS virusName,
            virus_reason AS virusReason, virus_ms AS virusMs, spam, score, spam_reason AS spamReason,
            spam_ms AS spamMs, total_ms AS totalMs
       FROM scan ${which}`,
    params,
  );
  const outcomes = await outcomesOf(
    store,
    scans.map(({ scanId }) => scanId),
  );
  return scans.map((scan) => ({ ...scan, outcomes: outcomes.get(scan.scanId) ?? [] }));
}

async function outcomesOf(store: Store, scanIds: readonly number[]): Promise<Map<number, OutcomeRow[]>> {
  const rows = await store.all<Omit<OutcomeRow, 'reply'> & { scanId: number; reply: string }>(
    `SELECT scan_id AS scanId, recipient, outcome, verdict, disposition, score, why, reply,
            quarantine_id AS quarantineId, queue_id_out AS queueIdOut
       FROM outcome WHERE scan_id IN (SELECT value FROM json_each(?)) ORDER BY scan_id, position`,
    [JSON.stringify(scanIds)],
  );
  const outcomes = new Map<number, OutcomeRow[]>();
  for (const { scanId, reply, ...row } of rows) {
    const known = outcomes.get(scanId) ?? [];
    outcomes.set(scanId, [...known, { ...row, reply: JSON.parse(reply) as Reply }]);
  }
  return outcomes;
}

/** In small steps, so that a discard's row never waits long behind it. */
async function sweep(store: Store, before: number, signal?: AbortSignal): Promise<void> {
  const sql = `DELETE FROM scan WHERE scan_id IN (SELECT scan_id FROM scan WHERE at < ? LIMIT ${sweptAtOnce})`;
  while (signal?.aborted !== true && (await store.run(sql, [before])).changes === sweptAtOnce);
  while (signal?.aborted !== true && (await fillSearch(store)) > 0);
}

function clip<Text extends string | null>(text: Text): string | Text {
  return text === null ? text : text.slice(0, textCharactersMax);
}
