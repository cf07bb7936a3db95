/**
 * bayes — the door to everything that is done with SpamAssassin's Bayes database on this machine: export, receive, restore,
 * roll back, status.
 *
 * Hides lock, folders, store and sa-learn. One run at a time; the lock is an argument. Nothing here throws: a run that does
 * not succeed is a value that names the step, what went wrong and the remedy. It has switched nothing, but for one that failed
 * at `install`: there the database is the new one already, and the files that came along are not.
 */
import { hostname } from 'node:os';
import { join } from 'node:path';
import { unpackBundle } from './bayes-bundle.ts';
import type { Stage, Staged } from './bayes-companions.ts';
import type { BayesView } from './bayes-counts.ts';
import { type Companion, type Exported, exportSnapshot } from './bayes-export.ts';
import type { BayesLock } from './bayes-lock.ts';
import { type Restored, restoreSnapshot, rollBack, type RolledBack } from './bayes-restore.ts';
import { createSaLearn, type Magic, type SaLearn } from './bayes-sa-learn.ts';
import { listSnapshots, pruneSnapshots, type Snapshot } from './bayes-snapshots.ts';
import { BayesFail, type BayesTrouble, messageOf, type OnStep, outcomeOf, refused } from './bayes-step.ts';
import { type BayesStore, openBayesStore, type Standing } from './bayes-store.ts';

export type { Companion, Exported } from './bayes-export.ts';
export type { Restored, RolledBack } from './bayes-restore.ts';
export type { BayesStep, BayesTrouble, OnStep } from './bayes-step.ts';

export type BayesOptions = {
  /** Whose database, by which configuration: spamd's. */
  readonly view: BayesView;
  /** Why nobody knows whose it is: every run ends with this. */
  readonly unknown?: BayesTrouble | null;
  /** `exported/` and `received/` are made in it. */
  readonly folder: string;
  /** How many snapshots of each stay. */
  readonly keep: number;
  /** Octets: of all files of a bundle together, and of a dump uncompressed. */
  readonly sizeBytesMax: number;
  /** The index of Redis beside the live one; null where there is none. */
  readonly redisScratch: number | null;
  /** For all runs with this folder. */
  readonly lock: BayesLock;
  readonly onStep?: OnStep;
  /** Ends what runs. */
  readonly signal?: AbortSignal;
  readonly now?: () => number;
};

/** A restore, and what was done with the files that came along. */
export type Received = Restored & {
  /** As sa-learn counts the live database after it. */
  readonly counts: Magic | null;
  readonly companions: { readonly installed: readonly string[]; readonly warnings: readonly string[] };
};

export type BayesStatus = {
  readonly kind: 'status';
  /** As in `SpamAssassin version 4.0.1`. */
  readonly spamassassin: string;
  readonly store: BayesStore['kind'];
  readonly place: string;
  /** As sa-learn counts the live database; null: there is none. */
  readonly counts: Magic | null;
  readonly standing: Standing;
  /** Newest first. */
  readonly exported: readonly Snapshot[];
  readonly received: readonly Snapshot[];
  /** Snapshots on disk that can't be read, in words. */
  readonly broken: readonly string[];
};

export type Bayes = {
  /** `after`: an id that was seen elsewhere and that the new one must go beyond. */
  export(options?: {
    force?: boolean;
    companions?: readonly Companion[];
    after?: number;
  }): Promise<Exported | BayesTrouble>;
  /** Reads a bundle (bayes-bundle), keeps it, restores it; `stage` for the files that come along. */
  receive(
    input: AsyncIterable<Buffer>,
    options?: { force?: boolean; stage?: Stage },
  ): Promise<Received | BayesTrouble>;
  /** Restores a snapshot that lies in a folder. */
  restore(folder: string, options?: { force?: boolean }): Promise<Restored | BayesTrouble>;
  rollback(): Promise<RolledBack | BayesTrouble>;
  /** Takes no lock and changes nothing. */
  status(): Promise<BayesStatus | BayesTrouble>;
  /** The newest snapshot that was exported here; null: none. */
  newestExport(): Promise<Snapshot | null>;
};

type Run = { readonly saLearn: SaLearn; readonly store: BayesStore; readonly step: OnStep };

/** The Bayes database of this machine. */
export function createBayes(options: BayesOptions): Bayes {
  const { folder, keep, sizeBytesMax, now = Date.now } = options;
  const [exported, received] = [join(folder, 'exported'), join(folder, 'received')];
  const restoring = ({ saLearn, store, step }: Run, from: string, force: boolean) =>
    restoreSnapshot({ saLearn, store, step, now, force, folder: from, dumpBytesMax: sizeBytesMax });
  /** What old snapshots do is no trouble of the run that brought a new one. */
  const tidied = ({ store }: Run): Promise<string[]> =>
    inUse(store)
      .then((wanted) => pruneSnapshots(received, keep, wanted))
      .then(
        () => [],
        (cause: unknown) => [`Cannot remove old snapshots: ${messageOf(cause)}`],
      );
  return {
    export: ({ force = false, companions = [], after = 0 } = {}) =>
      runAlone(options, ({ saLearn, store, step }) => {
        const what = { saLearn, store: store.kind, folder: exported, keep, force, companions, after };
        return exportSnapshot({ ...what, host: hostname(), step, now });
      }),
    receive: (input, { force = false, stage = leave } = {}) =>
      runAlone(options, async (run) => {
        run.step('receive');
        await pruneSnapshots(received, Number.POSITIVE_INFINITY);
        const snapshot = await unpackBundle(input, received, sizeBytesMax);
        try {
          run.step('companions');
          const staged = await stage(snapshot);
          const restored = await orDrop(staged, () => restoring(run, snapshot.folder, force));
          run.step('install');
          const installed = await staged.install();
          const counts = await run.saLearn.magic();
          const warnings = [...staged.warnings, ...(await tidied(run))];
          return { ...restored, counts, companions: { installed, warnings } };
        } catch (cause) {
          await tidied(run);
          throw cause;
        }
      }),
    restore: (from, { force = false } = {}) => runAlone(options, (run) => restoring(run, from, force)),
    rollback: () => runAlone(options, rollBack),
    status: () =>
      outcomeOf(options.onStep ?? silent, (step) =>
        withStore(options, step, async ({ saLearn, store }) => {
          const [here, there] = [await listSnapshots(exported), await listSnapshots(received)];
          const [spamassassin, counts] = await Promise.all([saLearn.version(), saLearn.magic()]);
          return {
            kind: 'status' as const,
            spamassassin,
            store: store.kind,
            place: store.place,
            counts,
            standing: await store.standing(),
            exported: here.snapshots,
            received: there.snapshots,
            broken: [...here.broken, ...there.broken],
          };
        }),
      ),
    newestExport: async () => (await listSnapshots(exported)).snapshots[0] ?? null,
  };
}

/** One run at a time: under the lock, with a store that is closed behind it. */
function runAlone<T>(options: BayesOptions, work: (run: Run) => Promise<T>): Promise<T | BayesTrouble> {
  return outcomeOf(options.onStep ?? silent, async (step) => {
    step('lock');
    const release = await options.lock();
    if (release === null) {
      const message = 'Cannot begin: another Bayes run is under way on this machine';
      throw refused('lock', message, 'wait for its end, then run it again');
    }
    try {
      return await withStore(options, step, work);
    } finally {
      await release();
    }
  });
}

async function withStore<T>(
  { view, unknown = null, redisScratch, signal = new AbortController().signal }: BayesOptions,
  step: OnStep,
  work: (run: Run) => Promise<T>,
): Promise<T> {
  step('settings');
  if (unknown !== null) throw new BayesFail(unknown);
  const saLearn = createSaLearn(view, signal);
  const store = await openBayesStore({ view, saLearn, step, signal, redisScratch });
  try {
    return await work({ saLearn, store, step });
  } finally {
    await store.close();
  }
}

async function orDrop<T>(staged: Staged, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    await staged.drop();
    throw cause;
  }
}

/** Files that come along stay in the folder of the snapshot. */
async function leave(): Promise<Staged> {
  return { install: async () => [], drop: async () => undefined, warnings: [] };
}

/** Snapshots that a generation came from. */
async function inUse(store: BayesStore): Promise<number[]> {
  const { current, previous } = await store.standing();
  return [current, previous].flatMap((generation) => generation?.mark?.snapshotId ?? []);
}

function silent(): void {
  // Nobody wants to know.
}
