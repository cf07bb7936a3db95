/**
 * memory — everything that the filter remembers, opened and closed together: quarantine, ledger, history, the sample.
 *
 * Each opens even where its disk or database is down, and says so to whoever needs it. At start and every hour what is
 * too old expires or is forgotten, and what dead processes began is ended; a failing sweep is logged and tried again the next hour.
 */
import { join } from 'node:path';
import type { Config } from '../rules/config.ts';
import { openReservoir, type Reservoir } from '../workers/bayes-sample.ts';
import { retryDaysOf } from '../rules/postfix-backup.ts';
import type { Log } from '../workers/log.ts';
import { type History, openHistory } from './history.ts';
import { type Ledger, openLedger } from './ledger.ts';
import { openQuarantine, type Quarantine } from './quarantine.ts';
import type { Effects } from './walk.ts';

/** The three stores of one state folder, and the sample of mail for the backup node (`bayes.sample`). */
export type Memory = {
  readonly quarantine: Quarantine;
  readonly ledger: Ledger;
  readonly history: History;
  /** What the pipeline calls. */
  readonly effects: Pick<Effects, 'quarantine' | 'ledger' | 'history' | 'sample'>;
  readonly close: () => Promise<void>;
};

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

/** Opens the stores under `config.state`; makes quarantine index and folders agree (R7) and sweeps, in the background. */
export async function openMemory(config: Config, log: Log): Promise<Memory> {
  const keepMs = retryDaysOf(config) * dayMs;
  const quarantine = await openStateQuarantine(config.state, log, keepMs);
  const ledger = await openLedger({ file: join(config.state, 'ledger.db'), log, keepMs });
  const history = await openHistory({ file: join(config.state, 'history.db'), log });
  const sample = await openSample(config, log);
  const stopping = new AbortController();
  const { signal } = stopping;
  const attempt = async (what: string, act: () => Promise<unknown>): Promise<void> => {
    if (signal.aborted) return;
    await act().catch((cause: unknown) =>
      log.warn({ err: cause }, `Cannot sweep ${what}: tried again in an hour`),
    );
  };
  const sweep = async (): Promise<void> => {
    await attempt('ledger', () => ledger.sweep(Date.now()));
    await attempt('history', () => history.sweep(Date.now() - config.history.retentionDays * dayMs, signal));
    // A command line that died left its copies half released, and no start of ours may come for months.
    await attempt('quarantine', () => quarantine.finish());
    await attempt('quarantine', () => quarantine.expire(signal));
  };
  quarantine
    .reconcile()
    .catch((cause: unknown) => log.error({ err: cause, alarm: true }, 'Cannot reconcile quarantine'));
  let swept = sweep();
  const timer = setInterval(() => {
    swept = swept.then(sweep);
  }, hourMs);
  const close = async (): Promise<void> => {
    clearInterval(timer);
    stopping.abort();
    await swept;
    await Promise.all([quarantine.close(), ledger.close(), history.close(), sample.close()]);
  };
  const effects = { quarantine, ledger, history, sample: sample.offer };
  return { quarantine, ledger, history, effects, close };
}

/** Only the primary has one. */
function openSample({ state, role, bayes, limits }: Config, log: Log): Promise<Reservoir> {
  const capacity = role === 'primary' ? bayes.sample : 0;
  return openReservoir({ state, capacity, messageBytesMax: limits.spamBytes, log });
}

/** The quarantine of a state folder: the filter's and the command line's are the same, though only the filter forgets. */
export function openStateQuarantine(state: string, log: Log, keepMs = 6 * dayMs): Promise<Quarantine> {
  return openQuarantine({
    folder: join(state, 'quarantine'),
    file: join(state, 'quarantine.db'),
    log,
    keepMs,
  });
}
