/**
 * postfix-backup — what main.cf of a backup MX needs on top of the filter's fragment, each setting with its reason.
 *
 * Hides where each value comes from: the domains from the policies, the map from bayes.recipients, the primary from the command
 * line or bayes.primary; what nobody knows is a name under .invalid that has to be filled in. Also the table that answers 450 for
 * unknown recipients while the map is stale: what is in place holds by itself, but `sluice run bayes` has to run to exchange it.
 */
import type { Config } from './config.ts';
import type { Policies } from './policy-for.ts';
import type { Option } from './postfix-options.ts';

/** Where the primary is, as Postfix shall reach and recognise it. */
export type BackupWishes = { readonly policies: Policies | null; readonly primary: string | null };

/** The end of a name that has to be filled in (RFC 2606). */
export const placeholderEnd = '.invalid';
/** Where the map of recipients lies if sluice.yaml does not say. */
const usualRecipients = '/etc/postfix/relay_recipients';
/** Days that a backup keeps what the primary does not take. */
export const backupQueueDays = 14;
const usualQueueDays = 5;
/** Hours after which a map counts as stale: a nightly run that was missed, and two hours. */
export const staleHours = 26;
/** What the name of the map has at its end for the table of a stale one. */
export const staleEnd = '.stale';

const database = '${default_database_type}';
const unknownPrimary = `primary${placeholderEnd}`;
const unknownDomain = `domains-of-the-primary${placeholderEnd}`;

/** Days in which Postfix may come again with what it handed over: its maximal_queue_lifetime here, and one (R9). */
export function retryDaysOf({ role }: Pick<Config, 'role'>): number {
  return (role === 'backup' ? backupQueueDays : usualQueueDays) + 1;
}

/** The source of the map of relay recipients of this configuration. */
export function recipientsFile({ bayes }: Config): string {
  return bayes.recipients ?? usualRecipients;
}

/** The additions to main.cf, in the order in which a message meets them. */
export function backupOptions(config: Config, { policies, primary }: BackupWishes): Option[] {
  const known = primary ?? config.bayes.primary?.host ?? null;
  const host = known ?? unknownPrimary;
  const fill = known === null ? ' Write its address, which clients are recognised by.' : '';
  const file = recipientsFile(config);
  return [
    ...recipientOptions(file, domainsOf(policies)),
    ['relay_transport', `relay:[${host}]`, `To the primary, without a look at MX records.${fill}`],
    ...etrnOptions(host),
    ...rateOptions,
    ...lifetimeOptions,
  ];
}

function recipientOptions(file: string, domains: readonly string[]): Option[] {
  const named = domains.length > 0;
  const whose = named
    ? 'The domains of recipients in policies.yaml; what else the primary has belongs here too.'
    : 'Write the domains of the primary: none is known from policies.yaml.';
  return [
    ['relay_domains', named ? domains.join(', ') : unknownDomain, whose],
    [
      'relay_recipient_maps',
      `${database}:${file}`,
      'Whom the primary knows. Anybody else is refused at the door, not by a bounce days later.',
    ],
    [
      'smtpd_recipient_restrictions',
      `check_recipient_access ${database}:${file}${staleEnd}`,
      'Before any of yours. Empty while the map is fresh; over 26 h old, unknown recipients get 450 instead of 550.',
    ],
  ];
}

function etrnOptions(host: string): Option[] {
  return [
    [
      'fast_flush_domains',
      '$relay_domains',
      'ETRN: the primary says it is back, and all that waits for it goes at once.',
    ],
    [
      'smtpd_etrn_restrictions',
      `check_client_access inline:{ { ${host} = OK } }, reject`,
      'From the primary only: anybody else could make this machine busy.',
    ],
  ];
}

const rates =
  'Spammers aim at a backup. Within a minute, of one client; who wants more is told 4xx and comes back.';
const rateOptions: readonly Option[] = [
  ['smtpd_client_connection_count_limit', '20', 'At once, of one client.'],
  ['smtpd_client_connection_rate_limit', '60', rates],
  ['smtpd_client_message_rate_limit', '100', rates],
  ['smtpd_client_recipient_rate_limit', '300', rates],
];

const days = `${backupQueueDays}d`;
const lifetimeOptions: readonly Option[] = [
  ['maximal_queue_lifetime', days, 'A primary may be away for longer than the five days that senders wait.'],
  [
    'bounce_queue_lifetime',
    days,
    'Mail of the null sender <> waits as long: delivery reports for your users are no less wanted.',
  ],
];

/** Lines for the shell: the table of the stale map has to be there before Postfix asks it. */
export function backupCommands(config: Config): string[] {
  const file = recipientsFile(config);
  const stale = `${file}${staleEnd}`;
  return [
    '# Both tables must be there before Postfix asks them, or all mail gets 451; sluice run bayes fills the second one.',
    `postmap ${file}`,
    `test -e ${stale} || touch ${stale}`,
    `postmap ${stale}`,
    '# It has to run, or new users are refused for good once the map is old: systemctl enable --now sluice-bayes',
  ];
}

/** What must be said of message_size_limit. */
export const backupSizeNote =
  "message_size_limit: write the primary's own (postconf -h there); what is larger would bounce, smaller be refused.";

/** The domains that policies.yaml speaks of under `recipients`. */
export function domainsOf(policies: Policies | null): string[] {
  const keys = Object.keys(policies?.recipients ?? {});
  const domains = keys.map((key) => key.slice(key.lastIndexOf('@') + 1).replace(/^\./, ''));
  return [...new Set(domains)].filter((domain) => domain !== '').toSorted();
}

/**
 * The access(5) table for a stale map: who stands in the map goes on to your other restrictions, anybody else in its domains (and
 * in `domains`) is told to come back. `text`: the source of the map, as postmap(1) reads it. `domains`: as in a match list of
 * postconf(5), `!` before one whose mail is delivered here: a domain's line holds for all below it (access(5), by the default of
 * parent_domain_matches_subdomains), and the map says nothing about those.
 */
export function staleTable(text: string, listed: readonly string[], hours: number): string {
  const keys = keysOf(text);
  const domains = listed.filter((domain) => !domain.startsWith('!'));
  const catchAlls = new Set(keys.filter((key) => key.startsWith('@')).map((key) => key.slice(1)));
  const addresses = keys.filter((key) => !key.startsWith('@'));
  const named = [...domains, ...keys.map((key) => key.slice(key.lastIndexOf('@') + 1))];
  const below = (domain: string) => named.some((one) => domain === one || domain.endsWith(`.${one}`));
  const here = new Set(
    listed.flatMap((one) => (one.startsWith('!') && below(one.slice(1)) ? [one.slice(1)] : [])),
  );
  const later = `450 4.1.1 Not known here, and the list of recipients is over ${hours} h old: try again later`;
  const lines = [
    ...new Set(addresses.map((key) => `${key} DUNNO`)),
    ...[...new Set([...catchAlls, ...here])].map((domain) => `${domain} DUNNO`),
    ...[...new Set(named)]
      .filter((domain) => !catchAlls.has(domain) && !here.has(domain))
      .map((domain) => `${domain} ${later}`),
  ];
  return `${[...head('stale'), ...lines].join('\n')}\n`;
}

/** Which of the two tables this is; null: neither, Sluice did not write it. */
export function tableState(text: string): 'stale' | 'fresh' | null {
  const [line] = text.split('\n');
  return (['stale', 'fresh'] as const).find((state) => head(state)[0] === line) ?? null;
}

/** Whether the source of a map has no address in it: then the map knows nothing, and must refuse nobody. */
export function namesNobody(text: string): boolean {
  return keysOf(text).length === 0;
}

/** The same table while the map is fresh: it says nothing about anybody. */
export function freshTable(): string {
  return `${head('fresh').join('\n')}\n`;
}

function head(state: 'stale' | 'fresh'): string[] {
  return [
    `# Written by Sluice: the map of relay recipients is ${state}. Changes are overwritten within a minute.`,
  ];
}

/** The keys of a table's source, in lower case as postmap(1) has them; a key in quotes may hold blanks. */
function keysOf(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    // A line that begins with a blank goes on with the one before.
    if (/^\s|^#|^$/.test(line)) return [];
    const key = /^(?:"(?:[^"\\]|\\.)*"[^\s]*|\S+)/.exec(line)?.[0];
    return key === undefined || !key.includes('@') ? [] : [key.toLowerCase()];
  });
}
