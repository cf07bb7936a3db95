/**
 * record — what is remembered of a message when it is over: history rows, and one log line per recipient.
 *
 * Nobody's reply waits for it: the history drops and counts what it can't take. Discarded recipients are not recorded
 * here, because their row was written, durably, before they were discarded (hold.ts).
 */
import type { Disposition, Recipient, ScanReport } from '../rules/mail.ts';
import { replyFor } from '../rules/replies.ts';
import type { OutcomeRow, ScanRow } from './history.ts';
import type { Settlement } from './settlement.ts';
import type { Walk } from './walk.ts';

/** What was found and decided; `report` is null where the walk ended before the scan, or the scan failed. */
export type Judged = {
  readonly report: ScanReport | null;
  readonly dispositions: readonly Disposition[];
};

/** Records everybody, when all are settled. */
export function record(walk: Walk, { report, dispositions }: Judged): void {
  const { effects, settlements, transaction, identity } = walk;
  const { recipients } = transaction.envelope;
  for (const recipient of recipients) logOne(walk, recipient, dispositions);
  const rest = recipients.filter((one) => settlements.get(one)?.repeated === true || !isDiscarded(walk, one));
  if (rest.length === 0) return;
  const rows = outcomeRows(walk, dispositions, rest);
  effects.history.record(scanRow(walk, report), rows, { durable: false }).catch((cause: unknown) => {
    effects.log.error({ err: cause, queueId: identity.queueId }, 'Cannot record message in the history');
  });
}

/** The message's own row. */
export function scanRow({ transaction, identity, effects }: Walk, report: ScanReport | null): ScanRow {
  const { envelope, direction, message, receivedAt } = transaction;
  const { from, subject, messageId } = identity.facts;
  return {
    at: receivedAt,
    queueId: identity.queueId,
    direction,
    sender: envelope.sender,
    from,
    subject,
    messageId,
    report,
    client: envelope.xforward.ADDR ?? null,
    sizeBytes: message.sizeBytes,
    totalMs: Math.max(0, effects.now() - receivedAt),
  };
}

/** One row per recipient; `outcome` where it is not settled yet (a discard is recorded before it happens). */
export function outcomeRows(
  { settlements }: Walk,
  dispositions: readonly Disposition[],
  recipients: readonly Recipient[],
  outcome?: Settlement['kind'],
): OutcomeRow[] {
  return recipients.map((recipient) => {
    const settlement = settlements.get(recipient);
    const disposition = dispositions.find((one) => one.recipients.includes(recipient));
    const kind = settlement?.kind ?? outcome ?? 'deferred';
    return {
      recipient: recipient.address,
      outcome: kind,
      verdict: disposition?.verdict ?? null,
      disposition: disposition?.kind ?? null,
      score: disposition?.marks.score ?? null,
      why: disposition?.why ?? (kind === 'deferred' ? 'not decided' : 'outcome of an earlier try, repeated'),
      reply: settlement?.reply ?? replyFor(kind === 'discarded' ? 'discarded' : 'internal'),
      quarantineId: settlement?.quarantineId ?? null,
      queueIdOut: settlement?.queueIdOut ?? null,
    };
  });
}

function isDiscarded({ settlements }: Walk, recipient: Recipient): boolean {
  return settlements.get(recipient)?.kind === 'discarded';
}

function logOne(walk: Walk, recipient: Recipient, dispositions: readonly Disposition[]): void {
  const { settlements, identity, transaction, effects } = walk;
  const settlement = settlements.get(recipient);
  const disposition = dispositions.find((one) => one.recipients.includes(recipient));
  const write = disposition?.alarm === true ? effects.log.warn : effects.log.info;
  write(
    {
      queueId: identity.queueId,
      queueIdOut: settlement?.queueIdOut,
      quarantineId: settlement?.quarantineId,
      sender: transaction.envelope.sender,
      recipient: recipient.address,
      outcome: settlement?.kind ?? 'deferred',
      verdict: disposition?.verdict,
      score: disposition?.marks.score,
      why: disposition?.why,
      repeated: settlement?.repeated,
      reply: settlement?.reply.text,
      messageId: identity.facts.messageId,
      ...(disposition?.alarm === true ? { alarm: true } : {}),
    },
    'Recipient decided',
  );
}
