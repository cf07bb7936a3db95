/**
 * outcome — what became of the samples: looks into the Maildir sink, the quarantine and Postfix's queue.
 *
 * A good sample is right only when its octets arrived as they were sent, and was not held besides; a bad one only when
 * it is held and was delivered nowhere.
 */
import { join } from 'node:path';
import type { Delivered } from './maildir.ts';
import type { QueueEntry } from './postfix-queue.ts';
import type { Sample } from './samples.ts';
import { askSluice, type Stack } from './stack.ts';

export type Outcome = {
  readonly sample: Sample;
  readonly isRight: boolean;
  readonly what: string;
  readonly where: string;
};

/** A row of `sluice quarantine list --json`, as far as it matters here. */
type Held = {
  readonly quarantineId: string;
  readonly sender: string;
  readonly virusName: string | null;
  readonly score: number | null;
};

/** Waits until Postfix's queue is empty, `timeoutMs` at most, and says what became of each sample. */
export async function outcomesOf(
  stack: Stack,
  samples: readonly Sample[],
  timeoutMs: number,
): Promise<readonly Outcome[]> {
  // What is left in the queue is part of the outcome, not an error.
  await stack.postfix.waitForQueueEmpty(timeoutMs).catch(() => undefined);
  const queue = await stack.postfix.queue();
  const delivered = await stack.postfix.delivered();
  const held = JSON.parse(await askSluice(stack, 'quarantine', 'list', '--json')) as Held[];
  const state = join(stack.postfix.folder, 'state', 'quarantine');
  return samples.map((sample) => ({
    sample,
    ...judge(
      sample,
      delivered.filter((each) => each.sender === sample.sender),
      held.filter((each) => each.sender === sample.sender),
      queue.filter((each) => each.sender === sample.sender),
      state,
    ),
  }));
}

function judge(
  sample: Sample,
  delivered: readonly Delivered[],
  held: readonly Held[],
  queued: readonly QueueEntry[],
  state: string,
): Omit<Outcome, 'sample'> {
  const [copy, item, waiting] = [delivered[0], held[0], queued[0]];
  const once = delivered.length + held.length + queued.length === 1;
  if (copy !== undefined) {
    const intact = isIntact(sample, copy);
    const isRight = once && intact && sample.expected === 'delivered';
    return { isRight, what: `delivered, ${intact ? 'every octet intact' : 'CHANGED'}`, where: copy.file };
  }
  if (item !== undefined) {
    const why = item.virusName === null ? `score ${item.score}` : `virus ${item.virusName}`;
    const isRight = once && sample.expected === 'held';
    return { isRight, what: `held in quarantine (${why})`, where: join(state, item.quarantineId) };
  }
  const reason = waiting?.recipients[0]?.delayReason ?? 'no reason yet';
  if (waiting !== undefined) return { isRight: false, what: `deferred: ${reason}`, where: waiting.queueId };
  return { isRight: false, what: 'gone', where: 'nowhere' };
}

/** The message as sent stands at the end of the copy, behind the lines that Postfix and Sluice put in front. */
function isIntact(sample: Sample, copy: Delivered): boolean {
  const sent = Buffer.from(sample.bytes.toString('latin1').replaceAll('\r\n', '\n'), 'latin1');
  return copy.bytes.subarray(-sent.length).equals(sent);
}
