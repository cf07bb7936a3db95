/**
 * bayes-doing — what a Bayes run is doing at each step, for who waits.
 */
import type { BayesStep } from '../workers/bayes.ts';

/** As said on a terminal. */
export const doing: Readonly<Record<BayesStep, string>> = {
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
