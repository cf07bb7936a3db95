/**
 * sluice — the filter under the bench: the process as it ships, between load and sink.
 *
 * Hides its configuration and how its event loop is looked at (loop-delay.js). All mail is delivered, whatever it
 * scores: the peers are set so too, and a message held is no message handed on. `slowFsync` puts 20 ms on every fsync.
 */
import { mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort, startDaemon } from '../../demo/daemon.ts';
import { partEnvironment, partNodeOptions } from '../../review/supervisor.ts';
import type { Contestant, LoopDelay } from './contestants.ts';
import { accepts, type Rig } from './rig.ts';
import { runLoad } from './run.ts';

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

/**
 * Filtered before anything counts: V8 compiles what runs often, and at ten messages a second a bench would be over before
 * it has; a filter that has run for a day has that behind it.
 */
const warmUps = [
  { sessions: 16, messages: 3000, sizeBytes: 5 * 1024 },
  { sessions: 4, messages: 300, sizeBytes: 275 * 1024 },
] as const;

/** Starts a filter process that is fed by LMTP, as docs/postfix.md recommends, and warms it up. */
export async function startSluice(rig: Rig, options: SluiceOptions): Promise<Contestant> {
  const folder = join(rig.folder, options.name);
  await mkdir(folder);
  const port = await freePort();
  const loopFile = join(folder, 'loop.json');
  const config = join(folder, 'sluice.yaml');
  const spamd = join(folder, 'spamd.socket');
  await symlink(rig.quickSpamd, spamd);
  await writeFile(config, configText(rig, options, folder, { port, spamd }));
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
    env: { ...partEnvironment, ...process.env, NODE_OPTIONS: `--import=${hook}`, BENCH_LOOP_FILE: loopFile },
  });
  const target = { kind: 'lmtp', port } as const;
  for (const load of rig.isSmoke ? [] : warmUps)
    await runLoad({ ...load, target, reuse: true, seed: `warm${load.sizeBytes}${options.name}` });
  await symlink(rig.spamd.unix.path, `${spamd}.new`);
  await rename(`${spamd}.new`, spamd);
  return {
    name: options.name,
    target,
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

function configText(
  rig: Rig,
  options: SluiceOptions,
  folder: string,
  { port, spamd }: { port: number; spamd: string },
): string {
  return [
    `listen: { smtp: null, lmtp: "127.0.0.1:${port}" }`,
    `reinject: "127.0.0.1:${rig.sinkPort}"`,
    `scan: { virus: true, spam: ${options.spam} }`,
    `clamd: "unix:${rig.clamd.unix.path}"`,
    `spamd: "unix:${spamd}"`,
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
