/**
 * suggestion — which of the words there are somebody may have meant.
 */

/** The nearest of these to what was typed, or null where none is near: one that begins so, or with a letter wrong in three. */
export function nearest(typed: string, words: readonly string[]): string | null {
  const begun = words.filter((word) => typed.length > 1 && word.startsWith(typed.toLowerCase()));
  if (begun.length === 1) return begun[0] ?? null;
  const ranked = words
    .map((word) => ({ word, distance: distanceOf(typed.toLowerCase(), word) }))
    .filter(({ word, distance }) => distance <= Math.max(1, Math.floor(word.length / 3)))
    .toSorted((one, other) => one.distance - other.distance);
  return ranked[0]?.word ?? null;
}

/** Letters to add, leave out, change, or two neighbours to swap (optimal string alignment). */
export function distanceOf(one: string, other: string): number {
  let before: number[] = [];
  let last = Array.from({ length: other.length + 1 }, (_, at) => at);
  for (let i = 1; i <= one.length; i++) {
    const now = [i];
    for (let j = 1; j <= other.length; j++) {
      const isSame = one[i - 1] === other[j - 1];
      const steps = [at(last, j) + 1, at(now, j - 1) + 1, at(last, j - 1) + (isSame ? 0 : 1)];
      const isSwapped = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1];
      if (isSwapped) steps.push(at(before, j - 2) + 1);
      now.push(Math.min(...steps));
    }
    [before, last] = [last, now];
  }
  return at(last, other.length);
}

function at(row: readonly number[], column: number): number {
  return row[column] ?? Number.POSITIVE_INFINITY;
}
