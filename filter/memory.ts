/**
 * memory — everything that the filter remembers, opened and closed together: quarantine, ledger, history.
 *
 * Each opens even where its disk or database is down, and says so to whoever needs it. Once a day what is too old is
 * forgotten; a failing sweep is logged and tried again the next day.
 */
import { join } from 'node:path';
import type { Config } from '../rules/config.ts';
import type { Log } from '../workers/log.ts';
import { type History, openHistory } from './history.ts';
import { type Ledger, openLedger } from './ledger.ts';
import { openQuarantine, type Quarantine } from './quarantine.ts';

/** The three stores of one state folder. */
export type Memory = {
  readonly quarantine: Quarantine;
  readonly ledger: Ledger;
  readonly history: History;
  readonly close: () => Promise<void>;
};

const dayMs = 86_400_000;

/** Opens the stores under `config.state` and makes quarantine index and folders agree (R7), in the background. */
export async function openMemory(config: Config, log: Log): Promise<Memory> {
  const quarantine = await openStateQuarantine(config.state, log);
  const ledger = await openLedger({ file: join(config.state, 'ledger.db'), log });
  const history = await openHistory({ file: join(config.state, 'history.db'), log });
  const sweep = async (): Promise<void> => {
    const now = Date.now();
    try {
      await ledger.sweep(now);
      await history.sweep(now - config.history.retentionDays * dayMs);
    } catch (cause) {
      log.warn({ err: cause }, 'Cannot sweep ledger and history: tried again tomorrow');
    }
  };
  quarantine
    .reconcile()
    .catch((cause: unknown) => log.error({ err: cause, alarm: true }, 'Cannot reconcile quarantine'));
  const timer = setInterval(() => void sweep(), dayMs);
  void sweep();
  const close = async (): Promise<void> => {
    clearInterval(timer);
    await Promise.all([quarantine.close(), ledger.close(), history.close()]);
  };
  return { quarantine, ledger, history, close };
}

/** The quarantine of a state folder: the filter's and the command line's are the same. */
export function openStateQuarantine(state: string, log: Log): Promise<Quarantine> {
  return openQuarantine({ folder: join(state, 'quarantine'), file: join(state, 'quarantine.db'), log });
}
