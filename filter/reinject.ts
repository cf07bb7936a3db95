/**
 * reinject — gives messages back to Postfix, through the return smtpd.
 *
 * Hides the connections (used again, replaced when stale, closed when idle, so many at once), the splitting of what has
 * too many recipients, and every failure of the peer: each recipient gets one Outcome, never an exception. What the
 * return smtpd last offered is remembered for the listener.
 */
import type { Recipient } from '../rules/mail.ts';
import { ConnectionPool, type PoolOptions } from './connection-pool.ts';
import { failureOf, type HandOff, type Part, transact } from './hand-off.ts';
import type { Offers, PeerOffers } from './offers.ts';
import { deferredBy, type Outcome, tempFailed } from './outcome.ts';
import { ConnectionFail } from './smtp-client.ts';

export type { HandOff } from './hand-off.ts';
export type { Offers, PeerOffers } from './offers.ts';
export type { Outcome } from './outcome.ts';

export type Reinjector = {
  /** What the return smtpd last offered; permissive before the first contact. */
  readonly offers: () => Offers;
  /** Connects anew and says what is offered. Throws TempFail where the return smtpd can't be talked to. */
  readonly probe: (signal?: AbortSignal) => Promise<PeerOffers>;
  /**
   * Hands the message over and says what became of each of `job.recipients`, in order. Never throws for the peer's
   * failure, nor for one of the source. `signal` is honoured until our dot, never after. Where the peer takes too few
   * recipients at once there are several transactions; one that fails leaves those before it accepted, also with
   * `allOrNothing`.
   */
  readonly reinject: (job: HandOff, signal: AbortSignal) => Promise<readonly Outcome[]>;
  /** Says QUIT on idle connections and drops the others, before the dot or after it: drain first. */
  readonly close: () => Promise<void>;
};

export type ReinjectorOptions = PoolOptions & {
  /** R5: until 30 s before Postfix's data_done_timeout (1,200 s in our fragment), less time for our own reply. */
  readonly dotTimeoutMs?: number;
};

/** A reinjector for one return smtpd. Connects when there is something to say, not before. */
export function createReinjector(options: ReinjectorOptions): Reinjector {
  const pool = new ConnectionPool(options);
  const dotTimeoutMs = options.dotTimeoutMs ?? 1_140_000;

  async function attempt(
    job: HandOff,
    recipients: readonly Recipient[],
    signal: AbortSignal,
  ): Promise<readonly Part[]> {
    try {
      return await pool.use(signal, (connection) =>
        transact(connection, job, recipients, { signal, dotTimeoutMs }),
      );
    } catch (error) {
      const outcome =
        error instanceof ConnectionFail ? failureOf(error) : tempFailed('internal', null, String(error));
      return recipients.map(() => outcome);
    }
  }

  return {
    offers: () => pool.offers,
    probe: (signal) => pool.probe(signal ?? new AbortController().signal),
    reinject: (job, signal) =>
      inTransactions(job.recipients, (recipients) => attempt(job, recipients, signal)),
    close: () => pool.close(),
  };
}

/** As many transactions as the peer's limit asks for; one outcome per recipient, in order. */
async function inTransactions(
  recipients: readonly Recipient[],
  attempt: (some: readonly Recipient[]) => Promise<readonly Part[]>,
): Promise<readonly Outcome[]> {
  if (recipients.length === 0) return [];
  const parts = await attempt(recipients);
  const postponed = recipients.filter((_, at) => parts[at]?.kind === 'postponed');
  // Each transaction that is followed by another has taken somebody, so this ends.
  const goesOn = postponed.length > 0 && parts.some(({ kind }) => kind === 'accepted');
  const later = (goesOn ? await inTransactions(postponed, attempt) : []).values();
  return parts.map((part) => {
    if (part.kind !== 'postponed') return part;
    return later.next().value ?? deferredBy(part.reply);
  });
}
