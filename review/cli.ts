/**
 * cli — the command line: which words lead to which verb, and what the exit code says.
 *
 * Exit codes (sysexits.h) stand in manual.ts. Every command takes --config and --json. Answers go to standard output;
 * errors to standard error, a line each; the stack only with SLUICE_TEST_STACK.
 */
import { userInfo } from 'node:os';
import { PermFail, TempFail } from '../workers/fail.ts';
import { terminalSafe } from '../workers/json-text.ts';
import { ConfigurationError, readConfig, readSite } from '../workers/site.ts';
import { version } from '../workers/version.ts';
import type { BayesVerb } from './bayes-verbs.ts';
import { check } from './check-command.ts';
import { type Asked, understand } from './command-line.ts';
import type { CommandName } from './commands.ts';
import { printCompletion } from './completion-command.ts';
import { help } from './help.ts';
import { listHistory } from './history-command.ts';
import { importPolicies } from './import-command.ts';
import { type Invocation, UsageError } from './invocation.ts';
import { explainPolicy, checkPolicies } from './policy-command.ts';
import { printPostfix } from './postfix-command.ts';
import { exportHeld } from './export-command.ts';
import { createStatusLine, silentStatusLine } from './progress.ts';
import { deleteThem, learnThem, releaseHeld } from './quarantine-actions.ts';
import { listAudit, listHeld, searchHeld, showHeld } from './quarantine-command.ts';
import { showQueue } from './queue-command.ts';
import { run } from './run-command.ts';
import { scanFile } from './scan-command.ts';
import { printable } from './table.ts';

/** Loaded when it is called: the filter and all other commands pay nothing for it. */
const bayes = (name: BayesVerb) => async (invocation: Invocation) =>
  (await import('./bayes-verbs.ts')).bayesVerbs[name](invocation);

/** What each command of commands.ts does; resolves with the exit code. */
const verbs: Readonly<Record<CommandName, (invocation: Invocation) => Promise<number>>> = {
  run,
  check,
  postfix: printPostfix,
  scan: scanFile,
  'policy explain': explainPolicy,
  'policy check': checkPolicies,
  'quarantine list': listHeld,
  'quarantine search': searchHeld,
  'quarantine show': showHeld,
  'quarantine release': releaseHeld,
  'quarantine delete': deleteThem,
  'quarantine learn': learnThem,
  'quarantine export': exportHeld,
  'quarantine audit': listAudit,
  'queue status': showQueue,
  'bayes status': bayes('bayes status'),
  'bayes export': bayes('bayes export'),
  'bayes restore': bayes('bayes restore'),
  'bayes rollback': bayes('bayes rollback'),
  'bayes answer': bayes('bayes answer'),
  'bayes sync': bayes('bayes sync'),
  'bayes fetch': bayes('bayes fetch'),
  'bayes parity': bayes('bayes parity'),
  'bayes setup': bayes('bayes setup'),
  'bayes receive': bayes('bayes receive'),
  'bayes send': bayes('bayes send'),
  history: listHistory,
  'import amavis': importPolicies,
  completion: printCompletion,
};

/** Runs one command line (without `node` and the script's name); resolves with the exit code. Never throws. */
export async function main(commandLine: readonly string[]): Promise<number> {
  try {
    return await answer(understand(commandLine));
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

async function answer(asked: Asked): Promise<number> {
  switch (asked.kind) {
    case 'version':
      return say(version);
    case 'help':
      return say(help(asked.topic) ?? '');
    case 'command':
      return perform(asked);
  }
}

async function perform({ command, words, options }: Asked & { kind: 'command' }): Promise<number> {
  using status = options.json === true ? silentStatusLine() : createStatusLine(process.stderr);
  const print = (text: string): void => {
    status.clear();
    say(text);
  };
  return await verbs[command.name]({
    words,
    options,
    site: () => readSite(options.config, process.env),
    config: () => readConfig(options.config, process.env).config,
    user: userName(),
    columns: columnsOf(process.env.COLUMNS, process.stdout),
    status,
    print,
    printJson: (value) => print(terminalSafe(JSON.stringify(value))),
  });
}

/** How wide the reader's lines are: what COLUMNS says, else the terminal; a pipe or a file has no bounds. */
function columnsOf(wanted: string | undefined, stream: { columns?: number }): number {
  if (wanted !== undefined && /^[1-9]\d{0,4}$/.test(wanted)) return Number(wanted);
  return stream.columns === undefined || stream.columns === 0 ? Number.POSITIVE_INFINITY : stream.columns;
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
