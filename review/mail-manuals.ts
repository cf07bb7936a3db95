/**
 * mail-manuals — the commands that speak of messages: scan, history, and what a human may do with held mail.
 */
import type { Block, CommandManual, WordManual } from './manual.ts';
import { option } from './options.ts';

const exampleId = '9f86d081884c7d659a2feaa0c55ad015';
const id = { name: 'ID', takes: 'quarantineId' } as const satisfies WordManual;
const query = { name: 'QUERY', takes: 'text', isMany: true } as const satisfies WordManual;
/** Items named one by one, or all of a query. */
const items = { ...id, isMany: true, instead: ['all-matching', 'confirm'] } as const satisfies WordManual;

export const scanManual = {
  name: 'scan',
  summary: 'verdict and explanation for one message; nothing is moved',
  words: [{ name: 'FILE', takes: 'file' }],
  about: [
    'Asks both scanners about the message in FILE (- for standard input) and decides for each recipient, as the running filter would. Nothing is delivered, held or noted.',
    'Tells what decided, each rule with its score and description, and the thresholds of each recipient with where they were set, as "quarantine show" does.',
  ],
  options: [
    option('to', 'decide for this recipient; without it the default policy decides'),
    option('from', 'the envelope sender; default: the null sender, as of a bounce'),
  ],
  examples: [
    ['scan suspicious.eml --to sales@example.com --to info@example.net', 'what each of the two would get'],
    [`quarantine export ${exampleId} | sluice scan -`, 'how a held message would fare today'],
  ],
  exits: [
    [0, 'clean'],
    [1, 'spam or a virus for at least one recipient'],
    [75, 'a scanner could not tell'],
  ],
} as const satisfies CommandManual;

export const historyManual = {
  name: 'history',
  summary: 'what became of every message, for each recipient',
  words: [{ ...query, isOptional: true }],
  about: [
    "Lists messages, newest first, one line per recipient, with Postfix's queue id in front and behind.",
    ...queryBlocks('state:held', 'state: takes delivered, held, discarded, refused or deferred.'),
  ],
  options: [
    option('limit', 'so many messages at most; default 50'),
    option('before', "the next page; --json shows each message's scanId", { value: 'SCANID', takes: 'text' }),
  ],
  notes: ['In mode: observe "delivered, would quarantine" is what the filter would have done.'],
  examples: [
    ['history to:anna@example.com after:2d', 'what became of the mail to Anna in the last two days'],
    ['history 4c7Yx1', 'one message, by its queue id'],
    ['history state:held verdict:virus --json', 'held viruses, for programs'],
  ],
} as const satisfies CommandManual;

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
      'Lists messages that are held for somebody, and releases that got stuck (releasing, unconfirmed), newest first: since when, id, why, from, to, subject.',
    ],
    options: [all, ...paging],
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
        'state: takes held, releasing, released, unconfirmed, deleted or expired, and then finds more than what waits.',
      ),
    ],
    options: [all, ...paging],
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
      "Shows envelope and verdict, what decided, each rule with its score and description, the thresholds of each recipient with where they were set, and what happened to each recipient's copy, step by step.",
    ],
    options: [],
    examples: [
      [`quarantine show ${exampleId}`, 'everything that is known of it'],
      [`quarantine show ${exampleId} --json | jq .report`, 'what the scanners said, for programs'],
    ],
    exits: [[69, 'no such item']],
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

const bulk = (what: string) => [
  option(
    'all-matching',
    'all that "quarantine search QUERY" finds; says how many there are, and does nothing',
  ),
  option('confirm', `${what} them, if N is how many there are`),
];
const stopping: Block =
  'Ctrl-C stops after the message under way and says how far it got; a second one breaks that message off, too.';

export const actingManuals = [
  {
    name: 'quarantine release',
    summary: 'give held messages back to Postfix',
    words: [items],
    about: [
      'Gives held messages back to Postfix with their envelope and DSN parameters. They are not filtered again. Releasing twice delivers once.',
    ],
    options: [
      option('recipient', 'only for this original recipient; default: everyone for whom it is held'),
      option('to', 'to another address instead; no delivery status is asked for, the held copies stay held'),
      option('force', 'needed where the message is infected'),
      option('again', 'also what an earlier release left unconfirmed: it may arrive twice'),
      ...bulk('release'),
    ],
    notes: [
      'What became of it is told for each recipient:',
      {
        terms: [
          ['released', 'the return smtpd took it'],
          ['held', 'the return smtpd could not take it now; it stays held'],
          ['refused', 'the return smtpd does not want it; it stays held'],
          ['unconfirmed', 'it may have arrived, nobody can tell'],
          ['skipped', 'it is not held any more'],
        ],
      },
      stopping,
    ],
    examples: [
      [`quarantine release ${exampleId}`, 'for everyone for whom it is held'],
      [`quarantine release ${exampleId} --to me@example.com`, 'a copy to somebody else'],
      ['quarantine release --all-matching from:@partner.example', 'says how many that would be'],
      ['quarantine release --all-matching from:@partner.example --confirm 8', 'and these 8 go out'],
    ],
    exits: [
      [0, 'released'],
      [1, 'refused, unconfirmed, or nothing to release'],
      [69, 'no such item, or infected and no --force'],
      [75, 'try again'],
    ],
  },
  {
    name: 'quarantine delete',
    summary: 'delete held messages',
    words: [items],
    about: [
      'Deletes held copies. With the last copy of an item the message itself is gone. That it was, and who deleted it, stays known for some days, and in the history.',
    ],
    options: [option('recipient', "only this recipient's copy"), ...bulk('delete')],
    notes: [stopping],
    examples: [
      [`quarantine delete ${exampleId}`, 'for everyone for whom it is held'],
      ["quarantine delete --all-matching 'score:>30'", 'says how many that would be'],
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
    options: bulk('learn'),
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

/** The language of queries, and what `state:` means here. */
function queryBlocks(state: string, states: string): readonly Block[] {
  return [
    'Words are ANDed and found anywhere, in upper case or lower:',
    {
      lines: [
        'invoice  "two words"  -not-this  from:bob  to:@example.com  virus:Eicar',
        'subject:"your order"  verdict:virus  score:>6.5  score:<2',
        `after:7d  before:2026-01-31  id:4c7Yx1  ${state}`,
      ],
    },
    `from, to, subject and virus take any part of a word; id takes a whole queue id, message id or quarantine id. ${states} Quote what the shell would take for itself: 'subject:"your\u00a0order"' 'score:>6.5'`,
  ];
}
