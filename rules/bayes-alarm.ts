/**
 * bayes-alarm — when somebody must be told of the Bayes sync: a run that did not succeed, a database that grows old.
 *
 * Hides what counts: another run under way is no failure, nor is one that was cut short and will be begun anew; what a clock ahead
 * has dated is as old as the watch, and a node that never got a database grows old from the day on which it is watched. Pure: records and time are arguments.
 */

/** What is known of one node's database. */
export type SeenNode = {
  readonly node: string;
  /** The last run with it; null: none yet. `at`: epoch milliseconds. */
  readonly last: {
    readonly at: number;
    readonly outcome: 'done' | 'already' | 'refused' | 'failed';
    readonly step: string | null;
    readonly message: string | null;
    readonly remedy: string | null;
  } | null;
  /** When what is in place there was taken from the primary's database; null: nothing is known to be in place. */
  readonly takenAt: number | null;
};

/** `failed`: the last run; `old`: what is in place. The words are for people. */
export type Trouble = {
  readonly node: string;
  readonly kind: 'failed' | 'old';
  readonly message: string;
  readonly remedy: string;
};

export type AlarmTerms = {
  readonly now: number;
  /** bayes.alarm.hours */
  readonly hours: number;
  /** Since when the nodes are watched. */
  readonly watchedSince: number;
  /** When another node with the same Redis last served a night: it knows, and raises the alarm. */
  readonly elsewhereAt: number | null;
  /** The planned time of a night that was begun and not ended: it will be run again; null: none. */
  readonly openNight: number | null;
  /** What to do about a database that is old. */
  readonly remedy: string;
  /** What somebody was told already, and what is not over yet. */
  readonly told: readonly Trouble[];
};

/** Nobody has come back to a night for so long: nobody will. */
const openMsMax = 2 * 3_600_000;

const hourMs = 3_600_000;

/** Everything that is wrong now; a node can have both. */
export function troublesOf(seen: readonly SeenNode[], terms: AlarmTerms): Trouble[] {
  return seen.flatMap((one) => [...failureOf(one, terms), ...ageOf(one, terms)]);
}

/** Which troubles are new, and which of those that were told are over. */
export function newsOf<T extends Pick<Trouble, 'node' | 'kind'>>(
  told: readonly T[],
  troubles: readonly Trouble[],
): { begun: Trouble[]; over: T[] } {
  const isSame = (a: Pick<Trouble, 'node' | 'kind'>, b: Pick<Trouble, 'node' | 'kind'>) =>
    a.node === b.node && a.kind === b.kind;
  return {
    begun: troubles.filter((trouble) => !told.some((one) => isSame(one, trouble))),
    over: told.filter((one) => !troubles.some((trouble) => isSame(one, trouble))),
  };
}

/** Whether the run found another one under way, and was none itself. */
export function isBusy({ outcome, step }: Pick<NonNullable<SeenNode['last']>, 'outcome' | 'step'>): boolean {
  return outcome === 'refused' && step === 'lock';
}

function failureOf({ node, last }: SeenNode, { now, openNight, told }: AlarmTerms): Trouble[] {
  if (last === null || last.outcome === 'done' || last.outcome === 'already') return [];
  const { at, outcome, step, message, remedy } = last;
  const isCutShort = openNight !== null && at >= openNight && now - at < openMsMax;
  // Such a run says nothing, also not that an older trouble is over.
  if (isBusy(last) || isCutShort)
    return told
      .filter((one) => one.node === node && one.kind === 'failed')
      .map(({ kind, message, remedy }) => ({ node, kind, message, remedy }));
  const what = `${outcome} at ${step ?? 'an unknown step'}: ${message ?? 'no reason was given'}`;
  return [{ node, kind: 'failed', message: what, remedy: remedy ?? 'see the log' }];
}

function ageOf({ node, takenAt }: SeenNode, terms: AlarmTerms): Trouble[] {
  const { now, hours, watchedSince, elsewhereAt, remedy } = terms;
  // What a clock that was ahead has written would be young for as long as it was ahead.
  const hasCome = (at: number | null): at is number => at !== null && at - now <= hourMs;
  const since = Math.max(hasCome(takenAt) ? takenAt : watchedSince, hasCome(elsewhereAt) ? elsewhereAt : 0);
  if (now - since <= hours * hourMs) return [];
  const age = `${Math.floor((now - since) / hourMs)} h`;
  if (takenAt !== null && !hasCome(takenAt)) {
    const date = new Date(takenAt).toISOString();
    const message = `the Bayes database in place says that it is of ${date}: no other one has come in ${age}`;
    return [{ node, kind: 'old', message, remedy }];
  }
  const message =
    takenAt === null
      ? `no Bayes database has come into place in ${age}`
      : `the Bayes database in place is ${age} old, bayes.alarm.hours is ${hours}`;
  return [{ node, kind: 'old', message, remedy }];
}
