/**
 * bayes-parity — whether two nodes judge the same messages alike, from the scores that each of them gave.
 *
 * Pure. The Bayes probability counts first, for it is what the sync is about; the score of the local tests may differ for
 * other reasons, so that rules which hit on one side alone are named. A message that either side could not score is never
 * compared, and where too few are left the judgement is `unknown`, not `equal`.
 */

/** What one node makes of one message: local tests only. */
export type Score =
  | {
      readonly kind: 'scored';
      readonly id: string;
      /** 0…1, to four digits; null where Bayes has no opinion. */
      readonly probability: number | null;
      readonly score: number;
      /** Names of the rules that hit. */
      readonly rules: readonly string[];
    }
  | { readonly kind: 'unscored'; readonly id: string; readonly reason: string };

export type Scored = Score & { readonly kind: 'scored' };

/** A level at which mail is treated otherwise, as of policies.yaml: `spam`, `quarantine`. */
export type NamedThreshold = { readonly name: string; readonly score: number };

/** The figures of one comparison, as they are kept and counted. */
export type ParitySummary = {
  /** Epoch milliseconds; missing where nobody has noted it. */
  readonly at?: number | undefined;
  /** Compared: both sides have a score. */
  readonly messages: number;
  readonly probabilityDiffers: number;
  readonly scoreDiffers: number;
  /** Messages that one side puts over a threshold and the other does not. */
  readonly flips: number;
  /** The largest difference of a probability, 0…1. */
  readonly worst: number;
  readonly notScored: number;
};

export type ParityJudgement = 'equal' | 'differs' | 'unknown';

/** One message that the two sides judge differently. */
export type Difference = {
  readonly id: string;
  readonly here: Scored;
  readonly there: Scored;
  /** Names of the thresholds between the two scores. */
  readonly flips: readonly string[];
  readonly rulesHere: readonly string[];
  readonly rulesThere: readonly string[];
};

/** How many messages a rule hit on one side alone. */
export type LoneRule = { readonly name: string; readonly here: number; readonly there: number };

/** How many messages were not scored for the same reason; null: that side did score them. */
export type NotScored = {
  readonly here: string | null;
  readonly there: string | null;
  readonly messages: number;
};

export type Parity = {
  readonly summary: ParitySummary;
  /** Worst first, at most ten: verdicts that flip, then the probability, then the score. */
  readonly worst: readonly Difference[];
  /** Most frequent first. */
  readonly loneRules: readonly LoneRule[];
  readonly notScored: readonly NotScored[];
};

/** What differs by more than this is reported: of a probability and of a score. */
const toleranceOfParity = 0.1;

const worstMax = 10;
/** Part of the sample that both sides must have scored. */
const comparedAtLeast = 0.5;
const missing = 'no answer for this message';
/** What SpamAssassin itself takes for a message of which Bayes knows nothing. */
const noOpinion = 0.5;

/** Compares what two sides made of the messages that either of them speaks of. */
export function compareScores(
  here: readonly Score[],
  there: readonly Score[],
  thresholds: readonly NamedThreshold[],
): Parity {
  const pairs = pairsOf(here, there);
  const compared = pairs.flatMap((pair) => differenceOf(pair, thresholds) ?? []);
  const notScored = reasonsOf(pairs);
  const unscored = pairs.length - compared.length;
  const count = (is: (one: Difference) => boolean) => compared.filter(is).length;
  const summary = {
    messages: compared.length,
    probabilityDiffers: count(differsInProbability),
    scoreDiffers: count(differsInScore),
    flips: count(({ flips }) => flips.length > 0),
    worst: Math.max(0, ...compared.map(probabilityGap)),
    notScored: unscored,
  };
  return {
    summary,
    worst: compared.filter(isWorthTelling).toSorted(worseFirst).slice(0, worstMax),
    loneRules: loneRulesOf(compared),
    notScored,
  };
}

/** The summary where there was nothing to compare with; `messages` is 0. */
export function unknownParity(notScored: number): ParitySummary {
  return { messages: 0, probabilityDiffers: 0, scoreDiffers: 0, flips: 0, worst: 0, notScored };
}

/** `differs` where anything does; `equal` only where at least half of the sample could be compared. */
export function parityJudgementOf(summary: ParitySummary): ParityJudgement {
  const { messages, notScored, probabilityDiffers, scoreDiffers, flips } = summary;
  if (probabilityDiffers + scoreDiffers + flips > 0) return 'differs';
  return messages > 0 && messages >= (messages + notScored) * comparedAtLeast ? 'equal' : 'unknown';
}

type Pair = { readonly id: string; readonly here: Score; readonly there: Score };

function pairsOf(here: readonly Score[], there: readonly Score[]): Pair[] {
  const [ours, theirs] = [byId(here), byId(there)];
  const ids = new Set([...ours.keys(), ...theirs.keys()]);
  const none = (id: string): Score => ({ kind: 'unscored', id, reason: missing });
  return [...ids].map((id) => ({ id, here: ours.get(id) ?? none(id), there: theirs.get(id) ?? none(id) }));
}

function byId(scores: readonly Score[]): Map<string, Score> {
  return new Map(scores.map((score) => [score.id, score]));
}

function differenceOf(
  { id, here, there }: Pair,
  thresholds: readonly NamedThreshold[],
): Difference | undefined {
  if (here.kind === 'unscored' || there.kind === 'unscored') return undefined;
  const isBetween = ({ score }: NamedThreshold) => here.score >= score !== there.score >= score;
  return {
    id,
    here,
    there,
    flips: thresholds.filter(isBetween).map(({ name }) => name),
    rulesHere: here.rules.filter((name) => !there.rules.includes(name)),
    rulesThere: there.rules.filter((name) => !here.rules.includes(name)),
  };
}

function probabilityGap({ here, there }: Difference): number {
  return gap(here.probability ?? noOpinion, there.probability ?? noOpinion);
}

function scoreGap({ here, there }: Difference): number {
  return gap(here.score, there.score);
}

/** To four digits: 0.3 and 0.2 are 0.1 apart. */
function gap(one: number, other: number): number {
  return Math.round(Math.abs(one - other) * 10_000) / 10_000;
}

function differsInProbability(one: Difference): boolean {
  return probabilityGap(one) > toleranceOfParity;
}

function differsInScore(one: Difference): boolean {
  return scoreGap(one) > toleranceOfParity;
}

function isWorthTelling(one: Difference): boolean {
  return one.flips.length > 0 || differsInProbability(one) || differsInScore(one);
}

function worseFirst(one: Difference, other: Difference): number {
  const byFlips = Number(other.flips.length > 0) - Number(one.flips.length > 0);
  return byFlips || probabilityGap(other) - probabilityGap(one) || scoreGap(other) - scoreGap(one);
}

/** Only of messages that are told of: a rule of 0.001 points that hits on one side is no trouble. */
function loneRulesOf(compared: readonly Difference[]): LoneRule[] {
  const rules = new Map<string, LoneRule>();
  const note = (name: string, side: 'here' | 'there'): void => {
    const rule = rules.get(name) ?? { name, here: 0, there: 0 };
    rules.set(name, { ...rule, [side]: rule[side] + 1 });
  };
  for (const one of compared.filter(isWorthTelling)) {
    for (const name of one.rulesHere) note(name, 'here');
    for (const name of one.rulesThere) note(name, 'there');
  }
  return [...rules.values()].toSorted((one, other) => other.here + other.there - one.here - one.there);
}

function reasonsOf(pairs: readonly Pair[]): NotScored[] {
  const reasons = new Map<string, NotScored>();
  for (const { here, there } of pairs) {
    const [ours, theirs] = [reasonOf(here), reasonOf(there)];
    if (ours === null && theirs === null) continue;
    const key = JSON.stringify([ours, theirs]);
    const messages = (reasons.get(key)?.messages ?? 0) + 1;
    reasons.set(key, { here: ours, there: theirs, messages });
  }
  return [...reasons.values()].toSorted((one, other) => other.messages - one.messages);
}

function reasonOf(score: Score): string | null {
  return score.kind === 'unscored' ? score.reason : null;
}
