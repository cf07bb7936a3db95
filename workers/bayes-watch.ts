/**
 * bayes-watch — looks at what became of the Bayes sync, whoever ran it, and tells: log, mail, and the figures for metrics.
 *
 * Hides what was told already. Every run is an event once; a trouble is one alarm in the log and one mail, its end another;
 * a mail that the return smtpd does not take is tried again at the next look. On a backup the age is that of the database
 * in place, as the store itself says. Never rejects.
 */
import {
  type AlarmTerms,
  isBusy,
  newsOf,
  type SeenNode,
  type Trouble,
  troublesOf,
} from '../rules/bayes-alarm.ts';
import type { BayesStatus, BayesTrouble } from './bayes.ts';
import { readRecords, type SyncRecord } from './bayes-record.ts';
import { createPost, type Recipient } from './bayes-letter.ts';
import { readTold, type Told, writeTold } from './bayes-told.ts';
import type { Log } from './log.ts';

export type WatchOptions = {
  /** `<state>/bayes` */
  readonly folder: string;
  readonly role: 'primary' | 'backup';
  /** Names of the nodes that there are; on a backup one, the primary's, for what no record names. */
  readonly nodes: readonly string[];
  /** On a backup: what is in place. */
  readonly status: (() => Promise<BayesStatus | BayesTrouble>) | null;
  readonly hours: number;
  readonly elsewhereAt: () => number | null;
  /** The planned time of a night that was begun and not ended. */
  readonly openNight: () => Promise<number | null>;
  /** Whom to write to, and how; null: nobody. */
  readonly mail: Recipient | null;
  readonly log: Log;
  readonly now?: () => number;
  /** How often the store is asked: sa-learn takes a second of CPU. */
  readonly statusEveryMs?: number;
};

/** As of the last look. */
export type BayesView = {
  readonly seen: readonly SeenNode[];
  readonly records: readonly SyncRecord[];
  readonly troubles: readonly Trouble[];
};

export type BayesWatch = {
  /** Looks now; one look at a time. */
  readonly look: () => Promise<void>;
  /** Looks at what a run of this process came to, whether it could be written down or not: a disk that is full is no silence. */
  readonly hear: (records: readonly SyncRecord[]) => Promise<void>;
  readonly view: () => BayesView;
};

const remedies = {
  primary: 'run "sluice bayes sync --now" here and do what it says; "sluice bayes status" shows both sides',
  backup: 'run "sluice bayes status" on the primary, and see that it reaches this node',
} as const;

/** Nothing is looked at before the first `look`. */
export function createBayesWatch(options: WatchOptions): BayesWatch {
  const { folder, role, nodes, hours, elsewhereAt, openNight, log, now = Date.now } = options;
  const standing = createStanding(options);
  const tellRuns = createRunTeller(log);
  const memory = createHearing(folder);
  const post = createPost(options);
  let view: BayesView = { seen: [], records: [], troubles: [] };
  let told: Told | null = null;
  let looking: Promise<void> | null = null;

  const look = async (): Promise<void> => {
    const records = await memory.records();
    tellRuns(records);
    const seen =
      role === 'primary' ? nodes.map((node) => seenBy(node, records)) : [await standing.seen(records)];
    told ??= await readTold(folder);
    const before = JSON.stringify(told);
    for (const { node } of seen) told.watched[node] ??= now();
    const open = await openNight();
    const terms = (node: string): AlarmTerms => ({
      now: now(),
      openNight: open,
      hours,
      elsewhereAt: elsewhereAt(),
      watchedSince: Math.min(told?.watched[node] ?? now(), now()),
      remedy: remedies[role],
      told: told?.told ?? [],
    });
    const troubles = seen.flatMap((one) => troublesOf([one], terms(one.node)));
    view = { seen, records, troubles };
    tellTroubles(told, troubles, { log, now: now(), isMailed: options.mail !== null });
    await post(told);
    if (JSON.stringify(told) !== before) await writeTold(folder, told);
  };
  const lookNow = (): Promise<void> => {
    looking ??= look()
      .catch((cause: unknown) => log.error({ err: cause, alarm: true }, 'Cannot look after the Bayes sync'))
      .finally(() => (looking = null));
    return looking;
  };
  return {
    view: () => view,
    look: lookNow,
    async hear(records) {
      await memory.hear(records);
      // One that is under way may have read the records before.
      await looking;
      await lookNow();
    },
  };
}

/** Records that were heard of stand for those on disk, until another one is written there. */
function createHearing(folder: string) {
  const heard = new Map<string, { readonly record: SyncRecord; readonly writtenAt: number | null }>();
  const atOf = (node: string, written: readonly SyncRecord[]) =>
    written.find((record) => record.node === node)?.at ?? null;
  return {
    async hear(records: readonly SyncRecord[]): Promise<void> {
      const written = await readRecords(folder).catch(() => []); // the next look says why
      // A run that found another one has no record of its own to write.
      for (const record of records)
        if (!isBusy(record)) heard.set(record.node, { record, writtenAt: atOf(record.node, written) });
    },
    async records(): Promise<SyncRecord[]> {
      const written = await readRecords(folder);
      for (const [node, { writtenAt }] of heard) if (atOf(node, written) !== writtenAt) heard.delete(node);
      const others = written.filter(({ node }) => !heard.has(node));
      return [...others, ...[...heard.values()].map(({ record }) => record)];
    },
  };
}

function seenBy(node: string, records: readonly SyncRecord[]): SeenNode {
  const record = records.find((one) => one.node === node) ?? null;
  return { node, last: record, takenAt: record?.lastGood?.takenAt ?? null };
}

/** On a backup: the store knows which snapshot is in place; what it said last counts where it can't be asked now. */
function createStanding({ status, nodes, log, now = Date.now, statusEveryMs = 300_000 }: WatchOptions) {
  let askedAt = Number.NEGATIVE_INFINITY;
  let takenAt: number | null = null;
  let problem: string | null = null;
  const ask = async (): Promise<void> => {
    const found = await status?.();
    if (found === undefined) return;
    if (found.kind === 'status') takenAt = found.standing.current?.mark?.takenAt ?? null;
    const said = found.kind === 'status' ? null : found.message;
    if (said !== null && said !== problem && found.kind !== 'status') {
      const { step, message: detail, remedy } = found;
      log.warn({ step, detail, remedy }, 'Cannot ask which Bayes database is in place');
    }
    problem = said;
  };
  return {
    async seen(records: readonly SyncRecord[]): Promise<SeenNode> {
      const [last = null] = records.toSorted((a, b) => b.at - a.at);
      // A run that ended since may have brought another one.
      if (now() - askedAt >= statusEveryMs || (last !== null && last.at > askedAt)) {
        askedAt = now();
        await ask();
      }
      const node = last?.node ?? nodes[0] ?? 'primary';
      return {
        node,
        last,
        takenAt: takenAt ?? (problem === null ? null : (last?.lastGood?.takenAt ?? null)),
      };
    },
  };
}

/** Tells each run once: by the record that it left, so that it does not matter who ran it. */
function createRunTeller(log: Log): (records: readonly SyncRecord[]) => void {
  const known = new Map<string, number>();
  let isFirst = true;
  return (records) => {
    for (const record of records) {
      // What is older than this process was told by another one.
      if (!isFirst && known.get(record.node) !== record.at) tellRun(record, log);
      known.set(record.node, record.at);
    }
    isFirst = false;
  };
}

function tellRun(record: SyncRecord, log: Log): void {
  const { node, outcome, seconds, step, message, remedy, warnings, lastGood, parity } = record;
  if (isBusy(record)) return log.info({ node, step }, 'Bayes sync found another run under way');
  if (outcome === 'failed' || outcome === 'refused') {
    const about = { node, outcome, seconds, step, detail: message, remedy, alarm: true };
    return log.error(about, 'Bayes sync failed');
  }
  const { snapshotId = null, here = null, there = null } = lastGood ?? {};
  const about = { node, outcome, seconds, snapshotId, here, there, parity, warnings };
  log.info(about, 'Bayes sync done');
  const flips = parity?.flips ?? 0;
  if (flips > 0) log.error({ node, parity, alarm: true }, 'Verdicts differ between primary and backup');
  else if ((parity?.probabilityDiffers ?? 0) + (parity?.scoreDiffers ?? 0) > 0)
    log.warn({ node, parity }, 'Scores differ between primary and backup');
}

function tellTroubles(
  told: Told,
  troubles: readonly Trouble[],
  { log, now, isMailed }: { log: Log; now: number; isMailed: boolean },
): void {
  const { begun, over } = newsOf(told.told, troubles);
  for (const { node, kind, message: detail, remedy } of begun)
    log.error({ node, trouble: kind, detail, remedy, alarm: true }, 'Bayes alarm');
  for (const { node, kind, since } of over) {
    const lasted = Math.round((now - since) / 1000);
    log.info({ node, trouble: kind, seconds: lasted }, 'Bayes alarm is over');
  }
  told.told = [
    ...told.told.filter((one) => !over.includes(one)),
    ...begun.map((trouble) => ({ ...trouble, since: now, mailed: false })),
  ];
  told.over.push(...over.filter(({ mailed }) => mailed && isMailed));
}
