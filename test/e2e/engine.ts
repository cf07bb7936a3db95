/**
 * engine — the filter in the test's own process: real listeners, spool, stores, pipeline and reinjection.
 *
 * Wired as filter/main.ts does it, less signals and watching. Only what is beyond a socket is fake: the scanners answer
 * at once (all mail is clean ham), and the return smtpd is a sink that remembers.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openFeeds } from '../../filter/feeds.ts';
import { createInFlight } from '../../filter/ledger.ts';
import { openMemory } from '../../filter/memory.ts';
import { filterMessage } from '../../filter/pipeline.ts';
import { createReinjector } from '../../filter/reinject.ts';
import { type Config, parseConfig } from '../../rules/config.ts';
import { createScannerClients } from '../../workers/clients.ts';
import { createQueue, type Ticket } from '../../workers/queue.ts';
import { createScanner } from '../../workers/scan.ts';
import { readPolicies } from '../../workers/site.ts';
import { createSpool } from '../../workers/spool.ts';
import { type FakeClamd, startFakeClamd } from '../fakes/clamd.ts';
import { type Sink, startSink } from '../fakes/sink.ts';
import { type FakeSpamd, startFakeSpamd } from '../fakes/spamd.ts';

export type Engine = {
  readonly ports: { readonly smtp: number; readonly lmtp: number };
  readonly sink: Sink;
  readonly clamd: FakeClamd;
  readonly spamd: FakeSpamd;
  /** Warnings and errors logged so far. */
  readonly troubles: readonly string[];
  stop(): Promise<void>;
};

/** What stands in X-Virus-Scanned. */
export const marker = { scanner: 'Sluice 1.2.3', hostname: 'filter.example' };

/** Starts it with these policies (YAML) laid over the shipped ones. */
export async function startEngine(policies: string): Promise<Engine> {
  // Whatever has started ends in reverse order: at stop(), or where the next thing does not start.
  await using started = new AsyncDisposableStack();
  const stopping = <T extends { stop(): Promise<unknown> }>(one: T): T =>
    started.adopt(one, async () => void (await one.stop()));
  const closing = <T extends { close(): Promise<unknown> }>(one: T): T =>
    started.adopt(one, async () => void (await one.close()));
  const folder = await mkdtemp(join(tmpdir(), 'sluice-engine-'));
  started.defer(() => rm(folder, { recursive: true }));
  const clamd = stopping(await startFakeClamd());
  const spamd = stopping(await startFakeSpamd());
  const sink = stopping(await startSink());
  const config = await writeConfig(folder, policies, { clamd, spamd, sink });
  const current = readPolicies(config);
  const { log, troubles } = troubleLog();
  const spool = closing(await createSpool({ folder: config.spool, log }));
  const memory = closing(await openMemory(config, log));
  const queue = closing(createQueue({ spool, scanner: createScanner(createScannerClients(config, log)) }));
  const { hostname } = marker;
  const reinjector = closing(
    createReinjector({ address: config.reinject, hostname, connectionsMax: 20, log }),
  );
  const effects = {
    scan: (ticket: Ticket, signal: AbortSignal) => queue.scan(ticket, signal),
    reinject: reinjector.reinject,
    inFlight: createInFlight(),
    policies: () => current,
    now: Date.now,
    marker,
    log,
    tell: () => undefined,
    tempfail: () => undefined,
    quarantine: memory.quarantine,
    ledger: memory.ledger,
    history: memory.history,
  };
  const feeds = await openFeeds(config, log, {
    hostname,
    spool,
    sizeBytesMax: config.limits.messageBytes,
    deadlineMs: 60_000,
    admit: () => () => undefined,
    offers: reinjector.offers,
    log,
    onMessage: (transaction) => filterMessage(transaction, effects),
  });
  for (const feed of feeds) started.defer(() => feed.close(1_000));
  const [smtp = 0, lmtp = 0] = feeds.map(({ address }) => (address.kind === 'tcp' ? address.port : 0));
  const owned = started.move();
  return { ports: { smtp, lmtp }, sink, clamd, spamd, troubles, stop: () => owned.disposeAsync() };
}

/** A configuration with everything in `folder`, listening wherever a port is free. */
async function writeConfig(
  folder: string,
  policies: string,
  { clamd, spamd, sink }: Pick<Engine, 'clamd' | 'spamd' | 'sink'>,
): Promise<Config> {
  await writeFile(join(folder, 'policies.yaml'), policies);
  const portOf = ({ address }: FakeClamd | FakeSpamd) => (address.kind === 'tcp' ? address.port : 0);
  const text = `
reinject: 127.0.0.1:${sink.port}
clamd: 127.0.0.1:${portOf(clamd)}
spamd: 127.0.0.1:${portOf(spamd)}
state: state
`;
  const { config, problems } = parseConfig({ file: join(folder, 'sluice.yaml'), text }, {});
  if (config === null) throw new Error(`Cannot start the engine: ${JSON.stringify(problems)}`);
  const anyPort = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;
  return { ...config, listen: { ...config.listen, smtp: anyPort, lmtp: anyPort } };
}

function troubleLog() {
  const troubles: string[] = [];
  const quiet = () => undefined;
  const trouble = (fields: object, message: string) =>
    void troubles.push(`${message} ${JSON.stringify(fields)}`);
  return { troubles, log: { debug: quiet, info: quiet, warn: trouble, error: trouble } };
}
