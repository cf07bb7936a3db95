/**
 * record — what is remembered of a message when it is over: history rows, the account for log and metrics, the sample.
 *
 * Nobody's reply waits for it: the history drops and counts what it can't take. Discarded recipients are not recorded
 * here, because their row was written, durably, before they were discarded (hold.ts).
 */
import type { Disposition, Recipient, ScanReport } from '../rules/mail.ts';
import { replyFor } from '../rules/replies.ts';
import type { Account } from './account.ts';
import type { OutcomeRow, ScanRow } from './history.ts';
import type { Settlement } from './settlement.ts';
import type { Walk } from './walk.ts';

/** What was found and decided; `report` is null where the walk ended before the scan, or the scan failed. */
export type Judged = {
  readonly report: ScanReport | null;
  readonly dispositions: readonly Disposition[];
};

/** Records everybody, when all are settled. */
export function record(walk: Walk, judged: Judged): void {
  const { effects, settlements, transaction, identity } = walk;
  effects.tell(accountOf(walk, judged));
  offerToSample(walk, judged);
  const { recipients } = transaction.envelope;
  const rest = recipients.filter((one) => settlements.get(one)?.repeated === true || !isDiscarded(walk, one));
  if (rest.length === 0) return;
  const rows = outcomeRows(walk, judged.dispositions, rest);
  effects.history.record(scanRow(walk, judged.report), rows, { durable: false }).catch((cause: unknown) => {
    effects.log.error({ err: cause, queueId: identity.queueId }, 'Cannot record message in the history');
  });
}

/**
 * Only what went to somebody just now, came from outside and was held for nobody: held mail lies in the quarantine, and a virus
 * is nobody's to keep.
 */
function offerToSample({ effects, transaction, settlements }: Walk, { report }: Judged): void {
  const { direction, envelope, message } = transaction;
  if (effects.sample === undefined || direction === 'outbound' || report === null) return;
  if (report.virus.kind === 'infected' || settlements.of('held').length > 0) return;
  const isNew = settlements.of('delivered').some((one) => settlements.get(one)?.repeated === false);
  if (!isNew) return;
  const { sizeBytes } = message;
  effects.sample({ sender: envelope.sender, sizeBytes, read: () => message.read() });
}

/** What log and metrics are told. */
function accountOf(walk: Walk, { report, dispositions }: Judged): Account {
  const { transaction, identity, settlements, tally } = walk;
  const { envelope, direction, protocol, receivedAt } = transaction;
  const rows = outcomeRows(walk, dispositions, envelope.recipients);
  const { queueId, sender, messageId, sizeBytes, client, totalMs } = scanRow(walk, report);
  return {
    queueId,
    direction,
    protocol,
    client,
    sender,
    messageId,
    sizeBytes,
    report,
    digest: identity.digest,
    waitingSince: identity.facts.receivedAtMs ?? receivedAt,
    ms: { ...tally.ms, total: totalMs },
    signedHeadersDropped: tally.signedHeadersDropped,
    dsnSuppressed: tally.dsnSuppressed,
    recipients: envelope.recipients.flatMap((recipient, at) => {
      const row = rows[at];
      if (row === undefined) return [];
      const settlement = settlements.get(recipient);
      const alarm = dispositions.find((one) => one.recipients.includes(recipient))?.alarm ?? false;
      return { ...row, reason: settlement?.reason ?? null, repeated: settlement?.repeated ?? false, alarm };
    }),
  };
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
    client: known(envelope.xforward.ADDR),
    sizeBytes: message.sizeBytes,
    totalMs: Math.max(0, effects.now() - receivedAt),
  };
}

/** What Postfix does not know it forwards as [UNAVAILABLE] (XFORWARD_README). */
function known(value: string | undefined): string | null {
  return value === undefined || value === '[UNAVAILABLE]' ? null : value;
}

/** One row per recipient; `outcome` where it is not settled yet (a discard is recorded before it happens). */
export function outcomeRows(
  { settlements }: Walk,
  dispositions: readonly Disposition[],
  recipients: readonly Recipient[],
  outcome?: Settlement['kind'],
): (OutcomeRow & { readonly outcome: Settlement['kind'] })[] {
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
