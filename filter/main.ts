/**
 * main — the filter process: read → create → listen → drain.
 *
 * Hides the order in which things start and stop. Nothing here knows mail. SIGHUP reloads the policies; SIGTERM and
 * SIGINT stop accepting, finish what is in flight inside the deadline and end with 0. An error outside any message
 * ends the process: the supervisor starts it again, Postfix retries.
 */
import { hostname } from 'node:os';
import { join } from 'node:path';
import { formatAddress } from '../rules/config.ts';
import { createLog } from '../workers/log.ts';
import { createQueue } from '../workers/queue.ts';
import { createScanner } from '../workers/scan.ts';
import { createSpool } from '../workers/spool.ts';
import { type Site, watchPolicies } from '../workers/site.ts';
import { createScannerClients, reportScanners } from '../workers/clients.ts';
import { version } from '../workers/version.ts';
import { openHistory } from './history.ts';
import { createInFlight, openLedger } from './ledger.ts';
import { createListener, type Listener } from './listener.ts';
import { becomeOwner } from './state-folder.ts';
import { filterMessage } from './pipeline.ts';
import { openQuarantine } from './quarantine.ts';
import { createReinjector } from './reinject.ts';
import type { Effects } from './walk.ts';

/** Runs the filter process for this site until a signal ends it; resolves with its exit code. */
export async function runFilter(site: Site): Promise<number> {
  const { config } = site;
  const log = createLog({ name: 'filter' });
  becomeOwner(config.state, log);
  const deadlineMs = config.limits.deadlineSeconds * 1000;
  const policies = watchPolicies(site, log);
  const clients = createScannerClients(config, log);
  const spool = await createSpool({ folder: config.spool, log });
  const queue = createQueue({ spool, scanner: createScanner(clients) });
  const quarantine = await openQuarantine({ folder: join(config.state, 'quarantine'), file: join(config.state, 'quarantine.db'), log });
  const ledger = await openLedger({ file: join(config.state, 'ledger.db'), log });
  const history = await openHistory({ file: join(config.state, 'history.db'), log });
  const reinjector = createReinjector({ address: config.reinject, hostname: hostname(), connectionsMax: config.limits.inFlight, log });
  const effects: Effects = {
    scan: queue.scan,
    reinject: reinjector.reinject,
    inFlight: createInFlight(),
    policies: policies.current,
    now: Date.now,
    marker: { scanner: `Sluice ${version}`, hostname: hostname() },
    quarantine,
    ledger,
    history,
    log,
  };
  const admission = createAdmission(config.limits.inFlight);
  const listeners: Listener[] = [];
  const drain = async (): Promise<void> => {
    policies.close();
    await Promise.all(listeners.map((listener) => listener.close(deadlineMs)));
    await Promise.all([reinjector.close(), queue.close()]);
    await Promise.all([spool.close(), quarantine.close(), ledger.close(), history.close()]);
  };
  for (const { protocol, direction, address } of feedsOf(config)) {
    const listener = await createListener({
      protocol,
      direction,
      address,
      hostname: hostname(),
      spool,
      trustedClients: config.listen.trustedClients,
      sizeBytesMax: config.limits.messageBytes,
      deadlineMs,
      admit: admission.admit,
      offers: reinjector.offers,
      onMessage: (transaction) => filterMessage(transaction, effects),
      log,
    });
    listeners.push(listener);
    log.info({ protocol, direction, address: formatAddress(listener.address) }, 'Listening');
  }
  await reportStart(site, { clients, reinjector, quarantine, log });
  return untilSignal(policies.reload, drain, log);
}
