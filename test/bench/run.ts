/**
 * run — one run: one contestant under one load, and everything that is measured of it.
 *
 * Hides the load's own process, and what is read before and after. Rejects where a message was not answered 250.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Contestant, ContestantName, LoopDelay } from './contestants.ts';
import { percentile } from './figures.ts';
import type { LoadOrder, LoadResult } from './load.ts';
import type { Rig } from './rig.ts';
import { cpuSecondsOf, peakResidentOf, residentOf, resetPeak } from './usage.ts';

/** What a contestant is put under. `source`: Postfix's smtp-source sends, which tells no latencies and no queue id. */
export type Load = Omit<LoadOrder, 'target' | 'seed'> & { readonly source?: true };

/** What was measured. Latencies and stalls in milliseconds, CPU milliseconds per message, memory in octets. */
export type Run = {
  readonly contestant: ContestantName;
  readonly perSecond: number;
  readonly latenciesMs: readonly number[];
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  /** Of the filter alone; null where there is none. */
  readonly filterCpuMs: number | null;
  readonly scannersCpuMs: number;
  /** Of each process of the filter, at the end. */
  readonly resident: readonly number[];
  /** The most that the filter's first process ever had. */
  readonly peakResident: number | null;
  readonly loop: LoopDelay | null;
};

/** A seed that no run ever had: scanners remember. */
let seeds = 0;

/** Puts `contestant` under `load`. */
export async function runOnce(
  rig: Rig,
  name: ContestantName,
  contestant: Contestant,
  load: Load,
): Promise<Run> {
  const { pid, target } = contestant;
  await contestant.loopDelay?.();
  if (pid !== null) resetPeak(pid);
  const scannersCpu = () => cpuSecondsOf(rig.clamd.pid) + cpuSecondsOf(rig.spamd.pid);
  const filterCpu = () => (pid === null ? 0 : cpuSecondsOf(pid));
  const before = [filterCpu(), scannersCpu()] as const;
  const seed = `r${process.pid}n${seeds++}`;
  const { latenciesMs, seconds } =
    load.source === true ? await runSource(contestant, load) : await runLoad({ ...load, target, seed });
  const perMessageMs = (used: number) => (used * 1000) / load.messages;
  return {
    contestant: name,
    perSecond: load.messages / seconds,
    latenciesMs,
    p50: percentile(latenciesMs, 50),
    p95: percentile(latenciesMs, 95),
    p99: percentile(latenciesMs, 99),
    filterCpuMs: pid === null ? null : perMessageMs(filterCpu() - before[0]),
    scannersCpuMs: perMessageMs(scannersCpu() - before[1]),
    resident: pid === null ? [] : residentOf(pid),
    peakResident: pid === null ? null : peakResidentOf(pid),
    loop: (await contestant.loopDelay?.()) ?? null,
  };
}

/** Load alone, in a process of its own. Rejects where a message was not answered 250. */
export async function runLoad(order: LoadOrder): Promise<LoadResult> {
  const script = join(import.meta.dirname, 'load.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [script, JSON.stringify(order)], {
    maxBuffer: 64 * 1024 * 1024,
  });
  return JSON.parse(stdout) as LoadResult;
}

/** smtp-source(1): HELO, no pipelining, each message a counter and X's; with `reuse`, -d, connections are kept. */
async function runSource({ target }: Contestant, load: Load): Promise<LoadResult> {
  if (target.kind === 'scanners') throw new Error('Cannot run smtp-source: the scanners speak no SMTP');
  const { sessions, messages, sizeBytes } = load;
  const what = `-s ${sessions} -m ${messages} -l ${sizeBytes} -f sender@example.org -t recipient@example.com`;
  const how = [...(target.kind === 'lmtp' ? ['-L'] : []), ...(load.reuse === true ? ['-d'] : [])];
  const args = [...how, ...what.split(' '), `127.0.0.1:${target.port}`];
  const start = performance.now();
  await promisify(execFile)('/usr/sbin/smtp-source', args);
  return { seconds: (performance.now() - start) / 1000, latenciesMs: [], cpuSeconds: 0 };
}
