/**
 * bayes-metrics — the figures of the Bayes sync for /metrics: when it ran, how old what is in place is, what both sides count.
 *
 * Hides names and labels. All of it is looked up at the scrape; a node that has no record yet has no sample of its own but the
 * alarm's.
 */
import type { BayesView } from './bayes-watch.ts';
import type { SyncRecord } from './bayes-record.ts';
import type { Register, Sample } from './metrics.ts';

export type BayesSources = {
  readonly view: () => BayesView;
  /** Epoch milliseconds; null: nothing is scheduled here. */
  readonly nextAt: () => number | null;
  readonly now?: () => number;
};

const outcomes = ['done', 'already', 'refused', 'failed'] as const;
const troubles = ['failed', 'old'] as const;

/** Adds them to the figures of a process. */
export function addBayesFigures(register: Register, { view, nextAt, now = Date.now }: BayesSources): void {
  const add = (name: string, help: string, labels: readonly string[], read: () => readonly Sample[]) =>
    register.lookUp(`bayes_${name}`, help, labels, async () => read());
  const each = (read: (record: SyncRecord) => readonly Sample[]) => () => view().records.flatMap(read);
  add(
    'last_run_timestamp_seconds',
    'When the last run with the node ended',
    ['node'],
    each(({ node, at }) => [of(at / 1000, { node })]),
  );
  add(
    'last_good_timestamp_seconds',
    'When the last run that succeeded ended',
    ['node'],
    each(({ node, lastGood }) => (lastGood === null ? [] : [of(lastGood.at / 1000, { node })])),
  );
  add(
    'run_seconds',
    'How long the last run took',
    ['node'],
    each(({ node, seconds }) => [of(seconds, { node })]),
  );
  add(
    'last_outcome',
    '1 for what became of the last run',
    ['node', 'outcome'],
    each(({ node, outcome }) => outcomes.map((one) => of(one === outcome ? 1 : 0, { node, outcome: one }))),
  );
  add('snapshot_age_seconds', 'Age of the database that is in place at the node', ['node'], () =>
    view().seen.flatMap(({ node, takenAt }) =>
      takenAt === null ? [] : [of(Math.max(0, now() - takenAt) / 1000, { node })],
    ),
  );
  add(
    'messages',
    'Messages learned, as both sides counted them after the last run that succeeded',
    ['node', 'side', 'learned'],
    each(countsOf),
  );
  add('tokens', 'Tokens, as both sides counted them', ['node', 'side'], each(tokensOf));
  add(
    'parity_messages',
    'Messages of the last comparison, by what came out of it',
    ['node', 'result'],
    each(parityOf),
  );
  add(
    'parity_worst',
    'The largest difference of the last comparison',
    ['node'],
    each(({ node, parity }) => (parity === null ? [] : [of(parity.worst, { node })])),
  );
  add('alarm', '1 while there is such a trouble with the node', ['node', 'trouble'], () => alarmsOf(view()));
  add('next_run_timestamp_seconds', 'When the next night is planned', [], () => {
    const at = nextAt();
    return at === null ? [] : [of(at / 1000)];
  });
}

function of(value: number, labels: Sample['labels'] = {}): Sample {
  return { labels, value };
}

function countsOf({ node, lastGood }: SyncRecord): Sample[] {
  if (lastGood === null) return [];
  return (['here', 'there'] as const).flatMap((side) => [
    of(lastGood[side].nspam, { node, side, learned: 'spam' }),
    of(lastGood[side].nham, { node, side, learned: 'ham' }),
  ]);
}

function tokensOf({ node, lastGood }: SyncRecord): Sample[] {
  if (lastGood === null) return [];
  return (['here', 'there'] as const).map((side) => of(lastGood[side].tokens, { node, side }));
}

function parityOf({ node, parity }: SyncRecord): Sample[] {
  if (parity === null) return [];
  const { messages, probabilityDiffers, scoreDiffers, flips, notScored } = parity;
  const results = {
    compared: messages,
    probability_differs: probabilityDiffers,
    score_differs: scoreDiffers,
    flipped: flips,
    not_scored: notScored,
  };
  return Object.entries(results).map(([result, value]) => of(value, { node, result }));
}

function alarmsOf({ seen, troubles: found }: BayesView): Sample[] {
  return seen.flatMap(({ node }) =>
    troubles.map((trouble) =>
      of(found.some((one) => one.node === node && one.kind === trouble) ? 1 : 0, { node, trouble }),
    ),
  );
}
