/**
 * watch — what was last heard of the scanners, the return smtpd and the oldest message: kept, counted, logged on change.
 *
 * Hides when silence means trouble. The return smtpd is judged by every hand-off, so that it is asked only while no mail
 * tells of it. Nothing here holds mail up or throws into it.
 */
import type { Metrics } from '../workers/metrics.ts';
import type { Log } from '../workers/log.ts';
import { type Probe, returnProbe, type ScannerState } from '../workers/probes.ts';
import type { QueueSources } from '../workers/queue-metrics.ts';
import type { Admission } from './admission.ts';
import type { Outcome, Reinjector } from './reinject.ts';

/** RELIABILITY R13. */
const oldestAlarmSeconds = 4 * 3600;
const alarmEveryMs = 3_600_000;

export type ScannersWatch = {
  readonly tell: (state: ScannerState) => void;
  /** No worker that asks it is alive any more. */
  readonly forget: (which: Pick<ScannerState, 'scanner' | 'address'>) => void;
  readonly all: () => readonly ScannerState[];
};

/** The last state of each scanner. Who is down from the start was told of by the report at start. */
export function watchScanners(
  count: Metrics['scanner'],
  log: Log,
  gone: Metrics['scannerGone'] = () => undefined,
): ScannersWatch {
  const latest = new Map<string, ScannerState>();
  return {
    all: () => [...latest.values()],
    forget({ scanner, address }) {
      latest.delete(`${scanner} ${address}`);
      gone(scanner, address);
    },
    tell(state) {
      const { scanner, address, up, signaturesAt } = state;
      count(scanner, address, up, signaturesAt);
      const before = latest.get(`${scanner} ${address}`);
      latest.set(`${scanner} ${address}`, state);
      if (before === undefined || before.up === up) return;
      if (up) log.info({ scanner, address }, 'Scanner answers again');
      else log.error({ scanner, address, detail: state.detail, alarm: true }, 'Scanner does not answer');
    },
  };
}

/** Looks at the scanners of the workers that are alive; each is told with the host that it is at. */
export function workersProbe({ isUp, seen }: QueueSources, scanners: ScannersWatch): Probe {
  let known = new Map<string, ScannerState>();
  return {
    name: 'workers',
    async ask() {
      // What is there is not known while Redis is away: the last word stands.
      if (!isUp()) return;
      const found = scannersOf(seen());
      for (const [key, state] of known) if (!found.has(key)) scanners.forget(state);
      for (const state of found.values()) scanners.tell(state);
      known = found;
    },
  };
}

/** Several workers on one host ask the same scanner: one of them that reaches it is enough. */
function scannersOf({ workers }: ReturnType<QueueSources['seen']>): Map<string, ScannerState> {
  const found = new Map<string, ScannerState>();
  for (const worker of workers) {
    for (const [scanner, queue] of [['clamd', worker.virus] as const, ['spamd', worker.spam] as const]) {
      for (const { address: there, ok: up, detail } of queue?.addresses ?? []) {
        const address = `${there} at ${worker.host}`;
        const key = `${scanner} ${address}`;
        if (found.get(key)?.up !== true) found.set(key, { scanner, address, up, detail, signaturesAt: null });
      }
    }
  }
  return found;
}

/** Whether the return smtpd answers; null: nothing is known yet. */
export type ReturnState = { readonly up: boolean | null; readonly detail: string | null };

/** The reinjector, looked at; `probe` asks only where nothing is in flight and nothing was heard since the last time. */
export function watchReturn(
  reinjector: Pick<Reinjector, 'reinject' | 'probe' | 'offers'>,
  count: Metrics['returnSmtpd'],
  { inFlight }: Pick<Admission, 'inFlight'>,
  log: Log,
): { readonly reinject: Reinjector['reinject']; readonly probe: Probe; readonly state: () => ReturnState } {
  let state: ReturnState = { up: null, detail: null };
  let heard = false;
  const tell = (up: boolean, detail: string | null): void => {
    count(up);
    const before = state.up;
    state = { up, detail };
    if (before === up) return;
    if (up) log.info({ offers: reinjector.offers() }, 'Return smtpd answers');
    else log.error({ detail, alarm: true }, 'Return smtpd does not answer: mail is deferred until it does');
  };
  const isIdle = (): boolean => {
    const idle = !heard && inFlight() === 0;
    heard = false;
    return idle;
  };
  return {
    state: () => state,
    probe: returnProbe(reinjector.probe, isIdle, tell),
    async reinject(job, signal) {
      const outcomes = await reinjector.reinject(job, signal);
      const judgement = judge(outcomes);
      heard ||= judgement !== null;
      if (judgement !== null) tell(judgement.up, judgement.detail);
      return outcomes;
    },
  };
}

/** Any reply about mail means that it is there, a refusal of us ourselves that it is not; null: no telling. */
function judge(outcomes: readonly Outcome[]): { up: boolean; detail: string | null } | null {
  let failure: { up: boolean; detail: string } | null = null;
  for (const one of outcomes) {
    if (one.kind !== 'tempfail') return { up: true, detail: null };
    if (one.outcome === 'returnUnavailable' && one.reply !== null) return { up: true, detail: null };
    if (one.outcome === 'returnUnavailable' || one.outcome === 'returnMisconfigured')
      failure = { up: false, detail: one.detail };
  }
  return failure;
}

/** Raises the alarm for a message that waits too long, once an hour. */
export function watchAge(
  oldestSeconds: () => number,
  log: Log,
  clock: () => number = performance.now.bind(performance),
): Probe {
  let nextAt = Number.NEGATIVE_INFINITY;
  return {
    name: 'oldest deferred',
    async ask() {
      const seconds = Math.round(oldestSeconds());
      if (seconds <= oldestAlarmSeconds || clock() < nextAt) return;
      nextAt = clock() + alarmEveryMs;
      log.error({ seconds, alarm: true }, 'A deferred message has been waiting for more than 4 hours');
    },
  };
}
