/**
 * queue-rig — what the queue's bench measures: a private Redis, workers, scanners of its own, doors and whole filters.
 *
 * Hides folders, ports and configurations. A door is what the pipeline calls, in this process; a filter is the process as it
 * ships, between load and sink. Each comes over Redis or in one process, so that both are measured in one run. Needs root (smtp-sink).
 */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Daemon, freePort, startDaemon } from '../../demo/daemon.ts';
import { type RedisServer, startRedis } from '../../demo/redis.ts';
import { partEnvironment, partNodeOptions } from '../../review/supervisor.ts';
import { parseConfig } from '../../rules/config.ts';
import { createScannerClients } from '../../workers/clients.ts';
import { silentLog } from '../../workers/log.ts';
import { openQueue, type Queue } from '../../workers/queue.ts';
import { createSpool, type Spool } from '../../workers/spool.ts';
import { accepts, type FakeScanners, startFakeScanners, startSink } from './rig.ts';

export type Door = { readonly queue: Queue; readonly spool: Spool; close(): Promise<void> };

/** `port`: of its LMTP listener. */
export type Filter = { readonly daemon: Daemon; readonly port: number };

export type QueueRig = {
  readonly redis: RedisServer;
  readonly sinkPid: number;
  startScanners(delayMs: number): Promise<FakeScanners>;
  /** With so many slots for each scanner. */
  startWorker(scanners: FakeScanners, slots: number): Promise<Daemon>;
  openDoor(scanners: FakeScanners, way: Way): Promise<Door>;
  startFilter(scanners: FakeScanners, way: Way): Promise<Filter>;
  stop(): Promise<void>;
};

export type Way = 'over Redis' | 'in process';

const script = join(import.meta.dirname, '../../bin/sluice.js');

/** Starts Redis and sink. */
export async function startQueueRig(): Promise<QueueRig> {
  await using started = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'sluice-queue-bench-'));
  started.defer(() => rm(folder, { recursive: true, force: true }));
  const redis = started.adopt(await startRedis({ folder }), (server) => server.stop());
  const sinkPort = await freePort();
  const sink = started.adopt(await startSink(folder, sinkPort), (daemon) => daemon.stop());
  const owned = started.move();
  let count = 0;
  const next = (kind: string) => join(folder, `${kind}-${++count}`);
  return {
    redis,
    sinkPid: sink.pid,
    startScanners: (delayMs) => startFakeScanners(next('scanners'), delayMs),
    startWorker: (scanners, slots) => startWorker(next('worker'), scanners, redis, slots),
    openDoor: (scanners, way) => openDoor(next('door'), scanners, redis, way),
    startFilter: (scanners, way) => startFilter(next('filter'), scanners, redis, way, sinkPort),
    stop: () => owned.disposeAsync(),
  };
}

async function startWorker(
  place: string,
  scanners: FakeScanners,
  redis: RedisServer,
  slots: number,
): Promise<Daemon> {
  const lines = [
    ...linesOf(place, redis),
    ...addressesOf(scanners),
    `worker: { virus: ${slots}, spam: ${slots} }`,
  ];
  const logFile = `${place}.log`;
  return startDaemon({
    ...(await commandFor('worker', place, lines)),
    logFile,
    isUp: async () => readFileSync(logFile, 'utf8').includes('"Worker runs"'),
  });
}

async function startFilter(
  place: string,
  scanners: FakeScanners,
  redis: RedisServer,
  way: Way,
  sinkPort: number,
): Promise<Filter> {
  const port = await freePort();
  const lines = [
    `listen: { smtp: null, lmtp: "127.0.0.1:${port}" }`,
    `reinject: "127.0.0.1:${sinkPort}"`,
    ...linesFor(place, scanners, redis, way),
  ];
  const command = await commandFor('filter', place, lines);
  const daemon = await startDaemon({ ...command, logFile: `${place}.log`, isUp: () => accepts(port) });
  return { daemon, port };
}

/** As `sluice run` starts its parts. */
async function commandFor(part: string, place: string, lines: readonly string[]) {
  const configFile = `${place}.yaml`;
  await writeFile(configFile, lines.join('\n'));
  const args = [...partNodeOptions, script, 'run', part, '--config', configFile];
  return { command: process.execPath, args, env: { ...partEnvironment, ...process.env } };
}

async function openDoor(place: string, scanners: FakeScanners, redis: RedisServer, way: Way): Promise<Door> {
  const text = linesFor(place, scanners, redis, way).join('\n');
  const { config, problems } = parseConfig({ file: '/sluice.yaml', text }, {});
  if (config === null) throw new Error(problems.map(({ message }) => message).join('\n'));
  const spool = await createSpool({ folder: `${place}-spool`, log: silentLog });
  const clients = createScannerClients(config, silentLog);
  const queue = await openQueue(config, { spool, clients, log: silentLog });
  return {
    queue,
    spool,
    async close() {
      await queue.close();
      await spool.close();
    },
  };
}

/** Over Redis a filter has no scanner of its own: whatever it knows, a worker told it. */
function linesFor(place: string, scanners: FakeScanners, redis: RedisServer, way: Way): string[] {
  if (way === 'in process') return [...linesOf(place, null), ...addressesOf(scanners)];
  return [...linesOf(place, redis), 'clamd: null', 'spamd: null'];
}

function linesOf(place: string, redis: RedisServer | null): string[] {
  return [
    `redis: ${redis === null ? 'null' : `"${redis.url}"`}`,
    `state: "${place}-state"`,
    'health: { filter: null, worker: null, review: null }',
  ];
}

function addressesOf({ name }: FakeScanners): string[] {
  return ['clamd', 'spamd'].map((daemon) => `${daemon}: "unix:${name}-${daemon}"`);
}
