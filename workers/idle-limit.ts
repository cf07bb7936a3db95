/**
 * idle-limit — a stream whose other end may be gone without a word.
 */
import { setTimeout as delay } from 'node:timers/promises';

/** The same chunks; rejects where none comes for so long while one is waited for, and when `signal` says that time is over. */
export async function* withIdleLimit(
  input: AsyncIterable<Buffer>,
  idleMs: number,
  signal = new AbortController().signal,
): AsyncGenerator<Buffer> {
  const chunks = input[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { done, value } = await nextWithin(chunks, idleMs, signal);
      if (done === true) return;
      yield value;
    }
  } finally {
    // One that waits for its next chunk would wait with its return as well.
    void chunks.return?.().catch(() => undefined);
  }
}

async function nextWithin(
  chunks: AsyncIterator<Buffer>,
  idleMs: number,
  signal: AbortSignal,
): Promise<IteratorResult<Buffer>> {
  if (signal.aborted) throw overdue();
  const controller = new AbortController();
  const either = AbortSignal.any([controller.signal, signal]);
  const idle = delay(idleMs, null, { signal: either }).then(
    () => {
      throw new Error(`Nothing came for ${idleMs / 1000} s`);
    },
    () => {
      throw overdue();
    },
  );
  // Aborted when a chunk was faster.
  idle.catch(() => undefined);
  try {
    return await Promise.race([chunks.next(), idle]);
  } finally {
    controller.abort();
  }
}

function overdue(): Error {
  return new Error('Its time is over, and not all of it came');
}
