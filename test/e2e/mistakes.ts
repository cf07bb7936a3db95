/**
 * mistakes — what can go wrong around Sluice, planted as an administrator would make it, and what `sluice check` must say.
 *
 * Each is a script for the machine that docs/install.md has made. docs/check.md lists them under the same names.
 */

/** A finding that must be there: group, level, what, remedy. */
export type Expected = readonly [group: string, level: 'warn' | 'fail', what: RegExp, remedy: RegExp];

export type Mistake = {
  readonly name: string;
  readonly plant: string;
  /** What is not undone by putting the files of /etc back. */
  readonly mend?: string;
  /** The daemon that has to read its files again. */
  readonly restart?: 'postfix' | 'clamav-daemon' | 'spamd';
  readonly found: readonly Expected[];
};

/** A configuration that can't be read: exit 78, and a line that names file, line and key. */
export type BadFile = {
  readonly name: string;
  readonly file: 'policies.yaml' | 'sluice.yaml';
  readonly text: string;
  readonly said: RegExp;
};

const back = '127.0.0.1:10025/inet';

const mainMistakes: readonly Mistake[] = [
  {
    name: 'soft_bounce was left on',
    plant: "postconf -e 'soft_bounce = yes'",
    found: [['Postfix', 'warn', /soft_bounce = yes/, /postconf -e 'soft_bounce = no'/]],
  },
  {
    name: 'maximal_queue_lifetime is shorter than deferAtMost',
    plant: "postconf -e 'maximal_queue_lifetime = 12h'",
    found: [['Postfix', 'warn', /maximal_queue_lifetime = 12h, but deferAtMost\.hours is 24/, /5d/]],
  },
  {
    name: 'one refused connection suspends the filter',
    plant: 'postconf -X scan_destination_concurrency_failed_cohort_limit',
    found: [['Postfix', 'warn', /a restart of Sluice suspends the filter for minutes/, /1000/]],
  },
  {
    name: 'header_checks drop Received lines',
    plant: `echo '/^Received:/ IGNORE' > /etc/postfix/drop
      postconf -e 'header_checks = regexp:/etc/postfix/drop'`,
    found: [['Postfix', 'warn', /^header_checks drop Received/, /smtp_header_checks/]],
  },
  {
    name: 'message_size_limit is larger than what Sluice takes',
    plant: "postconf -e 'message_size_limit = 209715200'",
    restart: 'postfix',
    found: [
      [
        'Postfix',
        'fail',
        /message_size_limit = 209715200, but limits\.messageBytes/,
        /message_size_limit = 1/,
      ],
    ],
  },
  {
    name: 'content_filter leads to another port',
    plant: "postconf -e 'content_filter = scan:[127.0.0.1]:10033'",
    found: [
      [
        'Postfix',
        'fail',
        /leads to 127\.0\.0\.1:10033, but Sluice listens on/,
        /postconf -e 'content_filter/,
      ],
    ],
  },
  {
    name: 'content_filter names a transport that is not there',
    plant: "postconf -e 'content_filter = scann:[127.0.0.1]:10023'",
    found: [['Postfix', 'fail', /master\.cf has no transport "scann"/, /sluice postfix/]],
  },
  {
    name: 'no content_filter',
    plant: 'postconf -X content_filter',
    found: [
      [
        'Postfix',
        'fail',
        /content_filter is missing: what smtpd smtp takes/,
        /postconf -e 'content_filter = scan:/,
      ],
    ],
  },
];

const masterMistakes: readonly Mistake[] = [
  {
    name: 'the return smtpd filters again: a loop',
    plant: `postconf -PX ${back}/content_filter`,
    found: [['Postfix', 'fail', /content_filter = scan:.*a loop/, /content_filter=/]],
  },
  {
    name: 'there is no return smtpd',
    plant: `postconf -MX ${back}`,
    restart: 'postfix',
    found: [
      ['Postfix', 'fail', /return smtpd is missing/, /sluice postfix/],
      ['Return smtpd', 'fail', /does not answer as it must: .*ECONNREFUSED/, /master\.cf/],
    ],
  },
  {
    name: 'the return smtpd does not trust the filter',
    plant: `postconf -P '${back}/mynetworks=192.0.2.77'`,
    restart: 'postfix',
    found: [
      ['Postfix', 'fail', /mynetworks = 192\.0\.2\.77 does not have the filter/, /mynetworks=127/],
      ['Postfix', 'warn', /mynetworks has 192\.0\.2\.77: others than the filter/, /mynetworks=127/],
      ['Return smtpd', 'fail', /mail is deferred/, /mynetworks/],
    ],
  },
  {
    name: 'the return smtpd does not know XFORWARD',
    plant: `postconf -P '${back}/smtpd_authorized_xforward_hosts='`,
    restart: 'postfix',
    found: [
      ['Postfix', 'warn', /smtpd_authorized_xforward_hosts/, /smtpd_authorized_xforward_hosts=127/],
      ['Return smtpd', 'warn', /does not offer XFORWARD/, /smtpd_authorized_xforward_hosts/],
    ],
  },
  {
    name: 'the queue id does not reach Sluice',
    plant: 'postconf -PX scan/unix/lmtp_send_xforward_command',
    found: [['Postfix', 'fail', /lmtp_send_xforward_command/, /lmtp_send_xforward_command=yes/]],
  },
  {
    name: 'aliases never expand',
    plant: `postconf -P '${back}/receive_override_options=no_unknown_recipient_checks,no_header_body_checks,no_milters,no_address_mappings'`,
    found: [['Postfix', 'fail', /aliases never expand/, /receive_override_options=no_unknown/]],
  },
  {
    name: 'the return smtpd takes less than what is scanned',
    plant: `postconf -P '${back}/message_size_limit=10240000'`,
    restart: 'postfix',
    found: [
      ['Postfix', 'fail', /message_size_limit = 10240000 leaves no headroom/, /message_size_limit=/],
      ['Return smtpd', 'fail', /takes 10240000 octets/, /message_size_limit=/],
    ],
  },
  {
    name: 'Postfix gives up before Sluice answers',
    plant: "postconf -P 'scan/unix/lmtp_data_done_timeout=60s'",
    found: [['Postfix', 'fail', /lmtp_data_done_timeout = 60s: .*delivers twice/, /1200s/]],
  },
  {
    name: 'aliases expand before the filter',
    plant: 'postconf -PX smtp/inet/receive_override_options',
    found: [['Postfix', 'warn', /no_address_mappings is missing/, /no_address_mappings/]],
  },
  {
    name: 'more messages at once than Sluice takes',
    plant: "sed -i -E 's/^(scan .*)20( +lmtp)/\\1200\\2/' /etc/postfix/master.cf",
    found: [['Postfix', 'warn', /scan may hand in 200 messages at once, limits\.inFlight is 100/, /maxproc/]],
  },
  {
    name: 'too few processes behind Sluice',
    plant: "sed -i -E 's/^(127.0.0.1:10025 .*)120( +smtpd)/\\15\\2/' /etc/postfix/master.cf",
    found: [
      ['Postfix', 'fail', /127\.0\.0\.1:10025 has maxproc 5, limits\.inFlight is 100/, /maxproc of 120/],
    ],
  },
];

const clamdConf = (name: string, value: string): string =>
  `sed -i -E '/^${name} /d' /etc/clamav/clamd.conf; echo '${name} ${value}' >> /etc/clamav/clamd.conf`;

const clamdMistakes: readonly Mistake[] = [
  {
    name: 'encrypted archives pass',
    plant: clamdConf('AlertEncrypted', 'no'),
    restart: 'clamav-daemon',
    found: [
      ['ClamAV', 'fail', /^Encrypted archives pass as clean/, /"AlertEncrypted yes" in place of no in \/etc/],
    ],
  },
  {
    name: 'what is over a limit passes',
    plant: clamdConf('AlertExceedsMax', 'no'),
    restart: 'clamav-daemon',
    found: [['ClamAV', 'fail', /over clamd's limits passes as clean/, /"AlertExceedsMax yes"/]],
  },
  {
    name: 'large messages are not taken',
    plant: clamdConf('StreamMaxLength', '5M'),
    restart: 'clamav-daemon',
    found: [['ClamAV', 'fail', /is more than clamd takes/, /"StreamMaxLength 16M" in place of 5M/]],
  },
  {
    name: 'large members of archives pass',
    plant: clamdConf('MaxFileSize', '5M'),
    restart: 'clamav-daemon',
    found: [['ClamAV', 'warn', /MaxFileSize \(5M\)/, /"MaxFileSize 16M"/]],
  },
  {
    name: 'archives are not looked into',
    plant: clamdConf('ScanArchive', 'no'),
    restart: 'clamav-daemon',
    found: [['ClamAV', 'fail', /in an archive is not found/, /"ScanArchive yes"/]],
  },
  {
    name: 'attachments are not looked into',
    plant: clamdConf('ScanMail', 'no'),
    restart: 'clamav-daemon',
    found: [['ClamAV', 'fail', /in an attachment is not found/, /"ScanMail yes"/]],
  },
  {
    name: 'a guess hides the virus',
    plant: clamdConf('HeuristicScanPrecedence', 'yes'),
    restart: 'clamav-daemon',
    found: [['ClamAV', 'fail', /hides the virus/, /"HeuristicScanPrecedence no"/]],
  },
  {
    name: 'the signatures are old',
    plant: 'cp /root/old.cud /var/lib/clamav/daily.cud',
    restart: 'clamav-daemon',
    found: [['ClamAV', 'fail', /^Signatures 27000 are 9\.0 days old/, /freshclam/]],
  },
  {
    name: 'there are no official signatures',
    plant: `rm /var/lib/clamav/daily.cud; cp /root/local.ndb /var/lib/clamav/`,
    restart: 'clamav-daemon',
    found: [['ClamAV', 'warn', /local signatures only/, /freshclam/]],
  },
  {
    name: "clamd's socket is closed to Sluice",
    plant: `${clamdConf('LocalSocketMode', '660')}; deluser --quiet sluice clamav`,
    restart: 'clamav-daemon',
    mend: 'adduser --quiet sluice clamav',
    found: [['ClamAV', 'fail', /clamd does not answer: .*EACCES/, /adduser USER clamav/]],
  },
  {
    name: 'clamd does not run',
    plant: 'systemctl stop clamav-daemon',
    mend: 'systemctl start clamav-daemon',
    found: [['ClamAV', 'fail', /clamd does not answer/, /systemctl start clamav-daemon/]],
  },
];

const spamdOptions = (options: string): string =>
  `sed -i 's/^OPTIONS=.*/OPTIONS="${options}"/' /etc/default/spamd`;

const spamdMistakes: readonly Mistake[] = [
  {
    name: 'spamd takes no lessons',
    plant: spamdOptions('-u debian-spamd --max-children 5'),
    restart: 'spamd',
    found: [['SpamAssassin', 'warn', /does not take lessons/, /--allow-tell/]],
  },
  {
    name: 'a Bayes database for each user',
    plant: `${spamdOptions('--create-prefs --allow-tell --max-children 5')}
      sed -i '/^bayes_path/d' /etc/spamassassin/local.cf`,
    restart: 'spamd',
    found: [
      ['SpamAssassin', 'warn', /runs as root without -u/, /-u debian-spamd/],
      // The check's own lesson is taught as nobody, who has no home.
      ['SpamAssassin', 'warn', /no Bayes database to write to/, /bayes_path/],
      ['SpamAssassin', 'warn', /Whether Bayes is active is unknown/, /sa-learn/],
    ],
  },
  {
    name: 'too few children',
    plant: spamdOptions('-u debian-spamd --allow-tell --max-children 1'),
    restart: 'spamd',
    found: [['SpamAssassin', 'warn', /^1 child for 16 messages/, /--max-children 2/]],
  },
  {
    name: 'sluice.cf is missing',
    plant: 'rm /etc/spamassassin/sluice.cf',
    restart: 'spamd',
    found: [['SpamAssassin', 'fail', /does not load sluice\.cf: no message gets a score/, /sluice\.cf/]],
  },
  {
    name: 'another header line for the envelope sender',
    plant: "echo 'envelope_sender_header Return-Path' > /etc/spamassassin/zz-local.cf",
    restart: 'spamd',
    found: [
      ['SpamAssassin', 'fail', /for the envelope sender, not what Sluice sent/, /envelope_sender_header/],
    ],
  },
  {
    name: 'a later file takes the header lines of sluice.cf away',
    plant: "echo 'clear_headers' > /etc/spamassassin/zz-local.cf",
    restart: 'spamd',
    found: [['SpamAssassin', 'fail', /sluice\.cf/, /./]],
  },
  {
    name: 'SpamAssassin works longer than Sluice waits',
    plant: "sed -i '/^time_limit/d' /etc/spamassassin/local.cf",
    restart: 'spamd',
    found: [
      ['SpamAssassin', 'warn', /time_limit is 300 s, but Sluice waits 240 s/, /"time_limit 200" in \/etc/],
    ],
  },
  {
    name: 'the Bayes database can not be written',
    plant: "sed -i 's,^bayes_path.*,bayes_path /etc/spamassassin/bayes,' /etc/spamassassin/local.cf",
    restart: 'spamd',
    found: [
      ['SpamAssassin', 'warn', /no Bayes database to write to/, /bayes_path/],
      ['SpamAssassin', 'warn', /Whether Bayes is active is unknown/, /sa-learn/],
    ],
  },
  {
    name: 'spamd does not run',
    plant: 'systemctl stop spamd',
    mend: 'systemctl start spamd',
    found: [['SpamAssassin', 'fail', /spamd does not answer/, /systemctl start spamd/]],
  },
];

const owned = (path: string): Pick<Mistake, 'plant' | 'mend'> => ({
  plant: `chown root:root ${path}; chmod 0700 ${path}`,
  mend: `chown sluice:sluice ${path}`,
});

const fileMistakes: readonly Mistake[] = [
  {
    name: 'the state folder is open to others',
    plant: 'chmod 0755 /var/lib/sluice',
    mend: 'chmod 0700 /var/lib/sluice',
    found: [['State', 'warn', /open to other users \(mode 0755\)/, /chmod 0700/]],
  },
  {
    name: "the state folder is root's",
    ...owned('/var/lib/sluice'),
    found: [
      ['State', 'warn', /runs as root, who owns the state folder/, /chown -R USER/],
      ['State', 'fail', /Spool belongs to sluice, this is root/, /chown -R/],
    ],
  },
  {
    name: "the quarantine is root's",
    ...owned('/var/lib/sluice/quarantine'),
    found: [['State', 'fail', /Quarantine can not be compared/, /./]],
  },
  {
    name: "the spool is root's",
    ...owned('/var/lib/sluice/spool'),
    found: [
      ['State', 'fail', /Spool belongs to root, this is sluice/, /^chown -R sluice/],
      ['State', 'fail', /Spool can not be written: EACCES/, /give it to the user/],
      ['State', 'fail', /Spool can not be listed: EACCES/, /give it to the user/],
    ],
  },
  {
    name: "a database is root's",
    ...owned('/var/lib/sluice/ledger.db'),
    found: [['State', 'fail', /ledger\.db/, /./]],
  },
  {
    name: "the database of what people did is root's",
    ...owned('/var/lib/sluice/review.db'),
    found: [['State', 'fail', /review\.db/, /./]],
  },
  {
    name: 'Sluice can not read its configuration',
    plant: 'chmod 0600 /etc/sluice/sluice.yaml',
    found: [['Configuration', 'fail', /sluice, as whom Sluice runs, can not read it/, /chmod 0640/]],
  },
  {
    name: 'everybody can change the policies',
    plant: 'chmod 0666 /etc/sluice/policies.yaml',
    found: [['Configuration', 'warn', /Everybody on this machine can change/, /chmod o-w/]],
  },
];

const inSluice = (line: string): string => `echo '${line}' >> /etc/sluice/sluice.yaml`;

const siteMistakes: readonly Mistake[] = [
  {
    name: 'reinject leads to another port',
    plant: inSluice('reinject: 127.0.0.1:10035'),
    found: [
      ['Return smtpd', 'fail', /does not answer as it must: .*ECONNREFUSED/, /reinject in sluice\.yaml/],
      ['Postfix', 'fail', /no entry of master\.cf listens on 127\.0\.0\.1:10035/, /./],
    ],
  },
  {
    name: 'an address to listen on is taken',
    plant: inSluice('listen: { lmtp: 127.0.0.1:10023, smtp: 127.0.0.1:25 }'),
    found: [['Configuration', 'fail', /^Taken by .*says "220 mx/, /another address/]],
  },
  {
    name: 'Sluice runs with an older configuration',
    plant: inSluice('listen: { lmtp: 127.0.0.1:10023, smtp: 127.0.0.1:10034 }'),
    found: [['Configuration', 'warn', /not on every address/, /restart Sluice/]],
  },
  {
    name: 'the virus scanner is switched off',
    plant: inSluice('scan: { virus: false }'),
    found: [['ClamAV', 'warn', /scan\.virus is false/, /scan\.virus: true/]],
  },
];

export const badFiles: readonly BadFile[] = [
  {
    name: 'a key that there is not',
    file: 'policies.yaml',
    text: 'default: { treshold: { spam: 5 } }\n',
    said: /policies\.yaml:1:\d+: .*treshold/,
  },
  {
    name: 'thresholds in the wrong order',
    file: 'policies.yaml',
    text: 'recipients:\n  example.com:\n    thresholds: { spam: 12 }\n',
    said: /policies\.yaml:3:\d+: .*spam/,
  },
  {
    name: 'viruses are delivered',
    file: 'policies.yaml',
    text: 'default:\n  virus: deliver\n',
    said: /policies\.yaml:2:\d+: .*virus/,
  },
  {
    name: 'what never clears up is deferred',
    file: 'policies.yaml',
    text: 'default: { onUnchecked: { encrypted: defer } }\n',
    said: /policies\.yaml:1:\d+: .*encrypted/,
  },
  {
    name: 'a threshold without a value',
    file: 'policies.yaml',
    text: 'default:\n  thresholds:\n    spam:\n',
    said: /policies\.yaml:3:\d+: .*spam/,
  },
  {
    name: 'the same domain twice',
    file: 'policies.yaml',
    text: 'recipients:\n  example.com: { retentionDays: 7 }\n  example.com: { retentionDays: 9 }\n',
    said: /policies\.yaml:3:\d+: /,
  },
  {
    name: 'a recipient that is no address',
    file: 'policies.yaml',
    text: 'recipients:\n  "sales at example.com": { retentionDays: 7 }\n',
    said: /policies\.yaml:2:\d+: .*sales at example\.com/,
  },
  {
    name: 'a tab in the indentation',
    file: 'policies.yaml',
    text: 'default:\n\tvirus: quarantine\n',
    said: /policies\.yaml:\d+:\d+: /,
  },
  {
    name: 'a key that there is not',
    file: 'sluice.yaml',
    text: 'reinjekt: 127.0.0.1:10025\n',
    said: /sluice\.yaml:1:\d+: .*reinjekt/,
  },
  {
    name: 'a size that is none',
    file: 'sluice.yaml',
    text: 'limits: { messageBytes: many }\n',
    said: /sluice\.yaml:1:\d+: .*limits\.messageBytes/,
  },
  {
    name: 'open to the network without trusted clients',
    file: 'sluice.yaml',
    text: 'listen: { lmtp: 0.0.0.0:10023 }\n',
    said: /sluice\.yaml:1:\d+: .*trustedClients/,
  },
  {
    name: 'policies that are not there',
    file: 'sluice.yaml',
    text: 'policies: /etc/sluice/missing.yaml\n',
    said: /missing\.yaml.*no such file/,
  },
];

/** Mistakes that hide one another stay apart: at one place of these lists none touches what the others look at. */
const postfixParts = [mainMistakes.slice(0, -1), masterMistakes];
export const mistakeParts = [...postfixParts, clamdMistakes, spamdMistakes, fileMistakes];

/** Without content_filter nothing is looked at that comes behind it. */
export const lonelyMistakes = [...mainMistakes.slice(-1), ...siteMistakes];
