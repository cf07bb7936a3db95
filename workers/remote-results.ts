/**
 * remote-results — the stream into which workers write results for this process.
 *
 * Hides how nothing of it is lost or kept: it is read from an explicit place on, on a connection of its own, and what was
 * read is deleted a little later. After any trouble reading begins anew at the beginning, as another server's ids may be lower; what
 * comes twice then speaks of jobs that nobody waits for any more. Never throws.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Log } from './log.ts';
import type { Redis } from './redis.ts';

export type Results = { readonly close: () => Promise<void> };

const beginning = '0-0';
const countMax = 500;
const blockMs = 2_000;
const pauseMs = 100;
/** The stream is there as long as its reader lives, and not much longer. */
const expiryMs = 60_000;
const keepEveryMs = 1_000;
/** What was read is deleted so often, or when it is so much: a command for every few results cost more than it saved. */
const trimEveryMs = 100;
const trimCount = 200;

/** Reads `key` until closed. `reader` is used by nobody else and closed here; `producer` deletes what was read. */
export function openResults(options: {
  reader: Redis;
  producer: Redis;
  key: string;
  onResult: (text: string) => void;
  log: Log;
}): Results {
  const { reader, producer, key, onResult, log } = options;
  let closed = false;
  let after = beginning;
  let readSince = 0;
  let trimmedAt = 0;

  const readOnce = async (): Promise<void> => {
    const found = await reader.xread('COUNT', countMax, 'BLOCK', blockMs, 'STREAMS', key, after);
    const entries = found?.[0]?.[1] ?? [];
    for (const [id, [name, text]] of entries) {
      after = id;
      if (name === 'result' && text !== undefined) onResult(text);
    }
    readSince += entries.length;
    // The entry of each second that keeps the stream brings us here again.
    const now = performance.now();
    if (readSince === 0 || (readSince < trimCount && now - trimmedAt < trimEveryMs)) return;
    [readSince, trimmedAt] = [0, now];
    producer
      .xtrim(key, 'MINID', nextId(after))
      .catch((cause: unknown) => log.debug({ err: cause }, 'Results that were read will expire'));
  };
  /** Workers never make the stream: what its reader left behind would stay for ever. Read and deleted like any entry. */
  const keep = (): void => {
    Promise.all([producer.xadd(key, '*', 'alive', ''), producer.pexpire(key, expiryMs)]).catch(
      (cause: unknown) => log.debug({ err: cause }, 'Cannot keep the stream of results'),
    );
  };
  const timer = setInterval(keep, keepEveryMs).unref();
  producer.on('ready', keep);
  if (producer.status === 'ready') keep();
  const run = async (): Promise<void> => {
    while (!closed) {
      try {
        await readOnce();
      } catch (cause) {
        log.debug({ err: cause }, 'Cannot read results');
        after = beginning;
        await delay(pauseMs);
      }
    }
  };
  void run();
  return {
    async close() {
      closed = true;
      clearInterval(timer);
      producer.off('ready', keep);
      // What is asked while it reconnects would never be answered: nobody waits for it.
      reader.disconnect();
      await producer
        .del(key)
        .catch((cause: unknown) => log.debug({ err: cause }, 'The stream of results will expire'));
    },
  };
}

/** The smallest id behind this one. */
function nextId(id: string): string {
  const [ms = '0', sequence = '0'] = id.split('-');
  return `${ms}-${BigInt(sequence) + 1n}`;
}
