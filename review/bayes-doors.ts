/**
 * bayes-doors — the two doors at which other nodes knock over ssh: `sluice bayes receive` on a backup, `sluice bayes send` on a primary.
 *
 * One table says what each of them answers. Whatever ssh was asked to run there is not looked at; the question comes on standard
 * input, and nothing but its answer goes to standard output.
 */
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
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
const lastMs = 10_000;

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

/**
 * One question and its answer; resolves with the exit code. When `signal` says that time is over nothing more is read; null
 * where somebody took no more of the answer for a while after it.
 */
export function serveDoor(
  answerers: Answerers,
  { input, output, signal }: { input: AsyncIterable<Buffer>; output: Writable; signal: AbortSignal },
): Promise<number | null> {
  const served = serveAsk(withIdleLimit(input, idleMs, signal), output, answerers);
  return Promise.race([served, afterAll(signal)]);
}

/** Some seconds after the signal: what was under way has ended by itself until then, and told so. */
async function afterAll(signal: AbortSignal): Promise<null> {
  if (!signal.aborted) await once(signal, 'abort');
  return delay(lastMs, null, { ref: false });
}
