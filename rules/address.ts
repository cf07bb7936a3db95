/**
 * address — where a socket is: `host:port`, `[v6]:port`, or `unix:path` with mode and owner.
 *
 * Hides how addresses are written in sluice.yaml. A listening socket may say `unix:/run/sluice.sock (0660, postfix)`, the
 * comma may be a blank: mode in octal, owner as user or user:group, either alone or both. Pure text: nothing is resolved or opened.
 */
import { scalarField } from './fields.ts';
import type { Reader, Refuse } from './fields.ts';

/** `mode` and `owner` only where they were given. Host without brackets. */
export type Address =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | {
      readonly kind: 'unix';
      readonly path: string;
      readonly mode: number | null;
      readonly owner: string | null;
    };

/** An address as it is written in the configuration. */
export function formatAddress(address: Address): string {
  if (address.kind === 'tcp')
    return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
  const mode = address.mode === null ? [] : [`0${address.mode.toString(8)}`];
  const extras = [...mode, ...(address.owner === null ? [] : [address.owner])];
  return `unix:${address.path}${extras.length === 0 ? '' : ` (${extras.join(', ')})`}`;
}

/** An address to listen on (port 0: any free one) or to connect to. */
export function addressField(use: 'listen' | 'connect'): Reader<Address> {
  return scalarField('host:port, [v6]:port or unix:path', (value, refuse) => {
    if (typeof value === 'number') return refuse(`found ${value}: write a host too, like 127.0.0.1:${value}`);
    if (typeof value !== 'string') return undefined;
    return value.startsWith('unix:') ? parseUnix(value, use, refuse) : parseTcp(value, use, refuse);
  });
}

/** An IP address or a network like `10.0.0.0/8`. */
export const networkField: Reader<string> = scalarField(
  'an IP address or a network like 10.0.0.0/8',
  (value, refuse) => {
    if (typeof value !== 'string') return undefined;
    const [address = '', prefix, ...rest] = value.split('/');
    const bits = isIpv4(address) ? 32 : isIpv6(address) ? 128 : 0;
    if (bits === 0 || rest.length > 0) return undefined;
    if (prefix === undefined) return value;
    if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > bits) return undefined;
    return Number(prefix) === 0 ? refuse('trusts everybody: name the hosts that may hand in mail') : value;
  },
);

/** Whether only this machine can reach the address. */
export function isLoopback(address: Address): boolean {
  if (address.kind === 'unix') return true;
  return /^127\.\d+\.\d+\.\d+$|^::1$|^localhost$/.test(address.host);
}

/** Whether a connection to one of two addresses would reach a listener on the other. Port 0, any free port, meets nothing. */
export function isSameSocket(a: Address, b: Address): boolean {
  if (a.kind === 'unix' || b.kind === 'unix')
    return a.kind === 'unix' && b.kind === 'unix' && a.path === b.path;
  if (a.port !== b.port || a.port === 0) return false;
  const [first, second] = [a.host, b.host].map((host) => (host === 'localhost' ? '127.0.0.1' : host));
  const isAny = (host: string | undefined) => host === '0.0.0.0' || host === '::';
  return first === second || isAny(first) || isAny(second);
}

/** What is wrong with the path of a unix socket, or null: sun_path holds 108 octets with the final NUL (unix(7)). */
export function unixPathProblem(address: Address): string | null {
  if (address.kind === 'tcp' || new TextEncoder().encode(address.path).length <= 107) return null;
  return `the path of the socket is longer than 107 octets (${address.path}): write a shorter one`;
}

function parseTcp(text: string, use: 'listen' | 'connect', refuse: Refuse): Address | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text);
  if (match === null) {
    if (/^[^:\s/]+$/.test(text))
      return refuse(`found "${text}" without a port: write host:port or unix:path`);
    if (text.startsWith('/')) return refuse(`found "${text}": write unix:${text}`);
    if (/^:\d+$/.test(text)) return refuse(`found "${text}" without a host: write 127.0.0.1${text}`);
    return isIpv6(text.replace(/:\d+$/, ''))
      ? refuse(`found "${text}": write an IPv6 address in brackets, [::1]:10024`)
      : undefined;
  }
  const [, v6, name, digits] = match;
  const port = Number(digits);
  if (port > 65535 || (port === 0 && use === 'connect'))
    return refuse(`found port ${port}: write one from 1 to 65535`);
  const host = v6 ?? name ?? '';
  const isHost = v6 === undefined ? isIpv4(host) || isHostname(host) : isIpv6(host);
  if (!isHost) return refuse(`found "${host}", which is no IP address and no host name: write host:port`);
  return { kind: 'tcp', host: host.toLowerCase(), port };
}

function parseUnix(text: string, use: 'listen' | 'connect', refuse: Refuse): Address | undefined {
  const match = /^unix:([^()]+?)(?: ?\(([^()]*)\))?$/.exec(text);
  if (/\([^)]*$/.test(text))
    return refuse(`found "${text}": put it in quotes, because a comma ends it inside { }`);
  const path = match?.[1] ?? '';
  if (match === null || /\p{Cc}/u.test(path) || path.trim() !== path) return undefined;
  const extras = match[2] === undefined ? [] : match[2].split(/[\s,]+/).filter((extra) => extra !== '');
  if (extras.length > 0 && use === 'connect')
    return refuse(`mode and owner belong to a socket that Sluice makes: write unix:${path}`);
  const modes = extras.filter((extra) => /^0?[0-7]{3}$/.test(extra));
  const owners = extras.filter((extra) => /^[a-z_][\w.-]*(?::[a-z_][\w.-]*)?$/.test(extra));
  if (modes.length > 1 || owners.length > 1 || modes.length + owners.length !== extras.length) {
    return refuse(`found "(${match[2]})": write the mode in octal and the owner, like (0660, postfix)`);
  }
  return {
    kind: 'unix',
    path,
    mode: modes[0] === undefined ? null : Number.parseInt(modes[0], 8),
    owner: owners[0] ?? null,
  };
}

function isIpv4(text: string): boolean {
  return /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/.test(text);
}

function isIpv6(text: string): boolean {
  return /^[0-9a-fA-F:.]+$/.test(text) && text.includes(':') && URL.canParse(`http://[${text}]/`);
}

/** RFC 1123 §2.1; all digits and dots is a broken IPv4 address, not a name. */
function isHostname(text: string): boolean {
  return (
    text.length <= 253 && !/^[\d.]+$/.test(text) && /^[a-zA-Z0-9_](?:[a-zA-Z0-9_.-]*[a-zA-Z0-9])?$/.test(text)
  );
}
