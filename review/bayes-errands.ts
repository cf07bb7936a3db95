/**
 * bayes-errands — what goes from a backup to its primary beside the nightly run: held mail, and what people taught there.
 *
 * The same way in both directions: `from` answers for the backup and `to` for the primary, whichever of the two is this
 * machine. Run every minute. That the other node does not answer is no news: whatever stopped half way goes on the next time.
 */
import { hostname } from 'node:os';
import type { Answer, Ask } from '../workers/bayes-wire.ts';
import type { BayesTrouble } from '../workers/bayes-step.ts';
import type { Log } from '../workers/log.ts';
import { adoptHead, heldHead, storyHead, taughtHead, teachHead } from './bayes-mail-answers.ts';

/** As `Call` of workers/bayes-ssh.ts. */
export type Call = (ask: Ask) => Promise<Answer | BayesTrouble>;

/** What one run came to. */
export type Errands = {
  readonly moved: number;
  readonly taught: number;
  /** What stopped it, or parts of it. */
  readonly troubles: readonly BayesTrouble[];
};

/** Troubles one after the other after which the rest waits for the next run. */
const troublesMax = 3;

/** Moves what the backup holds, and teaches the primary what the backup was taught. Never rejects. */
export async function runErrands(from: Call, to: Call, log: Log, signal: AbortSignal): Promise<Errands> {
  const moved = await carry(log, signal, () => heldErrand(from, to));
  const taught = await carry(log, signal, () => lessonsErrand(from, to));
  const troubles = [...moved.troubles, ...taught.troubles];
  if (moved.done + taught.done > 0)
    log.info(
      { moved: moved.done, taught: taught.done },
      'Carried what the backup held and what it was taught',
    );
  return { moved: moved.done, taught: taught.done, troubles };
}

/** One thing after the other; each gives whether it was carried. */
type Errand = readonly (() => Promise<boolean>)[];

async function carry(
  log: Log,
  signal: AbortSignal,
  prepare: () => Promise<Errand>,
): Promise<{ done: number; troubles: BayesTrouble[] }> {
  const troubles: BayesTrouble[] = [];
  let done = 0;
  let inARow = 0;
  const attempt = async <T>(act: () => Promise<T>, otherwise: T): Promise<T> => {
    try {
      const result = await act();
      inARow = 0;
      return result;
    } catch (cause) {
      const trouble = troubleOf(cause);
      log.debug({ ...trouble }, 'Cannot carry from the backup now: tried again in a minute');
      troubles.push(trouble);
      inARow++;
      return otherwise;
    }
  };
  for (const step of await attempt(prepare, [])) {
    if (signal.aborted || inARow >= troublesMax) break;
    if (await attempt(step, false)) done++;
  }
  return { done, troubles };
}

async function heldErrand(from: Call, to: Call): Promise<Errand> {
  const { host, quarantineIds } = heldHead.parse((await ask(from, { name: 'held' })).head);
  if (quarantineIds.length === 0) return [];
  // Nothing is claimed for a primary that is not there.
  const { host: primary } = adoptHead.parse(
    (await ask(to, { name: 'adopt', parameters: { by: host } })).head,
  );
  return quarantineIds.map((quarantineId) => () => moveOne(from, to, primary, quarantineId));
}

async function moveOne(from: Call, to: Call, by: string, quarantineId: string): Promise<boolean> {
  const parameters = { by, quarantineId };
  const { head, payload } = await ask(from, { name: 'held', parameters });
  const { story } = storyHead.parse(head);
  if (story === null || payload === undefined) return false;
  const answer = await ask(to, { name: 'adopt', parameters: story, payload });
  const { arrival } = adoptHead.parse(answer.head);
  if (arrival === null) return false;
  await ask(from, { name: 'moved', parameters: { ...parameters, arrival } });
  return arrival !== 'expired';
}

async function lessonsErrand(from: Call, to: Call): Promise<Errand> {
  const { host, lessons } = taughtHead.parse((await ask(from, { name: 'taught' })).head);
  return lessons.map((lesson) => async () => {
    const { sha256, as } = lesson;
    const { payload } = await ask(from, { name: 'taught', parameters: { sha256, as } });
    if (payload === undefined) return false;
    const parameters = { lesson, from: host };
    teachHead.parse((await ask(to, { name: 'teach', parameters, payload })).head);
    await ask(from, { name: 'learned', parameters: { sha256, as } });
    return true;
  });
}

class Troubled extends Error {
  readonly trouble: BayesTrouble;

  constructor(trouble: BayesTrouble) {
    super(trouble.message);
    this.trouble = trouble;
  }
}

async function ask(call: Call, question: Ask): Promise<Answer> {
  const parameters = question.parameters ?? { by: hostname() };
  const outcome = await call({ ...question, parameters });
  if ('kind' in outcome) throw new Troubled(outcome);
  return outcome;
}

function troubleOf(cause: unknown): BayesTrouble {
  if (cause instanceof Troubled) return cause.trouble;
  const message = `Cannot understand the other node: ${cause instanceof Error ? cause.message : String(cause)}`;
  return { kind: 'failed', step: 'answer', message, remedy: 'bring Sluice to one version on both nodes' };
}
