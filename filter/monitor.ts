/**
 * monitor — what the filter process tells about itself: decisions in the log, metrics, and the health server.
 *
 * Hides what is counted where and who is asked how often. It only looks on: a health server that can't be opened, a probe
 * that fails or a scanner that is down never holds up mail, and /readyz says what does: a listener, a store.
 */
import { statfs } from 'node:fs/promises';
import { type Config, formatAddress } from '../rules/config.ts';
import type { ScannerClients } from '../workers/clients.ts';
import { openHealth } from '../workers/health.ts';
import type { LineWriter, Log } from '../workers/log.ts';
import { createMetrics, type Metrics } from '../workers/metrics.ts';
import { type After, type Probe, scannerProbes, startProbes } from '../workers/probes.ts';
import type { Queue } from '../workers/queue.ts';
import { addQueueFigures } from '../workers/queue-metrics.ts';
import { createReadiness, type Readiness } from '../workers/readiness.ts';
import { version } from '../workers/version.ts';
import type { Account } from './account.ts';
import type { Admission } from './admission.ts';
import { createDecisionLog } from './decision-log.ts';
import type { Listener } from './listener.ts';
import type { Memory } from './memory.ts';
import type { Reinjector } from './reinject.ts';
import { createWaiting } from './waiting.ts';
import type { Effects } from './walk.ts';
import { watchAge, watchReturn, watchScanners, workersProbe } from './watch.ts';

/** They write how their scanners are each second. */
const workersEveryMs = 2000;

/** What there is to look at. */
export type Watched = {
  readonly clients: ScannerClients;
  /** Where scans go over Redis. */
  readonly queue?: Pick<Queue, 'view'>;
  readonly memory: Pick<Memory, 'quarantine' | 'ledger' | 'history'>;
  readonly reinjector: Pick<Reinjector, 'reinject' | 'probe' | 'offers'>;
  readonly admission: Pick<Admission, 'inFlight'>;
  readonly log: Log;
  /** Where lines go that are not JSON. */
  readonly output: LineWriter;
  /** The clock of the probes, in a test. */
  readonly after?: After;
};

export type Monitor = {
  /** What the pipeline calls; `reinject` is the reinjector's own, looked at. */
  readonly effects: Pick<Effects, 'tell' | 'tempfail' | 'reinject'>;
  /** Ready from now on. */
  readonly listening: (feeds: readonly Pick<Listener, 'address'>[]) => void;
  /** Not ready any more; the probes end. */
  readonly stopping: () => void;
  readonly close: () => Promise<void>;
};

/** Starts looking; the health server answers when this resolves, if its address could be had. */
export async function openMonitor(config: Config, watched: Watched): Promise<Monitor> {
  const { clients, memory, admission, log, after } = watched;
  const waiting = createWaiting();
  const { inFlight } = admission;
  const { oldestSeconds } = waiting;
  const historyDropped = () => memory.history.dropped;
  const inFlightMax = config.limits.inFlight;
  const sources = { inFlight, inFlightMax, historyDropped, oldestDeferredSeconds: oldestSeconds };
  const metrics = createMetrics(sources, version);
  const logDecision = createDecisionLog(config.log, log, watched.output);
  const view = watched.queue?.view ?? null;
  if (view !== null) addQueueFigures(metrics.register, view);
  const scanners = watchScanners(metrics.scanner, log, metrics.scannerGone);
  const returnSmtpd = watchReturn(watched.reinjector, metrics.returnSmtpd, admission, log);
  const phase = createPhase();
  const readiness = createReadiness({ checks: checksOf(memory), hindrance: phase.hindrance });
  const probes = startProbes(
    [
      ...scannerProbes(clients, scanners.tell),
      returnSmtpd.probe,
      ...stateProbes(config.state, memory, readiness, metrics),
      watchAge(oldestSeconds, log),
    ],
    after === undefined ? { log } : { log, after },
  );
  const remoteProbes = view === null ? [] : [workersProbe(view, scanners)];
  const soon = startProbes(remoteProbes, { log, everyMs: workersEveryMs });
  const ready = async () => ({
    ...(await readiness()),
    ...(view === null ? {} : { redis: view.isUp() ? 'up' : 'away', workers: view.seen().workers.length }),
    listeners: phase.listeners(),
    scanners: scanners.all(),
    returnSmtpd: returnSmtpd.state(),
  });
  const { filter: address } = config.health;
  const health = address === null ? null : await openHealth({ address, ready, metrics, version, log });
  const tell = (account: Account): void => {
    logDecision(account);
    metrics.message(account);
    waiting.note(account);
  };
  return {
    effects: { tell, tempfail: metrics.tempfail, reinject: returnSmtpd.reinject },
    listening: phase.listening,
    stopping() {
      phase.stopping();
      probes.stop();
      soon.stop();
    },
    close: async () => health?.close(),
  };
}

function checksOf({ quarantine, ledger, history }: Watched['memory']) {
  return {
    quarantine: () => quarantine.check(),
    ledger: () => ledger.check(),
    history: () => history.check(),
  };
}

/** How far the process is in its life. */
function createPhase() {
  let hindrance: string | null = 'starting';
  let listeners: readonly string[] = [];
  return {
    hindrance: () => hindrance,
    listeners: () => listeners,
    listening: (feeds: readonly Pick<Listener, 'address'>[]): void => {
      listeners = feeds.map((feed) => formatAddress(feed.address));
      hindrance = null;
    },
    stopping: (): void => {
      hindrance = 'stopping';
    },
  };
}

function stateProbes(
  state: string,
  { quarantine }: Watched['memory'],
  readiness: () => Promise<Readiness>,
  metrics: Metrics,
): readonly Probe[] {
  const askStores = async (): Promise<void> => {
    const { checks } = await readiness();
    for (const [store, result] of Object.entries(checks)) metrics.store(store, result === 'ok');
  };
  const askDisk = async (): Promise<void> => {
    const { bavail, bsize } = await statfs(state);
    metrics.stateFree(bavail * bsize);
  };
  return [
    { name: 'stores', ask: askStores },
    { name: 'disk', ask: askDisk },
    { name: 'quarantine size', ask: async () => metrics.quarantine(await quarantine.size()) },
  ];
}
