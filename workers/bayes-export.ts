/**
 * bayes-export — a snapshot of the live Bayes database, kept on this machine, ready to be carried.
 *
 * Hides the way of the dump: out of sa-learn, measured, compressed and digested as it flows, into a draft that counts only
 * once it was found fit. Callers hold the lock. Rejects with BayesFail; the snapshots that were there stay.
 */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { judgeSnapshot } from '../rules/bayes-judge.ts';
import { type DumpFigures, type Measured, measuring } from './bayes-dump.ts';
import { type BundleFile, dumpName, formatManifest, type Manifest, parseManifest } from './bayes-manifest.ts';
import { type Magic, type SaLearn } from './bayes-sa-learn.ts';
import {
  commitDraft,
  type Draft,
  dropDraft,
  listSnapshots,
  nextSnapshotId,
  openDraft,
  pruneSnapshots,
  type Snapshot,
} from './bayes-snapshots.ts';
import { failed, type OnStep, refused } from './bayes-step.ts';

/** A file that travels with the dump: policies.yaml, the map of recipients. */
export type Companion = { readonly name: string; read(): AsyncIterable<Buffer> };

export type ExportOptions = {
  readonly saLearn: SaLearn;
  readonly store: Manifest['store'];
  readonly folder: string;
  /** How many snapshots stay. */
  readonly keep: number;
  /** Of this machine, for whoever reads the manifest. */
  readonly host: string;
  /** Passes over doubts; an empty or broken dump is refused all the same. */
  readonly force: boolean;
  readonly companions: readonly Companion[];
  /** The new snapshot's id goes beyond this one, too: another node has seen it. */
  readonly after: number;
  readonly step: OnStep;
  readonly now: () => number;
};

export type Exported = {
  readonly kind: 'exported';
  readonly snapshot: Snapshot;
  readonly warnings: readonly string[];
};

/** Takes a snapshot and keeps it. */
export async function exportSnapshot(options: ExportOptions): Promise<Exported> {
  const { saLearn, folder, keep, step } = options;
  step('sync');
  await saLearn.sync();
  // Only a server can break off under a query and have sa-learn end as if that were all.
  const magic = options.store === 'postgres' ? await saLearn.magic() : null;
  step('backup');
  await pruneSnapshots(folder, Number.POSITIVE_INFINITY);
  const draft = await openDraft(folder);
  try {
    const { file, figures } = await writeDump(draft, saLearn);
    step('judge');
    const { snapshots } = await listSnapshots(folder);
    const warnings = judge(figures, magic, snapshots[0] ?? null, options.force);
    step('keep');
    const files = [file];
    for (const companion of options.companions)
      files.push(await writeInto(draft, companion.name, companion.read()));
    const manifest = await manifestOf(
      options,
      nextSnapshotId(snapshots, options.now(), options.after),
      figures,
      files,
    );
    // What is kept can be read again: a companion's name is checked there.
    const read = parseManifest(formatManifest(manifest));
    if ('problem' in read)
      throw failed('keep', `Cannot keep the snapshot: ${read.problem}`, 'rename what travels with it');
    const snapshot = await commitDraft(folder, draft, manifest);
    await pruneSnapshots(folder, keep);
    return { kind: 'exported', snapshot, warnings };
  } catch (cause) {
    await dropDraft(draft);
    throw cause;
  }
}

async function writeDump(
  draft: Draft,
  saLearn: SaLearn,
): Promise<{ file: BundleFile; figures: DumpFigures }> {
  let measured: Measured = { kind: 'broken', why: 'it did not end' };
  const dump = measuring(saLearn.backup('backup'), (end) => (measured = end));
  // The header of gzip has room for a time; Node writes none: the same dump has the same digest.
  const file = await writeInto(draft, dumpName, gzipped(dump));
  const found = measured as Measured;
  if (found.kind === 'whole') return { file, figures: found };
  const remedy = 'see what sa-learn prints: sa-learn --backup | head';
  throw failed('backup', `Cannot take the dump of sa-learn: ${found.why}`, remedy);
}

async function* gzipped(bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const gzip = createGzip({ level: 6 });
  const fed = pipeline(bytes, gzip);
  fed.catch(() => undefined); // gzip is destroyed by it, so its reader has it, too
  yield* gzip as AsyncIterable<Buffer>;
  await fed;
}

async function writeInto(draft: Draft, name: string, bytes: AsyncIterable<Buffer>): Promise<BundleFile> {
  const path = join(draft.folder, name);
  const digest = createHash('sha256');
  const digesting = async function* (chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      digest.update(chunk);
      yield chunk;
    }
  };
  await pipeline(bytes, digesting, createWriteStream(path, { flags: 'wx', mode: 0o600 }));
  return { name, sizeBytes: (await stat(path)).size, sha256: digest.digest('hex') };
}

/** The warnings; rejects where the dump is not to be kept. */
function judge(
  figures: DumpFigures,
  magic: Magic | null,
  last: Snapshot | null,
  force: boolean,
): readonly string[] {
  const { impossible, doubts, warnings } = judgeSnapshot(
    figures,
    last?.manifest ?? null,
    magic?.tokens ?? null,
  );
  if (impossible !== null)
    throw refused(
      'judge',
      `Cannot keep the snapshot: ${impossible}`,
      'teach SpamAssassin first: sa-learn --spam, --ham; see that user and configuration are those of spamd',
    );
  if (doubts.length === 0) return warnings;
  if (!force)
    throw refused(
      'judge',
      `Cannot keep the snapshot: ${doubts.join('; ')}`,
      'find out why; if it is meant, run it with --force',
    );
  return [...doubts, ...warnings];
}

async function manifestOf(
  { saLearn, host, store, now }: ExportOptions,
  snapshotId: number,
  figures: DumpFigures,
  files: readonly BundleFile[],
): Promise<Manifest> {
  const { dbVersion, nspam, nham, tokens, seen, digest, dumpBytes } = figures;
  const counts = { dbVersion, nspam, nham, tokens, seen, digest, dumpBytes };
  const spamassassin = await saLearn.version();
  return { format: 1, snapshotId, takenAt: now(), host, store, spamassassin, ...counts, files: [...files] };
}
