/**
 * site-manuals — the commands that run Sluice and look after the site: run, check, postfix, policy, import, completion.
 */
import type { CommandManual } from './manual.ts';
import { option } from './options.ts';

/** The daemon itself. */
export const runManual = {
  name: 'run',
  summary: 'take mail from Postfix, filter it, give it back',
  words: [{ name: 'all|filter|worker|bayes', takes: ['all', 'filter', 'worker', 'bayes'], isOptional: true }],
  about: [
    'Runs Sluice in the foreground. Events go to standard output, one JSON line each.',
    {
      terms: [
        [
          'all',
          '(default) watches over the filter, over a worker where redis and a scanner are configured, and as root over the Bayes part where there is another node; starts again who dies',
        ],
        ['filter', 'the filter process alone'],
        ['worker', 'a worker alone: takes scans from Redis, needs neither Postfix nor the quarantine'],
        [
          'bayes',
          'the nightly Bayes run (bayes.sync.at) and its alarm alone; as root, for sa-learn works as the user of spamd',
        ],
      ],
    },
  ],
  options: [option('scanners', 'what this worker scans for; default: every scanner that is configured here')],
  notes: [
    'SIGHUP reads policies.yaml again. SIGTERM stops taking mail, finishes what is in flight, and ends with 0.',
  ],
  examples: [
    ['run', 'as a service manager starts it, with /etc/sluice/sluice.yaml'],
    ['run filter --config ./sluice.yaml', 'one process, another configuration'],
    ['run worker --scanners spam', 'on a machine that only scores mail'],
  ],
  exits: [
    [0, 'ended by a signal, nothing lost'],
    [75, 'an address to listen on is taken'],
    [78, 'sluice.yaml or policies.yaml have problems: each is printed'],
  ],
} as const satisfies CommandManual;

/** What waits in Redis, and who works on it. */
export const queueManual = {
  name: 'queue status',
  summary: 'what waits in Redis for workers, and which workers are alive',
  words: [],
  about: [
    'Shows how many scans wait and how old the oldest is, the workers that are alive (host, process, version, whether their scanners answer, jobs under way of those at once), and the filters. Only where redis is set.',
  ],
  options: [],
  examples: [
    ['queue status', 'for a look'],
    ['queue status --json | jq .queues', 'for programs'],
  ],
  exits: [
    [0, 'every queue has a worker whose scanner answers'],
    [1, 'one has none'],
    [69, 'redis is not set'],
    [75, 'Redis can not be asked'],
  ],
} as const satisfies CommandManual;

export const checkManual = {
  name: 'check',
  summary: 'find what is wrong around Sluice, and how to mend it',
  words: [],
  about: [
    "Looks at configuration, state folder, clamd, spamd, return smtpd and Postfix's files. Each thing is a line: ok, warn or FAIL. What to do stands at the end.",
    'It takes some seconds, and is safe beside a running Sluice. As root it sees more: how spamd was started, and what sa-learn says as its user. The rest is done as the owner of the state folder, as Sluice itself runs.',
  ],
  options: [
    option(
      'probe',
      'also send one message to ADDRESS behind the filter, and prove that it does not come back',
    ),
    option('clamd-config', 'default: /etc/clamav/clamd.conf, if the clamd that is asked uses it'),
    option('postfix-config', 'default: /etc/postfix'),
    option('spamd-user', 'whose Bayes database sa-learn shall read; default: the user that spamd works as'),
    option('spamd-config', 'its site configuration; default: the one that spamd was started with'),
  ],
  examples: [
    ['check', 'everything but the way of a message'],
    [
      'check --probe postmaster@example.com',
      'also sends a message, and waits whether it comes back: 10 s, or as long as Postfix is busy with it',
    ],
    ['check --json | jq \'.groups[].findings[] | select(.level == "fail")\'', 'what failed, for programs'],
  ],
  exits: [
    [0, 'nothing failed; there may be warnings'],
    [1, 'something failed'],
    [78, 'sluice.yaml or policies.yaml have problems'],
  ],
} as const satisfies CommandManual;

export const postfixManual = {
  name: 'postfix',
  summary: 'what main.cf and master.cf need for this configuration',
  words: [],
  about: [
    'Prints lines for main.cf, entries for master.cf, and commands for the services that you have already. Each setting comes with its reason. No file of Postfix is read or changed.',
  ],
  options: [
    option(
      'feed',
      'lmtp (default): one reply per recipient, needs listen.lmtp; smtp: one for all, needs listen.smtp',
    ),
    option(
      'part',
      'that text alone; master and main are to be appended to their files, in this order, with "postfix reload" between them; commands is to be run then; bypass, when run, has mail go past Sluice, and removal takes it away altogether',
    ),
    option('role', 'backup: with what a backup MX needs; default: role in sluice.yaml'),
    option(
      'primary',
      "of a backup: the primary's address; default: bayes.primary, else a name to be filled in",
    ),
  ],
  notes: [
    'With listen.outbound set, submission and pickup get a feed of their own. Without it their mail is not filtered.',
  ],
  examples: [
    ['postfix', 'for the configuration in /etc/sluice/sluice.yaml'],
    [
      'postfix --part master >> /etc/postfix/master.cf',
      'pasted; then "postfix reload", and the same with main and main.cf',
    ],
    ['postfix --part removal', 'the commands that undo all this, each with its reason; "| sh" runs them'],
    ['postfix --role backup --primary 192.0.2.10', 'for a backup MX of that primary'],
    ['postfix --feed smtp', 'for a Postfix that shall talk SMTP to the filter'],
  ],
  exits: [
    [0, 'printed'],
    [78, "Postfix can't be told; the reason says which key"],
  ],
} as const satisfies CommandManual;

export const policyManuals = [
  {
    name: 'policy explain',
    summary: 'each value for a recipient or a sender, and where it was set',
    words: [{ name: 'ADDRESS', takes: 'text' }],
    about: ['Prints each effective value for this recipient, and where it was set: file, line and key.'],
    options: [
      option(
        'outbound',
        'for what this sender of your own site sends, when it comes in over listen.outbound',
      ),
    ],
    examples: [
      ['policy explain sales@example.com', 'why sales gets what it gets'],
      ['policy explain --outbound sales@example.com', 'from which score on what sales sends is an alarm'],
    ],
  },
  {
    name: 'policy check',
    summary: 'read sluice.yaml and policies.yaml, print every problem',
    words: [],
    about: [
      'Reads both files as the filter does, and prints every problem with file, line and remedy. A running filter goes on with its old policies until the new ones are good.',
    ],
    options: [],
    examples: [
      ['policy check', 'after an edit, before the reload'],
      ['policy check --config ./sluice.yaml', 'files that are not in use yet'],
    ],
    exits: [
      [0, 'no problem'],
      [78, 'problems'],
    ],
  },
] as const satisfies readonly CommandManual[];

export const importManual = {
  name: 'import amavis',
  summary: "amavisd-new's settings as a policies.yaml",
  words: [{ name: 'FILE', takes: 'file', isMany: true, isOptional: true }],
  about: [
    "Reads amavisd-new's configuration, without running it, and prints the policies.yaml that says the same, each value with its source. A folder stands for the files in it; later files win, as with amavisd-new.",
    "What can't be carried over goes to standard error: where it stands, and what to do by hand. Lists that read_hash and read_array name are read only when they are named here too.",
  ],
  options: [
    option('sql', 'the tables users, policy, mailaddr and wblist, dumped by mysqldump, pg_dump or sqlite3'),
    option('write', 'write the policies into a file that is not there yet, instead of printing them'),
  ],
  examples: [
    ['import amavis /etc/amavis/conf.d > policies.yaml', 'from the files of a Debian machine'],
    ['import amavis /etc/amavis/conf.d --sql amavis.sql --write policies.yaml', 'from files and database'],
  ],
  exits: [
    [0, 'all was carried over'],
    [1, 'something was not'],
    [69, "a file can't be read or written"],
  ],
} as const satisfies CommandManual;

export const completionManual = {
  name: 'completion',
  summary: 'a script with which the shell completes all this',
  words: [{ name: 'bash|zsh|fish', takes: ['bash', 'zsh', 'fish'] }],
  about: [
    'Prints a script that completes commands, options, their values, files, and the ids of held messages as far as you may list them.',
  ],
  options: [],
  examples: [
    ['completion bash > /etc/bash_completion.d/sluice', 'for everybody who uses bash'],
    ['completion zsh > /usr/local/share/zsh/site-functions/_sluice', 'for zsh'],
    ['completion fish > ~/.config/fish/completions/sluice.fish', 'for fish, for yourself'],
  ],
} as const satisfies CommandManual;
