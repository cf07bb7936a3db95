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
import { readRecords } from '../workers/bayes-record.ts';
import { mayBeFetched } from '../workers/check-bayes-called.ts';
import { checkBayesRole, type RoleSite } from '../workers/check-bayes-role.ts';
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
  const fetching = await fetchingFrom(config);
  if (!wantsBayesPart(config) && fetching.reported.length === 0 && !fetching.allowed) return null;
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
    fetching,
    now,
  });
}

/** Which backups fetch from this primary; none where only root may know. */
async function fetchingFrom({ role, state }: Config): Promise<RoleSite['fetching']> {
  if (role !== 'primary' || process.getuid?.() !== 0) return { reported: [], allowed: false };
  const records = await readRecords(join(state, 'bayes')).catch(() => []);
  // The records of nodes that are served from here begin with a user.
  const reported = records.map(({ node }) => node).filter((node) => !node.includes('@'));
  return { reported, allowed: await mayBeFetched() };
}

function siteFolder({ bayes, spamd }: Config, options: Options): string {
  const named = options['spamd-config'] ?? bayes.siteFolder;
  if (named !== null) return named;
  const found = spamd.map(processListeningOn).find((process) => process !== null);
  return (found === undefined ? null : siteFolderOf(found)) ?? usualSiteFolder;
}
