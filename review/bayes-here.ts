/**
 * bayes-here — the Bayes database of this machine, as its configuration and the command line say.
 *
 * Hides whose it is: what the command line says, else the configuration, else the process of spamd. Snapshots, records and locks lie
 * in `bayes` under the state folder, in a folder of whoever runs this.
 */
import { join } from 'node:path';
import { type Config, formatAddress } from '../rules/config.ts';
import { type Bayes, type BayesTrouble, createBayes, type OnStep } from '../workers/bayes.ts';
import type { BayesView } from '../workers/bayes-counts.ts';
import { ownFolder } from '../workers/bayes-folder.ts';
import { type BayesLock, createBayesLock } from '../workers/bayes-lock.ts';
import { bayesViewOf } from '../workers/check-bayes.ts';
import { findUser, type LocalProcess, processListeningOn } from '../workers/local-process.ts';
import { type Options, UsageError } from './invocation.ts';

export type BayesHere = {
  readonly config: Config;
  readonly bayes: Bayes;
  readonly view: BayesView;
  /** `<state>/bayes`. */
  readonly folder: string;
  /** One sync, or fetch, at a time; the runs of `bayes` within it have a lock of their own. */
  readonly syncLock: BayesLock;
  readonly signal: AbortSignal;
};

/** Makes the folder where it is missing; throws UsageError and PermFail. */
export function bayesHere(
  config: Config,
  options: Options,
  onStep: OnStep,
  signal = new AbortController().signal,
): BayesHere {
  const folder = ownFolder(join(config.state, 'bayes'));
  const { view, unknown } = viewOf(config, options);
  const { keep, sizeMax, redisScratch } = config.bayes;
  const lock = createBayesLock(join(folder, 'lock'));
  const limits = { keep, sizeBytesMax: sizeMax, redisScratch };
  const bayes = createBayes({ view, unknown, folder, ...limits, lock, onStep, signal });
  return { config, bayes, view, folder, syncLock: createBayesLock(join(folder, 'sync')), signal };
}

function viewOf(
  { bayes, spamd }: Config,
  options: Options,
): { readonly view: BayesView; readonly unknown: BayesTrouble | null } {
  const wanted = {
    user: options['spamd-user'] ?? bayes.user,
    siteFolder: options['spamd-config'] ?? bayes.siteFolder,
  };
  if (wanted.user !== null && findUser(wanted.user) === null)
    throw new UsageError(`bayes: this machine has no user "${wanted.user}"`);
  const found = spamd.map(processListeningOn).find((process): process is LocalProcess => process !== null);
  // What root would restore without a word of whose it is, spamd could not read.
  const isKnown = wanted.user !== null || found !== undefined || process.getuid?.() !== 0;
  return { view: bayesViewOf(found ?? null, wanted), unknown: isKnown ? null : nobodyIn(spamd) };
}

function nobodyIn(spamd: Config['spamd']): BayesTrouble {
  const where =
    spamd.length === 0 ? 'no spamd is named' : `no spamd runs here at ${spamd.map(formatAddress).join(', ')}`;
  return {
    kind: 'failed',
    step: 'settings',
    message: `Cannot tell whose Bayes database it is: ${where}, and bayes.user is not set`,
    remedy:
      "start spamd, or write bayes.user, the user of spamd, into sluice.yaml (and bayes.siteFolder, where it is not SpamAssassin's own)",
  };
}
