/**
 * bayes-nights — which planned runs of the Bayes sync this machine has served, and who is at one now: the timer's lock.
 *
 * Hides nights.db (FULL), which belongs to whoever runs the part: root, while the databases of the mail are the filter's. A
 * night that its process did not end is free again once that process is dead (owner.ts). This says who runs a night; that
 * no two runs work on one database at once is the run's own lock (workers/bayes-lock.ts). Rejects with TempFail.
 */
import type { Night } from '../rules/bayes-calendar.ts';
import type { Nights } from '../workers/bayes-schedule.ts';
import type { Log } from '../workers/log.ts';
import { ownerState, ownOwner } from './owner.ts';
import { insertStep, openStore, type Store } from './store.ts';

const migrations = [
  `CREATE TABLE night (
     planned INTEGER PRIMARY KEY, owner TEXT NOT NULL, taken_at INTEGER NOT NULL, served_at INTEGER,
     elsewhere INTEGER NOT NULL DEFAULT 0
   );`,
];

const keptMs = 60 * 86_400_000;
/** A taker that can't be judged, as in another container, is given up after the longest run that ssh's deadline allows. */
const takerLivesMs = 26 * 3_600_000;

/** The nights in `file`; it resolves even where that can't be opened now. */
export async function openNights(options: {
  file: string;
  log: Log;
  now?: () => number;
  /** Who takes; another process in a test. */
  owner?: string;
}): Promise<Nights> {
  const { file, log, now = Date.now, owner = ownOwner() } = options;
  const store = await openStore({ file, migrations, synchronous: 'FULL', log });
  return {
    recall: () => recall(store),
    take: (planned) => take(store, planned, owner, now()),
    forget: async (planned) => {
      await store.run('DELETE FROM night WHERE planned = ?', [planned]);
    },
    served: (planned, elsewhere) => served(store, { planned, owner, elsewhere, at: now() }),
    check: () => store.check(),
    close: () => store.close(),
  };
}

type Row = { planned: number; owner: string; takenAt: number; servedAt: number | null; elsewhere: number };

const selecting =
  'SELECT planned, owner, taken_at AS takenAt, served_at AS servedAt, elsewhere FROM night ORDER BY planned';

async function recall(store: Store): Promise<(Night & { elsewhere: boolean })[]> {
  const rows = await store.all<Row>(selecting);
  return rows.map(({ planned, servedAt, elsewhere }) => ({
    planned,
    servedAt,
    elsewhere: elsewhere === 1,
  }));
}

async function take(store: Store, planned: number, owner: string, at: number): Promise<boolean> {
  await store.run('DELETE FROM night WHERE planned < ?', [planned - keptMs]);
  const row = { planned, owner, taken_at: at };
  const { sql, params } = insertStep('night', row, 'ON CONFLICT DO NOTHING');
  if ((await store.run(sql, params)).changes === 1) return true;
  const [known] = await store.all<Row>(`${selecting.replace('ORDER', 'WHERE planned = ? ORDER')}`, [planned]);
  if (known === undefined || known.servedAt !== null || !isFree(known, owner, at)) return false;
  // Compare and set: of several that see the dead one's mark, one takes its place.
  const taking =
    'UPDATE night SET owner = ?, taken_at = ? WHERE planned = ? AND owner = ? AND served_at IS NULL';
  return (await store.run(taking, [owner, at, planned, known.owner])).changes === 1;
}

function isFree({ owner, takenAt }: Row, own: string, at: number): boolean {
  if (owner === own) return true;
  const state = ownerState(owner);
  return state === 'dead' || (state === 'unknown' && at - takenAt > takerLivesMs);
}

async function served(
  store: Store,
  { planned, owner, elsewhere, at }: { planned: number; owner: string; elsewhere: boolean; at: number },
): Promise<void> {
  const row = { planned, owner, taken_at: at, served_at: at, elsewhere: elsewhere ? 1 : 0 };
  const { sql, params } = insertStep(
    'night',
    row,
    'ON CONFLICT DO UPDATE SET served_at = excluded.served_at',
  );
  await store.run(sql, params);
}
