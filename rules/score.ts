/**
 * score — the spam score that counts for one policy, and the gravest threshold that it reaches.
 *
 * Hides what a policy adds to SpamAssassin's total: points for senders, for virus names that are spam, for a blocked
 * sender; and what an allowed sender takes away. A score that is no number is `unchecked`, never low. It cannot fail.
 */
import type { MailFacts, RuleHit, ScanReport, Unchecked } from './mail.ts';
import type { EffectivePolicy, ThresholdName } from './policy-for.ts';
import { judgeSender } from './sender.ts';
import type { SenderFinding } from './sender.ts';
import { virusAsSpamPoints } from './virus-name.ts';

/** What a blocked sender adds to the score. */
const blockPoints = 100;
/** SpamAssassin's own jokers are 1,000. */
const scoreMax = 1_000_000;

/** The score with everything that a policy adds to it. */
export type Scored = {
  readonly score: number;
  /** Without the points for a blocked sender: what `discard` compares with. */
  readonly scoreToDiscard: number;
  /** The rule hits that count. */
  readonly tests: readonly RuleHit[];
  readonly sender: SenderFinding;
  /** What was added or taken away, and where the policy says so. */
  readonly notes: readonly string[];
};

/** `of: null`: nothing to score, because the scanner is off and the policy adds nothing. */
export type ScoredOrNot = { readonly kind: 'scored'; readonly of: Scored | null } | Unchecked;

/** The score of a message under a policy. With the spam scanner off, what the policy adds counts from 0. */
export function scoredOf(mail: MailFacts, report: ScanReport, policy: EffectivePolicy): ScoredOrNot {
  const { spam, virus } = report;
  if (spam.kind === 'unchecked') return spam;
  // A score that is no number would make every comparison false, and so deliver; an absurd one is no score either.
  if (spam.kind === 'scored' && !(Math.abs(spam.score) <= scoreMax)) {
    return { kind: 'unchecked', reason: 'protocol', detail: `score ${spam.score}` };
  }
  const tests = spam.kind === 'scored' ? countedTests(spam.tests, spam.ignored) : [];
  const sender = senderOf(mail, tests, policy);
  const notes = [...sender.notes];
  const named = virus.kind === 'infected' ? virusAsSpamPoints(virus.name, policy.virusAsSpam.value) : null;
  if (virus.kind === 'infected' && named !== null) {
    notes.push(`+${named} for ${printable(virus.name)} (${policy.virusAsSpam.origin})`);
  }
  if (spam.kind === 'off' && notes.length === 0) return { kind: 'scored', of: null };
  const base = spam.kind === 'scored' ? spam.score : 0;
  const scoreToDiscard = rounded(base + sender.points + (named ?? 0));
  const score = rounded(scoreToDiscard + (sender.blocked ? blockPoints : 0));
  return { kind: 'scored', of: { score, scoreToDiscard, tests, sender, notes } };
}

/**
 * The gravest threshold that the score reaches. `allow` leaves only `tag`: its headers judge nobody. The points for a
 * blocked sender do not count towards `discard`: a discarded message can't be given back and a sender is easily forged,
 * so a block alone never destroys mail. What scores high enough without them is discarded all the same.
 */
export function reachedThreshold(scored: Scored, policy: EffectivePolicy): ThresholdName | null {
  const reaches = (name: ThresholdName, score: number) => {
    const { value } = policy[`thresholds.${name}`];
    return value !== null && score >= value;
  };
  if (!scored.sender.allowed) {
    if (reaches('discard', scored.scoreToDiscard)) return 'discard';
    if (reaches('quarantine', scored.score)) return 'quarantine';
    if (reaches('spam', scored.score)) return 'spam';
  }
  return reaches('tag', scored.score) ? 'tag' : null;
}

/** To 0.001, as scores come: sums of binary fractions must not miss a threshold by 1e-16. */
export function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}

/** A scanner's text as it may stand in a sentence: a sender may choose it, through a file name or a signature's. */
export function printable(text: string): string {
  return text.replaceAll(/\p{Cc}+/gu, ' ').slice(0, 200);
}

/** Hits that were taken out of a truncated message's score prove nothing either. */
function countedTests(tests: readonly RuleHit[], ignored: readonly RuleHit[]): readonly RuleHit[] {
  const names = new Set(ignored.map((hit) => hit.name));
  return names.size === 0 ? tests : tests.filter((hit) => !names.has(hit.name));
}

/** `senders` is for what comes in: what the site sends itself has no stranger to allow or block. */
function senderOf(mail: MailFacts, tests: readonly RuleHit[], policy: EffectivePolicy): SenderFinding {
  if (mail.direction === 'inbound') return judgeSender(mail, tests, policy);
  return { allowed: false, blocked: false, points: 0, notes: [] };
}
