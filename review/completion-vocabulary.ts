/**
 * completion-vocabulary — what a shell may complete, as plain data from the commands' manuals.
 */
import { commands, groups } from './commands.ts';
import { bareOptions, commonOptions, type OptionManual, optionTypes, type Takes } from './options.ts';

/** One command as a shell sees it. */
export type Completed = {
  readonly name: string;
  readonly summary: string;
  /** What each word behind the name may be, in order; the last one comes again and again where `isOpen`. */
  readonly words: readonly Takes[];
  readonly isOpen: boolean;
  /** Beyond those of every command. */
  readonly options: readonly OptionManual[];
};

/** All commands. */
export const completed: readonly Completed[] = commands.map(({ name, summary, words, options }) => ({
  name,
  summary,
  words: words.map(({ takes }) => takes),
  isOpen: words.some((word) => word.isMany === true),
  options,
}));

/** Words that may come first: groups, commands of one word, and help. */
export const firstWords: readonly (readonly [string, string])[] = [
  ...completed.flatMap(({ name, summary }) => (name.includes(' ') ? [] : [[name, summary] as const])),
  ...groups.map(({ name, summary }) => [name, summary] as const),
  ['help', 'tell about a command'],
];

/** Second words of each group. */
export const memberWords: readonly (readonly [string, readonly (readonly [string, string])[]])[] = groups.map(
  (group) => [
    group.name,
    group.commands.map(({ name, summary }) => [name.slice(group.name.length + 1), summary]),
  ],
);

/** Options where no command stands yet. */
export const lonelyOptions: readonly OptionManual[] = [
  ...commonOptions.filter(({ name }) => name === 'help'),
  ...bareOptions,
];

/** Options that take the next word, whatever the command. */
export const valueOptions: readonly string[] = Object.entries(optionTypes).flatMap(([name, { type }]) =>
  type === 'string' ? [`--${name}`] : [],
);

/** Where the same may stand: patterns of a shell's `case`, the asterisk outside of quotes. */
export type Places = { readonly patterns: readonly string[]; readonly takes: Takes };

/** What words may be, by "command:number of the words before"; a word that comes again and again is told last. */
export const wordPlaces: readonly Places[] = together(
  [false, true].flatMap((isLast) =>
    completed.flatMap(({ name, words, isOpen }) =>
      words.flatMap((takes, at) => {
        const isRest = isOpen && at === words.length - 1;
        return isRest === isLast ? [{ pattern: isRest ? `'${name}:'*` : `'${name}:${at}'`, takes }] : [];
      }),
    ),
  ),
);

/** What values of options may be, by "command --option". */
export const optionPlaces: readonly Places[] = together([
  ...commonOptions.map((one) => ({ pattern: `*' --${one.name}'`, takes: one.takes })),
  ...completed.flatMap(({ name, options }) =>
    options.map((one) => ({ pattern: `'${name} --${one.name}'`, takes: one.takes })),
  ),
]);

/** Neighbours that take the same as one, in this order; nothing is said of what may be anything. */
function together(places: readonly { pattern: string; takes: Takes }[]): Places[] {
  const all: { patterns: string[]; takes: Takes }[] = [];
  for (const { pattern, takes } of places.filter((place) => place.takes !== 'text')) {
    const last = all.at(-1);
    if (last !== undefined && String(last.takes) === String(takes)) last.patterns.push(pattern);
    else all.push({ patterns: [pattern], takes });
  }
  return all;
}

/** The ids in what `quarantine list --json` prints, for any shell. */
export const idsOfJson = `grep -o '"quarantineId":"[0-9a-f]\\{32\\}"' | cut -d '"' -f 4 | sort -u`;
/** Asks for them: newest first, not for long, and who may not know learns nothing. */
export const listWords = 'quarantine list --limit 1000 --json';
