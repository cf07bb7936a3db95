/**
 * bayes-command — `sluice bayes status|export|restore|rollback`.
 *
 * Hides whose database it is: what the command line says, else the configuration, else the process of spamd. The snapshots
 * lie in `bayes` under the state folder, in a folder of whoever runs this. Exit: 0 done, 1 refused, 69 it does not work,
 * 75 another run is under way.
 */
import { lstatSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../rules/config.ts';
import { type Bayes, type BayesStep, type BayesTrouble, createBayes } from '../workers/bayes.ts';
import type { BayesView } from '../workers/bayes-counts.ts';
import { createBayesLock } from '../workers/bayes-lock.ts';
import { bayesViewOf } from '../workers/check-bayes.ts';
import { PermFail } from '../workers/fail.ts';
import { findUser, type LocalProcess, processListeningOn } from '../workers/local-process.ts';
import { bayesText } from './bayes-text.ts';
import { type Invocation, type Options, UsageError } from './invocation.ts';

type Outcome = Awaited<ReturnType<Bayes['export' | 'restore' | 'rollback' | 'status']>>;

/** What is in place, and what is kept. */
export function showBayes(invocation: Invocation): Promise<number> {
  return tell(invocation, (bayes) => bayes.status());
}

/** A snapshot of the live database. */
export function exportBayes(invocation: Invocation): Promise<number> {
  return tell(invocation, (bayes) => bayes.export({ force: invocation.options.force === true }));
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
  const { options, site, status, print, printJson } = invocation;
  const { config } = site();
  const folder = ownFolder(join(config.state, 'bayes'));
  const { keep, sizeMax, redisScratch } = config.bayes;
  const bayes = createBayes({
    view: viewOf(config, options),
    folder,
    keep,
    sizeBytesMax: sizeMax,
    redisScratch,
    lock: createBayesLock(join(folder, 'lock')),
    onStep: (step) => status.sayNow(doing[step]),
  });
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

function viewOf({ bayes, spamd }: Config, options: Options): BayesView {
  const wanted = {
    user: options['spamd-user'] ?? bayes.user,
    siteFolder: options['spamd-config'] ?? bayes.siteFolder,
  };
  if (wanted.user !== null && findUser(wanted.user) === null)
    throw new UsageError(`bayes: this machine has no user "${wanted.user}"`);
  const found = spamd.map(processListeningOn).find((process): process is LocalProcess => process !== null);
  return bayesViewOf(found ?? null, wanted);
}

/** Root must write nothing into a folder that another user could replace by a link under its hands. */
function ownFolder(folder: string): string {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const { uid } = lstatSync(folder);
  const isOwn = lstatSync(folder).isDirectory() && uid === process.getuid?.();
  if (isOwn) return folder;
  throw new PermFail(
    `Cannot keep snapshots in ${folder}: it is no folder of this user: run it as uid ${uid}, or remove it`,
  );
}

const doing: Readonly<Record<BayesStep, string>> = {
  lock: 'waiting for another run',
  settings: "reading SpamAssassin's configuration",
  sync: 'writing the journal into the database (sa-learn --sync)',
  backup: 'dumping the database (sa-learn --backup)',
  judge: 'comparing it with the last snapshot',
  keep: 'keeping the snapshot',
  connect: 'connecting',
  send: 'sending',
  answer: 'waiting for the answer',
  receive: 'receiving the snapshot',
  companions: 'checking what travels with it',
  bundle: 'checking the snapshot',
  order: 'asking which snapshot is in place',
  prepare: 'preparing the store',
  load: 'loading into a database beside the live one',
  count: 'counting what was loaded',
  mark: 'writing down which snapshot it is',
  link: 'switching',
  switch: 'switching',
  clean: 'removing what is old',
  install: 'installing what travelled with it',
  compare: 'comparing the counts',
  parity: 'comparing the scores',
  record: 'writing down what came of it',
  rollback: 'switching back',
};
