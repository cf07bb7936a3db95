/**
 * audit — who did what to which held message: a row in review.db before a verb acts, and its outcome behind.
 *
 * Hides the database (FULL). A verb that can't be written down is not done (TempFail). A row without an outcome is of a
 * process that died on the way; the item's trail tells how far it came.
 */
import { randomUUID } from 'node:crypto';
import type { Log } from '../workers/log.ts';
import { insertStep, openStore } from '../filter/store.ts';

export type Verb =
  | 'list'
  | 'search'
  | 'history'
  | 'show'
  | 'audit'
  | 'export'
  | 'release'
  | 'delete'
  | 'learn'
  | 'move'
  | 'adopt'
  | 'teach';

/** One verb of one actor; times are epoch milliseconds, `detail` is plain data, `outcome` null while it is under way. */
export type AuditEntry = {
  readonly auditId: string;
  readonly at: number;
  readonly actor: string;
  readonly verb: Verb;
  readonly quarantineId: string | null;
  readonly detail: unknown;
  readonly outcome: string | null;
};

type NewEntry = Omit<AuditEntry, 'auditId' | 'at' | 'outcome'>;

/** The record of what people do; see the head of this file. */
export interface Audit {
  /** Does `act` between the row and its outcome, which `tell` words; a failure is an outcome too, and thrown on. */
  during<T>(entry: NewEntry, act: (auditId: string) => Promise<T>, tell: (result: T) => string): Promise<T>;
  /** Entries, newest first. */
  list(options: { limit: number; quarantineId?: string }): Promise<AuditEntry[]>;
  close(): Promise<void>;
}

const migrations = [
  `CREATE TABLE audit (
     audit_number INTEGER PRIMARY KEY AUTOINCREMENT, audit_id TEXT NOT NULL UNIQUE, at INTEGER NOT NULL, actor TEXT NOT NULL, verb TEXT NOT NULL,
     quarantine_id TEXT, detail TEXT NOT NULL, outcome TEXT
   );
   CREATE INDEX audit_quarantine_id ON audit (quarantine_id);
   CREATE INDEX audit_at ON audit (at);`,
];
const outcomeCharactersMax = 1000;
const dayMs = 86_400_000;

/** Rows past their time that one verb takes away. */
const sweptAtOnce = 1000;

/**
 * The audit in `file` (review.db); it resolves even where that can't be opened now. Rows are kept for `keepDays`
 * (history.retentionDays; none: for ever): each new one takes some of those past their time away, for no process but those
 * of people ever opens this file.
 */
export async function openAudit(options: {
  file: string;
  log: Log;
  keepDays?: number;
  now?: () => number;
}): Promise<Audit> {
  const { now = Date.now, keepDays = Number.POSITIVE_INFINITY, log } = options;
  const store = await openStore({ ...options, migrations, synchronous: 'FULL' });

  async function begin({ actor, verb, quarantineId, detail }: NewEntry) {
    const auditId = randomUUID();
    const row = { audit_id: auditId, at: now(), actor, verb, quarantine_id: quarantineId };
    const sweep = {
      sql: `DELETE FROM audit WHERE audit_number IN (SELECT audit_number FROM audit WHERE at < ? LIMIT ${sweptAtOnce})`,
      params: [Math.max(0, row.at - keepDays * dayMs)],
    };
    await store.transaction([sweep, insertStep('audit', { ...row, detail: JSON.stringify(detail) })]);
    return auditId;
  }

  async function end(auditId: string, outcome: string): Promise<void> {
    const sql = 'UPDATE audit SET outcome = ? WHERE audit_id = ?';
    await store.run(sql, [outcome.slice(0, outcomeCharactersMax), auditId]).catch((error: unknown) => {
      // What was done is done: the row stays without an outcome.
      log.error({ err: error, auditId, outcome }, 'Cannot write down the outcome in the audit');
    });
  }

  return {
    async during(entry, act, tell) {
      const auditId = await begin(entry);
      try {
        const result = await act(auditId);
        await end(auditId, tell(result));
        return result;
      } catch (error) {
        await end(auditId, `failed: ${error instanceof Error ? error.message : String(error)}`);
        throw error;
      }
    },
    async list({ limit, quarantineId }) {
      const rows = await store.all<Omit<AuditEntry, 'detail'> & { detail: string }>(
        `SELECT audit_id AS auditId, at, actor, verb, quarantine_id AS quarantineId, detail, outcome FROM audit
          ${quarantineId === undefined ? '' : 'WHERE quarantine_id = ?'} ORDER BY audit_number DESC LIMIT ?`,
        [...(quarantineId === undefined ? [] : [quarantineId]), limit],
      );
      return rows.map((row) => ({ ...row, detail: JSON.parse(row.detail) as unknown }));
    },
    close: () => store.close(),
  };
}
