/**
 * cases — what is measured: who against whom, under which load, and what the issue asks of it.
 *
 * Pure data. `messages` of a full run are chosen so that a run takes about five seconds on two cores; `short` ones
 * take one or two and prove only that everything works.
 */
import type { ContestantName } from './contestants.ts';
import type { Load } from './run.ts';

/** A comparison of contestants under one load. The first is ours; the others, in turn, are what it is compared with. */
export type Case = {
  readonly name: string;
  readonly title: string;
  readonly contestants: readonly [ContestantName, ...ContestantName[]];
  readonly load: Load;
  readonly shortMessages: number;
  /** So many times the usual rounds: where spamd's own times differ more from run to run than what is looked for. */
  readonly roundsTimes?: number;
};

/** What must hold, of a case: `value` of ours, or of ours against `peer`, at least or at most. */
export type Target = {
  readonly case: string;
  readonly peer: ContestantName | null;
  readonly value: 'perSecond' | 'p50' | 'p99' | 'stallP99' | 'peakMegabytes';
  /** `ratio` to the peer, `difference` to it, or ours `alone`. */
  readonly by: 'ratio' | 'difference' | 'alone';
  readonly atLeast?: number;
  readonly atMost?: number;
  /** Why it may not be met, for the report: what bounds it. */
  readonly bound?: string;
};

const small = 5 * 1024;
const large = 275 * 1024;
const huge = 25 * 1024 * 1024;

/** Every case of a full run, in order. */
export const cases: readonly Case[] = [
  {
    name: 'both-5k',
    title: 'Virus and spam, 5 KB, 4 sessions',
    contestants: ['sluice', 'amavis', 'spamd', 'scanners'],
    load: { sizeBytes: small, sessions: 4, messages: 60 },
    shortMessages: 24,
    roundsTimes: 2,
  },
  {
    name: 'both-275k',
    title: 'Virus and spam, 275 KB, 4 sessions',
    contestants: ['sluice', 'amavis', 'spamd', 'scanners'],
    load: { sizeBytes: large, sessions: 4, messages: 40 },
    shortMessages: 16,
    roundsTimes: 2,
  },
  {
    name: 'added-5k',
    title: 'Added latency, virus and spam, 5 KB, one session',
    contestants: ['sluice', 'scanners', 'amavis'],
    load: { sizeBytes: small, sessions: 1, messages: 30 },
    shortMessages: 10,
    roundsTimes: 2,
  },
  {
    name: 'added-275k',
    title: 'Added latency, virus and spam, 275 KB, one session',
    contestants: ['sluice', 'scanners'],
    load: { sizeBytes: large, sessions: 1, messages: 24 },
    shortMessages: 8,
    roundsTimes: 2,
  },
  {
    name: 'added-virus-5k',
    title: 'Added latency, virus only, 5 KB, one session',
    contestants: ['sluice-virus', 'clamd', 'clamsmtp'],
    load: { sizeBytes: small, sessions: 1, messages: 60 },
    shortMessages: 30,
  },
  ...[4, 16, 50].map((sessions) => virusCase(sessions, small, '5k', sessions * 40)),
  ...[4, 16, 50].map((sessions) => virusCase(sessions, large, '275k', sessions * 8)),
  {
    name: 'connect-5k-4',
    title: 'Virus only, 5 KB, 4 sessions, a new connection for each message',
    contestants: ['sluice-virus', 'clamsmtp'],
    load: { sizeBytes: small, sessions: 4, messages: 240 },
    shortMessages: 40,
  },
  {
    name: 'source-5k-16',
    title: 'Virus only, 5 KB, 16 sessions, sent by smtp-source -d (HELO, no queue id: no ledger)',
    contestants: ['sluice-virus', 'clamsmtp'],
    load: { sizeBytes: small, sessions: 16, messages: 960, source: true, reuse: true },
    shortMessages: 160,
  },
  {
    name: 'fsync-virus',
    title: 'fsync slowed by 20 ms, virus only, 5 KB, 16 sessions',
    contestants: ['sluice-virus-slow-fsync', 'sluice-virus', 'clamsmtp'],
    load: { sizeBytes: small, sessions: 16, messages: 480, reuse: true },
    shortMessages: 160,
  },
  {
    name: 'fsync-both',
    title: 'fsync slowed by 20 ms, virus and spam, 5 KB, 4 sessions',
    contestants: ['sluice-slow-fsync', 'sluice', 'amavis'],
    load: { sizeBytes: small, sessions: 4, messages: 40 },
    shortMessages: 16,
  },
  {
    name: 'bursts',
    title: 'Bursts of 10, virus and spam, 275 KB (12,000 a day come as one burst every 72 s)',
    contestants: ['sluice'],
    load: { sizeBytes: large, sessions: 10, messages: 40, burstPauseMs: 500 },
    shortMessages: 20,
  },
  {
    name: 'memory',
    title: '20 messages of 25 MB in flight, virus and spam',
    contestants: ['sluice-disk-spool'],
    load: { sizeBytes: huge, sessions: 20, messages: 20 },
    shortMessages: 20,
  },
];

function virusCase(sessions: number, sizeBytes: number, size: string, messages: number): Case {
  return {
    name: `virus-${size}-${sessions}`,
    title: `Virus only, ${size.toUpperCase().replace('K', ' KB')}, ${sessions} sessions`,
    contestants: ['sluice-virus', 'clamsmtp', 'clamd'],
    load: { sizeBytes, sessions, messages, reuse: true },
    shortMessages: sessions * 10,
  };
}

const spamdBound =
  'Bare spamd takes some 100 ms of CPU a message and asks no clamd; the filter, clamd (11 ms for 275 KB) and the sink share its two processors. ' +
  'Beside both bare scanners: see the ratios.';
const clamdBound =
  'clamsmtpd waits 40 ms for each message and computes little, so that many sessions hide its wait. Bare clamd, asked by the same load without any filter, ' +
  'is the most that any filter could reach here: see its figures and the ratios.';

/** What issue 3 asks for. */
export const targets: readonly Target[] = [
  ...['both-5k', 'both-275k'].flatMap((name): Target[] => [
    { case: name, peer: 'spamd', value: 'perSecond', by: 'ratio', atLeast: 0.97, bound: spamdBound },
    { case: name, peer: 'amavis', value: 'perSecond', by: 'ratio', atLeast: 1.05 },
    { case: name, peer: null, value: 'stallP99', by: 'alone', atMost: 50 },
  ]),
  { case: 'virus-5k-16', peer: 'clamsmtp', value: 'perSecond', by: 'ratio', atLeast: 3, bound: clamdBound },
  { case: 'source-5k-16', peer: 'clamsmtp', value: 'perSecond', by: 'ratio', atLeast: 3 },
  { case: 'virus-5k-50', peer: 'clamsmtp', value: 'perSecond', by: 'ratio', atLeast: 2, bound: clamdBound },
  { case: 'virus-5k-50', peer: null, value: 'stallP99', by: 'alone', atMost: 50 },
  { case: 'virus-275k-50', peer: null, value: 'stallP99', by: 'alone', atMost: 50 },
  {
    case: 'added-5k',
    peer: 'scanners',
    value: 'p50',
    by: 'difference',
    atMost: 3,
    bound:
      "spamd's own answers differ by more than 10 ms from round to round; against clamd alone the addition can be measured.",
  },
  { case: 'added-275k', peer: 'scanners', value: 'p50', by: 'difference', atMost: 3 },
  { case: 'added-virus-5k', peer: 'clamd', value: 'p50', by: 'difference', atMost: 3 },
  { case: 'bursts', peer: null, value: 'p99', by: 'alone', atMost: 2000 },
  { case: 'memory', peer: null, value: 'peakMegabytes', by: 'alone', atMost: 200 },
  { case: 'memory', peer: null, value: 'stallP99', by: 'alone', atMost: 50 },
];
