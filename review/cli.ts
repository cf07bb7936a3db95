/**
 * cli — the command line: which words lead to which verb, and what the exit code says.
 *
 * Exit codes (sysexits.h): 0 ok, 1 a negative finding (spam, virus, a failed check), 64 usage, 69 something needed is
 * not there, 75 try again (unchecked), 78 configuration. Every command takes --config and --json. Errors go to
 * standard error in one line; the stack only with SLUICE_TEST_STACK.
 */
import { parseArgs } from 'node:util';
import { PermFail, TempFail } from '../workers/fail.ts';
import { ConfigurationError, readSite } from '../workers/site.ts';
import { version } from '../workers/version.ts';
import { help } from './help.ts';
import { type Invocation, type Options, UsageError } from './invocation.ts';
import { explainPolicy, checkPolicies } from './policy-command.ts';
import { listHeld, releaseHeld, showHeld } from './quarantine-command.ts';
import { run } from './run-command.ts';
import { scanFile } from './scan-command.ts';

type Command = {
  readonly name: string;
  /** Options of this command beyond --config, --json and --help. */
  readonly options: readonly (keyof Options)[];
  readonly words: { readonly min: number; readonly max: number };
  readonly run: (invocation: Invocation) => Promise<number>;
};

const commands: readonly Command[] = [
  { name: 'run', options: [], words: { min: 0, max: 1 }, run },
  { name: 'scan', options: ['to', 'from'], words: { min: 1, max: 1 }, run: scanFile },
  { name: 'policy explain', options: [], words: { min: 1, max: 1 }, run: explainPolicy },
  { name: 'policy check', options: [], words: { min: 0, max: 0 }, run: checkPolicies },
  { name: 'quarantine list', options: ['all', 'limit'], words: { min: 0, max: 0 }, run: listHeld },
  { name: 'quarantine show', options: [], words: { min: 1, max: 1 }, run: showHeld },
  {
    name: 'quarantine release',
    options: ['to', 'force', 'recipient'],
    words: { min: 1, max: 1 },
    run: releaseHeld,
  },
];

const optionTypes = {
  config: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
  to: { type: 'string', multiple: true },
  from: { type: 'string' },
  force: { type: 'boolean' },
  all: { type: 'boolean' },
  limit: { type: 'string' },
  recipient: { type: 'string', multiple: true },
} as const;

/** Runs one command line (without `node` and the script's name); resolves with the exit code. Never throws. */
export async function main(commandLine: readonly string[]): Promise<number> {
  try {
    return await dispatch(commandLine);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    const detail =
      process.env.SLUICE_TEST_STACK !== undefined && cause instanceof Error ? cause.stack : message;
    process.stderr.write(`sluice: ${detail}\n`);
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
  if (command === undefined)
    throw new UsageError(`unknown command "${positionals.join(' ')}": see sluice --help`);
  const words = positionals.slice(command.name.split(' ').length);
  refuseStray(command, words, values);
  const site = readSite(values.config, process.env);
  return command.run({ words, options: values, site, print: (text) => process.stdout.write(`${text}\n`) });
}

function parse(commandLine: readonly string[]) {
  try {
    return parseArgs({ args: [...commandLine], options: optionTypes, allowPositionals: true, strict: true });
  } catch (cause) {
    throw new UsageError(`${cause instanceof Error ? cause.message : String(cause)}; see sluice --help`, {
      cause,
    });
  }
}

function findCommand(positionals: readonly string[]): Command | undefined {
  const words = positionals.filter((word, at) => at > 0 || word !== 'help');
  return commands.find(({ name }) => name === words.slice(0, name.split(' ').length).join(' '));
}

function refuseStray(command: Command, words: readonly string[], values: object): void {
  const { min, max } = command.words;
  if (words.length < min || words.length > max) {
    throw new UsageError(
      `${command.name} takes ${min === max ? min : `${min} to ${max}`} words, got ${words.length}: see sluice ${command.name} --help`,
    );
  }
  const known = new Set<string>(['config', 'json', 'help', 'version', ...command.options]);
  const stray = Object.keys(values).find((name) => !known.has(name));
  if (stray !== undefined)
    throw new UsageError(`${command.name} has no option --${stray}: see sluice ${command.name} --help`);
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
