/**
 * bayes-score-answers — what each door answers about scores, and what is done after each sync: the comparison, as this site has it.
 */
import { hostname } from 'node:os';
import type { NamedThreshold } from '../rules/bayes-parity.ts';
import type { Config } from '../rules/config.ts';
import {
  createFetchedParity,
  createParity,
  type ParityReport,
  type PrimaryOptions,
  sampleAnswer,
  scoreAnswer,
} from '../workers/bayes-parity.ts';
import { noteAnswer, outcomeOfParity, tellParity } from '../workers/bayes-parity-note.ts';
import type { Call } from '../workers/bayes-ssh.ts';
import type { AfterSync } from '../workers/bayes-sync.ts';
import type { Answerers } from '../workers/bayes-wire.ts';
import { readPolicies } from '../workers/site.ts';
import type { BayesHere } from './bayes-here.ts';
import { createSampleSource } from './bayes-sample-source.ts';

/** For the door `receive`, on a backup. */
export function scoringAnswers({ view, folder, signal }: BayesHere): Answerers {
  return { score: scoreAnswer(view, signal), parity: noteAnswer(folder) };
}

/** For the door `send`, on a primary. */
export function sampleAnswers(here: BayesHere): Answerers {
  return { sample: sampleAnswer(here.config.bayes.sample === 0 ? null : primaryOptions(here)) };
}

/** The comparison with other nodes, for one run: with backups on a primary, with the primary on a backup that fetches. */
export function parityWith(here: BayesHere): (call: Call) => Promise<ParityReport> {
  const { role, bayes } = here.config;
  if (role === 'backup') return createFetchedParity(here);
  if (bayes.sample === 0) return async () => ({ kind: 'off' });
  return createParity(primaryOptions(here));
}

/** What `syncAll` and `fetchSnapshot` do after each good sync of this run. */
export function parityAfterSync(here: BayesHere, now: () => number = Date.now): AfterSync {
  const compare = parityWith(here);
  return async ({ node, call }) => {
    const { parity, warnings } = outcomeOfParity(await compare(call), node, now());
    if (parity === null || here.config.role === 'backup') return { parity, warnings };
    return { parity, warnings: [...warnings, ...(await tellParity(call, { host: hostname(), parity }))] };
  };
}

function primaryOptions({ config, view, signal }: BayesHere): PrimaryOptions {
  return {
    view,
    signal,
    sample: createSampleSource(config, signal),
    thresholds: () => thresholdsOf(config),
  };
}

/** Those of the site's default policy at which a message is treated otherwise. */
function thresholdsOf(config: Config): NamedThreshold[] {
  const { defaults } = readPolicies(config);
  const names = ['spam', 'quarantine', 'discard'] as const;
  return names.flatMap((name) => {
    const score = defaults[`thresholds.${name}`].value;
    return score === null ? [] : [{ name, score }];
  });
}
