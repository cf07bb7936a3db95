/**
 * bayes-scores — what travels between two nodes when they compare their scores, as JSON, and its checks.
 *
 * The other node's words are outside data: an answer of another form is BayesFail. A part of the sample whose head is none is
 * refused as a whole, for then the rest is not to be believed either.
 */
import { z } from 'zod';
import type { NamedThreshold, ParitySummary, Score } from '../rules/bayes-parity.ts';
import { parityShape } from './bayes-record.ts';
import { failed } from './bayes-step.ts';

const idShape = z.string().min(1).max(100);
const ruleShape = z.string().regex(/^\w{1,100}$/);

const scoreShape = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('scored'),
    id: idShape,
    probability: z.number().min(0).max(1).nullable(),
    score: z.number(),
    rules: z.array(ruleShape).max(1000),
  }),
  z.object({ kind: z.literal('unscored'), id: idShape, reason: z.string().max(2000) }),
]) satisfies z.ZodType<Score>;

const scoresMax = 20_000;
const scoresShape = z.object({ scores: z.array(scoreShape).max(scoresMax) });
const partShape = z.object({ id: idShape, sender: z.string().max(2000) });
const thresholdShape = z.object({ name: z.string().max(100), score: z.number() });
const sampleShape = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('off') }),
  z.object({
    kind: z.literal('sample'),
    scores: z.array(scoreShape).max(scoresMax),
    thresholds: z.array(thresholdShape).max(100),
  }),
]);

const noteShape = z.object({ host: z.string().max(255), parity: parityShape });

/** What a primary tells a backup of their comparison; `host` as it calls itself with its bundles. */
export type ParityNote = { readonly host: string; readonly parity: ParitySummary };

/** What the primary says with its sample; `off`: it keeps none. */
export type SampleHead =
  | { readonly kind: 'off' }
  | {
      readonly kind: 'sample';
      readonly scores: readonly Score[];
      readonly thresholds: readonly NamedThreshold[];
    };

/** The scores in the answer to `score`. */
export function readScores(head: unknown): readonly Score[] {
  return checked(scoresShape, head, 'the scores').scores;
}

/** The answer to `sample`. */
export function readSampleHead(head: unknown): SampleHead {
  return checked(sampleShape, head, 'the sample');
}

/** Which message a part of the sample is, and its envelope sender. */
export function readPartHead(head: unknown): { readonly id: string; readonly sender: string } {
  return checked(partShape, head, 'a message of the sample');
}

/** What a primary tells of a comparison. */
export function readParityNote(parameters: unknown): ParityNote {
  return checked(noteShape, parameters, 'the comparison');
}

function checked<T>(shape: z.ZodType<T>, value: unknown, what: string): T {
  const parsed = shape.safeParse(value);
  if (parsed.success) return parsed.data;
  const message = `Cannot read ${what} that the other node sent: it has another form`;
  throw failed('parity', message, 'bring Sluice to one version on both nodes', parsed.error);
}
