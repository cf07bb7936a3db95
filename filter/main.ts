/**
 * main — the filter process: read → create → listen → drain.
 *
 * Hides the order in which things start and stop. Nothing here knows mail. SIGTERM stops accepting, finishes what is
 * in flight inside the deadline and ends with 0. Throws PermFail or TempFail where it can't start.
 */
import { hostname } from 'node:os';
import { formatAddress } from '../rules/config.ts';
import { createScannerClients, reportScanners } from '../workers/clients.ts';
import { createLog, standardOutput } from '../workers/log.ts';
import { openQueue, type Ticket } from '../workers/queue.ts';
import { endOnUncaught, untilSignal } from '../workers/signals.ts';
import { type Site, watchPolicies } from '../workers/site.ts';
import { createSpool } from '../workers/spool.ts';
import { version } from '../workers/version.ts';
import { createAdmission } from './admission.ts';
import { openFeeds } from './feeds.ts';
import { createInFlight } from './ledger.ts';
import { openMemory } from './memory.ts';
import { openMonitor } from './monitor.ts';
import { filterMessage } from './pipeline.ts';
import { createReinjector } from './reinject.ts';
import { becomeOwner } from './state-folder.ts';
import { fetchersOf } from './trusted-clients.ts';

/** Runs the filter process for this site until a signal ends it; resolves with its exit code. */
export async function runFilter(site: Site): Promise<number> {
  const { config } = site;
  const output = standardOutput();
  const log = createLog({ name: 'filter', level: config.log.level, destination: output });
  endOnUncaught(log);
  becomeOwner(config.state, log);
  const host = hostname();
  const deadlineMs = config.limits.deadlineSeconds * 1000;
  const policies = watchPolicies(site, log);
  const clients = createScannerClients(config, log);
  const spool = await createSpool({ folder: config.spool, log });
  const queue = await openQueue(config, { spool, clients, log, trusts: fetchersOf(config) });
  const memory = await openMemory(config, log);
  const { inFlight: connectionsMax, messageBytes: sizeBytesMax } = config.limits;
  const reinjector = createReinjector({ address: config.reinject, hostname: host, connectionsMax, log });
  const admission = createAdmission(connectionsMax);
  const monitor = await openMonitor(config, { clients, queue, memory, reinjector, admission, log, output });
  const effects = {
    scan: (ticket: Ticket, signal: AbortSignal) => queue.scan(ticket, signal),
    ...monitor.effects,
    inFlight: createInFlight(),
    policies: policies.current,
    observe: config.mode === 'observe',
    now: Date.now,
    marker: { scanner: `Sluice ${version}`, hostname: host },
    log,
    ...memory.effects,
  };
  const feeds = await openFeeds(config, log, {
    hostname: host,
    spool,
    sizeBytesMax,
    deadlineMs,
    admit: admission.admit,
    onTempfail: monitor.effects.tempfail,
    offers: reinjector.offers,
    log,
    onMessage: (transaction) => filterMessage(transaction, effects),
  });
  monitor.listening(feeds);
  const drain = async (): Promise<void> => {
    policies.close();
    monitor.stopping();
    await Promise.all(feeds.map((feed) => feed.close(deadlineMs)));
    await Promise.all([reinjector.close(), queue.close()]);
    await Promise.all([spool.close(), memory.close(), monitor.close()]);
  };
  const stopped = untilSignal(policies.reload, drain, log);
  log.info({ version, state: config.state, reinject: formatAddress(config.reinject) }, 'Filter runs');
  void reportScanners(clients, log);
  return stopped;
}
