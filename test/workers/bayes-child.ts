/**
 * bayes-child — one Bayes run in a process of its own, which kills itself as a named step begins.
 *
 * usage: bayes-child.ts restore|receive|rollback|export PATH STEP OPTIONS(JSON). Prints each step as it begins; the last line is
 * what became of the run, its time and the most memory that the process had.
 */
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { type Bayes, type BayesOptions, createBayes } from '../../workers/bayes.ts';
import { createBayesLock } from '../../workers/bayes-lock.ts';

const [verb = '', path = '', killAt = '', json = '{}'] = process.argv.slice(2);
const plain = JSON.parse(json) as Omit<BayesOptions, 'lock'>;
const bayes = createBayes({
  ...plain,
  lock: createBayesLock(join(plain.folder, 'lock')),
  onStep(step) {
    console.log(step);
    if (step === killAt) process.kill(process.pid, 'SIGKILL');
  },
});
const verbs: Readonly<Record<string, (bayes: Bayes) => Promise<{ kind: string; message?: string }>>> = {
  restore: (one) => one.restore(path),
  receive: (one) => one.receive(createReadStream(path) as AsyncIterable<Buffer>),
  rollback: (one) => one.rollback(),
  export: (one) => one.export(),
};
const begun = Date.now();
const outcome = (await verbs[verb]?.(bayes)) ?? { kind: 'unknown verb', message: verb };
const memory = Math.ceil(process.resourceUsage().maxRSS / 1024);
console.log(`${outcome.kind} ${Date.now() - begun} ms ${memory} MB ${outcome.message ?? ''}`);
