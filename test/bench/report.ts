/**
 * report — the figures as Markdown: targets first, then ratios, then everything per case.
 *
 * Pure: takes what was measured, gives text. A ratio is the median over the rounds of ours to theirs in the same round.
 */
import { type Case, type Target, targets } from './cases.ts';
import { type ContestantName, titles } from './contestants.ts';
import { differenceOf, percentile, ratioOf, type Spread, spreadOf } from './figures.ts';
import type { Run } from './run.ts';

/** A case with the runs of each of its contestants, round by round. */
export type Measured = { readonly case: Case; readonly runs: ReadonlyMap<ContestantName, readonly Run[]> };

/** When, where and how it was measured; `foreignShare`: part of the machine's time that went to others' processes. */
export type Circumstances = {
  readonly date: string;
  readonly machine: readonly string[];
  readonly command: string;
  readonly rounds: number;
  readonly minutes: number;
  readonly foreignShare: number;
};

const megabyte = 1024 * 1024;

/** One target as a line: what it asks, what came out. Null where its case was not measured. */
export function judge(
  target: Target,
  measured: readonly Measured[],
): { text: string; met: boolean; bound: string | null } | null {
  const found = measured.find((one) => one.case.name === target.case);
  const figure = found === undefined ? null : figureOf(target, found);
  if (found === undefined || figure === null) return null;
  const met = figure.median >= (target.atLeast ?? -Infinity) && figure.median <= (target.atMost ?? Infinity);
  const limit = target.atLeast === undefined ? `≤ ${target.atMost}` : `≥ ${target.atLeast}`;
  const asked = `${valueNames[target.value]}${target.peer === null ? '' : ` against ${titles[target.peer]}`}`;
  const digits = target.by === 'ratio' ? 2 : 1;
  const text = row([found.case.title, asked, limit, spreadText(figure, digits), met ? 'yes' : '**no**']);
  return { text, met, bound: met ? null : (target.bound ?? null) };
}

const valueNames = {
  perSecond: 'throughput',
  p50: 'added p50, ms',
  p99: 'p99, ms',
  stallP99: 'event loop stall p99, ms',
  peakMegabytes: 'peak memory, MB',
} as const satisfies Record<Target['value'], string>;

function figureOf({ value, by, peer }: Target, { case: { contestants }, runs }: Measured): Spread | null {
  const pick = (name: ContestantName) => (runs.get(name) ?? []).map((run) => valueOf(run, value));
  const ours = pick(contestants[0]);
  if (by === 'alone' || peer === null) {
    // One tail over all rounds: a round alone has too few messages for a 99th percentile.
    if (value !== 'p99') return spreadOf(ours);
    const all = (runs.get(contestants[0]) ?? []).flatMap(({ latenciesMs }) => latenciesMs);
    return { ...spreadOf(ours), median: percentile(all, 99) };
  }
  const theirs = pick(peer);
  if (theirs.length === 0) return null;
  return by === 'ratio' ? ratioOf(ours, theirs) : differenceOf(ours, theirs);
}

function valueOf(run: Run, value: Target['value']): number {
  if (value === 'stallP99') return run.loop?.p99 ?? Number.NaN;
  if (value === 'peakMegabytes') return (run.peakResident ?? Number.NaN) / megabyte;
  return run[value];
}

/** The whole page. */
export function formatReport(measured: readonly Measured[], about: Circumstances): string {
  const judged = targets.flatMap((target) => judge(target, measured) ?? []);
  return [
    ...introduction(about),
    '## What was asked for',
    '',
    ...table(
      ['case', 'figure', 'asked', 'measured (low … high)', 'met'],
      judged.map(({ text }) => text),
    ),
    ...boundsText(judged.flatMap(({ bound }) => bound ?? [])),
    '## Ratios: Sluice to each peer',
    '',
    'Throughput above 1 means that Sluice takes more messages a second; latency below 1, that it is sooner done.',
    '',
    ...table(
      ['case', 'peer', 'throughput', 'p50', 'p95', 'p99', 'CPU of the filter'],
      measured.flatMap(ratioRows),
    ),
    '## Figures',
    '',
    ...measured.flatMap(formatCase),
  ].join('\n');
}

function boundsText(bounds: readonly string[]): string[] {
  if (bounds.length === 0) return [];
  return [
    'What bounds the figures that are not met:',
    ...[...new Set(bounds)].map((text) => `- ${text}`),
    '',
  ];
}

function introduction(about: Circumstances): string[] {
  const { rounds, minutes, foreignShare } = about;
  return [
    '# Performance',
    '',
    `Written by \`${about.command}\` on ${about.date}, in ${minutes.toFixed(0)} minutes; do not edit.`,
    '',
    ...about.machine.map((line) => `- ${line}`),
    `- Other processes used ${(100 * foreignShare).toFixed(0)} % of the machine's CPU time meanwhile${sharedText(foreignShare)}.`,
    '',
    `Same machine, same clamd (one signature), same spamd and SpamAssassin rules (two children, local tests only), same`,
    `messages in kind, same sink (Postfix's smtp-sink). Every message is unlike every other, made of real ones padded to`,
    `size. Runs are interleaved, contestant after contestant, ${rounds} rounds (twice as many with spamd); figures are medians over the rounds, with`,
    'the lowest and the highest; ratios are taken within a round. Each delivery is what Postfix makes of one: XFORWARD with',
    'a queue id where the filter offers it, so that Sluice writes its ledger and history to disk for every message. Where',
    'only viruses are looked for, sessions keep their connection, as Postfix does under load (and as suits clamsmtpd best);',
    'elsewhere each message has a new one. All filters deliver everything. Load and sink run on the same processors.',
    'amavisd-new and Sluice are fed by LMTP, clamsmtpd by SMTP, which is what it has. Each Sluice has filtered 3,300 messages',
    'before the first that counts (a stand-in answers for spamd meanwhile): V8 compiles what runs often, and a filter that has',
    'run for a day has that behind it. Figures of their own have scans over Redis ([performance-queue.md](performance-queue.md)), and',
    'lists and searches ([performance-search.md](performance-search.md)).',
    '',
  ];
}

/** What to think of figures that were measured beside other work. */
export function sharedText(foreignShare: number): string {
  return foreignShare > 0.05 ? ' (shared: the absolute figures are too low, the ratios noisier)' : '';
}

function ratioRows({ case: { title, contestants }, runs }: Measured): string[] {
  const [us, ...peers] = contestants;
  const ours = runs.get(us) ?? [];
  return peers.flatMap((peer) => {
    const theirs = runs.get(peer) ?? [];
    if (theirs.length === 0) return [];
    const of = (pick: (run: Run) => number, digits = 2) =>
      spreadText(ratioOf(ours.map(pick), theirs.map(pick)), digits);
    const cpu = of((run) => run.filterCpuMs ?? Number.NaN);
    return [
      row([
        title,
        titles[peer],
        of(({ perSecond }) => perSecond),
        of(({ p50 }) => p50),
        of(({ p95 }) => p95),
        of(({ p99 }) => p99),
        cpu,
      ]),
    ];
  });
}

/** One case as a heading and a table. */
export function formatCase({ case: { name, title, load }, runs }: Measured): string[] {
  const heads = ['', 'messages/s', 'p50 ms', 'p95 ms', 'p99 ms', 'CPU ms, filter', 'CPU ms, scanners'];
  const rows = [...runs].map(([contestant, all]) => {
    const of = (pick: (run: Run) => number | null, digits: number) =>
      spreadText(spreadOf(all.map((run) => pick(run) ?? Number.NaN)), digits);
    const perSecond = of((run) => run.perSecond, 1);
    const latencies = [of(({ p50 }) => p50, 1), of(({ p95 }) => p95, 1), of(({ p99 }) => p99, 1)];
    const cpu = [of((run) => run.filterCpuMs, 2), of((run) => run.scannersCpuMs, 2)];
    return row([titles[contestant], perSecond, ...latencies, ...cpu, memoryText(all), stallText(all)]);
  });
  return [
    `### ${title}`,
    '',
    `\`${name}\`: ${load.messages} messages a round.`,
    '',
    ...table([...heads, 'resident MB (peak)', 'loop stall p99 ms'], rows),
  ];
}

function memoryText(runs: readonly Run[]): string {
  const last = runs.at(-1);
  if (last === undefined || last.resident.length === 0) return '–';
  const each = last.resident.map((octets) => (octets / megabyte).toFixed(0)).join(' + ');
  const peak = Math.max(...runs.map(({ peakResident }) => peakResident ?? 0)) / megabyte;
  return `${each} (${peak.toFixed(0)})`;
}

function stallText(runs: readonly Run[]): string {
  return spreadText(spreadOf(runs.map(({ loop }) => loop?.p99 ?? Number.NaN)), 1);
}

/** A median, with the extremes where they differ from it. */
export function spreadText({ median, low, high }: Spread, digits: number): string {
  if (Number.isNaN(median)) return '–';
  const [middle, least, most] = [median, low, high].map((value) => value.toFixed(digits));
  return least === most ? `${middle}` : `${middle} (${least} … ${most})`;
}

/** Lines of a table, and an empty one. */
export function table(heads: readonly string[], rows: readonly string[]): string[] {
  return [row(heads), row(heads.map(() => '---')), ...rows, ''];
}

/** One line of a table. */
export function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}
