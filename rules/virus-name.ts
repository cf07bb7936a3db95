/**
 * virus-name — which names that a virus scanner gives are really spam (`virusAsSpam`).
 *
 * Hides how patterns match: `*` any run of characters, `?` any one, everything else itself. No regular expression: the
 * time is at most pattern length × name length, whatever either of them holds. The worker that asks the scanners uses
 * it too, with patterns as data.
 */

/** Whether a name matches a pattern from its first character to its last. */
export function matchesVirusName(pattern: string, name: string): boolean {
  let [p, n, star, retry] = [0, 0, -1, 0];
  while (n < name.length) {
    if (pattern[p] === '*') {
      // Only the last star ever needs to take more: everything before it has already matched.
      star = p++;
      retry = n;
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === name[n])) {
      p++;
      n++;
    } else if (star >= 0) {
      p = star + 1;
      n = ++retry;
    } else return false;
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}

/** The points that a virus name adds to the spam score, or null where it is a virus. Of several patterns the highest counts. */
export function virusAsSpamPoints(name: string, patterns: Readonly<Record<string, number>>): number | null {
  let points: number | null = null;
  for (const [pattern, value] of Object.entries(patterns)) {
    if (matchesVirusName(pattern, name)) points = Math.max(points ?? value, value);
  }
  return points;
}
