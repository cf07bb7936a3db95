/**
 * watch — what was last heard of the scanners, the return smtpd and the oldest message: kept, counted, logged on change.
 *
 * Hides when silence means trouble. The return smtpd is judged by every hand-off, so that it is asked only while no mail
 * tells of it. Nothing here holds mail up or throws into it.
 */
import type { Metrics } from '../workers/metrics.ts';
import type { Log } from '../workers/log.ts';
import { type Probe, returnProbe, type ScannerState } from '../workers/probes.ts';
import type { Admission } from './admission.ts';
import type { Outcome, Reinjector } from './reinject.ts';

/** RELIABILITY R13. */
const oldestAlarmSeconds = 4 * 3600;
const alarmEveryMs = 3_600_000;

/** The last state of each scanner. Who is down from the start was told of by the report at start. */
export function watchScanners(
  count: Metrics['scanner'],
  log: Log,
): { readonly tell: (state: ScannerState) => void; readonly all: () => readonly ScannerState[] } {
  const latest = new Map<string, ScannerState>();
  return {
    all: () => [...latest.values()],
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
