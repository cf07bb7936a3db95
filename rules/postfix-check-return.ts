/**
 * postfix-check-return — the return smtpd: it must take everything from the filter, once, and nothing from anybody else.
 *
 * Hides what each missing override costs. Values in force are judged, wherever they come from; those that are right only
 * because main.cf leaves them alone are named in one warning.
 */
import { formatAddress } from './config.ts';
import { fail, type Finding, ok, warn } from './finding.ts';
import { filterNetworks } from './postfix-address.ts';
import type { MasterService } from './postfix-files.ts';
import { returnSettings } from './postfix-fragment.ts';
import { checkReach } from './postfix-check-reach.ts';
import { type Judge, judged, nonEmpty } from './postfix-judge.ts';
import { returnOverrides } from './postfix-options.ts';
import { type Check, setOption } from './postfix-roles.ts';
import { effective } from './postfix-site.ts';
import { isYes, limitOf, listOf, networkKind, numberOf } from './postfix-values.ts';

/** Findings about the return smtpd, or that there is none. */
export function checkReturn(check: Check): Finding[] {
  const { back } = check;
  if (back === null) return [missing(check)];
  const found = [
    ...judgeAll(check, back),
    ...checkOverrides(check, back),
    ...checkReach(check, back),
    ...unpinned(check, back),
  ];
  return found.length > 0
    ? found
    : [ok(`return smtpd ${back.name}: all settings as they must be`, back.where)];
}

function missing({ config, site, entries }: Check): Finding {
  const address = formatAddress(config.reinject);
  const what = `return smtpd is missing: no entry of master.cf listens on ${address}`;
  // What takes mail in and is no entry of the site is a way back, of whatever it may be.
  const other = site.master.services.find(
    (service) => service.command === 'smtpd' && entries.every((entry) => entry.service !== service),
  );
  if (other === undefined) return fail(what, site.master.file, 'add the entry that sluice postfix prints');
  const hint = `smtpd ${other.name} looks like it, but reinject is ${address}`;
  return fail(`${what}; ${hint}`, other.where, `write ${address} for ${other.name}`);
}

const refusedAgain = 'what was accepted before the filter is refused behind it';

/** One entry of the fragment each; receive_override_options, mynetworks and sizes have rules of their own. */
const judges: Readonly<Record<string, Judge>> = {
  content_filter: {
    level: 'fail',
    bad: (value) => nonEmpty(value, 'a loop, every message goes back to the filter'),
  },
  smtpd_authorized_xforward_hosts: { level: 'warn', bad: xforwardProblem },
  local_header_rewrite_clients: {
    level: 'warn',
    bad: (value) => nonEmpty(value, 'headers of mail that is only passing change'),
  },
  smtpd_client_restrictions: { level: 'fail', bad: (value) => (letsFilterIn(value) ? null : refusedAgain) },
  smtpd_helo_restrictions: { level: 'fail', bad: (value) => (letsFilterIn(value) ? null : refusedAgain) },
  smtpd_sender_restrictions: { level: 'fail', bad: (value) => (letsFilterIn(value) ? null : refusedAgain) },
  smtpd_relay_restrictions: { level: 'fail', bad: (value) => (letsFilterIn(value) ? null : refusedAgain) },
  smtpd_recipient_restrictions: {
    level: 'fail',
    bad: (value) => (letsFilterIn(value) ? null : refusedAgain),
  },
  smtpd_data_restrictions: { level: 'fail', bad: (value) => (letsFilterIn(value) ? null : refusedAgain) },
  smtpd_end_of_data_restrictions: {
    level: 'fail',
    bad: (value) => (letsFilterIn(value) ? null : refusedAgain),
  },
  smtpd_proxy_filter: { level: 'fail', bad: (value) => nonEmpty(value, 'a second filter behind Sluice') },
  smtpd_sasl_auth_enable: {
    level: 'warn',
    bad: (value) => (isYes(value) ? 'passwords can be tried on this port' : null),
  },
  smtpd_tls_security_level: {
    level: 'fail',
    bad: (value) =>
      /^(?:none|may|)$/.test(value) ? null : 'Sluice speaks no TLS here: all mail is deferred',
  },
  smtpd_tls_wrappermode: {
    level: 'fail',
    bad: (value) => (isYes(value) ? 'Sluice speaks no TLS here: all mail is deferred' : null),
  },
  smtpd_error_sleep_time: {
    level: 'warn',
    bad: (value) =>
      /^0[smhdw]?$/.test(value) ? null : 'each refused recipient after the tenth costs that time',
  },
  smtpd_soft_error_limit: {
    level: 'warn',
    bad: (value) => atLeast(value, 1000, 'replies slow down after so many refused recipients'),
  },
  smtpd_hard_error_limit: {
    level: 'warn',
    bad: (value) => atLeast(value, 1000, 'the connection ends after so many refused recipients'),
  },
  smtpd_client_connection_count_limit: { level: 'warn', bad: connectionProblem },
  smtpd_forbid_bare_newline: {
    level: 'warn',
    bad: (value) =>
      /^(?:yes|normalize|reject)$/i.test(value) ? null : 'a bare newline may end a message (CVE-2023-51764)',
  },
  smtpd_forbid_bare_newline_exclusions: {
    level: 'warn',
    bad: (value) => nonEmpty(value, 'the filter is exempt from smtpd_forbid_bare_newline'),
  },
};

function judgeAll(check: Check, back: MasterService): Finding[] {
  const advice = new Map(returnSettings(check.config).map(({ name, value }) => [name, value]));
  return Object.entries(judges).flatMap(([name, judge]) => {
    const remedy = setOption(back, name, advice.get(name) ?? 'no');
    return judged(check, judge, effective(check.site, back, name), back, remedy);
  });
}

/** receive_override_options: what must be left out a second time, and what must not. */
function checkOverrides({ site, entries }: Check, back: MasterService): Finding[] {
  const overrides = effective(site, back, 'receive_override_options');
  const given = listOf(overrides.value);
  const where = overrides.where ?? back.where;
  const remedy = setOption(back, 'receive_override_options', returnOverrides.join(','));
  const found = returnOverrides.flatMap((name) => {
    const cost = given.includes(name) ? null : costWithout(name, site, back);
    if (cost === null) return [];
    const what = `${back.name}: ${name} is not in receive_override_options: ${cost}`;
    return [(name === 'no_unknown_recipient_checks' ? warn : fail)(what, where, remedy)];
  });
  if (given.includes('no_address_mappings')) {
    const isBoth = entries.some(({ service, filter }) => {
      const before = effective(site, service, 'receive_override_options');
      return filter.value !== '' && listOf(before.value).includes('no_address_mappings');
    });
    const cost = isBoth
      ? 'before and behind the filter: aliases never expand'
      : 'on the wrong side of the filter';
    found.push(fail(`${back.name}: no_address_mappings is set ${cost}`, where, remedy));
  }
  return found;
}

/** What happens a second time without an override; null where there is nothing to happen. */
function costWithout(
  override: (typeof returnOverrides)[number],
  site: Check['site'],
  back: MasterService,
): string | null {
  if (override === 'no_unknown_recipient_checks') return 'a failing table defers what was accepted already';
  const isMilters = override === 'no_milters';
  const names = isMilters ? ['smtpd_milters'] : [...headerChecks, 'body_checks'];
  const set = names
    .map((name) => effective(site, isMilters ? back : null, name))
    .find(({ value }) => value !== '');
  return set === undefined ? null : `${set.name} = ${set.value} runs a second time`;
}

const headerChecks = ['header_checks', 'mime_header_checks', 'nested_header_checks'];

/** Settings of the fragment that the service does not pin, though they are right today. */
function unpinned({ site, config }: Check, back: MasterService): Finding[] {
  const loose = returnSettings(config).filter(({ name }) => {
    const { where, own } = effective(site, back, name);
    return !own && where === null && judges[name]?.level === 'fail' && name !== 'content_filter';
  });
  if (loose.length === 0) return [];
  const names = loose.map(({ name }) => name).join(', ');
  const what = `${back.name} does not say ${names} itself: right today, wrong as soon as main.cf has them`;
  return [warn(what, back.where, loose.map(({ name, value }) => setOption(back, name, value)).join('; '))];
}

/** Whether nothing may refuse the filter before permit_mynetworks lets it pass. */
function letsFilterIn(value: string): boolean {
  const words = listOf(value);
  const at = words.indexOf('permit_mynetworks');
  const before = at === -1 ? words : words.slice(0, at);
  return before.every((word) => word.startsWith('permit') || word === 'reject_unauth_pipelining');
}

function xforwardProblem(value: string, { config }: Check): string | null {
  const wanted = listOf(filterNetworks(config));
  const hosts = listOf(value);
  const hasLoopback =
    wanted.some((one) => networkKind(one) === 'loopback') &&
    hosts.some((one) => networkKind(one) === 'loopback' || one === 'localhost');
  if (hasLoopback || wanted.some((one) => hosts.includes(one))) return null;
  return 'the filter is missing, so log and Received name the filter for every client';
}

function connectionProblem(value: string, check: Check): string | null {
  const limit = limitOf(value) ?? 0;
  const { inFlight } = check.config.limits;
  // Clients of mynetworks are exempt by default.
  const exempt =
    check.back !== null &&
    effective(check.site, check.back, 'smtpd_client_event_limit_exceptions').where === null;
  return limit >= inFlight || exempt ? null : `fewer than limits.inFlight, which is ${inFlight}`;
}

function atLeast(value: string, least: number, cost: string): string | null {
  return (numberOf(value) ?? 0) >= least ? null : cost;
}
