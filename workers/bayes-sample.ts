/**
 * bayes-sample — a fair random sample of recent mail, kept encrypted, to compare the backup node with.
 *
 * Hides the draw. Each message that is offered gets a random rank that grows with time, and the highest ranks stay: a
 * message of today has twice the chance of one of a week ago, whatever came in between, and nothing has to be counted
 * (Efraimidis and Spirakis, weighted sampling, with weights 2^(weeks)). Most messages cost one random number. It holds up
 * nobody: what comes while it is busy is passed over, what fails is logged once, and it never throws.
 */
import type { Seal } from './bayes-seal.ts';
import {
  clearSample,
  type Entry,
  isExpired,
  listEntries,
  openShelf,
  removeEntry,
  writeEntry,
} from './bayes-shelf.ts';
import type { Log } from './log.ts';

/** A message that was settled. `read` is called at once or never: its octets may be gone a moment later. */
export type SampleOffer = {
  readonly sender: string;
  readonly sizeBytes: number;
  read(): AsyncIterable<Uint8Array>;
};

export type Reservoir = {
  /** Keeps it, or not. */
  readonly offer: (message: SampleOffer) => void;
  /** Kept since the start; passed over because it was busy; lost to a disk that failed. */
  readonly counts: { readonly kept: number; readonly missed: number; readonly failed: number };
  /** Resolves when what was begun is done. */
  idle(): Promise<void>;
  /** Keeps nothing any more; resolves as `idle`. */
  close(): Promise<void>;
};

export type ReservoirOptions = {
  readonly state: string;
  /** Messages; 0 removes what is there and keeps nothing. */
  readonly capacity: number;
  /** Of one message. */
  readonly messageBytesMax: number;
  /** Of all of them; default 128 MiB. */
  readonly bytesMax?: number;
  readonly log: Log;
  readonly now?: () => number;
  /** 0 included to 1 excluded. */
  readonly random?: () => number;
};

const halfLifeMs = 7 * 86_400_000;
const ranksPerDoubling = 1_000_000_000;
/** Messages in memory at once, and their octets. */
const waitingMax = 4;
const waitingBytesMax = 8 * 1024 ** 2;
const sweepEveryMs = 3_600_000;

/** Opens the sample under `state`. Never rejects: where it can't be used, nothing is kept and the log says why. */
export async function openReservoir(options: ReservoirOptions): Promise<Reservoir> {
  const { state, capacity, log } = options;
  try {
    if (capacity === 0) {
      await clearSample(state);
      return noReservoir;
    }
    const seal = await openShelf(state);
    const reservoir = new ShelfReservoir(options, seal, await listEntries(state));
    reservoir.sweep();
    return reservoir;
  } catch (cause) {
    log.error({ err: cause }, 'Cannot keep a sample of mail: none is kept');
    return noReservoir;
  }
}

/** The rank of a message that comes at `now` for one random number. */
export function rankOf(now: number, random: number): number {
  // Gumbel's distribution: the highest of several such ranks belongs to each with a chance in proportion to its weight.
  const luck = -Math.log2(-Math.log2((random || Number.MIN_VALUE) * (1 - Number.EPSILON)));
  return Math.max(0, Math.round((now / halfLifeMs + luck) * ranksPerDoubling));
}

const noReservoir: Reservoir = {
  offer: () => undefined,
  counts: { kept: 0, missed: 0, failed: 0 },
  idle: async () => undefined,
  close: async () => undefined,
};

class ShelfReservoir implements Reservoir {
  readonly counts = { kept: 0, missed: 0, failed: 0 };
  readonly #options: ReservoirOptions;
  readonly #seal: Seal;
  /** Lowest rank first. */
  #entries: Entry[];
  #bytes: number;
  #waiting = 0;
  #waitingBytes = 0;
  #closed = false;
  #isFailing = false;
  #last: Promise<void> = Promise.resolve();
  readonly #timer: NodeJS.Timeout;

  constructor(options: ReservoirOptions, seal: Seal, entries: Entry[]) {
    this.#options = options;
    this.#seal = seal;
    this.#entries = entries;
    this.#bytes = entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    this.#timer = setInterval(() => this.sweep(), sweepEveryMs).unref();
  }

  readonly offer = (message: SampleOffer): void => {
    const { messageBytesMax, now = Date.now, random = Math.random } = this.#options;
    if (this.#closed || message.sizeBytes > messageBytesMax) return;
    const takenAt = now();
    const rank = rankOf(takenAt, random());
    if (!this.#wants(rank, message.sizeBytes)) return;
    const { sizeBytes } = message;
    if (this.#waiting >= waitingMax || this.#waitingBytes + sizeBytes > waitingBytesMax) {
      this.counts.missed++;
      return;
    }
    this.#waiting++;
    this.#waitingBytes += sizeBytes;
    // Read now: whoever offers it removes it soon.
    const bytes = collect(message.read());
    bytes.catch(() => undefined /* the turn that waits for it gets the error */);
    this.#inTurn(async () => {
      try {
        await this.#keep({ sender: message.sender, bytes: await bytes }, { takenAt, rank });
      } finally {
        this.#waiting--;
        this.#waitingBytes -= sizeBytes;
      }
    });
  };

  /** Removes what is too old, of another key, or too much. */
  sweep(): void {
    this.#inTurn(() => this.#trim());
  }

  idle(): Promise<void> {
    return this.#last;
  }

  close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    return this.#last;
  }

  #wants(rank: number, sizeBytes: number): boolean {
    const { capacity } = this.#options;
    const isFull = this.#entries.length >= capacity || this.#bytes + sizeBytes > this.#bytesMax();
    return !isFull || rank > (this.#entries[0]?.rank ?? 0);
  }

  async #keep(message: { sender: string; bytes: Buffer }, at: { takenAt: number; rank: number }) {
    const entry = await writeEntry(this.#options.state, this.#seal, message, at);
    const above = this.#entries.findIndex(({ rank }) => rank > entry.rank);
    this.#entries.splice(above === -1 ? this.#entries.length : above, 0, entry);
    this.#bytes += entry.sizeBytes;
    this.counts.kept++;
    await this.#trim();
  }

  async #trim(): Promise<void> {
    const { capacity, now = Date.now } = this.#options;
    const isUseless = (entry: Entry) => entry.keyId !== this.#seal.keyId || isExpired(entry, now());
    for (const entry of this.#entries.filter(isUseless)) await this.#remove(entry);
    while (this.#entries.length > capacity || this.#bytes > this.#bytesMax()) {
      const [lowest] = this.#entries;
      if (lowest === undefined) return;
      await this.#remove(lowest);
    }
  }

  async #remove(entry: Entry): Promise<void> {
    await removeEntry(this.#options.state, entry);
    this.#entries = this.#entries.filter((one) => one !== entry);
    this.#bytes -= entry.sizeBytes;
  }

  #bytesMax(): number {
    return this.#options.bytesMax ?? 128 * 1024 ** 2;
  }

  #inTurn(act: () => Promise<void>): void {
    this.#last = this.#last.then(act).then(
      () => {
        this.#isFailing = false;
      },
      (cause: unknown) => this.#fail(cause),
    );
  }

  #fail(cause: unknown): void {
    this.counts.failed++;
    if (!this.#isFailing)
      this.#options.log.warn({ err: cause }, 'Cannot keep a message of the sample: mail is not affected');
    this.#isFailing = true;
  }
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}
