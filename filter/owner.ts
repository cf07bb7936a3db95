/**
 * owner — who holds something on disk: a process, named so that any other can tell whether it still lives.
 *
 * A process id alone is used again after a while, so the name carries the boot, the pid namespace and the start time
 * too (proc_pid_stat(5), field 22). Where that can't be judged, as from another container, the answer is `unknown`.
 */
import { readFileSync, readlinkSync } from 'node:fs';

/** An owner's name in files and rows: boot, pid namespace, pid, start time. */
export const ownerPattern = /[0-9a-f]{8}-\d+-\d+-\d+/;

let own: string | null = null;

/** This process's name. */
export function ownOwner(): string {
  own ??= `${bootAndNamespace()}-${process.pid}-${processOf(process.pid)?.startedAt ?? 0}`;
  return own;
}

/** Whether the process that once called itself `owner` still runs; a zombie does not. */
export function ownerState(owner: string): 'alive' | 'dead' | 'unknown' {
  const [boot, namespace, pid, startedAt] = owner.split('-');
  const [ownBoot, ownNamespace] = bootAndNamespace().split('-');
  if (boot !== ownBoot) return 'dead';
  if (namespace !== ownNamespace) return 'unknown';
  const found = processOf(Number(pid));
  return found !== null && found.startedAt === startedAt && found.runs ? 'alive' : 'dead';
}

function bootAndNamespace(): string {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'ascii').slice(0, 8);
  const namespace = /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '0';
  return `${boot}-${namespace}`;
}

function processOf(pid: number): { startedAt: string | undefined; runs: boolean } | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in parentheses may hold anything, blanks and parentheses too: what follows its end is regular.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { startedAt: fields[19], runs: fields[0] !== 'Z' && fields[0] !== 'X' };
  } catch {
    // No such process; proc(5) gives ENOENT, or ESRCH when it ends just now.
    return null;
  }
}
