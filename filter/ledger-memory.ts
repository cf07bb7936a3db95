/**
 * ledger-memory — what the filter can say of the ledger without asking it: "never saw these".
 *
 * Hides the set of everything that the ledger holds (known-keys.ts) and how it stays true: loaded from the database,
 * told of each write before it is done, loaded anew where somebody else wrote or too much was added (rows that were swept
 * cost a question in vain until then). Where it is not loaded the ledger is asked. Once a second it is asked all the same,
 * so that its failing is noticed. Never throws.
 */
import type { Log } from '../workers/log.ts';
import { createKnownKeys, type KnownKeys } from './known-keys.ts';
import type { Step, Store } from './store.ts';

export interface LedgerMemory {
  /** These keys and queue ids are about to be written. */
  add(texts: readonly string[]): void;
  /** True only where none of these was ever written, by whomever, and the ledger was asked within the last second. */
  neverSaw(texts: readonly string[]): boolean;
  /** The ledger was asked; `version` is what `dataVersion` gave. */
  heard(version: number | null): void;
}

/** Another number than last time: another connection has written (sqlite.org/pragma.html#pragma_data_version). */
export const dataVersion: Step = { sql: 'PRAGMA data_version' };

const askEveryMs = 1000;
const pageRows = 20_000;
/** For how many messages there is room at least: a busy day. */
const fewest = 100_000;

const pages = [
  'SELECT key, queue_id AS queueId FROM entry WHERE key > ? ORDER BY key LIMIT ?',
  'SELECT key, NULL AS queueId FROM attempt WHERE key > ? ORDER BY key LIMIT ?',
];

/** The memory of the ledger in `store`; it begins to load at once. `clock` in milliseconds. */
export function createLedgerMemory(
  store: Pick<Store, 'all'>,
  log: Log,
  clock: () => number = performance.now.bind(performance),
): LedgerMemory {
  let known: KnownKeys | null = null;
  let loading: KnownKeys | null = null;
  /** The last load that was begun; an older one that still runs has no say any more. */
  let latest = 0;
  let isLoading = false;
  /** Written since the load began, before its set was there. */
  let early: string[] = [];
  let version: number | null = null;
  let askedAt = Number.NEGATIVE_INFINITY;

  async function load(): Promise<void> {
    const mine = ++latest;
    isLoading = true;
    [loading, early] = [null, []];
    try {
      const seen = await versionOf(store);
      if (mine !== latest) return;
      // Of before the first page: who writes behind it shows by another one.
      version = seen;
      const room = Math.max(fewest, 4 * (await countOf(store)));
      if (mine !== latest) return;
      const filling = (loading = createKnownKeys(room));
      for (const text of early) filling.add(text);
      for (const sql of pages) await fill(store, sql, filling);
      if (mine === latest) known = filling;
    } catch (cause) {
      // Nothing is lost: the ledger is asked about every message.
      log.debug({ err: cause }, 'Cannot read the ledger into memory; tried again when it answers');
    } finally {
      if (mine === latest) [loading, isLoading] = [null, false];
    }
  }

  void load();
  return {
    add(texts) {
      for (const text of texts) for (const set of [known, loading]) set?.add(text);
      if (isLoading && loading === null) early.push(...texts);
      if (known?.isFull() === true && !isLoading) void load();
    },
    neverSaw(texts) {
      if (known === null || clock() - askedAt >= askEveryMs) return false;
      const set = known;
      return !texts.some((text) => set.mayKnow(text));
    },
    heard(now) {
      askedAt = clock();
      const foreign = version !== null && now !== version;
      version = now;
      if (foreign) known = null;
      if (foreign || (known === null && !isLoading)) void load();
    },
  };
}

async function versionOf(store: Pick<Store, 'all'>): Promise<number | null> {
  const [row] = await store.all<{ data_version: number }>(dataVersion.sql);
  return row?.data_version ?? null;
}

async function countOf(store: Pick<Store, 'all'>): Promise<number> {
  const [row] = await store.all<{ count: number }>(
    'SELECT (SELECT count(*) FROM entry) + (SELECT count(*) FROM attempt) AS count',
  );
  return row?.count ?? 0;
}

/** Page by page, so that a commit of the mail flow never waits long behind it. */
async function fill(store: Pick<Store, 'all'>, sql: string, into: KnownKeys): Promise<void> {
  for (let after = ''; ; ) {
    const rows = await store.all<{ key: string; queueId: string | null }>(sql, [after, pageRows]);
    for (const { key, queueId } of rows) {
      into.add(key);
      if (queueId !== null) into.add(queueId);
    }
    const last = rows.at(-1);
    if (last === undefined || rows.length < pageRows) return;
    after = last.key;
  }
}
