/**
 * bayes-command — `sluice bayes status|export|restore|rollback`.
 *
 * Exit: 0 done, 1 refused, 69 it does not work, 75 another run is under way.
 */
import type { Config } from '../rules/config.ts';
import { formatNode, type SshNode } from '../rules/node-fields.ts';
import type { Bayes, BayesTrouble, OnStep } from '../workers/bayes.ts';
import { companionsOf, exportWith } from '../workers/bayes-companions.ts';
import { type Hello, readHello } from '../workers/bayes-hello.ts';
import { readRecords } from '../workers/bayes-record.ts';
import { createCall } from '../workers/bayes-ssh.ts';
import { orThrow, outcomeOf } from '../workers/bayes-step.ts';
import { doing } from './bayes-doing.ts';
import { bayesHere } from './bayes-here.ts';
import { type PeerState, peersText, recordsText } from './bayes-nodes-text.ts';
import { bayesText } from './bayes-text.ts';
import type { Invocation } from './invocation.ts';
import { countTaught } from './journal.ts';

type Outcome = Awaited<ReturnType<Bayes['export' | 'restore' | 'rollback' | 'status']>>;

/** What is in place, what is kept, and how the other nodes stand. */
export async function showBayes(invocation: Invocation): Promise<number> {
  const { options, status, print, printJson } = invocation;
  const config = invocation.config();
  const here = bayesHere(config, options, (step) => status.sayNow(doing[step]));
  const outcome = await here.bayes.status();
  const records = await readRecords(here.folder);
  const nodes = config.role === 'primary' ? config.bayes.nodes : [config.bayes.primary ?? []].flat();
  if (nodes.length > 0) status.sayNow('asking the other nodes');
  const peers = await Promise.all(nodes.map((node) => peerState(node, config)));
  const lessons = config.role === 'backup' ? await countTaught(config.state) : null;
  const told = [bayesText(outcome), ...lessonsText(lessons), ...recordsText(records, Date.now())];
  if (options.json === true) printJson({ ...outcome, lessons, records, peers });
  else print([...told, ...peersText(peers)].join('\n'));
  return exitCodeOf(outcome);
}

/** What a node says now; it has half a minute for that. */
async function peerState(node: SshNode, { bayes: { ssh } }: Config): Promise<PeerState> {
  const deadlineSeconds = Math.min(ssh.deadlineSeconds, 30);
  const call = createCall(node, { ...ssh, deadlineSeconds }, new AbortController().signal);
  const answer = await outcomeOf<{ kind: 'hello'; hello: Hello }>(
    () => undefined,
    async () => ({ kind: 'hello', hello: readHello(orThrow(await call({ name: 'hello' })).head) }),
  );
  return { node: formatNode(node), answer };
}

/** What people taught a backup and the primary does not know yet. */
function lessonsText(lessons: number | null): string[] {
  if (lessons === null) return [];
  return [`lessons   ${lessons === 0 ? 'none waits' : `${lessons} wait`} for the primary`];
}

/** A snapshot of the live database, with what travels with it: a backup may fetch it. */
export function exportBayes(invocation: Invocation): Promise<number> {
  const { config, options, status } = invocation;
  const onStep: OnStep = (step) => status.sayNow(doing[step]);
  const force = options.force === true;
  return tell(invocation, (bayes) => exportWith(() => companionsOf(config()), { bayes, force, onStep }));
}

/** A snapshot in a folder becomes the live database. */
export function restoreBayes(invocation: Invocation): Promise<number> {
  const [folder = ''] = invocation.words;
  return tell(invocation, (bayes) => bayes.restore(folder, { force: invocation.options.force === true }));
}

/** The previous database becomes the live one again. */
export function rollBackBayes(invocation: Invocation): Promise<number> {
  return tell(invocation, (bayes) => bayes.rollback());
}

async function tell(invocation: Invocation, run: (bayes: Bayes) => Promise<Outcome>): Promise<number> {
  const { options, status, print, printJson } = invocation;
  const onStep: OnStep = (step) => status.sayNow(doing[step]);
  const { bayes } = bayesHere(invocation.config(), options, onStep);
  const outcome = await run(bayes);
  if (options.json === true) printJson(outcome);
  else print(bayesText(outcome));
  return exitCodeOf(outcome);
}

function exitCodeOf(outcome: Outcome): number {
  switch (outcome.kind) {
    case 'failed':
      return 69;
    case 'refused':
      return isBusy(outcome) ? 75 : 1;
    case 'status':
      return outcome.standing.current === null ? 1 : 0;
    case 'exported':
    case 'restored':
    case 'already':
    case 'rolledBack':
      return 0;
  }
}

function isBusy({ step }: BayesTrouble): boolean {
  return step === 'lock';
}
