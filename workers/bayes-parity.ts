/**
 * bayes-parity — both nodes score the same fixed sample of the primary's mail, and what differs is reported.
 *
 * Hides who asks whom: a primary that pushes sends the sample and gets scores back; a backup that fetches gets the sample with the
 * primary's scores. The primary's own scores are made once for all nodes of a run. What can't be compared is an `unknown`
 * with its reason, never an exception: the sync was good all the same.
 */
import { compareScores, type NamedThreshold, type Parity, type Score } from '../rules/bayes-parity.ts';
import type { BayesView } from './bayes-counts.ts';
import { openScorer, type Scorer } from './bayes-scorer.ts';
import { readPartHead, readSampleHead, readScores } from './bayes-scores.ts';
import { type Call, leave } from './bayes-ssh.ts';
import { type BayesTrouble, failed, isTrouble, orThrow, outcomeOf } from './bayes-step.ts';
import { type Answerer, unpackParts } from './bayes-wire.ts';

/** Where the sample comes from: files that belong to the owner of the state folder. */
export type SampleSource = {
  /** Which messages it is made of now. */
  list(): Promise<{ readonly ids: readonly string[]; readonly warnings: readonly string[] }>;
  /** Those that are still there, as parts (bayes-parts); as often as one likes. */
  read(ids: readonly string[]): AsyncIterable<Buffer>;
};

export type ParityReport =
  | {
      readonly kind: 'compared';
      readonly parity: Parity;
      readonly warnings: readonly string[];
    }
  | {
      readonly kind: 'unknown';
      /** Messages that were to be compared. */
      readonly messages: number;
      readonly message: string;
      readonly remedy: string;
    }
  /** The primary keeps no sample. */
  | { readonly kind: 'off' };

export type PrimaryOptions = {
  readonly view: BayesView;
  readonly sample: SampleSource;
  readonly thresholds: () => readonly NamedThreshold[];
  readonly signal: AbortSignal;
};

type Own = {
  readonly kind: 'own';
  readonly ids: readonly string[];
  readonly warnings: readonly string[];
  readonly thresholds: readonly NamedThreshold[];
  readonly scores: Promise<readonly Score[] | BayesTrouble>;
};

/** What a message may have here, whatever the other node thinks of it. */
const messageBytesMax = 32 * 1024 ** 2;
const empty =
  'Cannot compare the scores: the sample is empty: mail is kept as the filter delivers it; see bayes.sample';

/** The comparison with one node after another, for one run: the sample is fixed at the first call, and scored here once. */
export function createParity(options: PrimaryOptions): (call: Call) => Promise<ParityReport> {
  const once = ownScores(options);
  return async (call) => {
    const own = await once();
    if (isTrouble(own)) return unknown(own, 0);
    const [here, there] = await Promise.all([
      own.scores,
      outcomeOf(
        () => undefined,
        () => scoresThere(call, options.sample.read(own.ids)),
      ),
    ]);
    if (isTrouble(here)) return unknown(here, own.ids.length);
    if (isTrouble(there)) return unknown(there, own.ids.length);
    const compared = compareScores(here, there.scores, own.thresholds);
    return { kind: 'compared', parity: compared, warnings: own.warnings };
  };
}

/** On a backup that fetches: the comparison with its primary. */
export function createFetchedParity(options: {
  readonly view: BayesView;
  readonly signal: AbortSignal;
}): (call: Call) => Promise<ParityReport> {
  return async (call) => {
    const report = await outcomeOf<ParityReport>(
      () => undefined,
      async (step) => {
        step('parity');
        const { head, payload } = orThrow(await call({ name: 'sample' }));
        const sample = readSampleHead(head);
        if (sample.kind === 'off' || payload === undefined) return { kind: 'off' };
        try {
          const here = await scoreParts(options.view, payload, options.signal);
          const parity = compareScores(here, sample.scores, sample.thresholds);
          return { kind: 'compared', parity, warnings: [] };
        } finally {
          await leave(payload);
        }
      },
    );
    return isTrouble(report) ? unknown(report, 0) : report;
  };
}

/** Answers `score` on a backup: no octet of the sample outlives its own score. */
export function scoreAnswer(view: BayesView, signal: AbortSignal): Answerer {
  return async (_, payload) => ({ head: { scores: await scoreParts(view, payload, signal) } });
}

/** Answers `sample` on a primary; `options` is null where none is kept. */
export function sampleAnswer(options: PrimaryOptions | null): Answerer {
  return async () => {
    if (options === null) return { head: { kind: 'off' } };
    const own = orThrow(await ownScores(options)());
    const scores = await own.scores;
    if (isTrouble(scores)) throw failed('parity', scores.message, scores.remedy);
    const head = { kind: 'sample', scores, thresholds: own.thresholds };
    return { head, payload: options.sample.read(own.ids) };
  };
}

/** Lists the sample when it is first asked for, and begins to score it then. */
function ownScores({ view, sample, thresholds, signal }: PrimaryOptions): () => Promise<Own | BayesTrouble> {
  let own: Promise<Own | BayesTrouble> | null = null;
  const begin = () =>
    outcomeOf<Own>(
      () => undefined,
      async (step) => {
        step('parity');
        const { ids, warnings } = await sample.list();
        if (ids.length === 0) throw failed('parity', empty, 'wait until mail has come, then run it again');
        // Its scores are the last thing that is begun: nobody would wait for them if this threw.
        const levels = thresholds();
        return { kind: 'own', ids, warnings, thresholds: levels, scores: scoresOf(ids) };
      },
    );
  const scoresOf = async (ids: readonly string[]): Promise<readonly Score[] | BayesTrouble> => {
    const scored = await outcomeOf(
      () => undefined,
      async (step) => {
        step('parity');
        return { kind: 'scores' as const, list: await scoreParts(view, sample.read(ids), signal) };
      },
    );
    return isTrouble(scored) ? scored : withMissing(ids, scored.list);
  };
  return () => (own ??= begin());
}

async function scoresThere(
  call: Call,
  payload: AsyncIterable<Buffer>,
): Promise<{ readonly kind: 'scores'; readonly scores: readonly Score[] }> {
  const answer = orThrow(await call({ name: 'score', payload }));
  return { kind: 'scores', scores: readScores(answer.head) };
}

/** A message may be released or have expired since the sample was listed. */
function withMissing(ids: readonly string[], scores: readonly Score[]): readonly Score[] {
  const known = new Set(scores.map(({ id }) => id));
  const gone = ids.filter((id) => !known.has(id));
  return [
    ...scores,
    ...gone.map((id): Score => ({ kind: 'unscored', id, reason: 'it is not there any more' })),
  ];
}

async function scoreParts(
  view: BayesView,
  payload: AsyncIterable<Buffer>,
  signal: AbortSignal,
): Promise<Score[]> {
  const scorer = await openScorer(view, signal);
  try {
    const scores: Score[] = [];
    for await (const { head, sizeBytes, bytes } of unpackParts(payload)) {
      const { id, sender } = readPartHead(head);
      scores.push(await scorePart(scorer, { id, sender, sizeBytes, bytes }));
    }
    return scores;
  } finally {
    await scorer.close();
  }
}

async function scorePart(
  scorer: Scorer,
  part: { id: string; sender: string; sizeBytes: number; bytes: AsyncIterable<Buffer> },
): Promise<Score> {
  const { id, sender, sizeBytes, bytes } = part;
  if (sizeBytes > messageBytesMax)
    return { kind: 'unscored', id, reason: `it has over ${messageBytesMax} octets` };
  const chunks: Buffer[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return scorer.score({ id, sender, bytes: Buffer.concat(chunks) });
}

function unknown({ message, remedy }: BayesTrouble, messages: number): ParityReport {
  return { kind: 'unknown', messages, message, remedy };
}
