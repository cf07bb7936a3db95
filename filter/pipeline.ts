/**
 * pipeline — filterMessage: the whole story of one message on one page.
 *
 * Facts, decision, effects, replies, in the order of RELIABILITY R2: earlier outcomes are repeated, the rest is scanned
 * and decided, then quarantine, then reinjection, then the ledger, then the reply. Effects come as one object of plain
 * functions. Each recipient is settled exactly once; whoever is not settled at the end is answered 451. Nothing thrown
 * leaves this file: what nobody foresaw defers the message.
 */
import { decide, isFailedAttempt, virusAsSpamPatterns } from '../rules/decide.ts';
import type { Disposition, MailFacts, Recipient, ScanReport } from '../rules/mail.ts';
import type { Reply } from '../rules/replies.ts';
import { deliver, notifyRefused } from './deliver.ts';
import { discard, hold } from './hold.ts';
import { identify } from './identity.ts';
import type { Transaction } from './listener.ts';
import { noteSettled } from './note.ts';
import { record } from './record.ts';
import { createSettlements } from './settlement.ts';
import type { Effects, Walk } from './walk.ts';

/** Filters one message; replies are one for SMTP, one per recipient in envelope order for LMTP. Never throws. */
export async function filterMessage(transaction: Transaction, effects: Effects): Promise<readonly Reply[]> {
  const settlements = createSettlements(transaction.envelope.recipients);
  let claimed: readonly string[] = [];
  try {
    const identity = await identify(transaction);
    const walk: Walk = {
      transaction,
      effects,
      identity,
      settlements,
      policies: effects.policies(),
      ledgerUp: true,
    };
    claimed = claim(walk);
    await walkThrough(walk);
  } catch (cause) {
    effects.log.error({ err: cause, sender: transaction.envelope.sender }, 'Cannot filter message: deferred');
    settlements.deferRest('internal');
  } finally {
    effects.inFlight.release(claimed);
  }
  return settlements.replies(transaction.protocol);
}

async function walkThrough(walk: Walk): Promise<void> {
  const { settlements, transaction } = walk;
  await repeatEarlier(walk);
  if (settlements.open().length === 0) return record(walk, null, []);
  if (transaction.protocol === 'smtp' && settlements.anyDeferred()) return settlements.deferRest('inFlight');
  const facts = await factsOf(walk);
  const report = await scan(walk);
  const dispositions = decide(facts, report, walk.policies);
  // Nobody would hear the reply, or it is too late for it: no effect at all (R3, R5).
  if (transaction.signal.aborted) settlements.deferRest('deadline');
  else await act(walk, report, dispositions);
  record(walk, report, dispositions);
}

/** Claims the keys of this transaction; a recipient whose hand-off is in flight elsewhere is deferred (R9). */
function claim({ identity, settlements, effects }: Walk): readonly string[] {
  const claimed = new Set<string>();
  for (const [recipient, key] of identity.keys) {
    if (claimed.has(key)) continue;
    if (effects.inFlight.claim([key])) claimed.add(key);
    else settlements.defer([recipient], 'inFlight');
  }
  return [...claimed];
}

/** Settles every recipient whose outcome is known from an earlier try: ledger first, then quarantine, then a loop. */
async function repeatEarlier(walk: Walk): Promise<void> {
  const { identity, settlements, effects, transaction } = walk;
  if (identity.keys.size === 0) return;
  try {
    const entries = await effects.ledger.lookup([...identity.keys.values()]);
    for (const recipient of settlements.open()) {
      const entry = entries.get(identity.keys.get(recipient) ?? '');
      if (entry !== undefined) settlements.repeat(recipient, entry);
    }
    await adoptHeld(walk);
    const earlierIds =
      settlements.open().length === 0 ? [] : await effects.ledger.queueIdsOut(identity.queueId ?? '');
    if (identity.facts.topReceivedId !== null && earlierIds.includes(identity.facts.topReceivedId)) {
      effects.log.error({ queueId: identity.queueId, alarm: true }, 'Content filter loop: message deferred');
      settlements.deferRest('loop');
    }
  } catch (cause) {
    walk.ledgerUp = false;
    effects.log.error({ err: cause, queueId: identity.queueId, alarm: true }, 'Ledger does not answer');
    if (transaction.protocol === 'smtp') settlements.deferRest('ledgerUnavailable');
  }
}

/** After a crash between quarantine commit and ledger commit, the retry finds its item by the ledger key. */
async function adoptHeld(walk: Walk): Promise<void> {
  const { identity, settlements, effects } = walk;
  const open = settlements.open();
  const keys = open.map((recipient) => identity.keys.get(recipient) ?? '');
  if (keys.length === 0) return;
  try {
    const items = await effects.quarantine.find(keys);
    for (const recipient of open) {
      const item = items.get(identity.keys.get(recipient) ?? '');
      if (item !== undefined) settlements.hold([recipient], item.quarantineId);
    }
    await noteSettled(walk, open);
  } catch (cause) {
    // Stops only what needs it: whoever must be held is answered 451 later; the others flow.
    effects.log.warn({ err: cause, queueId: identity.queueId }, 'Quarantine index does not answer');
  }
}

async function factsOf({ transaction, identity, settlements, effects, ledgerUp }: Walk): Promise<MailFacts> {
  const recipients = settlements.open();
  const { from, subject, messageId, receivedAtMs } = identity.facts;
  const keys = recipients.flatMap((recipient) => identity.keys.get(recipient) ?? []);
  return {
    envelope: { ...transaction.envelope, recipients },
    direction: transaction.direction,
    from,
    subject,
    messageId,
    waitedMs: receivedAtMs === null ? 0 : Math.max(0, effects.now() - receivedAtMs),
    failedAttempts: ledgerUp && keys.length > 0 ? await effects.ledger.attempts(keys) : 0,
  };
}

function scan({ transaction, identity, settlements, policies, effects }: Walk): Promise<ScanReport> {
  const { message, envelope, signal } = transaction;
  const ticket = {
    spoolId: message.spoolId,
    sizeBytes: message.sizeBytes,
    sha256: message.sha256,
    queueId: identity.queueId,
    sender: envelope.sender,
    virusAsSpam: virusAsSpamPatterns(settlements.open(), policies),
  };
  return effects.scan(ticket, signal);
}

/** Effects in order: quarantine, discards, then one hand-off per group. On SMTP input the first deferral ends it. */
async function act(walk: Walk, report: ScanReport, dispositions: readonly Disposition[]): Promise<void> {
  const smtp = walk.transaction.protocol === 'smtp';
  const of = (kind: Disposition['kind']) => dispositions.filter((disposition) => disposition.kind === kind);
  const deferred = of('defer').flatMap(({ recipients }) => recipients);
  if (deferred.length > 0) await deferScan(walk, report, deferred);
  if (smtp && deferred.length > 0) return;
  await hold(walk, report, of('quarantine'));
  for (const disposition of of('discard')) await discard(walk, report, disposition);
  for (const disposition of of('deliver')) {
    if (smtp && walk.settlements.anyDeferred()) return;
    await deliver(walk, disposition);
  }
  if (smtp) await notifyRefused(walk, dispositions);
}

/** 451 for a scanner that could not tell; a failure of a living one is counted (deferAtMost.attempts, R13). */
async function deferScan(walk: Walk, report: ScanReport, recipients: readonly Recipient[]): Promise<void> {
  const { effects, identity, settlements } = walk;
  settlements.defer(recipients, 'scanUnavailable');
  const keys = recipients.flatMap((recipient) => identity.keys.get(recipient) ?? []);
  if (!isFailedAttempt(report) || keys.length === 0 || !walk.ledgerUp) return;
  try {
    await effects.ledger.noteAttempt(keys);
  } catch (cause) {
    // Uncounted, the message waits one try longer; deferAtMost.hours still ends it.
    effects.log.warn({ err: cause, queueId: identity.queueId }, 'Cannot count the failed attempt');
  }
}
