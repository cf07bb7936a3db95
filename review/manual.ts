/**
 * manual — what is to be known of a command: the one description from which the parser takes what it accepts, and of
 * which `--help`, sluice(8) and the shell completions are made. So they can't differ.
 */
import type { OptionManual, OptionName, Takes } from './options.ts';

/** A paragraph, terms with what they mean, or lines that stay as they are. */
export type Block =
  | string
  | { readonly terms: readonly (readonly [string, string])[] }
  | { readonly lines: readonly string[] };

/** A word behind the command's name. */
export type WordManual = {
  readonly name: string;
  readonly takes: Takes;
  readonly isMany?: boolean;
  readonly isOptional?: boolean;
  /** Options that may stand in its place: the first is needed then. */
  readonly instead?: readonly OptionName[];
};

export type CommandManual = {
  readonly name: string;
  /** What it does, in one line. */
  readonly summary: string;
  readonly words: readonly WordManual[];
  /** Started by another program, never by hand: not among the commands that people look through. */
  readonly isForPrograms?: true;
  readonly about: readonly Block[];
  /** Beyond those that every command takes. */
  readonly options: readonly OptionManual[];
  readonly notes?: readonly Block[];
  /** What one types, without `sluice`, and what that does. */
  readonly examples: readonly (readonly [string, string])[];
  /** Exit codes that mean something particular here. */
  readonly exits?: readonly (readonly [number, string])[];
};

/** Commands that begin with the same word. */
export type GroupManual = {
  readonly name: string;
  readonly summary: string;
  readonly commands: readonly CommandManual[];
};

/** What the exit codes mean for every command (sysexits.h, and 128 + SIGINT). */
export const exitCodes: readonly (readonly [number, string])[] = [
  [0, 'done, and nothing bad found'],
  [1, 'a negative finding: spam, a virus, a failed check, nothing to release'],
  [64, 'the command line is wrong'],
  [69, 'something needed is not there'],
  [70, 'a bug in Sluice'],
  [75, 'could not tell or not do it now: try again'],
  [78, 'the configuration is wrong'],
  [130, 'stopped by Ctrl-C, after the message under way'],
];

/** How many words may stand behind the name, and what they are called. */
export function wordsOf({ words }: CommandManual): { min: number; max: number; names: string } {
  const needed = words.filter(({ isOptional, instead }) => isOptional !== true && instead === undefined);
  const isOpen = words.some(({ isMany }) => isMany === true);
  const names = words.map(({ name, takes, isMany }) =>
    typeof takes === 'string' ? name + (isMany === true ? '...' : '') : eitherOf(takes),
  );
  return {
    min: needed.length,
    max: isOpen ? Number.POSITIVE_INFINITY : words.length,
    names: names.length === 0 ? 'no word' : names.join(', and '),
  };
}

/** The usage lines, each as parts that are not to be broken: one line, or one per way to say what is meant. */
export function usageOf(manual: CommandManual): readonly (readonly string[])[] {
  const { name, words, options } = manual;
  const instead = words.flatMap((word) => word.instead ?? []);
  const rest = options.filter((one) => !instead.includes(one.name)).map(optional);
  const [needed, ...others] = options.filter((one) => instead.includes(one.name));
  const start = ['sluice', ...name.split(' ')].join(' ');
  const end = [...rest, '[--config FILE]', '[--json]'];
  const plain = [start, ...words.map(wordUsage), ...end];
  if (needed === undefined) return [plain];
  const kept = words.filter((word) => word.instead === undefined).map(wordUsage);
  return [plain, [start, ...kept, signature(needed), ...others.map(optional), ...end]];
}

/** `--to RCPT`. */
export function signature({ name, value }: OptionManual): string {
  return value === null ? `--${name}` : `--${name} ${value}`;
}

/** "a, b or c". */
export function eitherOf(choices: readonly string[]): string {
  const last = choices.at(-1) ?? '';
  return choices.length < 2 ? last : `${choices.slice(0, -1).join(', ')} or ${last}`;
}

function optional(one: OptionManual): string {
  return `[${signature(one)}]${one.isMany ? '...' : ''}`;
}

function wordUsage({ name, isMany, isOptional }: WordManual): string {
  return `${isOptional === true ? `[${name}]` : name}${isMany === true ? '...' : ''}`;
}
