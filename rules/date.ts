/**
 * date — the date and time of header fields (RFC 5322 §3.3), both ways.
 *
 * Reads what mail servers write, with the obsolete zone names; writes UTC. No clock: time is an argument.
 */

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];

/** RFC 5322 §4.3, in hours; every other name counts as +0000. */
const zones: Readonly<Record<string, number>> = {
  EST: -5,
  EDT: -4,
  CST: -6,
  CDT: -5,
  MST: -7,
  MDT: -6,
  PST: -8,
  PDT: -7,
};

const datePattern =
  /^(?:[A-Za-z]{3},?)?\s*(\d{1,2})\s+([A-Za-z]{3})\s+(\d{4})\s+(\d{2}):(\d{2})(?::(\d{2}))?(?:\s+([+-])(\d{2})(\d{2})|\s+([A-Za-z]{1,5}))?/;

/** Epoch milliseconds of a date, or null where it can't be read. */
export function parseDate(text: string): number | null {
  const match = datePattern.exec(text.trim().slice(0, 100));
  if (match === null) return null;
  const [, day, monthName = '', year, hour, minute, second = '0', sign, zoneHours, zoneMinutes, zone = ''] =
    match;
  const month = months.indexOf(monthName.toLowerCase());
  if (month === -1 || !inRange(day, 1, 31) || !inRange(hour, 0, 23) || !inRange(minute, 0, 59)) return null;
  // A leap second (60) is the next minute's first.
  if (!inRange(second, 0, 60)) return null;
  const utc = Date.UTC(Number(year), month, Number(day), Number(hour), Number(minute), Number(second));
  const offset =
    sign === undefined
      ? (zones[zone.toUpperCase()] ?? 0) * 60
      : Number(`${sign}1`) * (Number(zoneHours) * 60 + Number(zoneMinutes));
  return utc - offset * 60_000;
}

/** A date in UTC: "Thu, 01 Jan 2026 00:00:00 +0000". */
export function formatDate(epochMs: number): string {
  return new Date(epochMs).toUTCString().replace('GMT', '+0000');
}

function inRange(digits: string | undefined, least: number, most: number): boolean {
  return Number(digits) >= least && Number(digits) <= most;
}
