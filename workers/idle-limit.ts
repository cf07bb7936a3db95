/**
 * idle-limit — a stream whose other end may be gone without a word.
 */
import { setTimeout as delay } from 'node:timers/promises';

/** The same chunks; rejects where none comes for so long while one is waited for. */
export async function* withIdleLimit(input: AsyncIterable<Buffer>, idleMs: number): AsyncGenerator<Buffer> {
  const chunks = input[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { done, value } = await nextWithin(chunks, idleMs);
      if (done === true) return;
      yield value;
    }
  } finally {
    // One that waits for its next chunk would wait with its return as well.
    void chunks.return?.().catch(() => undefined);
  }
}

async function nextWithin(chunks: AsyncIterator<Buffer>, idleMs: number): Promise<IteratorResult<Buffer>> {
  const controller = new AbortController();
  const idle = delay(idleMs, null, { signal: controller.signal }).then(() => {
    throw new Error(`Nothing came for ${idleMs / 1000} s`);
  });
  // Aborted when a chunk was faster.
  idle.catch(() => undefined);
  try {
    return await Promise.race([chunks.next(), idle]);
  } finally {
    controller.abort();
  }
}
