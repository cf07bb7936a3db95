/**
 * queue-report — the figures of the queue's bench as Markdown: what was asked for first, then where the time goes.
 *
 * Pure: takes what was measured, gives text. Differences and ratios are of the same round, medians over the rounds.
 */
import { differenceOf, ratioOf, type Spread, spreadOf } from './figures.ts';
import type { DoorFigures, FilterFigures, Rates, ScalingFigures } from './queue-parts.ts';
import { type Circumstances, row, sharedText, spreadText, table } from './report.ts';

export type Measured = {
  readonly door: DoorFigures | null;
  readonly filter: FilterFigures | null;
  readonly scaling: ScalingFigures | null;
};

const overheadMsMost = 3;
const perSecondLeast = 1200;
const linearLeast = 0.95;
const slotsMost = 16;
const kilobyte = 1024;

/** The whole page. */
export function formatQueueReport(measured: Measured, about: Circumstances): string {
  const { door, filter, scaling } = measured;
  return [
    ...introduction(about),
    '## What was asked for',
    '',
    ...table(['figure', 'asked', 'measured (low … high)', 'met'], asked(measured)),
    ...(filter === null ? [] : [...formatFilter(filter), ...formatMemory(filter)]),
    ...(door === null ? [] : formatDoor(door)),
    ...(scaling === null ? [] : formatScaling(scaling)),
  ].join('\n');
}

function introduction({ command, date, minutes, machine, foreignShare, rounds }: Circumstances): string[] {
  return [
    '# Performance of scans over Redis',
    '',
    `Written by \`${command}\` on ${date}, in ${minutes.toFixed(0)} minutes; do not edit.`,
    '',
    ...machine.map((line) => `- ${line}`),
    `- Other processes used ${(100 * foreignShare).toFixed(0)} % of the machine's CPU time meanwhile${sharedText(foreignShare)}.`,
    '',
    'Scanners are fakes that answer at once (for the slots: after 100 ms), so that what is measured is the way to them. "Over Redis": the',
    'filter has no scanner, one worker asks both. "In process": the same without Redis. Everything, the load, the sink and the scanners',
    `included, shares the machine's processors. Both ways run in turn, ${rounds} rounds; figures are medians, with the lowest and the highest.`,
    '',
  ];
}

function asked({ door, filter, scaling }: Measured): string[] {
  const overhead = (name: string, figures: { readonly rates: DoorFigures['rates'] } | null) => {
    if (figures === null) return [];
    const added = differenceOf(figures.rates['over Redis'].p50, figures.rates['in process'].p50);
    const isMet = added.median <= overheadMsMost;
    return [line(`added p50, ${name}, ms`, `≤ ${overheadMsMost}`, spreadText(added, 2), isMet)];
  };
  return [
    ...overhead('the queue alone', door),
    ...overhead('whole filters', filter),
    ...(filter === null ? [] : [throughput(filter)]),
    ...(scaling === null ? [] : [linear(scaling)]),
    ...(filter === null ? [] : [bounded(filter)]),
  ];
}

function line(figure: string, wanted: string, found: string, isMet: boolean): string {
  return row([figure, wanted, found, isMet ? 'yes' : '**no**']);
}

function throughput({ rates }: FilterFigures): string {
  const found = spreadOf(rates['over Redis'].perSecond);
  const what = 'messages/s of 5 KB, filter + Redis + one worker';
  return line(what, `≥ ${perSecondLeast}`, spreadText(found, 0), found.median >= perSecondLeast);
}

function linear(scaling: ScalingFigures): string {
  const share = shareOf(scaling, slotsMost);
  return line(
    `of linear growth, 1 to ${slotsMost} slots`,
    `≥ ${linearLeast}`,
    spreadText(share, 3),
    share.median >= linearLeast,
  );
}

function shareOf(scaling: ScalingFigures, slots: number): Spread {
  const alone = scaling.get(1) ?? [];
  return ratioOf(
    scaling.get(slots) ?? [],
    alone.map((perSecond) => perSecond * slots),
  );
}

/** What Redis may hold of a message in flight, but for its octets (check-redis.ts). */
const besidesBytes = 16 * kilobyte;

function bounded({ memory, sessions }: FilterFigures): string {
  const [each, most] = [(memory.most - memory.before) / sessions / kilobyte, 5 + besidesBytes / kilobyte];
  const text = `${each.toFixed(1)} (${sessions} in flight)`;
  return line('Redis memory for each message in flight, KB', `≤ ${most}`, text, each <= most);
}

function formatFilter({ rates, costs, sessions }: FilterFigures): string[] {
  const names = Object.keys(costs['over Redis']);
  const cost = (value: number | undefined) => (value ?? 0).toFixed(2);
  const rows = names.map((name) =>
    row([name, cost(costs['over Redis'][name]), cost(costs['in process'][name])]),
  );
  const sum = (way: 'over Redis' | 'in process') =>
    names.reduce((all, name) => all + (isPart(name) ? 0 : (costs[way][name] ?? 0)), 0);
  const first = costs['over Redis']['its first thread'] ?? Number.NaN;
  return [
    '## Whole filters',
    '',
    `LMTP in, both scanners, ledger and history written, SMTP out; ${sessions} sessions for the rate, one for the latencies.`,
    '',
    ...rateTable(rates),
    'CPU milliseconds of one message:',
    '',
    ...table(
      ['process', 'over Redis', 'in process'],
      [...rows, row(['all together', cost(sum('over Redis')), cost(sum('in process'))])],
    ),
    `Over Redis the filter's first thread, which runs its JavaScript, is busy ${first.toFixed(2)} ms for each message: no more than ${Math.floor(1000 / first)} messages/s`,
    `go through one filter however many processors there are. All processes together ask for ${sum('over Redis').toFixed(2)} ms: ${Math.floor(2000 / sum('over Redis'))} messages/s keep two`,
    'processors busy. Another filter, or workers on another machine, take that off this one.',
    '',
  ];
}

/** Part of another figure. */
function isPart(name: string): boolean {
  return name.startsWith('its ');
}

function formatMemory({ memory, sessions }: FilterFigures): string[] {
  const [before, most, after] = [memory.before, memory.most, memory.after].map((octets) =>
    (octets / kilobyte ** 2).toFixed(2),
  );
  return [
    `Redis used ${before} MB before, ${most} MB at most with ${sessions} messages in flight, ${after} MB after the last one.`,
    '',
  ];
}

function formatDoor({ rates }: DoorFigures): string[] {
  return [
    '## The queue alone',
    '',
    'What the pipeline calls: into the spool, scanned, out of it; no SMTP, no databases. 100 messages at once for the rate.',
    '',
    ...rateTable(rates),
  ];
}

function rateTable(rates: DoorFigures['rates']): string[] {
  const of = (name: string, { perSecond, p50, p99 }: Rates) => {
    const text = (values: readonly number[], digits: number) => spreadText(spreadOf(values), digits);
    return row([name, text(perSecond, 0), text(p50, 2), text(p99, 2)]);
  };
  const added: Spread = differenceOf(rates['over Redis'].p50, rates['in process'].p50);
  return [
    ...table(
      ['', 'messages/s', 'p50 ms, one at a time', 'p99 ms'],
      [
        of('over Redis', rates['over Redis']),
        of('in process', rates['in process']),
        row(['added', '', spreadText(added, 2), '']),
      ],
    ),
  ];
}

function formatScaling(scaling: ScalingFigures): string[] {
  const rows = [...scaling].map(([slots, perSecond]) =>
    row([String(slots), spreadText(spreadOf(perSecond), 1), spreadText(shareOf(scaling, slots), 3)]),
  );
  return [
    '## Slots',
    '',
    'Scanners that take 100 ms; one worker with so many slots for each of them, four messages in flight for each slot, three rounds.',
    '',
    ...table(['slots', 'messages/s', 'of linear'], rows),
  ];
}
