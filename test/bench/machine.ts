/**
 * machine — what the figures were measured on, and whether it had other work at the same time.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, totalmem, release } from 'node:os';
import type { Circumstances } from './report.ts';
import { cpuSecondsOf } from './usage.ts';

const usualPackages = ['postfix', 'clamav-daemon', 'spamd', 'amavisd-new', 'clamsmtp'];

/** Processors, memory, kernel, and the versions of everything measured; one line each. */
export function describeMachine(packages: readonly string[] = usualPackages): string[] {
  const models = cpus();
  return [
    `${models.length} × ${models[0]?.model ?? 'unknown processor'}, ${Math.round(totalmem() / 2 ** 30)} GB of memory`,
    `Linux ${release()}, ${debian()}, Node ${process.versions.node}`,
    packages.flatMap(versionOf).join(', '),
  ];
}

/** Looks on from now; the function that it returns tells when that was, how long ago, and what others used meanwhile. */
export function watchMachine(): () => Pick<Circumstances, 'date' | 'minutes' | 'foreignShare'> {
  const start = Date.now();
  const before = machineCpu();
  const oursBefore = cpuSecondsOf(process.pid);
  return () => {
    const now = machineCpu();
    const ours = cpuSecondsOf(process.pid) - oursBefore;
    return {
      date: new Date(start).toISOString().slice(0, 10),
      minutes: (Date.now() - start) / 60_000,
      foreignShare: Math.max(0, now.busy - before.busy - ours) / (now.all - before.all),
    };
  };
}

/** CPU seconds that the whole machine has been busy so far, steal included, and those it could have been. */
function machineCpu(): { readonly busy: number; readonly all: number } {
  const [line = ''] = readFileSync('/proc/stat', 'latin1').split('\n', 1);
  // user nice system idle iowait irq softirq steal; guests are counted in user (proc(5)).
  const ticks = line.split(/ +/).slice(1, 9).map(Number);
  const all = ticks.reduce((sum, one) => sum + one, 0);
  const idle = (ticks[3] ?? 0) + (ticks[4] ?? 0);
  return { busy: (all - idle) / 100, all: all / 100 };
}

function debian(): string {
  return `Debian ${readFileSync('/etc/debian_version', 'utf8').trim()}`;
}

function versionOf(name: string): string[] {
  try {
    const version = execFileSync('dpkg-query', ['-W', '-f', '${Version}', name], { stdio: 'pipe' });
    return [`${name} ${String(version).replace(/^\d+:/, '')}`];
  } catch {
    return []; // Not installed, so not measured.
  }
}
