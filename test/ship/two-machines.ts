/**
 * two-machines — docs/deploy.md's "Two machines", set up from its own blocks: A with Redis and the filter, B with a worker, in
 * network namespaces with the addresses that stand there.
 *
 * Added to the blocks: where things lie, a limit of 1 MB for what goes through Redis, an administrator of Redis, clamd and
 * spamd by their sockets. smtp-sink stands for the return smtpd. Needs root.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startClamd } from '../../demo/clamd.ts';
import { type Daemon, startDaemon } from '../../demo/daemon.ts';
import { startSpamd } from '../../demo/spamd.ts';
import { top } from './debian.ts';
import { createNetwork, type Network } from './network.ts';

export type TwoMachines = {
  readonly folder: string;
  /** `a`, `b`, and `c`, where somebody else is. */
  readonly network: Network;
  /** The rules of the user that the blocks give Redis. */
  readonly rights: readonly string[];
  /** Runs a command of Sluice on A. */
  sluice(...words: readonly string[]): { code: number; stdout: string };
  /** Asks Redis on A, as its administrator or with other credentials. */
  redis(words: readonly string[], as?: readonly string[]): string;
  stop(): Promise<void>;
};

const script = join(top, 'bin', 'sluice.js');
const administrator = ['--user', 'admin', '--pass', 'geheim'];

/** Starts everything; the filter takes mail and the worker jobs when this resolves. */
export async function startTwoMachines(): Promise<TwoMachines> {
  await using started = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'sluice-two-'));
  started.defer(() => rmSync(folder, { recursive: true }));
  chmodSync(folder, 0o755);
  const network = started.adopt(
    createNetwork(folder, { a: ['192.0.2.1'], b: ['192.0.2.2'], c: ['192.0.2.3'] }),
    (made) => made.remove(),
  );
  const [a, b] = ['a', 'b'].map((host) => join(folder, host)) as [string, string];
  const blocks = writeMachines(a, b);
  const keep = (daemon: Daemon): Daemon => started.adopt(daemon, (one) => one.stop());
  const clamd = await startClamd({ folder: join(folder, 'clamd'), signatures: 'test' });
  keep(clamd);
  mkdirSync(join(folder, 'spamd'));
  const spamd = await startSpamd({ folder: join(folder, 'spamd') });
  keep(spamd);
  const start = async (host: string, name: string, command: string, isUp: () => boolean): Promise<void> => {
    const args = [`--net=${network.pathOf(host)}`, 'sh', '-c', `cd ${join(folder, host)} && exec ${command}`];
    const env = { ...process.env, ...environmentOf(join(folder, host), clamd.unix.path, spamd.unix.path) };
    const logFile = join(folder, `${name}.log`);
    keep(await startDaemon({ command: 'nsenter', args, logFile, env, isUp: async () => isUp() }));
  };
  const listens = (host: string, port: number) => () =>
    succeeds(() => network.run(host, 'bash', '-c', `exec 3<>/dev/tcp/127.0.0.1/${port}`));
  await start('a', 'redis', 'redis-server redis.conf', listens('a', 6379));
  await start('a', 'sink', 'smtp-sink -u nobody -R arrived -d m 127.0.0.1:10025 100', listens('a', 10_025));
  await start('b', 'worker', sluiceCommand('run worker --scanners virus,spam'), listens('b', 9026));
  await start('a', 'filter', sluiceCommand('run filter'), listens('a', 10_023));
  const owned = started.move();
  return {
    folder,
    network,
    rights: blocks.user.split(' ').filter((word) => /^[+-]/.test(word)),
    sluice(...words) {
      const env = { ...process.env, ...environmentOf(a, clamd.unix.path, spamd.unix.path) };
      const args = [`--net=${network.pathOf('a')}`, process.execPath, script, ...words];
      try {
        return { code: 0, stdout: execFileSync('nsenter', args, { encoding: 'utf8', env, cwd: a }) };
      } catch (cause) {
        const { status, stdout } = cause as { status: number; stdout: string };
        return { code: status, stdout };
      }
    },
    redis: (words, as = administrator) =>
      network.run(
        'a',
        'redis-cli',
        '--tls',
        '--cacert',
        join(a, 'redis-cert.pem'),
        '-h',
        '192.0.2.1',
        '-e',
        ...as,
        ...words,
      ),
    stop: () => owned.disposeAsync(),
  };
}

/** Writes what the chapter says for each machine; gives its blocks. */
function writeMachines(a: string, b: string): { user: string } {
  const text = readFileSync(join(top, 'docs', 'deploy.md'), 'utf8');
  const chapter = text.split('\n## Two machines')[1]?.split('\n## ')[0] ?? '';
  const blocks = (language: string): string[] =>
    [...chapter.matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\``, 'gm'))].map(
      ([, block]) => block ?? '',
    );
  const [filter = '', worker = ''] = blocks('yaml');
  const [certificate = 'exit 1'] = blocks('sh');
  const [redis = ''] = blocks('text');
  for (const folder of [a, b]) mkdirSync(folder);
  mkdirSync(join(a, 'arrived'));
  chmodSync(join(a, 'arrived'), 0o777);
  execFileSync('sh', ['-ec', certificate], { cwd: a, stdio: 'pipe' });
  cpSync(join(a, 'redis-cert.pem'), join(b, 'redis-cert.pem'));
  writeFileSync(
    join(a, 'redis.conf'),
    `${redis.replaceAll('/etc/redis/', '')}user admin on >geheim ~* &* +@all\n`,
  );
  writeFileSync(join(a, 'sluice.yaml'), filter.replace('  fetch:', '  messageBytesMax: 1MB\n  fetch:'));
  writeFileSync(join(b, 'sluice.yaml'), worker);
  return { user: /^user sluice .*$/m.exec(redis)?.[0] ?? '' };
}

function environmentOf(home: string, clamd: string, spamd: string): NodeJS.ProcessEnv {
  const scanners = { SLUICE_CLAMD: `unix:${clamd}`, SLUICE_SPAMD: `unix:${spamd}` };
  return {
    SLUICE_CONFIG: join(home, 'sluice.yaml'),
    SLUICE_STATE: join(home, 'state'),
    ...(home.endsWith('/b') ? scanners : {}),
  };
}

function sluiceCommand(words: string): string {
  return `${process.execPath} ${script} ${words}`;
}

function succeeds(attempt: () => unknown): boolean {
  try {
    attempt();
    return true;
  } catch {
    // Not yet.
    return false;
  }
}
