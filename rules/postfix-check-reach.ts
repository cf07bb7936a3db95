/**
 * postfix-check-reach — who reaches the return smtpd, and what they may do there.
 *
 * Mail that comes in here is never scanned: whoever is let in besides the filter has a way round it. Hides how Postfix
 * says where a service listens and whom it trusts.
 */
import { fail, type Finding, warn } from './finding.ts';
import { filterNetworks, inetName } from './postfix-address.ts';
import type { MasterService } from './postfix-files.ts';
import { type Check, setOption } from './postfix-roles.ts';
import { type Effective, effective } from './postfix-site.ts';
import { endpointOf, isLocalHost, listOf, networkKind } from './postfix-values.ts';

/** Findings about mynetworks, the address that the service listens on, and its last restriction. */
export function checkReach(check: Check, back: MasterService): Finding[] {
  const networks = effective(check.site, back, 'mynetworks');
  return [...checkNetworks(check, back, networks), ...checkAddress(check, back), ...checkGuard(check, back)];
}

/** The filter, and nobody else. */
function checkNetworks(check: Check, back: MasterService, networks: Effective): Finding[] {
  const { value, known } = networks;
  const where = networks.where ?? back.where;
  const wanted = filterNetworks(check.config);
  const remedy = setOption(back, 'mynetworks', wanted === '' ? 'ADDRESS-OF-SLUICE' : wanted);
  const title = `${back.name}: mynetworks`;
  if (!known) return [fail(`${title} is not given: whole subnets may be trusted`, where, remedy)];
  const members = listOf(value);
  const found: Finding[] = [];
  if (!members.some((one) => isFilter(one, wanted))) {
    found.push(fail(`${title} = ${value} does not have the filter: all mail is deferred`, where, remedy));
  }
  const foreign = members
    .filter((one) => !isFilter(one, wanted) && networkKind(one) !== 'loopback')
    .join(', ');
  if (foreign === '') return found;
  const what = isOpen(check, back)
    ? fail(`${title} has ${foreign}, and the port is open to them: a relay round the filter`, where, remedy)
    : warn(`${title} has ${foreign}: others than the filter are trusted`, where, remedy);
  return [...found, what];
}

/** Whether a member of mynetworks is the filter; loopback may be written in many ways. */
function isFilter(member: string, wanted: string): boolean {
  const isSameFamily = member.startsWith('[') === wanted.startsWith('[');
  const isLoopback = networkKind(wanted) === 'loopback' && networkKind(member) === 'loopback';
  return listOf(wanted).includes(member) || (isLoopback && isSameFamily);
}

function checkAddress(check: Check, back: MasterService): Finding[] {
  const { reinject } = check.config;
  if (!isOpen(check, back)) return [];
  const found: Finding[] = [];
  if (reinject.kind === 'tcp' && isLocalHost(reinject.host)) {
    const address = inetName(reinject);
    const what = `${back.name} listens beyond loopback, though Sluice is here`;
    found.push(warn(what, back.where, `write ${address} for ${back.name}`));
  }
  const last = ['smtpd_client_restrictions', 'smtpd_recipient_restrictions'].map((name) =>
    listOf(effective(check.site, back, name).value).at(-1),
  );
  if (last.some((word) => word === 'reject' || word === 'defer')) return found;
  const what = `${back.name} listens beyond loopback and lets everybody in: unscanned mail for the site's own domains`;
  const remedy = setOption(back, 'smtpd_client_restrictions', 'permit_mynetworks,reject');
  return [...found, fail(what, back.where, remedy)];
}

/** smtpd(8) does not start where nothing keeps strangers from relaying (postconf(5), smtpd_relay_restrictions). */
function checkGuard({ site }: Check, back: MasterService): Finding[] {
  const words = ['smtpd_relay_restrictions', 'smtpd_recipient_restrictions'].flatMap((name) => {
    const { value, known } = effective(site, back, name);
    return known ? listOf(value) : ['reject'];
  });
  if (words.some((word) => guards.has(word))) return [];
  const what = `${back.name}: neither relay nor recipient restrictions end in reject: smtpd does not start`;
  const remedy = setOption(back, 'smtpd_recipient_restrictions', 'permit_mynetworks,reject');
  return [fail(what, back.where, remedy)];
}

const guards = new Set([
  'reject',
  'defer',
  'defer_if_permit',
  'reject_unauth_destination',
  'defer_unauth_destination',
]);

/** Whether others than this machine reach the port. */
export function isOpen({ site }: Check, back: MasterService): boolean {
  if (back.type !== 'inet') return false;
  const host = endpointOf(back.name)?.host ?? null;
  if (host !== null) return !isLocalHost(host);
  const interfaces = listOf(effective(site, null, 'inet_interfaces').value);
  return !interfaces.every((one) => one === 'loopback-only' || isLocalHost(one));
}
