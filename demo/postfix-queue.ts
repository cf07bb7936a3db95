/**
 * postfix-queue — what lies in the queue of a private Postfix, as postqueue(1) -j tells it.
 */
import { setTimeout as delay } from 'node:timers/promises';

/** A message in Postfix's queue (postqueue(1) -j). */
export type QueueEntry = {
  readonly queueName: string;
  readonly queueId: string;
  readonly arrivalTime: number;
  readonly sizeBytes: number;
  readonly sender: string;
  readonly recipients: readonly { readonly address: string; readonly delayReason: string | null }[];
};

/** Resolves when `queue` is empty; throws with what is left in it after `timeoutMs`. */
export async function waitForEmpty(queue: () => Promise<QueueEntry[]>, timeoutMs: number): Promise<void> {
  const until = Date.now() + timeoutMs;
  // Empty twice: a message that moves between two queues while postqueue looks can be missed once.
  for (let empty = 0; empty < 2; await delay(50)) {
    const entries = await queue();
    empty = entries.length === 0 ? empty + 1 : 0;
    if (empty === 0 && Date.now() > until) {
      throw new Error(`Queue not empty after ${timeoutMs} ms: ${JSON.stringify(entries.slice(0, 5))}`);
    }
  }
}

/** Parses the lines of JSON. */
export function parseQueue(lines: string): QueueEntry[] {
  type Row = {
    queue_name: string;
    queue_id: string;
    arrival_time: number;
    message_size: number;
    sender: string;
    recipients: { address: string; delay_reason?: string }[];
  };
  const rows = lines.split('\n').filter((line) => line !== '');
  return rows.map((line) => {
    const row = JSON.parse(line) as Row;
    return {
      queueName: row.queue_name,
      queueId: row.queue_id,
      arrivalTime: row.arrival_time,
      sizeBytes: row.message_size,
      sender: row.sender,
      recipients: row.recipients.map((each) => ({
        address: each.address,
        delayReason: each.delay_reason ?? null,
      })),
    };
  });
}
