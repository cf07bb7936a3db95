/**
 * check-role — what `sluice check` says of this node beside the other one; see workers/check-bayes-role.ts.
 *
 * Hides where SpamAssassin's and Postfix's files are, and that the store is asked only where there is something to ask: the check
 * makes no folder. To be called as root, before this process becomes the owner of the state folder.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../rules/config.ts';
import type { Finding } from '../rules/finding.ts';
import type { BayesStatus, BayesTrouble } from '../workers/bayes.ts';
import { messageOf } from '../workers/bayes-step.ts';
import { checkBayesRole } from '../workers/check-bayes-role.ts';
import { siteFolderOf } from '../workers/check-spamd.ts';
import { processListeningOn } from '../workers/local-process.ts';
import { usualSiteFolder } from '../workers/spamassassin-config.ts';
import { bayesHere } from './bayes-here.ts';
import { wantsBayesPart } from './bayes-wanted.ts';
import type { Options } from './invocation.ts';

/** Findings; null where the site has no other node. */
export async function checkRole(
  config: Config,
  options: Options,
  now: number,
): Promise<readonly Finding[] | null> {
  if (!wantsBayesPart(config)) return null;
  const canAsk = process.getuid?.() === 0 && existsSync(join(config.state, 'bayes'));
  const here = async (): Promise<BayesStatus | BayesTrouble> => {
    try {
      return await bayesHere(config, options, () => undefined).bayes.status();
    } catch (cause) {
      const remedy = 'sluice bayes status says the same; mend what it names';
      return { kind: 'failed', step: 'settings', message: messageOf(cause), remedy };
    }
  };
  return checkBayesRole(config, {
    siteFolder: siteFolder(config, options),
    postfixFolder: options['postfix-config'] ?? '/etc/postfix',
    status: config.role === 'backup' && canAsk ? here : null,
    now,
  });
}

function siteFolder({ bayes, spamd }: Config, options: Options): string {
  const named = options['spamd-config'] ?? bayes.siteFolder;
  if (named !== null) return named;
  const found = spamd.map(processListeningOn).find((process) => process !== null);
  return (found === undefined ? null : siteFolderOf(found)) ?? usualSiteFolder;
}
