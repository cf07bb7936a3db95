/**
 * compose-site — what `docker compose up` would start, without Docker: each service of compose.yaml from its image, in
 * networks of its own, with its command, volumes, rights and addresses.
 *
 * Hides the images, the volumes (folders) and the stand-in for the one image that is pulled: this machine's redis-server,
 * with compose.yaml's command. A service is up when its healthcheck, run inside, says so. Needs root.
 */
import { chownSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Daemon, startDaemon } from '../../demo/daemon.ts';
import { addressOf, dockerfileOf, mountsOf, networksOf, serviceOf } from './compose-file.ts';
import { top } from './debian.ts';
import { type BuiltImage, openWorkshop } from './image.ts';
import { type Exec, startJail } from './jail.ts';
import { createNetwork, type Network } from './network.ts';

export type ComposeSite = {
  readonly folder: string;
  readonly network: Network;
  /** The folder that stands for a named volume, made when first asked for. */
  volume(name: string): string;
  /** Starts a service under a host's name (default: its own); gives what runs commands inside. */
  start(service: string, more?: More): Promise<Exec>;
  /** The ends of all logs. */
  logs(): string;
  stop(): Promise<void>;
};

export type More = {
  readonly host?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Folders besides its volumes: path inside → path outside. */
  readonly writable?: Readonly<Record<string, string>>;
};

/** Hosts, each with the last number of its address; workers are compose.yaml's replicas. */
const numbers = { clamav: 20, spamassassin: 21, redis: 30, 'worker-1': 31, 'worker-2': 32 };
const prefixes: Readonly<Record<string, string>> = { mail: '10.77.0', scan: '10.77.1', queue: '10.77.2' };
const path = '/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Who an image without USER gives its volumes to: whoever reads them. */
const anybody = 10_001;

/** Prepares networks and images' stand-ins; nothing runs yet. `client` is a host beside Postfix. */
export function openComposeSite(): ComposeSite {
  const workshop = openWorkshop();
  const folder = mkdtempSync(join(tmpdir(), 'sluice-compose-'));
  const network = createNetwork(folder, addresses());
  const images = new Map<string, BuiltImage>();
  const daemons: Daemon[] = [];

  function imageOf(dockerfile: string): BuiltImage {
    const image = images.get(dockerfile) ?? workshop.build(dockerfile);
    images.set(dockerfile, image);
    return image;
  }
  function volume(name: string): string {
    const outside = join(folder, name);
    mkdirSync(outside, { mode: 0o755, recursive: true });
    return outside;
  }
  const settings = { folder, network, imageOf, volume };
  return {
    folder,
    network,
    volume,
    async start(service, more = {}) {
      const started =
        dockerfileOf(service) === null
          ? await startPulled(service, settings)
          : await startBuilt(service, more, settings);
      daemons.push(started.daemon);
      return started.exec;
    },
    logs: () =>
      globSync('{jail-*/log,*.log}', { cwd: folder })
        .map((log) => `${log}:\n${readFileSync(join(folder, log), 'utf8').slice(-2000)}`)
        .join('\n---\n'),
    async stop() {
      for (const daemon of daemons.toReversed()) await daemon.stop();
      network.remove();
      for (const image of images.values()) image.remove();
      workshop.close();
      rmSync(folder, { recursive: true });
    },
  };
}

type Settings = Pick<ComposeSite, 'folder' | 'network' | 'volume'> & {
  readonly imageOf: (dockerfile: string) => BuiltImage;
};

function addresses(): Record<string, readonly string[]> {
  const fixed = ['postfix', 'filter'].map((name): [string, string[]] => [name, addressesOf(name, '10')]);
  const others = Object.entries(numbers).map(([host, number]): [string, string[]] => [
    host,
    addressesOf(host.replace(/-\d$/, ''), String(number)),
  ]);
  return { ...Object.fromEntries([...fixed, ...others]), client: [`${prefixes['mail']}.100`] };
}

/** One in each network that a service is in: the one that is fixed there, or one with this number. */
function addressesOf(service: string, number: string): string[] {
  return [...networksOf(service)].map(([network, fixed]) => fixed ?? `${prefixes[network]}.${number}`);
}

type Started = { readonly daemon: Daemon; readonly exec: Exec };

async function startBuilt(service: string, more: More, settings: Settings): Promise<Started> {
  const { folder, network, imageOf, volume } = settings;
  const { command = [], environment, cap_add = [], read_only } = serviceOf(service);
  const { root, config } = imageOf(dockerfileOf(service) ?? '');
  const image = config as {
    Entrypoint: string[];
    User?: string;
    Env?: string[];
    Healthcheck: { Test: string[] };
  };
  const [user, group] = idsOf(root, image.User ?? '');
  const mounts = mountsOf(service).map((mount) => ({
    ...mount,
    source: mount.source.startsWith('./') ? join(top, mount.source) : volume(mount.source),
  }));
  const mounted = (readOnly: boolean) =>
    Object.fromEntries(
      mounts.filter((mount) => mount.readOnly === readOnly).map(({ target, source }) => [target, source]),
    );
  const writable = { ...mounted(false), ...more.writable };
  for (const outside of Object.values(writable)) chownSync(outside, user === 0 ? anybody : user, group);
  const [, ...health] = image.Healthcheck.Test;
  const daemon = await startJail({
    folder,
    root,
    user,
    group,
    command: [...image.Entrypoint, ...command],
    env: { PATH: path, ...variablesOf(image.Env ?? []), ...environment, ...more.env },
    readable: { '/etc/hosts': network.hostsFile, ...mounted(true) },
    writable,
    capabilities: cap_add.map((name) => `CAP_${name}`),
    rootWritable: read_only !== true,
    network: network.pathOf(more.host ?? service),
    isUp: async (inside) => inside(...health).code === 0,
  });
  return { daemon, exec: daemon.exec };
}

/** This machine's program in place of the image's, in the service's network, as its user. */
async function startPulled(service: string, { folder, network }: Settings): Promise<Started> {
  const { command = [], user = '', healthcheck } = serviceOf(service);
  const [, ...check] = healthcheck?.test ?? [];
  const exec: Exec = (...words) => {
    try {
      return { code: 0, stdout: network.run(service, words[0] ?? '', ...words.slice(1)), stderr: '' };
    } catch (cause) {
      return { code: 1, stdout: '', stderr: String(cause) };
    }
  };
  const within = [`--net=${network.pathOf(service)}`, 'setpriv', '--no-new-privs', '--bounding-set=-all'];
  const daemon = await startDaemon({
    command: 'nsenter',
    args: [...within, `--reuid=${user}`, `--regid=${user}`, '--clear-groups', ...command],
    logFile: join(folder, `${service}.log`),
    isUp: async () => exec('sh', '-c', ...check).code === 0,
  });
  return { daemon, exec };
}

/** User and group that an image's USER names. */
function idsOf(root: string, user: string): [number, number] {
  if (user === '') return [0, 0];
  const [name = '', group] = user.split(':');
  if (group !== undefined) return [Number(name), Number(group)];
  const entry = readFileSync(join(root, 'etc/passwd'), 'utf8')
    .split('\n')
    .find((line) => line.startsWith(`${name}:`))
    ?.split(':');
  return [Number(entry?.[2]), Number(entry?.[3])];
}

function variablesOf(lines: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
}

/** Where Postfix of the site takes mail: host and port. */
export const smtpAddress = `${addressOf('postfix')}:25`;
