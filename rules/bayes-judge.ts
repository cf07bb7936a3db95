/**
 * bayes-judge — whether a Bayes database is fit to replace the one on another machine, by its counts alone.
 *
 * Pure. Judged by messages learned: tokens alone may shrink by a third in one expiry of SpamAssassin's own.
 */

export type BayesFigures = { readonly nspam: number; readonly nham: number; readonly tokens: number };

export type BayesJudgement = {
  /** Why it must not go, whatever anybody says; null: none. */
  readonly impossible: string | null;
  /** Why it should not go unless somebody insists. */
  readonly doubts: readonly string[];
  readonly warnings: readonly string[];
};

/** SpamAssassin's bayes_min_spam_num and bayes_min_ham_num: below, Bayes says nothing. */
const activeFrom = 200;
const fallMax = 0.1;

/** Judges `now` against the last snapshot that was kept (null: the first one) and what the database says it holds. */
export function judgeSnapshot(
  now: BayesFigures,
  last: BayesFigures | null,
  tokensClaimed: number | null,
): BayesJudgement {
  const impossible = now.tokens === 0 ? 'it holds no token' : null;
  const doubts: string[] = [];
  const warnings: string[] = [];
  const kinds = [
    ['spam', now.nspam, last?.nspam],
    ['ham', now.nham, last?.nham],
  ] as const;
  for (const [kind, learned, before] of kinds) {
    if (learned < activeFrom) doubts.push(`${learned} ${kind} messages learned, Bayes needs ${activeFrom}`);
    else if (before !== undefined && learned < before * (1 - fallMax))
      doubts.push(`${learned} ${kind} messages learned, the last snapshot had ${before}`);
  }
  // A database that breaks off under a query is dumped without an error.
  if (tokensClaimed !== null && now.tokens < tokensClaimed * (1 - fallMax))
    doubts.push(`${now.tokens} tokens in the dump, the database counts ${tokensClaimed}`);
  if (last !== null && now.tokens < last.tokens)
    warnings.push(`${now.tokens} tokens, the last snapshot had ${last.tokens}: expiry does that`);
  return { impossible, doubts, warnings };
}
