/**
 * local-process — which process of this machine listens on an address, and how it was started.
 *
 * Hides /proc (proc(5)): sockets by inode, their holders, command line and user. Only root sees the processes of others;
 * whoever can't be seen, or is on another machine, is null. Never throws.
 */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { isLoopback } from '../rules/address.ts';
import type { Address } from './exchange.ts';

export type LocalProcess = {
  readonly pid: number;
  /** Real user: the effective one may be lent (spamd as root waits as nobody). */
  readonly uid: number;
  readonly gid: number;
  /** Command and arguments as they were given. */
  readonly argv: readonly string[];
};

/** A user of this machine (passwd(5)). */
export type User = {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
};

/** The process that listens on `address`: of several that share the socket the parent of the others. */
export function processListeningOn(address: Address): LocalProcess | null {
  const inodes = address.kind === 'unix' ? unixInodes(address.path) : tcpInodes(address.host, address.port);
  if (inodes.size === 0) return null;
  const links = new Set([...inodes].map((inode) => `socket:[${inode}]`));
  // Pid 1 holds the sockets of units that are started on demand; the others are its business.
  const holders = numbersIn('/proc').filter((pid) => pid > 1 && holds(pid, links));
  const parent = holders.find((pid) => !holders.includes(statusOf(pid).ppid)) ?? holders[0];
  return parent === undefined ? null : describe(parent);
}

/** The value of an option as getopt(3) takes it: `-m 5`, `-m5`, `--max-children 5`, `--max-children=5`; the last one counts. */
export function optionOf(argv: readonly string[], short: string, long: string): string | null {
  let value: string | null = null;
  for (const [at, word] of argv.entries()) {
    if (word === short || word === long) value = argv[at + 1] ?? null;
    else if (word.startsWith(`${long}=`)) value = word.slice(long.length + 1);
    else if (word.startsWith(short) && !word.startsWith('--')) value = word.slice(short.length);
  }
  return value;
}

/** A user by name or by number; null where there is none. */
export function findUser(nameOrUid: string | number): User | null {
  const rows = read('/etc/passwd').split('\n');
  for (const row of rows) {
    const [name = '', , uid, gid, , home = ''] = row.split(':');
    if (name !== '' && (name === nameOrUid || Number(uid) === nameOrUid))
      return { name, uid: Number(uid), gid: Number(gid), home };
  }
  return null;
}

/** Columns of /proc/net/unix: number, references, protocol, flags, type, state, inode, path. */
function unixInodes(path: string): Set<string> {
  const isListening = 0x10000;
  return new Set(
    read('/proc/net/unix')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter((columns) => Number.parseInt(columns[3] ?? '', 16) & isListening)
      .filter((columns) => isSameFile(columns.slice(7).join(' '), path))
      .map((columns) => columns[6] ?? ''),
  );
}

/** The name under which it was bound may lead there by another way (/var/run). */
function isSameFile(one: string, other: string): boolean {
  if (one === other) return true;
  try {
    const [first, second] = [statSync(one), statSync(other)];
    return first.ino === second.ino && first.dev === second.dev;
  } catch {
    return false; // not there, or not to be seen
  }
}

/** Listening sockets of that port; only this machine's own addresses can be ours. */
function tcpInodes(host: string, port: number): Set<string> {
  const listenState = '0A';
  const rows = ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((file) => read(file).split('\n').slice(1));
  const found = rows
    .map((row) => row.trim().split(/\s+/))
    .map(([, local = '', , state, , , , , , inode = '']) => ({ local: local.split(':'), state, inode }))
    .filter(({ local, state }) => state === listenState && Number.parseInt(local[1] ?? '', 16) === port);
  // A port that is open to all is this machine's for certain only where the address is.
  const isHere = isLoopback({ kind: 'tcp', host, port });
  const own = isHere ? found : found.filter(({ local }) => local[0] === hexOf(host));
  return new Set(own.map(({ inode }) => inode));
}

/** An IPv4 address as /proc/net/tcp writes it on a little-endian machine. */
function hexOf(host: string): string {
  const octets = host.split('.').map(Number);
  return octets
    .toReversed()
    .map((octet) => octet.toString(16).padStart(2, '0'))
    .join('')
    .toUpperCase();
}

function holds(pid: number, links: ReadonlySet<string>): boolean {
  return numbersIn(`/proc/${pid}/fd`).some((fd) => links.has(linkOf(`/proc/${pid}/fd/${fd}`)));
}

function describe(pid: number): LocalProcess {
  const { uid, gid } = statusOf(pid);
  const argv = read(`/proc/${pid}/cmdline`).split('\0').slice(0, -1);
  return { pid, uid, gid, argv };
}

function statusOf(pid: number): { ppid: number; uid: number; gid: number } {
  const text = read(`/proc/${pid}/status`);
  // Of ids: real, effective, saved, file system.
  const first = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1]);
  return { ppid: first('PPid'), uid: first('Uid'), gid: first('Gid') };
}

function numbersIn(folder: string): number[] {
  try {
    return readdirSync(folder)
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return []; // another user's, or gone
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ''; // closed meanwhile
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // gone, or not to be read
  }
}
