/**
 * check-folder — whether a folder of Sluice can be used: there, ours, closed to others, writable, with room.
 *
 * Hides statfs and what an error of the disk means for the administrator. Looks as the user we run as; writes one small
 * file and takes it away again. Never throws: what could not be found out is a finding.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, open, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Finding, fail, ok, warn } from '../rules/finding.ts';
import { findUser } from './local-process.ts';

/** `name` as in "State folder"; `bytesNeeded`: what must fit at the very least, null where its disk is looked at elsewhere. */
export type FolderDemands = { readonly name: string; readonly bytesNeeded: number | null };

const syncs = 20;
const slowSyncMs = 20;

/** Findings on a folder; on one that is not there only that. */
export async function checkFolder(folder: string, demands: FolderDemands): Promise<Finding[]> {
  const found = await stat(folder).catch((error: unknown) => codeOf(error));
  if (found === 'ENOENT') return [await checkMissing(folder, demands.name)];
  if (typeof found === 'string') return [unlookable(folder, demands.name, found)];
  if (!found.isDirectory())
    return [fail(`${demands.name} is no folder`, folder, 'move it away, or name another one in sluice.yaml')];
  const { name, bytesNeeded } = demands;
  const room = bytesNeeded === null ? [] : await checkRoom(folder, name, bytesNeeded);
  return [...checkOwner(folder, name, found), await checkWriting(folder, name), ...room];
}

/** How long a small write takes until it is on disk: each held message and each ledger entry waits for one or more. */
export async function checkSync(folder: string): Promise<Finding> {
  try {
    const took = (await timeSyncs(folder)).toSorted((a, b) => a - b);
    const middle = took[Math.floor(took.length / 2)] ?? 0;
    const what = `fsync takes ${middle.toFixed(1)} ms, ${(took.at(-1) ?? 0).toFixed(1)} ms at most, of ${took.length}`;
    if (middle <= slowSyncMs) return ok(what, folder);
    const remedy = 'put state on a faster disk, or one with a battery-backed cache';
    return warn(`${what}: hand-offs are slow`, folder, remedy);
  } catch (error) {
    return fail(`fsync fails: ${textOf(error)}`, folder, remedyFor(codeOf(error)));
  }
}

/** Findings on the room that is left: bytes, and inodes where the file system counts them. */
async function checkRoom(folder: string, name: string, needed: number): Promise<Finding[]> {
  const { bavail, blocks, bsize, files, ffree } = await statfs(folder);
  const room = judgeRoom(name, folder, { free: bavail * bsize, total: blocks * bsize, needed });
  if (files === 0) return [room];
  const share = ffree / files;
  const what = `${name} has ${percent(share)} of its inodes left`;
  const remedy = 'remove small files on that disk, or make its file system anew with more inodes';
  if (share < 0.01) return [room, fail(what, folder, remedy)];
  return [room, share < 0.1 ? warn(what, folder, remedy) : ok(what, folder)];
}

/** One sentence on bytes that are free. */
export function judgeRoom(
  name: string,
  folder: string,
  { free, total, needed }: { free: number; total: number; needed: number },
): Finding {
  const share = total === 0 ? 0 : free / total;
  const what = `${name} has ${megabytes(free)} left (${percent(share)})`;
  const remedy = 'make room on that disk, or give it one of its own';
  if (free < needed) return fail(`${what}, less than two of the largest messages`, folder, remedy);
  if (share < 0.01) return fail(what, folder, remedy);
  return share < 0.1 ? warn(what, folder, remedy) : ok(what, folder);
}

function checkOwner(folder: string, name: string, { uid, mode }: { uid: number; mode: number }): Finding[] {
  const own = process.getuid?.() ?? 0;
  const [owner, us] = [userName(uid), userName(own)];
  const findings: Finding[] = [];
  if (own !== uid) {
    const give = `chown -R ${us} ${folder}`;
    const remedy = uid === 0 || own === 0 ? give : `run Sluice as ${owner} or as root, or: ${give}`;
    findings.push(fail(`${name} belongs to ${owner}, this is ${us}`, folder, remedy));
  } else findings.push(ok(`${name} belongs to ${owner}, as whom Sluice runs`, folder));
  const open = (mode & 0o077).toString(8).padStart(3, '0');
  if (open === '000') return [...findings, ok(`${name} is closed to other users`, folder)];
  const what = `${name} is open to other users (mode ${(mode & 0o777).toString(8).padStart(4, '0')})`;
  return [...findings, warn(`${what}: they may see held mail`, folder, `chmod 0700 ${folder}`)];
}

async function checkWriting(folder: string, name: string): Promise<Finding> {
  try {
    await withFile(folder, async (file) => file.writeFile(randomBytes(4096)));
    return ok(`${name} can be written`, folder);
  } catch (error) {
    return fail(`${name} can not be written: ${textOf(error)}`, folder, remedyFor(codeOf(error)));
  }
}

function timeSyncs(folder: string): Promise<number[]> {
  return withFile(folder, async (file) => {
    const took: number[] = [];
    for (let count = 0; count < syncs; count++) {
      await file.appendFile(randomBytes(512));
      const from = performance.now();
      await file.sync();
      took.push(performance.now() - from);
    }
    return took;
  });
}

/** A file that is there only meanwhile. */
async function withFile<T>(
  folder: string,
  act: (file: Awaited<ReturnType<typeof open>>) => Promise<T>,
): Promise<T> {
  const path = join(folder, `check-${randomBytes(8).toString('hex')}`);
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      return await act(file);
    } finally {
      await file.close();
    }
  } finally {
    await rm(path, { force: true });
  }
}

/** The nearest folder above one that does not exist; `ours` where we could make it there. */
export async function placeFor(folder: string): Promise<{ readonly parent: string; readonly ours: boolean }> {
  let parent = dirname(folder);
  while (parent !== dirname(parent) && (await isMissing(parent))) parent = dirname(parent);
  const ours = await access(parent, constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  );
  return { parent, ours };
}

async function isMissing(path: string): Promise<boolean> {
  return stat(path).then(
    () => false,
    (error: unknown) => codeOf(error) === 'ENOENT',
  );
}

async function checkMissing(folder: string, name: string): Promise<Finding> {
  const { parent, ours } = await placeFor(folder);
  const remedy = `make it, owned by the user that Sluice shall run as: install -d -m 0700 -o USER ${folder}`;
  if (!ours) return fail(`${name} does not exist, and we may not make it in ${parent}`, folder, remedy);
  const what = `${name} does not exist: the first start makes it, owned by whoever starts Sluice`;
  return warn(what, folder, remedy);
}

function unlookable(folder: string, name: string, code: string): Finding {
  const remedy = 'check as root or as its owner; every folder above it must let that user through';
  return fail(`${name} can not be looked at: ${code}`, folder, remedy);
}

function remedyFor(code: string): string {
  if (code === 'ENOSPC' || code === 'EDQUOT') return 'make room on that disk';
  if (code === 'EROFS') return 'mount it for writing (a disk with errors is mounted read-only: see dmesg)';
  if (code === 'EACCES' || code === 'EPERM') return 'give it to the user that Sluice runs as, mode 0700';
  return 'see what the kernel says of the disk (dmesg)';
}

function userName(uid: number): string {
  return findUser(uid)?.name ?? `uid ${uid}`;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
}

function megabytes(bytes: number): string {
  return bytes >= 10 * 1024 ** 3
    ? `${Math.floor(bytes / 1024 ** 3)} GB`
    : `${Math.floor(bytes / 1024 ** 2)} MB`;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
