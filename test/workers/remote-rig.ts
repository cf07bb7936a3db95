/**
 * remote-rig — a filter's door over a private Redis, fakes of both daemons, and real worker processes.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type Daemon, startDaemon } from '../../demo/daemon.ts';
import { startRedis, type RedisServer } from '../../demo/redis.ts';
import { type Config, formatAddress, parseConfig } from '../../rules/config.ts';
import type { ScanReport } from '../../rules/mail.ts';
import { createScannerClients } from '../../workers/clients.ts';
import type { Log } from '../../workers/log.ts';
import { openQueue, type Queue, type Ticket } from '../../workers/queue.ts';
import { createSpool, type Spool, type SpooledMessage } from '../../workers/spool.ts';
import { type Act as ClamdAct, type FakeClamd, startFakeClamd } from '../fakes/clamd.ts';
import { type Act as SpamdAct, type FakeSpamd, startFakeSpamd } from '../fakes/spamd.ts';
import { startTcpProxy } from '../fakes/tcp-proxy.ts';
import { listeningLog } from './redis-rig.ts';

const script = join(import.meta.dirname, '../../bin/sluice.js');

export const never = (): AbortSignal => new AbortController().signal;

export type Site = {
  readonly folder: string;
  readonly redis: RedisServer;
  readonly clamd: FakeClamd;
  readonly spamd: FakeSpamd;
  readonly queue: Queue;
  readonly spool: Spool;
  readonly config: Config;
  readonly log: Log;
  readonly lines: readonly string[];
  /** A message of the spool and its ticket. */
  put(octets: string | Buffer, sender?: string): Promise<{ message: SpooledMessage; ticket: Ticket }>;
  /** Puts and scans. */
  scan(octets: string | Buffer, signal?: AbortSignal): Promise<ScanReport>;
  /** One more worker process; `more` is YAML. It takes jobs when this resolves, and the filter knows of it unless Redis is away. */
  startWorker(options?: { scanners?: string; more?: string; env?: NodeJS.ProcessEnv }): Promise<Daemon>;
  workerLog(worker: Daemon): string;
  /** Resolves when the filter knows of so many workers, and what they share. */
  untilSeen(workers: number): Promise<void>;
};

export type SiteOptions = {
  readonly clamdScript?: readonly (ClamdAct | null)[];
  readonly spamdScript?: readonly (SpamdAct | null)[];
  /** The filter has scanners of its own. */
  readonly local?: boolean;
  /** More YAML for filter and workers. */
  readonly more?: string;
  /** More keys for `redis:`, YAML. */
  readonly redisMore?: string;
  readonly redisSettings?: readonly string[];
  /** Redis is not there when the queue is opened. */
  readonly redisAway?: boolean;
  /** Redis' answers, and what it is asked, come so much later. */
  readonly redisDelayMs?: number;
  readonly deadlineSeconds?: number;
  readonly memoryBytesMax?: number;
  readonly trusts?: (peer: string) => boolean;
};

/** Opens all but workers; everything ends with the test, and nothing of it is left in Redis. */
export async function openSite(t: TestContext, options: SiteOptions = {}): Promise<Site> {
  // In the end everything goes in the reverse order of its coming.
  const stack = new AsyncDisposableStack();
  t.after(() => stack.disposeAsync());
  const folder = await mkdtemp(join(tmpdir(), 'sluice-remote-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const redis = await startRedis({ folder, settings: options.redisSettings ?? [] });
  stack.defer(() => redis.stop());
  let { url } = redis;
  if (options.redisDelayMs !== undefined) {
    const proxy = await startTcpProxy(redis.port);
    stack.defer(() => proxy.stop());
    proxy.slow(options.redisDelayMs);
    url = url.replace(`:${redis.port}`, `:${proxy.port}`);
  }
  if (options.redisAway === true) redis.kill('SIGKILL');
  const clamd = await startFakeClamd(
    options.clamdScript === undefined ? {} : { script: options.clamdScript },
  );
  const spamd = await startFakeSpamd(
    options.spamdScript === undefined ? {} : { script: options.spamdScript },
  );
  stack.defer(async () => void (await Promise.all([clamd.stop(), spamd.stop()])));
  const text = (scanners: boolean) => `
redis: { url: "${url}", prefix: test${options.redisMore === undefined ? '' : `, ${options.redisMore}`} }
clamd: ${scanners ? formatAddress({ ...clamd.address, mode: null, owner: null } as never) : 'null'}
spamd: ${scanners ? formatAddress({ ...spamd.address, mode: null, owner: null } as never) : 'null'}
state: ${join(folder, 'state')}
health: { filter: null, worker: null, review: null }
limits: { deadlineSeconds: ${options.deadlineSeconds ?? 60} }
${options.more ?? ''}
`;
  const config = parsed(text(options.local === true));
  const { log, lines } = listeningLog();
  const spool = await createSpool({
    folder: config.spool,
    log,
    memoryBytesMax: options.memoryBytesMax ?? 262_144,
  });
  const { trusts } = options;
  const clients = createScannerClients(config, log);
  const queue = await openQueue(config, { spool, clients, log, ...(trusts === undefined ? {} : { trusts }) });
  stack.defer(async () => {
    await queue.close();
    await spool.close();
  });
  let workers = 0;
  const put: Site['put'] = async (octets, sender = 'anna@example.com') => {
    const writer = spool.open();
    await writer.write(Buffer.from(octets));
    const message = await writer.finish();
    const { spoolId, sizeBytes, sha256 } = message;
    return { message, ticket: { spoolId, sizeBytes, sha256, queueId: '4c7Yx1', sender, virusAsSpam: [] } };
  };
  return {
    folder,
    redis,
    clamd,
    spamd,
    queue,
    spool,
    config,
    log,
    lines,
    put,
    async scan(octets, signal = never()) {
      const { ticket, message } = await put(octets);
      try {
        return await queue.scan(ticket, signal);
      } finally {
        await message.remove();
      }
    },
    async startWorker({ scanners, more = '', env = {} } = {}) {
      const number = ++workers;
      const configFile = join(folder, `worker-${number}.yaml`);
      await writeFile(configFile, `${text(true)}\n${more}`);
      const logFile = join(folder, `worker-${number}.log`);
      const worker = await startDaemon({
        command: process.execPath,
        args: [
          script,
          'run',
          'worker',
          '--config',
          configFile,
          ...(scanners === undefined ? [] : ['--scanners', scanners]),
        ],
        logFile,
        env: { ...process.env, ...env },
        isUp: async () => readFileSync(logFile, 'utf8').includes('"Worker runs"'),
      });
      stack.defer(async () => {
        await worker.stop();
        // As of listeners that pile up, or of a promise that nobody waits for.
        assert.doesNotMatch(readFileSync(logFile, 'utf8'), /Warning|Unexpected error/);
      });
      // Where it took long to start, the filter thinks until its next look that no worker is there, and asks none.
      const { view } = queue;
      await until(
        'the filter sees the worker',
        () => view?.isUp() !== true || view.seen().workers.some(({ pid }) => pid === worker.pid),
      );
      return worker;
    },
    untilSeen: (count) =>
      until(`${count} workers are seen`, () => {
        const { workers = [], filters = [] } = queue.view?.seen() ?? {};
        // A beat later they have looked at each other, and at the spool.
        return (
          workers.length === count &&
          filters.length > 0 &&
          workers.every(({ startedAt }) => Date.now() - startedAt > 2_500)
        );
      }),
    workerLog: ({ logFile }) => readFileSync(logFile, 'utf8'),
  };
}

function parsed(text: string): Config {
  const { config, problems } = parseConfig({ file: '/sluice.yaml', text }, {});
  if (config === null) throw new Error(problems.map(({ message }) => message).join('\n'));
  return config;
}

/** A short message. */
export const letter = (body: string): string => `Subject: x\r\n\r\n${body}\r\n`;

/** A script that clamd follows until `release` is called. */
export function heldScript(): { script: (ClamdAct | null)[]; release: () => void } {
  const script: (ClamdAct | null)[] = [{ at: 'end', do: 'hang' }];
  return { script, release: () => void script.splice(0, script.length, null) };
}

/** Scans go through again, by a worker. */
export async function accepts(site: Site): Promise<void> {
  const asked = () => site.clamd.conversations.filter(({ command }) => command === 'zINSTREAM').length;
  await until(
    'mail is accepted again',
    async () => {
      const before = asked();
      const report = await site.scan(letter('again'));
      return report.virus.kind === 'clean' && report.spam.kind === 'scored' && asked() > before;
    },
    5_000,
  );
}

/** Asks again and again until it is so; fails after `withinMs`. */
export async function until(
  what: string,
  isSo: () => boolean | Promise<boolean>,
  withinMs = 15_000,
): Promise<void> {
  const end = Date.now() + withinMs;
  while (!(await isSo())) {
    if (Date.now() > end) assert.fail(`not within ${withinMs} ms: ${what}`);
    await delay(20);
  }
}

/** BullMQ's own few keys, one of each for a queue however many jobs went through. */
const permanent = /^test:(?:virus|spam):(?:meta|events|id|pc|marker|stalled-check)$/;

/** Keys that neither expire nor are one of the fixed few. */
export async function leftIn(redis: RedisServer): Promise<string[]> {
  const keys = (await redis.ask('KEYS', '*')).split('\n').filter((key) => key !== '' && !permanent.test(key));
  const kept = await Promise.all(
    keys.map(async (key) => ({ key, ttl: Number(await redis.ask('PTTL', key)) })),
  );
  // The indexes of who is there are trimmed by whoever is there.
  return kept
    .filter(({ key, ttl }) => ttl === -1 && !/^test:(?:workers|filters)$/.test(key))
    .map(({ key }) => key);
}
