/**
 * bayes-step — the steps of a Bayes run by name, and what a run that did not succeed says: where, what, and what to do.
 *
 * Hides how a failure travels: inside the bayes files it is thrown as BayesFail; at their doors `outcomeOf` makes a value
 * of it, so that no caller has to catch anything. An error that nobody foresaw gets the step that was under way.
 */

/** In the order in which a run takes them; `lock` and `settings` come first everywhere. */
export const bayesSteps = [
  'lock',
  'settings',
  // export
  'sync',
  'backup',
  'judge',
  'keep',
  // carry
  'connect',
  'send',
  'answer',
  // receive
  'receive',
  'companions',
  // restore
  'bundle',
  'order',
  'prepare',
  'load',
  'count',
  'mark',
  'link',
  'switch',
  'clean',
  // receive, after the switch
  'install',
  // carry, after the answer
  'compare',
  'parity',
  'record',
  // rollback
  'rollback',
] as const;

export type BayesStep = (typeof bayesSteps)[number];

/**
 * `refused`: the run decided against it, nothing is broken; `failed`: something does not work. At the steps before `switch` nothing
 * was switched; at `install`, and at those that a primary takes after its answer, the database there is the new one.
 */
export type BayesTrouble = {
  readonly kind: 'refused' | 'failed';
  readonly step: BayesStep;
  /** Action, object, colon, current state; no final period. */
  readonly message: string;
  readonly remedy: string;
};

/** Thrown between the bayes files only; `outcomeOf` ends it. */
export class BayesFail extends Error {
  override readonly name = 'BayesFail';
  readonly kind: BayesTrouble['kind'];
  readonly step: BayesStep;
  readonly remedy: string;

  constructor({ kind, step, message, remedy }: BayesTrouble, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
    this.step = step;
    this.remedy = remedy;
  }
}

/** A BayesFail for something that does not work. */
export function failed(step: BayesStep, message: string, remedy: string, cause?: unknown): BayesFail {
  return new BayesFail({ kind: 'failed', step, message, remedy }, { cause });
}

/** A BayesFail for something that is not to be done. */
export function refused(step: BayesStep, message: string, remedy: string): BayesFail {
  return new BayesFail({ kind: 'refused', step, message, remedy });
}

/** What a run says of its way: called at the beginning of each step, before anything of it is done. */
export type OnStep = (step: BayesStep) => void;

/** The result of `work`, or its trouble as a value; `work` tells each step it begins. */
export async function outcomeOf<T>(
  onStep: OnStep,
  work: (step: OnStep) => Promise<T>,
): Promise<T | BayesTrouble> {
  let under: BayesStep = 'settings';
  const step: OnStep = (name) => {
    under = name;
    onStep(name);
  };
  try {
    return await work(step);
  } catch (cause) {
    if (cause instanceof BayesFail) return troubleOf(cause);
    const message = `Cannot finish the step ${under}: ${messageOf(cause)}`;
    return { kind: 'failed', step: under, message, remedy: remedyOf(cause) };
  }
}

/** Whether an outcome is a trouble. */
export function isTrouble(outcome: object): outcome is BayesTrouble {
  return 'kind' in outcome && (outcome.kind === 'refused' || outcome.kind === 'failed');
}

/** The outcome of one run inside another: its trouble is thrown on. */
export function orThrow<T extends object>(outcome: T | BayesTrouble): Exclude<T, BayesTrouble> {
  if (isTrouble(outcome)) throw new BayesFail(outcome);
  return outcome as Exclude<T, BayesTrouble>;
}

/** A caught value in words. */
export function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

function troubleOf({ kind, step, message, remedy }: BayesFail): BayesTrouble {
  return { kind, step, message, remedy };
}

function remedyOf(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? cause.code : null;
  if (code === 'ENOSPC' || code === 'EDQUOT') return 'make room on that disk, then run it again';
  if (code === 'EACCES' || code === 'EPERM') return 'run it as root, or as the user whose files these are';
  if (code === 'EROFS' || code === 'EIO') return 'look after the disk, then run it again';
  return 'run it again; if it stays, report it with this message';
}
