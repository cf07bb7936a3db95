/**
 * mail-manuals — the commands that tell of messages: scan and history; and the language of queries.
 */
import { outcomes } from '../filter/history-search.ts';
import { dispositionKinds } from '../filter/query.ts';
import { type Block, type CommandManual, eitherOf, type WordManual } from './manual.ts';
import { option } from './options.ts';

/** In examples. */
export const exampleId = '9f86d081884c7d659a2feaa0c55ad015';
/** Words of a query. */
export const query = { name: 'QUERY', takes: 'text', isMany: true } as const satisfies WordManual;
export const scanManual = {
  name: 'scan',
  summary: 'verdict and explanation for one message; nothing is moved',
  words: [{ name: 'FILE', takes: 'file' }],
  about: [
    'Asks both scanners about the message in FILE (- for standard input) and decides for each recipient, as the running filter would. Nothing is delivered, held or noted.',
    'Tells what decided, each rule with its score and description, and the thresholds of each recipient with where they were set, as "quarantine show" does.',
  ],
  options: [
    option('to', 'decide for this recipient; default: for "anybody", whom the default policy decides about'),
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
  summary: 'what the filter did with every message, for each recipient',
  words: [{ ...query, isOptional: true }],
  about: [
    "Lists messages, newest first, one line per recipient, with Postfix's queue id in front and behind.",
    ...queryBlocks(
      'state:held',
      `state: takes ${eitherOf(outcomes)}; disposition: ${eitherOf(dispositionKinds)}, what was decided: in mode: observe all is delivered, whatever was.`,
    ),
  ],
  options: [
    option('limit', 'so many messages at most; default 50'),
    option('before', "the next page; --json shows each message's scanId", { value: 'SCANID', takes: 'text' }),
  ],
  notes: [
    'What was held is listed as held for good, whatever people did with it since, or that it has expired: "quarantine show" and "quarantine audit" tell of that. What a backup held has a second line once it is moved.',
    'In mode: observe "delivered, would quarantine" is what the filter would have done.',
  ],
  examples: [
    ['history to:anna@example.com after:2d', 'what became of the mail to Anna in the last two days'],
    ['history 4c7Yx1', 'one message, by its queue id'],
    ['history state:held verdict:virus --json', 'held viruses, for programs'],
    [
      'history state:delivered disposition:quarantine after:7d',
      'in mode: observe, what would have been held in the last week',
    ],
  ],
  exits: [
    [0, 'told, also where nothing is found'],
    [75, 'the database can not be read now'],
  ],
} as const satisfies CommandManual;

/** The language of queries, and what `state:` means here. */
export function queryBlocks(state: string, states: string): readonly Block[] {
  return [
    'Words are ANDed and found anywhere, in upper case or lower:',
    {
      lines: [
        'invoice  "two words"  -not-this  from:bob  to:@example.com  virus:Eicar',
        'subject:"your order"  verdict:virus  score:>6.5  score:<2',
        `after:7d  before:2026-01-31  id:4c7Yx1  ${state}`,
      ],
    },
    `from, to, subject and virus take any part of a word; id takes a whole queue id, message id or quarantine id; a plain word that is a queue id or quarantine id finds that message, too. ${states} Quote what the shell would take for itself: 'subject:"your\u00a0order"' 'score:>6.5'`,
  ];
}
