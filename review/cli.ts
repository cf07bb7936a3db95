/**
 * cli — the command line: which words lead to which verb, and what the exit code says.
 *
 * Exit codes (sysexits.h): 0 ok, 1 a negative finding (spam, virus, a failed check), 64 usage, 69 something needed is
 * not there, 70 a bug, 75 try again (unchecked), 78 configuration. Every command takes --config and --json. Errors go
 * to standard error, a line each; the stack only with SLUICE_TEST_STACK.
 */
import { userInfo } from 'node:os';
import { parseArgs } from 'node:util';
import { PermFail, TempFail } from '../workers/fail.ts';
import { terminalSafe } from '../workers/json-text.ts';
import { ConfigurationError, readSite } from '../workers/site.ts';
import { version } from '../workers/version.ts';
import { check } from './check-command.ts';
import { help } from './help.ts';
import { listHistory } from './history-command.ts';
import { importPolicies } from './import-command.ts';
import { type Invocation, type Options, UsageError } from './invocation.ts';
import { explainPolicy, checkPolicies } from './policy-command.ts';
import { printPostfix } from './postfix-command.ts';
import { deleteThem, exportHeld, learnThem, releaseHeld } from './quarantine-actions.ts';
import { listHeld, searchHeld, showHeld } from './quarantine-command.ts';
import { showQueue } from './queue-command.ts';
import { run } from './run-command.ts';
import { scanFile } from './scan-command.ts';
import { printable } from './table.ts';

type Command = {
  readonly name: string;
  /** Options of this command beyond --config, --json and --help. */
  readonly options: readonly (keyof Options)[];
  /** What stands behind the name: how many words, and what they are called. */
  readonly words: { readonly min: number; readonly max: number; readonly names: string };
  readonly run: (invocation: Invocation) => Promise<number>;
};

const none = { min: 0, max: 0, names: 'no word' };
const one = (names: string) => ({ min: 1, max: 1, names });
const some = (names: string) => ({ min: 1, max: Number.POSITIVE_INFINITY, names });
const any = (names: string) => ({ min: 0, max: Number.POSITIVE_INFINITY, names });

const commands: readonly Command[] = [
  { name: 'run', options: ['scanners'], words: { min: 0, max: 1, names: 'all, filter or worker' }, run },
  {
    name: 'check',
    options: ['probe', 'clamd-config', 'postfix-config', 'spamd-user', 'spamd-config'],
    words: none,
    run: check,
  },
  { name: 'postfix', options: ['feed'], words: none, run: printPostfix },
  { name: 'scan', options: ['to', 'from'], words: one('FILE'), run: scanFile },
  { name: 'policy explain', options: [], words: one('RCPT'), run: explainPolicy },
  { name: 'policy check', options: [], words: none, run: checkPolicies },
  {
    name: 'import amavis',
    options: ['sql', 'write'],
    words: any('FILE...'),
    run: importPolicies,
  },
  { name: 'quarantine list', options: ['all', 'limit', 'before'], words: none, run: listHeld },
  { name: 'quarantine search', options: ['all', 'limit', 'before'], words: some('QUERY'), run: searchHeld },
  { name: 'quarantine show', options: [], words: one('ID'), run: showHeld },
  {
    name: 'quarantine release',
    options: ['to', 'force', 'again', 'recipient', 'all-matching', 'confirm'],
    words: any('ID...'),
    run: releaseHeld,
  },
  {
    name: 'quarantine delete',
    options: ['recipient', 'all-matching', 'confirm'],
    words: any('ID...'),
    run: deleteThem,
  },
  {
    name: 'quarantine learn',
    options: ['all-matching', 'confirm'],
    words: some('spam, ham or forget, and ID...'),
    run: learnThem,
  },
  { name: 'quarantine export', options: ['output'], words: one('ID'), run: exportHeld },
  { name: 'queue status', options: [], words: none, run: showQueue },
  { name: 'history', options: ['limit', 'before'], words: any('QUERY'), run: listHistory },
];

const optionTypes = {
  config: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
  to: { type: 'string', multiple: true },
  from: { type: 'string' },
  force: { type: 'boolean' },
  again: { type: 'boolean' },
  all: { type: 'boolean' },
  limit: { type: 'string' },
  before: { type: 'string' },
  output: { type: 'string' },
  'all-matching': { type: 'string' },
  confirm: { type: 'string' },
  scanners: { type: 'string' },
  feed: { type: 'string' },
  recipient: { type: 'string', multiple: true },
  probe: { type: 'string' },
  'clamd-config': { type: 'string' },
  'postfix-config': { type: 'string' },
  'spamd-user': { type: 'string' },
  'spamd-config': { type: 'string' },
  sql: { type: 'string', multiple: true },
  write: { type: 'string' },
} as const;

/** Runs one command line (without `node` and the script's name); resolves with the exit code. Never throws. */
export async function main(commandLine: readonly string[]): Promise<number> {
  try {
    return await dispatch(commandLine);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    const isWanted = process.env.SLUICE_TEST_STACK !== undefined && cause instanceof Error;
    const text = isWanted ? (cause.stack ?? message) : message;
    // Only these are made of lines; in any other text a line break is a stranger's.
    const lines = isWanted || cause instanceof ConfigurationError ? text.split('\n') : [text];
    for (const line of lines) process.stderr.write(`sluice: ${printable(line)}\n`);
    return exitCodeOf(cause);
  }
}

async function dispatch(commandLine: readonly string[]): Promise<number> {
  const { values, positionals } = parse(commandLine);
  if (values.version === true) return say(version);
  const command = findCommand(positionals);
  if (values.help === true || positionals.length === 0 || positionals[0] === 'help') {
    return say(help(command?.name ?? positionals.filter((word) => word !== 'help').join(' ')));
  }
  if (command === undefined) throw new UsageError(notUnderstood(positionals));
  const words = positionals.slice(command.name.split(' ').length);
  refuseStray(command, words, values);
  return command.run({
    words,
    options: values,
    site: () => readSite(values.config, process.env),
    user: userName(),
    print: say,
    printJson: (value) => say(terminalSafe(JSON.stringify(value))),
  });
}

function parse(commandLine: readonly string[]) {
  try {
    const args = withQueryWords(commandLine);
    const parsed = parseArgs({ args, options: optionTypes, allowPositionals: true, strict: true });
    return { ...parsed, positionals: parsed.positionals.map((word) => word.replace(notAnOption, '')) };
  } catch (cause) {
    const what = cause instanceof Error ? cause.message.replaceAll('\n', ' ') : String(cause);
    throw new UsageError(`${what}; see sluice --help`, { cause });
  }
}

/** No argument can hold it (execve(2)). */
const notAnOption = '\0';

/** In a query "-word" is a word, whatever begins with one dash is an option elsewhere. */
function withQueryWords(commandLine: readonly string[]): string[] {
  const isQuery = commandLine.includes('search') || commandLine.includes('history');
  const isNegation = (word: string) => isQuery && /^-[^-]/.test(word) && word !== '-h';
  return commandLine.map((word) => (isNegation(word) ? notAnOption + word : word));
}

function findCommand(positionals: readonly string[]): Command | undefined {
  const words = positionals.filter((word, at) => at > 0 || word !== 'help');
  return commands.find(({ name }) => name === words.slice(0, name.split(' ').length).join(' '));
}

function notUnderstood(words: readonly string[]): string {
  const begun = commands.filter(({ name }) => name.startsWith(`${words.join(' ')} `));
  return begun.length === 0
    ? `unknown command "${words.join(' ')}": see sluice --help`
    : `incomplete command "${words.join(' ')}": write ${begun.map(({ name }) => `sluice ${name}`).join(', ')}`;
}

function refuseStray(
  { name, words: { min, max, names }, options }: Command,
  words: readonly string[],
  values: object,
): void {
  const stranger = words[max];
  if (stranger !== undefined)
    throw new UsageError(`${name} takes ${names}, got "${stranger}" as well: see sluice ${name} --help`);
  if (words.length < min)
    throw new UsageError(`${name} takes ${names}, got nothing: see sluice ${name} --help`);
  const known = new Set<string>(['config', 'json', 'help', 'version', ...options]);
  const stray = Object.keys(values).find((name) => !known.has(name));
  if (stray !== undefined)
    throw new UsageError(`${name} has no option --${stray}: see sluice ${name} --help`);
}

/** Who stands behind sudo; a user id may have no name, as in a container. */
function userName(): string {
  const { SUDO_USER: behindSudo } = process.env;
  if (behindSudo !== undefined && behindSudo !== '') return behindSudo;
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.()}`;
  }
}

function say(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
}

function exitCodeOf(cause: unknown): number {
  if (cause instanceof UsageError) return 64;
  if (cause instanceof ConfigurationError) return 78;
  if (cause instanceof TempFail) return 75;
  if (cause instanceof PermFail) return 69;
  return 70;
}
