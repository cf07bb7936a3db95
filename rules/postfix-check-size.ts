/**
 * postfix-check-size — message_size_limit on the way: outside smtpd < Sluice < return smtpd and the cleanup behind it.
 *
 * Hides where Postfix enforces a size (smtpd(8) what comes in, cleanup(8) the whole queue file) and that header lines
 * come on top at every station. Too small anywhere behind the first means a bounce of mail that was accepted.
 */
import { fail, type Finding, ok, warn } from './finding.ts';
import type { MasterService } from './postfix-files.ts';
import { headroomBytes, messageSizeMaxOf } from './postfix-fragment.ts';
import { type Check, type Entry, setMain, setOption, titleOf } from './postfix-roles.ts';
import { effective, transportNamed } from './postfix-site.ts';
import { limitOf } from './postfix-values.ts';

/** Findings about sizes, in the order in which a message passes. */
export function checkSizes(check: Check): Finding[] {
  const { back, entries, config } = check;
  const found = [
    ...entries.flatMap((entry) => checkEntry(check, entry)),
    ...(back === null ? [] : checkReturn(check, back)),
    ...checkMailboxes(check),
  ];
  const what = `message_size_limit leaves room on either side of limits.messageBytes ${config.limits.messageBytes}`;
  return found.length > 0 ? found : [ok(what)];
}

/** What Postfix takes must fit into Sluice with the header lines that come on top. */
function checkEntry({ site, config }: Check, entry: Entry): Finding[] {
  const { service, filter } = entry;
  if (filter.value === '') return [];
  const limit = effective(site, service, 'message_size_limit');
  const most = messageSizeMaxOf(config);
  const bytes = limitOf(limit.value);
  if (bytes !== null && bytes <= most) return [];
  const state = `${titleOf(entry)}: message_size_limit = ${limit.value}`;
  const what = `${state}, but limits.messageBytes is ${config.limits.messageBytes}: larger mail is accepted and then bounces`;
  return [
    fail(
      what,
      limit.where ?? service.where,
      `${limit.own ? setOption(service, 'message_size_limit', String(most)) : setMain('message_size_limit', String(most))}, or raise limits.messageBytes`,
    ),
  ];
}

/** Room for header lines, at the return smtpd and at the cleanup(8) behind it, whose limit holds as well. */
function checkReturn(check: Check, back: MasterService): Finding[] {
  const { site, entries } = check;
  const outside = entries
    .filter(({ filter }) => filter.value !== '')
    .map(({ service }) => effective(site, service, 'message_size_limit'));
  // What is larger than Sluice takes is checkEntry's to tell; raising this side would not help.
  const largest = Math.min(
    messageSizeMaxOf(check.config),
    Math.max(0, ...outside.map(({ value }) => limitOf(value) ?? 0)),
  );
  const cleanupName = effective(site, back, 'cleanup_service_name').value;
  const cleanup = transportNamed(site, cleanupName) ?? null;
  if (cleanup === null) {
    return [
      fail(
        `${back.name}: cleanup service ${cleanupName} is missing in master.cf`,
        back.where,
        'add the entry that sluice postfix prints',
      ),
    ];
  }
  const needed = largest + headroomBytes;
  return [back, cleanup].flatMap((service) => {
    const limit = effective(site, service, 'message_size_limit');
    if ((limitOf(limit.value) ?? 0) >= needed) return [];
    const what = `${service.name}: message_size_limit = ${limit.value} leaves no headroom above ${largest} for added header lines: mail near the limit bounces`;
    // Raising it for the cleanup that everybody shares is no way: main.cf's limit is what local(8) compares with.
    const isShared = service === cleanup && cleanupName === 'cleanup';
    const remedy = isShared
      ? 'add the return-cleanup entry and the cleanup_service_name that sluice postfix prints'
      : setOption(service, 'message_size_limit', String(check.config.limits.messageBytes + headroomBytes));
    return [fail(what, limit.where ?? service.where, remedy)];
  });
}

/** local(8) and virtual(8) refuse to start where a mailbox may be smaller than a message. */
function checkMailboxes({ site }: Check): Finding[] {
  const size = effective(site, null, 'message_size_limit');
  const mailbox = effective(site, null, 'mailbox_size_limit');
  if ((limitOf(size.value) ?? 0) <= (limitOf(mailbox.value) ?? 0)) return [];
  const what = `mailbox_size_limit = ${mailbox.value} is smaller than message_size_limit ${size.value}: local(8) does not start`;
  return [warn(what, mailbox.where ?? size.where, setMain('mailbox_size_limit', '0'))];
}
