/**
 * redis-faults — everything that can befall Redis, while a real Postfix queue drains through Sluice.
 *
 * Each fault begins and ends while messages are under way, again and again until the queue is empty; then every message is
 * accounted for, each against the verdict that it carries. The filter has no scanner of its own, so that every verdict went over
 * Redis, unless the run is told otherwise.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { RedisServer } from '../../demo/redis.ts';
import { type MarkedScanners, startMarkedScanners } from '../fakes/marked-scanners.ts';
import { openDialog } from '../fakes/smtp-dialog.ts';
import { emptied } from './evidence.ts';
import { type Account, accountOf, fillQueue, hand } from './marked-mail.ts';
import { startSite, type TestSite } from './site.ts';

export type Fault = {
  readonly name: string;
  readonly begin: (redis: RedisServer) => Promise<void>;
  readonly end: (redis: RedisServer) => Promise<void>;
  /** How long it lasts in a long run; default 3 s. */
  readonly lastsMs?: number;
  /** Redis answers all the time: there is no "again" to be measured. */
  readonly isBrief?: boolean;
  /** Redis forgets parts of what BullMQ keeps: nobody can find the rest. */
  readonly isTorn?: boolean;
};

const nothing = async () => undefined;

export const faults: readonly Fault[] = [
  {
    name: 'killed',
    begin: async (redis) => redis.kill('SIGKILL'),
    end: (redis) => redis.restart(),
  },
  { name: 'restarted empty', begin: (redis) => redis.restart(), end: nothing, isBrief: true },
  {
    name: 'flushed',
    begin: async (redis) => void (await redis.ask('FLUSHALL')),
    end: nothing,
    isBrief: true,
  },
  {
    name: 'stopped',
    begin: async (redis) => redis.kill('SIGSTOP'),
    end: async (redis) => redis.kill('SIGCONT'),
    lastsMs: 30_000,
  },
  {
    name: 'full',
    begin: async (redis) => void (await redis.ask('CONFIG', 'SET', 'maxmemory', '1')),
    end: async (redis) => void (await redis.ask('CONFIG', 'SET', 'maxmemory', '0')),
  },
  {
    name: 'a read-only replica',
    begin: async (redis) => void (await redis.ask('REPLICAOF', '127.0.0.1', '1')),
    end: async (redis) => void (await redis.ask('REPLICAOF', 'NO', 'ONE')),
  },
  {
    name: 'evicting',
    begin: async (redis) => {
      const used = Number(/used_memory:(\d+)/.exec(await redis.ask('INFO', 'memory'))?.[1] ?? 0);
      await redis.ask('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-random');
      await redis.ask('CONFIG', 'SET', 'maxmemory', String(used + 20_000));
    },
    end: async (redis) => {
      await redis.ask('CONFIG', 'SET', 'maxmemory', '0');
      await redis.ask('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
    },
    isBrief: true,
    isTorn: true,
  },
];

export type FaultReport = Account & {
  readonly fault: string;
  readonly times: number;
  /** From the end of each fault to the first message that was taken after it. */
  readonly againMs: readonly number[];
  /** Tries of Postfix that were answered 4xx. */
  readonly deferrals: number;
  /** Keys of ours that would stay in Redis for ever. */
  readonly keysLeft: readonly string[];
};

export type FaultRun = {
  /** Numbers of the messages: from `first` on, so many. */
  readonly first: number;
  readonly messages: number;
  /** Shortens every fault to that. */
  readonly atMostMs?: number;
  /** About how long it is well before the next fault. */
  readonly pauseMs: number;
  /** Default: until the queue is empty. */
  readonly timesMost?: number;
};

export type MarkedSite = {
  readonly site: TestSite;
  readonly scanners: MarkedScanners;
  readonly redis: NonNullable<TestSite['redis']>;
  stop(): Promise<void>;
};

/** A site whose scanners tell the verdict that each message carries. */
export async function startMarkedSite(
  takesMs: () => number,
  options: Partial<Parameters<typeof startSite>[0]> = {},
): Promise<MarkedSite> {
  const scanners = await startMarkedScanners(takesMs);
  const { side, ...rest } = options;
  const addresses = `clamd: 127.0.0.1:${scanners.clamdPort}\nspamd: 127.0.0.1:${scanners.spamdPort}\n`;
  try {
    const site = await startSite({
      feedProtocol: 'lmtp',
      sink: 'smtp',
      redis: true,
      scanners: addresses,
      config: 'limits: { deadlineSeconds: 60 }',
      workers: 3,
      postfix: { scanProcesses: 20, retrySeconds: 1 },
      ...rest,
      ...(side === undefined ? {} : { side }),
    });
    if (site.redis === null) throw new Error('No Redis at this site');
    const stop = async (): Promise<void> => {
      await site.stop();
      await scanners.stop();
    };
    return { site, scanners, redis: site.redis, stop };
  } catch (cause) {
    await scanners.stop();
    throw cause;
  }
}

/** Runs one fault under load, again and again until the queue is empty. */
export async function runFault(
  { site, redis }: MarkedSite,
  fault: Fault,
  run: FaultRun,
): Promise<FaultReport> {
  const { first, messages, pauseMs, atMostMs = 60_000, timesMost = Number.POSITIVE_INFINITY } = run;
  const numbers = Array.from({ length: messages }, (_, at) => first + at);
  const deferredBefore = await deferralsAt(site);
  const filling = fillQueue(site, numbers);
  const probes: number[] = [];
  const againMs: number[] = [];
  let times = 0;
  do {
    await delay(pauseMs * (0.5 + Math.random()));
    await fault.begin(redis.server);
    if (fault.isBrief !== true) await delay(Math.min(fault.lastsMs ?? 3000, atMostMs));
    await fault.end(redis.server);
    times++;
    if (fault.isBrief === true) continue;
    const ended = performance.now();
    probes.push(await untilTaken(site, first + messages + times * 1000));
    againMs.push(Math.round(performance.now() - ended));
  } while (times < timesMost && !(await isEmpty(site)));
  await filling;
  await emptied(site, 300_000);
  const account = await accountOf(site, [...numbers, ...probes]);
  const deferrals = (await deferralsAt(site)) - deferredBefore;
  const keysLeft = fault.isTorn === true ? [] : await leftAt(redis.server);
  return { ...account, fault: fault.name, times, againMs, deferrals, keysLeft };
}

/** Hands in one message after the other, past Postfix, until one is taken; gives its number. Those refused are not heard of again. */
async function untilTaken(site: TestSite, first: number): Promise<number> {
  const end = performance.now() + 60_000;
  for (let number = first; performance.now() < end; number++) {
    const dialog = await openDialog({ kind: 'tcp', host: '127.0.0.1', port: site.lmtpPort });
    try {
      await dialog.reply();
      await dialog.ask('LHLO probe.example');
      if ((await hand(dialog, number)).startsWith('250')) return number;
    } finally {
      dialog.reset();
    }
    await delay(50);
  }
  throw new Error('No message was taken within a minute of the end of a fault');
}

/** Whether Postfix has nothing more; what waits for its next try is asked for now. */
async function isEmpty(site: TestSite): Promise<boolean> {
  const left = (await site.postfix.queue()).length;
  if (left > 0) await site.postfix.flush();
  return left === 0;
}

async function deferralsAt(site: TestSite): Promise<number> {
  return (await readFile(site.postfix.maillog, 'latin1')).split('status=deferred').length - 1;
}

/** What is left once a worker has looked for jobs that stalled, which it does within some seconds. */
async function leftAt(redis: RedisServer): Promise<string[]> {
  const end = performance.now() + 20_000;
  for (;;) {
    const keys = await keysAt(redis);
    if (keys.length === 0 || performance.now() > end) return keys;
    await delay(200);
  }
}

/** What would stay in Redis for ever, but for what BullMQ keeps of an empty queue. */
async function keysAt(redis: RedisServer): Promise<string[]> {
  const script = `local left = {}
    for _, key in ipairs(redis.call('KEYS', '*')) do
      if redis.call('PTTL', key) < 0 then table.insert(left, key) end
    end
    return left`;
  const keys = (await redis.ask('EVAL', script, '0')).split('\n').filter((key) => key !== '');
  return keys.filter(
    (key) => !/:(?:workers|filters|meta|events|marker|stalled-check|stalled|id|pc)$/.test(key),
  );
}
