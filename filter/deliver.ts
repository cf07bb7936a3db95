/**
 * deliver — one group of recipients back to Postfix, and what its replies mean for each of them.
 *
 * Hides the table "Partial acceptance" of RELIABILITY.md: on SMTP input a refused recipient among accepted ones gets a
 * delivery status notification in place of a reply, accepted by the return smtpd before our 250. Accepted recipients
 * are noted in the ledger at once, so that the window between the return smtpd's 250 and the note (W1) stays short.
 */
import { randomUUID } from 'node:crypto';
import { formatMarks } from '../rules/headers.ts';
import type { Disposition, Recipient } from '../rules/mail.ts';
import { copyOf } from './copy.ts';
import { composeDsn, wantsDsn } from './dsn.ts';
import { noteSettled } from './note.ts';
import type { Outcome } from './reinject.ts';
import type { Walk } from './walk.ts';

/** Octets of the original header that a notification repeats. */
const dsnHeaderBytesMax = 64 * 1024;

/**
 * R5, W4: our client must have its reply 30 s before its data_done_timeout (1,200 s in docs/postfix.md) ends, counted from
 * its dot; giving up later than it does makes duplicates.
 */
const replyWithinMs = 1_170_000;
const dotTimeoutMsMin = 10_000;

/** Reinjects one group and settles each of its recipients. Never throws for the return smtpd's failures. */
export async function deliver(walk: Walk, { recipients, marks }: Disposition): Promise<void> {
  const { transaction, effects, settlements } = walk;
  const { message, direction, envelope, protocol, signal } = transaction;
  const onDropped = (signed: number) => (walk.tally.signedHeadersDropped = signed);
  const bytes = copyOf(() => message.read(), { marks, direction, marker: effects.marker, onDropped });
  const sizeBytes = message.sizeBytes + formatMarks(marks, effects.marker).length;
  const dotTimeoutMs = () =>
    Math.max(dotTimeoutMsMin, transaction.receivedAt + replyWithinMs - effects.now());
  const handOff = { envelope, recipients, bytes, sizeBytes, dotTimeoutMs, allOrNothing: protocol === 'smtp' };
  const outcomes = await effects.reinject(handOff, signal);
  for (const [at, recipient] of recipients.entries()) settle(walk, recipient, outcomes[at]);
  // On SMTP input a refusal is noted only once its notification is on the way (notifyRefused).
  const final = recipients.filter((one) => settlements.get(one)?.kind !== 'refused' || protocol === 'lmtp');
  await noteSettled(walk, final);
}

function settle(
  { settlements, effects, identity }: Walk,
  recipient: Recipient,
  outcome: Outcome | undefined,
): void {
  const about = { queueId: identity.queueId, recipient: recipient.address };
  switch (outcome?.kind) {
    case 'accepted':
      return settlements.deliver(recipient, outcome.queueIdOut);
    case 'refused':
      effects.log.warn({ ...about, reply: outcome.reply }, 'Return smtpd refused recipient');
      return settlements.refuse(recipient, outcome.reply);
    case 'tempfail': {
      const alarm = outcome.outcome === 'returnMisconfigured';
      const write = alarm ? effects.log.error : effects.log.warn;
      write(
        { ...about, outcome: outcome.outcome, detail: outcome.detail, alarm },
        'Cannot reinject: deferred',
      );
      return settlements.defer([recipient], outcome.outcome);
    }
    case undefined:
      return settlements.defer([recipient], 'internal');
  }
}

/**
 * SMTP input only: recipients refused while others got the message can't be told apart in one reply. Their sender gets
 * a notification through the return smtpd, accepted before our 250; where it can't be handed over, all is deferred.
 */
export async function notifyRefused(walk: Walk, dispositions: readonly Disposition[]): Promise<void> {
  const { settlements, transaction } = walk;
  const refused = settlements.of('refused').filter((one) => settlements.get(one)?.repeated === false);
  if (refused.length === 0 || settlements.anyDeferred()) return;
  // Where nobody got the message the refusal itself is the reply, and Postfix tells the sender.
  const everyone = settlements.of('refused').length === transaction.envelope.recipients.length;
  if (!everyone && !(await isTold(walk, refused, dispositions))) {
    return settlements.deferRefused(refused, 'returnUnavailable');
  }
  await noteSettled(walk, refused);
}

/** False where the notification could not be handed over, whatever the reason: without it our 250 would lose mail. */
async function isTold(
  walk: Walk,
  refused: readonly Recipient[],
  dispositions: readonly Disposition[],
): Promise<boolean> {
  try {
    return await handOverDsn(walk, refused, dispositions);
  } catch (cause) {
    walk.effects.log.error({ err: cause, queueId: walk.identity.queueId }, 'Cannot notify sender: deferred');
    return false;
  }
}

/** True when the notification was accepted, is not wanted, or can never be delivered. */
async function handOverDsn(
  walk: Walk,
  refused: readonly Recipient[],
  all: readonly Disposition[],
): Promise<boolean> {
  const { transaction, effects, settlements, identity, tally } = walk;
  const verdictOf = (one: Recipient) =>
    all.find(({ recipients }) => recipients.includes(one))?.verdict ?? 'unchecked';
  const wanted = refused.filter((one) => wantsDsn(transaction.envelope, one, verdictOf(one)));
  const forged = refused.filter(
    (one) => wantsDsn(transaction.envelope, one, 'clean') && !wanted.includes(one),
  );
  tally.dsnSuppressed += forged.length;
  const about = { queueId: identity.queueId, refused: refused.length, notified: wanted.length };
  effects.log.warn(about, 'Recipients refused by the return smtpd beside accepted ones');
  if (wanted.length === 0) return true;
  const dsn = composeDsn({
    envelope: transaction.envelope,
    failed: wanted.flatMap((recipient) => {
      const reply = settlements.get(recipient)?.reply;
      return reply === undefined ? [] : [{ recipient, reply }];
    }),
    header: await transaction.message.head(dsnHeaderBytesMax),
    reportingMta: effects.marker.hostname,
    arrivalAt: transaction.receivedAt,
    now: effects.now(),
    boundary: randomUUID(),
    messageId: `<${randomUUID()}@${effects.marker.hostname}>`,
  });
  const bytes = async function* () {
    yield dsn.bytes;
  };
  const { envelope } = dsn;
  const handOff = { envelope, recipients: envelope.recipients, bytes, allOrNothing: true };
  const outcomes = await effects.reinject(handOff, transaction.signal);
  return outcomes[0]?.kind === 'accepted' || outcomes[0]?.kind === 'refused';
}
