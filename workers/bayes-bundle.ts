/**
 * bayes-bundle — a snapshot on its way: manifest and files as one stream of octets, for stdin and stdout of ssh(1).
 *
 * Hides the form: a line `sluice-bayes 1 SIZE`, the manifest of that size, then each file that it names, nothing between them
 * and nothing after. What comes in is checked as it comes; a stream that is cut, longer, larger than allowed or garbled
 * leaves nothing behind. Rejects with BayesFail then.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type BundleFile,
  formatManifest,
  type Manifest,
  manifestBytesMax,
  parseManifest,
  sizeBytesOf,
} from './bayes-manifest.ts';
import { commitDraft, type Draft, dropDraft, openDraft, type Snapshot } from './bayes-snapshots.ts';
import { refused } from './bayes-step.ts';
import { createOctets, type Octets } from './octets.ts';

const firstLine = /^sluice-bayes 1 (\d{1,6})\n$/;
const again = 'send it again; if it stays, compare the versions of Sluice on both machines';

/** The octets of a snapshot, in the form that `unpackBundle` reads. */
export async function* packBundle({ folder, manifest }: Snapshot): AsyncGenerator<Buffer> {
  const text = Buffer.from(formatManifest(manifest));
  yield Buffer.concat([Buffer.from(`sluice-bayes 1 ${text.length}\n`), text]);
  for (const { name } of manifest.files) yield* createReadStream(join(folder, name)) as AsyncIterable<Buffer>;
}

/** Reads a bundle into `folder`, where it counts once it is whole; `sizeBytesMax` is for all its files together. */
export async function unpackBundle(
  input: AsyncIterable<Buffer>,
  folder: string,
  sizeBytesMax: number,
): Promise<Snapshot> {
  const source = createOctets(input, cut);
  try {
    const manifest = await readManifest(source);
    const sizeBytes = sizeBytesOf(manifest);
    if (sizeBytes > sizeBytesMax) {
      const what = `Cannot take snapshot ${manifest.snapshotId}: ${sizeBytes} octets, ${sizeBytesMax} are allowed`;
      throw refused('receive', what, 'raise bayes.sizeMax on this machine');
    }
    const draft = await openDraft(folder);
    try {
      for (const file of manifest.files) await readFileInto(draft, file, source);
      if ((await source.next(1)) !== null)
        throw refused('receive', 'Cannot take the bundle: it does not end', again);
      return await commitDraft(folder, draft, manifest);
    } catch (cause) {
      await dropDraft(draft);
      throw cause;
    }
  } finally {
    await source.close();
  }
}

async function readManifest(source: Octets): Promise<Manifest> {
  let line = '';
  while (!line.endsWith('\n') && line.length < 30) {
    const octet = await source.next(1);
    if (octet === null) break;
    line += octet.toString('latin1');
  }
  const sizeBytes = Number(firstLine.exec(line)?.[1] ?? Number.NaN);
  if (!(sizeBytes <= manifestBytesMax)) throw refused('receive', 'Cannot take the bundle: it is none', again);
  const manifest = parseManifest((await source.whole(sizeBytes)).toString('utf8'));
  if ('problem' in manifest) throw refused('receive', `Cannot take its manifest: ${manifest.problem}`, again);
  return manifest;
}

async function readFileInto(draft: Draft, file: BundleFile, source: Octets): Promise<void> {
  const digest = createHash('sha256');
  const handle = await open(join(draft.folder, file.name), 'wx', 0o600);
  try {
    for await (const chunk of source.exactly(file.sizeBytes)) {
      digest.update(chunk);
      await writeAll(handle, chunk);
    }
  } finally {
    await handle.close();
  }
  if (digest.digest('hex') === file.sha256) return;
  throw refused('receive', `Cannot take ${file.name} of the bundle: its SHA-256 is another one`, again);
}

async function writeAll(handle: FileHandle, chunk: Buffer): Promise<void> {
  for (let at = 0; at < chunk.length; ) at += (await handle.write(chunk, at)).bytesWritten;
}

function cut(missing: number): Error {
  return refused('receive', `Cannot take the bundle: cut ${missing} octets before the end of a file`, again);
}
