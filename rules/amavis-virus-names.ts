/**
 * amavis-virus-names — @virus_name_to_spam_score_maps as `virusAsSpam`: which names are rather spam, and for how many points.
 *
 * Hides that amavisd-new takes the first expression that matches and knows exceptions, while policies.yaml takes the
 * highest points and knows none. Never does a pattern reach a name that amavisd-new would have kept as a virus: what is
 * in doubt stays a virus and is noted. It never throws.
 */
import { plain } from './amavis-notes.ts';
import type { Notes, Source } from './amavis-notes.ts';
import type { PerlValue } from './perl-config.ts';
import { isRefusedKey } from './document.ts';
import { wildcardsOf, wildcardsOverlap } from './regexp-wildcards.ts';

export type VirusPoints = ReadonlyMap<string, { readonly points: number; readonly source: Source }>;

const name = '@virus_name_to_spam_score_maps';
const stepsMax = 100_000_000;
const patternMax = 200;
const byHand = 'write virusAsSpam patterns with * and ? by hand; until then these names are viruses';

/** Patterns and points of the tables in the map, which has been resolved. */
export function virusAsSpamOf(tables: readonly PerlValue[], notes: Notes): VirusPoints {
  const found = new Map<string, { points: number; source: Source }>();
  const kept: string[] = [];
  const budget = { left: stepsMax };
  for (const table of tables) {
    if (table.kind === 'undef') continue;
    const isList = table.kind === 'call' && table.name === 'new_RE';
    if (!isList) notes.add('lost', table, `${name}: a ${table.kind}`, byHand);
    else for (const item of table.items) read(item);
  }
  return found;

  function read(item: PerlValue): void {
    const [regexp, value] = item.kind === 'list' ? item.items : [item];
    const source = { file: item.file, line: item.line, name };
    if (regexp?.kind !== 'regexp')
      return notes.add('lost', source, `${name}: an entry without a regular expression`, byHand);
    const text = `${name}: ${plain(regexp.pattern)}`;
    if (value?.kind === 'undef') {
      kept.push(...wildcardsOf(regexp.pattern, regexp.flags, 'around').patterns);
      return;
    }
    const points = value === undefined ? 1 : value.kind === 'text' ? Number(value.text) : Number.NaN;
    if (!Number.isFinite(points))
      return notes.add('lost', source, `${text}: points that are no number`, byHand);
    const { patterns, exact } = wildcardsOf(regexp.pattern, regexp.flags, 'within');
    const usable = patterns.filter((pattern) => isUsable(pattern) && !isKept(pattern));
    if (usable.length === 0) return notes.add('lost', source, text, byHand);
    if (!exact || usable.length < patterns.length)
      notes.add('changed', source, `${text}: only ${usable.join(', ')}`, byHand);
    for (const pattern of usable) keep(pattern, points, source);
  }

  function keep(pattern: string, points: number, source: Source): void {
    if (found.has(pattern)) return;
    const within = Math.max(0, Math.min(1000, points));
    if (within !== points)
      notes.add(
        'changed',
        source,
        `${name}: ${points} points for ${pattern} became ${within}`,
        'nothing, if that is right',
      );
    const first = [...found].find(([other, { points: lower }]) => lower < within && overlaps(other, pattern));
    if (first !== undefined) {
      notes.add(
        'changed',
        source,
        `${name}: names that match both ${first[0]} and ${pattern} get ${within} points, not ${first[1].points}`,
        'nothing, if that is right',
      );
    }
    found.set(pattern, { points: within, source });
  }

  function isKept(pattern: string): boolean {
    return kept.some((other) => overlaps(other, pattern));
  }

  /** In doubt they overlap. */
  function overlaps(a: string, b: string): boolean {
    budget.left -= a.length * b.length;
    return budget.left < 0 || wildcardsOverlap(a.toLowerCase(), b.toLowerCase());
  }
}

/** As policies.yaml takes it: no pattern for almost any virus. */
function isUsable(pattern: string): boolean {
  const isText = pattern.length <= patternMax && !/\p{Cc}/u.test(pattern) && !isRefusedKey(pattern);
  return isText && pattern.replaceAll(/[^A-Za-z0-9]/g, '').length >= 4;
}
