/**
 * clamd-config — what clamd.conf says of the settings that decide what gets scanned (clamd.conf(5)).
 *
 * Hides the file's form, and which file belongs to which clamd: the system's own counts only where its socket is the one
 * that Sluice asks. The running clamd may have been started before the last change: what it does counts, this tells
 * where to change it.
 */
import { readFileSync } from 'node:fs';
import type { Address } from './exchange.ts';

/** One clamd.conf; names of settings are compared without regard to case, as clamd does. */
export type ClamdConfig = {
  readonly file: string;
  /** Value and line of a setting; null where the file does not name it. */
  readonly get: (name: string) => { readonly value: string; readonly line: number } | null;
};

/** Debian's place. */
const usualClamdConfig = '/etc/clamav/clamd.conf';

/** Parses the text of a clamd.conf. */
export function parseClamdConfig(file: string, text: string): ClamdConfig {
  const settings = new Map<string, { value: string; line: number }>();
  for (const [at, line] of text.split('\n').entries()) {
    const [, name, value] = /^\s*([A-Za-z0-9]+)\s+(.*?)\s*$/.exec(line) ?? [];
    if (name === undefined || value === undefined) continue;
    settings.set(name.toLowerCase(), { value: value.replaceAll(/^"|"$/g, ''), line: at + 1 });
  }
  return { file, get: (name) => settings.get(name.toLowerCase()) ?? null };
}

/** Reads one clamd.conf; throws where it can't. */
export function readClamdConfig(file: string): ClamdConfig {
  return parseClamdConfig(file, readFileSync(file, 'utf8'));
}

/** The configuration of the clamd at `address`, if it is the system's own; null where there is none, or it can't be read. */
export function findClamdConfig(address: Address): ClamdConfig | null {
  try {
    const config = readClamdConfig(usualClamdConfig);
    return speaksOf(config, address) ? config : null;
  } catch {
    // Another place, or nobody's business: the running clamd is asked in any case.
    return null;
  }
}

/** Octets of a size like `25M`; 0 means no limit of its own. Null for what is no size. */
export function parseClamdSize(value: string): number | null {
  const match = /^(\d{1,12})([KMG]?)$/i.exec(value);
  if (match === null) return null;
  return Number(match[1]) * 1024 ** ['', 'K', 'M', 'G'].indexOf((match[2] ?? '').toUpperCase());
}

/** A size as clamd.conf takes it, rounded up: `100M`, `512K`. */
export function formatClamdSize(octets: number): string {
  return octets % 1024 ** 2 === 0 ? `${octets / 1024 ** 2}M` : `${Math.ceil(octets / 1024)}K`;
}

/** `yes`, `true` and `1`, in any case. */
export function isSwitchedOn(value: string): boolean {
  return /^(?:yes|true|1)$/i.test(value);
}

function speaksOf(config: ClamdConfig, address: Address): boolean {
  if (address.kind === 'tcp') {
    const isHere = /^127\.|^::1$|^localhost$/.test(address.host);
    return isHere && config.get('TCPSocket')?.value === String(address.port);
  }
  const socket = config.get('LocalSocket')?.value;
  return socket !== undefined && realPath(socket) === realPath(address.path);
}

/** On Debian /var/run is a link to /run, and its clamd.conf says the former. */
function realPath(path: string): string {
  return path.replace(/^\/var\/run\//, '/run/');
}
