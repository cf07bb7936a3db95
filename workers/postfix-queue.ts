/**
 * postfix-queue — where one message is in the queue of this machine's Postfix (postqueue(1)).
 *
 * Hides the names of the queues. Never throws: a queue that can't be asked is an answer.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { z } from 'zod';

/** `under way`: Postfix is busy with it; `waiting`: it comes again later, or when somebody says so; `gone`: it is not there. */
export type QueuePlace =
  | { readonly kind: 'under way' | 'gone' }
  | { readonly kind: 'waiting'; readonly reason: string }
  | { readonly kind: 'unknown'; readonly why: string };

const entryShape = z.object({
  queue_name: z.string(),
  queue_id: z.string(),
  recipients: z.array(z.object({ delay_reason: z.string().optional() })),
});
const timeoutMs = 10_000;
/** A line of postqueue is some 300 octets: enough for 200,000 messages. */
const maxBuffer = 64 * 1024 ** 2;
/** Where a message waits for a later try, or for the administrator; elsewhere Postfix is at it. */
const restingQueues = ['deferred', 'hold'];

/** Asks for the message with this queue id. `folder`: Postfix's configuration; null: the usual one. */
export async function placeInQueue(queueId: string, folder: string | null): Promise<QueuePlace> {
  const words = [...(folder === null ? [] : ['-c', folder]), '-j'];
  const env = { PATH: '/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C' };
  const options = { env, cwd: '/', timeout: timeoutMs, maxBuffer };
  try {
    const { stdout } = await promisify(execFile)('postqueue', words, options);
    return placeAmong(stdout, queueId);
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
    return { kind: 'unknown', why: said.split('\n').at(-1) || String(error) };
  }
}

/** The place of a message among the lines of `postqueue -j`. Throws for lines that are none of those. */
export function placeAmong(lines: string, queueId: string): QueuePlace {
  const entries = lines
    .split('\n')
    .filter((line) => line.includes(queueId))
    .map((line) => entryShape.parse(JSON.parse(line)));
  const entry = entries.find(({ queue_id }) => queue_id === queueId);
  if (entry === undefined) return { kind: 'gone' };
  if (!restingQueues.includes(entry.queue_name)) return { kind: 'under way' };
  const reason = entry.recipients.find(({ delay_reason }) => delay_reason !== undefined)?.delay_reason;
  return { kind: 'waiting', reason: reason ?? `it is in the queue "${entry.queue_name}"` };
}
