/**
 * bytes-spool — a message in the spool of another process, where both see the same folder.
 *
 * Hides the proof that they do: the filter writes a random secret into its spool folder, a job names its digest, and only a
 * folder with that secret is read. Folder and file are opened by name, never through a link, and the path can't lead out
 * of the spool. What is read is not trusted here: its size and digest are compared by whoever reads (bytes-read).
 */
import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { TempFail } from './fail.ts';
import { instancePattern } from './instance.ts';

/** Name of a spool folder under the spool, and the digest of the secret in it. */
export type SpoolMark = { readonly folder: string; readonly marker: string };

const markerName = 'marker';
const secretBytes = 32;
const pieceBytes = 262_144;
const spoolIdPattern = /^[0-9a-f]{32}$/;
/** A filter that is not seen for so long is gone, and not only forgotten by an emptied Redis. */
const proofMs = 60_000;

/** Writes a new secret into the folder of an instance. */
export async function markSpool(folder: string): Promise<SpoolMark> {
  const secret = randomBytes(secretBytes);
  await writeFile(join(folder, markerName), secret, { mode: 0o600 });
  return { folder: basename(folder), marker: digest(secret) };
}

/** Whether `spool` has the folder, with that secret in it. Never rejects. */
export async function sharesSpool(spool: string, { folder, marker }: SpoolMark): Promise<boolean> {
  if (!instancePattern.test(folder)) return false;
  try {
    await using opened = await openFolder(join(spool, folder));
    return (await secretDigest(opened)) === marker;
  } catch {
    return false; // no such folder here, or not for us
  }
}

/**
 * Remembers which filters' spools were proved to be `spool`: gives the ids of those that were, now or within the last minute,
 * unless their proof fails. `now`: monotonic milliseconds.
 */
export function createProofs(spool: string, now: () => number = () => performance.now()) {
  const provedAt = new Map<string, number>();
  return async (
    filters: readonly { readonly id: string; readonly spool: SpoolMark | null }[],
  ): Promise<readonly string[]> => {
    for (const { id, spool: mark } of filters) {
      if (mark !== null && (await sharesSpool(spool, mark))) provedAt.set(id, now());
      else provedAt.delete(id);
    }
    for (const [id, at] of provedAt) if (now() - at > proofMs) provedAt.delete(id);
    return [...provedAt.keys()];
  };
}

/**
 * The octets of a message in a folder of `spool` that holds the secret; TempFail where it does not, where the file is not
 * there, or is none of ours.
 */
export async function* readShared(
  spool: string,
  { folder, marker }: SpoolMark,
  spoolId: string,
): AsyncGenerator<Uint8Array> {
  // The shapes of jobs say the same; a path must not depend on that alone.
  if (!instancePattern.test(folder) || !spoolIdPattern.test(spoolId))
    throw new TempFail(`Cannot read ${spoolId} in the spool: no name of ours`);
  await using opened = await openFolder(join(spool, folder)).catch((cause: unknown) => {
    throw new TempFail(`Cannot read ${spoolId}: ${folder} is not in this spool`, { cause });
  });
  if ((await secretDigest(opened)) !== marker)
    throw new TempFail(`Cannot read ${spoolId}: ${folder} in this spool is another one`);
  await using file = await openIn(opened, spoolId).catch((cause: unknown) => {
    throw new TempFail(`Cannot read ${spoolId}: it is not in ${folder}`, { cause });
  });
  for (;;) {
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(pieceBytes), 0, pieceBytes, null);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}

async function secretDigest(folder: FileHandle): Promise<string | null> {
  try {
    await using file = await openIn(folder, markerName);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(secretBytes + 1), 0, secretBytes + 1, 0);
    return bytesRead === secretBytes ? digest(buffer.subarray(0, bytesRead)) : null;
  } catch {
    return null; // no secret: not marked
  }
}

function openFolder(path: string): Promise<FileHandle> {
  return open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
}

/** A plain file in an open folder, whatever becomes of its path meanwhile (openat(2), which Node has not). */
async function openIn(folder: FileHandle, name: string): Promise<FileHandle> {
  // Without O_NONBLOCK a FIFO of that name would hold us up for ever.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(`/proc/self/fd/${folder.fd}/${name}`, flags);
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw new TempFail(`Cannot read ${name}: it is no file`);
}

function digest(octets: Uint8Array): string {
  return createHash('sha256').update(octets).digest('hex');
}
