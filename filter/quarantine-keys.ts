/**
 * quarantine-keys — which ledger keys were held lately, for the time the index is down.
 *
 * A retry of Postfix must find what was held even while quarantine.db is locked or broken, or clean mail would have to
 * wait for it. So the keys of items that are young enough for a retry are kept in memory: taken from the index after a
 * reconcile, or else read from the item folders once, by the first who asks.
 */
import type { ItemRecord } from './quarantine-record.ts';

type Held = { readonly quarantineId: string; readonly heldAt: number };

/** Ledger keys of the items held within the last `keepMs`. */
export class RecentKeys {
  readonly #keepMs: number;
  readonly #now: () => number;
  #keys: Promise<Map<string, Held>> | null = null;

  constructor(options: { keepMs: number; now: () => number }) {
    this.#keepMs = options.keepMs;
    this.#now = options.now;
  }

  /** Time from which on items count. */
  get since(): number {
    return this.#now() - this.#keepMs;
  }

  /** Takes these, oldest first, for all there are. */
  replace(rows: readonly (Held & { key: string })[]): void {
    const entries = rows.map(({ key, quarantineId, heldAt }) => [key, { quarantineId, heldAt }] as const);
    this.#keys = Promise.resolve(new Map(entries));
  }

  /** Adds a new item's keys and drops those grown too old. */
  async add(record: ItemRecord): Promise<void> {
    const keys = await this.#keys?.catch(() => null);
    if (keys === undefined || keys === null) return;
    addKeys(keys, record);
    for (const [key, { heldAt }] of keys) {
      if (heldAt >= this.since) break;
      keys.delete(key);
    }
  }

  /** Which of these are held; `load` reads all items, where nothing is known yet. Rejects as `load` does. */
  async find(
    wanted: readonly string[],
    load: () => AsyncIterable<ItemRecord>,
  ): Promise<Map<string, { quarantineId: string }>> {
    const keys = await (this.#keys ?? this.#load(load));
    return new Map(
      wanted.flatMap((key) => {
        const held = keys.get(key);
        return held === undefined ? [] : [[key, { quarantineId: held.quarantineId }]];
      }),
    );
  }

  #load(load: () => AsyncIterable<ItemRecord>): Promise<Map<string, Held>> {
    const loading = readKeys(load(), this.since);
    this.#keys = loading;
    loading.catch(() => {
      // Whoever waits for it gets the failure; the next one loads again.
      if (this.#keys === loading) this.#keys = null;
    });
    return loading;
  }
}

async function readKeys(records: AsyncIterable<ItemRecord>, since: number): Promise<Map<string, Held>> {
  const keys = new Map<string, Held>();
  for await (const record of records) {
    if (record.heldAt >= since) addKeys(keys, record);
  }
  return keys;
}

function addKeys(keys: Map<string, Held>, { quarantineId, heldAt, slots }: ItemRecord): void {
  for (const { ledgerKey } of slots) {
    if (ledgerKey !== null) keys.set(ledgerKey, { quarantineId, heldAt });
  }
}
