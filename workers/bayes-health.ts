/**
 * bayes-health — the health server of the Bayes part: what an administrator sees of it from outside.
 *
 * It only looks on. Ready is a part that can write down its nights and is not about to end; a database that is old is told there and
 * keeps nothing from being ready: taking the part out of service would not make it younger.
 */
import type { Address } from '../rules/config.ts';
import { addBayesFigures } from './bayes-metrics.ts';
import type { Nights, Schedule } from './bayes-schedule.ts';
import type { BayesWatch } from './bayes-watch.ts';
import { type Health, openHealth } from './health.ts';
import type { Log } from './log.ts';
import { createRegister } from './metrics.ts';
import { createReadiness } from './readiness.ts';
import { version } from './version.ts';

/** Opens it; `schedule` null: nothing runs by itself here. `signal`: the part is told to end. */
export function openBayesHealth(
  address: Address,
  {
    nights,
    watch,
    schedule,
    log,
    signal,
  }: {
    readonly nights: Nights;
    readonly watch: BayesWatch;
    readonly schedule: Schedule | null;
    readonly log: Log;
    readonly signal: AbortSignal;
  },
): Promise<Health> {
  const register = createRegister(version);
  const nextAt = (): number | null => schedule?.nextAt() ?? null;
  addBayesFigures(register, { view: watch.view, nextAt });
  const readiness = createReadiness({
    checks: schedule === null ? {} : { nights: () => nights.check() },
    hindrance: () => (signal.aborted ? 'stopping' : null),
  });
  const ready = async () => {
    const next = nextAt();
    const { seen, troubles } = watch.view();
    return {
      ...(await readiness()),
      next: next === null ? null : new Date(next).toISOString(),
      running: schedule?.isRunning() ?? false,
      nodes: seen,
      troubles,
    };
  };
  return openHealth({ address, ready, metrics: register, version, log });
}
