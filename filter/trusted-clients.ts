/**
 * trusted-clients — who may speak to a listener: loopback, unix sockets, and the addresses or networks named.
 *
 * Hides the notations: IPv4 and IPv6, single or CIDR, IPv4 mapped into IPv6, zone ids. Everything wrong in the list is
 * told at once, before anything listens.
 */
import { BlockList, isIP, isIPv4 } from 'node:net';
import type { Address, Config } from '../rules/config.ts';
import { PermFail } from '../workers/fail.ts';

/** Says whether an address, as `socket.remoteAddress` gives it, may speak to us. */
export type TrustedClients = { has(remoteAddress: string): boolean };

/** Parses `listen.trustedClients`; throws PermFail that names every entry that is no address and no network. */
export function parseTrustedClients(entries: readonly string[]): TrustedClients {
  const list = new BlockList();
  list.addSubnet('127.0.0.0', 8, 'ipv4');
  list.addAddress('::1', 'ipv6');
  const wrong = entries.filter((entry) => !addEntry(list, entry));
  if (wrong.length > 0) {
    throw new PermFail(
      `Cannot trust ${wrong.join(', ')}: use an IP address or a network such as 192.0.2.0/24 or 2001:db8::/32`,
    );
  }
  return {
    has(remoteAddress) {
      const address = plainAddress(remoteAddress);
      return isIP(address) !== 0 && list.check(address, familyOf(address));
    },
  };
}

/** Who may fetch messages from here: redis.fetchClients, or where that is empty whoever may hand in mail. */
export function fetchersOf({ redis, listen }: Config): (remoteAddress: string) => boolean {
  const named = redis?.fetchClients ?? [];
  const trusted = parseTrustedClients(named.length > 0 ? named : listen.trustedClients);
  return (remoteAddress) => trusted.has(remoteAddress);
}

/** Throws PermFail where `address` can be reached from other machines and nobody is named who may (RELIABILITY). */
export function requireTrustedClients(address: Address, entries: readonly string[]): void {
  if (address.kind === 'unix' || entries.length > 0 || isLoopback(address.host)) return;
  throw new PermFail(
    `Cannot listen on ${address.host}:${address.port}: other machines can reach it and listen.trustedClients is empty; ` +
      'name the Postfix machines there, or listen on 127.0.0.1',
  );
}

/** An address without its zone id, IPv4 as itself where it came mapped into IPv6 (RFC 4291 §2.5.5.2). */
export function plainAddress(remoteAddress: string): string {
  const [address = ''] = remoteAddress.split('%');
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  return mapped ?? address;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || parseTrustedClients([]).has(host);
}

function addEntry(list: BlockList, entry: string): boolean {
  const [address = '', prefix, more] = entry.split('/');
  if (isIP(address) === 0 || more !== undefined) return false;
  if (prefix === undefined) {
    list.addAddress(address, familyOf(address));
    return true;
  }
  if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > (isIPv4(address) ? 32 : 128)) return false;
  list.addSubnet(address, Number(prefix), familyOf(address));
  return true;
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv4(address) ? 'ipv4' : 'ipv6';
}
