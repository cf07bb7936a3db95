/**
 * bayes-snapshots — the snapshots that are kept on this machine: one folder each, named by its id, complete or not there.
 *
 * Hides how a snapshot becomes durable: its files are written into a folder with another name and fsynced; one rename makes
 * it count. What a killed run left is swept by the next one. Callers hold the lock. Rejects with what the disk says, or
 * with BayesFail where a snapshot does not say of itself what it should.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatManifest, type Manifest, manifestName, parseManifest } from './bayes-manifest.ts';
import { messageOf, refused } from './bayes-step.ts';
import { removeTree } from './remove-tree.ts';

export type Snapshot = {
  /** Absolute path, with manifest.json and the files that it names. */
  readonly folder: string;
  readonly manifest: Manifest;
};

export type Draft = { readonly folder: string };

const draftPrefix = '.draft-';

/** The snapshots in `folder`, newest first; those whose manifest can't be read are named in `broken`. */
export async function listSnapshots(
  folder: string,
): Promise<{ snapshots: readonly Snapshot[]; broken: readonly string[] }> {
  const snapshots: Snapshot[] = [];
  const broken: string[] = [];
  for (const name of await namesIn(folder)) {
    if (!/^\d+$/.test(name)) continue;
    const read = await readSnapshot(join(folder, name)).catch(messageOf);
    if (typeof read === 'string') broken.push(read);
    else snapshots.push(read);
  }
  return { snapshots: snapshots.toSorted((a, b) => b.manifest.snapshotId - a.manifest.snapshotId), broken };
}

/** The snapshot in a folder, its files not looked at yet; see `verifySnapshot`. */
export async function readSnapshot(folder: string): Promise<Snapshot> {
  const file = join(folder, manifestName);
  const remedy = 'have the snapshot sent again, or take another one: sluice bayes status';
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw refused('bundle', `Cannot read the snapshot ${folder}: ${messageOf(cause)}`, remedy);
  });
  const manifest = parseManifest(text);
  if ('problem' in manifest) throw refused('bundle', `Cannot take ${file}: ${manifest.problem}`, remedy);
  return { folder, manifest };
}

/** Whether every file has the size and SHA-256 that the manifest gives; rejects with BayesFail where not. */
export async function verifySnapshot({ folder, manifest }: Snapshot): Promise<void> {
  for (const { name, sizeBytes, sha256 } of manifest.files) {
    const found = await digestOf(join(folder, name)).catch((cause: unknown) => ({
      problem: messageOf(cause),
    }));
    const isSame = !('problem' in found) && found.sizeBytes === sizeBytes && found.sha256 === sha256;
    if (isSame) continue;
    const what = 'problem' in found ? found.problem : `${found.sizeBytes} of ${sizeBytes} octets, or others`;
    const remedy = 'have the snapshot sent again, or take another one: sluice bayes status';
    throw refused('bundle', `Cannot take ${join(folder, name)}: ${what}`, remedy);
  }
}

/** One more than every id so far, or the time where that is later: ids grow when a clock goes back or a disk is new. */
export function nextSnapshotId(snapshots: readonly Snapshot[], now: number, after = 0): number {
  return Math.max(now, after + 1, ...snapshots.map(({ manifest }) => manifest.snapshotId + 1));
}

/** A folder to write files into, for `commitDraft` or `dropDraft`. */
export async function openDraft(folder: string): Promise<Draft> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const draft = { folder: join(folder, `${draftPrefix}${randomBytes(6).toString('hex')}`) };
  await mkdir(draft.folder, { mode: 0o700 });
  return draft;
}

/** Makes a draft count: manifest written, all fsynced, renamed. */
export async function commitDraft(folder: string, draft: Draft, manifest: Manifest): Promise<Snapshot> {
  await writeFile(join(draft.folder, manifestName), formatManifest(manifest), { mode: 0o600, flag: 'wx' });
  for (const name of [...manifest.files.map((file) => file.name), manifestName])
    await sync(join(draft.folder, name));
  await sync(draft.folder);
  const final = join(folder, String(manifest.snapshotId));
  await setAside(folder, final);
  await rename(draft.folder, final);
  await sync(folder);
  return { folder: final, manifest };
}

/** The same snapshot that came before; its files may have gone bad since. */
async function setAside(folder: string, old: string): Promise<void> {
  const aside = join(folder, `${draftPrefix}${randomBytes(6).toString('hex')}`);
  try {
    await rename(old, aside);
  } catch (cause) {
    if (isMissing(cause)) return;
    throw cause;
  }
  await removeTree(aside);
}

export async function dropDraft(draft: Draft): Promise<void> {
  await removeTree(draft.folder);
}

/** Removes drafts of dead runs and all but the newest `keep` snapshots; those whose ids are in `wanted` stay. */
export async function pruneSnapshots(
  folder: string,
  keep: number,
  wanted: readonly number[] = [],
): Promise<void> {
  for (const name of await namesIn(folder))
    if (name.startsWith(draftPrefix)) await removeTree(join(folder, name));
  const { snapshots } = await listSnapshots(folder);
  const old = snapshots.slice(keep).filter(({ manifest }) => !wanted.includes(manifest.snapshotId));
  for (const snapshot of old) await removeTree(snapshot.folder);
}

/** Makes a file's octets, or a folder's names, survive a crash of the machine. */
export async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Size and SHA-256 of a file. */
export async function digestOf(file: string): Promise<{ sizeBytes: number; sha256: string }> {
  const { size } = await stat(file);
  const digest = createHash('sha256');
  for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) digest.update(chunk);
  return { sizeBytes: size, sha256: digest.digest('hex') };
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    // Nothing was kept yet.
    if (isMissing(cause)) return [];
    throw cause;
  }
}

function isMissing(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
}
