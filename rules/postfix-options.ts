/**
 * postfix-options — the parameters that a content filter needs on either side of it, each with its reason.
 *
 * Hides which of Postfix's settings hurt a filter, and why (FACTS, postconf(5)). Lists only: which service they belong
 * to is postfix-fragment's. The order is the order of the printed text.
 */

/** One parameter of postconf(5) with the reason in one line. */
export type Option = readonly [name: string, value: string, why: string];

/** Postfix waits so long for the reply to the dot; filter/deliver.ts answers 30 s before (R5). */
export const dataDoneSeconds = 1200;

/** What the return smtpd leaves out; no_address_mappings is missing on purpose: aliases expand there. */
export const returnOverrides = [
  'no_unknown_recipient_checks',
  'no_header_body_checks',
  'no_milters',
] as const;

/** The transport to Sluice; parameter names depend on the protocol. */
export function feedOptions(client: 'lmtp' | 'smtp'): Option[] {
  return [
    [`${client}_send_xforward_command`, 'yes', 'queue id and client: without it there is no ledger'],
    [
      `${client}_data_done_timeout`,
      `${dataDoneSeconds}s`,
      'longer than any reply of Sluice takes, or mail doubles',
    ],
    [`${client}_line_length_limit`, '0', 'bytes as they are, long lines too'],
    ['disable_mime_output_conversion', 'yes', '8-bit stays 8-bit: DKIM survives'],
    [`${client}_header_checks`, '', 'what is scanned is what came in'],
    [`${client}_body_checks`, '', 'the same for the body'],
    [`${client}_generic_maps`, '', 'addresses stay: policies are looked up by them'],
    [`${client}_tls_security_level`, 'none', 'no TLS on the way to the filter'],
    [`${client}_fallback_relay`, '', 'while Sluice is away mail waits, it never goes round it'],
  ];
}

/** The return smtpd: trusts the filter and nobody else, and does nothing a second time. */
export function returnOptions(values: {
  readonly networks: string;
  readonly messageBytes: number;
  readonly cleanup: string;
}): Option[] {
  const { networks, messageBytes, cleanup } = values;
  return [
    ['content_filter', '', 'else a loop: back to Sluice for ever'],
    [
      'receive_override_options',
      returnOverrides.join(','),
      'done before the filter already; aliases expand here',
    ],
    ['cleanup_service_name', cleanup, 'the entry below'],
    ['message_size_limit', String(messageBytes), 'limits.messageBytes and room for added header lines'],
    ['mynetworks', networks, 'the filter and nobody else'],
    ['smtpd_authorized_xforward_hosts', networks, 'the first client in Received and log, not the filter'],
    ['local_header_rewrite_clients', '', 'header lines stay as they were signed'],
    ['smtpd_client_restrictions', 'permit_mynetworks,reject', 'whoever else connects is refused'],
    ['smtpd_helo_restrictions', '', 'what was accepted is not refused now: it would bounce'],
    ['smtpd_sender_restrictions', '', 'the same'],
    ['smtpd_relay_restrictions', '', 'the next line decides'],
    ['smtpd_recipient_restrictions', 'permit_mynetworks,reject', 'no open relay'],
    ['smtpd_data_restrictions', '', 'not a second time'],
    ['smtpd_end_of_data_restrictions', '', 'not a second time'],
    ['smtpd_proxy_filter', '', 'no second filter behind Sluice'],
    ['smtpd_milters', '', 'not a second time'],
    ['smtpd_sasl_auth_enable', 'no', 'Sluice does not log in'],
    ['smtpd_tls_security_level', 'none', 'Sluice speaks no TLS here'],
    ['smtpd_error_sleep_time', '0', 'a refused recipient slows nobody down'],
    ['smtpd_soft_error_limit', '1001', 'nor do many of them'],
    ['smtpd_hard_error_limit', '1000', 'nor do they end the connection'],
    ['smtpd_client_connection_count_limit', '0', 'all connections come from one client'],
    ['smtpd_forbid_bare_newline', 'yes', 'no smuggled second message (CVE-2023-51764)'],
    ['smtpd_forbid_bare_newline_exclusions', '', 'from the filter neither: loopback is exempt by default'],
  ];
}
