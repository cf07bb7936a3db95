/**
 * network — a private network of named hosts, as compose.yaml's `mail`: a namespace each, joined by a bridge of their own.
 *
 * Nothing of it is connected with this machine's network. Needs root and ip(8).
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

/** Makes hosts with these IPv4 addresses, all in one /24. */
export function createNetwork(folder: string, addresses: Readonly<Record<string, string>>): Network {
  const nameOf = (host: string) => `sluice-${process.pid}-${host}`;
  const ip = (...args: readonly string[]) => execFileSync('ip', args, { encoding: 'utf8' });
  const hub = nameOf('hub');
  const made: string[] = [];
  const add = (name: string) => {
    ip('netns', 'add', name);
    made.push(name);
    ip('-n', name, 'link', 'set', 'lo', 'up');
  };
  add(hub);
  ip('-n', hub, 'link', 'add', 'bridge', 'type', 'bridge');
  ip('-n', hub, 'link', 'set', 'bridge', 'up');
  for (const [at, [host, address]] of Object.entries(addresses).entries()) {
    const name = nameOf(host);
    add(name);
    ip('-n', hub, 'link', 'add', `to${at}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
    ip('-n', hub, 'link', 'set', `to${at}`, 'master', 'bridge', 'up');
    ip('-n', name, 'address', 'add', `${address}/24`, 'dev', 'eth0');
    ip('-n', name, 'link', 'set', 'eth0', 'up');
  }
  const hostsFile = join(folder, 'hosts');
  const lines = Object.entries({ localhost: '127.0.0.1', ...addresses }).map(
    ([host, one]) => `${one} ${host}\n`,
  );
  writeFileSync(hostsFile, lines.join(''), { mode: 0o644 });
  return {
    pathOf: (host) => `/run/netns/${nameOf(host)}`,
    hostsFile,
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
