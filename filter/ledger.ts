/**
 * ledger — the outcome of each hand-off, so that a retry repeats it and never doubles it (R9).
 *
 * Hides ledger.db (FULL), and that it is not asked about hand-offs that it can't know (ledger-memory.ts). A retry of
 * Postfix comes with the same queue id, bytes, sender and recipient: they make the key. Nothing is decided here; the first
 * outcome of a key stays. Down, calls are TempFail and the pipeline chooses; a recall may hear of it a second later.
 */
import { createHash } from 'node:crypto';
import type { Recipient } from '../rules/mail.ts';
import type { Reply } from '../rules/replies.ts';
import type { Log } from '../workers/log.ts';
import { createLedgerMemory, dataVersion, type LedgerMemory } from './ledger-memory.ts';
import { insertStep, openStore, type Store } from './store.ts';

/** How one recipient's hand-off ended; `reply` is repeated word for word; `at` is epoch milliseconds. */
export type LedgerEntry = {
  readonly key: string;
  readonly queueId: string;
  readonly outcome: 'delivered' | 'held' | 'discarded' | 'refused';
  readonly queueIdOut: string | null;
  readonly quarantineId: string | null;
  readonly reply: Reply;
  readonly at: number;
};

/** What is known of a hand-off that comes (again). */
export type Recalled = {
  /** The outcomes there are, by key. */
  readonly entries: ReadonlyMap<string, LedgerEntry>;
  /** How often a living scanner failed on it, by key; a key that is not in it: never. */
  readonly attempts: ReadonlyMap<string, number>;
  /** Queue ids that the return smtpd gave to what this message became, for the detection of loops. */
  readonly queueIdsOut: readonly string[];
};

/** The ledger; every method rejects with TempFail while its database is down. */
export interface Ledger {
  /** What is known of these keys and of their message's queue id. */
  recall(keys: readonly string[], queueId: string): Promise<Recalled>;
  /** On disk when it resolves, all or none. A key that has an outcome keeps it; its attempts are forgotten. */
  commit(entries: readonly LedgerEntry[]): Promise<void>;
  /** Counts one more attempt for each key. */
  noteAttempt(keys: readonly string[]): Promise<void>;
  /** Forgets what is older than Postfix's maximal_queue_lifetime and a day before `now`. */
  sweep(now: number): Promise<void>;
  /** Resolves where the ledger can be written now. */
  check(): Promise<void>;
  close(): Promise<void>;
}

const migrations = [
  `CREATE TABLE entry (
     key TEXT PRIMARY KEY, queue_id TEXT NOT NULL, outcome TEXT NOT NULL, queue_id_out TEXT, quarantine_id TEXT,
     reply TEXT NOT NULL, at INTEGER NOT NULL
   ) WITHOUT ROWID;
   CREATE INDEX entry_queue_id ON entry (queue_id);
   CREATE INDEX entry_at ON entry (at);
   CREATE TABLE attempt (key TEXT PRIMARY KEY, count INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
   CREATE INDEX attempt_at ON attempt (at);`,
];

const dayMs = 86_400_000;
const sweptAtOnce = 5000;

/** Key of one recipient's hand-off. The same address twice with another ORCPT or NOTIFY has two keys. */
export function ledgerKey(handOff: {
  queueId: string;
  sha256: string;
  sender: string;
  recipient: Recipient;
}): string {
  const { queueId, sha256, sender, recipient } = handOff;
  // JSON keeps the parts apart and writes even the lone surrogates of odd octets in its own way each.
  const parts = [queueId, sha256, sender, recipient.address, recipient.orcpt, recipient.notify];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}

/** The ledger in `file`; it resolves even where that can't be opened now. `keepMs` is 5 days (Postfix's default) and one. */
export async function openLedger(options: {
  file: string;
  log: Log;
  keepMs?: number;
  now?: () => number;
}): Promise<Ledger> {
  const { file, log, keepMs = 6 * dayMs, now = Date.now } = options;
  const store = await openStore({ file, migrations, synchronous: 'FULL', log });
  const memory = createLedgerMemory(store, log);
  return {
    recall: (keys, queueId) => recall(store, memory, keys, queueId),
    commit: async (entries) => {
      // Before it is done: what may be on disk must never be called unseen.
      memory.add(entries.flatMap(({ key, queueId }) => [key, queueId]));
      await commit(store, entries);
    },
    noteAttempt: async (keys) => {
      memory.add(keys);
      await noteAttempt(store, keys, now());
    },
    sweep: (at) => sweep(store, at - keepMs),
    check: () => store.check(),
    close: () => store.close(),
  };
}

/** Claims on the keys whose hand-off is under way in this process: a second try of the same gets 451 meanwhile. */
export function createInFlight(): {
  /** All keys or none: false where one of them is claimed already. */
  claim(keys: readonly string[]): boolean;
  release(keys: readonly string[]): void;
} {
  const claimed = new Set<string>();
  return {
    claim(keys) {
      if (keys.some((key) => claimed.has(key))) return false;
      for (const key of keys) claimed.add(key);
      return true;
    },
    release(keys) {
      for (const key of keys) claimed.delete(key);
    },
  };
}

const recalling = [
  `SELECT key, queue_id AS queueId, outcome, queue_id_out AS queueIdOut, quarantine_id AS quarantineId, reply, at
     FROM entry WHERE key IN (SELECT value FROM json_each(?))`,
  'SELECT key, count FROM attempt WHERE key IN (SELECT value FROM json_each(?))',
  'SELECT DISTINCT queue_id_out AS id FROM entry WHERE queue_id = ? AND queue_id_out IS NOT NULL',
];

const nothing: Recalled = { entries: new Map(), attempts: new Map(), queueIdsOut: [] };

/** Every message begins with it: one request for all three. An outcome that is being committed has had no reply yet. */
async function recall(
  store: Store,
  memory: LedgerMemory,
  keys: readonly string[],
  queueId: string,
): Promise<Recalled> {
  if (memory.neverSaw([...keys, queueId])) return nothing;
  const params = [JSON.stringify(keys), JSON.stringify(keys), queueId];
  const steps = recalling.map((sql, at) => ({ sql, params: [params[at] ?? ''] }));
  const rows = await store.read([...steps, dataVersion]);
  const [entries, attempts, out, [version]] = rows as [
    (Omit<LedgerEntry, 'reply'> & { reply: string })[],
    { key: string; count: number }[],
    { id: string }[],
    { data_version: number }[],
  ];
  memory.heard(version?.data_version ?? null);
  return {
    entries: new Map(entries.map((row) => [row.key, { ...row, reply: JSON.parse(row.reply) as Reply }])),
    attempts: new Map(attempts.map(({ key, count }) => [key, count])),
    queueIdsOut: out.map(({ id }) => id),
  };
}

async function commit(store: Store, entries: readonly LedgerEntry[]): Promise<void> {
  if (entries.length === 0) return;
  const added = entries.map(({ key, queueId, outcome, queueIdOut, quarantineId, reply, at }) =>
    insertStep(
      'entry',
      {
        key,
        queue_id: queueId,
        outcome,
        queue_id_out: queueIdOut,
        quarantine_id: quarantineId,
        reply: JSON.stringify(reply),
        at,
      },
      'ON CONFLICT DO NOTHING',
    ),
  );
  const keys = JSON.stringify(entries.map(({ key }) => key));
  const settled = {
    sql: 'DELETE FROM attempt WHERE key IN (SELECT value FROM json_each(?))',
    params: [keys],
  };
  await store.transaction([...added, settled]);
}

async function noteAttempt(store: Store, keys: readonly string[], at: number): Promise<void> {
  await store.transaction(
    [...new Set(keys)].map((key) => ({
      sql: 'INSERT INTO attempt VALUES (?, 1, ?) ON CONFLICT DO UPDATE SET count = count + 1, at = excluded.at',
      params: [key, at],
    })),
  );
}

/** In small steps, so that a commit of the mail flow never waits long behind it. */
async function sweep(store: Store, before: number): Promise<void> {
  for (const table of ['entry', 'attempt']) {
    const sql = `DELETE FROM ${table} WHERE key IN (SELECT key FROM ${table} WHERE at < ? LIMIT ${sweptAtOnce})`;
    while ((await store.run(sql, [before])).changes === sweptAtOnce);
  }
}
