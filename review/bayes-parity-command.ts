/**
 * bayes-parity-command — `sluice bayes parity`: the comparison by itself, for whoever changed rules or looks for a cause.
 *
 * Changes nothing on either node, and writes nothing down. Exit: 0 alike, 1 otherwise, 69 unknown.
 */
import { formatNode, type SshNode } from '../rules/node-fields.ts';
import type { Config } from '../rules/config.ts';
import { parityJudgementOf } from '../rules/bayes-parity.ts';
import type { ParityReport } from '../workers/bayes-parity.ts';
import { createCall } from '../workers/bayes-ssh.ts';
import { nodeNamed } from './bayes-carry-command.ts';
import { bayesHere } from './bayes-here.ts';
import { parityText } from './bayes-parity-text.ts';
import { parityWith } from './bayes-score-answers.ts';
import { type Invocation, type Options, UsageError } from './invocation.ts';

/** Compares with each backup node, or with the primary. */
export async function compareBayes(invocation: Invocation): Promise<number> {
  const { options, status, print, printJson } = invocation;
  const config = invocation.config();
  const nodes = nodesOf(config, options);
  const here = bayesHere(config, options, () => undefined);
  const compare = parityWith(here);
  status.sayNow('scoring the sample on both nodes');
  const reports = await Promise.all(
    nodes.map(async (node) => ({
      node: formatNode(node),
      report: await compare(createCall(node, config.bayes.ssh, here.signal)),
    })),
  );
  status.say('');
  if (options.json === true) printJson(reports);
  else print(reports.map(({ node, report }) => parityText(node, report)).join('\n\n'));
  return exitCodeOf(reports.map(({ report }) => report));
}

function nodesOf({ role, bayes }: Config, options: Options): readonly SshNode[] {
  if (role === 'backup') {
    if (bayes.primary !== null) return [bayes.primary];
    throw new UsageError(
      'bayes parity: run it on the primary: only a backup with bayes.primary asks by itself',
    );
  }
  if (bayes.sample === 0)
    throw new UsageError('bayes parity: bayes.sample is 0: write how many messages to keep into sluice.yaml');
  if (options.node !== undefined) return [nodeNamed(options.node, bayes.nodes)];
  if (bayes.nodes.length > 0) return bayes.nodes;
  throw new UsageError('bayes parity: bayes.nodes names no node; where the backup fetches, run it there');
}

/** What is unknown says more than what differs. */
function exitCodeOf(reports: readonly ParityReport[]): number {
  const codes = reports.map((report) => {
    if (report.kind !== 'compared') return 69;
    return { equal: 0, differs: 1, unknown: 69 }[parityJudgementOf(report.parity.summary)];
  });
  return [69, 1].find((code) => codes.includes(code)) ?? 0;
}
