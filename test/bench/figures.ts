/**
 * figures — medians, percentiles and ratios of the bench's runs.
 *
 * Pure. Percentiles are of the nearest rank. A ratio compares two contestants round by round, because what disturbs the
 * machine disturbs neighbours alike; its spread is the lowest and the highest round.
 */

/** A median with the lowest and the highest value that it comes from. */
export type Spread = { readonly median: number; readonly low: number; readonly high: number };

/** The value below or at which `percent` of the values lie; NaN of none. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? Number.NaN;
}

/** Median and extremes. */
export function spreadOf(values: readonly number[]): Spread {
  return { median: medianOf(values), low: Math.min(...values), high: Math.max(...values) };
}

/** Round by round `ours` / `theirs`, then the median of those. */
export function ratioOf(ours: readonly number[], theirs: readonly number[]): Spread {
  return spreadOf(pairs(ours, theirs).map(([one, other]) => one / other));
}

/** Round by round `ours` - `theirs`, then the median of those. */
export function differenceOf(ours: readonly number[], theirs: readonly number[]): Spread {
  return spreadOf(pairs(ours, theirs).map(([one, other]) => one - other));
}

function pairs(ours: readonly number[], theirs: readonly number[]): [number, number][] {
  return ours.flatMap((one, at) => {
    const other = theirs[at];
    return other === undefined ? [] : [[one, other] as [number, number]];
  });
}

/** The mean of the two in the middle where their number is even. */
function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low, high] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  return low === undefined || high === undefined ? Number.NaN : (low + high) / 2;
}
