/**
 * postfix-values — values of postconf(5) read as what they mean: times, numbers, lists, networks, filter targets.
 *
 * Hides Postfix's units and spellings. What is not recognised is null: "could not tell", never a guess.
 */
import { isLoopback } from './address.ts';
import type { Address } from './config.ts';

const unitSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

/** A time in seconds; `unit` counts where none is written. */
export function secondsOf(value: string, unit: 's' | 'd'): number | null {
  const match = /^(\d+)([smhdw]?)$/.exec(value.trim());
  const factor = unitSeconds[match?.[2] || unit];
  return match === null || factor === undefined ? null : Number(match[1]) * factor;
}

/** A whole number, or null. */
export function numberOf(value: string): number | null {
  return /^\d+$/.test(value.trim()) ? Number(value) : null;
}

/** A size limit in octets; 0 means none. */
export function limitOf(value: string): number | null {
  const size = numberOf(value);
  return size === 0 ? Number.POSITIVE_INFINITY : size;
}

/** Members of a list, which commas or blanks part. `{ … }` stays together. */
export function listOf(value: string): string[] {
  return value.match(/(?:\{[^{}]*\}|[^\s,{}]+)+/g) ?? [];
}

/** `yes`: on; everything else, as Postfix has it, off. */
export function isYes(value: string): boolean {
  return value.trim().toLowerCase() === 'yes';
}

/** Who a list of networks lets in: nobody but this machine, hosts by name, or somebody who can't be told (a table). */
export function networkKind(network: string): 'loopback' | 'host' | 'network' | 'unknown' {
  if (network.startsWith('!')) return 'unknown';
  const [, v6, prefix6] = /^\[([0-9a-fA-F:.]+)\](?:\/(\d+))?$/.exec(network) ?? [];
  if (v6 !== undefined) return kindOf6(v6.toLowerCase(), Number(prefix6 ?? 128));
  const [, v4, prefix4] = /^(\d+(?:\.\d+){0,3})(?:\/(\d+))?$/.exec(network) ?? [];
  if (v4 === undefined) return 'unknown';
  const bits = Number(prefix4 ?? 32);
  if (/^127(?:\.|$)/.test(v4) && bits >= 8) return 'loopback';
  return bits === 32 ? 'host' : 'network';
}

/** What `transport:nexthop` leads to; `bracketed`: without a look-up in the DNS. Null: no such form. */
export type FilterTarget = {
  readonly transport: string;
  readonly nexthop: string;
  readonly address: Address | null;
  readonly bracketed: boolean;
};

/** The parts of a content_filter; a nexthop that is no address (empty, or a domain) has `address` null. */
export function targetOf(value: string): FilterTarget | null {
  const [, transport, nexthop] = /^([^\s:]+):(.*)$/.exec(value.trim()) ?? [];
  if (transport === undefined || nexthop === undefined) return null;
  const path = /^unix:(.+)$/.exec(nexthop)?.[1];
  if (path !== undefined) {
    return { transport, nexthop, address: { kind: 'unix', path, mode: null, owner: null }, bracketed: true };
  }
  const [, inBrackets, bare, port] = /^(?:inet:)?(?:\[([^\]]+)\]|([^[\]:\s]+)):(\d+)$/.exec(nexthop) ?? [];
  const host = inBrackets?.replace(/^ipv6:/i, '') ?? bare;
  const address =
    host === undefined ? null : ({ kind: 'tcp', host: host.toLowerCase(), port: Number(port) } as const);
  return { transport, nexthop, address, bracketed: inBrackets !== undefined };
}

const servicePorts: Readonly<Record<string, number>> = {
  smtp: 25,
  submission: 587,
  submissions: 465,
  smtps: 465,
};

/** Host (null: inet_interfaces) and port of an inet service's name; null where the port has a name of its own. */
export function endpointOf(name: string): { readonly host: string | null; readonly port: number } | null {
  const [, v6, host, port] = /^(?:\[([^\]]+)\]:|([^[\]]*?):)?([^:]+)$/.exec(name) ?? [];
  const number = port === undefined ? null : (servicePorts[port] ?? numberOf(port));
  return number === null ? null : { host: v6 ?? (host === '' ? null : (host ?? null)), port: number };
}

/** Whether a host to listen on, null for inet_interfaces, is reached from this machine only. */
export function isLocalHost(host: string): boolean {
  return isLoopback({ kind: 'tcp', host: host.toLowerCase(), port: 1 });
}

function kindOf6(host: string, bits: number): 'loopback' | 'host' | 'network' {
  if (host === '::1' && bits === 128) return 'loopback';
  if (host.startsWith('::ffff:127.') && bits >= 104) return 'loopback';
  return bits === 128 ? 'host' : 'network';
}
