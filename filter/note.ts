/**
 * note — the ledger learns what became of recipients, so that a retry repeats it and never doubles it.
 *
 * A ledger that can't be written does not undo a delivery: the reply stays, the gap is logged (window W3 opens for this
 * message). Deferred recipients are never noted: for them the next try decides anew.
 */
import type { Recipient } from '../rules/mail.ts';
import type { LedgerEntry } from './ledger.ts';
import type { Walk } from './walk.ts';

/** Commits the outcomes of those of `recipients` that are settled for good, in one transaction. */
export async function noteSettled(walk: Walk, recipients: readonly Recipient[]): Promise<void> {
  const entries = recipients.flatMap((recipient) => entryOf(walk, recipient));
  if (entries.length === 0) return;
  try {
    await walk.effects.ledger.commit(entries);
  } catch (cause) {
    const about = { err: cause, queueId: walk.identity.queueId, entries: entries.length, alarm: true };
    walk.effects.log.error(about, 'Cannot note outcome in the ledger: a retry may deliver again');
  }
}

function entryOf({ identity, settlements, effects }: Walk, recipient: Recipient): LedgerEntry[] {
  const settlement = settlements.get(recipient);
  const key = identity.keys.get(recipient);
  if (settlement === undefined || settlement.kind === 'deferred') return [];
  if (key === undefined || identity.queueId === null) return [];
  const { kind, reply, queueIdOut, quarantineId } = settlement;
  return [
    { key, queueId: identity.queueId, outcome: kind, reply, queueIdOut, quarantineId, at: effects.now() },
  ];
}
