/**
 * bayes-errands — what goes from a backup to its primary beside the nightly run: held mail, and what people taught there.
 *
 * The same way in both directions: `from` answers for the backup and `to` for the primary, whichever of the two is this
 * machine. Run every minute. That the other node does not answer is no news: whatever stopped half way goes on the next time.
 */
import { hostname } from 'node:os';
import { type Call, leave } from '../workers/bayes-ssh.ts';
import type { BayesTrouble } from '../workers/bayes-step.ts';
import type { Answer, Ask } from '../workers/bayes-wire.ts';
import type { Log } from '../workers/log.ts';
import { adoptHead, heldHead, teachHead } from './bayes-mail-answers.ts';
import type { Taught } from './journal.ts';
import type { Movable } from './move.ts';

/** What one run came to. */
export type Errands = {
  readonly moved: number;
  readonly taught: number;
  /** What stopped it, or parts of it. */
  readonly troubles: readonly BayesTrouble[];
};

/** Troubles one after the other after which the rest waits for the next run. */
const troublesMax = 3;
/** What goes in one question: an answer costs a connection and two processes, whatever is in it. */
const itemsAtOnce = 50;
const bytesAtOnce = 64 * 1024 ** 2;

/**
 * Moves what the backup holds, and teaches the primary what the backup was taught. `setBack` is kept from one run to the next
 * between the same nodes. Never rejects.
 */
export async function runErrands(
  from: Call,
  to: Call,
  log: Log,
  signal: AbortSignal,
  setBack: SetBack = createSetBack(),
): Promise<Errands> {
  const listed = await attemptOnce(log, async () => heldHead.parse((await ask(from, { name: 'held' })).head));
  if ('trouble' in listed) return { moved: 0, taught: 0, troubles: [listed.trouble] };
  const { host, items, lessons } = listed.value;
  const moved = await carry(log, signal, setBack.items.behind(items), setBack.items, () =>
    heldErrand(from, to, host),
  );
  const taught = await carry(
    log,
    signal,
    setBack.lessons.behind(lessons),
    setBack.lessons,
    async () => (some) => teachSome(from, to, host, some),
  );
  const troubles = [...moved.troubles, ...taught.troubles];
  if (moved.done + taught.done > 0)
    log.info(
      { moved: moved.done, taught: taught.done },
      'Carried what the backup held and what it was taught',
    );
  return { moved: moved.done, taught: taught.done, troubles };
}

type Sized = { readonly sizeBytes: number };
/** Carries some things; gives how many were. */
type Act<T extends Sized> = (some: readonly T[]) => Promise<number>;
type Attempt<R> = { readonly value: R } | { readonly trouble: BayesTrouble };

/** What failed alone is set back, the latest furthest: next time it comes behind all else, or a few would stop all for ever. */
type Queue<T> = {
  /** In the order in which to try them. */
  readonly behind: (all: readonly T[]) => readonly T[];
  readonly setBack: (one: T) => void;
};

/** What is known of earlier runs between two nodes. */
export type SetBack = { readonly items: Queue<Movable>; readonly lessons: Queue<Taught> };

/** Nothing is known. */
export function createSetBack(): SetBack {
  return {
    items: createQueue<Movable>(({ quarantineId }) => quarantineId),
    // Two lessons about one message stay in their order: the last word counts.
    lessons: createQueue<Taught>(({ sha256 }) => sha256),
  };
}

function createQueue<T>(nameOf: (one: T) => string): Queue<T> {
  const failed = new Set<string>();
  return {
    behind(all) {
      const names = new Set(all.map(nameOf));
      for (const name of failed) if (!names.has(name)) failed.delete(name);
      const ranks = new Map([...failed].map((name, at) => [name, at + 1]));
      const rank = (one: T) => ranks.get(nameOf(one)) ?? 0;
      return all.toSorted((a, b) => rank(a) - rank(b));
    },
    setBack(one) {
      failed.delete(nameOf(one));
      failed.add(nameOf(one));
    },
  };
}

async function attemptOnce<R>(log: Log, act: () => Promise<R>): Promise<Attempt<R>> {
  try {
    return { value: await act() };
  } catch (cause) {
    const trouble = troubleOf(cause);
    log.debug({ ...trouble }, 'Cannot carry from the backup now: tried again in a minute');
    return { trouble };
  }
}

/** Some at once; where that fails each of them alone, so that one that can't be carried keeps nobody. */
async function carry<T extends Sized>(
  log: Log,
  signal: AbortSignal,
  all: readonly T[],
  { setBack }: Queue<T>,
  prepare: () => Promise<Act<T>>,
): Promise<{ done: number; troubles: BayesTrouble[] }> {
  const troubles: BayesTrouble[] = [];
  let done = 0;
  let inARow = 0;
  /** Null where it failed, or was not tried any more. */
  const attempt = async <R>(act: () => Promise<R>, onTrouble = () => {}): Promise<R | null> => {
    if (signal.aborted || inARow >= troublesMax) return null;
    const outcome = await attemptOnce(log, act);
    if ('value' in outcome) {
      inARow = 0;
      return outcome.value;
    }
    troubles.push(outcome.trouble);
    inARow++;
    onTrouble();
    return null;
  };
  if (all.length === 0) return { done, troubles };
  const act = await attempt(prepare);
  if (act === null) return { done, troubles };
  const alone = (one: T) =>
    attempt(
      () => act([one]),
      () => setBack(one),
    );
  for (const some of inBatches(all)) {
    const [only, ...others] = some;
    if (only !== undefined && others.length === 0) {
      done += (await alone(only)) ?? 0;
      continue;
    }
    const carried = await attempt(() => act(some));
    done += carried ?? 0;
    if (carried !== null) continue;
    for (const one of some) done += (await alone(one)) ?? 0;
  }
  return { done, troubles };
}

function* inBatches<T extends Sized>(all: readonly T[]): Generator<readonly T[]> {
  let some: T[] = [];
  let bytes = 0;
  for (const one of all) {
    if (some.length > 0 && (some.length >= itemsAtOnce || bytes + one.sizeBytes > bytesAtOnce)) {
      yield some;
      [some, bytes] = [[], 0];
    }
    some.push(one);
    bytes += one.sizeBytes;
  }
  if (some.length > 0) yield some;
}

/** Nothing is claimed for a primary that is not there. */
async function heldErrand(from: Call, to: Call, host: string): Promise<Act<Movable>> {
  const { host: by } = adoptHead.parse((await ask(to, { name: 'adopt', parameters: { by: host } })).head);
  return (some) => moveSome(from, to, by, some);
}

async function moveSome(from: Call, to: Call, by: string, some: readonly Movable[]): Promise<number> {
  const quarantineIds = some.map(({ quarantineId }) => quarantineId);
  const { payload } = await ask(from, { name: 'held', parameters: { by, quarantineIds } });
  if (payload === undefined) return 0;
  const { arrivals } = adoptHead.parse((await handOn(to, { name: 'adopt', payload })).head);
  if (arrivals.length > 0) await ask(from, { name: 'moved', parameters: { by, arrivals } });
  return arrivals.filter(({ arrival }) => arrival !== 'expired').length;
}

async function teachSome(from: Call, to: Call, by: string, some: readonly Taught[]): Promise<number> {
  const parameters = { by, lessons: some.map(({ sha256, as }) => ({ sha256, as })) };
  const { payload } = await ask(from, { name: 'taught', parameters });
  if (payload === undefined) return 0;
  const { taught } = teachHead.parse((await handOn(to, { name: 'teach', parameters: { by }, payload })).head);
  await ask(from, { name: 'learned', parameters });
  return taught;
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

/** What one node sends goes to the other; where that one does not take it, the process that sends it ends. */
async function handOn(
  to: Call,
  question: Ask & { readonly payload: AsyncIterable<Buffer> },
): Promise<Answer> {
  try {
    return await ask(to, question);
  } finally {
    await leave(question.payload);
  }
}

function troubleOf(cause: unknown): BayesTrouble {
  if (cause instanceof Troubled) return cause.trouble;
  const message = `Cannot understand the other node: ${cause instanceof Error ? cause.message : String(cause)}`;
  return { kind: 'failed', step: 'answer', message, remedy: 'bring Sluice to one version on both nodes' };
}
