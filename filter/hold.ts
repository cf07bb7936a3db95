/**
 * hold — what does not go on: recipients whose copy is held in quarantine, or dropped by policy.
 *
 * Hides how a decision becomes durable before the reply says so (RELIABILITY R1b, R1c): one item per message, with the
 * origin of every threshold that held it; a discard only behind its history row. Where that fails the recipients are
 * deferred: doubt means 451. Nothing is thrown for a disk or a database.
 */
import { outboundPolicyFor, policyFor, thresholdsOf } from '../rules/decide.ts';
import type { Disposition, Recipient, ScanReport } from '../rules/mail.ts';
import { TempFail } from '../workers/fail.ts';
import { noteSettled } from './note.ts';
import { outcomeRows, scanRow } from './record.ts';
import type { Walk } from './walk.ts';

/** Holds one item for all recipients of these dispositions; deferred where the quarantine can't take it. */
export async function hold(
  walk: Walk,
  report: ScanReport,
  dispositions: readonly Disposition[],
): Promise<void> {
  const recipients = dispositions.flatMap((disposition) => disposition.recipients);
  if (recipients.length === 0) return;
  const { transaction, identity, effects, settlements } = walk;
  const { message, direction, envelope, receivedAt } = transaction;
  const { from, subject, messageId } = identity.facts;
  try {
    const slots = recipients.map((recipient) => {
      const policy = policyOf(walk, recipient);
      const ledgerKey = identity.keys.get(recipient) ?? null;
      return { recipient, ledgerKey, retentionDays: policy.retentionDays.value, heldUnder: policy };
    });
    const item = {
      envelope,
      direction,
      slots,
      report,
      dispositions,
      receivedAt,
      facts: { from, subject, messageId },
      queueId: identity.queueId,
      sizeBytes: message.sizeBytes,
      sha256: message.sha256,
      retentionDays: Math.max(...slots.map(({ retentionDays }) => retentionDays)),
    };
    settlements.hold(recipients, await effects.quarantine.put(item, () => message.read()));
  } catch (cause) {
    const about = { err: cause, queueId: identity.queueId, recipients: recipients.length, alarm: true };
    effects.log.error(about, 'Cannot hold message in quarantine: deferred');
    return settlements.defer(recipients, 'quarantineUnavailable');
  }
  await noteSettled(walk, recipients);
}

function policyOf({ transaction, policies }: Walk, recipient: Recipient) {
  const { direction, envelope } = transaction;
  const outbound = direction === 'outbound';
  return thresholdsOf(
    outbound ? outboundPolicyFor(envelope.sender, policies) : policyFor(recipient.address, policies),
  );
}

/** Drops the copies of all recipients of these dispositions, once the history row that tells of it is on disk. */
export async function discard(
  walk: Walk,
  report: ScanReport,
  dispositions: readonly Disposition[],
): Promise<void> {
  const recipients = dispositions.flatMap((disposition) => disposition.recipients);
  if (recipients.length === 0) return;
  const { effects, settlements, identity } = walk;
  try {
    const rows = outcomeRows(walk, dispositions, recipients, 'discarded');
    const written = await effects.history.record(scanRow(walk, report), rows, { durable: true });
    if (!written) throw new TempFail('Cannot discard: the history dropped the row');
    settlements.discard(recipients);
  } catch (cause) {
    const about = { err: cause, queueId: identity.queueId, recipients: recipients.length, alarm: true };
    effects.log.error(about, 'Cannot record discarded message in the history: deferred');
    return settlements.defer(recipients, 'internal');
  }
  await noteSettled(walk, recipients);
}
