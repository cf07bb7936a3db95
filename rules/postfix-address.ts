/**
 * postfix-address — addresses of sluice.yaml in Postfix's own words: nexthop, service name, networks.
 *
 * Hides Postfix's brackets (without them it asks the DNS), that its unix sockets lie in its queue folder, and which
 * addresses it can't use at all. Pure text.
 */
import { isLoopback } from './address.ts';
import type { Address, Config } from './config.ts';

/** An address as the nexthop of a transport: brackets keep the DNS out of it. */
export function nexthopOf(address: Address): string {
  return address.kind === 'unix' ? `unix:${address.path}` : `[${reachable(address.host)}]:${address.port}`;
}

/** `host:port` as master.cf names an inet service. */
export function inetName({ host, port }: { readonly host: string; readonly port: number }): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** A unix socket that master(8) makes, `QUEUE/public/NAME` or `QUEUE/private/NAME`; null for any other path. */
export function socketInQueue(path: string): { folder: 'public' | 'private'; name: string } | null {
  const match = /\/(public|private)\/([^/]+)$/.exec(path);
  return match === null
    ? null
    : { folder: match[1] === 'public' ? 'public' : 'private', name: match[2] ?? '' };
}

/** Networks of which the filter is the only member, for mynetworks; '' where its address is not known. */
export function filterNetworks(config: Config): string {
  const { reinject } = config;
  if (reinject.kind === 'unix') return '127.0.0.0/8';
  if (isLoopback(reinject)) return reinject.host.includes(':') ? '[::1]/128' : '127.0.0.0/8';
  const hosts = listenersOf(config).flatMap((address) => (address.kind === 'tcp' ? [address.host] : []));
  if (hosts.some(isWildcard)) return '';
  return [...new Set(hosts)].map((host) => (host.includes(':') ? `[${host}]` : host)).join(',');
}

/** Why Postfix can't feed Sluice over `feed`, or give back, as this configuration has it; each with its remedy. */
export function addressProblems(config: Config, feed: 'lmtp' | 'smtp'): string[] {
  const { listen } = config;
  const feeds = [
    { key: `listen.${feed}`, address: listen[feed], client: feed },
    { key: 'listen.outbound', address: listen.outbound, client: 'smtp' },
  ];
  const missing =
    listen[feed] === null
      ? [`listen.${feed} is null: write an address for it, or choose the other feed`]
      : [];
  return [
    ...missing,
    ...feeds.flatMap(({ key, address, client }) =>
      address === null ? [] : feedProblems(key, address, client),
    ),
    ...returnProblems(config),
  ];
}

function feedProblems(key: string, address: Address, client: string): string[] {
  if (address.kind === 'unix') {
    return client === 'lmtp'
      ? []
      : [`${key} is a unix socket, which Postfix's smtp client can't reach: write host:port`];
  }
  return address.port === 0 ? [`${key} has port 0: write the port that Postfix shall use`] : [];
}

function returnProblems(config: Config): string[] {
  const { reinject } = config;
  if (reinject.kind === 'unix' && socketInQueue(reinject.path) === null) {
    const where = "Postfix's sockets lie in public/ or private/ of its queue folder";
    return [
      `reinject is unix:${reinject.path}, but ${where}: write host:port, or unix:/var/spool/postfix/public/NAME`,
    ];
  }
  if (filterNetworks(config) !== '') return [];
  const what = 'reinject is on another host, which must know the address of the filter to trust it';
  return [`${what}: write the address in listen, not a wildcard`];
}

function listenersOf({ listen: { lmtp, smtp, outbound } }: Config): Address[] {
  return [lmtp, smtp, outbound].filter((address) => address !== null);
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

/** The host under which Postfix on this machine reaches a listener. */
function reachable(host: string): string {
  return host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
}
