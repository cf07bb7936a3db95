/**
 * bayes-verbs — the commands of `sluice bayes`, apart from all others: what they need is loaded for them alone.
 */
import { answerMail } from './bayes-answer-command.ts';
import { fetchBayes, receiveBayes, sendBayes, syncBayes } from './bayes-carry-command.ts';
import { exportBayes, restoreBayes, rollBackBayes, showBayes } from './bayes-command.ts';
import { compareBayes } from './bayes-parity-command.ts';
import { setUpBayes } from './bayes-setup-command.ts';
import type { CommandName } from './commands.ts';
import type { Invocation } from './invocation.ts';

export type BayesVerb = Extract<CommandName, `bayes ${string}`>;

export const bayesVerbs: Readonly<Record<BayesVerb, (invocation: Invocation) => Promise<number>>> = {
  'bayes status': showBayes,
  'bayes export': exportBayes,
  'bayes restore': restoreBayes,
  'bayes rollback': rollBackBayes,
  'bayes answer': answerMail,
  'bayes sync': syncBayes,
  'bayes fetch': fetchBayes,
  'bayes parity': compareBayes,
  'bayes setup': setUpBayes,
  'bayes receive': receiveBayes,
  'bayes send': sendBayes,
};
