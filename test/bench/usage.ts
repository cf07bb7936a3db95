/**
 * usage — what processes have used: CPU seconds and resident memory, as the kernel counts them (proc(5)).
 *
 * A process stands for itself and its living children (amavisd's and spamd's do the work); what children that are gone
 * had used is counted too. Linux only.
 */
import { readFileSync, writeFileSync } from 'node:fs';

/** Hundredths of a second: USER_HZ of every Linux that Node runs on. */
const ticksPerSecond = 100;

/** CPU seconds used so far by `pid` and all its descendants, those that were waited for included. */
export function cpuSecondsOf(pid: number): number {
  return family(pid).reduce((sum, one) => sum + ticksOf(one), 0) / ticksPerSecond;
}

/** CPU seconds used so far by the first thread of `pid`: for Node the one that runs the event loop. */
export function firstThreadSecondsOf(pid: number): number {
  return fieldsOf(readOf(pid, `task/${pid}/stat`), 11, 13) / ticksPerSecond;
}

/** Resident octets of `pid` and of each of its descendants: shared pages count in each. */
export function residentOf(pid: number): number[] {
  return family(pid).map((one) => 1024 * statusField(one, 'VmRSS'));
}

/** The most that was ever resident of `pid` alone since `resetPeak`. */
export function peakResidentOf(pid: number): number {
  return 1024 * statusField(pid, 'VmHWM');
}

/** Makes the peak the present value (proc(5), clear_refs). */
export function resetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

/** A process, its children, and theirs. */
function family(pid: number): number[] {
  const children = readOf(pid, `task/${pid}/children`).split(' ').filter(Boolean).map(Number);
  return [pid, ...children.flatMap(family)];
}

function ticksOf(pid: number): number {
  return fieldsOf(readOf(pid, 'stat'), 11, 15);
}

/** Sum of fields of a stat file. The name, in brackets, may hold spaces: they count from behind it (utime is the 14th of all). */
function fieldsOf(stat: string, from: number, to: number): number {
  const fields = stat.replace(/^.*\) /s, '').split(' ');
  return fields.slice(from, to).reduce((sum, ticks) => sum + Number(ticks), 0);
}

/** Empty for a process that is gone: its parent has waited for it, and counts what it used. */
function readOf(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1');
  } catch {
    return '';
  }
}

function statusField(pid: number, name: string): number {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readOf(pid, 'status'));
  return Number(found?.[1] ?? Number.NaN);
}
