/**
 * remote-worker — a worker's end of the queues: connections, takers, who is there, and when to take no jobs.
 *
 * Hides that a worker whose scanner is away stops taking jobs for it while another living worker has one that answers; with
 * none left it goes on, and says `unchecked`. Redis away: it waits for it, and takes jobs again within a second or so of its return.
 */
import { hostname } from 'node:os';
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Config, RedisConfig } from '../rules/config.ts';
import { sharesSpool } from './bytes-spool.ts';
import { openTaker, type Taker } from './bull.ts';
import { createScannerClients, scanningShare } from './clients.ts';
import { PermFail } from './fail.ts';
import type { QueueName } from './job.ts';
import { type Log, silentLog } from './log.ts';
import { startPresence, type Presence, type WorkerPresence } from './presence.ts';
import { connectRedis, createOutage } from './redis.ts';
import { hearCancels } from './remote-cancel.ts';
import { createScannerWatch } from './remote-scanners.ts';
import { createWork, type Work } from './remote-work.ts';
import { version } from './version.ts';
import { openWorkerMonitor, type WorkerMonitor } from './worker-monitor.ts';

export type OpenWorker = {
  readonly id: string;
  /** Takes no more jobs, finishes those that run, and closes everything. */
  readonly drain: () => Promise<void>;
};

const everyMs = 1_000;
/** Commands of one tick go out together; the one that blocks goes alone. */
const together = { enableAutoPipelining: true, autoPipeliningIgnoredCommands: ['bzpopmin'] };

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
  const outage = createOutage(redis, log);
  const clients = clientsFor(config, queues, log);
  const producer = connectRedis(redis, 'producer', outage);
  const connection = connectRedis(redis, 'worker', outage, together);
  const subscriber = connectRedis(redis, 'subscriber', outage);
  // Asked each second: only a change is worth a line.
  const scanners = createScannerWatch(clientsFor(config, queues, silentLog), log);
  let spools: readonly string[] = [];
  const presence: Presence = startPresence({
    kind: 'workers',
    connection: producer,
    prefix,
    outage,
    log,
    describe: () => describe(),
  });
  const { clock } = presence;
  const sources = { redis: connection, prefix, spool: config.spool };
  let monitor: WorkerMonitor | null = null;
  const work = createWork({
    id,
    sources,
    clients,
    spamBytes: config.limits.spamBytes,
    clock,
    onOutcome: (queue, outcome, ms) => monitor?.job(queue, outcome, ms),
    log,
  });
  const describe = describeWorker(id, config, queues, { scanners, work, clock, spools: () => spools });
  hearCancels(subscriber, prefix, work.cancel, log);
  monitor = await openWorkerMonitor(config, {
    id,
    clients,
    log,
    isUp: presence.isUp,
    queues,
    running: work.running,
    runningMax: (queue) => config.worker[queue],
  });
  // A job's deadline is in Redis' time: know it before the first one.
  await Promise.race([presence.firstBeat, delay(2 * everyMs, undefined, { ref: false })]);
  const takers = queues.map((queue) => ({
    queue,
    taker: openTaker({
      queue,
      redis: connection,
      prefix,
      concurrency: config.worker[queue],
      onJob: (data, deaths) => work.take(queue, data, deaths),
      log,
    }),
  }));
  const stopLooking = every(everyMs, log, async () => {
    await scanners.look(clock.now());
    spools = await sharedSpools(config.spool, presence);
    for (const { queue, taker } of takers) await takeOrLeave(queue, taker, id, scanners, presence, log);
  });
  const drainMs = config.limits.deadlineSeconds * 1000 * scanningShare;
  return {
    id,
    async drain() {
      stopLooking();
      monitor.stopping();
      const closed = Promise.all(takers.map(({ taker }) => taker.close()));
      const gone = untilNobodyListens(work, queues, presence);
      await Promise.race([closed, gone.promise, delay(drainMs, undefined, { ref: false })]);
      gone.stop();
      await Promise.all([presence.close(), monitor.close()]);
      for (const one of [producer, connection, subscriber]) one.disconnect();
      clients.clamd?.close();
      clients.spamd?.close();
    },
  };
}

function clientsFor(config: Config, queues: readonly QueueName[], log: Log) {
  const clients = createScannerClients(config, log);
  if (queues.length === 0) throw new PermFail('Cannot run a worker: no scanner is configured here');
  for (const queue of queues) {
    if (clients[queue === 'virus' ? 'clamd' : 'spamd'] !== null) continue;
    const key = queue === 'virus' ? 'clamd' : 'spamd';
    throw new PermFail(`Cannot work on ${queue}: ${key} is null or scan.${queue} is false`);
  }
  return {
    clamd: queues.includes('virus') ? clients.clamd : null,
    spamd: queues.includes('spam') ? clients.spamd : null,
  };
}

function describeWorker(
  id: string,
  config: Config,
  queues: readonly QueueName[],
  {
    scanners,
    work,
    clock,
    spools,
  }: {
    scanners: ReturnType<typeof createScannerWatch>;
    work: Work;
    clock: Presence['clock'];
    spools: () => readonly string[];
  },
): () => WorkerPresence {
  let startedAt: number | null = null;
  const of = (queue: QueueName): WorkerPresence[QueueName] =>
    queues.includes(queue)
      ? { ...scanners.state(queue), concurrency: config.worker[queue], running: work.running(queue) }
      : null;
  return () => ({
    id,
    host: hostname(),
    pid: process.pid,
    version,
    startedAt: (startedAt ??= clock.now()),
    virus: of('virus'),
    spam: of('spam'),
    spools: [...spools()],
  });
}

async function sharedSpools(spool: string, presence: Presence): Promise<readonly string[]> {
  const shared: string[] = [];
  for (const { id, spool: mark } of presence.seen().filters)
    if (mark !== null && (await sharesSpool(spool, mark))) shared.push(id);
  return shared;
}

const left = new WeakSet<Taker>();

/** Leaves the jobs to others while only they have a scanner that answers. */
async function takeOrLeave(
  queue: QueueName,
  taker: Taker,
  id: string,
  scanners: ReturnType<typeof createScannerWatch>,
  presence: Presence,
  log: Log,
): Promise<void> {
  const { ok, detail } = scanners.state(queue);
  const others = presence.seen().workers.some((worker) => worker.id !== id && worker[queue]?.ok === true);
  const leave = !ok && others;
  if (leave === left.has(taker)) return;
  if (leave) {
    left.add(taker);
    log.error({ queue, detail, alarm: true }, 'Scanner does not answer: its jobs are left to other workers');
    await taker.pause();
  } else {
    left.delete(taker);
    log.info({ queue }, 'Taking jobs again');
    await taker.resume();
  }
}

/** Nothing runs, and Redis is away: a taker can't tell it goodbye, and must not wait for that. */
function untilNobodyListens(work: Work, queues: readonly QueueName[], presence: Presence) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setInterval(() => {
    if (!presence.isUp() && queues.every((queue) => work.running(queue) === 0)) resolve();
  }, 100);
  return { promise, stop: () => clearInterval(timer) };
}

/** Calls `action` again and again, a pause between; what it throws is logged. */
function every(ms: number, log: Log, action: () => Promise<void>): () => void {
  let stopped = false;
  const run = async (): Promise<void> => {
    while (!stopped) {
      await action().catch((cause: unknown) => log.error({ err: cause }, 'Cannot look around'));
      await delay(ms, undefined, { ref: false });
    }
  };
  void run();
  return () => {
    stopped = true;
  };
}
