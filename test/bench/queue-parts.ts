/**
 * queue-parts — the three measurements of the queue's bench: the door alone, whole filters, and slots that are slow.
 *
 * Each takes a rig and gives figures, no text. Both ways, over Redis and in process, are measured in turn. Rejects where a message
 * got no verdict: a figure of failed scans is none.
 */
import type { Daemon } from '../../demo/daemon.ts';
import type { LoadOrder } from './load.ts';
import { percentile } from './figures.ts';
import type { Door, Filter, QueueRig, Way } from './queue-rig.ts';
import type { FakeScanners } from './rig.ts';
import { runLoad } from './run.ts';
import { cpuSecondsOf, firstThreadSecondsOf } from './usage.ts';

/** `messages`: of a round under load; `alone`: of a round one at a time; `perSlot`: of the scaling, for each slot. */
export type Size = {
  readonly rounds: number;
  readonly messages: number;
  readonly alone: number;
  readonly perSlot: number;
};

/** Round by round; latencies in milliseconds, of messages one at a time. */
export type Rates = { readonly perSecond: number[]; readonly p50: number[]; readonly p99: number[] };
export type Both<T> = Readonly<Record<Way, T>>;

/** CPU milliseconds of one message, by process. */
export type Costs = Readonly<Record<string, number>>;

export type DoorFigures = { readonly rates: Both<Rates> };

export type FilterFigures = {
  readonly rates: Both<Rates>;
  readonly costs: Both<Costs>;
  readonly sessions: number;
  /** Octets that Redis used: before, at most during the load, and once the last message was gone. */
  readonly memory: { readonly before: number; readonly most: number; readonly after: number };
};

/** Messages a second by slots of one worker, round by round. */
export type ScalingFigures = ReadonlyMap<number, readonly number[]>;

const ways: readonly Way[] = ['over Redis', 'in process'];
/** limits.inFlight: what a filter has in flight at most. */
const atOnce = 100;
const sizeBytes = 5 * 1024;
const slots = 32;
const scalingRounds = 3;
/** Messages one at a time before it is the other way's turn. */
const turn = 50;
const octets = Buffer.from(`From: a@example.com\r\nSubject: x\r\n\r\n${'word '.repeat(1010)}\r\n`);

/** What the pipeline calls: a message is put into the spool, scanned, and taken out again. Scanners answer at once. */
export async function measureDoor(rig: QueueRig, size: Size): Promise<DoorFigures> {
  await using own = new AsyncDisposableStack();
  const { scanners } = await startOneWorker(rig, own);
  const doors = await both(async (way) =>
    own.adopt(await rig.openDoor(scanners, way), (door) => door.close()),
  );
  const rates = noRates();
  for (const way of ways) await passThrough(doors[way], size.messages / 4, atOnce);
  for (let round = 0; round < size.rounds; round++) {
    for (const way of ways) {
      const { perSecond } = await passThrough(doors[way], size.messages, atOnce);
      rates[way].perSecond.push(perSecond);
    }
    noteLatencies(rates, await inTurn(size.alone, (way, count) => passThrough(doors[way], count, 1)));
  }
  return { rates };
}

/** Whole filters: LMTP in, scan, ledger and history, SMTP out. Scanners answer at once. */
export async function measureFilter(rig: QueueRig, size: Size): Promise<FilterFigures> {
  await using own = new AsyncDisposableStack();
  const { scanners, worker } = await startOneWorker(rig, own);
  const filters = await both(async (way) =>
    own.adopt(await rig.startFilter(scanners, way), ({ daemon }) => daemon.stop()),
  );
  const rates = noRates();
  const spent = { 'over Redis': new Map<string, number>(), 'in process': new Map<string, number>() };
  const before = await usedMemory(rig);
  let most = 0;
  for (const way of ways) await send(filters[way], size.messages / 4, atOnce);
  for (let round = 0; round < size.rounds; round++) {
    for (const way of ways) {
      const watch = watchMemory(rig);
      const start = spentBy(rig, filters[way], worker, scanners);
      const { seconds, cpuSeconds } = await send(filters[way], size.messages, atOnce);
      const end = spentBy(rig, filters[way], worker, scanners);
      most = Math.max(most, await watch.end());
      for (const [name, used] of Object.entries({ ...end, 'load (the bench)': cpuSeconds }))
        spent[way].set(name, (spent[way].get(name) ?? 0) + used - (start[name] ?? 0));
      rates[way].perSecond.push(size.messages / seconds);
    }
    noteLatencies(rates, await inTurn(size.alone, (way, count) => send(filters[way], count, 1)));
  }
  const after = await usedMemory(rig);
  const each = (way: Way): Costs =>
    Object.fromEntries(
      [...spent[way]].map(([name, used]) => [name, (used * 1000) / (size.rounds * size.messages)]),
    );
  const costs = { 'over Redis': each('over Redis'), 'in process': each('in process') };
  return { rates, costs, sessions: atOnce, memory: { before, most, after } };
}

/** Scanners that take 100 ms: how the rate grows with the slots of one worker. */
export async function measureScaling(rig: QueueRig, size: Size): Promise<ScalingFigures> {
  await using own = new AsyncDisposableStack();
  const scanners = own.adopt(await rig.startScanners(100), (one) => one.stop());
  const rates = new Map<number, number[]>();
  for (const count of Array.from({ length: scalingRounds }, () => [1, 2, 4, 8, 16]).flat()) {
    const worker = await rig.startWorker(scanners, count);
    const door = await rig.openDoor(scanners, 'over Redis');
    // A worker that is new compiles for seconds, and slots that began together end together: neither lasts.
    const [warmUp, measured] = [count * size.perSlot, count * size.perSlot];
    const together = count * 4;
    const { endsAtMs } = await passThrough(door, warmUp + measured + together, together);
    rates.set(count, [...(rates.get(count) ?? []), rateOf(endsAtMs.slice(warmUp, warmUp + measured))]);
    await door.close();
    await worker.stop();
  }
  return rates;
}

async function startOneWorker(
  rig: QueueRig,
  own: AsyncDisposableStack,
): Promise<{ scanners: FakeScanners; worker: Daemon }> {
  const scanners = own.adopt(await rig.startScanners(0), (one) => one.stop());
  const worker = own.adopt(await rig.startWorker(scanners, slots), (one) => one.stop());
  return { scanners, worker };
}

async function both<T>(make: (way: Way) => Promise<T>): Promise<Both<T>> {
  return { 'over Redis': await make('over Redis'), 'in process': await make('in process') };
}

function noRates(): Both<Rates> {
  const none = (): Rates => ({ perSecond: [], p50: [], p99: [] });
  return { 'over Redis': none(), 'in process': none() };
}

/** Both ways in short turns, so that a machine that is slow for a second is slow for both. */
async function inTurn(
  count: number,
  pass: (way: Way, count: number) => Promise<{ latenciesMs: readonly number[] }>,
): Promise<Both<number[]>> {
  const latenciesMs: Both<number[]> = { 'over Redis': [], 'in process': [] };
  for (let done = 0; done < count; done += turn)
    for (const way of ways) latenciesMs[way].push(...(await pass(way, turn)).latenciesMs);
  return latenciesMs;
}

function noteLatencies(rates: Both<Rates>, latenciesMs: Both<number[]>): void {
  for (const way of ways) {
    rates[way].p50.push(percentile(latenciesMs[way], 50));
    rates[way].p99.push(percentile(latenciesMs[way], 99));
  }
}

async function passThrough({ spool, queue }: Door, count: number, together: number) {
  const latenciesMs: number[] = [];
  const endsAtMs: number[] = [];
  let next = 0;
  const { signal } = new AbortController();
  const one = async (): Promise<void> => {
    while (next++ < count) {
      const start = performance.now();
      const writer = spool.open();
      await writer.write(octets);
      const message = await writer.finish();
      const { spoolId, sha256 } = message;
      const sender = `sender${next % 50}@example.com`;
      const about = { queueId: '4c7Yx1', sender, virusAsSpam: [] };
      const report = await queue.scan({ spoolId, sizeBytes: message.sizeBytes, sha256, ...about }, signal);
      if (report.virus.kind !== 'clean' || report.spam.kind !== 'scored')
        throw new Error(`Cannot measure: ${JSON.stringify(report)}`);
      await message.remove();
      endsAtMs.push(performance.now());
      latenciesMs.push(performance.now() - start);
    }
  };
  const start = performance.now();
  await Promise.all(Array.from({ length: together }, one));
  return { latenciesMs, endsAtMs, perSecond: (count * 1000) / (performance.now() - start) };
}

/** A second, between the first end and the last. */
function rateOf(endsAtMs: readonly number[]): number {
  const [first = Number.NaN, last = Number.NaN] = [endsAtMs[0], endsAtMs.at(-1)];
  return ((endsAtMs.length - 1) * 1000) / (last - first);
}

/** A seed that no run ever had: a filter's ledger remembers. */
let seeds = 0;

function send({ port }: Filter, messages: number, sessions: number) {
  const seed = `q${process.pid}n${seeds++}`;
  const target = { kind: 'lmtp', port } as const;
  const order: LoadOrder = { target, sessions, messages, sizeBytes, seed, reuse: true };
  return runLoad(order);
}

function spentBy(
  rig: QueueRig,
  { daemon }: Filter,
  worker: Daemon,
  scanners: FakeScanners,
): Record<string, number> {
  return {
    filter: cpuSecondsOf(daemon.pid),
    'its first thread': firstThreadSecondsOf(daemon.pid),
    worker: cpuSecondsOf(worker.pid),
    Redis: cpuSecondsOf(rig.redis.pid()),
    'scanners (fakes)': cpuSecondsOf(scanners.pid),
    sink: cpuSecondsOf(rig.sinkPid),
  };
}

async function usedMemory({ redis }: QueueRig): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await redis.ask('INFO', 'memory'))?.[1] ?? Number.NaN);
}

/** Looks again and again until it is told to end; gives the most that was seen. */
function watchMemory(rig: QueueRig): { end(): Promise<number> } {
  let most = 0;
  let ending = false;
  const looking = (async () => {
    while (!ending) {
      most = Math.max(most, await usedMemory(rig));
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  })();
  return {
    async end() {
      ending = true;
      await looking;
      return most;
    },
  };
}
