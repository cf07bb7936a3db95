/**
 * bayes-calendar — one run for every day of every zone, whatever its clocks do.
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { type Calendar, isMissed, lastPlanned, type Night, nextPlanned } from '../../rules/bayes-calendar.ts';

const dayMs = 86_400_000;
const utc = (text: string): number => Date.parse(`${text}Z`);
const text = (instant: number): string => new Date(instant).toISOString().slice(0, 16);

function calendarOf(at: string, zone: string, changes: Partial<Calendar> = {}): Calendar {
  return { at, zone, jitterMinutes: 0, node: 'mx1', ...changes };
}

/** The planned times from one instant up to another, each by the one before. */
function plannedBetween(calendar: Calendar, from: string, to: string): string[] {
  const found: string[] = [];
  for (let at = nextPlanned(calendar, utc(from)); at < utc(to); at = nextPlanned(calendar, at))
    found.push(text(at));
  return found;
}

const changes: readonly [string, string, string, string, string, readonly string[]][] = [
  [
    'forward, a time that does not exist is as much later as the clock leaps',
    '02:30',
    'Europe/Berlin',
    '2026-03-28T12:00',
    '2026-03-30T12:00',
    ['2026-03-29T01:30', '2026-03-30T00:30'],
  ],
  [
    'forward, a time behind the leap',
    '03:15',
    'Europe/Berlin',
    '2026-03-27T12:00',
    '2026-03-30T12:00',
    ['2026-03-28T02:15', '2026-03-29T01:15', '2026-03-30T01:15'],
  ],
  [
    'forward, the very minute of the leap',
    '02:00',
    'Europe/Berlin',
    '2026-03-28T12:00',
    '2026-03-30T12:00',
    ['2026-03-29T01:00', '2026-03-30T00:00'],
  ],
  [
    'back, a time that exists twice is taken once, the first',
    '02:30',
    'Europe/Berlin',
    '2026-10-24T12:00',
    '2026-10-26T12:00',
    ['2026-10-25T00:30', '2026-10-26T01:30'],
  ],
  [
    'back, a time behind the change',
    '03:15',
    'Europe/Berlin',
    '2026-10-23T12:00',
    '2026-10-26T12:00',
    ['2026-10-24T01:15', '2026-10-25T02:15', '2026-10-26T02:15'],
  ],
  [
    'back, the very minute of the change',
    '03:00',
    'Europe/Berlin',
    '2026-10-24T12:00',
    '2026-10-26T12:00',
    ['2026-10-25T02:00', '2026-10-26T02:00'],
  ],
  [
    'forward in America',
    '02:15',
    'America/New_York',
    '2026-03-07T12:00',
    '2026-03-09T12:00',
    ['2026-03-08T07:15', '2026-03-09T06:15'],
  ],
  [
    'back in America',
    '01:15',
    'America/New_York',
    '2026-10-31T12:00',
    '2026-11-02T12:00',
    ['2026-11-01T05:15', '2026-11-02T06:15'],
  ],
  [
    'forward in the south',
    '02:30',
    'Australia/Sydney',
    '2026-10-03T00:00',
    '2026-10-05T12:00',
    ['2026-10-03T16:30', '2026-10-04T15:30'],
  ],
  [
    'half an hour forward',
    '02:15',
    'Australia/Lord_Howe',
    '2026-10-03T00:00',
    '2026-10-05T00:00',
    ['2026-10-03T15:45', '2026-10-04T15:15'],
  ],
  [
    'half an hour back',
    '01:45',
    'Australia/Lord_Howe',
    '2026-04-03T16:00',
    '2026-04-05T16:00',
    ['2026-04-04T14:45', '2026-04-05T15:15'],
  ],
  [
    'a leap at midnight',
    '00:15',
    'America/Santiago',
    '2026-09-05T12:00',
    '2026-09-07T12:00',
    ['2026-09-06T04:15', '2026-09-07T03:15'],
  ],
  [
    'a day that the zone leaves out',
    '03:15',
    'Pacific/Apia',
    '2011-12-28T20:00',
    '2011-12-31T20:00',
    ['2011-12-29T13:15', '2011-12-30T13:15', '2011-12-31T13:15'],
  ],
  [
    '29 February',
    '03:15',
    'UTC',
    '2028-02-28T00:00',
    '2028-03-02T00:00',
    ['2028-02-28T03:15', '2028-02-29T03:15', '2028-03-01T03:15'],
  ],
  [
    'no 29 February',
    '03:15',
    'UTC',
    '2027-02-28T00:00',
    '2027-03-02T00:00',
    ['2027-02-28T03:15', '2027-03-01T03:15'],
  ],
  [
    'no 29 February in 2100 either',
    '03:15',
    'UTC',
    '2100-02-28T00:00',
    '2100-03-02T00:00',
    ['2100-02-28T03:15', '2100-03-01T03:15'],
  ],
  ['the turn of a year', '00:00', 'UTC', '2026-12-31T12:00', '2027-01-02T00:00', ['2027-01-01T00:00']],
  [
    'three quarters of an hour off',
    '03:15',
    'Asia/Kathmandu',
    '2026-01-01T00:00',
    '2026-01-02T00:00',
    ['2026-01-01T21:30'],
  ],
];

suite('nextPlanned() over a change of the clocks', () => {
  for (const [label, at, zone, from, to, expected] of changes)
    test(`${label} (${at} ${zone})`, () => {
      assert.deepEqual(plannedBetween(calendarOf(at, zone), from, to), expected);
    });
});

suite('nextPlanned() has one run for each day of a year', () => {
  const zones = [
    'UTC',
    'Europe/Berlin',
    'America/New_York',
    'America/Sao_Paulo',
    'Asia/Kolkata',
    'Africa/Casablanca',
    'Australia/Lord_Howe',
    'Pacific/Chatham',
    'America/St_Johns',
    'Asia/Gaza',
  ];
  for (const zone of zones)
    test(zone, () => {
      for (const at of ['00:00', '02:30', '23:59']) {
        const calendar = calendarOf(at, zone, { jitterMinutes: 10 });
        const [from, to] = [utc('2026-01-01T12:00'), utc('2027-01-01T12:00')];
        let [count, last] = [0, from];
        for (let next = nextPlanned(calendar, from); next < to; next = nextPlanned(calendar, next)) {
          const hours = (next - last) / 3_600_000;
          // A day of 23 or 25 hours, and ten minutes of jitter at both ends.
          assert.ok(count === 0 || (hours > 21.5 && hours < 26.5), `${at} ${text(next)}: ${hours} h`);
          assert.equal(lastPlanned(calendar, next), next);
          assert.equal(lastPlanned(calendar, next - 1), count === 0 ? lastPlanned(calendar, from) : last);
          [count, last] = [count + 1, next];
        }
        assert.equal(count, 365, `${zone} ${at}`);
      }
    });
});

test('nextPlanned() is after, lastPlanned() not after any instant, and nothing lies between them', () => {
  const instants = fc.integer({ min: utc('2020-01-01T00:00'), max: utc('2040-01-01T00:00') });
  const times = fc.tuple(fc.integer({ min: 0, max: 23 }), fc.integer({ min: 0, max: 59 }));
  const zones = fc.constantFrom(
    'UTC',
    'Europe/Berlin',
    'America/Santiago',
    'Australia/Lord_Howe',
    'Pacific/Apia',
  );
  const jitters = fc.integer({ min: 0, max: 240 });
  fc.assert(
    fc.property(instants, times, zones, jitters, (now, [hours, minutes], zone, jitterMinutes) => {
      const at = [hours, minutes].map((one) => String(one).padStart(2, '0')).join(':');
      const calendar = calendarOf(at, zone, { jitterMinutes });
      const [last, next] = [lastPlanned(calendar, now), nextPlanned(calendar, now)];
      assert.ok(last <= now && now < next);
      assert.equal(nextPlanned(calendar, last), next);
      assert.equal(lastPlanned(calendar, next), next);
      assert.ok(next - last <= dayMs + 5 * 3_600_000, `${text(last)} ${text(next)}`);
    }),
    { numRuns: 500 },
  );
});

test('nextPlanned() draws the same jitter again for a node and a day, and others for others', () => {
  const jitterOf = (node: string, day: number): number => {
    const from = utc('2026-01-01T00:00') + day * dayMs;
    return nextPlanned(calendarOf('03:15', 'UTC', { jitterMinutes: 10, node }), from) - from - 11_700_000;
  };
  const days = Array.from({ length: 1000 }, (_, day) => day);
  const drawn = days.map((day) => jitterOf('mx1', day));
  assert.deepEqual(
    drawn,
    days.map((day) => jitterOf('mx1', day)),
  );
  assert.ok(drawn.every((ms) => ms >= 0 && ms <= 600_000 && ms % 1000 === 0));
  const mean = drawn.reduce((sum, ms) => sum + ms, 0) / drawn.length;
  assert.ok(Math.abs(mean - 300_000) < 30_000, `mean ${mean}`);
  assert.ok(new Set(drawn).size > 400, `${new Set(drawn).size} values`);
  const same = days.filter((day) => jitterOf('mx2', day) === jitterOf('mx1', day)).length;
  assert.ok(same < 20, `${same} of 1000 days alike on two nodes`);
});

const tonight = utc('2026-11-22T03:15');
const noon = utc('2026-11-22T12:00');
const served = { planned: tonight, servedAt: tonight + 60_000 };
const begun = { planned: tonight, servedAt: null };
const before = { planned: tonight - dayMs, servedAt: tonight - dayMs + 60_000 };
const states: readonly [string, readonly Night[], number | null, boolean][] = [
  ['nothing ever ran', [], null, true],
  ['the last run is older', [before], tonight - dayMs + 5000, true],
  ['three nights were missed', [], tonight - 3 * dayMs, true],
  ['it was served', [before, served], null, false],
  ['it was served, and nothing is known of a run', [served], null, false],
  ['somebody ran it by hand since', [before], tonight + 3_600_000, false],
  ['somebody ran it by hand the instant it was due', [before], tonight, false],
  ['somebody ran it by hand just before it was due', [before], tonight - 1, true],
  ['it was begun and never ended', [before, begun], tonight + 5000, true],
  ['a run noted by a clock that was a year ahead', [before], noon + 365 * dayMs, true],
  [
    'a night served by a clock that was a year ahead',
    [{ planned: noon + 365 * dayMs, servedAt: noon + 365 * dayMs }],
    null,
    true,
  ],
];

suite('isMissed()', () => {
  for (const [label, nights, lastRunAt, expected] of states)
    test(`${label}: ${expected ? 'run it' : 'nothing to do'}`, () =>
      assert.equal(isMissed(tonight, { now: noon, nights, lastRunAt }), expected));
});
