/**
 * postfix-check-peer — would this primary's Postfix greylist, refuse or slow down its own backup MX.
 *
 * A backup brings other people's mail from one address, much of it at once after an outage: it looks like what restrictions are
 * made against, and what it is refused it must bounce. Hides how Postfix decides: each list of restrictions on its own, up to the
 * first word that lets the client in. Pure: addresses and tables are arguments; what can't be known from them is said.
 */
import type { Config } from './config.ts';
import { fail, type Finding, ok, warn } from './finding.ts';
import { isInNetwork } from './network.ts';
import type { PostfixTexts } from './postfix-check.ts';
import { type ConfigText, parseMain, parseMaster } from './postfix-files.ts';
import { type Check, type Entry, rolesOf, setMain, setOption, titleOf } from './postfix-roles.ts';
import { type Effective, effective } from './postfix-site.ts';
import { isYes, listOf, numberOf } from './postfix-values.ts';

/** A backup node by its name in bayes.nodes, and the addresses that its name has. */
export type Backup = { readonly node: string; readonly addresses: readonly string[] };

/** Paths of the tables whose texts `checkBackups` wants to see. */
export function accessFiles({ main, master }: Pick<PostfixTexts, 'main' | 'master'>): string[] {
  return [...`${main.text}\n${master.text}`.matchAll(tablePattern)].map(([, path = '']) => path);
}

const tablePattern = /\b(?:cidr|hash|lmdb|btree|texthash|cdb):(\/[^\s,}]+)/g;
/** Beyond so many connections at once Postfix's own client does not go (default_destination_concurrency_limit). */
const clientConcurrency = 20;

/** Findings about each backup; ok where nothing stands in its way. */
export function checkBackups(texts: PostfixTexts, config: Config, backups: readonly Backup[]): Finding[] {
  const site = { main: parseMain(texts.main), master: parseMaster(texts.master) };
  const check = rolesOf(site, config, null);
  return backups.flatMap((backup) => {
    const around = { check, backup, tables: texts.tables ?? [] };
    const found = check.entries
      .filter(({ kind }) => kind === 'outside')
      .flatMap((entry) => [...checkRestrictions(around, entry), ...checkRates(around, entry)]);
    found.push(...checkPostscreen(around));
    const place = site.main.parameters.get('mynetworks')?.where ?? texts.main.file;
    const free = `Postfix lets ${backup.node} in: nothing greylists, refuses or slows it down`;
    return found.length > 0 ? found : [ok(free, place)];
  });
}

type Around = { readonly check: Check; readonly backup: Backup; readonly tables: readonly ConfigText[] };

const lists = [
  'smtpd_client_restrictions',
  'smtpd_helo_restrictions',
  'smtpd_sender_restrictions',
  'smtpd_relay_restrictions',
  'smtpd_recipient_restrictions',
  'smtpd_data_restrictions',
  'smtpd_end_of_data_restrictions',
] as const;

/** What each word does to a client that brings other people's mail; the words themselves are of postconf(5). */
const risks: readonly (readonly [RegExp, string])[] = [
  [/^check_policy_service$/, 'asks a policy service, which may greylist it'],
  [
    /^reject_unknown_(?:reverse_)?client(?:_hostname)?$/,
    'refuses it when its name in the DNS is not in order',
  ],
  [/^reject_(?:unknown|invalid|non_fqdn)_(?:helo_)?hostname$/, 'refuses it for its HELO'],
  [
    /^reject_(?:rbl_client|rhsbl_client|rhsbl_reverse_client|rhsbl_helo|maps_rbl)$/,
    'refuses it when a list names it',
  ],
  [
    /^reject_(?:unknown_sender_domain|unverified_sender|rhsbl_sender|non_fqdn_sender|unlisted_sender)$/,
    'refuses mail that it has accepted for the sender: it must bounce it',
  ],
  [/^(?:defer_if_permit|defer_if_reject|sleep)$/, 'defers or delays it'],
];

function checkRestrictions(around: Around, entry: Entry): Finding[] {
  return lists.flatMap((name) => {
    const list = effective(around.check.site, entry.service, name);
    const words = expandClasses(around.check, entry, listOf(list.value));
    const bad = firstRisk(around, entry, words);
    if (bad === null) return [];
    const { backup } = around;
    const what = `${titleOf(entry)}: ${name} ${bad.does} (${bad.word}) before it lets ${backup.node} in`;
    const place = list.where ?? entry.service.where;
    const remedy = remedyFor(around, entry, list);
    return [bad.isCertain ? fail(what, place, remedy) : warn(what, place, remedy)];
  });
}

/** The first word that may turn it away before one lets it in; null where there is none. */
function firstRisk(
  around: Around,
  entry: Entry,
  words: readonly string[],
): { word: string; does: string; isCertain: boolean } | null {
  for (const [at, word] of words.entries()) {
    const next = words[at + 1] ?? '';
    if (word === 'permit' || (word === 'permit_mynetworks' && isTrusted(around, entry))) return null;
    if (word === 'check_client_access' && isListed(around, next)) return null;
    // Tried and told, not done.
    if (words[at - 1] === 'warn_if_reject') continue;
    if (word === 'reject' || word === 'defer') return { word, does: 'refuses it', isCertain: true };
    const risk = risks.find(([pattern]) => pattern.test(word));
    if (risk !== undefined)
      return { word: word === 'check_policy_service' ? next : word, does: risk[1], isCertain: false };
  }
  return null;
}

/** Names of smtpd_restriction_classes stand for the words of the parameter of that name. */
function expandClasses({ site }: Check, { service }: Entry, words: readonly string[]): string[] {
  const classes = listOf(effective(site, service, 'smtpd_restriction_classes').value);
  return words.flatMap((word) =>
    classes.includes(word) ? listOf(effective(site, service, word).value) : [word],
  );
}

function isTrusted({ check, backup, tables }: Around, { service }: Pick<Entry, 'service'>): boolean {
  const { value, known } = effective(check.site, service, 'mynetworks');
  return known && areIn(listOf(value), backup, tables);
}

/** Whether a list of networks has every address; the first entry that has one decides (postconf(5), mynetworks). */
function areIn(networks: readonly string[], { addresses }: Backup, tables: readonly ConfigText[]): boolean {
  const isIn = (address: string): boolean => {
    for (const entry of networks) {
      const network = entry.replace(/^!/, '');
      const found = isInNetwork(network, address) ?? isInTable(network, address, tables);
      if (found) return !entry.startsWith('!');
    }
    return false;
  };
  return addresses.length > 0 && addresses.every(isIn);
}

/** Keys of mynetworks' tables alone count, whatever stands behind them. */
function isInTable(spec: string, address: string, tables: readonly ConfigText[]): boolean {
  return rowsOf(spec, tables).some(({ key }) => key === address || isInNetwork(key, address) === true);
}

/** Whether a table lets every address pass: `OK`, `permit`, or digits (access(5)). */
function isListed({ backup, tables }: Around, spec: string): boolean {
  const rows = rowsOf(spec, tables);
  const passes = (address: string): boolean => {
    const row = rows.find(({ key }) => isInNetwork(key, address) === true);
    return row !== undefined && /^(?:OK|permit|\d+)\b/i.test(row.action);
  };
  return backup.addresses.length > 0 && backup.addresses.every(passes);
}

function rowsOf(spec: string, tables: readonly ConfigText[]): { key: string; action: string }[] {
  const path = [...spec.matchAll(tablePattern)][0]?.[1];
  const table = tables.find(({ file }) => file === path);
  return (table?.text.split('\n') ?? []).flatMap((line) => {
    const [, key, action = ''] = /^([^\s#]\S*)\s+(.*)$/.exec(line) ?? [];
    return key === undefined ? [] : [{ key, action }];
  });
}

/** What puts the backup in front of what turns it away: in mynetworks, and mynetworks first. */
function remedyFor({ check, backup, tables }: Around, entry: Entry, list: Effective): string {
  const networks = effective(check.site, entry.service, 'mynetworks');
  const words = listOf(list.value);
  const front = ['permit_mynetworks', ...words.filter((word) => word !== 'permit_mynetworks')];
  const order = list.own
    ? setOption(entry.service, list.name, front.join(','))
    : setMain(list.name, front.join(' '));
  const trust = setMain('mynetworks', withBackup(networks, backup, tables));
  if (networks.known && areIn(listOf(networks.value), backup, tables)) return order;
  return words[0] === 'permit_mynetworks' ? trust : `${trust}; ${order}`;
}

/** In front, where no exclusion comes before them. */
function withBackup(
  { value, known }: Effective,
  { addresses, node }: Backup,
  tables: readonly ConfigText[],
): string {
  const given = known ? listOf(value) : ['127.0.0.0/8'];
  const missing = addresses.filter((address) => !areIn(given, { node, addresses: [address] }, tables));
  return [...missing.map(asPostfix), ...given].join(' ');
}

const rates = [
  'smtpd_client_connection_rate_limit',
  'smtpd_client_message_rate_limit',
  'smtpd_client_recipient_rate_limit',
  'smtpd_client_new_tls_session_rate_limit',
  'smtpd_client_connection_count_limit',
] as const;

/** anvil(8) counts per client; whoever is among the exceptions is not counted. */
function checkRates({ check, backup, tables }: Around, entry: Entry): Finding[] {
  const { site } = check;
  const exceptions = effective(site, entry.service, 'smtpd_client_event_limit_exceptions');
  if (exceptions.known && areIn(listOf(exceptions.value), backup, tables)) return [];
  return rates.flatMap((name) => {
    const limit = effective(site, entry.service, name);
    const number = numberOf(limit.value) ?? 0;
    const isHarmless = number === 0 || (name.endsWith('_count_limit') && number >= clientConcurrency);
    if (isHarmless) return [];
    const what = `${titleOf(entry)}: ${name} = ${limit.value} holds for ${backup.node} too: after an outage its queue waits`;
    return [
      warn(
        what,
        limit.where ?? entry.service.where,
        setMain(exceptions.name, withBackup(exceptions, backup, tables)),
      ),
    ];
  });
}

/** Its tests keep a stranger waiting, or defer him once; with the shipped actions they only write a log. */
function checkPostscreen(around: Around): Finding[] {
  const { check, backup, tables } = around;
  const service = check.site.master.services.find(({ command }) => command === 'postscreen');
  if (service === undefined) return [];
  const value = (name: string) => effective(check.site, service, name).value;
  const acts =
    ['postscreen_greet_action', 'postscreen_dnsbl_action'].some(
      (name) => !/^(?:|ignore)$/.test(value(name)),
    ) ||
    [
      'postscreen_pipelining_enable',
      'postscreen_non_smtp_command_enable',
      'postscreen_bare_newline_enable',
    ].some((name) => isYes(value(name)));
  const access = effective(check.site, service, 'postscreen_access_list');
  const words = listOf(access.value === '' ? 'permit_mynetworks' : access.value);
  const isPassed = words.some((word) =>
    word === 'permit_mynetworks' ? isTrusted({ ...around, tables }, { service }) : isListed(around, word),
  );
  if (!acts || isPassed) return [];
  const what = `postscreen tests ${backup.node} as it does strangers, and may defer or refuse it`;
  const networks = effective(check.site, service, 'mynetworks');
  const wanted = withBackup(networks, backup, tables);
  return [warn(what, access.where ?? service.where, setMain('mynetworks', wanted))];
}

function asPostfix(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}
