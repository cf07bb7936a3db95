/**
 * machine — a throw-away machine for tests: processes, mounts, host name and loopback of its own.
 *
 * Hides namespaces(7) and overlayfs. Its files are those of this machine, with every change kept in memory, or those of a
 * folder that holds a whole system. Nothing in it reaches this machine's daemons, ports or configuration, and nothing of it
 * outlives the process that made it. Needs root.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export type MachineOptions = {
  readonly hostname: string;
  /** Folder with a whole system, which is changed; null: this machine's own files, which are not. */
  readonly system?: string | null;
  /** Folders of this machine that are seen in it: there to here. */
  readonly binds?: Readonly<Record<string, string>>;
};

export type Said = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

export type Machine = {
  /** Runs a script as root does in a shell that ends at the first failure. `network`: by this machine's network. */
  run(script: string, options?: { readonly network?: boolean }): Promise<Said>;
  /** The same; throws with what was said where the script fails. */
  must(script: string, options?: { readonly network?: boolean }): Promise<string>;
  /** Where this machine finds a file of that one. */
  readonly path: (file: string) => string;
  /** Resolves when something listens there, as a human who reads on would find it. */
  untilListens(place: { readonly port: number } | { readonly socket: string }): Promise<void>;
  /** Ends all its processes; what it changed is gone. */
  stop(): Promise<void>;
};

const environment = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
  LC_ALL: 'C.UTF-8',
  // What apt asks, it answers itself.
  DEBIAN_FRONTEND: 'noninteractive',
};
const scriptTimeoutMs = 900_000;
const startTimeoutMs = 60_000;

/** Makes one; scripts can run when this resolves. */
export async function createMachine(options: MachineOptions): Promise<Machine> {
  const folder = mkdtempSync('/tmp/sluice-machine-');
  const spaces = ['--mount', '--pid', '--net', '--uts', '--fork', '--kill-child'];
  const child = spawn('unshare', [...spaces, 'sh', '-ec', setup(folder, options)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const killIt = (): void => void child.kill('SIGKILL');
  process.once('exit', killIt);
  const stop = async (): Promise<void> => {
    process.off('exit', killIt);
    await end(child);
    rmSync(folder, { recursive: true, force: true });
  };
  const first = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
  if (!Buffer.isBuffer(first[0])) {
    await stop();
    throw new Error('Cannot make a machine: see above; it needs root, unshare(1) and overlayfs');
  }
  return machineOf(child, stop);
}

/** Process 1 ends when we do: it waits for the end of its input, and takes in whoever has lost his parent meanwhile. */
function setup(folder: string, { hostname, system = null, binds = {} }: MachineOptions): string {
  const root = join(folder, 'root');
  const overlay = `mkdir ${folder}/upper ${folder}/work
    mount -t overlay overlay -o lowerdir=/,upperdir=${folder}/upper,workdir=${folder}/work ${root}`;
  return `mount -t tmpfs -o mode=0755 sluice-machine ${folder}
    mkdir ${root}
    ${system === null ? overlay : `mount --bind '${system}' ${root}`}
    mount -t proc proc ${root}/proc
    mount --rbind /dev ${root}/dev
    mount -t tmpfs -o mode=1777 sluice-machine ${root}/tmp
    mount -t tmpfs -o mode=0755 sluice-machine ${root}/run
    ${Object.entries(binds)
      .map(([there, here]) => `mkdir -p '${root}${there}'; mount --bind '${here}' '${root}${there}'`)
      .join('\n')}
    ip link set lo up
    hostname ${hostname}
    exec chroot ${root} sh -c 'exec 3<&0; cat <&3 >/dev/null & echo ready; wait $!'`;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.stdin?.end();
  const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
  await gone;
  clearTimeout(timer);
}

function machineOf(child: ChildProcess, stop: () => Promise<void>): Machine {
  const pid = firstProcessOf(child);
  const run: Machine['run'] = async (script, { network = false } = {}) => {
    const spaces = ['--mount', '--pid', '--uts', ...(network ? [] : ['--net']), '--root', '--wd'];
    const command = ['--target', String(pid), ...spaces, 'sh', '-ec', script];
    return heard(
      spawn('nsenter', command, {
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: scriptTimeoutMs,
        env: environment,
      }),
    );
  };
  return {
    run,
    stop,
    async must(script, options) {
      const { code, stdout, stderr } = await run(script, options);
      if (code === 0) return stdout;
      throw new Error(`Cannot run ${script.trim()}: exit ${code}: ${stdout}${stderr}`);
    },
    path: (file) => join('/proc', String(pid), 'root', file),
    async untilListens(place) {
      const until = Date.now() + startTimeoutMs;
      while (!listens(pid, place)) {
        if (Date.now() > until) throw new Error(`Nothing listens on ${JSON.stringify(place)}`);
        await delay(50);
      }
    },
  };
}

/** unshare(1) itself stays in the old process namespace. */
function firstProcessOf({ pid }: ChildProcess): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim());
}

async function heard(child: ChildProcess): Promise<Said> {
  let [stdout, stderr] = ['', ''];
  child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

/** proc(5): state 0A of a TCP socket, flag 0x10000 of a unix socket. */
function listens(pid: number, place: { readonly port: number } | { readonly socket: string }): boolean {
  const read = (name: string) => readFileSync(`/proc/${pid}/net/${name}`, 'latin1').split('\n');
  if ('socket' in place)
    return read('unix').some((line) => line.endsWith(` ${place.socket}`) && / 00010000 /.test(line));
  const port = place.port.toString(16).toUpperCase().padStart(4, '0');
  return ['tcp', 'tcp6'].some((name) =>
    read(name).some((line) => new RegExp(`^ *\\d+: [0-9A-F]+:${port} [0-9A-F]+:0000 0A `).test(line)),
  );
}
