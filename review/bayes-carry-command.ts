/**
 * bayes-carry-command — `sluice bayes sync|fetch|receive|send`.
 *
 * The first two are for people and say what they do; the others are forced commands of ssh, whose standard output belongs to the
 * answer alone. Exit: 0 done, 1 refused, 69 it does not work, 75 another run is under way.
 */
import { formatNode, type SshNode } from '../rules/node-fields.ts';
import type { SyncRecord } from '../workers/bayes-record.ts';
import { createOwnerCall } from './bayes-as-owner.ts';
import { doing } from './bayes-doing.ts';
import { answerersOf, type Door, serveDoor } from './bayes-doors.ts';
import { bayesHere } from './bayes-here.ts';
import { runText } from './bayes-nodes-text.ts';
import { runFetch, type RunOptions, runSync } from './bayes-run.ts';
import { type Invocation, UsageError } from './invocation.ts';

/** Brings the database to the backup nodes, or to one of them. */
export async function syncBayes(invocation: Invocation): Promise<number> {
  const { options } = invocation;
  if (options.now !== true)
    throw new UsageError(
      'bayes sync: sluice run does it by itself at bayes.sync.at; write --now to do it now',
    );
  const config = invocation.config();
  const nodes = options.node === undefined ? {} : { nodes: [nodeNamed(options.node, config.bayes.nodes)] };
  return told(invocation, (run) =>
    runSync(bayesHere(config, options, saying(invocation)), { ...run, ...nodes }),
  );
}

/** Gets the database from the primary. */
export function fetchBayes(invocation: Invocation): Promise<number> {
  const here = bayesHere(invocation.config(), invocation.options, saying(invocation));
  return told(invocation, async (run) => [await runFetch(here, run)]);
}

/** Answers the primary, on a backup. */
export function receiveBayes(invocation: Invocation): Promise<number> {
  return answer(invocation, 'receive');
}

/** Answers a backup, on the primary. */
export function sendBayes(invocation: Invocation): Promise<number> {
  return answer(invocation, 'send');
}

/** Nobody reads anything but the answer: no step is told. */
async function answer(invocation: Invocation, door: Door): Promise<number> {
  const config = invocation.config();
  // What is under way when its time is over ends as if it were cut.
  const signal = AbortSignal.timeout(config.bayes.ssh.deadlineSeconds * 1000);
  const here = bayesHere(config, invocation.options, () => undefined, signal);
  const configFile = invocation.options.config ?? null;
  const mail = createOwnerCall({ script: process.argv[1] ?? '', configFile, signal });
  const answerers = answerersOf(door, here, mail);
  const code = await serveDoor(answerers, { input: process.stdin, output: process.stdout, signal });
  // Whoever takes no answer must not keep this process: what it still has to say would wait for him.
  return code ?? process.exit(69);
}

async function told(
  invocation: Invocation,
  run: (options: RunOptions) => Promise<readonly SyncRecord[]>,
): Promise<number> {
  const { options, print, printJson, status } = invocation;
  const force = options.force === true;
  const records = await run({
    force,
    onStep: (step, node) => status.sayNow(node === null ? doing[step] : `${node}: ${doing[step]}`),
  });
  status.say('');
  if (options.json === true) printJson(records);
  else print(runText(records));
  return exitCodeOf(records);
}

function saying({ status }: Invocation) {
  return (step: keyof typeof doing) => status.sayNow(doing[step]);
}

/** As bayes.nodes has it, or its host alone. */
export function nodeNamed(name: string, nodes: readonly SshNode[]): SshNode {
  const found = nodes.filter((node) => formatNode(node) === name || node.host === name);
  const [node] = found;
  if (node !== undefined && found.length === 1) return node;
  const known = nodes.map(formatNode).join(', ') || 'none';
  throw new UsageError(`--node: "${name}" is not one node of bayes.nodes: ${known}`);
}

/** The worst of them: what fails says more than what is refused, and that more than what is busy. */
function exitCodeOf(records: readonly SyncRecord[]): number {
  const codes = records.map(({ outcome, step }) => {
    if (outcome === 'failed') return 69;
    if (outcome === 'refused') return step === 'lock' ? 75 : 1;
    return 0;
  });
  return [69, 1, 75].find((code) => codes.includes(code as 69)) ?? 0;
}
