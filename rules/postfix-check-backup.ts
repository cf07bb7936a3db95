/**
 * postfix-check-backup — main.cf of a backup MX against the fragment that `sluice postfix --role backup` prints.
 *
 * Hides what each setting costs where it is missing: an open door for backscatter, a queue that gives up before the primary is
 * back, an ETRN that anybody may say. On a primary there is nothing to say.
 */
import { fail, type Finding, ok, warn } from './finding.ts';
import {
  backupOptions,
  backupQueueDays,
  placeholderEnd,
  recipientsFile,
  staleEnd,
} from './postfix-backup.ts';
import { type Check, setMain } from './postfix-roles.ts';
import { type Effective, effective } from './postfix-site.ts';
import { isYes, listOf, numberOf, secondsOf } from './postfix-values.ts';

/** What is wrong with a value, how bad that is, and what to write instead of what the fragment has. */
type Wrong = { readonly level: 'warn' | 'fail'; readonly what: string; readonly remedy?: string };
type Judge = (value: string, check: Check) => Wrong | null;

/** Findings about a backup's settings. */
export function checkBackup(check: Check): Finding[] {
  if (check.config.role !== 'backup') return [];
  const found = [
    ...Object.entries(judges).flatMap(([name, judge]) => judged(check, name, judge)),
    ...checkServices(check),
    ...checkOverlap(check),
    ...checkSize(check),
    ...checkAge(check),
  ];
  return found.length > 0 ? found : [ok('Postfix is set up as a backup MX', check.site.main.file)];
}

const backscatter =
  'mail to nobody is accepted here and bounces to forged senders when the primary refuses it';

const judges: Readonly<Record<string, Judge>> = {
  relay_domains: (value) =>
    value === ''
      ? bad('fail', "it is empty: the primary's mail is refused")
      : unfilled(value, "the primary's mail is refused"),
  relay_recipient_maps: (value, { config }) => {
    if (value === '') return bad('fail', backscatter);
    const file = recipientsFile(config);
    return namesFile(value, file)
      ? null
      : bad('warn', `${file}, which comes with each sync, is not among them`);
  },
  relay_transport: (value) =>
    unfilled(value, "the primary's mail stays here until it bounces") ??
    (/^[^:\s]+:\[[^\]]+\](?::\w+)?$/.test(value)
      ? null
      : bad(
          'warn',
          'without a host in brackets the way is looked up in MX records, where this machine stands too',
        )),
  smtpd_recipient_restrictions: (value, { config }) => {
    const [first, second] = listOf(value);
    const stale = `${recipientsFile(config)}${staleEnd}`;
    if (first === 'check_recipient_access' && second !== undefined && namesFile(second, stale)) return null;
    const where = namesFile(value, stale) ? 'it does not stand first' : 'it is missing';
    const rest = listOf(value).length === 0 ? '' : ', and then yours';
    return bad(
      'warn',
      `check_recipient_access of ${stale}: ${where}: over 26 h without a sync, new users' mail is refused for good`,
      `write first: check_recipient_access \${default_database_type}:${stale}${rest}`,
    );
  },
  smtpd_reject_unlisted_recipient: (value) => (isYes(value) ? null : bad('fail', backscatter, 'yes')),
  unknown_relay_recipient_reject_code: (value) =>
    value.startsWith('5')
      ? null
      : bad('warn', 'unknown recipients are never refused: senders try for days', '550'),
  fast_flush_domains: (value) => (value === '' ? bad('warn', 'no domain can be flushed by ETRN') : null),
  smtpd_etrn_restrictions: (value) =>
    value === ''
      ? bad('warn', 'anybody may have the queue flushed')
      : (unfilled(value, 'the primary may not say ETRN') ??
        (['reject', 'defer'].includes(listOf(value).at(-1) ?? '')
          ? null
          : bad('warn', 'it does not end in reject: anybody may have the queue flushed'))),
  smtpd_client_connection_rate_limit: rate,
  smtpd_client_message_rate_limit: rate,
  smtpd_client_recipient_rate_limit: rate,
  maximal_queue_lifetime: (value) =>
    atLeast(value, 'mail bounces before a primary that is away for longer is back'),
  bounce_queue_lifetime: (value) =>
    atLeast(value, 'delivery reports for your users are dropped before the primary is back'),
};

function rate(value: string): Wrong | null {
  return numberOf(value) === 0
    ? bad('warn', 'one client may keep this machine busy: spammers aim at a backup')
    : null;
}

function atLeast(value: string, cost: string): Wrong | null {
  const seconds = secondsOf(value, 'd');
  return seconds === null || seconds >= backupQueueDays * 86_400 ? null : bad('warn', cost);
}

function unfilled(value: string, cost: string): Wrong | null {
  const left = listOf(value.replaceAll(/[{}[\]:]/g, ' ')).find((word) => word.endsWith(placeholderEnd));
  return left === undefined ? null : bad('fail', `${left} has yet to be filled in: ${cost}`);
}

function bad(level: Wrong['level'], what: string, remedy?: string): Wrong {
  return remedy === undefined ? { level, what } : { level, what, remedy };
}

/** Whether a list of tables has one whose file this is. */
function namesFile(value: string, file: string): boolean {
  return listOf(value).some((table) => table.endsWith(`:${file}`));
}

function judged(check: Check, name: string, judge: Judge): Finding[] {
  const { site, config, policies } = check;
  const found = effective(site, null, name);
  const wrong = judge(found.value, check);
  if (wrong === null) return [];
  const wanted = backupOptions(config, { policies, primary: null }).find(([option]) => option === name)?.[1];
  const remedy = remedyOf(name, wrong, wanted);
  const title = `${name} = ${found.value}${found.where === null ? ' (default)' : ''}`;
  return [
    { level: wrong.level, what: `${title}: ${wrong.what}`, where: placeOf(found, site.main.file), remedy },
  ];
}

function remedyOf(name: string, { remedy }: Wrong, wanted: string | undefined): string {
  if (remedy?.includes(' ') === true) return remedy;
  const value = remedy ?? wanted;
  if (value === undefined || value.includes(placeholderEnd))
    return `write it as sluice postfix --role backup --primary ADDRESS prints it, with your own names: ${name}`;
  return setMain(name, value);
}

function placeOf({ where }: Effective, file: string): string {
  return where ?? file;
}

/** The transport to the primary, and flush(8), which knows what waits for a domain. */
function checkServices({ site }: Check): Finding[] {
  const { services } = site.master;
  const named = /^([^:\s]+):/.exec(effective(site, null, 'relay_transport').value)?.[1] ?? 'relay';
  const transport = services.some(({ name, type }) => name === named && type === 'unix');
  const flush = services.some(({ command }) => command === 'flush');
  return [
    ...(transport
      ? []
      : [
          fail(
            `relay_transport names ${named}, which master.cf does not have: the primary's mail is deferred`,
            site.master.file,
            'put the entry relay of the master.cf that comes with Postfix back',
          ),
        ]),
    ...(flush
      ? []
      : [
          warn(
            'master.cf has no flush(8): ETRN is refused',
            site.master.file,
            'put the entry flush of the master.cf that comes with Postfix back',
          ),
        ]),
  ];
}

/** A domain that is relayed and delivered here at once: Postfix delivers, the primary never sees it. */
function checkOverlap({ site }: Check): Finding[] {
  const relayed = new Set(listOf(effective(site, null, 'relay_domains').value));
  return ['mydestination', 'virtual_mailbox_domains', 'virtual_alias_domains'].flatMap((name) => {
    const found = effective(site, null, name);
    const both = found.where === null ? undefined : listOf(found.value).find((domain) => relayed.has(domain));
    if (both === undefined) return [];
    const what = `${both} stands in ${name} and in relay_domains: its mail is delivered here, not to the primary`;
    return [fail(what, found.where, `take ${both} out of ${name}`)];
  });
}

/** Smaller here: mail is refused that the primary takes. Larger: it is accepted and bounces. Any value may be right: setup asks. */
function checkSize({ site }: Check): Finding[] {
  const size = effective(site, null, 'message_size_limit');
  if (size.where !== null) return [];
  const what = `message_size_limit = ${size.value} (default): whether the primary has the same nobody can tell`;
  const remedy =
    "write the primary's own: postconf -h message_size_limit there; sluice bayes setup compares the two";
  return [warn(what, site.main.file, remedy)];
}

/** Without it Sluice knows of no map: none comes with a sync, and the table for a stale one is never exchanged. */
function checkAge({ config }: Check): Finding[] {
  if (config.bayes.recipients !== null) return [];
  const what =
    'bayes.recipients is null: no map of recipients comes with a sync, and nobody looks how old it is';
  const remedy = `write into sluice.yaml, on the primary with its own map: bayes: { recipients: ${recipientsFile(config)} }`;
  return [warn(what, null, remedy)];
}
