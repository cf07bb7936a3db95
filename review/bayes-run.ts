/**
 * bayes-run — the nightly run of this node, whichever way it goes: a primary serves its nodes, a backup fetches from its primary.
 *
 * Puts together what the workers take as arguments: ssh, companions, locks, what is done after it. The command and the schedule
 * both call this.
 */
import { formatNode, type SshNode } from '../rules/node-fields.ts';
import type { BayesStep } from '../workers/bayes.ts';
import { companionsOf, stageCompanions } from '../workers/bayes-companions.ts';
import { fetchSnapshot } from '../workers/bayes-fetch.ts';
import type { SyncRecord } from '../workers/bayes-record.ts';
import { createCall } from '../workers/bayes-ssh.ts';
import { type AfterSync, syncAll } from '../workers/bayes-sync.ts';
import { PermFail } from '../workers/fail.ts';
import { version } from '../workers/version.ts';
import type { BayesHere } from './bayes-here.ts';
import { parityAfterSync } from './bayes-score-answers.ts';

export type RunOptions = {
  readonly force?: boolean;
  /** Those of bayes.nodes that are served; all where it is missing. */
  readonly nodes?: readonly SshNode[];
  readonly onStep?: (step: BayesStep, node: string | null) => void;
  /** Default: the scores are compared. */
  readonly afterSync?: AfterSync;
};

/** Sends to the nodes, or fetches from the primary; a record for each. Throws PermFail where sluice.yaml names none. */
export async function runSync(here: BayesHere, options: RunOptions = {}): Promise<SyncRecord[]> {
  const { role, bayes } = here.config;
  if (role === 'backup') return [await runFetch(here, options)];
  const { nodes = bayes.nodes, force = false } = options;
  if (nodes.length === 0)
    throw new PermFail(
      'Cannot sync: bayes.nodes in sluice.yaml names no node: sluice bayes setup shows what is missing',
    );
  return syncAll({
    ...common(here, options),
    nodes,
    force,
    callOf: (node) => createCall(node, bayes.ssh, here.signal),
    companions: () => companionsOf(here.config),
    ...(options.onStep === undefined ? {} : { onStep: options.onStep }),
  });
}

/** Fetches from the primary. Throws PermFail where sluice.yaml names none. */
export async function runFetch(here: BayesHere, options: RunOptions = {}): Promise<SyncRecord> {
  const { primary, ssh } = here.config.bayes;
  if (primary === null)
    throw new PermFail(
      'Cannot fetch: bayes.primary in sluice.yaml names no node: sluice bayes setup shows what is missing',
    );
  const { force = false, onStep } = options;
  return fetchSnapshot({
    ...common(here, options),
    primary,
    force,
    call: createCall(primary, ssh, here.signal),
    stage: stageCompanions(here.config),
    ...(onStep === undefined ? {} : { onStep: (step) => onStep(step, formatNode(primary)) }),
  });
}

function common(here: BayesHere, { afterSync = parityAfterSync(here) }: RunOptions) {
  const { bayes, folder, syncLock } = here;
  return { bayes, folder, lock: syncLock, version, afterSync };
}
