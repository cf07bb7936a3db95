/**
 * waiting — how long the oldest message that was deferred lately has been waiting (RELIABILITY R13).
 *
 * One entry stands for each transaction that was deferred, under its queue id (or digest, where it has none) and the first
 * deferred recipient: many recipients come in parts that know nothing of each other. It counts until a later try settles
 * that recipient, and no longer than two of Postfix's longest pauses: then it is in nobody's queue. Bounded in memory.
 */

/** What there is to know of one try. */
export type Try = {
  readonly queueId: string | null;
  readonly digest: string;
  /** Epoch milliseconds. */
  readonly waitingSince: number;
  readonly recipients: readonly { readonly recipient: string; readonly outcome: string }[];
};

export type Waiting = {
  /** Notes one try; the message waits on where any recipient is deferred. */
  readonly note: (one: Try) => void;
  /** Age of the oldest message that waits; 0 where none does. */
  readonly oldestSeconds: () => number;
};

const transactionsMax = 10_000;

/** `keepMs`: how long a deferred message is waited for; Postfix's maximal_backoff_time is 4,000 s. */
export function createWaiting({ now = Date.now, keepMs = 8_000_000 } = {}): Waiting {
  const waiting = new Map<string, { since: number; triedAt: number }>();
  const forgetOld = () => {
    for (const [key, { triedAt }] of waiting) if (now() - triedAt > keepMs) waiting.delete(key);
  };
  return {
    note({ queueId, digest, waitingSince, recipients }) {
      const keyOf = (recipient: string) => `${queueId ?? digest} ${recipient}`;
      if (waiting.size > 0) for (const { recipient } of recipients) waiting.delete(keyOf(recipient));
      const deferred = recipients.find(({ outcome }) => outcome === 'deferred');
      if (deferred === undefined) return;
      if (waiting.size >= transactionsMax) forgetOld();
      // Where it is full still, those that are known are old enough to tell.
      if (waiting.size < transactionsMax)
        waiting.set(keyOf(deferred.recipient), { since: waitingSince, triedAt: now() });
    },
    oldestSeconds() {
      forgetOld();
      let oldest = now();
      for (const { since } of waiting.values()) oldest = Math.min(oldest, since);
      return (now() - oldest) / 1000;
    },
  };
}
