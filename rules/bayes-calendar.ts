/**
 * bayes-calendar — when the nightly run of the Bayes sync is planned, and which planned time is the newest.
 *
 * Hides time zones and daylight saving: each day of the zone has exactly one planned time, also where the clock leaps over it
 * (then it is as much later as the clock leapt) or shows it twice (then it is the first). Jitter is drawn from node and day
 * alone, so that it is the same after a restart. Pure: what time it is, and the machine's zone, are arguments.
 */

/** `HH:MM` by the clock of `zone` (tz database), and up to `jitterMinutes` later; `node`: whose jitter. */
export type Calendar = {
  readonly at: string;
  readonly zone: string;
  readonly jitterMinutes: number;
  readonly node: string;
};

/** A date without a time: the number of days since 1970-01-01. */
type Day = number;

const dayMs = 86_400_000;
const minuteMs = 60_000;

/** The newest planned time that is not after `now` (epoch milliseconds). */
export function lastPlanned(calendar: Calendar, now: number): number {
  return Math.max(...plannedAround(calendar, now).filter((at) => at <= now));
}

/** The first planned time after `now`. */
export function nextPlanned(calendar: Calendar, now: number): number {
  return Math.min(...plannedAround(calendar, now).filter((at) => at > now));
}

/** What is known of one planned time; `servedAt` null: somebody began it, and did not get to its end. */
export type Night = { readonly planned: number; readonly servedAt: number | null };

/** A night that was served earlier than this is served all the same. */
const aheadMsMax = 3_600_000;

/** Whether it was served at a time that has not come: the clock was wrong then, and the night is still to be served. */
export function isAhead({ servedAt }: Night, now: number): boolean {
  return servedAt !== null && servedAt - now > aheadMsMax;
}

/**
 * Whether a planned time that has come is still to be served. Where nobody took it, a run that began since counts for it, whoever
 * asked for it; a `lastRunAt` ahead of the clock proves nothing: the clock was wrong then.
 */
export function isMissed(
  planned: number,
  { now, nights, lastRunAt }: { now: number; nights: readonly Night[]; lastRunAt: number | null },
): boolean {
  const known = nights.find((night) => night.planned === planned);
  if (known !== undefined && !isAhead(known, now)) return known.servedAt === null;
  return lastRunAt === null || lastRunAt < planned || lastRunAt > now;
}

/** Planned times of some days before and after: jitter may lead into the next day, and a zone may leave out a whole one. */
function plannedAround(calendar: Calendar, now: number): number[] {
  const today = Math.floor(wallOf(calendar.zone, now) / dayMs);
  return [-3, -2, -1, 0, 1, 2].flatMap((days) => plannedOn(calendar, today + days) ?? []);
}

/** Null for a day that the zone does not have: Samoa left out 2011-12-30. */
function plannedOn({ at, zone, jitterMinutes, node }: Calendar, day: Day): number | null {
  const noon = instantOf(zone, day * dayMs + dayMs / 2);
  if (Math.floor(wallOf(zone, noon) / dayMs) !== day) return null;
  const [hours = 0, minutes = 0] = at.split(':').map(Number);
  const wall = day * dayMs + (hours * 60 + minutes) * minuteMs;
  return instantOf(zone, wall) + jitterMs(jitterMinutes, `${node} ${day}`);
}

/** When the clocks of the zone show `wall`: the first time of two; as much later as they leap where they never do. */
function instantOf(zone: string, wall: number): number {
  const before = wallOf(zone, wall - dayMs) - (wall - dayMs);
  const after = wallOf(zone, wall + dayMs) - (wall + dayMs);
  const shown = [wall - before, wall - after].filter((instant) => wallOf(zone, instant) === wall);
  return shown.length === 0 ? wall - before : Math.min(...shown);
}

/** What the clocks of the zone show at an instant, as the instant at which those of UTC show the same. */
function wallOf(zone: string, instant: number): number {
  const parts = formatFor(zone).formatToParts(new Date(instant));
  const number = (type: Intl.DateTimeFormatPartTypes) =>
    Number(parts.find((part) => part.type === type)?.value);
  const [year, month, day] = [number('year'), number('month'), number('day')];
  return Date.UTC(year, month - 1, day, number('hour'), number('minute'), number('second'));
}

const formats = new Map<string, Intl.DateTimeFormat>();

/** Making one takes a hundred times as long as using it. */
function formatFor(zone: string): Intl.DateTimeFormat {
  const known = formats.get(zone);
  if (known !== undefined) return known;
  const date = { year: 'numeric', month: 'numeric', day: 'numeric' } as const;
  const time = { hour: 'numeric', minute: 'numeric', second: 'numeric', hourCycle: 'h23' } as const;
  const made = new Intl.DateTimeFormat('en-u-ca-iso8601-nu-latn', { timeZone: zone, ...date, ...time });
  formats.set(zone, made);
  return made;
}

/** Whole seconds from 0 to `minutes`. */
function jitterMs(minutes: number, seed: string): number {
  return (hashOf(seed) % (minutes * 60 + 1)) * 1000;
}

/** FNV-1a and the last step of MurmurHash3: neighbouring days shall not have neighbouring values. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const character of text) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
