/**
 * jail — runs a program as a container engine or systemd would: another root that it can't write to, an ordinary user, no
 * capabilities, no new privileges, and where asked only the system calls of a unit.
 *
 * Hides crun (Debian's package) and its configuration. Unless told otherwise the network is this machine's, so that
 * 127.0.0.1 is shared with the test. Needs root.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Daemon, startDaemon } from '../../demo/daemon.ts';

export type Jail = {
  /** A folder for configuration and log of the jail itself. */
  readonly folder: string;
  readonly root: string;
  readonly user: number;
  /** Default: the user's number. */
  readonly group?: number;
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Folders that it may write to: path inside → path outside. */
  readonly writable?: Readonly<Record<string, string>>;
  /** Path inside → file outside, read-only. */
  readonly readable?: Readonly<Record<string, string>>;
  /** The only system calls and socket families that it may use; all else is EPERM. Default: any. */
  readonly allowed?: Allowed;
  /** Names like CAP_CHOWN; default none. */
  readonly capabilities?: readonly string[];
  /** A network namespace by its path; default this machine's network. */
  readonly network?: string;
  /** Whether it may write to its root, default no. */
  readonly rootWritable?: boolean;
  readonly isUp: (inside: Exec) => Promise<boolean>;
};

/** Runs a command inside, as `docker exec` and HEALTHCHECK do; null where it could not be run to its end. */
export type Exec = (...command: readonly string[]) => { code: number | null; stdout: string; stderr: string };

export type Jailed = Daemon & { readonly exec: Exec };

export type Allowed = { readonly calls: readonly string[]; readonly families: readonly number[] };

/** crun 1.8 gives up where cgroup v1 and v2 are mixed, though told to leave cgroups alone: for it they are not mixed. */
const script =
  '[ ! -d /sys/fs/cgroup/unified ] || mount -t tmpfs none /sys/fs/cgroup/unified; exec crun "$@"';

/** Starts it; resolves when `isUp`. SIGTERM reaches the program. */
export async function startJail(jail: Jail): Promise<Jailed> {
  const bundle = join(jail.folder, `jail-${process.hrtime.bigint()}`);
  mkdirSync(bundle);
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(configOf(jail)));
  const name = `sluice-${process.pid}-${process.hrtime.bigint()}`;
  const crun = (...words: readonly string[]): readonly string[] => {
    const common = ['--root', join(bundle, 'run'), '--cgroup-manager=disabled'];
    return ['--mount', 'sh', '-c', script, 'sh', ...common, ...words];
  };
  const exec: Exec = (...command) => {
    const as = `--user=${jail.user}:${jail.group ?? jail.user}`;
    const { status, stdout, stderr } = spawnSync('unshare', crun('exec', as, name, ...command), {
      encoding: 'utf8',
    });
    return { code: status, stdout, stderr };
  };
  const daemon = await startDaemon({
    command: 'unshare',
    args: crun('run', '--bundle', bundle, name),
    logFile: join(bundle, 'log'),
    isUp: () => jail.isUp(exec),
  });
  return { ...daemon, exec };
}

function configOf(jail: Jail): object {
  const { root, user, command, env = {}, writable = {}, readable = {}, allowed } = jail;
  const own = jail.capabilities ?? [];
  const network = jail.network === undefined ? [] : [{ type: 'network', path: jail.network }];
  const variables = { PATH: '/usr/local/bin:/usr/bin:/bin', ...env };
  const bind = (entries: object, mode: string) =>
    Object.entries(entries).map(([destination, source]: [string, string]) => ({
      destination,
      source,
      type: 'bind',
      options: ['bind', mode, 'nosuid', 'nodev'],
    }));
  return {
    ociVersion: '1.0.2',
    root: { path: root, readonly: jail.rootWritable !== true },
    process: {
      user: { uid: user, gid: jail.group ?? user, umask: user === 0 ? 0o022 : 0o077 },
      args: command,
      cwd: '/',
      env: Object.entries(variables).map(([name, value]) => `${name}=${value}`),
      capabilities: { bounding: own, effective: own, permitted: own, inheritable: [], ambient: [] },
      noNewPrivileges: true,
    },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      { destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'nodev', 'mode=1777'] },
      ...bind(writable, 'rw'),
      ...bind(readable, 'ro'),
    ],
    linux: {
      namespaces: [{ type: 'mount' }, { type: 'pid' }, { type: 'ipc' }, ...network],
      ...(allowed === undefined ? {} : { seccomp: seccompOf(allowed) }),
    },
  };
}

/** An allow list, as SystemCallFilter= with SystemCallErrorNumber=EPERM and RestrictAddressFamilies= make it. */
function seccompOf({ calls, families }: Allowed): object {
  const names = calls.filter((name) => name !== 'socket');
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: 1,
    architectures: [process.arch === 'arm64' ? 'SCMP_ARCH_AARCH64' : 'SCMP_ARCH_X86_64'],
    syscalls: [
      { names, action: 'SCMP_ACT_ALLOW' },
      ...families.map((value) => ({
        names: ['socket'],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 0, value, op: 'SCMP_CMP_EQ' }],
      })),
    ],
  };
}
