/**
 * redis-side — what a test site has besides when its scans go over Redis: a private Redis, and workers in other processes.
 *
 * Hides how they are started and seen to be up. The filter of such a site has no scanner of its own, unless a test wants it
 * to: whatever it knows of a message, a worker told it.
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Daemon, freePort, startDaemon } from '../../demo/daemon.ts';
import { type RedisServer, startRedis } from '../../demo/redis.ts';
import { type Apart, createApart } from './apart.ts';

export type RedisSideOptions = {
  /** Of the site. */
  readonly folder: string;
  readonly configFile: string;
  /** Path of bin/sluice.js. */
  readonly script: string;
  readonly workers: number;
  /** Workers are on other addresses and share no spool, as on another machine. */
  readonly apart: boolean;
  /** More lines of redis.conf. */
  readonly settings?: readonly string[];
  /** More for the workers' environment. */
  readonly env?: NodeJS.ProcessEnv;
};

export type Worker = Daemon & { readonly number: number };

export type Workers = {
  /** Those that run, or were killed and not started again. */
  all(): readonly Worker[];
  /** A new process in place of one that is gone, or one more. */
  start(number: number): Promise<Worker>;
  /** Log of the worker with this number, all its processes together. */
  log(number: number): string;
  stop(): Promise<void>;
};

export type RedisSide = {
  readonly server: RedisServer;
  /** The key `redis` of sluice.yaml, in one line. */
  readonly config: string;
  /** Once sluice.yaml is there; `stop` ends them, too. */
  startWorkers(): Promise<Workers>;
  stop(): Promise<void>;
};

/** Redis for a site that is about to start. */
export async function openRedisSide(options: RedisSideOptions): Promise<RedisSide> {
  await using opened = new AsyncDisposableStack();
  const apart = options.apart ? opened.adopt(await createApart(), (place) => place.stop()) : null;
  const folder = join(options.folder, 'redis');
  await mkdir(folder);
  const settings = options.settings ?? [];
  // Redis takes nobody from another address without a password.
  const reach = apart === null ? {} : { bind: apart.here, password: 'geheim' };
  const server = opened.adopt(await startRedis({ folder, settings, ...reach }), (redis) => redis.stop());
  const owned = opened.move();
  return {
    server,
    config: apart === null ? server.url : await configApart(server.url, apart),
    async startWorkers() {
      const workers = await startWorkers(options, apart);
      owned.adopt(workers, (one) => one.stop());
      return workers;
    },
    stop: () => owned.disposeAsync(),
  };
}

/** Large messages are fetched over the wire; the limit is low so that tests have such. */
async function configApart(url: string, { here, network }: Apart): Promise<string> {
  const fetch = `${here}:${await freePort()}`;
  return `{ url: "${url}", messageBytesMax: 512KB, fetch: "${fetch}", fetchClients: ${network} }`;
}

/** Starts them all; they take jobs when this resolves. */
async function startWorkers(options: RedisSideOptions, apart: Apart | null): Promise<Workers> {
  const running = new Map<number, Worker>();
  const start = async (number: number): Promise<Worker> => {
    const worker = { ...(await startWorker(options, apart, number)), number };
    running.set(number, worker);
    return worker;
  };
  const stop = async (): Promise<void> => {
    await Promise.all([...running.values()].map((worker) => worker.stop()));
  };
  try {
    await Promise.all(Array.from({ length: options.workers }, (_, at) => start(at + 1)));
  } catch (cause) {
    await stop();
    throw cause;
  }
  return {
    all: () => [...running.values()],
    start,
    log: (number) => readFileSync(logOf(options.folder, number), 'utf8'),
    stop,
  };
}

function startWorker(options: RedisSideOptions, apart: Apart | null, number: number): Promise<Daemon> {
  const { folder, configFile, script, env = {} } = options;
  const logFile = logOf(folder, number);
  const before = startsIn(logFile);
  const run = [process.execPath, script, 'run', 'worker', '--config', configFile];
  const [command = '', ...args] = [...(apart?.within ?? []), ...run];
  const spool = apart === null ? {} : { SLUICE_SPOOL: join(folder, `spool-${number}`) };
  return startDaemon({
    command,
    args,
    logFile,
    // Its health server would be on the same port for all.
    env: { ...process.env, SLUICE_HEALTH_WORKER: 'null', ...spool, ...env },
    isUp: async () => startsIn(logFile) > before,
  });
}

function startsIn(logFile: string): number {
  return existsSync(logFile) ? readFileSync(logFile, 'utf8').split('"Worker runs"').length : 0;
}

function logOf(folder: string, number: number): string {
  return join(folder, `worker-${number}.log`);
}
