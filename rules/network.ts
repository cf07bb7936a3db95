/**
 * network — whether an IP address lies in a network, as Postfix and SpamAssassin write networks.
 *
 * Hides the notations: `10.0.0.0/8`, `10/8`, `10.1.`, `192.0.2.7`, `[2001:db8::]/32`, and IPv4 mapped into IPv6 (RFC 4291
 * §2.5.5.2). What is no network (a table, a name) is null: could not tell.
 */

type Bits = { readonly value: bigint; readonly size: 32 | 128 };

/** Null: `network` is none that can be read. An address that is none lies nowhere. */
export function isInNetwork(network: string, address: string): boolean | null {
  const range = parseNetwork(network);
  if (range === null) return null;
  const host = parseAddress(address);
  if (host === null || host.size !== range.base.size) return false;
  const shift = BigInt(host.size - range.prefix);
  return host.value >> shift === range.base.value >> shift;
}

/** Bits of the network's prefix: the more, the narrower; null for what is no network. */
export function prefixOf(network: string): number | null {
  return parseNetwork(network)?.prefix ?? null;
}

function parseNetwork(text: string): { base: Bits; prefix: number } | null {
  const [, inBrackets, plain = '', bits] = /^(?:\[([^\]]+)\]|([^[\]/]+))(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const short = /^\d{1,3}(?:\.\d{1,3}){0,3}\.?$/.exec(plain)?.[0];
  if (inBrackets === undefined && short !== undefined) {
    const octets = short.split('.').filter((one) => one !== '');
    const base = parseAddress([...octets, '0', '0', '0'].slice(0, 4).join('.'));
    const prefix = bits === undefined ? octets.length * 8 : Number(bits);
    return base === null || prefix > 32 ? null : { base, prefix };
  }
  const base = parseAddress(inBrackets ?? plain);
  if (base === null) return null;
  // Of a mapped address the first 96 bits are gone.
  const isMapped = base.size === 32 && (inBrackets ?? plain).includes(':');
  const prefix = bits === undefined ? base.size : Number(bits) - (isMapped ? 96 : 0);
  return prefix < 0 || prefix > base.size ? null : { base, prefix };
}

function parseAddress(text: string): Bits | null {
  const v4 = parse4(text.replace(/^::ffff:(?=\d+\.)/i, ''));
  if (v4 !== null) return { value: v4, size: 32 };
  const v6 = parse6(text.toLowerCase());
  return v6 === null ? null : { value: v6, size: 128 };
}

function parse4(text: string): bigint | null {
  if (!/^\d{1,3}(?:\.\d{1,3}){3}$/.test(text)) return null;
  const octets = text.split('.').map(Number);
  if (octets.some((octet) => octet > 255)) return null;
  return octets.reduce((value, octet) => (value << 8n) | BigInt(octet), 0n);
}

function parse6(text: string): bigint | null {
  if (!/^[0-9a-f:]+$/.test(text) || !text.includes(':')) return null;
  const [head = '', tail, ...more] = text.split('::');
  if (more.length > 0) return null;
  const groupsOf = (part: string) => (part === '' ? [] : part.split(':'));
  const [first, last] = [groupsOf(head), groupsOf(tail ?? '')];
  const missing = 8 - first.length - last.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return null;
  const groups = [...first, ...Array.from({ length: missing }, () => '0'), ...last];
  if (groups.some((group) => !/^[0-9a-f]{1,4}$/.test(group))) return null;
  return groups.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n);
}
