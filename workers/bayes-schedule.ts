/**
 * bayes-schedule — serves each planned night once: at its time, soon after a start that comes too late, by one process.
 *
 * Hides the timer: every few seconds it asks whether the newest planned time is still to be served, so that a clock that
 * jumps, a machine that slept and a restart need no case of their own. With a Redis the night is a job that one node takes
 * (bayes-night-queue.ts); Redis away, or nobody taking it, the timer's rule holds here: rather twice than never, for the
 * same snapshot a second time is nothing. Never throws.
 */
import { isAhead, isMissed, type Night } from '../rules/bayes-calendar.ts';
import type { Log } from './log.ts';

/** What is remembered of nights on this machine, by all its processes. Each may reject. */
export type Nights = {
  /** `elsewhere`: another node of the same Redis served it. */
  recall(): Promise<readonly (Night & { readonly elsewhere: boolean })[]>;
  /** False where it was served, or another living process is at it. */
  take(planned: number): Promise<boolean>;
  served(planned: number, elsewhere: boolean): Promise<void>;
  /** As if nobody had taken it. */
  forget(planned: number): Promise<void>;
  /** Resolves where it can be written now. */
  check(): Promise<void>;
  close(): Promise<void>;
};

/** The queue of nights in Redis; nothing here rejects. */
export type NightQueue = {
  readonly isUp: () => boolean;
  /** Looks after schedule and catch-up for a planned time that has come; `served`: some node has served it. */
  readonly tend: (planned: number, ageMs: number) => Promise<'served' | 'left to it' | 'run it here'>;
  readonly tell: (planned: number) => Promise<void>;
  /** It was not served after all. */
  readonly forget: (planned: number) => Promise<void>;
  readonly close: () => Promise<void>;
};

/** `busy`: another run had the database; this night is tried again. */
export type NightOutcome = 'done' | 'busy' | 'stopped';

export type ScheduleOptions = {
  readonly plan: { readonly last: (now: number) => number; readonly next: (after: number) => number };
  readonly nights: Nights;
  /** When a run began last, whoever asked for it; null: never. Where there are several nodes, the one longest ago. */
  readonly lastRunAt: () => Promise<number | null>;
  /** Never rejects. */
  readonly run: (planned: number) => Promise<NightOutcome>;
  /** Where Redis is configured; calls `serve` when this process got the night's job. */
  readonly queue?: ((serve: (planned: number) => Promise<void>) => NightQueue) | undefined;
  readonly log: Log;
  readonly now?: () => number;
  readonly everyMs?: number;
  /** How long a night that was missed before the start waits: the machine may just have booted. */
  readonly settleMs?: number;
  /** How long Redis may be away at the planned time. */
  readonly patienceMs?: number;
  /** How long a night waits that found another run: where that is the other node's, each try takes a snapshot here. */
  readonly busyMs?: number;
};

export type Schedule = {
  readonly nextAt: () => number;
  readonly isRunning: () => boolean;
  /** The newest night that another node served, null where there is none. */
  readonly elsewhereAt: () => number | null;
  /** Begins nothing more, and resolves when what runs is done. */
  readonly close: () => Promise<void>;
};

/** Starts looking; nothing is run before this returns. */
export function startSchedule(options: ScheduleOptions): Schedule {
  const { plan, nights, lastRunAt, run, log, now = Date.now } = options;
  const { everyMs = 15_000, settleMs = 60_000, patienceMs = 10 * 60_000, busyMs = 2 * 60_000 } = options;
  const startedAt = now();
  let busyAt = Number.NEGATIVE_INFINITY;
  const known = createMemory(nights, log, now);
  let serving: Promise<void> | null = null;
  let isClosed = false;

  /** Resolves when the night is served, by whomever. */
  const serve = async (planned: number): Promise<void> => {
    while (serving !== null) await serving;
    if (isClosed || (await known.isServed(planned))) return;
    serving = serveNow(planned).finally(() => (serving = null));
    await serving;
  };
  const serveNow = async (planned: number): Promise<void> => {
    if (!(await known.take(planned))) return;
    const lateMs = now() - planned;
    log.info({ planned: timeOf(planned), lateMs }, 'Bayes night begins');
    const outcome = await run(planned);
    log.info({ planned: timeOf(planned), outcome, ms: now() - planned - lateMs }, 'Bayes night ends');
    if (outcome === 'done') await known.served(planned, false);
    if (outcome === 'busy') busyAt = now();
  };
  const queue =
    options.queue?.(async (planned) => {
      await serve(planned);
      if (await known.isServed(planned)) await queue?.tell(planned);
    }) ?? null;

  const forget = async (planned: number): Promise<void> => {
    // Both memories or none: Redis would say once more that it was served.
    if (queue?.isUp() === false) return;
    log.warn({ planned: timeOf(planned) }, 'Bayes night was served by a clock ahead: it is still to come');
    await known.forget(planned);
    await queue?.forget(planned);
  };
  const look = async (): Promise<void> => {
    const planned = plan.last(now());
    const found = { now: now(), nights: await known.recall(), lastRunAt: await lastRunAt() };
    // Seen now, or never: once its time has come it looks like any other one.
    for (const night of found.nights) if (isAhead(night, found.now)) await forget(night.planned);
    if (isClosed || serving !== null || !isMissed(planned, found)) return;
    if (planned < startedAt && found.now - startedAt < settleMs && found.now >= startedAt) return;
    if (found.now >= busyAt && found.now - busyAt < busyMs) return;
    const ageMs = found.now - Math.max(planned, startedAt);
    if (queue === null) return serve(planned);
    if (!queue.isUp()) return ageMs < patienceMs ? undefined : serve(planned);
    const answer = await queue.tend(planned, ageMs);
    if (answer === 'served') await known.served(planned, true);
    if (answer === 'run it here') await serve(planned);
  };
  const looking = startLooking(look, everyMs, log);
  return {
    nextAt: () => plan.next(now()),
    isRunning: () => serving !== null,
    elsewhereAt: known.elsewhereAt,
    async close() {
      isClosed = true;
      await Promise.all([looking.close(), serving]);
      // The job is ended by its end: another node would take it for one whose node died.
      await queue?.close();
    },
  };
}

/** What the database knows, and what this process knows where that can't be asked. */
function createMemory(nights: Nights, log: Log, now: () => number) {
  const own = new Map<number, number>();
  let elsewhere: number | null = null;
  const wrong = (cause: unknown): void =>
    log.warn({ err: cause }, 'Cannot use the memory of nights: this process goes by its own');
  const recall = async (): Promise<Night[]> => {
    const kept = await nights.recall().catch((cause: unknown) => (wrong(cause), []));
    for (const night of kept) if (night.elsewhere) elsewhere = Math.max(elsewhere ?? 0, night.planned);
    return [...[...own].map(([planned, servedAt]) => ({ planned, servedAt })), ...kept];
  };
  return {
    recall,
    isServed: async (planned: number) =>
      (await recall()).some((night) => night.planned === planned && night.servedAt !== null),
    async take(planned: number): Promise<boolean> {
      const taken = await nights.take(planned).catch((cause: unknown) => (wrong(cause), !own.has(planned)));
      return taken;
    },
    async served(planned: number, isElsewhere: boolean): Promise<void> {
      own.set(planned, now());
      if (isElsewhere) elsewhere = planned;
      await nights.served(planned, isElsewhere).catch(wrong);
    },
    async forget(planned: number): Promise<void> {
      own.delete(planned);
      if (elsewhere === planned) elsewhere = null;
      await nights.forget(planned).catch(wrong);
    },
    elsewhereAt: () => elsewhere,
  };
}

/** Again and again, one look at a time; what goes wrong is told and tried again. */
function startLooking(look: () => Promise<void>, everyMs: number, log: Log): { close: () => Promise<void> } {
  let looking: Promise<void> | null = null;
  const begin = (): void => {
    looking ??= look()
      .catch((cause: unknown) =>
        log.error({ err: cause, alarm: true }, 'Cannot look after the Bayes schedule'),
      )
      .finally(() => (looking = null));
  };
  const timer = setInterval(begin, everyMs);
  begin();
  return {
    async close() {
      clearInterval(timer);
      await looking;
    },
  };
}

function timeOf(planned: number): string {
  return new Date(planned).toISOString();
}
