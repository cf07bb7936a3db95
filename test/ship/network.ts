/**
 * network — private networks of named hosts, as compose.yaml's: a namespace for each host, a bridge for each network.
 *
 * A host is in the networks that its addresses are in, and reaches nobody else: no routes lead out, nothing of it is
 * connected with this machine's network. Needs root and ip(8).
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

export type Network = {
  /** Path of a host's namespace. */
  readonly pathOf: (host: string) => string;
  /** A hosts(5) file that names them all. */
  readonly hostsFile: string;
  /** Runs a command in a host's network; gives its output, throws where it fails. */
  readonly run: (host: string, command: string, ...args: readonly string[]) => string;
  readonly remove: () => void;
};

/** Makes hosts with these IPv4 addresses; each /24 is a network. */
export function createNetwork(
  folder: string,
  addresses: Readonly<Record<string, readonly string[]>>,
): Network {
  const nameOf = (host: string) => `sluice-${process.pid}-${host}`;
  const hub = nameOf('hub');
  const made: string[] = [];
  const add = (name: string) => {
    ip('netns', 'add', name);
    made.push(name);
    ip('-n', name, 'link', 'set', 'lo', 'up');
  };
  add(hub);
  const bridges = createBridges(hub);
  for (const [host, own] of Object.entries(addresses)) {
    add(nameOf(host));
    for (const [at, address] of own.entries()) bridges.plug(nameOf(host), `eth${at}`, address);
  }
  return {
    pathOf: (host) => `/run/netns/${nameOf(host)}`,
    hostsFile: writeHosts(folder, addresses),
    run: (host, ...command) =>
      execFileSync('ip', ['netns', 'exec', nameOf(host), ...command], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    remove: () => {
      for (const name of made) ip('netns', 'delete', name);
    },
  };
}

/** Bridges in the namespace `hub`, one for each /24, made when first needed. */
function createBridges(hub: string) {
  const bridges = new Map<string, string>();
  let plugs = 0;
  const bridgeOf = (address: string): string => {
    const network = address.slice(0, address.lastIndexOf('.'));
    const known = bridges.get(network);
    if (known !== undefined) return known;
    const bridge = `bridge${bridges.size}`;
    ip('-n', hub, 'link', 'add', bridge, 'type', 'bridge');
    ip('-n', hub, 'link', 'set', bridge, 'up');
    bridges.set(network, bridge);
    return bridge;
  };
  return {
    plug(namespace: string, device: string, address: string): void {
      const end = `to${plugs++}`;
      ip('-n', hub, 'link', 'add', end, 'type', 'veth', 'peer', 'name', device, 'netns', namespace);
      ip('-n', hub, 'link', 'set', end, 'master', bridgeOf(address), 'up');
      ip('-n', namespace, 'address', 'add', `${address}/24`, 'dev', device);
      ip('-n', namespace, 'link', 'set', device, 'up');
    },
  };
}

function writeHosts(folder: string, addresses: Readonly<Record<string, readonly string[]>>): string {
  const file = join(folder, 'hosts');
  const named = Object.entries({ localhost: ['127.0.0.1'], ...addresses });
  const lines = named.flatMap(([host, own]) => own.map((address) => `${address} ${host}\n`));
  writeFileSync(file, lines.join(''), { mode: 0o644 });
  return file;
}

function ip(...args: readonly string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8' });
}
