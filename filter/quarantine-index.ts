/**
 * quarantine-index — quarantine.db: where to find a held item, and who may change a recipient's state next.
 *
 * Hides tables and SQL. All of it can be rebuilt from the item folders, but as long as it lives it is the referee:
 * a state changes by compare-and-set in one transaction, so that of two processes exactly one wins.
 */
import type { Log } from '../workers/log.ts';
import type { ItemRecord, ItemStory, RecipientState, StateChange } from './quarantine-record.ts';
import type { Query } from './query.ts';
import {
  moreStatesMigration,
  nextNumber,
  searchedItems,
  searchMigration,
  textSteps,
  unsearched,
  type ItemFacts,
} from './quarantine-search.ts';
import { findKeys } from './search.ts';
import { insertStep, openStore, type Step, type Store } from './store.ts';

const migrations = [
  `CREATE TABLE item (
     quarantine_id TEXT PRIMARY KEY, held_at INTEGER NOT NULL, received_at INTEGER NOT NULL, queue_id TEXT,
     direction TEXT NOT NULL, sender TEXT NOT NULL, header_from TEXT, subject TEXT, message_id TEXT,
     size_bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, score REAL, virus_name TEXT,
     bytes INTEGER NOT NULL,  -- 0: message.eml was removed after a deletion
     flag TEXT                -- 'missing': the folder was not there at the last reconcile
   ) WITHOUT ROWID;
   CREATE INDEX item_held_at ON item (held_at, quarantine_id);
   CREATE TABLE item_recipient (
     quarantine_id TEXT NOT NULL REFERENCES item ON DELETE CASCADE, slot INTEGER NOT NULL,
     recipient TEXT NOT NULL, ledger_key TEXT, held_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
     verdict TEXT NOT NULL, why TEXT NOT NULL,
     state TEXT NOT NULL, actor TEXT, at INTEGER NOT NULL, owner TEXT, queue_id_out TEXT,
     trail TEXT NOT NULL,  -- JSON list of StateChange, oldest first
     PRIMARY KEY (quarantine_id, slot)
   ) WITHOUT ROWID;
   CREATE INDEX item_recipient_ledger_key ON item_recipient (ledger_key);
   CREATE INDEX item_recipient_state ON item_recipient (state, held_at, quarantine_id);
   CREATE INDEX item_recipient_held_at ON item_recipient (held_at);
   CREATE INDEX item_recipient_expires_at ON item_recipient (state, expires_at);`,
  searchMigration,
  // 0: changed here, and not known to stand in states.jsonl yet.
  `ALTER TABLE item_recipient ADD COLUMN recorded INTEGER NOT NULL DEFAULT 1;
   CREATE INDEX item_recipient_unrecorded ON item_recipient (quarantine_id) WHERE recorded = 0;`,
  // The node that held it first, for what a backup held.
  `ALTER TABLE item ADD COLUMN moved_from TEXT;
   ${moreStatesMigration}`,
];

/** One recipient's held copy as it stands; `queueIdOut` is the return smtpd's after a release. */
export type SlotRow = {
  readonly quarantineId: string;
  readonly slot: number;
  readonly recipient: string;
  readonly expiresAt: number;
  readonly verdict: string;
  readonly why: string;
  readonly state: RecipientState;
  readonly actor: string | null;
  readonly at: number;
  readonly owner: string | null;
  readonly queueIdOut: string | null;
  readonly trail: readonly StateChange[];
};

/** One line of a list of held items; times are epoch milliseconds, `flag` is 'missing' where the folder is gone. */
export type ItemRow = {
  readonly quarantineId: string;
  readonly heldAt: number;
  readonly receivedAt: number;
  readonly queueId: string | null;
  readonly direction: 'inbound' | 'outbound';
  readonly sender: string;
  readonly from: string | null;
  readonly subject: string | null;
  readonly messageId: string | null;
  readonly sizeBytes: number;
  readonly score: number | null;
  readonly virusName: string | null;
  readonly flag: 'missing' | null;
  /** The backup that held it first. */
  readonly movedFrom: string | null;
  readonly slots: readonly SlotRow[];
};

/** An item as its folder tells it. */
export type IndexEntry = Readonly<ItemStory>;

/** What to list: newest first; `before` is the quarantineId of the last row seen. */
export type ListOptions = {
  readonly state?: RecipientState;
  readonly limit: number;
  readonly before?: string;
};

/** How much to find; `before` is the quarantineId of the last row seen. */
export type SearchOptions = { readonly limit: number; readonly before?: string | undefined };

/** A copy past its time that still waits for a decision. */
export type DueCopy = {
  readonly quarantineId: string;
  readonly slot: number;
  readonly state: 'held' | 'unconfirmed';
  readonly expiresAt: number;
};

export type QuarantineIndex = ReturnType<typeof indexOn>;

/** The index in `file`; like every store it opens by itself as soon as it can, and fails with TempFail until then. */
export async function openIndex(options: {
  file: string;
  log: Log;
  busyTimeoutMs?: number;
}): Promise<QuarantineIndex> {
  return indexOn(await openStore({ ...options, migrations, synchronous: 'FULL' }));
}

function indexOn(store: Store) {
  return {
    check: () => store.check(),
    close: () => store.close(),
    add: (items: readonly IndexEntry[]) => add(store, items),
    find: (ledgerKeys: readonly string[]) => find(store, ledgerKeys),
    keysSince: (heldAt: number) => keysSince(store, heldAt),
    list: (options: ListOptions) => list(store, options),
    search: (query: Query, options: SearchOptions) => search(store, query, options),
    searchIds: (query: Query, options: SearchOptions) =>
      findKeys<string>(store, searchedItems, query, options),
    fillSearch: () => fillSearch(store),
    slotsOf: (quarantineIds: readonly string[]) => slotsOf(store, quarantineIds),
    size: () => size(store),
    change: (quarantineId: string, changes: readonly StateChange[]) => change(store, quarantineId, changes),
    noteRecorded: (quarantineId: string, changes: readonly StateChange[]) =>
      noteRecorded(store, quarantineId, changes),
    unrecorded: () => unrecorded(store),
    idsFrom: (digit: string) => idsFrom(store, digit),
    flag: (quarantineId: string, flag: 'missing' | null) => setFlag(store, quarantineId, flag),
    releasing: () => releasing(store),
    gone: (quarantineId?: string) => gone(store, quarantineId),
    noteBytesRemoved: (quarantineId: string) => noteBytesRemoved(store, quarantineId),
    due: (now: number, last: DueCopy | null, limit: number) => due(store, now, last, limit),
    spent: (now: number, after: string, limit: number) => spent(store, now, after, limit),
    forgettable: (now: number, keepMs: number, after: string, limit: number) =>
      forgettable(store, now, keepMs, after, limit),
    remove: (quarantineId: string) => remove(store, quarantineId),
  };
}

/** Adds items as their folders tell them, in one commit; one that is there already stays as it is. */
async function add(store: Store, items: readonly IndexEntry[]): Promise<void> {
  const steps = items.flatMap(({ record, changes }) => [
    itemStep(record),
    ...record.slots.map((held, slot) => slotStep(record, held, slot, changes)),
    ...textSteps([factsOf(record)]),
  ]);
  await store.transaction(steps);
}

function itemStep(record: ItemRecord): Step {
  const { spam, virus } = record.report;
  const row = {
    quarantine_id: record.quarantineId,
    held_at: record.heldAt,
    received_at: record.receivedAt,
    queue_id: record.queueId,
    direction: record.direction,
    sender: clip(record.envelope.sender),
    header_from: clip(record.facts.from),
    subject: clip(record.facts.subject),
    message_id: clip(record.facts.messageId),
    size_bytes: record.sizeBytes,
    sha256: record.sha256,
    score: spam.kind === 'scored' ? spam.score : null,
    virus_name: virus.kind === 'infected' ? clip(virus.name) : null,
    bytes: 1,
    moved_from: record.movedFrom?.node ?? null,
  };
  const columns = Object.keys(row);
  return {
    sql: `INSERT INTO item (${columns.join(', ')}, number) VALUES (${columns.map(() => '?').join(', ')}, ${nextNumber})
            ON CONFLICT DO NOTHING`,
    params: [...Object.values(row), record.heldAt, record.heldAt, record.heldAt],
  };
}

function factsOf({ quarantineId, envelope, facts, report, slots, dispositions }: ItemRecord): ItemFacts {
  return {
    quarantineId,
    sender: envelope.sender,
    from: facts.from,
    subject: facts.subject,
    virusName: report.virus.kind === 'infected' ? report.virus.name : null,
    score: report.spam.kind === 'scored' ? report.spam.score : null,
    recipients: slots.map(({ recipient }) => recipient.address),
    verdicts: slots.map(({ disposition }) => dispositions[disposition]?.verdict ?? 'unchecked'),
  };
}

function slotStep(
  record: ItemRecord,
  held: ItemRecord['slots'][number],
  slot: number,
  changes: readonly StateChange[],
): Step {
  const disposition = record.dispositions[held.disposition];
  const trail = changes.filter((changed) => changed.slot === slot);
  const last = trail.at(-1);
  const row = {
    quarantine_id: record.quarantineId,
    slot,
    recipient: clip(held.recipient.address),
    ledger_key: held.ledgerKey,
    held_at: record.heldAt,
    expires_at: held.expiresAt,
    verdict: disposition?.verdict ?? 'unchecked',
    why: clip(disposition?.why ?? ''),
    state: last?.to ?? 'held',
    actor: last?.actor ?? null,
    at: last?.at ?? record.heldAt,
    owner: last?.owner ?? null,
    queue_id_out: trail.findLast((changed) => changed.queueIdOut !== null)?.queueIdOut ?? null,
    trail: JSON.stringify(trail),
  };
  return insertStep('item_recipient', row, 'ON CONFLICT DO NOTHING');
}

async function find(
  store: Store,
  ledgerKeys: readonly string[],
): Promise<Map<string, { quarantineId: string }>> {
  const rows = await store.all<{ key: string; id: string }>(
    `SELECT ledger_key AS key, quarantine_id AS id FROM item_recipient
      WHERE ledger_key IN (SELECT value FROM json_each(?)) ORDER BY held_at DESC`,
    [JSON.stringify(ledgerKeys)],
  );
  // The oldest comes last and stays: where one key was ever held twice, the first hold is the one that was answered.
  return new Map(rows.map(({ key, id }) => [key, { quarantineId: id }]));
}

async function keysSince(store: Store, heldAt: number) {
  return store.all<{ key: string; quarantineId: string; heldAt: number }>(
    `SELECT ledger_key AS key, quarantine_id AS quarantineId, held_at AS heldAt FROM item_recipient
      WHERE held_at >= ? AND ledger_key IS NOT NULL ORDER BY held_at`,
    [heldAt],
  );
}

async function list(store: Store, { state, limit, before }: ListOptions): Promise<ItemRow[]> {
  const older = `(held_at, quarantine_id) < (SELECT held_at, quarantine_id FROM item WHERE quarantine_id = ?)`;
  const newest = 'ORDER BY held_at DESC, quarantine_id DESC LIMIT ?';
  const ids =
    state === undefined
      ? `SELECT quarantine_id FROM item ${before === undefined ? '' : `WHERE ${older}`} ${newest}`
      : `SELECT quarantine_id FROM item_recipient WHERE state = ? ${before === undefined ? '' : `AND ${older}`}
          GROUP BY held_at, quarantine_id ${newest}`;
  const params = [...(state === undefined ? [] : [state]), ...(before === undefined ? [] : [before]), limit];
  return rowsOf(store, ids, params, 'held_at DESC, quarantine_id DESC');
}

async function search(store: Store, query: Query, options: SearchOptions): Promise<ItemRow[]> {
  const ids = await findKeys<string>(store, searchedItems, query, options);
  return rowsOf(store, 'SELECT value FROM json_each(?)', [JSON.stringify(ids)], 'number DESC');
}

/** Puts the items of before there was a full-text index into it, in small steps; gives how many. */
async function fillSearch(store: Store): Promise<number> {
  for (let filled = 0; ; ) {
    const items = await unsearched(store, filledAtOnce);
    if (items.length === 0) return filled;
    await store.transaction(textSteps(items));
    filled += items.length;
  }
}

async function rowsOf(
  store: Store,
  ids: string,
  params: readonly (string | number)[],
  order: string,
): Promise<ItemRow[]> {
  const items = await store.all<Omit<ItemRow, 'slots'>>(
    `SELECT quarantine_id AS quarantineId, held_at AS heldAt, received_at AS receivedAt, queue_id AS queueId,
            direction, sender, header_from AS "from", subject, message_id AS messageId, size_bytes AS sizeBytes,
            score, virus_name AS virusName, flag, moved_from AS movedFrom
       FROM item WHERE quarantine_id IN (${ids}) ORDER BY ${order}`,
    params,
  );
  const slots = await slotsOf(
    store,
    items.map((item) => item.quarantineId),
  );
  const byItem = Map.groupBy(slots, (slot) => slot.quarantineId);
  return items.map((item) => ({ ...item, slots: byItem.get(item.quarantineId) ?? [] }));
}

async function slotsOf(store: Store, quarantineIds: readonly string[]): Promise<SlotRow[]> {
  const rows = await store.all<Omit<SlotRow, 'trail'> & { trail: string }>(
    `SELECT quarantine_id AS quarantineId, slot, recipient, expires_at AS expiresAt, verdict, why, state, actor, at,
            owner, queue_id_out AS queueIdOut, trail
       FROM item_recipient WHERE quarantine_id IN (SELECT value FROM json_each(?)) ORDER BY quarantine_id, slot`,
    [JSON.stringify(quarantineIds)],
  );
  return rows.map((row) => ({ ...row, trail: JSON.parse(row.trail) as StateChange[] }));
}

/**
 * Items of which a copy is held for somebody, and the octets of all that are kept. Two passes, each over one index or table in
 * its order: with 100,000 items under 100 ms, where a join of both takes more than a second.
 */
async function size(store: Store): Promise<{ items: number; bytes: number }> {
  const [held] = await store.all<{ items: number }>(
    `SELECT count(*) AS items FROM (SELECT 1 FROM item_recipient WHERE state = 'held' GROUP BY held_at, quarantine_id)`,
  );
  const [kept] = await store.all<{ bytes: number }>(
    'SELECT coalesce(sum(size_bytes), 0) AS bytes FROM item WHERE bytes = 1',
  );
  return { items: held?.items ?? 0, bytes: kept?.bytes ?? 0 };
}

/** Compare-and-set of each change: true where the slot still was in `from`. */
async function change(store: Store, quarantineId: string, changes: readonly StateChange[]) {
  const changed = await store.transaction(
    changes.map(({ slot, from, to, actor, at, owner, queueIdOut }, index) => ({
      sql: `UPDATE item_recipient
               SET state = ?, actor = ?, at = ?, owner = ?, queue_id_out = coalesce(?, queue_id_out), recorded = 0,
                   trail = json_insert(trail, '$[#]', json(?))
             WHERE quarantine_id = ? AND slot = ? AND state = ?`,
      params: [to, actor, at, owner, queueIdOut, JSON.stringify(changes[index]), quarantineId, slot, from],
    })),
  );
  return changed.map(({ changes: rows }) => rows === 1);
}

/** These changes stand in the item's folder now; one that somebody made since does not. */
async function noteRecorded(
  store: Store,
  quarantineId: string,
  changes: readonly StateChange[],
): Promise<void> {
  await store.transaction(
    changes.map(({ slot, to, at }) => ({
      sql: `UPDATE item_recipient SET recorded = 1 WHERE quarantine_id = ? AND slot = ? AND state = ? AND at = ?`,
      params: [quarantineId, slot, to, at],
    })),
  );
}

/** Copies whose last change may not stand in their folder: a process is at it, or died there. */
async function unrecorded(store: Store): Promise<SlotRow[]> {
  const rows = await store.all<{ id: string; slot: number }>(
    'SELECT quarantine_id AS id, slot FROM item_recipient WHERE recorded = 0',
  );
  const wanted = new Set(rows.map(({ id, slot }) => `${id} ${slot}`));
  const slots = await slotsOf(store, [...new Set(rows.map(({ id }) => id))]);
  return slots.filter(({ quarantineId, slot }) => wanted.has(`${quarantineId} ${slot}`));
}

/** Ids that begin with this hex digit. */
async function idsFrom(store: Store, digit: string): Promise<Map<string, 'missing' | null>> {
  const rows = await store.all<{ id: string; flag: 'missing' | null }>(
    'SELECT quarantine_id AS id, flag FROM item WHERE quarantine_id >= ? AND quarantine_id < ?',
    [digit, `${digit}g`],
  );
  return new Map(rows.map(({ id, flag }) => [id, flag]));
}

async function setFlag(store: Store, quarantineId: string, flag: 'missing' | null): Promise<void> {
  await store.run('UPDATE item SET flag = ? WHERE quarantine_id = ?', [flag, quarantineId]);
}

async function releasing(store: Store) {
  return store.all<{ quarantineId: string; slot: number; owner: string; at: number }>(
    `SELECT quarantine_id AS quarantineId, slot, owner, at FROM item_recipient WHERE state = 'releasing'`,
  );
}

/** What was released here may be learnt where the rest of it went. */
const hasMoved = `EXISTS (SELECT 1 FROM item_recipient AS m WHERE m.quarantine_id = item.quarantine_id AND m.state = 'moved')`;

/** Items (or this one) none of whose copies is wanted any more, while their octets may still be there. */
async function gone(store: Store, quarantineId?: string): Promise<string[]> {
  const rows = await store.all<{ id: string }>(
    `SELECT quarantine_id AS id FROM item WHERE bytes = 1 AND ${quarantineId === undefined ? '' : 'quarantine_id = ? AND'}
        quarantine_id IN (SELECT quarantine_id FROM item_recipient WHERE state IN ('deleted', 'expired', 'moved'))
        AND NOT EXISTS (SELECT 1 FROM item_recipient AS r WHERE r.quarantine_id = item.quarantine_id
                           AND r.state NOT IN ('deleted', 'expired', 'moved')
                           AND NOT (r.state = 'released' AND ${hasMoved}))`,
    quarantineId === undefined ? [] : [quarantineId],
  );
  return rows.map(({ id }) => id);
}

async function noteBytesRemoved(store: Store, quarantineId: string): Promise<void> {
  await store.run('UPDATE item SET bytes = 0 WHERE quarantine_id = ?', [quarantineId]);
}

/** Copies past their time, earliest first, behind the last one seen; one that is being released is left alone. */
async function due(store: Store, now: number, last: DueCopy | null, limit: number): Promise<DueCopy[]> {
  const { expiresAt, quarantineId, slot } = last ?? { expiresAt: 0, quarantineId: '', slot: 0 };
  return store.all<DueCopy>(
    `SELECT quarantine_id AS quarantineId, slot, state, expires_at AS expiresAt FROM item_recipient
      WHERE state IN ('held', 'unconfirmed') AND expires_at <= ? AND expires_at >= ?
        AND (expires_at, quarantine_id, slot) > (?, ?, ?)
        AND quarantine_id IN (SELECT quarantine_id FROM item WHERE flag IS NULL)
      ORDER BY expires_at, quarantine_id, slot LIMIT ?`,
    [now, expiresAt, expiresAt, quarantineId, slot, limit],
  );
}

const isOpen = `r.state IN ('held', 'releasing', 'unconfirmed', 'moving')`;

/** Items with octets that nobody can want any more: every copy is settled, and the time of the released ones is over. */
async function spent(store: Store, now: number, after: string, limit: number): Promise<string[]> {
  return idsOf(
    store,
    `SELECT DISTINCT item.quarantine_id AS id FROM item_recipient JOIN item USING (quarantine_id)
      WHERE item_recipient.state = 'released' AND item_recipient.expires_at <= ? AND item.bytes = 1
        AND item.flag IS NULL AND item.quarantine_id > ?
        AND NOT EXISTS (SELECT 1 FROM item_recipient AS r WHERE r.quarantine_id = item.quarantine_id
                           AND (${isOpen} OR (r.state = 'released' AND r.expires_at > ?)))
      ORDER BY id LIMIT ?`,
    [now, after, now, limit],
  );
}

/**
 * Items without octets whose last change is so long ago that no retry asks for them; rows that lost their folder, too. What
 * came from a backup stays until it would have expired, in case that one offers it again.
 */
async function forgettable(
  store: Store,
  now: number,
  keepMs: number,
  after: string,
  limit: number,
): Promise<string[]> {
  return idsOf(
    store,
    `SELECT quarantine_id AS id FROM item WHERE quarantine_id > ?1 AND
       CASE WHEN bytes = 0 THEN NOT EXISTS (
              SELECT 1 FROM item_recipient AS r WHERE r.quarantine_id = item.quarantine_id AND (${isOpen} OR r.at > ?2
                OR (item.moved_from IS NOT NULL AND r.expires_at > ?2)))
            WHEN flag = 'missing' THEN NOT EXISTS (
              SELECT 1 FROM item_recipient AS r WHERE r.quarantine_id = item.quarantine_id AND r.expires_at > ?2)
       END ORDER BY id LIMIT ?3`,
    [after, now - keepMs, limit],
  );
}

async function idsOf(store: Store, sql: string, params: readonly (string | number)[]): Promise<string[]> {
  return (await store.all<{ id: string }>(sql, params)).map(({ id }) => id);
}

/** Forgets an item, its copies and what the full-text index knows of it. */
async function remove(store: Store, quarantineId: string): Promise<void> {
  await store.run('DELETE FROM item WHERE quarantine_id = ?', [quarantineId]);
}

const textCharactersMax = 2000;
const filledAtOnce = 200;

/** Enough to list and to search; item.json has all of it. */
function clip<Text extends string | null>(text: Text): string | Text {
  return text === null ? text : text.slice(0, textCharactersMax);
}
