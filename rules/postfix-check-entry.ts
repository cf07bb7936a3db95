/**
 * postfix-check-entry — where mail comes in, and what concerns the whole instance.
 *
 * Hides what must happen before the filter (nothing that expands), how own users' mail goes, sizes, and settings that
 * are right during a roll-out only.
 */
import { isSameSocket } from './address.ts';
import { fail, type Finding, ok, warn } from './finding.ts';
import { retryDaysOf } from './postfix-backup.ts';
import { type Check, type Entry, setMain, setOption, titleOf, wantedFilter } from './postfix-roles.ts';
import { effective } from './postfix-site.ts';
import { isYes, listOf, secondsOf, targetOf } from './postfix-values.ts';

/** Findings about each service that takes mail in. */
export function checkEntries(check: Check): Finding[] {
  return check.entries.flatMap((entry) => {
    const found = [...checkMappings(check, entry), ...checkOwnUsers(check, entry)];
    return found.length > 0
      ? found
      : [ok(`${titleOf(entry)}: ${goesTo(entry)}, all as it must be`, entry.service.where)];
  });
}

/** Findings about the instance: what is right only during a roll-out, and how long it waits. */
export function checkInstance(check: Check): Finding[] {
  return [...checkSoftBounce(check), ...checkLifetime(check)];
}

function goesTo({ filter }: Entry): string {
  return filter.value === '' ? 'round the filter, on purpose' : `to ${filter.value}`;
}

/** Aliases expand once, behind the filter: switched off before it, and only there. */
function checkMappings({ site }: Check, entry: Entry): Finding[] {
  const { service, filter } = entry;
  const overrides = effective(site, service, 'receive_override_options');
  const given = listOf(overrides.value);
  const isOff = given.includes('no_address_mappings');
  const where = overrides.where ?? service.where;
  const title = `${titleOf(entry)}: no_address_mappings`;
  // Mail from outside without a filter is a finding of its own (postfix-check-feed).
  if (isOff && filter.value === '' && entry.kind !== 'outside') {
    const rest = given.filter((one) => one !== 'no_address_mappings').join(',');
    const what = `${title} is set, but this mail does not pass the filter: aliases never expand`;
    return [fail(what, where, setOption(service, 'receive_override_options', rest))];
  }
  if (isOff || filter.value === '') return [];
  const remedy = setOption(service, 'receive_override_options', [...given, 'no_address_mappings'].join(','));
  const copies = ['always_bcc', 'sender_bcc_maps', 'recipient_bcc_maps']
    .map((name) => effective(site, service, name))
    .find(({ value }) => value !== '');
  if (copies === undefined) {
    return [
      warn(
        `${title} is missing: aliases expand before the filter, policies of the alias are not found`,
        where,
        remedy,
      ),
    ];
  }
  return [
    fail(
      `${title} is missing: ${copies.name} adds its copy before and behind the filter, twice`,
      copies.where ?? where,
      remedy,
    ),
  ];
}

/** Mail of own users: to listen.outbound where there is one, else with a content_filter of its own, if empty. */
function checkOwnUsers(check: Check, entry: Entry): Finding[] {
  const { service, filter, kind } = entry;
  if (kind === 'outside') return [];
  const { outbound } = check.config.listen;
  const wanted = wantedFilter(check, 'out') ?? '';
  const remedy = setOption(service, 'content_filter', wanted);
  const where = filter.where ?? service.where;
  if (outbound === null) {
    if (filter.own) return [];
    const what = `${titleOf(entry)} has no content_filter of its own: own users' mail is judged as if it came from outside`;
    return filter.value === '' ? [] : [warn(what, where, remedy)];
  }
  const address = targetOf(filter.value)?.address ?? null;
  if (address !== null && isSameSocket(outbound, address)) return [];
  const what = `${titleOf(entry)} does not go to listen.outbound: ${filter.value === '' ? 'own mail is not scanned' : 'it is judged as if it came from outside'}`;
  return [warn(what, where, remedy)];
}

function checkSoftBounce({ site }: Check): Finding[] {
  const services = [null, ...site.master.services];
  return services.flatMap((service) => {
    const soft = effective(site, service, 'soft_bounce');
    if (!isYes(soft.value) || (service !== null && !soft.own)) return [];
    const what = 'soft_bounce = yes: refused mail is retried for days; for a roll-out only';
    const remedy = service === null ? setMain('soft_bounce', 'no') : setOption(service, 'soft_bounce', 'no');
    return [warn(what, soft.where, remedy)];
  });
}

/** Postfix must not bounce what a policy still means to decide (R13), nor outlive the ledger (R9). */
function checkLifetime(check: Check): Finding[] {
  const lifetime = effective(check.site, null, 'maximal_queue_lifetime');
  const seconds = secondsOf(lifetime.value, 'd');
  const title = `maximal_queue_lifetime = ${lifetime.value}`;
  if (seconds === null) return [];
  const { hours, origin } = longestDefer(check);
  if (seconds <= hours * 3600) {
    const what = `${title}, but deferAtMost.hours is ${hours} (${origin}): Postfix bounces first`;
    return [
      warn(what, lifetime.where, `${setMain('maximal_queue_lifetime', '5d')}, or lower deferAtMost.hours`),
    ];
  }
  const days = retryDaysOf(check.config);
  if (seconds > days * 86_400) {
    const what = `${title}: Sluice's ledger forgets after ${days} days, later retries may deliver twice`;
    return [warn(what, lifetime.where, setMain('maximal_queue_lifetime', `${days - 1}d`))];
  }
  return [ok(`${title} is longer than deferAtMost.hours ${hours}`, lifetime.where)];
}

function longestDefer({ policies }: Check): { hours: number; origin: string } {
  const layers =
    policies === null ? [] : [policies.defaults, policies.caps, ...Object.values(policies.recipients)];
  let longest = { hours: policies === null ? 24 : 0, origin: 'shipped default' };
  for (const layer of layers) {
    const hours = layer['deferAtMost.hours'];
    if (hours !== undefined && hours.value > longest.hours)
      longest = { hours: hours.value, origin: hours.origin };
  }
  return longest;
}
