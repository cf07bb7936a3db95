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

export const bayesManuals = [
  {
    name: 'bayes status',
    summary: 'which Bayes database is in place here, and which snapshots are kept',
    words: [],
    about: [
      'Shows the live database with its counts, the snapshot it came from and the one before it, and the snapshots that were exported here or received.',
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
    options: [option('force', 'take a snapshot although a newer one was here'), ...whose],
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
] as const satisfies readonly CommandManual[];
