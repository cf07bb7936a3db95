/**
 * bayes-duties — what `sluice run bayes` does on this node: the nightly run, the errands of each minute, the look at what is in
 * place. The one place where they are put in.
 *
 * Hides how each is put together. Whose database it is, is found out anew for every run: spamd may have been restarted since.
 */
import { formatNode } from '../rules/node-fields.ts';
import type { BayesDuties } from '../workers/bayes-part.ts';
import type { Log } from '../workers/log.ts';
import { readPolicies, type Site } from '../workers/site.ts';
import { bayesHere } from './bayes-here.ts';
import { createNews, createRounds } from './bayes-rounds.ts';
import { type RunOptions, runSync } from './bayes-run.ts';

/** The duties of a site by its role; what it has no use for is null. `script`: what stands behind node when Sluice is started. */
export function bayesDutiesOf(site: Site, script: string, log: Log): BayesDuties {
  const { role, bayes } = site.config;
  const here = (signal?: AbortSignal) => bayesHere(site.config, {}, () => undefined, signal);
  const hasPeer = role === 'primary' ? bayes.nodes.length > 0 : bayes.primary !== null;
  const goRound = createRounds(createNews(log));
  const hasErrands = hasPeer || (role === 'backup' && bayes.recipients !== null);
  return {
    runSync: hasPeer ? (signal, only) => runSync(here(signal), nodesIn(site, only)) : null,
    runErrands: hasErrands ? (signal) => goRound({ site: asItIsNow(site), script, log, signal }) : null,
    status: role === 'backup' ? () => here().bayes.status() : null,
  };
}

function nodesIn({ config }: Site, only: readonly string[] | null): RunOptions {
  return only === null ? {} : { nodes: config.bayes.nodes.filter((node) => only.includes(formatNode(node))) };
}

/** A sync may have brought other policies. */
function asItIsNow(site: Site): Site {
  try {
    return { ...site, policies: readPolicies(site.config) };
  } catch {
    // The filter, which reads them too, says what is wrong with them.
    return site;
  }
}
