/**
 * amavis-topics — the names of amavisd-new's settings that policies.yaml has no place for, by topic.
 *
 * Data only: what Sluice never does, what can't be said, what is looked at one by one. Names are variables with their sigil,
 * functions, and columns of the table policy.
 */
import { isTrue } from './amavis-senders.ts';
import { fieldNames } from './amavis-settings.ts';
import type { PerlValue } from './perl-config.ts';

/** Settings of one kind: what they are, and what to do instead. */
export type Topic = { readonly names: RegExp; readonly what: string; readonly remedy: string };

/** What Sluice does not do, whatever the settings say. */
export const never: readonly Topic[] = [
  {
    names: /banned|^%?allow_?ed_|^\$banned/,
    what: 'banned file names and types',
    remedy: 'let Postfix (mime_header_checks) or clamd refuse them; Sluice judges viruses and spam only',
  },
  {
    names: /bad_?header|badh|allowed_header_tests|bypass_header_checks/,
    what: 'checks of malformed headers',
    remedy: 'let Postfix (header_checks) do it',
  },
  {
    names: /defang|sanitiz|altermime|disclaimer|undecipherable_subject/,
    what: 'sanitised, defanged or amended messages',
    remedy: 'nothing: Sluice delivers bytes as they came, or DKIM signatures break',
  },
  {
    names: /_admin(?:_maps)?$|_admin_cutoff_|^[$@]?warn|notif|^[$@]?mailfrom_(?!to_)|^\$?hdrfrom/,
    what: 'notices to administrators, senders and recipients',
    remedy: 'watch the metrics and the log; `sluice quarantine list` shows what is held',
  },
  {
    names: /addr_extension/,
    what: 'recipients with an extension added (user+spam@)',
    remedy: 'sort by X-Spam-Flag in the mailbox',
  },
  {
    names: /dkim_sign|signed_header_fields|dkim_key/,
    what: 'DKIM signing',
    remedy: 'sign with OpenDKIM or rspamd as a milter',
  },
  {
    names: /penpals|reputation|os_fingerprint|bounce_killer|ip_repu/,
    what: 'pen pals, reputations and fingerprints',
    remedy: "nothing: the score is SpamAssassin's",
  },
  {
    names: /^[$@]?(?:clean|archive)_quarantine/,
    what: 'copies of all mail',
    remedy: 'use always_bcc in Postfix',
  },
];

/** What could be meant for policies.yaml, but can't be said there. */
export const lost: readonly Topic[] = [
  {
    names: /tag3|^\$sa_spam_subject_tag1$|^@spam_subject_tag_maps$|^spam_subject_tag$/,
    what: 'a second or third tag level or subject',
    remedy: 'there is one: thresholds.spam, with subjectTag',
  },
  {
    names: /message_size_limit/,
    what: 'size limits per recipient',
    remedy: 'use message_size_limit of Postfix, for everybody',
  },
  {
    names: /forward_method_maps|^forward_method$/,
    what: 'ways back per recipient',
    remedy: 'set reinject in sluice.yaml and route in Postfix (transport_maps)',
  },
  {
    names: /sa_userconf|sa_username/,
    what: 'SpamAssassin settings per recipient',
    remedy: 'set spamdUser in sluice.yaml, one for all; thresholds go per recipient',
  },
  {
    names: /unchecked_lover/,
    what: 'recipients of unchecked mail',
    remedy: 'write onUnchecked.encrypted, overLimit and ambiguous: deliver for these recipients',
  },
  {
    names: /_by_ccat$/,
    what: 'tables by category of content',
    remedy: 'set thresholds, virus and onUnchecked by hand',
  },
  {
    names: /to_policy_bank_maps$|^@client_ipaddr_policy$/,
    what: 'policy banks chosen by author, virus name or client',
    remedy: 'write by recipient what they change; for what the site sends: outbound',
  },
  {
    names: /localpart_is_case_sensitive/,
    what: 'local parts that differ in case only',
    remedy: 'nothing: Sluice compares them in lower case',
  },
];

/** Looked at one by one. */
export const special = new Set(
  '%policy_bank %interface_policy $inet_socket_port $inet_socket_bind $forward_method $sa_mail_body_size_limit @av_scanners @av_scanners_backup @lookup_sql_dsn @storage_sql_dsn $enable_ldap %sql_clause $sql_select_policy $sql_select_white_black_list $recipient_delimiter @local_domains_maps @local_domains_acl %local_domains $local_domains_re $smtpd_message_size_limit $unix_socketname'.split(
    ' ',
  ),
);

/** Columns whose meaning is carried over. */
export const usedColumns = new Set([
  'id',
  'policy_name',
  ...Object.values(fieldNames).map(({ column }) => column ?? ''),
]);
/** Whether a setting does anything: not undef, nought or empty. */
export function isInEffect(value: PerlValue): boolean {
  if (value.kind === 'list') return value.items.length > 0;
  if (value.kind === 'hash') return value.entries.length > 0;
  return isTrue(value);
}
