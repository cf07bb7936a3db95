/**
 * earlier — what earlier tries of this very hand-off left behind, so that a retry repeats it and never decides again.
 *
 * Hides where that is remembered: the ledger, and for a crash between quarantine commit and ledger commit (or a ledger
 * that is down) the keys of what is held. A message that our own return smtpd had before is a loop. With the ledger down
 * LMTP flows without it, SMTP gets 451. Nothing is thrown for a database.
 */
import { keysOf } from './identity.ts';
import { noteSettled } from './note.ts';
import type { Walk } from './walk.ts';

/** What is known besides the outcomes, which are in the walk's settlements. */
export type Earlier = {
  readonly ledgerUp: boolean;
  /** How often a living scanner has failed on this message before (deferAtMost.attempts). */
  readonly failedAttempts: number;
};

/** Settles every recipient whose outcome is known; defers who can't go on (loop, ledger down on SMTP). */
export async function repeatEarlier(walk: Walk): Promise<Earlier> {
  const { identity, settlements, effects, transaction } = walk;
  if (identity.keys.size === 0) return { ledgerUp: true, failedAttempts: 0 };
  let earlier: Earlier = { ledgerUp: false, failedAttempts: 0 };
  try {
    earlier = { ledgerUp: true, failedAttempts: await askLedger(walk) };
  } catch (cause) {
    effects.log.error({ err: cause, queueId: identity.queueId, alarm: true }, 'Ledger does not answer');
    if (transaction.protocol === 'smtp') settlements.deferRest('ledgerUnavailable');
  }
  // With the ledger down all the more: what was held must not be delivered because a score moved.
  await adoptHeld(walk);
  return earlier;
}

/** Repeats what the ledger knows; gives the number of failed attempts of whoever is left. */
async function askLedger(walk: Walk): Promise<number> {
  const { identity, settlements, effects, transaction } = walk;
  const recalled = await effects.ledger.recall([...identity.keys.values()], identity.queueId ?? '');
  for (const recipient of settlements.open()) {
    const entry = recalled.entries.get(identity.keys.get(recipient) ?? '');
    if (entry !== undefined) settlements.repeat(recipient, entry);
  }
  if (settlements.open().length === 0) return 0;
  deferLoop(walk, recalled.queueIdsOut);
  // Read and not written, as on a full disk or behind a lock: several groups on SMTP would be doubled (W5).
  if (transaction.protocol === 'smtp') await effects.ledger.check();
  const keys = keysOf(identity, settlements.open());
  return Math.max(0, ...keys.map((key) => recalled.attempts.get(key) ?? 0));
}

/** The return smtpd's own Received line on top: it gave us back what we had given it. */
function deferLoop({ identity, settlements, effects }: Walk, queueIdsOut: readonly string[]): void {
  const { queueId, facts } = identity;
  if (facts.topReceivedId === null || !queueIdsOut.includes(facts.topReceivedId)) return;
  const about = { queueId, returnedAs: facts.topReceivedId, alarm: true };
  effects.log.error(about, 'Content filter loop: the return smtpd must not filter; message deferred');
  settlements.deferRest('loop');
}

async function adoptHeld(walk: Walk): Promise<void> {
  const { identity, settlements, effects } = walk;
  const open = settlements.open();
  if (open.length === 0) return;
  try {
    const items = await effects.quarantine.find(keysOf(identity, open));
    for (const recipient of open) {
      const item = items.get(identity.keys.get(recipient) ?? '');
      if (item !== undefined) settlements.hold([recipient], item.quarantineId);
    }
  } catch (cause) {
    // Stops only what needs it: whoever must be held is answered 451 later; the others flow.
    effects.log.warn({ err: cause, queueId: identity.queueId }, 'Quarantine does not answer');
  }
  await noteSettled(walk, open);
}
