/**
 * octets — reads so many octets at a time from a stream of chunks of any size.
 *
 * Hides where chunks begin and end. What ends too early rejects with an error of the caller's, so that "cut" is never taken
 * for "over".
 */

export type Octets = {
  /** At most `count` octets, at least one; null at the end. */
  next(count: number): Promise<Buffer | null>;
  /** So many octets in pieces; rejects where the input ends before. */
  exactly(count: number): AsyncGenerator<Buffer>;
  /** So many octets in one piece; rejects where the input ends before. */
  whole(count: number): Promise<Buffer>;
  /** Reads no further. */
  close(): Promise<void>;
};

/** The octets of `input`; `cut` makes the error for an input that ends so many octets too early. */
export function createOctets(input: AsyncIterable<Buffer>, cut: (missing: number) => Error): Octets {
  const chunks = input[Symbol.asyncIterator]();
  let rest: Buffer = Buffer.alloc(0);
  const next = async (count: number): Promise<Buffer | null> => {
    while (rest.length === 0) {
      const { done, value } = await chunks.next();
      if (done === true) return null;
      rest = value;
    }
    const taken = rest.subarray(0, count);
    rest = rest.subarray(taken.length);
    return taken;
  };
  const exactly = async function* (count: number): AsyncGenerator<Buffer> {
    for (let missing = count; missing > 0; ) {
      const chunk = await next(missing);
      if (chunk === null) throw cut(missing);
      missing -= chunk.length;
      yield chunk;
    }
  };
  return {
    next,
    exactly,
    async whole(count) {
      const pieces: Buffer[] = [];
      for await (const piece of exactly(count)) pieces.push(piece);
      return Buffer.concat(pieces);
    },
    async close() {
      await chunks.return?.();
    },
  };
}
