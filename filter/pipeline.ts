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
import { observed } from '../rules/observe.ts';
import type { Reply } from '../rules/replies.ts';
import { deliver, notifyRefused } from './deliver.ts';
import { type Earlier, repeatEarlier } from './earlier.ts';
import { discard, hold } from './hold.ts';
import { identify, keysOf } from './identity.ts';
import type { Transaction } from './listener.ts';
import { type Judged, record } from './record.ts';
import { createSettlements } from './settlement.ts';
import { createTally, timed } from './tally.ts';
import type { Effects, Walk } from './walk.ts';

/** Filters one message; replies are one for SMTP, one per recipient in envelope order for LMTP. Never throws. */
export async function filterMessage(transaction: Transaction, effects: Effects): Promise<readonly Reply[]> {
  const settlements = createSettlements(transaction.envelope.recipients);
  const tally = createTally(transaction.receiveMs);
  try {
    const identity = await identify(transaction);
    const policies = effects.policies();
    const walk = { transaction, effects: timed(effects, tally), identity, settlements, tally, policies };
    await walkThrough(walk);
  } catch (cause) {
    effects.log.error({ err: cause, sender: transaction.envelope.sender }, 'Cannot filter message: deferred');
    if (settlements.open().length > 0) effects.tempfail('internal');
  }
  return settlements.replies(transaction.protocol);
}

async function walkThrough(walk: Walk): Promise<void> {
  const { settlements, transaction, effects } = walk;
  const claimed = claim(walk);
  let judged: Judged = { report: null, dispositions: [] };
  try {
    const earlier = await repeatEarlier(walk);
    if (endsHere(walk)) return;
    const report = await scan(walk);
    const dispositions = decide(factsOf(walk, earlier), report, walk.policies);
    judged = { report, dispositions };
    // Nobody would hear the reply, or it is too late for it: no effect at all (R3, R5).
    if (transaction.signal.aborted) settlements.deferRest('deadline');
    else await act(walk, earlier, report, effects.observe ? observed(dispositions, report) : dispositions);
  } finally {
    // Only an exception leaves anybody open.
    settlements.deferRest('internal');
    effects.inFlight.release(claimed);
    record(walk, judged);
  }
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

/** True where nothing is left to do; SMTP has one reply, so there the first deferral is everybody's. */
function endsHere({ settlements, transaction }: Walk): boolean {
  if (transaction.protocol === 'smtp') settlements.deferAlike();
  return settlements.open().length === 0;
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

function factsOf({ transaction, identity, settlements, effects }: Walk, earlier: Earlier): MailFacts {
  const { from, subject, messageId, receivedAtMs } = identity.facts;
  return {
    envelope: { ...transaction.envelope, recipients: settlements.open() },
    direction: transaction.direction,
    from,
    subject,
    messageId,
    waitedMs: receivedAtMs === null ? 0 : Math.max(0, effects.now() - receivedAtMs),
    failedAttempts: earlier.failedAttempts,
  };
}

/** Effects in order: quarantine, discards, then one hand-off per group. On SMTP input the first deferral ends it. */
async function act(
  walk: Walk,
  earlier: Earlier,
  report: ScanReport,
  dispositions: readonly Disposition[],
): Promise<void> {
  const of = (kind: Disposition['kind']) => dispositions.filter((disposition) => disposition.kind === kind);
  await deferUnchecked(walk, earlier, report, of('defer'));
  if (endsHere(walk)) return;
  await hold(walk, report, of('quarantine'));
  if (endsHere(walk)) return;
  await discard(walk, report, of('discard'));
  for (const disposition of of('deliver')) {
    if (endsHere(walk)) return;
    await deliver(walk, disposition);
  }
  if (walk.transaction.protocol === 'smtp') await notifyRefused(walk, dispositions);
}

/** 451 for a scanner that could not tell; a failure of a living one is counted (deferAtMost.attempts, R13). */
async function deferUnchecked(
  { effects, identity, settlements }: Walk,
  { ledgerUp }: Earlier,
  report: ScanReport,
  dispositions: readonly Disposition[],
): Promise<void> {
  const recipients: readonly Recipient[] = dispositions.flatMap((disposition) => disposition.recipients);
  settlements.defer(recipients, 'scanUnavailable');
  const keys = keysOf(identity, recipients);
  if (!isFailedAttempt(report) || keys.length === 0 || !ledgerUp) return;
  try {
    await effects.ledger.noteAttempt(keys);
  } catch (cause) {
    // Uncounted, the message waits one try longer; deferAtMost.hours still ends it.
    effects.log.warn({ err: cause, queueId: identity.queueId }, 'Cannot count the failed attempt');
  }
}
