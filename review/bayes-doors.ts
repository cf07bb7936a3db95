/**
 * bayes-doors — the two doors at which other nodes knock over ssh: `sluice bayes receive` on a backup, `sluice bayes send` on a primary.
 *
 * One table says what each of them answers. Whatever ssh was asked to run there is not looked at; the question comes on standard
 * input, and nothing but its answer goes to standard output.
 */
import type { Writable } from 'node:stream';
import type { BayesStep } from '../workers/bayes.ts';
import { type AnswerOptions, receivingAnswers, sendingAnswers } from '../workers/bayes-answers.ts';
import type { Call } from '../workers/bayes-ssh.ts';
import { companionsOf, stageCompanions } from '../workers/bayes-companions.ts';
import { type Answerers, serveAsk } from '../workers/bayes-wire.ts';
import { withIdleLimit } from '../workers/idle-limit.ts';
import { version } from '../workers/version.ts';
import { ownerAnswerers } from './bayes-as-owner.ts';
import type { BayesHere } from './bayes-here.ts';
import { sampleAnswers, scoringAnswers } from './bayes-score-answers.ts';

export type Door = 'receive' | 'send';

/** Longer than ssh(1) lets a dead connection stand (ServerAliveInterval). */
const idleMs = 120_000;

/**
 * What a door answers. Each part has a file of its own; a question that none of them knows is refused. `mail` asks the mail side of
 * this machine.
 */
export function answerersOf(
  door: Door,
  here: BayesHere,
  mail: Call,
  onStep?: (step: BayesStep) => void,
): Answerers {
  const { config, bayes, folder, view } = here;
  const told = onStep === undefined ? {} : { onStep };
  const common: AnswerOptions = { bayes, folder, view, role: config.role, version, ...told };
  switch (door) {
    case 'receive':
      return {
        ...receivingAnswers({ ...common, stage: stageCompanions(config) }),
        ...scoringAnswers(here),
        ...ownerAnswerers(mail, ['held', 'moved', 'taught', 'learned']),
      };
    case 'send':
      return {
        ...sendingAnswers({ ...common, companions: () => companionsOf(config) }),
        ...sampleAnswers(here),
        ...ownerAnswerers(mail, ['adopt', 'teach']),
      };
  }
}

/** One question and its answer; resolves with the exit code. */
export function serveDoor(
  answerers: Answerers,
  { input, output }: { input: AsyncIterable<Buffer>; output: Writable },
): Promise<number> {
  return serveAsk(withIdleLimit(input, idleMs), output, answerers);
}
