/**
 * remote — the filter's end of the queues: connections, who is there, results, and the scanners over all that.
 *
 * Loaded only where `redis` is configured: a site without pays nothing for it. It starts whether Redis is there or not; as
 * long as it is not, scans run in this process or their scanner counts as unreachable.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import type { Config, RedisConfig } from '../rules/config.ts';
import { readBacklog } from './backlog.ts';
import { type FetchServer, openFetchServer } from './bytes-fetch.ts';
import { createLeases } from './bytes-lease.ts';
import type { SpoolMark } from './bytes-spool.ts';
import { openJobs } from './bull.ts';
import { type ScannerClients, scanningShare } from './clients.ts';
import { keysOf } from './job.ts';
import type { Log } from './log.ts';
import { type FilterPresence, type Presence, startPresence } from './presence.ts';
import type { QueueSources } from './queue-metrics.ts';
import { blockMsMax, connectRedis, createOutage } from './redis.ts';
import { createAsk } from './remote-ask.ts';
import { createCancel } from './remote-cancel.ts';
import { createRemoteClients } from './remote-clients.ts';
import { openResults } from './remote-results.ts';
import { createWaiters } from './remote-waiters.ts';
import { createWatch } from './remote-watch.ts';
import type { SpamScanner, VirusScanner } from './scan.ts';
import { version } from './version.ts';

/** The queues of this process. */
export type Remote = {
  readonly clamd: VirusScanner;
  readonly spamd: SpamScanner;
  readonly view: QueueSources;
  readonly close: () => Promise<void>;
};

/** What a start waits for Redis at most: whether it is there should be known before the first message comes. */
const firstBeatMs = 2_000;

/** Opens the queues. `trusts`: which peers may fetch messages. */
export async function openRemote(options: {
  config: Config;
  redis: RedisConfig;
  mark: SpoolMark | null;
  clients: ScannerClients;
  /** Null: nobody; only the filter listens there. */
  trusts: ((peer: string) => boolean) | null;
  log: Log;
}): Promise<Remote> {
  const { config, redis, mark, log } = options;
  const { prefix } = redis;
  const instance = randomUUID();
  const outage = createOutage(redis, log);
  const fetch = options.trusts === null ? null : await openFetch(redis, options.trusts, log);
  const producer = connectRedis(redis, 'producer', outage);
  // Nobody waits for octets that a connection lost under way.
  const octets = connectRedis(redis, 'octets', outage, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: blockMsMax,
  });
  // What it was asked on a connection that broke must not be asked again at the place that it had got to.
  const reader = connectRedis(redis, 'reader', outage, { maxRetriesPerRequest: 0 });
  const jobs = openJobs(producer, prefix, log);
  const waiters = createWaiters(log);
  const cancel = createCancel({ jobs, redis: producer, prefix, isUp: () => presence.isUp(), log });
  const watch = createWatch({ jobs, waiters, cancel, presence: () => presence, log });
  const presence: Presence = startPresence({
    kind: 'filters',
    connection: producer,
    prefix,
    outage,
    log,
    describe: describeFilter(
      instance,
      mark,
      () => [...waiters.all()].length,
      () => presence,
    ),
    onChange: (isUp) => watch.change(isUp),
  });
  const key = keysOf(prefix).results(instance);
  const results = openResults({ reader, producer, key, onResult: waiters.deliver, log });
  const leases = createLeases({
    redis: producer,
    octets,
    prefix,
    mark,
    fetch,
    messageBytesMax: redis.messageBytesMax,
    log,
  });
  const ask = createAsk({ instance, jobs, waiters, watch, cancel, presence, log });
  const { deadlineSeconds, spamBytes } = config.limits;
  const timeoutMs = deadlineSeconds * 1000 * scanningShare;
  const clients = createRemoteClients({ ask, leases, local: options.clients, timeoutMs, spamBytes });
  await Promise.race([presence.firstBeat, delay(firstBeatMs, undefined, { ref: false })]);
  return {
    ...clients,
    view: {
      isUp: presence.isUp,
      seen: presence.seen,
      backlog: () => readBacklog(producer, prefix, presence.clock.now()),
    },
    async close() {
      watch.close();
      waiters.settleAll({ kind: 'aborted' });
      await presence.close();
      await leases.close();
      await results.close();
      await fetch?.close();
      for (const one of [producer, octets]) one.disconnect();
    },
  };
}

async function openFetch(
  { fetch }: RedisConfig,
  trusts: (peer: string) => boolean,
  log: Log,
): Promise<FetchServer | null> {
  if (fetch?.kind !== 'tcp') return null;
  try {
    return await openFetchServer(fetch, trusts, log);
  } catch (cause) {
    // Mail first: only the largest messages need it.
    log.error({ err: cause, alarm: true }, 'Workers can not fetch messages from here');
    return null;
  }
}

function describeFilter(
  id: string,
  spool: SpoolMark | null,
  inFlight: () => number,
  presence: () => Presence,
): () => FilterPresence {
  let startedAt: number | null = null;
  return () => {
    startedAt ??= presence().clock.now();
    return { id, host: hostname(), pid: process.pid, version, startedAt, inFlight: inFlight(), spool };
  };
}
