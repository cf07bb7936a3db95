/**
 * bayes-duties — what `sluice run bayes` does on this node: the nightly run, the errands of each minute, the look at what is in
 * place. The one place where they are put in.
 *
 * Hides how each is put together. Whose database it is, is found out anew for every run: spamd may have been restarted since.
 */
import type { Config } from '../rules/config.ts';
import type { BayesDuties } from '../workers/bayes-part.ts';
import { bayesHere } from './bayes-here.ts';
import { createRounds, hasRounds, type Round } from './bayes-rounds.ts';
import { runSync } from './bayes-run.ts';

/** The duties of a site by its role; what it has no use for is null. */
export function bayesDutiesOf(config: Config, round: Omit<Round, 'config'>): BayesDuties {
  const { role, bayes } = config;
  const here = (signal?: AbortSignal) => bayesHere(config, {}, () => undefined, signal);
  const rounds = createRounds({ config, ...round });
  const hasPeer = role === 'primary' ? bayes.nodes.length > 0 : bayes.primary !== null;
  return {
    runSync: hasPeer ? (signal) => runSync(here(signal)) : null,
    runErrands: hasRounds(config) ? async (signal) => void (await rounds(signal)) : null,
    status: role === 'backup' ? () => here().bayes.status() : null,
  };
}
