/**
 * quarantine-room — what of its disk the quarantine leaves free, so that a full one can still be emptied.
 *
 * Deleting, releasing and expiring write before they remove: a row in an index, a line in a folder. So nothing new is
 * held in the last part of the disk (TempFail, 451), and whoever clears it up finds room to do so.
 */
import { statfs } from 'node:fs/promises';
import { TempFail } from '../workers/fail.ts';

const reserveBytesMax = 64 * 1024 ** 2;
/** Of a small disk the reserve is this part. */
const reservePart = 1 / 16;

/** Messages on their way to one quarantine's disk; each is counted until it is written or refused. */
export class Room {
  readonly #folder: string;
  #underWayBytes = 0;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Rejects with TempFail where the disk can't be looked at, or what is under way will leave less than the reserve. */
  async check(): Promise<void> {
    const folder = this.#folder;
    const { bavail, blocks, bsize } = await statfs(folder).catch((cause: unknown) => {
      const state = cause instanceof Error ? cause.message : String(cause);
      throw new TempFail(`Cannot hold in ${folder}: ${state}`, { cause });
    });
    const reserveBytes = Math.min(reserveBytesMax, blocks * bsize * reservePart);
    const freeBytes = bavail * bsize;
    if (freeBytes - this.#underWayBytes >= reserveBytes) return;
    throw new TempFail(
      `Cannot hold in ${folder}: ${megabytes(freeBytes)} are left on its disk, ${megabytes(reserveBytes)} of them ` +
        'for deleting and releasing: make room on the disk, or delete held mail',
    );
  }

  /** Does `write`, which takes so many octets, where there is room for it beside what is being written already. */
  async within(sizeBytes: number, write: () => Promise<void>): Promise<void> {
    // Counted before the disk is looked at: of two at once the second one sees the first.
    this.#underWayBytes += sizeBytes;
    try {
      await this.check();
      await write();
    } finally {
      this.#underWayBytes -= sizeBytes;
    }
  }
}

function megabytes(bytes: number): string {
  return `${(bytes / 1024 ** 2).toFixed(1)} MB`;
}
