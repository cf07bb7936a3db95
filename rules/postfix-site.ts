/**
 * postfix-site — what a parameter is for one service of this Postfix: its own option, else main.cf, else the default.
 *
 * Hides Postfix's defaults (3.7; only of parameters that the check asks for), `$name`, and the defaults of the columns of
 * master.cf. An expansion that can't be followed is said (`known: false`), never guessed.
 */
import type { MainFile, MasterFile, MasterService } from './postfix-files.ts';
import { numberOf } from './postfix-values.ts';

/** The two files, read. */
export type PostfixSite = { readonly main: MainFile; readonly master: MasterFile };

/** A parameter in force. */
export type Effective = {
  readonly name: string;
  readonly value: string;
  /** `file:line`; null: Postfix's default. */
  readonly where: string | null;
  /** Whether the service itself says so, whatever main.cf does. */
  readonly own: boolean;
  /** False: it refers to something that can't be known from the two files. */
  readonly known: boolean;
};

/** Defaults of postconf(5) in Postfix 3.7; what is not listed is empty. */
const defaults: Readonly<Record<string, string>> = {
  bounce_queue_lifetime: '5d',
  cleanup_service_name: 'cleanup',
  compatibility_level: '0',
  default_database_type: 'hash',
  default_destination_concurrency_failed_cohort_limit: '1',
  default_process_limit: '100',
  disable_mime_output_conversion: 'no',
  fast_flush_domains: '$relay_domains',
  header_checks: '',
  inet_interfaces: 'all',
  lmtp_data_done_timeout: '600s',
  lmtp_line_length_limit: '998',
  lmtp_send_xforward_command: 'no',
  local_header_rewrite_clients: 'permit_inet_interfaces',
  mailbox_size_limit: '51200000',
  maximal_queue_lifetime: '5d',
  message_size_limit: '10240000',
  mime_header_checks: '$header_checks',
  nested_header_checks: '$header_checks',
  queue_directory: '/var/spool/postfix',
  relay_transport: 'relay',
  smtp_data_done_timeout: '600s',
  smtp_fallback_relay: '$fallback_relay',
  smtp_line_length_limit: '998',
  smtp_send_xforward_command: 'no',
  smtpd_client_connection_count_limit: '50',
  smtpd_client_connection_rate_limit: '0',
  smtpd_client_event_limit_exceptions: '$mynetworks',
  smtpd_client_message_rate_limit: '0',
  smtpd_client_recipient_rate_limit: '0',
  smtpd_error_sleep_time: '1s',
  smtpd_forbid_bare_newline: 'no',
  smtpd_forbid_bare_newline_exclusions: '$mynetworks',
  smtpd_hard_error_limit: '20',
  smtpd_reject_unlisted_recipient: 'yes',
  smtpd_relay_restrictions: 'permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination',
  smtpd_sasl_auth_enable: 'no',
  smtpd_soft_error_limit: '10',
  smtpd_tls_wrappermode: 'no',
  soft_bounce: 'no',
  unknown_relay_recipient_reject_code: '550',
};

/** Defaults that Postfix works out on the machine. */
const unknowable = new Set(['mynetworks', 'myhostname', 'mydomain', 'mydestination']);

/** The parameter as `service` sees it (null: a program without options of its own). */
export function effective(site: PostfixSite, service: MasterService | null, name: string): Effective {
  const own = service?.options.get(name);
  const placed = own ?? site.main.parameters.get(name);
  const raw = placed?.value ?? defaults[name] ?? cohortDefault(site, name);
  const expanded = expand(site, service, raw, 10);
  const known = expanded.known && (placed !== undefined || !unknowable.has(name));
  return { name, value: expanded.value, where: placed?.where ?? null, own: own !== undefined, known };
}

/** The transport's entry; content filters name it without its type. */
export function transportNamed(site: PostfixSite, name: string): MasterService | undefined {
  return site.master.services.find((service) => service.name === name && service.type === 'unix');
}

/** How many processes a service may have; null: as many as it likes. */
export function maxprocOf(site: PostfixSite, service: MasterService): number | null {
  const written =
    service.maxproc === '-' ? effective(site, null, 'default_process_limit').value : service.maxproc;
  const number = numberOf(written);
  return number === 0 ? null : number;
}

/** Whether a service runs in the queue folder; `-` stands for no since compatibility level 1. */
export function isChrooted(site: PostfixSite, service: MasterService): boolean {
  if (service.chroot !== '-') return service.chroot === 'y';
  return /^0*$/.test(effective(site, null, 'compatibility_level').value.split('.')[0] ?? '');
}

/** `postconf -P`'s name for an option of a service. */
export function serviceKey({ name, type }: { readonly name: string; readonly type: string }): string {
  return `${name}/${type}`;
}

function cohortDefault(site: PostfixSite, name: string): string {
  if (!/._destination_concurrency_failed_cohort_limit$/.test(name) || name.startsWith('default_')) return '';
  return effective(site, null, 'default_destination_concurrency_failed_cohort_limit').value;
}

/** `$name`, `${name}` and `$(name)` followed; conditions and unknown names are not. */
function expand(
  site: PostfixSite,
  service: MasterService | null,
  value: string,
  depth: number,
): { value: string; known: boolean } {
  if (!value.includes('$')) return { value, known: true };
  if (depth === 0) return { value, known: false };
  let known = true;
  const expanded = value.replaceAll(
    /\$(?:\$|(\w+)|\{(\w+)\}|\((\w+)\)|.)/g,
    (whole, ...names: (string | undefined)[]) => {
      if (whole === '$$') return '$';
      const name = names.slice(0, 3).find((each) => each !== undefined);
      const text = name === undefined ? undefined : rawOf(site, service, name);
      if (text === undefined) known = false;
      return text ?? whole;
    },
  );
  if (!known) return { value: expanded, known };
  return expanded.includes('$') ? expand(site, service, expanded, depth - 1) : { value: expanded, known };
}

/** The text of a parameter before expansion; undefined where it can't be known from the files. */
function rawOf(site: PostfixSite, service: MasterService | null, name: string): string | undefined {
  const placed = service?.options.get(name) ?? site.main.parameters.get(name);
  if (placed !== undefined) return placed.value;
  if (unknowable.has(name)) return undefined;
  return defaults[name] ?? (name === 'fallback_relay' ? '' : undefined);
}
