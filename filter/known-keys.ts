/**
 * known-keys — which hand-offs the ledger can't know: a set in memory that says "never seen" or "ask".
 *
 * Nearly every message comes for the first time, and waking the ledger's thread to hear so costs more than the answer.
 * A Bloom filter (Bloom 1970): what was added is never called unseen; of what was not, about one in a thousand is asked
 * for in vain, and more once it is `full`. Nothing can be taken out. Pure memory, it can't fail.
 */
import { hash } from 'node:crypto';

export interface KnownKeys {
  add(text: string): void;
  /** False only for what was never added. */
  mayKnow(text: string): boolean;
  /** True when more was added than it was made for: time for a larger one. */
  isFull(): boolean;
}

const bitsPerKey = 16;
const probes = 6;

/** An empty set with room for `capacity` texts, two octets each. */
export function createKnownKeys(capacity: number): KnownKeys {
  // A power of two, so that a mask finds the place.
  const places = 2 ** Math.ceil(Math.log2(Math.max(1024, capacity * bitsPerKey)));
  const words = new Uint32Array(places / 32);
  let added = 0;

  /** Two independent hashes give all places (Kirsch and Mitzenmacher 2006). */
  function visit(text: string, each: (word: number, bit: number) => boolean): boolean {
    const digest = hash('sha256', text, 'buffer');
    const [first, second] = [digest.readUInt32LE(0), digest.readUInt32LE(4)];
    for (let probe = 0; probe < probes; probe++) {
      const place = ((first + Math.imul(probe, second)) >>> 0) & (places - 1);
      if (!each(place >>> 5, 1 << (place & 31))) return false;
    }
    return true;
  }

  return {
    add(text) {
      added++;
      visit(text, (word, bit) => {
        words[word] = (words[word] ?? 0) | bit;
        return true;
      });
    },
    mayKnow: (text) => visit(text, (word, bit) => ((words[word] ?? 0) & bit) !== 0),
    isFull: () => added > capacity,
  };
}
