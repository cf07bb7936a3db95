/**
 * config — sluice.yaml and the environment into one frozen Config; or every problem at once.
 *
 * Hides the form of the file, the defaults, and that a variable `SLUICE_LISTEN_SMTP` stands for the key `listen.smtp`.
 * What fits together no better than a loop or an open relay is refused here. Reads nothing itself: text and environment
 * are arguments. It never throws.
 */
import { formatAddress, isLoopback, isSameSocket, unixPathProblem } from './address.ts';
import type { Address } from './address.ts';
import { readers } from './config-fields.ts';
import type { RedisConfig } from './config-fields.ts';
import { inReadingOrder, parseDocument } from './document.ts';
import type { Place, Problem, SourceNode, SourceText } from './document.ts';
import { readFields } from './fields.ts';
import type { Found, Reader, Report } from './fields.ts';
import type { SshNode } from './node-fields.ts';
import { variableNodes } from './variables.ts';

export { formatAddress } from './address.ts';
export type { Address } from './address.ts';
export type { RedisConfig } from './config-fields.ts';
export type { SshNode } from './node-fields.ts';

/** Everything that Sluice must be told, complete; DESIGN's section "Configuration". Sizes in octets. */
export type Config = {
  readonly role: 'primary' | 'backup';
  readonly listen: {
    readonly smtp: Address | null;
    readonly lmtp: Address | null;
    readonly outbound: Address | null;
    /** IP addresses and networks (`10.0.0.0/8`). */
    readonly trustedClients: readonly string[];
  };
  readonly mode: 'filter' | 'observe';
  readonly reinject: Address;
  readonly scan: { readonly virus: boolean; readonly spam: boolean };
  /** Empty: none here. */
  readonly clamd: readonly Address[];
  readonly spamd: readonly Address[];
  readonly spamdUser: string | null;
  readonly redis: RedisConfig | null;
  /** How many scans a worker process runs at once, per scanner. */
  readonly worker: { readonly virus: number; readonly spam: number };
  readonly state: string;
  readonly spool: string;
  /** The site's policies; null: the shipped ones only. */
  readonly policies: string | null;
  /** False where `policies` is the default beside the configuration, which need not exist. */
  readonly policiesNamed: boolean;
  readonly review: { readonly listen: Address | null };
  readonly health: {
    readonly filter: Address | null;
    readonly worker: Address | null;
    readonly review: Address | null;
    readonly bayes: Address | null;
  };
  readonly limits: {
    readonly messageBytes: number;
    readonly deadlineSeconds: number;
    readonly inFlight: number;
    readonly spamBytes: number;
  };
  readonly history: { readonly retentionDays: number };
  /** SpamAssassin's Bayes database, for `sluice bayes`. */
  readonly bayes: {
    /** Whose it is, and by which site configuration; null: as spamd's process shows. */
    readonly user: string | null;
    readonly siteFolder: string | null;
    /** Snapshots that stay. */
    readonly keep: number;
    /** Octets of a snapshot, as it travels and uncompressed. */
    readonly sizeMax: number;
    /** The index of Redis beside the one in bayes_sql_dsn, where Bayes is in Redis. */
    readonly redisScratch: number | null;
    /** Backup nodes that get the database from this primary; empty: none, or they fetch it. */
    readonly nodes: readonly SshNode[];
    /** On a backup that fetches the database by itself: where. */
    readonly primary: SshNode | null;
    readonly ssh: {
      /** Private key and pinned host keys (ssh(1) -i, UserKnownHostsFile). */
      readonly key: string;
      readonly knownHosts: string;
      readonly connectSeconds: number;
      /** For one request as a whole. */
      readonly deadlineSeconds: number;
    };
    readonly sync: {
      /** `HH:MM`; null: never by itself. */
      readonly at: string | null;
      /** A name of the tz database; null: the machine's. */
      readonly zone: string | null;
      readonly jitterMinutes: number;
    };
    /** Messages that the primary keeps, encrypted, to compare both nodes with; 0: none. */
    readonly sample: number;
    /** The source of Postfix's map of relay recipients: read on the primary, written on the backup. */
    readonly recipients: string | null;
    readonly alarm: {
      /** Age of the last snapshot that is worth an alarm. */
      readonly hours: number;
      /** Who is told by mail, too. */
      readonly mail: string | null;
    };
  };
  readonly log: {
    /** How a decision is told; `amavis`: as amavisd-new does, for parsers that know its lines. All else is JSON. */
    readonly format: 'json' | 'amavis';
    readonly level: 'debug' | 'info' | 'warn' | 'error';
  };
};

type FoundFields = Found<typeof readers>;
type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The configuration of a file (null: none, all defaults) with the variables of an environment over it. Relative paths
 * become relative to the file's folder. `config` is null where there is any problem.
 */
export function parseConfig(
  source: SourceText | null,
  environment: Environment,
): { config: Config | null; problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const report: Report = ({ file, line, column, path }, message) => {
    problems.push({ file, line, column, path, message });
    return undefined;
  };
  const parsedFile = source?.file ?? '(no file)';
  const parsed = parseDocument(source?.text ?? '', parsedFile);
  problems.push(...parsed.problems);
  const found: FoundFields = {
    ...(parsed.root === null ? {} : readFields(parsed.root, readers, report)),
    ...readVariables(environment, report),
  };
  const config = configOf(found, folderOf(source?.file ?? ''), source !== null);
  checkTogether(config, found, { file: parsedFile, line: null, column: null, path: '' }, report);
  if (problems.length > 0) return { config: null, problems: inReadingOrder(problems) };
  return { config: frozen(config), problems };
}

function readVariables(environment: Environment, report: Report): FoundFields {
  const nodes = variableNodes(environment, Object.keys(readers), report);
  const found: Record<string, { value: unknown; node: SourceNode }> = {};
  for (const [key, reader] of Object.entries<Reader<unknown>>(readers)) {
    const node = nodes.get(key);
    const value = node === undefined ? undefined : reader.read(node, report);
    if (node !== undefined && value !== undefined) found[key] = { value, node };
  }
  return found as FoundFields;
}

/** What was found over the defaults: the one place where a default stands. */
function configOf(found: FoundFields, folder: string, hasFile: boolean): Config {
  const at = (address: Address | null) => (address === null ? null : inFolder(address, folder));
  const path = (text: string) => resolvePath(folder, text);
  const pathOrNull = (text: string | null) => (text === null ? null : path(text));
  const state = path(found.state?.value ?? '/var/lib/sluice');
  const spool = found.spool?.value ?? null;
  const policies = found.policies === undefined ? (hasFile ? 'policies.yaml' : null) : found.policies.value;
  return {
    role: found.role?.value ?? 'primary',
    listen: {
      smtp: at(valueOr(found['listen.smtp'], tcp(10024))),
      lmtp: at(valueOr(found['listen.lmtp'], tcp(10023))),
      outbound: at(valueOr(found['listen.outbound'], null)),
      trustedClients: found['listen.trustedClients']?.value ?? [],
    },
    mode: found.mode?.value ?? 'filter',
    reinject: inFolder(found.reinject?.value ?? tcp(10025), folder),
    scan: { virus: found['scan.virus']?.value ?? true, spam: found['scan.spam']?.value ?? true },
    clamd: (valueOr(found.clamd, [unix('/run/clamav/clamd.ctl')]) ?? []).map((address) =>
      inFolder(address, folder),
    ),
    spamd: (valueOr(found.spamd, [tcp(783)]) ?? []).map((address) => inFolder(address, folder)),
    spamdUser: valueOr(found.spamdUser, null),
    redis: redisIn(folder, found.redis?.value ?? null),
    worker: { virus: found['worker.virus']?.value ?? 16, spam: found['worker.spam']?.value ?? 4 },
    state,
    spool: spool === null ? resolvePath(state, 'spool') : path(spool),
    policies: policies === null ? null : path(policies),
    policiesNamed: found.policies !== undefined,
    review: { listen: at(valueOr(found['review.listen'], tcp(8025))) },
    health: {
      filter: at(valueOr(found['health.filter'], tcp(9025))),
      worker: at(valueOr(found['health.worker'], tcp(9026))),
      review: at(valueOr(found['health.review'], tcp(9027))),
      bayes: at(valueOr(found['health.bayes'], tcp(9028))),
    },
    limits: {
      messageBytes: found['limits.messageBytes']?.value ?? 100 * 1024 ** 2,
      deadlineSeconds: found['limits.deadlineSeconds']?.value ?? 300,
      inFlight: found['limits.inFlight']?.value ?? 100,
      spamBytes: found['limits.spamBytes']?.value ?? 512 * 1024,
    },
    history: { retentionDays: found['history.retentionDays']?.value ?? 180 },
    bayes: {
      user: valueOr(found['bayes.user'], null),
      siteFolder: pathOrNull(valueOr(found['bayes.siteFolder'], null)),
      keep: found['bayes.keep']?.value ?? 7,
      sizeMax: found['bayes.sizeMax']?.value ?? 256 * 1024 ** 2,
      redisScratch: valueOr(found['bayes.redisScratch'], null),
      nodes: found['bayes.nodes']?.value ?? [],
      primary: valueOr(found['bayes.primary'], null),
      ssh: {
        key: path(found['bayes.ssh.key']?.value ?? '/etc/sluice/bayes_key'),
        knownHosts: path(found['bayes.ssh.knownHosts']?.value ?? '/etc/sluice/bayes_known_hosts'),
        connectSeconds: found['bayes.ssh.connectSeconds']?.value ?? 10,
        deadlineSeconds: found['bayes.ssh.deadlineSeconds']?.value ?? 1800,
      },
      sync: {
        at: valueOr(found['bayes.sync.at'], null),
        zone: valueOr(found['bayes.sync.zone'], null),
        jitterMinutes: found['bayes.sync.jitterMinutes']?.value ?? 10,
      },
      sample: found['bayes.sample']?.value ?? 0,
      recipients: pathOrNull(valueOr(found['bayes.recipients'], null)),
      alarm: {
        hours: found['bayes.alarm.hours']?.value ?? 26,
        mail: valueOr(found['bayes.alarm.mail'], null),
      },
    },
    log: { format: found['log.format']?.value ?? 'json', level: found['log.level']?.value ?? 'info' },
  };
}

/** A field that may be null, so that `??` would take an explicit null for a missing one. */
function valueOr<T>(field: { readonly value: T } | undefined, otherwise: T): T {
  return field === undefined ? otherwise : field.value;
}

function tcp(port: number): Address {
  return { kind: 'tcp', host: '127.0.0.1', port };
}

function unix(path: string): Address {
  return { kind: 'unix', path, mode: null, owner: null };
}

/** What is right by itself and wrong together. */
function checkTogether(config: Config, found: FoundFields, file: Place, report: Report): void {
  const placeOf = (key: keyof typeof readers): Place => found[key]?.node ?? { ...file, path: key };
  if (config.redis !== null) checkRedis(config.redis, config.listen.trustedClients, placeOf('redis'), report);
  for (const scanner of ['virus', 'spam'] as const) {
    const daemon = scanner === 'virus' ? 'clamd' : 'spamd';
    if (!config.scan[scanner] || config[daemon].length > 0 || config.redis !== null) continue;
    const what = `${daemon} is null and there is no redis, but scan.${scanner} is true`;
    report(placeOf(daemon), `${what}: write the address of ${daemon}, or scan.${scanner}: false`);
  }
  checkBayes(config, placeOf, report);
  checkAddresses(config, placeOf, report);
}

function checkBayes(
  { role, bayes: { nodes, primary } }: Config,
  placeOf: (key: keyof typeof readers) => Place,
  report: Report,
): void {
  if (role === 'backup' && nodes.length > 0)
    report(placeOf('bayes.nodes'), 'stands on a backup: write it on the primary, or role: primary');
  if (role === 'primary' && primary !== null)
    report(placeOf('bayes.primary'), 'stands on the primary: write it on the backup, or role: backup');
  const names = nodes.map(({ host, port }) => `${host}:${port}`);
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) report(placeOf('bayes.nodes'), `${twice} stands twice: name each node once`);
}

function checkRedis(
  redis: RedisConfig,
  trustedClients: readonly string[],
  place: Place,
  report: Report,
): void {
  const { sentinels, sentinelUser, sentinelPassword, fetch, fetchClients, caFile, tls } = redis;
  if (sentinels.some(({ kind }) => kind === 'unix'))
    report(place, 'sentinels hold the path of a socket: write host:port, as Sentinel listens');
  if (sentinels.length > 0 && redis.url.startsWith('unix:'))
    report(place, 'sentinels name a master elsewhere, but url is a socket here: write a redis:// URL');
  if (sentinels.length === 0 && (sentinelUser !== null || sentinelPassword !== null))
    report(place, 'sentinelUser or sentinelPassword without sentinels: write the addresses of Sentinel');
  if (caFile !== null && !tls) report(place, 'caFile without TLS: write tls: true, or a rediss:// URL');
  if (fetch === null) return;
  if (fetch.kind === 'unix' || isAnyHost(fetch.host))
    report(place, `fetch is ${formatAddress(fetch)}: write the address at which workers reach this machine`);
  else if (!isLoopback(fetch) && fetchClients.length === 0 && trustedClients.length === 0) {
    const what = `fetch is ${formatAddress(fetch)}, no loopback address, and fetchClients is empty`;
    report(place, `${what}: name the hosts of the workers in fetchClients`);
  }
}

/** No address that anybody could be told to connect to. */
function isAnyHost(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

function checkAddresses(config: Config, placeOf: (key: keyof typeof readers) => Place, report: Report): void {
  const listeners = {
    'listen.smtp': config.listen.smtp,
    'listen.lmtp': config.listen.lmtp,
    'listen.outbound': config.listen.outbound,
    'review.listen': config.review.listen,
    'health.filter': config.health.filter,
    'health.worker': config.health.worker,
    'health.review': config.health.review,
    'health.bayes': config.health.bayes,
    redis: config.redis?.fetch ?? null,
  };
  const taken: { key: string; address: Address }[] = [];
  for (const [key, address] of Object.entries(listeners) as [keyof typeof listeners, Address | null][]) {
    if (address === null) continue;
    const problem = unixPathProblem(address);
    if (problem !== null) report(placeOf(key), problem);
    const takesMail = key.startsWith('listen.');
    if (takesMail && !isLoopback(address) && config.listen.trustedClients.length === 0) {
      const what = `${formatAddress(address)} is no loopback address and listen.trustedClients is empty`;
      report(placeOf(key), `${what}: name the hosts that may hand in mail, or listen on 127.0.0.1`);
    }
    const other = taken.find((earlier) => isSameSocket(earlier.address, address));
    if (other !== undefined) report(placeOf(key), `taken by ${other.key} already: write another address`);
    taken.push({ key, address });
  }
  const { smtp, lmtp, outbound } = config.listen;
  if (smtp === null && lmtp === null && outbound === null) {
    report(
      placeOf('listen.smtp'),
      'all listeners are null, so no mail can come in: write an address for one of them',
    );
  }
  const loop = taken.find(({ address }) => isSameSocket(address, config.reinject));
  if (loop !== undefined)
    report(placeOf('reinject'), `the same as ${loop.key}, a loop: write that of the return smtpd`);
  for (const [key, addresses] of [
    ['reinject', [config.reinject]],
    ['clamd', config.clamd],
    ['spamd', config.spamd],
  ] as const) {
    for (const problem of addresses.map(unixPathProblem)) if (problem !== null) report(placeOf(key), problem);
  }
}

/** The folder of a file's path, '' where the path names none. */
function folderOf(file: string): string {
  return file.slice(0, file.lastIndexOf('/') + 1);
}

function inFolder(address: Address, folder: string): Address {
  return address.kind === 'unix' ? { ...address, path: resolvePath(folder, address.path) } : address;
}

/** Its paths relative to the folder. */
function redisIn(folder: string, redis: RedisConfig | null): RedisConfig | null {
  if (redis === null || redis.caFile === null) return redis;
  return { ...redis, caFile: resolvePath(folder, redis.caFile) };
}

/** A path relative to a folder, `.` and `..` taken out; absolute paths stay (no links are followed, nothing is read). */
function resolvePath(folder: string, path: string): string {
  const joined = path.startsWith('/') || folder === '' ? path : `${folder}/${path}`;
  const parts: string[] = [];
  for (const part of joined.split('/')) {
    if (part === '..' && parts.length > 0 && parts.at(-1) !== '..') parts.pop();
    else if (part === '..' && joined.startsWith('/')) continue;
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return (joined.startsWith('/') ? '/' : '') + parts.join('/') || '.';
}

function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const member of Object.values(value)) frozen(member);
  return value;
}
