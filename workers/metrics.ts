/**
 * metrics — the figures of one filter process, in the text format that Prometheus reads (prom-client).
 *
 * Hides the library, names, units and buckets: everybody else hands in facts. Labels come from closed lists and from the
 * configuration, never from a message, so that their number is bounded. Each set of metrics is its own registry.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { DispositionKind, ScanReport, SpamResult, Verdict, VirusResult } from '../rules/mail.ts';
import { type OutcomeName, temporaryOutcomes } from '../rules/replies.ts';

/** What a message spent where, milliseconds: `receive` up to its dot, `total` from there to its last outcome. */
export type StageTimes = { readonly [stage in Stage | 'total']: number };
export type Stage = (typeof stages)[number];

/** What is measured of one message once all its recipients are settled. */
export type Measured = {
  readonly direction: 'inbound' | 'outbound';
  readonly protocol: 'smtp' | 'lmtp';
  readonly sizeBytes: number;
  /** Null where no scan was made, or it failed. */
  readonly report: ScanReport | null;
  readonly ms: StageTimes;
  readonly recipients: readonly {
    readonly verdict: Verdict | null;
    readonly disposition: DispositionKind | null;
    readonly outcome: 'delivered' | 'held' | 'discarded' | 'refused' | 'deferred';
    /** Why it is deferred; else null. */
    readonly reason: OutcomeName | null;
    /** Told from the ledger: nothing was done now. */
    readonly repeated: boolean;
  }[];
  /** Forged header lines of ours that a DKIM signature of the message lists (h=): it no longer verifies. */
  readonly signedHeadersDropped: number;
  /** Notifications that nobody gets because the verdict was spam or virus. */
  readonly dsnSuppressed: number;
};

/** Figures that are looked up when somebody asks for them. */
export type Sources = {
  readonly inFlight: () => number;
  readonly inFlightMax: number;
  readonly historyDropped: () => number;
  readonly oldestDeferredSeconds: () => number;
};

/** The values of a sample's labels, and its value. */
export type Sample = { readonly labels: Readonly<Record<string, string>>; readonly value: number };

/** Where other files keep figures of theirs. Names without `sluice_`, and without `_total` or `_duration_seconds`. */
export type Register = {
  readonly counter: (
    name: string,
    help: string,
    ...labels: readonly string[]
  ) => (labels: Sample['labels'], by?: number) => void;
  readonly seconds: (
    name: string,
    help: string,
    ...labels: readonly string[]
  ) => (labels: Sample['labels'], seconds: number) => void;
  /** A gauge whose samples are looked up at every scrape; who is not among them any more is gone. `read` must not throw. */
  readonly lookUp: (
    name: string,
    help: string,
    labels: readonly string[],
    read: () => Promise<readonly Sample[]>,
  ) => void;
  /** All of it, and the media type that goes with it. */
  readonly text: () => Promise<string>;
  readonly contentType: string;
};

/** The figures of one filter process; no call throws. */
export type Metrics = Pick<Register, 'text' | 'contentType'> & {
  /** The same set, for what others count. */
  readonly register: Register;
  readonly message: (measured: Measured) => void;
  /** A 4xx for a message that did not get as far as its recipients' outcomes. */
  readonly tempfail: (reason: OutcomeName) => void;
  /** `signaturesAt` (epoch milliseconds) where the scanner told of its signatures. */
  readonly scanner: (
    scanner: 'clamd' | 'spamd',
    address: string,
    up: boolean,
    signaturesAt: number | null,
  ) => void;
  /** Nobody here knows of it any more. */
  readonly scannerGone: (scanner: 'clamd' | 'spamd', address: string) => void;
  readonly returnSmtpd: (up: boolean) => void;
  readonly store: (store: string, up: boolean) => void;
  readonly quarantine: (size: { readonly items: number; readonly bytes: number }) => void;
  readonly stateFree: (bytes: number) => void;
};

const stages = ['receive', 'scan', 'quarantine', 'reinject', 'ledger'] as const;
const secondsBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/** Metrics of a process of this version; what is counted by reason or stage starts at 0, so that the first event shows. */
export function createMetrics(sources: Sources, version: string, now: () => number = Date.now): Metrics {
  const register = createRegistry(version);
  const counters = createCounters(register);
  const gauges = createGauges(register);
  lookUp(register, sources);
  return {
    contentType: register.contentType,
    text: () => register.metrics(),
    register: registerOver(register),
    message: (measured) => count(counters, measured),
    tempfail: (reason) => counters.tempfails.inc({ reason }),
    ...scannerFigures(register, now),
    returnSmtpd: (up) => gauges.returnUp.set(up ? 1 : 0),
    store: (store, up) => gauges.storeUp.set({ store }, up ? 1 : 0),
    quarantine(size) {
      gauges.items.set(size.items);
      gauges.bytes.set(size.bytes);
    },
    stateFree: (bytes) => gauges.free.set(bytes),
  };
}

/** A set of figures for a process that is no filter: what every process tells, and its scanners. */
export function createRegister(
  version: string,
  now: () => number = Date.now,
): Register & Pick<Metrics, 'scanner' | 'scannerGone'> {
  const register = createRegistry(version);
  return { ...registerOver(register), ...scannerFigures(register, now) };
}

function createRegistry(version: string): Registry {
  const register = new Registry();
  // Each look at the event loop wakes an idle process, by default every 10 ms.
  collectDefaultMetrics({ register, eventLoopMonitoringPrecision: 50 });
  const build = {
    name: 'sluice_build_info',
    help: 'Always 1',
    labelNames: ['version'],
    registers: [register],
  };
  new Gauge(build).set({ version }, 1);
  return register;
}

function registerOver(register: Registry): Register {
  const registers = [register];
  return {
    contentType: register.contentType,
    text: () => register.metrics(),
    counter(name, help, ...labelNames) {
      const counter = new Counter({ name: `sluice_${name}_total`, help, labelNames, registers });
      return (labels, by) => counter.inc(labels, by);
    },
    seconds(name, help, ...labelNames) {
      const about = { name: `sluice_${name}_duration_seconds`, help, labelNames, buckets: secondsBuckets };
      const histogram = new Histogram({ ...about, registers });
      return (labels, seconds) => histogram.observe(labels, seconds);
    },
    lookUp(name, help, labelNames, read) {
      new Gauge({
        name: `sluice_${name}`,
        help,
        labelNames: [...labelNames],
        registers,
        async collect() {
          const samples = await read();
          this.reset();
          for (const { labels, value } of samples) this.set(labels, value);
        },
      });
    },
  };
}

/** Whether each scanner answers, and how old its signatures are. */
function scannerFigures(register: Registry, now: () => number): Pick<Metrics, 'scanner' | 'scannerGone'> {
  const registers = [register];
  const up = new Gauge({
    name: 'sluice_scanner_up',
    help: '1 where it answered the last probe',
    labelNames: ['scanner', 'address'],
    registers,
  });
  const signatures = new Map<string, number>();
  new Gauge({
    name: 'sluice_signature_age_seconds',
    help: 'Age of the virus signatures that clamd told of',
    labelNames: ['address'],
    registers,
    collect() {
      for (const [address, at] of signatures) this.set({ address }, Math.max(0, now() - at) / 1000);
    },
  });
  return {
    scanner(scanner, address, isUp, signaturesAt) {
      up.set({ scanner, address }, isUp ? 1 : 0);
      if (signaturesAt !== null) signatures.set(address, signaturesAt);
    },
    scannerGone: (scanner, address) => up.remove({ scanner, address }),
  };
}

type Counters = ReturnType<typeof createCounters>;

function createCounters(register: Registry) {
  const counter = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new Counter({ name: `sluice_${name}_total`, help, labelNames, registers: [register] });
  const seconds = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new Histogram({
      name: `sluice_${name}_duration_seconds`,
      help,
      labelNames,
      registers: [register],
      buckets: secondsBuckets,
    });
  const asked = ['direction', 'protocol', 'verdict', 'disposition'] as const;
  const settled = ['direction', 'verdict', 'disposition', 'outcome'] as const;
  const counters = {
    messages: counter('messages', 'Messages walked through; every try of Postfix counts', ...asked),
    recipients: counter('recipients', 'Recipients settled; a repeated outcome does not count', ...settled),
    bytes: counter('message_bytes', 'Octets of messages walked through', 'direction'),
    tempfails: counter('tempfails', 'Recipients, or whole messages, answered 4xx', 'reason'),
    ledgerHits: counter('ledger_hits', 'Recipients whose earlier outcome was repeated to a retry'),
    signedDropped: counter('forged_signed_headers_dropped', 'Header lines dropped that a DKIM h= lists'),
    dsnSuppressed: counter('dsn_suppressed', 'Notifications not sent because the verdict is spam or virus'),
    scans: counter('scans', 'Answers of scanners', 'scanner', 'result'),
    scanSeconds: seconds('scan', 'One scan, waiting for a free slot included', 'scanner'),
    messageSeconds: seconds('message', 'A message from its dot to its last outcome', 'direction'),
    stageSeconds: seconds('stage', 'A message in one stage of its walk', 'stage'),
  };
  for (const reason of temporaryOutcomes) counters.tempfails.inc({ reason }, 0);
  for (const stage of stages) counters.stageSeconds.zero({ stage });
  return counters;
}

function createGauges(register: Registry) {
  const gauge = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new Gauge({ name: `sluice_${name}`, help, labelNames, registers: [register] });
  return {
    returnUp: gauge('return_smtpd_up', '1 where it answered the last hand-off or probe'),
    storeUp: gauge('store_up', '1 where it could be written at the last probe', 'store'),
    items: gauge('quarantine_items', 'Messages held for somebody'),
    bytes: gauge('quarantine_bytes', 'Octets of messages kept, released ones too'),
    free: gauge('state_free_bytes', 'Octets free on the disk of the state folder'),
  };
}

/** Figures that others keep: read at every scrape. */
function lookUp(register: Registry, sources: Sources): void {
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name: `sluice_${name}`,
      help,
      registers: [register],
      collect() {
        this.set(read());
      },
    });
  gauge('in_flight_messages', 'Messages in flight', sources.inFlight);
  gauge('in_flight_messages_max', 'limits.inFlight', () => sources.inFlightMax);
  gauge(
    'oldest_deferred_seconds',
    'Age of the oldest message deferred lately',
    sources.oldestDeferredSeconds,
  );
  new Counter({
    name: 'sluice_history_rows_dropped_total',
    help: 'Messages without a history row because the database was down',
    registers: [register],
    collect() {
      this.reset();
      this.inc(sources.historyDropped());
    },
  });
}

function count(counters: Counters, measured: Measured): void {
  const { direction, protocol, report, ms } = measured;
  counters.messages.inc({ direction, protocol, ...summaryOf(measured) });
  counters.bytes.inc({ direction }, measured.sizeBytes);
  for (const one of measured.recipients) {
    if (one.repeated) counters.ledgerHits.inc();
    else counters.recipients.inc({ direction, ...wordsOf(one), outcome: one.outcome });
    if (one.reason !== null) counters.tempfails.inc({ reason: one.reason });
  }
  counters.signedDropped.inc(measured.signedHeadersDropped);
  counters.dsnSuppressed.inc(measured.dsnSuppressed);
  counters.messageSeconds.observe({ direction }, ms.total / 1000);
  // A stage that a message does not reach has no time.
  for (const stage of stages) if (ms[stage] > 0) counters.stageSeconds.observe({ stage }, ms[stage] / 1000);
  if (report === null) return;
  countScan(counters, 'clamd', report.virus, report.virusMs);
  countScan(counters, 'spamd', report.spam, report.spamMs);
}

function countScan(counters: Counters, scanner: string, answer: VirusResult | SpamResult, ms: number): void {
  if (answer.kind === 'off') return;
  const result = answer.kind === 'unchecked' ? answer.reason : answer.kind;
  counters.scans.inc({ scanner, result });
  // Cut short, because the other scanner's verdict sufficed or the client left: no time of a scan.
  if (result !== 'cancelled') counters.scanSeconds.observe({ scanner }, ms / 1000);
}

/** One verdict and disposition for a message; `mixed` where its recipients differ. */
function summaryOf({ recipients }: Measured): { verdict: string; disposition: string } {
  const all = recipients.map(wordsOf);
  const only = (words: readonly string[]) => {
    const [word = 'none', another] = new Set(words);
    return another === undefined ? word : 'mixed';
  };
  return {
    verdict: only(all.map(({ verdict }) => verdict)),
    disposition: only(all.map(({ disposition }) => disposition)),
  };
}

/** `none`: nothing was decided, because it had been earlier, or the walk ended before. */
function wordsOf(recipient: Measured['recipients'][number]): { verdict: string; disposition: string } {
  return { verdict: recipient.verdict ?? 'none', disposition: recipient.disposition ?? 'none' };
}
