/**
 * postfix-processes — finds and signals the living processes of a private Postfix.
 *
 * Hides proc(5). A process that ends while we look is no error: it is simply not there.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A living process; `service` is its name in master.cf, or `master`. */
export type Process = { readonly pid: number; readonly service: string; readonly command: string };

/** The living processes of the Postfix whose queue is folder/queue; also those that outlived their master. */
export async function processesOf(folder: string): Promise<Process[]> {
  // master leads a session of its own (master(8)); its id stays in the pid file after its death.
  const text = await readFile(join(folder, 'queue', 'pid', 'master.pid'), 'latin1').catch(() => '');
  const session = Number.parseInt(text, 10);
  if (Number.isNaN(session)) return [];
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(pids.map((pid) => processOf(pid, session)));
  return found.filter((each) => each !== null);
}

async function processOf(pid: number, session: number): Promise<Process | null> {
  try {
    const [, state, , , processSession] = fieldsOf(await readFile(`/proc/${pid}/stat`, 'latin1'));
    if (Number(processSession) !== session || state === 'Z') return null;
    const words = (await readFile(`/proc/${pid}/cmdline`, 'latin1')).split('\0');
    // master gives a service's name only where it differs from the command's.
    const name = words.includes('-n') ? words[words.indexOf('-n') + 1] : words[0];
    const service = pid === session ? 'master' : (name ?? '');
    return { pid, service, command: words.join(' ').trim() };
  } catch {
    return null; // It ended while we looked.
  }
}

/** Fields of proc(5) stat from the command name on: the name may hold blanks and parentheses. */
function fieldsOf(stat: string): readonly string[] {
  return ['', ...stat.slice(stat.lastIndexOf(')') + 2).split(' ')];
}

/** Milliseconds since a process began, to a hundredth of a second; 0 where it has ended. */
export async function ageMsOf({ pid }: Process): Promise<number> {
  const [stat, uptime] = await Promise.all([
    readFile(`/proc/${pid}/stat`, 'latin1').catch(() => ''),
    readFile('/proc/uptime', 'latin1'),
  ]);
  const startedTicks = Number(fieldsOf(stat)[20] ?? Number.NaN);
  return Number.isNaN(startedTicks) ? 0 : Number.parseFloat(uptime) * 1000 - startedTicks * 10;
}

/** Those of `processes` that have not ended since. */
export async function stillAlive(processes: readonly Process[]): Promise<Process[]> {
  const states = await Promise.all(
    processes.map(({ pid }) => readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '')),
  );
  return processes.filter((_, at) => !['', 'Z'].includes(fieldsOf(states[at] ?? '')[1] ?? ''));
}

/** False where the process had ended. */
export function sendSignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false; // It ended meanwhile.
  }
}
