/**
 * bayes-restore — a snapshot becomes the live Bayes database of this machine, whole or not at all.
 *
 * The order is the point: everything is checked before anything is loaded, loaded and counted before anything is switched, and
 * the switch is one instant of the store's. Whatever dies on the way, spamd scores with the complete old database or with the
 * complete new one, and the next run begins by sweeping. Callers hold the lock. Rejects with BayesFail.
 */
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { createGunzip } from 'node:zlib';
import { type DumpFigures, isSameContent, type Measured, measureDump, measuring } from './bayes-dump.ts';
import { dumpName, type Manifest } from './bayes-manifest.ts';
import type { SaLearn } from './bayes-sa-learn.ts';
import { readSnapshot, type Snapshot, verifySnapshot } from './bayes-snapshots.ts';
import { failed, messageOf, type OnStep, refused } from './bayes-step.ts';
import type { BayesStore, Mark, Scratch, Standing } from './bayes-store.ts';

export type RestoreOptions = {
  readonly saLearn: SaLearn;
  readonly store: BayesStore;
  /** Of the snapshot. */
  readonly folder: string;
  /** Of its dump, uncompressed. */
  readonly dumpBytesMax: number;
  /** Takes a snapshot that is older than one that was here, and the current one again. */
  readonly force: boolean;
  readonly step: OnStep;
  readonly now: () => number;
};

export type Restored =
  | {
      readonly kind: 'restored';
      readonly current: Mark;
      readonly previous: Mark | null;
      readonly warnings: readonly string[];
    }
  /** This very snapshot is the current one: nothing was done. */
  | { readonly kind: 'already'; readonly current: Mark };

export type RolledBack = {
  readonly kind: 'rolledBack';
  readonly current: Mark | null;
  readonly previous: Mark | null;
};

/** What can't be told from a snapshot of another kind: sa-learn reads these versions of its database. */
const knownDbVersions = [2, 3];
const sendAgain = 'have the snapshot sent again, or take another one: sluice bayes status';

/** Checks, loads, counts, switches. */
export async function restoreSnapshot(options: RestoreOptions): Promise<Restored> {
  const { store, step } = options;
  step('bundle');
  const snapshot = await readSnapshot(options.folder);
  await verifySnapshot(snapshot);
  refuseUnknown(snapshot.manifest, options.dumpBytesMax);
  step('order');
  const standing = await store.standing();
  const mark = markOf(snapshot.manifest, options.now());
  const current = standing.current?.mark ?? null;
  // What its mark says may not be so any more: who insists gets it loaded again.
  if (!options.force && current?.snapshotId === mark.snapshotId && isSameContent(current, mark))
    return { kind: 'already', current };
  if (!options.force) refuseOlder(mark, standing);
  step('prepare');
  await store.prepare();
  const warnings: string[] = [];
  try {
    const scratch = await loadAndCount(options, snapshot, warnings);
    step('mark');
    await store.mark(scratch, mark);
    await store.switchTo(scratch);
  } catch (cause) {
    // What was loaded so far is in nobody's way; the next run sweeps it, too.
    await store.clean().catch(() => undefined);
    throw cause;
  }
  step('clean');
  await store
    .clean()
    .catch((cause: unknown) => warnings.push(`Cannot remove what is old: ${messageOf(cause)}`));
  return { kind: 'restored', current: mark, previous: current, warnings };
}

/** The two generations change places; a second roll-back undoes the first. */
export async function rollBack({ store, step }: { store: BayesStore; step: OnStep }): Promise<RolledBack> {
  step('rollback');
  const { previous } = await store.standing();
  if (previous === null)
    throw refused(
      'rollback',
      'Cannot roll back: there is no previous generation',
      'restore a snapshot that is kept: sluice bayes status',
    );
  await store.switchBack();
  const standing = await store.standing();
  return {
    kind: 'rolledBack',
    current: standing.current?.mark ?? null,
    previous: standing.previous?.mark ?? null,
  };
}

function refuseUnknown(manifest: Manifest, dumpBytesMax: number): void {
  const name = `snapshot ${manifest.snapshotId}`;
  if (manifest.dumpBytes > dumpBytesMax)
    throw refused(
      'bundle',
      `Cannot take ${name}: its dump has ${manifest.dumpBytes} octets, ${dumpBytesMax} are allowed`,
      'raise bayes.sizeMax on this machine',
    );
  if (!knownDbVersions.includes(manifest.dbVersion))
    throw refused(
      'bundle',
      `Cannot take ${name}: its database is of version ${manifest.dbVersion}`,
      `bring this machine to SpamAssassin ${manifest.spamassassin}`,
    );
}

/** Snapshots go only forward, also past one that was rolled back. */
function refuseOlder({ snapshotId }: Mark, { current, previous }: Standing): void {
  const newest = Math.max(current?.mark?.snapshotId ?? 0, previous?.mark?.snapshotId ?? 0);
  if (snapshotId > newest) return;
  const message = `Cannot take snapshot ${snapshotId}: ${newest} was here already`;
  throw refused('order', message, 'export a new one; to go back: sluice bayes rollback, or --force');
}

async function loadAndCount(
  { store, saLearn, step }: RestoreOptions,
  snapshot: Snapshot,
  warnings: string[],
): Promise<Scratch> {
  step('load');
  let measured: Measured = { kind: 'broken', why: 'it did not end' };
  const dump = measuring(unpacked(snapshot), (end) => (measured = end));
  const scratch = await store.load(dump, snapshot.manifest);
  compare('the dump', measured, snapshot.manifest);
  step('count');
  const counted = await measureDump(saLearn.backup('count', scratch.lines));
  compare('the scratch database', counted, snapshot.manifest);
  // A message that is not remembered may be learned twice, which changes no score of today.
  if (counted.kind === 'whole' && counted.seen !== snapshot.manifest.seen)
    warnings.push(`${counted.seen} of ${snapshot.manifest.seen} messages seen are remembered here`);
  return scratch;
}

/** The dump, never more than the manifest says. */
async function* unpacked({ folder, manifest }: Snapshot): AsyncGenerator<Buffer> {
  let bytes = 0;
  const file = createReadStream(join(folder, dumpName));
  const plain = createGunzip();
  file.once('error', (cause) => plain.destroy(cause));
  try {
    for await (const chunk of file.pipe(plain) as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > manifest.dumpBytes)
        throw refused('load', 'Cannot take the dump: it is larger than its manifest says', sendAgain);
      yield chunk;
    }
  } finally {
    file.destroy();
    plain.destroy();
  }
}

function compare(what: string, found: Measured, wanted: DumpFigures): void {
  if (found.kind === 'broken') throw failed('count', `Cannot take ${what}: ${found.why}`, sendAgain);
  if (isSameContent(found, wanted)) return;
  const text = ({ nspam, nham, tokens }: DumpFigures) => `${nspam} spam, ${nham} ham, ${tokens} tokens`;
  const message = `Cannot take ${what}: ${text(found)} instead of ${text(wanted)}, or other tokens`;
  throw failed(
    'count',
    message,
    'see that nobody else writes there and its disk is not full, then run it again',
  );
}

function markOf({ snapshotId, takenAt, nspam, nham, tokens, digest }: Manifest, restoredAt: number): Mark {
  return { snapshotId, takenAt, nspam, nham, tokens, digest, restoredAt };
}
