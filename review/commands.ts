/**
 * commands — all commands there are, in the order in which people meet them.
 */
import { bayesManuals } from './bayes-manuals.ts';
import type { CommandManual, GroupManual } from './manual.ts';
import { historyManual, scanManual } from './mail-manuals.ts';
import { actingManuals, lookingManuals } from './quarantine-manuals.ts';
import {
  checkManual,
  completionManual,
  importManual,
  policyManuals,
  postfixManual,
  queueManual,
  runManual,
} from './site-manuals.ts';

const [list, search, show, audited, exported] = lookingManuals;
const all = [
  runManual,
  checkManual,
  postfixManual,
  scanManual,
  ...policyManuals,
  list,
  search,
  show,
  ...actingManuals,
  exported,
  audited,
  queueManual,
  ...bayesManuals,
  historyManual,
  importManual,
  completionManual,
] as const;

/** The name of a command: one word or two. */
export type CommandName = (typeof all)[number]['name'];

/** A command's manual under the name that is known to be one. */
export type Command = CommandManual & { readonly name: CommandName };

export const commands: readonly Command[] = all;

/** The first words that several commands share. */
export const groups: readonly GroupManual[] = [
  group('policy', 'what each recipient gets, and why'),
  group('quarantine', 'look at held messages, and decide about them'),
  group('queue', 'scans on their way to workers'),
  group('bayes', "SpamAssassin's Bayes database: snapshots, and the way back"),
  group('import', "take over another filter's settings"),
];

function group(name: string, summary: string): GroupManual {
  return { name, summary, commands: commands.filter((one) => one.name.startsWith(`${name} `)) };
}
