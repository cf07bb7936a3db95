/**
 * sluice — the filter under the bench: the process as it ships, between load and sink.
 *
 * Hides its configuration and how its event loop is looked at (loop-delay.js). All mail is delivered, whatever it
 * scores: the peers are set so too, and a message held is no message handed on. `slowFsync` puts 20 ms on every fsync.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort, startDaemon } from '../../demo/daemon.ts';
import { partNodeOptions } from '../../review/supervisor.ts';
import type { Contestant, LoopDelay } from './contestants.ts';
import { accepts, type Rig } from './rig.ts';

/** What differs between the Sluices of the bench. */
export type SluiceOptions = {
  readonly name: string;
  readonly spam: boolean;
  readonly slowFsync: boolean;
  /** Large messages in flight lie on disk, as by default, and not on the bench's tmpfs. */
  readonly diskSpool: boolean;
  /** Options for Node itself, as for a profile. */
  readonly nodeOptions: readonly string[];
};

const slowFsync =
  '-D -f --seccomp-bpf -qq -o /dev/null -e trace=fsync,fdatasync -e inject=fsync,fdatasync:delay_exit=20000';

/** Starts a filter process that is fed by LMTP, as docs/postfix.md recommends. */
export async function startSluice(rig: Rig, options: SluiceOptions): Promise<Contestant> {
  const folder = join(rig.folder, options.name);
  await mkdir(folder);
  const port = await freePort();
  const loopFile = join(folder, 'loop.json');
  const config = join(folder, 'sluice.yaml');
  await writeFile(config, configText(rig, options, folder, port));
  await writeFile(join(folder, 'policies.yaml'), 'default: { thresholds: { quarantine: null } }\n');
  const node = [
    process.execPath,
    // As `sluice run` starts its parts.
    ...partNodeOptions,
    ...options.nodeOptions,
    join(rig.packageFolder, 'bin', 'sluice.js'),
    'run',
    'filter',
    `--config=${config}`,
  ];
  const [command = '', ...args] = options.slowFsync
    ? ['/usr/bin/strace', ...slowFsync.split(' '), ...node]
    : node;
  const hook = new URL('loop-delay.js', import.meta.url).href;
  const daemon = await startDaemon({
    command,
    args,
    logFile: join(folder, 'sluice.log'),
    isUp: () => accepts(port),
    env: { ...process.env, NODE_OPTIONS: `--import=${hook}`, BENCH_LOOP_FILE: loopFile },
  });
  return {
    name: options.name,
    target: { kind: 'lmtp', port },
    pid: daemon.pid,
    logFile: daemon.logFile,
    loopDelay: async () => {
      await rm(loopFile, { force: true });
      daemon.kill('SIGUSR2');
      return readSoon(loopFile);
    },
    stop: () => daemon.stop(),
  };
}

function configText(rig: Rig, options: SluiceOptions, folder: string, port: number): string {
  return [
    `listen: { smtp: null, lmtp: "127.0.0.1:${port}" }`,
    `reinject: "127.0.0.1:${rig.sinkPort}"`,
    `scan: { virus: true, spam: ${options.spam} }`,
    `clamd: "unix:${rig.clamd.unix.path}"`,
    `spamd: "unix:${rig.spamd.unix.path}"`,
    `state: "${join(folder, 'state')}"`,
    ...(options.diskSpool ? [] : [`spool: "${join(rig.temporary.folder, options.name)}"`]),
    'health: { filter: null, worker: null, review: null }',
    '',
  ].join('\n');
}

async function readSoon(file: string): Promise<LoopDelay> {
  for (let tries = 0; tries < 1000; tries++) {
    try {
      return JSON.parse(await readFile(file, 'utf8')) as LoopDelay;
    } catch {
      // Not written yet.
      await delay(10);
    }
  }
  throw new Error(`Cannot read ${file}: the filter did not answer SIGUSR2`);
}
