/**
 * postfix-check-feed — the way from Postfix to Sluice: is there one, and does it lead to the right door.
 *
 * Every distinct content filter is followed through its transport to the socket behind it; chrooted processes, names of
 * hosts and protocols included. What the transport does on the way is postfix-check-transport's.
 */
import { isSameSocket } from './address.ts';
import { type Address, formatAddress } from './config.ts';
import { fail, type Finding, ok, warn } from './finding.ts';
import { checkConcurrency, checkTransport } from './postfix-check-transport.ts';
import type { MasterService } from './postfix-files.ts';
import { type Check, type Entry, setMain, setOption, titleOf, wantedFilter } from './postfix-roles.ts';
import { effective, isChrooted, transportNamed } from './postfix-site.ts';
import { type FilterTarget, targetOf } from './postfix-values.ts';

const listeners = ['lmtp', 'smtp', 'outbound'] as const;
type Listener = (typeof listeners)[number];

/** Findings about every content filter, the transports behind them, and the entries that have none. */
export function checkFeed(check: Check): Finding[] {
  const transports = new Set<MasterService>();
  const findings = [...unfiltered(check)];
  for (const [value, entries] of Map.groupBy(filteredEntries(check), (entry) => entry.filter.value)) {
    const { found, transport } = checkFilter(check, value, entries);
    findings.push(...found);
    if (transport !== null) transports.add(transport);
  }
  return [
    ...findings,
    ...[...transports].flatMap((transport) => checkTransport(check, transport)),
    ...checkConcurrency(check, [...transports]),
  ];
}

function filteredEntries({ entries }: Check): Entry[] {
  return entries.filter(({ filter }) => filter.value !== '');
}

/** Entries for mail from outside that go round the filter. */
function unfiltered(check: Check): Finding[] {
  const { entries } = check;
  const open = entries.filter(({ kind, filter }) => kind === 'outside' && filter.value === '');
  const wanted = wantedFilter(check, 'in') ?? 'scan:[127.0.0.1]:10023';
  return open.map((entry) => {
    const { filter, service } = entry;
    const what = `content_filter is ${filter.where === null ? 'missing' : 'empty'}: what ${titleOf(entry)} takes is not filtered`;
    const remedy = filter.own
      ? setOption(service, 'content_filter', wanted)
      : setMain('content_filter', wanted);
    return fail(what, filter.where ?? service.where, remedy);
  });
}

function checkFilter(
  check: Check,
  value: string,
  entries: readonly Entry[],
): { found: Finding[]; transport: MasterService | null } {
  const where = entries[0]?.filter.where ?? null;
  const isInbound = entries.some(({ kind }) => kind === 'outside');
  const remedy = remedyFor(check, entries[0], isInbound);
  const title = `content_filter = ${value}`;
  const target = targetOf(value);
  if (target === null || target.address === null)
    return {
      found: [fail(`${title} names no transport with host and port`, where, remedy)],
      transport: null,
    };
  const transport = transportNamed(check.site, target.transport) ?? null;
  if (transport === null) {
    const what = `${title}, but master.cf has no transport "${target.transport}": all mail is deferred`;
    return { found: [fail(what, where, 'add the entry that sluice postfix prints')], transport };
  }
  const { socket, isMoved } = socketOf(check, target.address, transport);
  const listener = listeners.find((key) => leadsTo(check, key, socket));
  if (listener === undefined) {
    const why = isMoved ? `, because ${transport.name} is chrooted (${transport.where})` : '';
    const what = `${title} leads to ${formatAddress(socket)}${why}, but Sluice listens on ${listening(check)}`;
    const cure = isMoved ? `write n in the fifth column (chroot) of ${transport.name}` : remedy;
    return { found: [fail(what, where, cure)], transport: null };
  }
  const found = mismatches({ target, transport, listener, isInbound, where, remedy });
  if (found.length === 0) return { found: [ok(`${title} leads to listen.${listener}`, where)], transport };
  // The settings of a transport that speaks the wrong protocol are those of the other one.
  return { found, transport: found.some(({ level }) => level === 'fail') ? null : transport };
}

function remedyFor(check: Check, entry: Entry | undefined, isInbound: boolean): string {
  const wanted = wantedFilter(check, isInbound ? 'in' : 'out') ?? wantedFilter(check, 'in');
  if (wanted === null) return 'run sluice postfix, which says what keeps this configuration from a fragment';
  return entry?.filter.own === true
    ? setOption(entry.service, 'content_filter', wanted)
    : setMain('content_filter', wanted);
}

/** A chrooted process finds sockets below the queue folder only; relative paths start there for all (lmtp(8)). */
function socketOf(
  { site }: Check,
  address: Address,
  transport: MasterService,
): { socket: Address; isMoved: boolean } {
  const isMoved = address.kind === 'unix' && isChrooted(site, transport);
  if (address.kind === 'tcp' || (address.path.startsWith('/') && !isMoved)) {
    return { socket: address, isMoved };
  }
  const folder = effective(site, null, 'queue_directory').value;
  return { socket: { ...address, path: `${folder}/${address.path.replace(/^\//, '')}` }, isMoved };
}

function leadsTo({ config: { listen } }: Check, key: Listener, socket: Address): boolean {
  const address = listen[key];
  return address !== null && isSameSocket(address, socket);
}

function listening({ config: { listen } }: Check): string {
  const all = listeners.flatMap((key) => {
    const address = listen[key];
    return address === null ? [] : [`${formatAddress(address)} (${key})`];
  });
  return all.join(', ');
}

type Way = {
  readonly target: FilterTarget;
  readonly transport: MasterService;
  readonly listener: Listener;
  readonly isInbound: boolean;
  readonly where: string | null;
  readonly remedy: string;
};

/** A way that arrives, yet at the wrong door or by a detour. */
function mismatches({ target, transport, listener, isInbound, where, remedy }: Way): Finding[] {
  const found: Finding[] = [];
  const protocol = listener === 'lmtp' ? 'lmtp' : 'smtp';
  const { command, name } = transport;
  if (command !== protocol) {
    const what = `transport ${name} speaks ${command}, but listen.${listener} speaks ${protocol}: nothing gets through`;
    found.push(
      fail(what, transport.where, `write ${protocol} for ${command}, or the port that speaks ${command}`),
    );
  }
  if (isInbound && listener === 'outbound') {
    found.push(fail('mail from outside goes to listen.outbound, where spam is never held', where, remedy));
  }
  if (!target.bracketed) {
    const what = `${target.nexthop} stands without brackets: Postfix asks the DNS on the way to the filter`;
    found.push(warn(what, where, remedy));
  }
  return found;
}
