/**
 * bayes-part — `sluice run bayes`: the nightly run, errands every minute, alarm, health and metrics, until it is told to end.
 *
 * Hides which of these a node has by its role. What is run, and the memory of nights, are arguments: they belong to higher
 * rooms. What is thrown by a duty is an event, never the end of the part; a run that is under way at SIGTERM is aborted, and
 * begun anew after the restart.
 */
import { hostname } from 'node:os';
import { join } from 'node:path';
import { isBusy } from '../rules/bayes-alarm.ts';
import { lastPlanned, nextPlanned } from '../rules/bayes-calendar.ts';
import type { Config } from '../rules/config.ts';
import { formatNode } from '../rules/node-fields.ts';
import type { BayesStatus, BayesTrouble } from './bayes.ts';
import { openBayesHealth } from './bayes-health.ts';
import { readRecords, type SyncRecord } from './bayes-record.ts';
import {
  type Nights,
  type NightOutcome,
  type Schedule,
  type ScheduleOptions,
  startSchedule,
} from './bayes-schedule.ts';
import { type BayesWatch, createBayesWatch } from './bayes-watch.ts';
import type { Log } from './log.ts';
import type { Notice } from './notice.ts';
import { startProbes } from './probes.ts';

/** What there is to do; null where the role has nothing of the kind. Each may reject. */
export type BayesDuties = {
  /** The nightly run: to every node, or to those named in `only`, or from the primary; one record for each. */
  readonly runSync:
    | ((signal: AbortSignal, only: readonly string[] | null) => Promise<readonly SyncRecord[]>)
    | null;
  /** What can't wait for the night. */
  readonly runErrands: ((signal: AbortSignal) => Promise<void>) | null;
  /** On a backup: which database is in place. */
  readonly status: (() => Promise<BayesStatus | BayesTrouble>) | null;
};

export type BayesPart = {
  readonly watch: BayesWatch;
  readonly schedule: Schedule | null;
  readonly drain: () => Promise<void>;
};

const errandsEveryMs = 60_000;

/** Starts all of it. */
export async function openBayesPart(
  config: Config,
  given: {
    readonly duties: BayesDuties;
    readonly nights: Nights;
    readonly notice: Notice;
    readonly log: Log;
    /** How fast things go, in a test. */
    readonly pace?: Partial<
      Pick<ScheduleOptions, 'everyMs' | 'settleMs' | 'patienceMs' | 'busyMs' | 'now'>
    > & {
      lookEveryMs?: number;
    };
  },
): Promise<BayesPart> {
  const { duties, nights, log, pace = {} } = given;
  const folder = join(config.state, 'bayes');
  const stopping = new AbortController();
  let schedule: Schedule | null = null;
  const watch = createBayesWatch({
    ...watchOptions(config, given),
    folder,
    elsewhereAt: () => schedule?.elsewhereAt() ?? null,
    openNight: () => openNightOf(nights),
  });
  // What was there before the first run is no event of this process.
  await watch.look();
  schedule = await scheduleOf(config, given, { folder, watch, signal: stopping.signal });
  const looks = startProbes([{ name: 'Bayes sync', ask: watch.look }], {
    everyMs: pace.lookEveryMs ?? errandsEveryMs,
    log,
  });
  const errands = startErrands(duties.runErrands, stopping.signal, pace.lookEveryMs ?? errandsEveryMs, log);
  const { bayes: address } = config.health;
  const seen = { nights, watch, schedule, log, signal: stopping.signal };
  const health = address === null ? null : await openBayesHealth(address, seen);
  return {
    watch,
    schedule,
    async drain() {
      stopping.abort(new Error('the part ends'));
      looks.stop();
      await Promise.all([schedule?.close(), errands.close()]);
      await Promise.all([health?.close(), nights.close()]);
    },
  };
}

function watchOptions(config: Config, { duties, notice, log, pace }: Parameters<typeof openBayesPart>[1]) {
  const { role, bayes } = config;
  const { hours, mail } = bayes.alarm;
  const host = hostname();
  return {
    role,
    nodes:
      role === 'primary'
        ? bayes.nodes.map(formatNode)
        : [bayes.primary === null ? 'primary' : formatNode(bayes.primary)],
    status: role === 'backup' ? duties.status : null,
    hours,
    mail: mail === null ? null : { to: mail, send: notice, host },
    log,
    ...(pace?.now === undefined ? {} : { now: pace.now }),
  };
}

async function scheduleOf(
  config: Config,
  { duties, nights, log, pace = {} }: Parameters<typeof openBayesPart>[1],
  { folder, watch, signal }: { folder: string; watch: BayesWatch; signal: AbortSignal },
): Promise<Schedule | null> {
  const { redis, role, bayes } = config;
  const { at, zone, jitterMinutes } = bayes.sync;
  const { runSync } = duties;
  if (at === null || runSync === null) return null;
  // Every backup fetches for itself; of primaries with one Redis one runs it, at a time that all of them draw alike.
  const isShared = redis !== null && role === 'primary';
  const calendar = {
    at,
    zone: zone ?? Intl.DateTimeFormat().resolvedOptions().timeZone,
    jitterMinutes,
    node: isShared ? redis.prefix : hostname(),
  };
  const next = (after: number): number => nextPlanned(calendar, after);
  const queue = isShared
    ? (await import('./bayes-night-queue.ts')).openNightQueue({ redis, at, zone: calendar.zone, next, log })
    : undefined;
  const { lookEveryMs: _, ...speed } = pace;
  const schedule = startSchedule({
    plan: { last: (now) => lastPlanned(calendar, now), next },
    nights,
    lastRunAt: async () =>
      lastRunOf(await readRecords(folder), role === 'primary' ? bayes.nodes.map(formatNode) : null),
    run: createNight(runSync, watch, signal, log),
    queue,
    log,
    ...speed,
  });
  log.info(
    { at, zone: calendar.zone, next: new Date(schedule.nextAt()).toISOString() },
    'Bayes sync is scheduled',
  );
  return schedule;
}

/** Null too where the memory of nights can't be asked: then an alarm is better than none. */
async function openNightOf(nights: Nights): Promise<number | null> {
  const last = (await nights.recall().catch(() => [])).at(-1);
  return last === undefined || last.servedAt !== null ? null : last.planned;
}

/** Of the node that was served longest ago; one that never was has no last run. */
function lastRunOf(records: readonly SyncRecord[], nodes: readonly string[] | null): number | null {
  const runs = records.filter((record) => !isBusy(record));
  if (nodes === null) return runs.length === 0 ? null : Math.max(...runs.map(({ at }) => at));
  const times = nodes.map((node) => runs.find((record) => record.node === node)?.at ?? null);
  return times.includes(null) ? null : Math.min(...times.filter((at) => at !== null));
}

/** One night at a time: nodes where another run was under way are served when it is tried again, and no others. */
function createNight(
  runSync: NonNullable<BayesDuties['runSync']>,
  watch: BayesWatch,
  signal: AbortSignal,
  log: Log,
): (planned: number) => Promise<NightOutcome> {
  let waiting: { readonly planned: number; readonly nodes: readonly string[] } | null = null;
  return async (planned) => {
    try {
      const records = await runSync(signal, waiting?.planned === planned ? waiting.nodes : null);
      if (signal.aborted) return 'stopped';
      await watch.hear(records);
      const nodes = records.filter(isBusy).map(({ node }) => node);
      waiting = nodes.length === 0 ? null : { planned, nodes };
      return waiting === null ? 'done' : 'busy';
    } catch (cause) {
      if (signal.aborted) return 'stopped';
      log.error({ err: cause, alarm: true }, 'Bayes night ended by an error that nobody foresaw');
      return 'done';
    }
  };
}

/** A pause after each; the same error is told once. */
function startErrands(
  runErrands: BayesDuties['runErrands'],
  signal: AbortSignal,
  everyMs: number,
  log: Log,
): { close: () => Promise<void> } {
  if (runErrands === null) return { close: async () => undefined };
  let told: string | null = null;
  let running: Promise<void> = Promise.resolve();
  const ask = (): Promise<void> => {
    running = runErrands(signal).then(
      () => {
        told = null;
      },
      (cause: unknown) => {
        const said = cause instanceof Error ? cause.message : String(cause);
        if (said !== told && !signal.aborted)
          log.warn({ err: cause }, 'Cannot run the errands of the Bayes sync: tried again each minute');
        told = said;
      },
    );
    return running;
  };
  const probes = startProbes([{ name: 'errands', ask }], { everyMs, log });
  return {
    async close() {
      probes.stop();
      await running;
    },
  };
}
