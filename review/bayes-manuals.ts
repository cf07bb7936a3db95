/**
 * bayes-manuals — what people are told of `sluice bayes`.
 */
import type { CommandManual } from './manual.ts';
import { option } from './options.ts';

const whose = [
  option('spamd-user', "whose Bayes database; default: bayes.user, else the user of spamd's process"),
  option(
    'spamd-config',
    "SpamAssassin's site configuration; default: bayes.siteFolder, else as spamd was started",
  ),
];

const privileges = 'Run it as root: the database is read and written as its own user.';

const carried: CommandManual['exits'] = [
  [0, 'every node has the snapshot, or had it already'],
  [1, 'refused: nothing is broken; step and remedy are told'],
  [69, 'something does not work; step and remedy are told'],
  [75, 'another run is under way, here or there'],
];

const answering =
  'Set as command="…" with restrict in authorized_keys of root: who comes with that key can do this and nothing else. The question comes on standard input, its answer goes to standard output, as octets for the other node; what ssh was asked to run is not looked at. Print the whole line with bayes setup.';

export const bayesManuals = [
  {
    name: 'bayes status',
    summary: 'which Bayes database is in place here, which snapshots are kept, and how the other nodes stand',
    words: [],
    about: [
      'Shows the live database with its counts, the snapshot it came from and the one before it, and the snapshots that were exported here or received. For each other node: what the last run came to, with step and remedy where it failed, the counts of both sides, how alike they scored, and the age of the last good run; a node that this one connects to is asked how it stands now, for half a minute at most. On a backup also how many lessons wait for the primary.',
      privileges,
    ],
    options: whose,
    examples: [['bayes status', 'for a look']],
    exits: [
      [0, 'there is a database'],
      [1, 'there is none'],
      [69, "the database can't be looked at; the step and the remedy are told"],
    ],
  },
  {
    name: 'bayes export',
    summary: 'take a snapshot of the Bayes database, and keep it',
    words: [],
    about: [
      "Writes SpamAssassin's journal into its database, dumps it, and keeps the dump, compressed, with a manifest of its counts. A database that is empty is refused; so is one with fewer than 200 spam or 200 ham messages, or with over a tenth fewer of either than the last snapshot had.",
      privileges,
    ],
    options: [option('force', 'keep it although it is young or has lost messages'), ...whose],
    examples: [
      ['bayes export', 'as every night'],
      ['bayes export --force', 'after the database was begun anew'],
    ],
    exits: [
      [0, 'kept'],
      [1, 'refused'],
      [69, 'something does not work; the step and the remedy are told'],
      [75, 'another run is under way'],
    ],
  },
  {
    name: 'bayes restore',
    summary: 'put a snapshot in place of the Bayes database',
    words: [{ name: 'FOLDER', takes: 'folder' }],
    about: [
      'Checks the snapshot, loads it into a database beside the live one, counts it, and then exchanges the two in one instant: spamd answers throughout. The database that was there stays, for bayes rollback.',
      privileges,
    ],
    options: [
      option('force', 'take a snapshot although a newer one was here, or load the current one again'),
      ...whose,
    ],
    examples: [['bayes restore /var/lib/sluice/bayes/exported/1795324800000', 'one that bayes status shows']],
    exits: [
      [0, 'restored, or in place already'],
      [1, 'refused'],
      [69, 'something does not work; the old database is in place'],
      [75, 'another run is under way'],
    ],
  },
  {
    name: 'bayes rollback',
    summary: 'put the Bayes database back that was there before the last restore',
    words: [],
    about: [
      'Exchanges the live database and the one before it in one instant. A second time undoes the first.',
      privileges,
    ],
    options: whose,
    examples: [['bayes rollback', 'when mail is judged worse than yesterday']],
    exits: [
      [0, 'done'],
      [1, 'there is no previous database'],
      [69, 'something does not work; the step and the remedy are told'],
      [75, 'another run is under way'],
    ],
  },
  {
    name: 'bayes answer',
    summary:
      'answer one question of the other node about held mail and lessons (started by bayes receive and send)',
    words: [],
    isForPrograms: true,
    about: [
      'Reads a question on standard input and writes the answer to standard output, as the owner of the state folder. On a backup: what it held, and what people taught it; on the primary: it takes them. bayes receive, bayes send and run bayes start it; there is no use in starting it by hand.',
    ],
    options: [],
    examples: [['bayes answer', 'what bayes receive starts']],
    exits: [
      [0, 'answered'],
      [1, 'refused'],
      [69, 'something does not work'],
    ],
  },
  {
    name: 'bayes sync',
    summary: 'bring the Bayes database to the backup nodes',
    words: [],
    about: [
      'Exports a snapshot, sends it over ssh to each node of bayes.nodes, with the policies and the map of recipients, has it restored there and compares the counts. A node that fails stops no other. On a backup with bayes.primary it is bayes fetch. sluice run does this every night at bayes.sync.at.',
      privileges,
    ],
    options: [
      option('now', 'do it now; needed, as by itself it is done at bayes.sync.at'),
      option('node', 'this one of bayes.nodes alone: as it stands there, or its host'),
      option(
        'force',
        'send a database that is young or has lost messages, and have it taken although a newer one was there',
      ),
      ...whose,
    ],
    examples: [
      ['bayes sync --now', 'as every night'],
      ['bayes sync --now --node mx2.example.com', 'after that node was set up anew'],
    ],
    exits: carried,
  },
  {
    name: 'bayes fetch',
    summary: 'get the Bayes database from the primary, where only this node may connect',
    words: [],
    about: [
      'Asks bayes.primary for a snapshot over ssh, restores it with what travels with it, compares the counts, and tells the primary what became of it.',
      privileges,
    ],
    options: [option('force', 'take a snapshot although a newer one was here'), ...whose],
    examples: [['bayes fetch', 'as every night']],
    exits: carried,
  },
  {
    name: 'bayes parity',
    summary: 'compare how this node and the other ones judge the same mail',
    words: [],
    about: [
      'Both nodes score the sample that the primary keeps (bayes.sample) by their local tests; shown are messages with another Bayes probability or score, verdicts that flip, and rules that hit on one side alone. Every good bayes sync and bayes fetch does the same and keeps the figures. Changes nothing.',
      privileges,
    ],
    options: [option('node', 'this one of bayes.nodes alone: as it stands there, or its host'), ...whose],
    examples: [['bayes parity', 'after a rule was changed on one node']],
    exits: [
      [0, 'the nodes judge alike'],
      [1, 'they do not: what differs is told'],
      [69, 'unknown: a node could not be reached, or could not score; the remedy is told'],
    ],
  },
  {
    name: 'bayes setup',
    summary: 'show and check each piece that two nodes need for the Bayes sync',
    words: [],
    about: [
      "Prints what is to be done on this node and on the other one: key, line of authorized_keys, pinned host key, sshd's settings, sluice.yaml, the store. Then checks each piece that it can reach; each line is ok, warn or fail with its remedy. Changes nothing, unless --keys is given.",
      'Run it as root, on both nodes.',
    ],
    options: [option('keys', 'make the key where it is missing'), ...whose],
    examples: [
      ['bayes setup', 'on the primary, then on the backup'],
      ['bayes setup --keys', 'with the key being made'],
    ],
    exits: [
      [0, 'nothing is missing'],
      [1, 'something is: the remedy stands with it'],
    ],
  },
  {
    name: 'bayes receive',
    summary: 'answer the primary over ssh: a forced command, on a backup',
    words: [],
    isForPrograms: true,
    about: [answering],
    options: whose,
    examples: [['bayes receive', 'by sshd, never by hand']],
    exits: [
      [0, 'answered'],
      [1, 'refused'],
      [69, 'failed'],
    ],
  },
  {
    name: 'bayes send',
    summary: 'answer a backup over ssh: a forced command, on a primary',
    words: [],
    isForPrograms: true,
    about: [answering],
    options: whose,
    examples: [['bayes send', 'by sshd, never by hand']],
    exits: [
      [0, 'answered'],
      [1, 'refused'],
      [69, 'failed'],
    ],
  },
] as const satisfies readonly CommandManual[];
