/**
 * postfix-config — the text of main.cf and master.cf of the private Postfix.
 *
 * Hides the feed, the sink, and what any Postfix needs. What belongs to the filter is the fragment that `sluice postfix`
 * prints, so that what is printed is what is tested. Nothing comes from the machine's own Postfix, nothing touches a file.
 */
import { parseConfig } from '../rules/config.ts';
import { type Fragment, fragmentOf, optionsOf, type Service } from '../rules/postfix-fragment.ts';
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

/** main.cf: loopback only, no port 25, nothing shared with the machine's own Postfix, retries as quick as asked for. */
export function mainText(site: Site): string {
  const retry = `${site.retrySeconds}s`;
  const { content_filter: filter, ...filterParameters } = filterMain(site);
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
    content_filter: site.contentFilter ? (filter ?? '') : '',
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
    message_size_limit: String(site.messageSizeLimit),
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
    ...filterParameters,
    ...site.mainOverrides,
  })
    .map(([name, value]) => `${name} = ${value}\n`)
    .join('');
}

/** master.cf: feed and return smtpd in one instance, as on a real site; nothing is chrooted. */
export function masterText(site: Site): string {
  const feed: Parameters = {
    // Aliases expand after the filter, once (FACTS.md).
    ...(site.contentFilter ? { receive_override_options: 'no_address_mappings' } : {}),
    smtpd_authorized_xforward_hosts: '127.0.0.0/8',
    // Clients of the feed stand for the outside world: their headers stay as they are.
    local_header_rewrite_clients: '',
    ...site.feedOptions,
  };
  const services = [
    service(`127.0.0.1:${site.feedPort}`, 'inet', 100, 'smtpd', feed),
    ...filterServices(site),
    service('sink', 'unix', 20, 'smtp', sinkOptions),
  ];
  // A retry that finds the file still locked by the try before it goes back to incoming, until a wake-up finds it.
  services.push(`qmgr unix n - n ${site.retrySeconds} 1 qmgr\n`);
  return `${services.join('')}${postfixServices}${service(generationName(site), 'unix', 1, 'discard', {})}`;
}

/** What the fragment for this site says of main.cf. */
function filterMain(site: Site): Parameters {
  const own = fragmentFor(site).settings.filter(({ file }) => file === 'main.cf');
  return Object.fromEntries(own.map(({ name, value }) => [name, value]));
}

/** The fragment's own entries, with what the site lays over them. */
function filterServices(site: Site): string[] {
  const fragment = fragmentFor(site);
  const overrides: Readonly<Record<Service['command'], Parameters | null>> = {
    lmtp: site.scanOptions,
    smtp: site.scanOptions,
    smtpd: site.returnOptions,
    cleanup: {},
  };
  return fragment.services.flatMap(({ name, type, command, maxproc, private: isPrivate }) => {
    const over = overrides[command];
    if (over === null) return [];
    const processes = name === 'scan' ? site.scanProcesses : maxproc;
    const options = { ...optionsOf(fragment, `${name}/${type}`), ...over };
    return [service(name, type, processes, command, options, isPrivate)];
  });
}

function fragmentFor({ feedProtocol, sluice, returnPort, messageSizeLimit }: Site): Fragment {
  const text = [
    `listen: { ${feedProtocol}: "${sluice}", ${feedProtocol === 'lmtp' ? 'smtp' : 'lmtp'}: null }`,
    `reinject: "127.0.0.1:${returnPort}"`,
    `limits: { messageBytes: ${messageSizeLimit} }`,
  ];
  const { config, problems } = parseConfig({ file: 'private Postfix', text: text.join('\n') }, {});
  if (config === null) throw new Error(`Cannot configure Postfix: ${problems[0]?.message}`);
  const {
    fragment,
    problems: [problem],
  } = fragmentOf(config, feedProtocol);
  if (fragment === null) throw new Error(`Cannot configure Postfix: ${problem}`);
  return fragment;
}

/** The way to a test's own SMTP server: shows it what arrived, XFORWARD included. */
const sinkOptions: Parameters = {
  smtp_send_xforward_command: 'yes',
  smtp_line_length_limit: '0',
  smtp_generic_maps: '',
  smtp_tls_security_level: 'none',
};

/** What any Postfix needs behind the four services above (master(5)); pickup passes through the filter as well. */
const postfixServices = `\
pickup    unix  n - n 60    1 pickup -o receive_override_options=no_address_mappings
cleanup   unix  n - n -     0 cleanup
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
  isPrivate: 'n' | '-' = type === 'inet' ? 'n' : '-',
): string {
  const lines = Object.entries(options).map(([key, value]) => `\n    -o { ${key} = ${value} }`);
  return `${name} ${type} ${isPrivate} - n - ${maxproc} ${command}${lines.join('')}\n`;
}
