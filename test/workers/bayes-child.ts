/**
 * bayes-child — one Bayes run in a process of its own, which kills itself as a named step begins.
 *
 * usage: bayes-child.ts restore|rollback|export FOLDER STEP OPTIONS(JSON). The last line it prints is what became of the run.
 */
import { join } from 'node:path';
import { type BayesOptions, createBayes } from '../../workers/bayes.ts';
import { createBayesLock } from '../../workers/bayes-lock.ts';

const [verb = '', folder = '', killAt = '', json = '{}'] = process.argv.slice(2);
const plain = JSON.parse(json) as Omit<BayesOptions, 'lock'>;
const bayes = createBayes({
  ...plain,
  lock: createBayesLock(join(plain.folder, 'lock')),
  onStep(step) {
    console.log(step);
    if (step === killAt) process.kill(process.pid, 'SIGKILL');
  },
});
const outcome =
  verb === 'rollback'
    ? await bayes.rollback()
    : verb === 'export'
      ? await bayes.export()
      : await bayes.restore(folder);
console.log(outcome.kind);
