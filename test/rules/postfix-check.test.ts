/**
 * postfix-check — planted mistakes, each found and named with its line; what is right is never called wrong.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import type { Config } from '../../rules/config.ts';
import type { Finding } from '../../rules/finding.ts';
import { parsePolicies } from '../../rules/policy.ts';
import { checkPostfix, type PostfixTexts } from '../../rules/postfix-check.ts';
import { tableFiles } from '../../rules/postfix-check-tables.ts';
import type { Feed } from '../../rules/postfix-fragment.ts';
import { configOf, lineOf, pasted, postconf, stockMain, stockMaster, texts } from './postfix-texts.ts';

const shipped = readFileSync(join(import.meta.dirname, '..', '..', 'rules', 'policies.yaml'), 'utf8');
const outbound = 'listen: { outbound: "127.0.0.1:10026" }';
const unix = 'listen: { lmtp: "unix:/run/sluice/lmtp.sock" }';

suite('checkPostfix() finds nothing wrong with the fragment pasted into a stock Postfix', () => {
  const sites: { label: string; yaml: string; feed?: Feed }[] = [
    { label: 'defaults', yaml: '' },
    { label: 'SMTP feed', yaml: '', feed: 'smtp' },
    { label: 'outbound', yaml: outbound },
    { label: 'unix socket', yaml: unix },
    { label: 'few and small', yaml: `limits: { inFlight: 2, messageBytes: 20MB }\n${outbound}` },
    { label: 'IPv6', yaml: 'listen: { lmtp: "[::1]:10023" }\nreinject: "[::1]:10025"' },
    { label: 'all interfaces', yaml: 'listen: { lmtp: "0.0.0.0:10023", trustedClients: [10.0.0.1] }' },
    {
      label: 'another host',
      yaml: 'listen: { lmtp: "10.0.0.5:10023", smtp: null, trustedClients: [10.0.0.6] }\nreinject: 10.0.0.6:10025',
    },
    { label: 'return smtpd on a unix socket', yaml: 'reinject: unix:/var/spool/postfix/public/sluice' },
  ];
  for (const { label, yaml, feed } of sites) {
    test(label, () => {
      const config = configOf(yaml);
      const findings = checkPostfix(pasted(config, feed ?? null), config);
      assert.deepEqual(wrong(findings), []);
      assert.ok(findings.length > 6, 'says what it looked at');
      assert.ok(findings.every(({ remedy }) => remedy === null));
    });
  }
});

type Mistake = {
  readonly label: string;
  readonly yaml?: string;
  readonly feed?: Feed;
  readonly level: 'warn' | 'fail';
  /** Replacements of text: file, what, by what. */
  readonly plant: readonly (readonly ['main' | 'master', RegExp, string])[];
  readonly what: RegExp;
  /** A line of the planted text to which the finding must point; null: the file as a whole. */
  readonly at: readonly ['main' | 'master', RegExp | null];
};

const backLine = /^127\.0\.0\.1:10025 inet/;
const scanLine = /^scan +unix/;
/** Takes one option out of the return smtpd, or writes another. */
const option = (name: string, by = ''): readonly ['master', RegExp, string] => [
  'master',
  new RegExp(`(^127\\.0\\.0\\.1:10025 [^#]*?)    -o ${name}=.*\n`, 'm'),
  `$1${by === '' ? '' : `    -o ${by}\n`}`,
];
const scanOption = (name: string, by = ''): readonly ['master', RegExp, string] => [
  'master',
  new RegExp(`    -o ${name}=.*\n`),
  by === '' ? '' : `    -o ${by}\n`,
];
const inMain = (line: string): readonly ['main', RegExp, string] => ['main', /^biff/m, `${line}\nbiff`];

const mistakes: readonly Mistake[] = [
  {
    label: 'content_filter is missing',
    level: 'fail',
    plant: [['main', /^content_filter.*\n/m, '']],
    what: /content_filter is missing: what smtpd smtp takes is not filtered/,
    at: ['master', /^smtp +inet/],
  },
  {
    label: 'content_filter is emptied further down',
    level: 'fail',
    plant: [['main', /$/, 'content_filter =\n']],
    what: /content_filter is empty/,
    at: ['main', /^content_filter =$/],
  },
  {
    label: 'the smtpd for outside mail has an empty content_filter',
    level: 'fail',
    plant: [['master', /^(smtp +inet.*\n)/m, '$1    -o content_filter=\n']],
    what: /content_filter is empty: what smtpd smtp takes/,
    at: ['master', /-o content_filter=$/],
  },
  {
    label: 'content_filter leads to another program',
    level: 'fail',
    plant: [['main', /^content_filter.*/m, 'content_filter = scan:[127.0.0.1]:20023']],
    what: /leads to 127\.0\.0\.1:20023, but Sluice listens on 127\.0\.0\.1:10023 \(lmtp\)/,
    at: ['main', /^content_filter/],
  },
  {
    label: 'content_filter without a nexthop: the recipient domain would be it',
    level: 'fail',
    plant: [['main', /^content_filter.*/m, 'content_filter = scan:']],
    what: /names no transport with host and port/,
    at: ['main', /^content_filter/],
  },
  {
    label: 'content_filter without brackets',
    level: 'warn',
    plant: [['main', /^content_filter.*/m, 'content_filter = scan:localhost:10023']],
    what: /stands without brackets: Postfix asks the DNS/,
    at: ['main', /^content_filter/],
  },
  {
    label: 'the transport is missing',
    level: 'fail',
    plant: [['master', /^scan +unix/m, 'scanner unix']],
    what: /master\.cf has no transport "scan"/,
    at: ['main', /^content_filter/],
  },
  {
    label: 'smtp transport on the LMTP port',
    level: 'fail',
    plant: [['master', /^(scan .*)lmtp$/m, '$1smtp']],
    what: /transport scan speaks smtp, but listen\.lmtp speaks lmtp/,
    at: ['master', scanLine],
  },
  {
    label: 'lmtp transport on the SMTP port',
    level: 'fail',
    plant: [['main', /:10023/, ':10024']],
    what: /transport scan speaks lmtp, but listen\.smtp speaks smtp/,
    at: ['master', scanLine],
  },
  {
    label: 'mail from outside to the outbound listener',
    yaml: outbound,
    level: 'fail',
    plant: [['main', /scan:\[127\.0\.0\.1\]:10023/, 'scan-out:[127.0.0.1]:10026']],
    what: /mail from outside goes to listen\.outbound/,
    at: ['main', /^content_filter/],
  },
  {
    label: 'chroot with a unix socket outside the queue folder',
    yaml: unix,
    level: 'fail',
    plant: [['master', /^(scan +unix +- +- +)n/m, '$1y']],
    what: /leads to unix:\/var\/spool\/postfix\/run\/sluice\/lmtp\.sock, because scan is chrooted/,
    at: ['main', /^content_filter/],
  },
  {
    label: 'no XFORWARD to Sluice',
    level: 'fail',
    plant: [scanOption('lmtp_send_xforward_command')],
    what: /lmtp_send_xforward_command = no \(default\): without queue ids there is no ledger/,
    at: ['master', scanLine],
  },
  {
    label: 'long lines are broken up',
    level: 'warn',
    plant: [scanOption('lmtp_line_length_limit', 'lmtp_line_length_limit=998')],
    what: /lmtp_line_length_limit = 998: longer lines are broken up/,
    at: ['master', /lmtp_line_length_limit=998/],
  },
  {
    label: '8-bit mail is recoded',
    level: 'warn',
    plant: [scanOption('disable_mime_output_conversion')],
    what: /disable_mime_output_conversion = no \(default\)/,
    at: ['master', scanLine],
  },
  {
    label: 'Postfix gives up before the deadline',
    level: 'fail',
    plant: [scanOption('lmtp_data_done_timeout', 'lmtp_data_done_timeout=5m')],
    what: /lmtp_data_done_timeout = 5m: .* delivers twice/,
    at: ['master', /data_done_timeout=5m/],
  },
  {
    label: 'addresses are rewritten on the way to the filter',
    feed: 'smtp',
    level: 'fail',
    plant: [scanOption('smtp_generic_maps'), inMain('smtp_generic_maps = hash:/etc/postfix/generic')],
    what: /smtp_generic_maps = hash:.* addresses change/,
    at: ['main', /^smtp_generic_maps/],
  },
  {
    label: 'TLS is asked of the filter',
    feed: 'smtp',
    level: 'fail',
    plant: [scanOption('smtp_tls_security_level'), inMain('smtp_tls_security_level = encrypt')],
    what: /smtp_tls_security_level = encrypt: Sluice speaks no TLS/,
    at: ['main', /^smtp_tls_security_level/],
  },
  {
    label: 'mail goes round the filter while it is away',
    feed: 'smtp',
    level: 'fail',
    plant: [scanOption('smtp_fallback_relay'), inMain('fallback_relay = [relay.example.com]')],
    what: /smtp_fallback_relay = \[relay\.example\.com\].*unscanned/,
    at: ['master', scanLine],
  },
  {
    label: 'one refused connection suspends the filter',
    level: 'warn',
    plant: [['main', /^scan_destination.*\n/m, '']],
    what: /scan_destination_concurrency_failed_cohort_limit = 1 \(default\)/,
    at: ['master', scanLine],
  },
  {
    label: 'more messages at once than limits.inFlight',
    level: 'warn',
    plant: [['master', /^(scan .* )20( +lmtp)$/m, '$1150$2']],
    what: /scan may hand in 150 messages at once, limits\.inFlight is 100/,
    at: ['master', scanLine],
  },
  {
    label: 'fewer connections back than limits.inFlight',
    level: 'warn',
    plant: [['master', /120( +smtpd)$/m, '50$1']],
    what: /maxproc 50, limits\.inFlight is 100/,
    at: ['master', backLine],
  },
  {
    label: 'fewer connections back than the transport hands in',
    level: 'fail',
    plant: [['master', /120( +smtpd)$/m, '5$1']],
    what: /maxproc 5, limits\.inFlight is 100/,
    at: ['master', backLine],
  },
  {
    label: 'no return smtpd',
    level: 'fail',
    plant: [['master', /^127\.0\.0\.1:10025 inet[^#]*/m, '']],
    what: /return smtpd is missing/,
    at: ['master', null],
  },
  {
    label: 'the return smtpd on another port',
    level: 'fail',
    plant: [['master', /^127\.0\.0\.1:10025 inet/m, '127.0.0.1:10027 inet']],
    what: /smtpd 127\.0\.0\.1:10027 looks like it, but reinject is 127\.0\.0\.1:10025/,
    at: ['master', /^127\.0\.0\.1:10027/],
  },
  {
    label: 'the return smtpd filters: a loop',
    level: 'fail',
    plant: [option('content_filter')],
    what: /10025: content_filter = scan:.*: a loop/,
    at: ['main', /^content_filter/],
  },
  {
    label: 'the return smtpd is an open relay',
    level: 'fail',
    plant: [
      ['master', /^127\.0\.0\.1:10025 inet/m, '10025 inet'],
      ['master', /-o mynetworks=127\.0\.0\.0\/8/, '-o mynetworks=127.0.0.0/8,192.0.2.0/24'],
    ],
    what: /mynetworks has 192\.0\.2\.0\/24, and the port is open to them: a relay round the filter/,
    at: ['master', /-o mynetworks=/],
  },
  {
    label: 'the return smtpd trusts a whole network',
    level: 'warn',
    plant: [option('mynetworks', 'mynetworks=10.0.0.0/8,127.0.0.0/8')],
    what: /mynetworks has 10\.0\.0\.0\/8: others than the filter are trusted/,
    at: ['master', /-o mynetworks=/],
  },
  {
    label: 'the return smtpd does not trust the filter',
    level: 'fail',
    plant: [option('mynetworks', 'mynetworks=10.0.0.5')],
    what: /mynetworks = 10\.0\.0\.5 does not have the filter/,
    at: ['master', /-o mynetworks=/],
  },
  {
    label: 'the return smtpd listens on all interfaces',
    level: 'warn',
    plant: [['master', /^127\.0\.0\.1:10025 inet/m, '10025 inet']],
    what: /10025 listens beyond loopback/,
    at: ['master', /^10025/],
  },
  {
    label: 'anybody may use the return smtpd',
    level: 'fail',
    plant: [
      ['master', /^127\.0\.0\.1:10025 inet/m, '0.0.0.0:10025 inet'],
      ['master', /    -o smtpd_client_restrictions=.*\n/, ''],
      [
        'master',
        /smtpd_recipient_restrictions=permit_mynetworks,reject$/m,
        'smtpd_recipient_restrictions=permit_mynetworks,reject_unauth_destination',
      ],
    ],
    what: /lets everybody in/,
    at: ['master', /^0\.0\.0\.0:10025/],
  },
  {
    label: 'the return smtpd has nothing that ends in reject: it does not start',
    level: 'fail',
    plant: [option('smtpd_recipient_restrictions', 'smtpd_recipient_restrictions=permit_mynetworks')],
    what: /smtpd does not start/,
    at: ['master', backLine],
  },
  {
    label: 'a blocklist is asked a second time',
    level: 'fail',
    plant: [
      option('smtpd_client_restrictions'),
      inMain('smtpd_client_restrictions = reject_rbl_client zen.example, permit_mynetworks'),
    ],
    what: /smtpd_client_restrictions = .*is refused behind it/,
    at: ['main', /^smtpd_client_restrictions/],
  },
  {
    label: 'senders are refused a second time',
    level: 'fail',
    plant: [
      option('smtpd_sender_restrictions'),
      inMain('smtpd_sender_restrictions = reject_unknown_sender_domain'),
    ],
    what: /smtpd_sender_restrictions = reject_unknown_sender_domain: what was accepted/,
    at: ['main', /^smtpd_sender_restrictions/],
  },
  {
    label: 'milters run a second time',
    level: 'fail',
    plant: [
      option('smtpd_milters'),
      option(
        'receive_override_options',
        'receive_override_options=no_unknown_recipient_checks,no_header_body_checks',
      ),
      inMain('smtpd_milters = inet:127.0.0.1:8891'),
    ],
    what: /no_milters is not in receive_override_options: smtpd_milters = inet:127\.0\.0\.1:8891/,
    at: ['master', /-o receive_override_options=no_unknown/],
  },
  {
    label: 'header_checks run a second time',
    level: 'fail',
    plant: [
      option('receive_override_options', 'receive_override_options=no_unknown_recipient_checks,no_milters'),
      inMain('header_checks = regexp:{ { /^X-Bad:/ REJECT } }'),
    ],
    what: /no_header_body_checks is not in receive_override_options/,
    at: ['master', /-o receive_override_options=no_unknown/],
  },
  {
    label: 'recipients are looked up a second time',
    level: 'warn',
    plant: [option('receive_override_options')],
    what: /no_unknown_recipient_checks is not in receive_override_options/,
    at: ['master', backLine],
  },
  {
    label: 'a proxy filter behind the return smtpd',
    level: 'fail',
    plant: [option('smtpd_proxy_filter'), inMain('smtpd_proxy_filter = 127.0.0.1:10030')],
    what: /smtpd_proxy_filter = 127\.0\.0\.1:10030: a second filter/,
    at: ['main', /^smtpd_proxy_filter/],
  },
  {
    label: 'no XFORWARD from Sluice',
    level: 'warn',
    plant: [option('smtpd_authorized_xforward_hosts')],
    what: /smtpd_authorized_xforward_hosts = {2}\(default\): the filter is missing/,
    at: ['master', backLine],
  },
  {
    label: 'headers of passing mail are rewritten',
    level: 'warn',
    plant: [option('local_header_rewrite_clients')],
    what: /local_header_rewrite_clients = permit_inet_interfaces \(default\)/,
    at: ['master', backLine],
  },
  {
    label: 'TLS is asked of Sluice',
    level: 'fail',
    plant: [option('smtpd_tls_security_level', 'smtpd_tls_security_level=encrypt')],
    what: /smtpd_tls_security_level = encrypt/,
    at: ['master', /smtpd_tls_security_level=encrypt/],
  },
  {
    label: 'refused recipients slow the hand-off',
    level: 'warn',
    plant: [option('smtpd_hard_error_limit')],
    what: /smtpd_hard_error_limit = 20 \(default\): the connection ends/,
    at: ['master', backLine],
  },
  {
    label: 'a bare newline may end a message',
    level: 'warn',
    plant: [option('smtpd_forbid_bare_newline', 'smtpd_forbid_bare_newline=no')],
    what: /smtpd_forbid_bare_newline = no: a bare newline may end a message/,
    at: ['master', /smtpd_forbid_bare_newline=no/],
  },
  {
    label: 'the filter is exempt from the rule against bare newlines',
    level: 'warn',
    plant: [option('smtpd_forbid_bare_newline_exclusions')],
    what: /smtpd_forbid_bare_newline_exclusions = 127\.0\.0\.0\/8 \(default\): the filter is exempt/,
    at: ['master', backLine],
  },
  {
    label: 'overrides that main.cf could undo',
    level: 'warn',
    plant: [option('smtpd_sender_restrictions'), option('smtpd_helo_restrictions')],
    what: /does not say smtpd_helo_restrictions, smtpd_sender_restrictions itself/,
    at: ['master', backLine],
  },
  {
    label: 'aliases expand before the filter',
    level: 'warn',
    plant: [['master', /    -o receive_override_options=no_address_mappings\n/, '']],
    what: /smtpd smtp: no_address_mappings is missing: aliases expand before the filter/,
    at: ['master', /^smtp +inet/],
  },
  {
    label: 'always_bcc adds its copy twice',
    level: 'fail',
    plant: [
      ['master', /    -o receive_override_options=no_address_mappings\n/, ''],
      inMain('always_bcc = archive@example.com'),
    ],
    what: /always_bcc adds its copy before and behind the filter/,
    at: ['main', /^always_bcc/],
  },
  {
    label: 'no_address_mappings on the wrong side',
    level: 'fail',
    plant: [
      ['master', /    -o receive_override_options=no_address_mappings\n/, ''],
      option(
        'receive_override_options',
        'receive_override_options=no_address_mappings,no_unknown_recipient_checks,no_header_body_checks,no_milters',
      ),
    ],
    what: /no_address_mappings is set on the wrong side/,
    at: ['master', /-o receive_override_options=no_address/],
  },
  {
    label: 'no_address_mappings on both sides',
    level: 'fail',
    plant: [option('receive_override_options'), inMain('receive_override_options = no_address_mappings')],
    what: /no_address_mappings is set before and behind the filter: aliases never expand/,
    at: ['main', /^receive_override_options/],
  },
  {
    label: 'no_address_mappings for mail that is not filtered',
    level: 'fail',
    plant: [
      ['master', /^(submission.*\n)/m, '$1    -o receive_override_options=no_address_mappings,no_milters\n'],
    ],
    what: /smtpd submission: no_address_mappings is set, but this mail does not pass the filter/,
    at: ['master', /-o receive_override_options=no_address_mappings,no_milters/],
  },
  {
    label: "own users' mail is judged as if it came from outside",
    level: 'warn',
    plant: [['master', /^(submission.*\n)    -o content_filter=\n/m, '$1']],
    what: /smtpd submission has no content_filter of its own/,
    at: ['main', /^content_filter/],
  },
  {
    label: 'pickup without a content_filter of its own',
    level: 'warn',
    plant: [['master', /^(pickup.*\n)    -o content_filter=\n/m, '$1']],
    what: /pickup has no content_filter of its own/,
    at: ['main', /^content_filter/],
  },
  {
    label: "own users' mail does not go to the outbound listener",
    yaml: outbound,
    level: 'warn',
    plant: [
      ['master', /^(pickup.*\n(?:    .*\n)*?)    -o content_filter=.*\n/m, '$1    -o content_filter=\n'],
    ],
    what: /pickup does not go to listen\.outbound: own mail is not scanned/,
    at: ['master', /-o content_filter=$/],
  },
  {
    label: 'Postfix takes larger mail than Sluice',
    level: 'fail',
    plant: [inMain('message_size_limit = 209715200')],
    what: /smtpd smtp: message_size_limit = 209715200, but limits\.messageBytes is 104857600/,
    at: ['main', /^message_size_limit/],
  },
  {
    label: 'no limit at all',
    level: 'fail',
    plant: [inMain('message_size_limit = 0')],
    what: /smtpd smtp: message_size_limit = 0, but/,
    at: ['main', /^message_size_limit/],
  },
  {
    label: 'no headroom at the return smtpd',
    level: 'fail',
    plant: [option('message_size_limit')],
    what: /10025: message_size_limit = 10240000 leaves no headroom above 10240000/,
    at: ['master', backLine],
  },
  {
    label: 'no headroom at the cleanup behind it',
    level: 'fail',
    plant: [option('cleanup_service_name')],
    what: /cleanup: message_size_limit = 10240000 leaves no headroom/,
    at: ['master', /^cleanup +unix/],
  },
  {
    label: 'the cleanup behind the return smtpd is missing',
    level: 'fail',
    plant: [['master', /^return-cleanup /m, 'cleanup-return ']],
    what: /cleanup service return-cleanup is missing/,
    at: ['master', backLine],
  },
  {
    label: 'a mailbox smaller than a message',
    level: 'warn',
    plant: [inMain('message_size_limit = 60000000'), ['main', /^mailbox_size_limit.*\n/m, '']],
    what: /mailbox_size_limit = 51200000 is smaller/,
    at: ['main', /^message_size_limit/],
  },
  {
    label: 'soft_bounce was left on',
    level: 'warn',
    plant: [inMain('soft_bounce = yes')],
    what: /soft_bounce = yes/,
    at: ['main', /^soft_bounce/],
  },
  {
    label: 'Postfix bounces before the policy decides',
    level: 'warn',
    plant: [inMain('maximal_queue_lifetime = 12h')],
    what: /maximal_queue_lifetime = 12h, but deferAtMost\.hours is 24/,
    at: ['main', /^maximal_queue_lifetime/],
  },
  {
    label: 'Postfix retries for longer than the ledger remembers',
    level: 'warn',
    plant: [inMain('maximal_queue_lifetime = 10')],
    what: /maximal_queue_lifetime = 10: .*forgets after 6 days/,
    at: ['main', /^maximal_queue_lifetime/],
  },
  {
    label: 'header_checks that drop Received, inline',
    level: 'warn',
    plant: [inMain('header_checks = regexp:{ { /^Received:/ IGNORE } }')],
    what: /header_checks drop Received/,
    at: ['main', /^header_checks/],
  },
  {
    label: 'header_checks that nobody could look at',
    level: 'warn',
    plant: [inMain('header_checks = pcre:/etc/postfix/header_checks')],
    what: /header_checks = pcre:\/etc\/postfix\/header_checks was not looked at/,
    at: ['main', /^header_checks/],
  },
  {
    label: 'a comment behind a setting',
    level: 'fail',
    plant: [scanOption('lmtp_line_length_limit', 'lmtp_line_length_limit=0   # long lines too')],
    what: /"#" stands behind the options of lmtp/,
    at: ['master', /# long lines too/],
  },
  {
    label: 'blanks around the equals sign',
    level: 'fail',
    plant: [option('content_filter', 'content_filter =')],
    what: /"-o content_filter" has no value/,
    at: ['master', /-o content_filter =/],
  },
  {
    label: 'a service that stands twice',
    level: 'warn',
    plant: [['master', /^qmgr/m, 'scan unix - - n - 10 lmtp\nqmgr']],
    what: /scan\/unix stands twice/,
    at: ['master', /^scan unix/],
  },
  {
    label: 'a line of main.cf that is no setting',
    level: 'fail',
    plant: [inMain('content_filter scan:[127.0.0.1]:10023')],
    what: /"content_filter scan:\[127\.0\.0\.1\]:10023" is no setting/,
    at: ['main', /^content_filter scan/],
  },
  {
    label: 'a value that only Postfix can work out',
    level: 'warn',
    plant: [option('smtpd_helo_restrictions', '{ smtpd_helo_restrictions = ${stress?{reject}:{permit}} }')],
    what: /smtpd_helo_restrictions = .* can't be judged from the files alone/,
    at: ['master', /smtpd_helo_restrictions = /],
  },
];

suite('checkPostfix() finds and names', () => {
  for (const { label, yaml, feed, plant, level, what, at } of mistakes) {
    test(label, () => {
      const config = configOf(yaml);
      const planted = plantInto(pasted(config, feed ?? null), plant);
      const findings = wrong(checkPostfix(planted, config));
      const found = findings.find((each) => what.test(each.what));
      assert.ok(found !== undefined, JSON.stringify(findings, null, 2));
      assert.equal(found.level, level);
      const [file, line] = at;
      const where = line === null ? `${file}.cf` : `${file}.cf:${lineOf(planted[file].text, line)}`;
      assert.equal(found.where, where);
      assert.ok(found.remedy !== null && found.remedy.length > 5);
      if (found.remedy.includes('postconf -')) assertCures(planted, config, found);
    });
  }

  test('one mistake is one finding, or those that follow from it', () => {
    const crowds = mistakes.flatMap(({ label, yaml, feed, plant }) => {
      const config = configOf(yaml);
      const findings = wrong(checkPostfix(plantInto(pasted(config, feed ?? null), plant), config));
      return findings.length <= 4 ? [] : [{ label, findings }];
    });
    assert.deepEqual(crowds, []);
  });
});

test('checkPostfix() names the cause alone where one mistake has consequences', () => {
  const config = configOf();
  for (const [plant, what] of [
    [['main', /^content_filter.*\n/m, ''], /content_filter is missing/],
    [inMain('message_size_limit = 209715200'), /larger mail is accepted and then bounces/],
  ] as const) {
    const [found, ...others] = wrong(checkPostfix(plantInto(pasted(config), [plant]), config));
    assert.match(found?.what ?? '', what);
    assert.deepEqual(others, []);
  }
});

test('checkPostfix() finds much wrong with a Postfix that knows nothing of Sluice', () => {
  const findings = checkPostfix(texts(stockMain, stockMaster), configOf());
  assert.deepEqual(
    wrong(findings).map(({ what }) => what.replace(/:.*/, '')),
    ['content_filter is missing', 'return smtpd is missing'],
  );
});

test('checkPostfix() bears files that are empty or garbled', () => {
  const config = configOf();
  for (const text of [
    '',
    '\n\n',
    '=\n{ { {\n-o -o -o',
    'smtp inet n - y - - smtpd -o',
    '\u0000'.repeat(50),
  ]) {
    assert.ok(wrong(checkPostfix(texts(text, text), config)).length > 0, JSON.stringify(text));
  }
});

test('checkPostfix() takes the longest deferAtMost.hours of any recipient and says where it stands', () => {
  const config = configOf();
  const site = {
    file: 'policies.yaml',
    text: 'recipients:\n  slow.example: { deferAtMost: { hours: 96 } }\n',
  };
  const { policies } = parsePolicies({ file: 'shipped', text: shipped }, site, 'primary');
  assert.ok(policies !== null);
  const planted = plantInto(pasted(config), [inMain('maximal_queue_lifetime = 3d')]);
  const found = wrong(checkPostfix(planted, config, policies));
  assert.deepEqual(
    found.map(({ level }) => level),
    ['warn'],
  );
  assert.match(found[0]?.what ?? '', /deferAtMost\.hours is 96 \(policies\.yaml:2/);
});

test('checkPostfix() looks into the tables that tableFiles() names, and names the line', () => {
  const config = configOf();
  const planted = plantInto(pasted(config), [
    inMain('header_checks = regexp:/etc/postfix/header_checks, pcre:/etc/postfix/more'),
  ]);
  assert.deepEqual(tableFiles(planted.main), ['/etc/postfix/header_checks', '/etc/postfix/more']);
  const tables = [
    { file: '/etc/postfix/header_checks', text: '# /^Received:/ IGNORE\n/^X-Spam/ IGNORE\n' },
    { file: '/etc/postfix/more', text: '/^X-A/ DUNNO\n/^Received: .*by internal/ IGNORE\n' },
  ];
  const found = wrong(checkPostfix({ ...planted, tables }, config));
  assert.deepEqual(
    found.map(({ where }) => where),
    ['/etc/postfix/more:2'],
  );
});

test('checkPostfix() accepts headroom in main.cf with a smaller limit at the outside smtpd', () => {
  const config = configOf();
  const planted = plantInto(pasted(config), [
    option('cleanup_service_name'),
    inMain('message_size_limit = 60000000'),
    ['master', /^(smtp +inet.*\n)/m, '$1    -o message_size_limit=50000000\n'],
  ]);
  assert.deepEqual(wrong(checkPostfix(planted, config)), []);
});

function plantInto(before: PostfixTexts, plant: Mistake['plant']): PostfixTexts {
  return plant.reduce((now, [file, pattern, by]) => {
    const text = now[file].text.replace(pattern, by);
    assert.notEqual(text, now[file].text, `${pattern} planted nothing`);
    return { ...now, [file]: { ...now[file], text } };
  }, before);
}

function wrong(findings: readonly Finding[]): Finding[] {
  return findings.filter(({ level }) => level !== 'ok');
}

/** The remedy, run as it stands, makes this finding go away. */
function assertCures(planted: PostfixTexts, config: Config, { what, remedy }: Finding): void {
  const cured = wrong(checkPostfix(postconf(planted, remedy ?? ''), config));
  assert.ok(!cured.some((each) => each.what === what), `still there after: ${remedy}`);
}
