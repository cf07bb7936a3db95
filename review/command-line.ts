/**
 * command-line — from words to a command with its words and options, or to what is wrong with them.
 *
 * Accepts what the manuals say, and nothing else. What can't be understood is a UsageError that names what was probably
 * meant: nothing is guessed and then done.
 */
import { parseArgs } from 'node:util';
import { type Command, commands, groups } from './commands.ts';
import { type Options, UsageError } from './invocation.ts';
import { eitherOf, wordsOf } from './manual.ts';
import { type OptionName, optionTypes } from './options.ts';
import { nearest } from './suggestion.ts';

const everywhere: readonly OptionName[] = ['config', 'json', 'help', 'version'];

/** What a command line asks for; `topic` of help is a command, a group, or '' for all. */
export type Asked =
  | { readonly kind: 'version' }
  | { readonly kind: 'help'; readonly topic: string }
  | {
      readonly kind: 'command';
      readonly command: Command;
      readonly words: readonly string[];
      readonly options: Options;
    };

/** Understands a command line (without `node` and the script's name); UsageError where it can't. */
export function understand(commandLine: readonly string[]): Asked {
  const args = withQueryWords(commandLine);
  const { tokens } = parseArgs({
    args,
    options: optionTypes,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const positionals = tokens.flatMap((token) =>
    token.kind === 'positional' ? [token.value.replace(notAnOption, '')] : [],
  );
  const given = tokens.filter((token) => token.kind === 'option');
  const named = (name: string) => given.some((option) => option.name === name);
  if (named('version')) return { kind: 'version' };
  const stray = given.find(({ name }) => !(name in optionTypes));
  if (stray !== undefined && positionals.length === 0)
    throw new UsageError(`unknown option ${stray.rawName}: see sluice --help`);
  if (named('help') || positionals.length === 0 || positionals[0] === 'help')
    return { kind: 'help', topic: topicOf(positionals) };
  const command = findCommand(positionals);
  if (command === undefined) throw new UsageError(notUnderstood(positionals));
  for (const token of given) refuseOption(command, token);
  const words = positionals.slice(command.name.split(' ').length);
  refuseWords(command, words);
  return { kind: 'command', command, words, options: optionsOf(args, command) };
}

/** No argument can hold it (execve(2)). */
const notAnOption = '\0';

/** In a query "-word" is a word, whatever begins with one dash is an option elsewhere. */
function withQueryWords(commandLine: readonly string[]): string[] {
  const isQuery = commandLine.includes('search') || commandLine.includes('history');
  const isNegation = (word: string) => isQuery && /^-[^-]/.test(word) && word !== '-h';
  return commandLine.map((word) => (isNegation(word) ? notAnOption + word : word));
}

function optionsOf(args: string[], { name }: Command): Options {
  try {
    return parseArgs({ args, options: optionTypes, allowPositionals: true, strict: true }).values;
  } catch (cause) {
    const what = cause instanceof Error ? cause.message.replaceAll('\n', ' ') : String(cause);
    throw new UsageError(`${what}; see sluice ${name} --help`, { cause });
  }
}

function findCommand(positionals: readonly string[]): Command | undefined {
  return commands.find(({ name }) => name === positionals.slice(0, name.split(' ').length).join(' '));
}

/** What help is wanted about: the command among these words, else the group. */
function topicOf(positionals: readonly string[]): string {
  const words = positionals.filter((word, at) => at > 0 || word !== 'help');
  const [first = ''] = words;
  const command = findCommand(words);
  if (command !== undefined) return command.name;
  const isKnown = words.length === 0 || (words.length === 1 && groups.some(({ name }) => name === first));
  if (!isKnown) throw new UsageError(notUnderstood(words));
  return first;
}

function notUnderstood(words: readonly string[]): string {
  const group = groups.find(({ name }) => name === words[0]);
  if (group !== undefined && words.length === 1) {
    const typed = group.commands.filter(({ isForPrograms }) => isForPrograms !== true);
    return `incomplete command "${group.name}": add ${eitherOf(typed.map(({ name }) => lastWord(name)))}; see sluice ${group.name} --help`;
  }
  const meant = meantBy(words);
  const hint = meant === null ? '' : `did you mean "sluice ${meant}"? `;
  const said = group === undefined ? words.slice(0, 1) : words.slice(0, 2);
  const page = group === undefined ? 'sluice --help' : `sluice ${group.name} --help`;
  return `unknown command "${said.join(' ')}": ${hint}see ${page}`;
}

/** The command or group that these words resemble: as a whole, by the first word, or by a second word alone. */
function meantBy(words: readonly string[]): string | null {
  const names = commands.map(({ name }) => name);
  const [first = '', second = ''] = words;
  const group = nearest(
    first,
    groups.map(({ name }) => name),
  );
  const members = names.filter((name) => name.startsWith(`${group} `));
  const member = nearest(second, members.map(lastWord));
  if (member !== null) return `${group} ${member}`;
  const plain = nearest(
    first,
    names.filter((name) => !name.includes(' ')),
  );
  if (plain !== null || group !== null) return plain ?? (group === first ? null : group);
  const inGroup = nearest(first, names.map(lastWord));
  return names.find((name) => lastWord(name) === inGroup) ?? null;
}

function lastWord(name: string): string {
  return name.split(' ').at(-1) ?? '';
}

type GivenOption = {
  readonly name: string;
  /** With its dashes, as it was typed. */
  readonly rawName: string;
  readonly value?: string | undefined;
  /** Whether the value stands behind "=". */
  readonly inlineValue?: boolean | undefined;
};

function refuseOption(
  { name: commandName, options }: Command,
  { name, rawName, value, inlineValue }: GivenOption,
): void {
  const page = `see sluice ${commandName} --help`;
  const known = [...everywhere, ...options.map((option) => option.name)];
  if (!known.some((one) => one === name)) {
    const meant = nearest(name, known);
    const hint = meant === null ? '' : `did you mean --${meant}? `;
    throw new UsageError(`${commandName} has no option ${rawName}: ${hint}${page}`);
  }
  const type: { type: string; value?: string } = optionTypes[name as OptionName];
  if (type.type === 'string' && value === undefined)
    throw new UsageError(`${rawName} needs a value: write ${rawName} ${type.value}; ${page}`);
  if (type.type === 'string' && inlineValue !== true && value?.startsWith('-') === true)
    throw new UsageError(
      `${rawName} needs a value, got "${value}": write ${rawName}=${shellWord(value)} if that is meant; ${page}`,
    );
  if (type.type === 'boolean' && value !== undefined)
    throw new UsageError(`${rawName} takes no value, got "${value}": ${page}`);
}

/** A value as the shell hands it over unchanged: an unquoted ">" would write into a file. */
function shellWord(value: string): string {
  return /^[\w@%+=:,./-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`;
}

function refuseWords(command: Command, words: readonly string[]): void {
  const { min, max, names } = wordsOf(command);
  const { name } = command;
  const stranger = words[max];
  if (stranger !== undefined)
    throw new UsageError(`${name} takes ${names}, got "${stranger}" as well: see sluice ${name} --help`);
  if (words.length < min)
    throw new UsageError(`${name} takes ${names}, got nothing: see sluice ${name} --help`);
}
