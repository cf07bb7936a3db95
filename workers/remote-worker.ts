/**
 * remote-worker — a worker's end of the queues: connections, who is there, what it works with, and in which order it ends.
 *
 * Redis away: it waits for it, and takes jobs again within a second or so of its return.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import type { Config, RedisConfig } from '../rules/config.ts';
import { createSources } from './bytes-read.ts';
import { createProofs } from './bytes-spool.ts';
import { createScannerClients, type ScannerClients, scanningShare } from './clients.ts';
import { PermFail } from './fail.ts';
import type { QueueName } from './job.ts';
import { type Log, silentLog } from './log.ts';
import { createPatience } from './patience.ts';
import { startPresence, type WorkerPresence } from './presence.ts';
import { connectRedis, createOutage } from './redis.ts';
import { hearCancels } from './remote-cancel.ts';
import { createScannerWatch, type ScannerWatch } from './remote-scanners.ts';
import { createSuspects } from './remote-suspects.ts';
import { openTakers } from './remote-takers.ts';
import { createWork, type Work } from './remote-work.ts';
import { version } from './version.ts';
import { openWorkerMonitor, type WorkerMonitor } from './worker-monitor.ts';

export type OpenWorker = {
  readonly id: string;
  /** Says so, takes no more jobs, finishes those that run, and closes everything. */
  readonly drain: () => Promise<void>;
};

const everyMs = 1_000;
const firstBeatMs = 2_000;

/** Connects, and begins to take jobs. Throws PermFail where a queue has no scanner here. */
export async function openWorker(options: {
  config: Config;
  redis: RedisConfig;
  queues: readonly QueueName[];
  log: Log;
}): Promise<OpenWorker> {
  const { config, redis, queues, log } = options;
  const { prefix } = redis;
  const id = randomUUID();
  const clients = clientsFor(config, queues, log);
  const outage = createOutage(redis, log);
  const producer = connectRedis(redis, 'producer', outage);
  const connection = connectRedis(redis, 'worker', outage);
  const octets = connectRedis(redis, 'octets', outage);
  const subscriber = connectRedis(redis, 'subscriber', outage);
  // Asked each second: only a change is worth a line.
  const scanners = createScannerWatch(clientsFor(config, queues, silentLog), log);
  const prove = createProofs(config.spool);
  let spools: readonly string[] = [];
  let monitor: WorkerMonitor | null = null;
  let draining = false;
  const serves = (queue: QueueName): boolean => !draining && queues.includes(queue);
  const around = { id, config, serves, scanners, running: (queue: QueueName) => work.running(queue) };
  const describe = createDescription({ ...around, spools: () => spools, now: () => presence.clock.now() });
  const presence = startPresence({ kind: 'workers', connection: producer, prefix, outage, log, describe });
  const { clock } = presence;
  const patience = createPatience();
  const work: Work = createWork({
    id,
    sources: createSources({ redis: connection, octets, prefix, spool: config.spool, patience }),
    suspects: createSuspects(connection, prefix, patience),
    clients,
    spamBytes: config.limits.spamBytes,
    clock,
    log,
    onOutcome(queue, outcome, ms) {
      monitor?.job(queue, outcome, ms);
      if (outcome.kind === 'unchecked' && outcome.reason === 'unreachable') looking.now();
    },
  });
  hearCancels(subscriber, prefix, work.cancel, log);
  const { running } = work;
  const runningMax = (queue: QueueName): number => config.worker[queue];
  monitor = await openWorkerMonitor(config, {
    id,
    clients,
    log,
    isUp: presence.isUp,
    queues,
    running,
    runningMax,
  });
  // A job's deadline is in Redis' time, and who has no scanner should not begin: know both before the first one.
  await Promise.race([presence.firstBeat, delay(firstBeatMs, undefined, { ref: false })]);
  await scanners.look(clock.now());
  await presence.tell();
  const taking = {
    id,
    queues,
    concurrency: config.worker,
    redis: connection,
    prefix,
    work,
    scanners,
    presence,
    patience,
    log,
  };
  const takers = openTakers(taking);
  const looking = startLooking(log, async () => {
    await scanners.look(clock.now());
    spools = await prove(presence.seen().filters);
    await takers.decide();
  });
  return {
    id,
    async drain() {
      looking.stop();
      monitor.stopping();
      // Nobody should count on it for the minutes that its last scan may take.
      draining = true;
      await Promise.race([presence.tell(), delay(firstBeatMs, undefined, { ref: false })]);
      await takers.close(config.limits.deadlineSeconds * 1000 * scanningShare);
      await Promise.all([presence.close(), monitor.close()]);
      for (const one of [producer, connection, octets, subscriber]) one.disconnect();
      clients.clamd?.close();
      clients.spamd?.close();
    },
  };
}

function clientsFor(config: Config, queues: readonly QueueName[], log: Log): ScannerClients {
  const clients = createScannerClients(config, log, config.worker);
  if (queues.length === 0) throw new PermFail('Cannot run a worker: no scanner is configured here');
  for (const queue of queues) {
    const key = queue === 'virus' ? 'clamd' : 'spamd';
    if (clients[key] !== null) continue;
    throw new PermFail(`Cannot work on ${queue}: ${key} is null or scan.${queue} is false`);
  }
  return {
    clamd: queues.includes('virus') ? clients.clamd : null,
    spamd: queues.includes('spam') ? clients.spamd : null,
  };
}

function createDescription(around: {
  id: string;
  config: Config;
  serves: (queue: QueueName) => boolean;
  scanners: ScannerWatch;
  running: (queue: QueueName) => number;
  spools: () => readonly string[];
  now: () => number;
}): () => WorkerPresence {
  const { id, config, serves, scanners, running, spools, now } = around;
  let startedAt: number | null = null;
  const of = (queue: QueueName): WorkerPresence[QueueName] =>
    serves(queue)
      ? { ...scanners.state(queue), concurrency: config.worker[queue], running: running(queue) }
      : null;
  return () => {
    startedAt ??= now();
    const self = { id, host: hostname(), pid: process.pid, version, startedAt };
    return { ...self, virus: of('virus'), spam: of('spam'), spools: [...spools()] };
  };
}

/** Looks around each second, and besides when somebody has a reason to; what goes wrong is logged. */
function startLooking(log: Log, look: () => Promise<void>): { now: () => void; stop: () => void } {
  let busy = false;
  const now = (): void => {
    if (busy) return;
    busy = true;
    look()
      .catch((cause: unknown) => log.error({ err: cause }, 'Cannot look around'))
      .finally(() => (busy = false));
  };
  const timer = setInterval(now, everyMs);
  now();
  return { now, stop: () => clearInterval(timer) };
}
