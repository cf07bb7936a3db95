/**
 * smtp-data — one message from 354 to its replies: octets into the spool, then the one call of `onMessage`.
 *
 * Hides what can go wrong between the two: a client that leaves (nothing is kept), a message over the limit or a disk
 * that is full (told at the dot, when the client listens again), a deadline, a consumer that throws or miscounts
 * (451 for every recipient). Never rejects, and the spool is empty afterwards.
 */
import type { Envelope } from '../rules/mail.ts';
import { type Reply, replyFor } from '../rules/replies.ts';
import { TempFail } from '../workers/fail.ts';
import type { Log } from '../workers/log.ts';
import type { Spool, SpooledMessage, SpoolWriter } from '../workers/spool.ts';
import { createLineCleaner } from './line-cleaner.ts';

/** One message on its way: what `onMessage` gets. `message` is removed by the listener when `onMessage` has settled. */
export type Transaction = {
  readonly direction: 'inbound' | 'outbound';
  readonly protocol: 'smtp' | 'lmtp';
  readonly envelope: Envelope;
  readonly message: SpooledMessage;
  /** Address of the client, or 'unix'. */
  readonly remoteAddress: string;
  /** When the dot came, epoch milliseconds. */
  readonly receivedAt: number;
  /** From our 354 to the dot. */
  readonly receiveMs: number;
  /** Fires when the client is gone or the message's deadline (counted from the dot) has passed. */
  readonly signal: AbortSignal;
  /** True once nobody is left to hear the replies. */
  readonly clientGone: boolean;
};

/** SMTP: one reply; LMTP: one per recipient in order. What it throws counts as 451. */
export type OnMessage = (transaction: Transaction) => Promise<readonly Reply[]>;

/** What DATA brought: a whole message, what to answer for every slot, or a client that left before the dot. */
export type Received =
  | {
      readonly kind: 'message';
      readonly message: SpooledMessage;
      readonly receivedAt: number;
      readonly receiveMs: number;
      readonly dotMs: number;
    }
  | { readonly kind: 'failed'; readonly outcome: 'tooLarge' | 'spoolUnavailable' }
  | { readonly kind: 'left' };

/** Where the octets come from: `next` gives null when the client is gone, `unread` takes back what follows the dot. */
export type DataSource = { next(): Promise<Buffer | null>; unread(octets: Buffer): void };

/** A writer of the spool, or null where it can't give one (logged). */
export function openSpool(spool: Pick<Spool, 'open'>, log: Log): SpoolWriter | null {
  try {
    return spool.open();
  } catch (error) {
    log.error({ err: error }, 'Cannot open the spool: answered 452');
    return null;
  }
}

/** Octets up to the dot, cleaned, into `writer`; at most `sizeBytesMax` of them are kept. */
export async function receiveData(
  source: DataSource,
  writer: SpoolWriter,
  sizeBytesMax: number,
  log: Log,
): Promise<Received> {
  const startMs = performance.now();
  const cleaner = createLineCleaner();
  let failure: 'tooLarge' | 'spoolUnavailable' | null = null;
  let sizeBytes = 0;
  for (let chunk = await source.next(); chunk !== null; chunk = await source.next()) {
    const { cleaned, rest } = cleaner.clean(chunk);
    sizeBytes += cleaned.length;
    if (failure === null && sizeBytes > sizeBytesMax) {
      failure = 'tooLarge';
      await writer.abort();
    }
    if (failure === null && cleaned.length > 0) failure = await write(writer, cleaned, log);
    if (rest === null) continue;
    source.unread(rest);
    return failure === null ? finish(writer, startMs, log) : { kind: 'failed', outcome: failure };
  }
  await writer.abort();
  return { kind: 'left' };
}

async function write(writer: SpoolWriter, octets: Uint8Array, log: Log): Promise<'spoolUnavailable' | null> {
  try {
    await writer.write(octets);
    return null;
  } catch (error) {
    log.error({ err: error }, 'Cannot spool a message: answered 452');
    return 'spoolUnavailable';
  }
}

async function finish(writer: SpoolWriter, startMs: number, log: Log): Promise<Received> {
  const receivedAt = Date.now();
  const dotMs = performance.now();
  try {
    const message = await writer.finish();
    return { kind: 'message', message, receivedAt, receiveMs: dotMs - startMs, dotMs };
  } catch (error) {
    log.error({ err: error }, 'Cannot spool a message: answered 452');
    return { kind: 'failed', outcome: 'spoolUnavailable' };
  }
}

/** Calls `onMessage` once and gives exactly `slots` replies. `gone` fires when the client leaves. */
export async function handOver(
  received: Received & { kind: 'message' },
  transaction: Omit<Transaction, 'message' | 'receivedAt' | 'receiveMs' | 'signal' | 'clientGone'>,
  options: { slots: number; gone: AbortSignal; deadlineMs: number; onMessage: OnMessage; log: Log },
): Promise<readonly Reply[]> {
  const { message, receivedAt, receiveMs } = received;
  const { slots, gone, log } = options;
  const patience = startPatience(gone, options.deadlineMs - (performance.now() - received.dotMs));
  try {
    const replies = await options.onMessage({
      ...transaction,
      message,
      receivedAt,
      receiveMs,
      signal: patience.signal,
      get clientGone() {
        return gone.aborted;
      },
    });
    if (replies.length === slots) return replies;
    log.error({ slots, replies: replies.length }, 'Replies do not match the recipients: answered 451');
  } catch (error) {
    log.error({ sender: transaction.envelope.sender, err: error }, 'Message failed: answered 451');
  } finally {
    patience.end();
    await message
      .remove()
      .catch((error: unknown) => log.warn({ err: error }, 'Cannot remove a spooled message'));
  }
  return repeatReply(replyFor('internal'), slots);
}

/** The same reply for every slot. */
export function repeatReply(reply: Reply, slots: number): readonly Reply[] {
  return Array.from({ length: slots }, () => reply);
}

/** A signal that fires when `gone` does or after `ms` (RELIABILITY R5: counted from the dot). */
function startPatience(gone: AbortSignal, ms: number): { signal: AbortSignal; end(): void } {
  const abort = new AbortController();
  const onGone = () => abort.abort(new TempFail('Client gone before its reply'));
  const timer = setTimeout(() => abort.abort(new TempFail('Deadline passed before the hand-off')), ms);
  if (gone.aborted) onGone();
  else gone.addEventListener('abort', onGone, { once: true });
  return {
    signal: abort.signal,
    end() {
      clearTimeout(timer);
      gone.removeEventListener('abort', onGone);
    },
  };
}
