/**
 * help — what `--help` prints: the overview, what a group of commands holds, and the page of one command.
 *
 * Made from the manuals, for a terminal of 80 columns. The same texts are in sluice(8).
 */
import { commands, groups } from './commands.ts';
import { fill, fillParts, fillTerms } from './fill.ts';
import { type Block, type CommandManual, exitCodes, type GroupManual, signature, usageOf } from './manual.ts';
import { bareOptions, commonOptions, type OptionManual } from './options.ts';

const width = 80;
const inner = width - 2;

/** The page for these words: a command's, a group's, or without words the overview; null where there is none. */
export function help(name: string): string | null {
  return pageFor(name)?.replaceAll('\u00a0', ' ') ?? null;
}

function pageFor(name: string): string | null {
  if (name === '') return overview();
  const command = commands.find((one) => one.name === name);
  if (command !== undefined) return pageOf(command);
  const group = groups.find((one) => one.name === name);
  return group === undefined ? null : groupPage(group);
}

function overview(): string {
  return [
    'Sluice, an after-queue content filter for Postfix.',
    '',
    'Usage: sluice COMMAND [WORDS] [OPTIONS]',
    '',
    'Commands:',
    ...list(commands.filter(isForPeople)),
    '',
    'Options of every command:',
    ...optionLines([...commonOptions, ...bareOptions]),
    '',
    'Exit codes:',
    ...codeLines(exitCodes),
    '',
    '"sluice COMMAND --help" tells more about one command, with examples.',
    'The manual page is sluice(8).',
  ].join('\n');
}

function groupPage({ name, summary, commands: members }: GroupManual): string {
  return [
    `Usage: sluice ${name} COMMAND [WORDS] [OPTIONS]`,
    '',
    `${summary[0]?.toUpperCase()}${summary.slice(1)}.`,
    '',
    'Commands:',
    ...list(members.filter(isForPeople)),
    ...(members.every(isForPeople)
      ? []
      : ['', 'Started by other programs:', ...list(members.filter((one) => !isForPeople(one)))]),
    '',
    `"sluice ${name} COMMAND --help" tells more about one of them, with examples.`,
  ].join('\n');
}

function isForPeople({ isForPrograms }: CommandManual): boolean {
  return isForPrograms !== true;
}

function list(members: readonly CommandManual[]): string[] {
  return indented(
    fillTerms(
      members.map(({ name, summary }) => [name, summary]),
      inner,
    ),
  );
}

function pageOf(manual: CommandManual): string {
  const { about, options, notes = [], examples, exits = [] } = manual;
  return [
    ...usageLines(manual),
    ...about.flatMap(blockLines),
    ...(options.length === 0 ? [] : ['', 'Options:', ...optionLines(options)]),
    ...notes.flatMap(blockLines),
    '',
    examples.length === 1 ? 'Example:' : 'Examples:',
    ...examples.flatMap(([line, what]) => [`  sluice ${line}`, ...fill(what, width - 6).map(deeper)]),
    ...(exits.length === 0 ? [] : ['', 'Exit:', ...codeLines(exits)]),
  ].join('\n');
}

function usageLines(manual: CommandManual): string[] {
  return usageOf(manual).flatMap((parts, at) => {
    const [start = '', ...rest] = parts;
    const [first = '', ...others] = fillParts([start.replaceAll(' ', '\u00a0'), ...rest], width - 7);
    const lead = at === 0 ? 'Usage: ' : '       ';
    return [lead + first, ...others.map((line) => ' '.repeat(11) + line)];
  });
}

function blockLines(block: Block): string[] {
  if (typeof block === 'string') return ['', ...fill(block, width)];
  if ('terms' in block) return indented(fillTerms(block.terms, inner));
  return indented(block.lines);
}

function optionLines(options: readonly OptionManual[]): string[] {
  return indented(
    fillTerms(
      options.map((one) => [signature(one), one.about]),
      inner,
    ),
  );
}

function codeLines(codes: readonly (readonly [number, string])[]): string[] {
  return indented(
    fillTerms(
      codes.map(([code, meaning]) => [String(code), meaning]),
      inner,
    ),
  );
}

function indented(lines: readonly string[]): string[] {
  return lines.map((line) => `  ${line}`.trimEnd());
}

function deeper(line: string): string {
  return `      ${line}`;
}
