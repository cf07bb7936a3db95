/**
 * bayes-wanted — whether a site has a Bayes part, and who may be it.
 *
 * sa-learn works as spamd's user and the key is root's, so that this part stays root while the others become the owner of the state
 * folder. Where sa-learn needs no other user than ours, any user will do. Apart from the part, so that whoever asks need not load it.
 */
import type { Config } from '../rules/config.ts';
import { findUser } from '../workers/local-process.ts';

/** Whether the site has something for it to do. */
export function wantsBayesPart({ role, bayes }: Config): boolean {
  return role === 'backup' || bayes.nodes.length > 0;
}

/** Whether this process may do it: as root, or where sa-learn needs no other user than ours. */
export function mayRunBayes({ bayes }: Config): boolean {
  const uid = process.getuid?.() ?? 0;
  return uid === 0 || (bayes.user !== null && findUser(bayes.user)?.uid === uid);
}
