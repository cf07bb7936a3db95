/**
 * state-folder — a process started as root becomes the owner of the state folder before it touches anything.
 *
 * Where the folder does not exist it is created, owned by whoever we are. Where root owns it, root stays, and the log
 * says what would be better.
 */
import { mkdirSync, statSync } from 'node:fs';
import { PermFail } from '../workers/fail.ts';
import type { Log } from '../workers/log.ts';

/** Creates `folder` where it is missing and takes on its owner's user and group. Throws `PermFail` where it can't. */
export function becomeOwner(folder: string, log: Log): void {
  const owner = ownerToBecome(folder, log);
  if (owner === null) return;
  initgroups(owner.uid, owner.gid);
  process.setgid?.(owner.gid);
  process.setuid?.(owner.uid);
}

/** As `becomeOwner`, but not for good: gives what makes root root again, for what it began outside the folder. */
export function actAsOwner(folder: string, log: Log): () => void {
  const owner = ownerToBecome(folder, log);
  if (owner === null) return () => undefined;
  const groups = process.getgroups?.() ?? [];
  initgroups(owner.uid, owner.gid);
  process.setegid?.(owner.gid);
  process.seteuid?.(owner.uid);
  return () => {
    process.seteuid?.(0);
    process.setegid?.(0);
    process.setgroups?.(groups);
  };
}

/** Null where we stay who we are. */
function ownerToBecome(folder: string, log: Log): { uid: number; gid: number } | null {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const remedy = 'create it, owned by the user that Sluice shall run as';
    throw new PermFail(`Cannot create state folder ${folder}: ${reason}: ${remedy}`, { cause });
  }
  if (process.getuid?.() !== 0) return null;
  const { uid, gid } = statSync(folder);
  if (uid !== 0) return { uid, gid };
  log.warn({ folder }, 'Running as root, the owner of the state folder: chown it to a user of its own');
  return null;
}

/** initgroups(3): the owner's supplementary groups, as for sockets of group clamav; @types/node does not know it. */
function initgroups(uid: number, gid: number): void {
  const posix = process as NodeJS.Process & { initgroups?: (user: number, extraGroup: number) => void };
  try {
    posix.initgroups?.(uid, gid);
  } catch {
    // An owner without a name, as in a container, is in no other group; root's own must not stay.
    process.setgroups?.([gid]);
  }
}
