/**
 * quarantine-state — how the state of one recipient's held copy changes.
 *
 * The index is the referee (compare-and-set, so that of two processes one wins); the item folder is the memory
 * (states.jsonl, fsynced before anybody acts on the change), so that an index that is lost and rebuilt never shows a
 * released or deleted copy as held again. Octets go only after both say that nobody wants them. A process that dies
 * between the two leaves a row that is marked as not recorded: the next reconcile or sweep writes it into the folder.
 */
import { PermFail } from '../workers/fail.ts';
import type { Log } from '../workers/log.ts';
import { ownOwner } from './owner.ts';
import type { QuarantineIndex } from './quarantine-index.ts';
import { appendChanges, removeMessage } from './quarantine-item.ts';
import type { RecipientState, StateChange } from './quarantine-record.ts';

/** What a quarantine consists of. */
export type Parts = {
  readonly folder: string;
  readonly index: QuarantineIndex;
  readonly log: Log;
  readonly now: () => number;
};

/** One change that is asked for; `queueIdOut` is the return smtpd's queue id of a release. */
export type Claim = {
  readonly from: RecipientState;
  readonly to: RecipientState;
  readonly actor: string;
  readonly queueIdOut: string | null;
};

/** Which changes there are; `releasing` goes back to held where the hand-off certainly did not happen. */
const transitions: Readonly<Record<RecipientState, readonly RecipientState[]>> = {
  held: ['releasing', 'deleted', 'expired', 'moving'],
  releasing: ['released', 'unconfirmed', 'held'],
  unconfirmed: ['releasing', 'released', 'deleted', 'expired', 'moving'],
  released: [],
  deleted: [],
  expired: [],
  // Never back: the primary may have it. Again `moving`: handed out once more, to the same primary or another.
  moving: ['moved', 'expired', 'releasing', 'moving'],
  moved: [],
};

/** Compare-and-set of each slot: true where this call changed it, and then it is on disk in index and folder. */
export async function changeState(
  parts: Parts,
  quarantineId: string,
  slots: readonly number[],
  claim: Claim,
): Promise<boolean[]> {
  if (!transitions[claim.from].includes(claim.to)) {
    throw new PermFail(`Cannot change ${quarantineId}: there is no way from ${claim.from} to ${claim.to}`);
  }
  const changes = slots.map((slot) => ({ slot, ...claim, at: parts.now(), owner: ownOwner() }));
  const won = await parts.index.change(quarantineId, changes);
  const mine = changes.filter((_, position) => won[position]);
  if (mine.length === 0) return won;
  await record(parts, quarantineId, mine, claim.to);
  if (claim.to === 'deleted' || claim.to === 'expired' || claim.to === 'moved')
    await removeUnwanted(parts, quarantineId);
  return won;
}

/** Removes the octets of items (or of this one) whose every copy is deleted, expired or elsewhere; gives how many. */
export async function removeUnwanted(parts: Parts, quarantineId?: string): Promise<number> {
  let removed = 0;
  try {
    for (const gone of await parts.index.gone(quarantineId)) {
      await removeMessage(parts.folder, gone);
      await parts.index.noteBytesRemoved(gone);
      removed++;
    }
  } catch (error) {
    // The state is on disk; what remains is removed by the next sweep.
    parts.log.warn({ err: error, quarantineId }, 'octets of a deleted item remain until the next sweep');
  }
  return removed;
}

/** Into the folder; where that fails the change is taken back, unless it tells of what has happened already. */
async function record(
  parts: Parts,
  quarantineId: string,
  changes: readonly StateChange[],
  to: RecipientState,
): Promise<void> {
  try {
    await appendChanges(parts.folder, quarantineId, changes);
  } catch (error) {
    parts.log.error({ err: error, quarantineId, to }, 'state not recorded in the item folder');
    // The folder goes on saying releasing; an index rebuilt from it says unconfirmed, never held.
    if (to === 'released' || to === 'unconfirmed' || to === 'held' || to === 'moved') return;
    const back = changes.map((change) => ({ ...change, from: change.to, to: change.from }));
    await parts.index.change(quarantineId, back);
    throw error;
  }
  await parts.index.noteRecorded(quarantineId, changes).catch((error: unknown) => {
    // The next start sees that it stands there already.
    parts.log.warn({ err: error, quarantineId }, 'state recorded, but not noted as such');
  });
}
