/**
 * postfix-config — the text of main.cf and master.cf of the private Postfix.
 *
 * Hides every setting that a content filter needs on either side of it: the feed, the scan transport, the return smtpd
 * and the sink. Templates come from here, never from the machine's own Postfix. Nothing here touches a file.
 */

import type { Owner } from './postfix-folders.ts';

/** Parameters of postconf(5), name to value. */
export type Parameters = Readonly<Record<string, string>>;

/** What the texts depend on; see `PostfixOptions` in postfix.ts for the meaning of what is optional there. */
export type Site = {
  readonly folder: string;
  readonly feedPort: number;
  readonly returnPort: number;
  readonly feedProtocol: 'lmtp' | 'smtp';
  readonly sluice: string;
  readonly contentFilter: boolean;
  readonly sink: 'maildir' | { readonly smtp: number };
  readonly mailOwner: Owner;
  readonly messageSizeLimit: number;
  readonly retrySeconds: number;
  readonly scanProcesses: number;
  readonly mainOverrides: Parameters;
  readonly feedOptions: Parameters;
  readonly scanOptions: Parameters;
  /** Laid over the options below; null: there is no return smtpd at all, connections are refused. */
  readonly returnOptions: Parameters | null;
  /** Counts the configurations written: names the last service of master.cf, so that a reload can be awaited. */
  readonly generation: number;
};

/** Name of the service that does nothing but show that master has read all of master.cf. */
export function generationName(site: Site): string {
  return `generation-${site.generation}`;
}

/** Header lines that filter and return smtpd add must not make a message near the limit bounce (FACTS.md). */
const headroomBytes = 102_400;

/** main.cf: loopback only, no port 25, nothing shared with the machine's own Postfix, retries as quick as asked for. */
export function mainText(site: Site): string {
  const retry = `${site.retrySeconds}s`;
  return Object.entries({
    compatibility_level: '3.6',
    queue_directory: `${site.folder}/queue`,
    data_directory: `${site.folder}/data`,
    maillog_file: `${site.folder}/log/maillog`,
    maillog_file_prefixes: `${site.folder}/log`,
    myhostname: 'mail.demo.test',
    mydestination: '',
    mynetworks: '127.0.0.0/8',
    inet_interfaces: '127.0.0.1',
    inet_protocols: 'ipv4',
    smtp_dns_support_level: 'disabled',
    smtputf8_enable: 'yes',
    content_filter: site.contentFilter ? `scan:${nexthopOf(site.sluice)}` : '',
    // Every recipient is handed to the sink: this Postfix delivers for whatever domain a test thinks of.
    default_transport: site.sink === 'maildir' ? 'virtual' : `sink:[127.0.0.1]:${site.sink.smtp}`,
    local_transport: '$default_transport',
    local_recipient_maps: '',
    alias_maps: '',
    alias_database: '',
    virtual_mailbox_domains: '',
    virtual_mailbox_base: `${site.folder}/mail`,
    virtual_mailbox_maps: 'static:Maildir/',
    virtual_mailbox_limit: '0',
    virtual_minimum_uid: '1',
    virtual_uid_maps: `static:${site.mailOwner.uid}`,
    virtual_gid_maps: `static:${site.mailOwner.gid}`,
    message_size_limit: String(site.messageSizeLimit + headroomBytes),
    smtpd_relay_restrictions: 'permit_mynetworks, reject',
    append_dot_mydomain: 'no',
    biff: 'no',
    notify_classes: '',
    in_flow_delay: '0s',
    queue_run_delay: retry,
    minimal_backoff_time: retry,
    maximal_backoff_time: retry,
    transport_retry_time: retry,
    // A process that a test kills before it served anybody makes master wait before it starts the next one.
    service_throttle_time: retry,
    // A refused connection must not suspend the filter for minutes (FACTS.md).
    scan_destination_concurrency_failed_cohort_limit: '1000',
    ...site.mainOverrides,
  })
    .map(([name, value]) => `${name} = ${value}\n`)
    .join('');
}

/** master.cf: feed and return smtpd in one instance, as on a real site; nothing is chrooted. */
export function masterText(site: Site): string {
  const feed: Parameters = {
    message_size_limit: String(site.messageSizeLimit),
    // Aliases expand after the filter, once (FACTS.md).
    ...(site.contentFilter ? { receive_override_options: 'no_address_mappings' } : {}),
    smtpd_authorized_xforward_hosts: '127.0.0.0/8',
    // Clients of the feed stand for the outside world: their headers stay as they are.
    local_header_rewrite_clients: '',
    ...site.feedOptions,
  };
  const services = [
    service(`127.0.0.1:${site.feedPort}`, 'inet', 100, 'smtpd', feed),
    service('scan', 'unix', site.scanProcesses, site.feedProtocol, scanOptions(site)),
    service('sink', 'unix', 20, 'smtp', sinkOptions),
  ];
  if (site.returnOptions !== null) {
    const options = { ...returnDefaults, ...site.returnOptions };
    services.push(service(`127.0.0.1:${site.returnPort}`, 'inet', 120, 'smtpd', options));
  }
  return `${services.join('')}${postfixServices}${service(generationName(site), 'unix', 1, 'discard', {})}`;
}

/** The scan transport: bytes as they are, XFORWARD, and time for a scan (FACTS.md). */
function scanOptions(site: Site): Parameters {
  const client = site.feedProtocol;
  return {
    [`${client}_send_xforward_command`]: 'yes',
    [`${client}_line_length_limit`]: '0',
    [`${client}_generic_maps`]: '',
    [`${client}_tls_security_level`]: 'none',
    [`${client}_data_done_timeout`]: '1200s',
    disable_mime_output_conversion: 'yes',
    ...site.scanOptions,
  };
}

/** The way to a test's own SMTP server: shows it what arrived, XFORWARD included. */
const sinkOptions: Parameters = {
  smtp_send_xforward_command: 'yes',
  smtp_line_length_limit: '0',
  smtp_generic_maps: '',
  smtp_tls_security_level: 'none',
};

/** The return smtpd: trusts the filter and nobody else, and does nothing a second time (FACTS.md). */
const returnDefaults: Parameters = {
  content_filter: '',
  receive_override_options: 'no_unknown_recipient_checks,no_header_body_checks,no_milters',
  mynetworks: '127.0.0.0/8',
  smtpd_authorized_xforward_hosts: '127.0.0.0/8',
  local_header_rewrite_clients: '',
  smtpd_client_restrictions: 'permit_mynetworks,reject',
  smtpd_helo_restrictions: '',
  smtpd_sender_restrictions: '',
  smtpd_recipient_restrictions: 'permit_mynetworks,reject',
  smtpd_data_restrictions: '',
  smtpd_end_of_data_restrictions: '',
  smtpd_proxy_filter: '',
  smtpd_milters: '',
  smtpd_sasl_auth_enable: 'no',
  smtpd_tls_security_level: 'none',
  smtpd_error_sleep_time: '0',
  smtpd_soft_error_limit: '1001',
  smtpd_hard_error_limit: '1000',
  smtpd_client_connection_count_limit: '0',
  smtpd_forbid_bare_newline: 'yes',
  smtpd_forbid_bare_newline_exclusions: '',
};

/** What any Postfix needs behind the four services above (master(5)); pickup passes through the filter as well. */
const postfixServices = `\
pickup    unix  n - n 60    1 pickup -o receive_override_options=no_address_mappings
cleanup   unix  n - n -     0 cleanup
qmgr      unix  n - n 300   1 qmgr
rewrite   unix  - - n -     - trivial-rewrite
bounce    unix  - - n -     0 bounce
defer     unix  - - n -     0 bounce
trace     unix  - - n -     0 bounce
verify    unix  - - n -     1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -     - proxymap
smtp      unix  - - n -     - smtp
relay     unix  - - n -     - smtp
showq     unix  n - n -     - showq
error     unix  - - n -     - error
retry     unix  - - n -     - error
discard   unix  - - n -     - discard
virtual   unix  - n n -     - virtual
anvil     unix  - - n -     1 anvil
scache    unix  - - n -     1 scache
postlog   unix-dgram n - n - 1 postlogd
`;

function service(
  name: string,
  type: 'inet' | 'unix',
  maxproc: number,
  command: string,
  options: Parameters,
): string {
  const lines = Object.entries(options).map(([key, value]) => `\n    -o { ${key} = ${value} }`);
  return `${name} ${type} ${type === 'inet' ? 'n' : '-'} - n - ${maxproc} ${command}${lines.join('')}\n`;
}

/** `host:port` as Postfix wants it, without a look-up in the DNS; `unix:/path` stays (LMTP only: lmtp(8)). */
function nexthopOf(address: string): string {
  if (address.startsWith('unix:')) return address;
  const at = address.lastIndexOf(':');
  return `[${address.slice(0, at)}]:${address.slice(at + 1)}`;
}
