/**
 * queue — the queue's own bench: the door of a filter, a private Redis and workers, over scanners that take no time or 100 ms.
 *
 * Messages of 5 KB are put into a spool and scanned, as the pipeline does; no SMTP, so that what is measured is the queue.
 * The same door without Redis is measured in the same run, in turn with it, so that what disturbs the machine disturbs both.
 *
 * usage: node test/bench/queue.ts [MESSAGES]; prints JSON
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Daemon, startDaemon } from '../../demo/daemon.ts';
import { type RedisServer, startRedis } from '../../demo/redis.ts';
import { type Config, parseConfig } from '../../rules/config.ts';
import { createScannerClients } from '../../workers/clients.ts';
import { silentLog } from '../../workers/log.ts';
import { openQueue, type Queue } from '../../workers/queue.ts';
import { createSpool, type Spool } from '../../workers/spool.ts';
import { percentile } from './figures.ts';
import { cpuSecondsOf } from './usage.ts';

type Door = { readonly queue: Queue; readonly spool: Spool; close(): Promise<void> };

const script = join(import.meta.dirname, '../../bin/sluice.js');
const messages = Number(process.argv[2] ?? 6000);
const rounds = 3;
const octets = Buffer.from(`From: a@example.com\r\nSubject: x\r\n\r\n${'word '.repeat(1010)}\r\n`);

const folder = await mkdtemp(join(tmpdir(), 'sluice-queue-bench-'));
await using stack = new AsyncDisposableStack();
stack.defer(() => rm(folder, { recursive: true, force: true }));
const redis = await startRedis({ folder });
stack.defer(() => redis.stop());

process.stdout.write(`${JSON.stringify(await overhead(), null, 2)}\n`);
if (process.env.BENCH_ONLY === undefined)
  process.stdout.write(`${JSON.stringify(await scaling(), null, 2)}\n`);
await stack.disposeAsync();
process.exit(0);

/** Scanners that answer at once. */
async function overhead() {
  await using own = new AsyncDisposableStack();
  const scanners = await startScanners('at-once', 0);
  own.defer(async () => void scanners.kill());
  const worker = await startWorker('worker', 'at-once', 'worker: { virus: 32, spam: 32 }');
  own.defer(() => worker.stop());
  const over = await openDoor('over', configText('at-once', redis, false));
  own.defer(() => over.close());
  const here = await openDoor('here', configText('at-once', null, true));
  own.defer(() => here.close());
  for (const door of [over, here]) await load(door, 2000, 100); // warm
  const single = { over: [] as number[], here: [] as number[] };
  const rates = { over: [] as number[], here: [] as number[] };
  const pids = { worker: worker.pid, redis: redis.pid(), scanners: scanners.pid ?? 0 };
  const cpu = { filter: 0, worker: 0, redis: 0, scanners: 0, filterAlone: 0 };
  for (let round = 0; round < rounds; round++) {
    const before = usedBy(pids);
    const loaded = await load(over, messages, 100);
    const after = usedBy(pids);
    for (const name of ['filter', 'worker', 'redis', 'scanners'] as const)
      cpu[name] += after[name] - before[name];
    rates.over.push(loaded.perSecond);
    const start = usedBy(pids).filter;
    rates.here.push((await load(here, messages, 100)).perSecond);
    cpu.filterAlone += usedBy(pids).filter - start;
    single.over.push(...(await load(over, 300, 1)).latenciesMs);
    single.here.push(...(await load(here, 300, 1)).latenciesMs);
  }
  const perMessage = Object.fromEntries(
    Object.entries(cpu).map(([name, seconds]) => [name, Math.round((seconds * 1e6) / (rounds * messages))]),
  );
  return {
    perSecond: { overRedis: rates.over.map(Math.round), here: rates.here.map(Math.round) },
    p50Ms: { overRedis: percentile(single.over, 50), here: percentile(single.here, 50) },
    p99Ms: { overRedis: percentile(single.over, 99), here: percentile(single.here, 99) },
    cpuMicroseconds: perMessage,
    redisMemory: /used_memory_human:(\S+)/.exec(await redis.ask('INFO', 'memory'))?.[1],
  };
}

/** CPU seconds so far. */
function usedBy(pids: { worker: number; redis: number; scanners: number }) {
  const { user, system } = process.cpuUsage();
  return {
    filter: (user + system) / 1e6,
    worker: cpuSecondsOf(pids.worker),
    redis: cpuSecondsOf(pids.redis),
    scanners: cpuSecondsOf(pids.scanners),
  };
}

/** Scanners that take 100 ms: how the rate grows with the slots of one worker. */
async function scaling() {
  const scanners = await startScanners('slow', 100);
  const rates: Record<string, number> = {};
  try {
    for (const slots of [1, 2, 4, 8, 16]) {
      const worker = await startWorker(
        `slots-${slots}`,
        'slow',
        `worker: { virus: ${slots}, spam: ${slots} }`,
      );
      const over = await openDoor(`slots-${slots}`, configText('slow', redis, false));
      await load(over, slots, slots);
      rates[slots] = Math.round((await load(over, slots * 40, slots * 2)).perSecond * 100) / 100;
      await over.close();
      await worker.stop();
    }
  } finally {
    scanners.kill();
  }
  return { perSecond: rates, ofLinear: (rates[16] ?? 0) / (16 * (rates[1] ?? 1)) };
}

async function load(door: Door, count: number, atOnce: number) {
  const latenciesMs: number[] = [];
  let next = 0;
  const signal = new AbortController().signal;
  const one = async (): Promise<void> => {
    while (next++ < count) {
      const start = performance.now();
      const writer = door.spool.open();
      await writer.write(octets);
      const message = await writer.finish();
      const { spoolId, sizeBytes, sha256 } = message;
      const sender = `sender${next % 50}@example.com`;
      const ticket = { spoolId, sizeBytes, sha256, queueId: '4c7Yx1', sender, virusAsSpam: [] };
      const report = await door.queue.scan(ticket, signal);
      if (report.virus.kind !== 'clean' || report.spam.kind !== 'scored')
        throw new Error(`Cannot measure: ${JSON.stringify(report)}`);
      await message.remove();
      latenciesMs.push(performance.now() - start);
    }
  };
  const start = performance.now();
  await Promise.all(Array.from({ length: atOnce }, one));
  return { latenciesMs, perSecond: (count * 1000) / (performance.now() - start) };
}

async function openDoor(name: string, text: string): Promise<Door> {
  const config = parsed(text);
  const spool = await createSpool({ folder: join(folder, `spool-${name}`), log: silentLog });
  const queue = await openQueue(config, {
    spool,
    clients: createScannerClients(config, silentLog),
    log: silentLog,
  });
  return {
    queue,
    spool,
    async close() {
      await queue.close();
      await spool.close();
    },
  };
}

async function startWorker(name: string, scanners: string, more: string): Promise<Daemon> {
  const configFile = join(folder, `${name}.yaml`);
  const logFile = join(folder, `${name}.log`);
  await writeFile(configFile, `${configText(scanners, redis, true)}${more}\n`);
  return startDaemon({
    command: process.execPath,
    args: [
      ...(process.env.BENCH_WORKER_NODE ?? '').split(' ').filter(Boolean),
      script,
      'run',
      'worker',
      '--config',
      configFile,
    ],
    logFile,
    isUp: async () => readFileSync(logFile, 'utf8').includes('"Worker runs"'),
  });
}

async function startScanners(name: string, delayMs: number) {
  const [clamd, spamd] = [join(folder, `${name}-clamd`), join(folder, `${name}-spamd`)];
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, 'fake-scanners.ts'), clamd, spamd, String(delayMs)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  process.once('exit', () => child.kill());
  await new Promise((resolve) => child.stdout.once('data', resolve));
  return child;
}

function configText(scanners: string, server: RedisServer | null, here: boolean): string {
  const at = (daemon: string) => (here ? `"unix:${join(folder, `${scanners}-${daemon}`)}"` : 'null');
  return [
    `redis: ${server === null ? 'null' : `"${server.url}"`}`,
    `clamd: ${at('clamd')}`,
    `spamd: ${at('spamd')}`,
    `state: "${join(folder, 'state')}"`,
    'health: { filter: null, worker: null, review: null }',
    '',
  ].join('\n');
}

function parsed(text: string): Config {
  const { config, problems } = parseConfig({ file: '/sluice.yaml', text }, {});
  if (config === null) throw new Error(problems.map(({ message }) => message).join('\n'));
  return config;
}
