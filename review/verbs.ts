/**
 * verbs — what a human may do with held mail, whoever asks: the command line now, the browser later.
 *
 * Every verb takes its actor first, touches only what is the actor's (access.ts), and stands in the audit before it acts;
 * each change of state is recorded under that name. What can't be done for one copy is told of that copy; what can't be
 * done at all is a PermFail (no such item, not yours) or a TempFail (a database or a disk is down).
 */
import type { History, HistoryRow } from '../filter/history.ts';
import type { Query } from '../filter/query.ts';
import type { ItemRow, RecipientState } from '../filter/quarantine.ts';
import { isMeant } from '../filter/search.ts';
import { PermFail } from '../workers/fail.ts';
import type { LearnAs, LearnResult } from '../workers/spamd.ts';
import { type Actor, canAccess, ownCopies, ownRecord } from './access.ts';
import type { AuditEntry } from './audit.ts';
import { chosen, claimCopies, type Desk, type Item, open, skipped, told } from './desk.ts';
import type { Taught } from './journal.ts';

export { type Actor, canAccess } from './access.ts';
export type { Desk, Item } from './desk.ts';
export { release, type Released, type ReleaseOptions } from './release.ts';

/** States in which a copy still waits for somebody's decision. */
const openStates = [
  'held',
  'releasing',
  'unconfirmed',
  'moving',
] as const satisfies readonly RecipientState[];

/** How much to list; `before` is the id of the last one seen. */
export type Paging = { readonly limit: number; readonly before?: string | undefined };

/** Items, newest first: those with a copy that waits for a decision, or `all`. */
export async function list(
  actor: Actor,
  { quarantine, audit }: Desk,
  { all, limit, before }: Paging & { all: boolean },
): Promise<ItemRow[]> {
  const paging = before === undefined ? { limit } : { limit, before };
  const states = all ? [undefined] : openStates;
  const entry = { actor: actor.name, verb: 'list', quarantineId: null, detail: { all, ...paging } } as const;
  return audit.during(
    entry,
    async () => {
      const found = await Promise.all(
        states.map((state) => quarantine.list(state === undefined ? paging : { ...paging, state })),
      );
      const items = new Map(found.flat().map((item) => [item.quarantineId, item]));
      const newest = [...items.values()].toSorted(newestFirst).slice(0, limit);
      if (newest.length === 0) await mustKnow(quarantine, before);
      return newest.flatMap((item) => ownItem(actor, item));
    },
    counted,
  );
}

/** Nothing comes before what is not there; that is no end of a list. */
async function mustKnow(
  quarantine: Pick<Desk['quarantine'], 'searchIds'>,
  before: string | undefined,
): Promise<void> {
  if (before === undefined) return;
  const known = await quarantine.searchIds([{ kind: 'id', negated: false, id: before }], { limit: 1000 });
  if (known.includes(before)) return;
  throw new PermFail(`Cannot list what was held before ${before}: there is no such item (any more)`);
}

/** As the index has them: of items held in the same millisecond the higher id first. */
function newestFirst(one: ItemRow, other: ItemRow): number {
  return other.heldAt - one.heldAt || (one.quarantineId < other.quarantineId ? 1 : -1);
}

/** Items for which every term holds, newest first: those with a copy that waits for a decision, or `all`. */
export async function search(
  actor: Actor,
  { quarantine, audit }: Desk,
  query: Query,
  { all, ...paging }: Paging & { all: boolean },
): Promise<ItemRow[]> {
  const entry = {
    actor: actor.name,
    verb: 'search',
    quarantineId: null,
    detail: { query, all, ...paging },
  } as const;
  return audit.during(
    entry,
    async () => {
      const items = await quarantine.search(all ? query : openOnly(query), paging);
      if (items.length === 0) await mustKnow(quarantine, paging.before);
      return items.flatMap((item) => ownItem(actor, item));
    },
    counted,
  );
}

/** A message that a query finds, and whose copies of it are meant: those that wait and that all `to:` terms name. */
export type Match = {
  readonly quarantineId: string;
  readonly recipients: readonly string[];
  /** How many copies wait for others, whom the query does not mean. */
  readonly others: number;
};

/** All that `search` would find, in any number. */
export async function searchAll(actor: Actor, desk: Desk, query: Query): Promise<Match[]> {
  const matches: Match[] = [];
  for (let before: string | undefined; ; before = matches.at(-1)?.quarantineId) {
    const items = await search(actor, desk, query, { all: false, limit: foundAtOnce, before });
    matches.push(...items.map((item) => matchOf(query, item)));
    if (items.length < foundAtOnce) return matches;
  }
}

function matchOf(query: Query, { quarantineId, slots }: ItemRow): Match {
  const waiting = slots.filter(({ state }) => openStates.some((open) => open === state));
  const recipients = waiting.map(({ recipient }) => recipient).filter((one) => isMeant(query, one));
  return { quarantineId, recipients, others: waiting.length - recipients.length };
}

const foundAtOnce = 1000;

/** What the site's history says; a query that names a state means the outcome. `before` is the last scanId seen. */
export async function history(
  actor: Actor,
  { audit, history: told }: Pick<Desk, 'audit'> & { history: Pick<History, 'search'> },
  query: Query,
  paging: { limit: number; before?: number | undefined },
): Promise<HistoryRow[]> {
  const entry = {
    actor: actor.name,
    verb: 'history',
    quarantineId: null,
    detail: { query, ...paging },
  } as const;
  return audit.during(
    entry,
    async () => {
      const rows = await told.search(query, paging);
      return rows.flatMap((row) => {
        const outcomes = ownCopies(actor, row.outcomes);
        return actor.domains === undefined || outcomes.length > 0 ? [{ ...row, outcomes }] : [];
      });
    },
    counted,
  );
}

/** Unless the query itself says which states it means. */
function openOnly(query: Query): Query {
  if (query.some(({ kind }) => kind === 'state')) return query;
  return [...query, { kind: 'state', negated: false, states: openStates }];
}

function ownItem(actor: Actor, item: ItemRow): ItemRow[] {
  return canAccess(actor, item) ? [{ ...item, slots: ownCopies(actor, item.slots) }] : [];
}

function counted(found: readonly unknown[]): string {
  return `${found.length} found`;
}

/** An item with what people did with it, newest first: as much of that as one looks at. */
export type Shown = Item & { readonly audit: readonly AuditEntry[] };

/** All that is known of one item. PermFail where there is none. What was done with it is for who may see all of it. */
export async function show(actor: Actor, desk: Desk, quarantineId: string): Promise<Shown> {
  return desk.audit.during(
    { actor: actor.name, verb: 'show', quarantineId, detail: null },
    async () => {
      const { record, slots } = await open(actor, desk, quarantineId);
      const done =
        actor.domains === undefined ? await desk.audit.list({ limit: shownMax, quarantineId }) : [];
      const audit = done.filter(({ verb }) => verb !== 'show' && verb !== 'audit');
      return { record: ownRecord(actor, record, slots), slots, audit };
    },
    () => 'shown',
  );
}

const shownMax = 200;

/** What people did, newest first, with all items or one, which may be forgotten by now. Only for who may see everything. */
export async function auditTrail(
  actor: Actor,
  { audit }: Pick<Desk, 'audit'>,
  options: { limit: number; quarantineId?: string },
): Promise<AuditEntry[]> {
  if (actor.domains !== undefined)
    throw new PermFail(`Cannot show the audit to ${actor.name}: it is not theirs`);
  const { quarantineId = null, limit } = options;
  return audit.during(
    { actor: actor.name, verb: 'audit', quarantineId, detail: { limit } },
    // Its own row is under way.
    async (own) =>
      (await audit.list({ ...options, limit: limit + 1 })).filter(({ auditId }) => auditId !== own),
    counted,
  );
}

/**
 * Hands `write` the octets as they were scanned, until it says that it takes no more; gives how many. PermFail where there
 * are none (any more), at their end where they are not whole.
 */
export async function exportMessage(
  actor: Actor,
  desk: Desk,
  quarantineId: string,
  write: (chunk: Uint8Array) => Promise<boolean>,
): Promise<number> {
  const entry = { actor: actor.name, verb: 'export', quarantineId, detail: null } as const;
  const handed = await desk.audit.during(
    entry,
    async () => {
      await open(actor, desk, quarantineId);
      let sizeBytes = 0;
      for await (const chunk of desk.quarantine.read(quarantineId)) {
        if (!(await write(chunk))) return { sizeBytes, isWhole: false };
        sizeBytes += chunk.length;
      }
      return { sizeBytes, isWhole: true };
    },
    ({ sizeBytes, isWhole }) => (isWhole ? 'handed out' : `broken off after ${sizeBytes} octets`),
  );
  return handed.sizeBytes;
}

/** What became of one copy of a deletion. */
export type Deleted = {
  readonly recipient: string;
  readonly kind: 'deleted' | 'skipped';
  readonly detail: string;
};

/** Deletes held copies (of these recipients; empty: all of the item); the octets go with the last one. */
export async function deleteHeld(
  actor: Actor,
  desk: Desk,
  quarantineId: string,
  recipients: readonly string[],
): Promise<readonly Deleted[]> {
  return desk.audit.during(
    { actor: actor.name, verb: 'delete', quarantineId, detail: { recipients } },
    async () => {
      const { slots } = await open(actor, desk, quarantineId);
      const wanted = chosen(slots, recipients, 'delete', quarantineId);
      const mine = await claimCopies(actor, desk, wanted, ['held', 'unconfirmed'], 'deleted');
      const others = await skipped(
        desk,
        wanted.filter((row) => !mine.includes(row)),
      );
      return [
        ...mine.map(({ recipient, state }) => ({
          recipient,
          kind: 'deleted' as const,
          detail: `it was ${state}`,
        })),
        ...others.map((one) => ({ ...one, kind: 'skipped' as const })),
      ];
    },
    told,
  );
}

/** Teaches the spam scanner the message as it was scanned, whatever became of its copies since. */
export async function learn(
  actor: Actor,
  desk: Desk,
  quarantineId: string,
  as: LearnAs,
  signal: AbortSignal,
): Promise<LearnResult> {
  return desk.audit.during(
    { actor: actor.name, verb: 'learn', quarantineId, detail: { as } },
    async () => {
      const { record } = await open(actor, desk, quarantineId);
      const { sha256, sizeBytes } = record;
      const bytes = () => desk.quarantine.read(quarantineId);
      await keepForPrimary(desk, { sha256, as, by: actor.name, sizeBytes }, bytes);
      return desk.learn(bytes, sizeBytes, as, signal);
    },
    ({ kind }) => kind,
  );
}

/** Before it is taught: what a crash would lose is then taught twice, which SpamAssassin knows. */
async function keepForPrimary(
  { journal, log }: Desk,
  lesson: Omit<Taught, 'at'>,
  bytes: () => AsyncIterable<Uint8Array>,
): Promise<void> {
  await journal?.add(lesson, bytes).catch((cause: unknown) => {
    if (!(cause instanceof PermFail)) throw cause;
    // Full, or the octets are not whole, which the lesson itself tells: what can be taught here is.
    log.error({ err: cause }, 'The primary will not be taught this');
  });
}
