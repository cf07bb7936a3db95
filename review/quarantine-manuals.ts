/**
 * quarantine-manuals — the commands for held mail: those that only look, and those that act.
 */
import { exampleId, query, queryBlocks } from './mail-manuals.ts';
import type { Block, CommandManual, WordManual } from './manual.ts';
import { option } from './options.ts';

const id = { name: 'ID', takes: 'quarantineId' } as const satisfies WordManual;
/** Items named one by one, or all of a query. */
const items = { ...id, isMany: true, instead: ['all-matching', 'confirm'] } as const satisfies WordManual;

const paging = [
  option('limit', 'so many messages at most; default 50'),
  option('before', 'the next page: what was held before this one'),
];
const all = option('all', 'also what was released, deleted or has expired');

export const lookingManuals = [
  {
    name: 'quarantine list',
    summary: 'what waits for a decision, newest first',
    words: [],
    about: [
      'Lists messages that are held for somebody, and what got stuck on its way out (releasing, unconfirmed, moving), newest first: since when, id, why, from, to, subject.',
    ],
    options: [all, ...paging],
    exits: [[69, 'no such item to go on behind (--before)']],
    examples: [
      ['quarantine list', 'the newest 50'],
      ['quarantine list --limit 20 --before ' + exampleId, 'the 20 before that one'],
      ["quarantine list --json | jq -r '.[].quarantineId'", 'their ids, for programs'],
    ],
  },
  {
    name: 'quarantine search',
    summary: 'held messages by words, sender, score, time',
    words: [query],
    about: [
      'Lists what the query finds among what waits for a decision, newest first.',
      ...queryBlocks(
        'state:released',
        'state: takes held, releasing, released, unconfirmed, deleted, expired, moving or moved, and then finds more than what waits.',
      ),
    ],
    options: [all, ...paging],
    exits: [[69, 'no such item to go on behind (--before)']],
    examples: [
      ["quarantine search from:@shop.example -invoice 'score:>12'", 'no invoices, above 12 points'],
      ['quarantine search to:@example.com \'subject:"your order"\' after:7d', 'of the last week'],
    ],
  },
  {
    name: 'quarantine show',
    summary: 'why it is held, for whom, and what happened since',
    words: [id],
    about: [
      "Shows envelope and verdict, what decided, each rule with its score and description, the thresholds of each recipient with where they were set, and what happened to each recipient's copy, step by step, and who did what with it (also what leaves no copy changed: learn, export, release --to).",
    ],
    options: [],
    examples: [
      [`quarantine show ${exampleId}`, 'everything that is known of it'],
      [`quarantine show ${exampleId} --json | jq .report`, 'what the scanners said, for programs'],
    ],
    exits: [[69, 'no such item']],
  },
  {
    name: 'quarantine audit',
    summary: 'who did what, and what came of it',
    words: [{ ...id, isOptional: true }],
    about: [
      'Lists what people did with held mail and with the history, newest first: when, who, what, with which item, and what came of it; of one item also when it is forgotten by now. Looking counts as well. Kept for history.retentionDays.',
    ],
    options: [option('limit', 'so many rows at most; default 50')],
    examples: [
      ['quarantine audit', 'the last 50 things that were done'],
      [`quarantine audit ${exampleId}`, 'what was done with one item'],
      [
        'quarantine audit --limit 1000 --json | jq \'.[] | select(.verb == "delete")\'',
        'deletions, for programs',
      ],
    ],
  },
  {
    name: 'quarantine export',
    summary: 'the message itself, as it was scanned',
    words: [id],
    about: ['Writes the message, byte for byte as it was scanned, to standard output.'],
    options: [option('output', 'into this file instead, which must not be there yet')],
    examples: [
      [`quarantine export ${exampleId} --output suspicious.eml`, 'into a file'],
      [`quarantine export ${exampleId} | less`, 'to look at it'],
    ],
    exits: [[69, 'no such item, or the file is there already']],
  },
] as const satisfies readonly CommandManual[];

const bulk = (what: string, unit: 'copies' | 'messages') => [
  option(
    'all-matching',
    `${unit === 'copies' ? 'the copies that wait of ' : ''}all that "quarantine search QUERY" finds; says how many ${unit} there are, and does nothing${unit === 'copies' ? '. With to: in the query only copies for such recipients' : ''}`,
  ),
  option('confirm', `${what} them, if N is how many ${unit} there are`),
];
const stopping: Block =
  'Ctrl-C stops after the message under way and says how far it got; a second one breaks that message off, too.';

export const actingManuals = [
  {
    name: 'quarantine release',
    summary: 'give held messages back to Postfix',
    words: [items],
    about: [
      'Gives held messages back to Postfix with their envelope and DSN parameters. They are not filtered again. Releasing twice delivers once, --to the same address, too.',
    ],
    options: [
      option('recipient', 'only for this original recipient; default: everyone for whom it is held'),
      option('to', 'to another address instead; no delivery status is asked for, the held copies stay held'),
      option('force', 'needed where the message is infected'),
      option(
        'again',
        'also what an earlier release left unconfirmed, or a backup was moving to its primary, and --to an address that was sent it already: it may arrive twice',
      ),
      ...bulk('release', 'copies'),
    ],
    notes: [
      'What became of it is told for each recipient:',
      {
        terms: [
          ['released', 'the return smtpd took it'],
          [
            'held',
            'the return smtpd could not take it now; it stays held (unconfirmed where --again was needed)',
          ],
          [
            'refused',
            'the return smtpd does not want it; it stays held (unconfirmed where --again was needed)',
          ],
          ['unconfirmed', 'it may have arrived, nobody can tell'],
          ['skipped', 'it is not held any more, or was sent to that address already'],
        ],
      },
      stopping,
    ],
    examples: [
      [`quarantine release ${exampleId}`, 'for everyone for whom it is held'],
      [`quarantine release ${exampleId} --to me@example.com`, 'a copy to somebody else'],
      ['quarantine release --all-matching from:@partner.example', 'says how many copies that would be'],
      ['quarantine release --all-matching from:@partner.example --confirm 8', 'and these 8 go out'],
    ],
    exits: [
      [0, 'released'],
      [1, 'refused, unconfirmed, or nothing to release'],
      [69, 'no such item, its message is gone, or infected and no --force'],
      [75, 'try again'],
    ],
  },
  {
    name: 'quarantine delete',
    summary: 'delete held messages',
    words: [items],
    about: [
      'Deletes held copies. With the last copy of an item the message itself is gone. That it was, and who deleted it, "quarantine show" tells for some days, and "quarantine audit" for history.retentionDays.',
    ],
    options: [option('recipient', "only this recipient's copy"), ...bulk('delete', 'copies')],
    notes: [stopping],
    examples: [
      [`quarantine delete ${exampleId}`, 'for everyone for whom it is held'],
      ["quarantine delete --all-matching 'score:>30'", 'says how many copies that would be'],
      ["quarantine delete --all-matching 'score:>30' --confirm 340", 'deletes these 340'],
    ],
    exits: [
      [0, 'deleted'],
      [1, 'nothing to delete'],
      [69, 'no such item'],
      [75, 'try again'],
    ],
  },
  {
    name: 'quarantine learn',
    summary: 'teach SpamAssassin: spam, ham, or forget it again',
    words: [{ name: 'spam|ham|forget', takes: ['spam', 'ham', 'forget'] }, items],
    about: [
      "Teaches SpamAssassin's Bayes filter the message as it was scanned; spamd must run with --allow-tell. That works as long as the message is there: after a release, too. forget takes back what was learnt.",
    ],
    options: bulk('learn', 'messages'),
    notes: [stopping],
    examples: [
      [`quarantine learn ham ${exampleId}`, 'it was no spam'],
      ["quarantine learn spam --all-matching 'score:>20 after:1d'", 'says how many that would be'],
    ],
    exits: [
      [0, 'learned'],
      [1, 'nothing to do for spamd'],
      [69, 'not allowed, or no such item'],
      [75, 'try again'],
    ],
  },
] as const satisfies readonly CommandManual[];
