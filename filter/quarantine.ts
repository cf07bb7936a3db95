/**
 * quarantine — held mail: put, find, list, search, get, read, claim, expire, reconcile.
 *
 * The truth is one folder per item; quarantine.db is an index that can be rebuilt. Once `put` resolves the item is
 * durable (R1). A put that dies after its rename is found again by its ledger keys, so that the retry neither loses
 * the message nor holds it twice. With the index down, or the disk nearly full, nothing new is held (TempFail, 451), but
 * `find` still answers.
 */
import { randomBytes } from 'node:crypto';
import type { HeldUnder } from '../rules/decide.ts';
import type { Disposition, Envelope, Recipient, ScanReport } from '../rules/mail.ts';
import { PermFail, TempFail } from '../workers/fail.ts';
import type { Log } from '../workers/log.ts';
import { ownOwner } from './owner.ts';
import type { Query } from './query.ts';
import {
  type ItemRow,
  type ListOptions,
  openIndex,
  type SearchOptions,
  type SlotRow,
} from './quarantine-index.ts';
import {
  type Bytes,
  codeOf,
  confirmItem,
  isItem,
  prepareFolder,
  type PutStep,
  readChanges,
  readItem,
  readMessage,
  writeItem,
} from './quarantine-item.ts';
import { expire, type Expired } from './quarantine-expiry.ts';
import { RecentKeys } from './quarantine-keys.ts';
import { Room } from './quarantine-room.ts';
import {
  failUsing,
  finish,
  type Finished,
  indexFolders,
  readItems,
  reconcile,
  type Reconciled,
} from './quarantine-reconcile.ts';
import { changeState, type Parts } from './quarantine-state.ts';
import type { ItemRecord, ItemStory, RecipientState } from './quarantine-record.ts';

export type { ItemRow, ListOptions, SearchOptions, SlotRow } from './quarantine-index.ts';
export type { Bytes, PutStep } from './quarantine-item.ts';
export type { Expired } from './quarantine-expiry.ts';
export type { Finished, Reconciled } from './quarantine-reconcile.ts';
export {
  type ItemRecord,
  type ItemStory,
  itemStory,
  quarantineIdPattern,
  recipientStates,
  type RecipientState,
} from './quarantine-record.ts';

/** A message to hold. Each slot's recipient must be one of the very objects in the dispositions' recipients. */
export type NewItem = {
  readonly envelope: Envelope;
  readonly direction: 'inbound' | 'outbound';
  /** The recipients for whom it is held; `retentionDays` here overrides the item's. */
  readonly slots: readonly {
    readonly recipient: Recipient;
    readonly ledgerKey: string | null;
    readonly retentionDays?: number;
    /** Thresholds and days of this recipient, each with its origin. */
    readonly heldUnder?: HeldUnder;
  }[];
  readonly report: ScanReport;
  readonly dispositions: readonly Disposition[];
  readonly facts: {
    readonly from: string | null;
    readonly subject: string | null;
    readonly messageId: string | null;
  };
  readonly queueId: string | null;
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly receivedAt: number;
  readonly retentionDays: number;
};

/** The held mail of one state folder; methods reject with TempFail (try again) or PermFail (no such item, broken item). */
export interface Quarantine {
  /** Holds a message: durable when it resolves. Where its ledger keys are held already, gives that item's id. */
  put(item: NewItem, bytes: Bytes): Promise<string>;
  /**
   * Holds what another node held, under the same id, with what became of its copies there: durable when it resolves.
   * `already`: it is here, whole and durable, or is settled here: nothing is changed. `expired`: nobody can want it any more.
   */
  adopt(story: ItemStory, bytes: Bytes): Promise<'adopted' | 'already' | 'expired'>;
  /** Which of these ledger keys are held (or were: released, deleted and expired ones count). */
  find(ledgerKeys: readonly string[]): Promise<ReadonlyMap<string, { quarantineId: string }>>;
  /** Items, newest first. */
  list(options: ListOptions): Promise<ItemRow[]>;
  /** Items for which every term of the query holds, newest first. */
  search(query: Query, options: SearchOptions): Promise<ItemRow[]>;
  /** Their ids alone. */
  searchIds(query: Query, options: SearchOptions): Promise<string[]>;
  /** All that is known of one item, and the state of each of its slots. */
  get(quarantineId: string): Promise<{ record: ItemRecord; slots: readonly SlotRow[] }>;
  /** The held octets; throws, at their end at the latest, where they are not those that were held. */
  read(quarantineId: string): AsyncIterable<Uint8Array>;
  /** Compare-and-set of each slot's state, on disk when it resolves: true where this call, and nobody else, changed it. */
  claim(
    quarantineId: string,
    slots: readonly number[],
    from: RecipientState,
    to: RecipientState,
    actor: string,
    queueIdOut?: string | null,
  ): Promise<boolean[]>;
  /** R7: makes the index agree with the folders. Done at start, and again after a failure, by whoever needs it first. */
  reconcile(): Promise<Reconciled>;
  /** Ends releases and deletions that other processes had begun when they died, as the next start would. */
  finish(): Promise<Finished>;
  /** Expires copies whose retention is over and forgets items that nobody can ask for any more; stops with the signal. */
  expire(signal: AbortSignal): Promise<Expired>;
  /** Items held for somebody now, and octets of all that are kept: held, or released and not yet expired. */
  size(): Promise<{ items: number; bytes: number }>;
  /** Resolves where a put would find folder and index in order, and room. */
  check(): Promise<void>;
  close(): Promise<void>;
}

const dayMs = 86_400_000;

/**
 * The quarantine in `folder` with its index in `file`. It always resolves: what is wrong with either is told by the
 * calls that need it, until it is put right. `keepMs`: how long a retry may come (maximal_queue_lifetime and a day).
 */
export async function openQuarantine(options: {
  folder: string;
  file: string;
  log: Log;
  now?: () => number;
  keepMs?: number;
  busyTimeoutMs?: number;
  onStep?: (step: PutStep) => Promise<void> | void;
}): Promise<Quarantine> {
  const { folder, log, now = Date.now, keepMs = 6 * dayMs, onStep = () => undefined } = options;
  const { file, busyTimeoutMs = 2000 } = options;
  // Our name is read from /proc once, here, where no mail is at stake.
  ownOwner();
  const index = await openIndex({ file, log, busyTimeoutMs });
  return new FolderQuarantine({ folder, index, log, now }, keepMs, onStep);
}

class FolderQuarantine implements Quarantine {
  readonly #parts: Parts;
  readonly #keepMs: number;
  readonly #recent: RecentKeys;
  readonly #room: Room;
  readonly #onStep: (step: PutStep) => Promise<void> | void;
  /** Committed items that the index could not take. */
  readonly #unindexed = new Set<string>();
  #reconciled: Promise<Reconciled> | null = null;

  constructor(parts: Parts, keepMs: number, onStep: (step: PutStep) => Promise<void> | void) {
    this.#parts = parts;
    this.#keepMs = keepMs;
    this.#recent = new RecentKeys({ keepMs, now: parts.now });
    this.#room = new Room(parts.folder);
    this.#onStep = onStep;
  }

  async put(item: NewItem, bytes: Bytes): Promise<string> {
    const record = recordOf(item, this.#parts.now());
    await this.#once();
    const adopted = await this.#adopt(item);
    if (adopted !== null) return adopted;
    // Nothing new is held that reviewers could not see: DESIGN, "quarantine down → 451 for what must be held".
    await this.#parts.index.check();
    await this.#onStep('prepared');
    await this.#write({ record, changes: [] }, bytes);
    await this.#index({ record, changes: [] });
    await this.#onStep('indexed');
    return record.quarantineId;
  }

  async adopt(story: ItemStory, bytes: Bytes): Promise<'adopted' | 'already' | 'expired'> {
    const { index, folder, now } = this.#parts;
    const { quarantineId, slots } = story.record;
    await index.check();
    const isThere = await isItem(folder, quarantineId);
    const known = await this.#knownSlots(quarantineId, isThere);
    if (known.length > 0 && !known.some(isWanted)) return 'already';
    if (isThere) {
      // Whoever hears "already" removes its octets.
      await confirmItem(folder, quarantineId);
      return 'already';
    }
    if (known.length === 0 && slots.every(({ expiresAt }) => expiresAt <= now())) return 'expired';
    await prepareFolder(folder).catch(failUsing(folder));
    await this.#onStep('prepared');
    // A row whose folder is gone, as with another disk mounted: what was decided here since holds.
    const whole = known.length === 0 ? story : { ...story, changes: trailOf(known) };
    await this.#write(whole, bytes);
    await this.#index(whole);
    if (known.length > 0) await index.flag(quarantineId, null);
    await this.#onStep('indexed');
    return 'adopted';
  }

  async find(ledgerKeys: readonly string[]): Promise<ReadonlyMap<string, { quarantineId: string }>> {
    if (ledgerKeys.length === 0) return new Map();
    try {
      await this.#once();
      await this.#catchUp();
      // Memory has every key of the time in which a retry may come; the index, a thread away, can know no more of it.
      return await this.#findRecent(ledgerKeys);
    } catch (error) {
      this.#parts.log.warn({ err: error }, 'quarantine not whole, asking what is left of it');
      // Without folders too, what the index knows is all that can be known.
      return this.#findRecent(ledgerKeys).catch(() => this.#parts.index.find(ledgerKeys));
    }
  }

  list(options: ListOptions): Promise<ItemRow[]> {
    return this.#parts.index.list(options);
  }

  search(query: Query, options: SearchOptions): Promise<ItemRow[]> {
    return this.#parts.index.search(query, options);
  }

  searchIds(query: Query, options: SearchOptions): Promise<string[]> {
    return this.#parts.index.searchIds(query, options);
  }

  async get(quarantineId: string): Promise<{ record: ItemRecord; slots: readonly SlotRow[] }> {
    const { folder, index } = this.#parts;
    const record = await readItem(folder, quarantineId);
    const slots = await index.slotsOf([quarantineId]);
    if (slots.length > 0) return { record, slots };
    await index.add([{ record, changes: await readChanges(folder, quarantineId) }]);
    return { record, slots: await index.slotsOf([quarantineId]) };
  }

  async *read(quarantineId: string): AsyncIterable<Uint8Array> {
    yield* readMessage(this.#parts.folder, await readItem(this.#parts.folder, quarantineId));
  }

  claim(
    quarantineId: string,
    slots: readonly number[],
    from: RecipientState,
    to: RecipientState,
    actor: string,
    queueIdOut: string | null = null,
  ): Promise<boolean[]> {
    return changeState(this.#parts, quarantineId, slots, { from, to, actor, queueIdOut });
  }

  reconcile(): Promise<Reconciled> {
    const running = this.#reconcile();
    this.#reconciled = running;
    running.catch(() => {
      // Whoever asked gets the failure; the next one who needs it tries again.
      if (this.#reconciled === running) this.#reconciled = null;
    });
    return running;
  }

  async finish(): Promise<Finished> {
    await this.#once();
    return finish(this.#parts);
  }

  async expire(signal: AbortSignal): Promise<Expired> {
    await this.#once();
    return expire(this.#parts, this.#keepMs, signal);
  }

  size(): Promise<{ items: number; bytes: number }> {
    return this.#parts.index.size();
  }

  async check(): Promise<void> {
    await this.#once();
    await this.#parts.index.check();
    await this.#room.check();
  }

  close(): Promise<void> {
    return this.#parts.index.close();
  }

  #once(): Promise<Reconciled> {
    return this.#reconciled ?? this.reconcile();
  }

  async #reconcile(): Promise<Reconciled> {
    const unindexed = [...this.#unindexed];
    const result = await reconcile(this.#parts);
    for (const quarantineId of unindexed) this.#unindexed.delete(quarantineId);
    this.#recent.replace(await this.#parts.index.keysSince(this.#recent.since));
    return result;
  }

  #findRecent(ledgerKeys: readonly string[]) {
    return this.#recent.find(ledgerKeys, () => readItems(this.#parts.folder));
  }

  /** What the index knows of an item. A folder without a row gets one: the try before this one died between the two. */
  async #knownSlots(quarantineId: string, isThere: boolean): Promise<SlotRow[]> {
    const { index } = this.#parts;
    const known = await index.slotsOf([quarantineId]);
    if (known.length > 0 || !isThere) return known;
    const [broken] = await indexFolders(this.#parts, [quarantineId]);
    if (broken !== undefined) throw new TempFail(`Cannot adopt ${quarantineId}: ${broken.why}`);
    return index.slotsOf([quarantineId]);
  }

  /** The item that holds these recipients already: a try before this one died, or lost its reply, after the commit. */
  async #adopt(item: NewItem): Promise<string | null> {
    const keys = item.slots.flatMap((slot) => slot.ledgerKey ?? []);
    const found = await this.find(keys);
    if (found.size === 0) return null;
    const [quarantineId, another] = new Set(keys.map((key) => found.get(key)?.quarantineId));
    if (quarantineId !== undefined && another === undefined && keys.every((key) => found.has(key)))
      return quarantineId;
    throw new TempFail(`Cannot hold ${item.queueId}: only some of its recipients are held already`);
  }

  async #write(story: ItemStory, bytes: Bytes): Promise<void> {
    try {
      await this.#room.within(story.record.sizeBytes, () =>
        writeItem(this.#parts.folder, story, bytes, this.#onStep),
      );
    } catch (error) {
      // The folder was emptied, or another disk was mounted there: prepare it again before the next put.
      if (error instanceof Error && codeOf(error.cause) === 'ENOENT') this.#reconciled = null;
      throw error;
    }
  }

  /** The item is held by now, whatever the index says: what it can't take today it takes later. */
  async #index(story: ItemStory): Promise<void> {
    const { record } = story;
    const { index, log } = this.#parts;
    await this.#recent.add(record);
    try {
      await index.add([story]);
    } catch (error) {
      this.#unindexed.add(record.quarantineId);
      log.warn({ err: error, quarantineId: record.quarantineId }, 'held, but not indexed yet');
    }
  }

  async #catchUp(): Promise<void> {
    const unindexed = [...this.#unindexed];
    if (unindexed.length > 0) await indexFolders(this.#parts, unindexed);
    for (const quarantineId of unindexed) this.#unindexed.delete(quarantineId);
  }
}

/** Whether somebody may want its octets. */
function isWanted({ state }: SlotRow): boolean {
  return state === 'held' || state === 'releasing' || state === 'unconfirmed' || state === 'moving';
}

function trailOf(rows: readonly SlotRow[]): ItemStory['changes'] {
  return rows.flatMap(({ trail }) => trail).toSorted((one, other) => one.at - other.at);
}

function recordOf(item: NewItem, heldAt: number): ItemRecord {
  const { slots, retentionDays, dispositions, ...same } = item;
  // Few policies for many recipients: each is written once.
  const policies = [...new Map(slots.flatMap(({ heldUnder }) => keyed(heldUnder)))];
  const record = {
    ...same,
    format: 1,
    quarantineId: randomBytes(16).toString('hex'),
    heldAt,
    dispositions: dispositions.map(({ kind, verdict, why, marks, alarm }) => ({
      kind,
      verdict,
      why,
      marks,
      alarm,
    })),
    policies: policies.map(([, policy]) => policy),
    slots: slots.map(({ recipient, ledgerKey, heldUnder, retentionDays: days = retentionDays }) => ({
      recipient,
      ledgerKey,
      disposition: dispositionOf(item, recipient),
      ...(heldUnder === undefined ? {} : { policy: positionOf(policies, heldUnder) }),
      expiresAt: heldAt + days * dayMs,
    })),
  };
  // A copy, plain and its own, which nobody can change while it is being written.
  return structuredClone(record) as ItemRecord;
}

type Keyed = readonly [string, HeldUnder];

function keyed(policy: HeldUnder | undefined): Keyed[] {
  return policy === undefined ? [] : [[JSON.stringify(policy), policy]];
}

function positionOf(policies: readonly Keyed[], policy: HeldUnder): number {
  const key = JSON.stringify(policy);
  return policies.findIndex(([other]) => other === key);
}

function dispositionOf(item: NewItem, recipient: Recipient): number {
  const position = item.dispositions.findIndex(({ recipients }) => recipients.includes(recipient));
  if (position < 0)
    throw new PermFail(`Cannot hold ${item.queueId}: no disposition names ${recipient.address}`);
  return position;
}
