/**
 * desk — what verbs work with, and the steps that several of them share.
 *
 * Hides how an item is opened (only the actor's copies; a release that died on the way is shown as unconfirmed) and how
 * copies are claimed: by compare-and-set, so that of two people who act at once one does.
 */
import { ownerState } from '../filter/owner.ts';
import type { ItemRecord, Quarantine, RecipientState, SlotRow } from '../filter/quarantine.ts';
import { PermFail } from '../workers/fail.ts';
import type { Log } from '../workers/log.ts';
import type { Queue } from '../workers/queue.ts';
import { type Actor, ownCopies } from './access.ts';
import type { Audit } from './audit.ts';
import type { HandOver } from './hand-over.ts';
import type { Journal } from './journal.ts';

/** What verbs work with. */
export type Desk = HandOver & {
  readonly quarantine: Quarantine;
  readonly audit: Audit;
  readonly learn: Queue['learn'];
  /** On a backup: what is taught here is kept for the primary. */
  readonly journal?: Pick<Journal, 'add'> | null;
  readonly log: Log;
};

/** An item with all that is known of it. */
export type Item = { readonly record: ItemRecord; readonly slots: readonly SlotRow[] };

/** An item and those of its copies that are the actor's. */
export async function open(
  actor: Actor,
  { quarantine }: Pick<Desk, 'quarantine'>,
  quarantineId: string,
): Promise<Item> {
  const { record, slots } = await quarantine.get(quarantineId);
  const changed = await unconfirmAbandoned(quarantine, slots);
  const now = changed ? (await quarantine.get(quarantineId)).slots : slots;
  const own = ownCopies(actor, now);
  if (own.length > 0) return { record, slots: own };
  throw new PermFail(`Cannot show ${quarantineId}: it is not there (any more)`);
}

/** Those that this call, and nobody else, has led from one of these states to `to`. */
export async function claimCopies(
  actor: Actor,
  { quarantine }: Pick<Desk, 'quarantine'>,
  rows: readonly SlotRow[],
  states: readonly RecipientState[],
  to: RecipientState,
): Promise<SlotRow[]> {
  const mine: SlotRow[] = [];
  for (const from of states) {
    const some = rows.filter(({ state }) => state === from);
    const [{ quarantineId } = { quarantineId: '' }] = some;
    if (some.length === 0) continue;
    const slots = some.map(({ slot }) => slot);
    const won = await quarantine.claim(quarantineId, slots, from, to, actor.name);
    mine.push(...some.filter((_, at) => won[at]));
  }
  return mine;
}

/** Why nothing was done for these, by their states as they are now: somebody else may have been quicker. */
export async function skipped(
  { quarantine }: Desk,
  rows: readonly SlotRow[],
): Promise<{ recipient: string; detail: string }[]> {
  const [{ quarantineId } = { quarantineId: '' }] = rows;
  if (rows.length === 0) return [];
  const { slots } = await quarantine.get(quarantineId);
  return rows.map(({ slot, recipient, state: before }) => {
    const state = slots.find((row) => row.slot === slot)?.state ?? before;
    const more = moreOf[state] ?? '';
    return { recipient, detail: `it is ${state}${more}` };
  });
}

const moreOf: Partial<Record<RecipientState, string>> = {
  unconfirmed: ': it may have arrived; --again releases it once more',
  moving: ': the primary may have it; --again releases it here all the same',
  moved: ': the primary has it',
};

/** Those of these recipients, compared verbatim; none named: all. A stranger among them stops all of it. */
export function chosen(
  slots: readonly SlotRow[],
  recipients: readonly string[],
  verb: 'release' | 'delete',
  quarantineId: string,
): readonly SlotRow[] {
  const stray = recipients.find((address) => !slots.some((row) => row.recipient === address));
  if (stray !== undefined) throw new PermFail(`Cannot ${verb} ${quarantineId}: it is not held for ${stray}`);
  return recipients.length === 0 ? slots : slots.filter((row) => recipients.includes(row.recipient));
}

/** Results in one line, for the audit. */
export function told(results: readonly { recipient: string; kind: string }[]): string {
  return results.map(({ recipient, kind }) => `${recipient}: ${kind}`).join(', ');
}

/** A release whose process died may have happened or not: only a human can tell. True where there was one. */
async function unconfirmAbandoned(quarantine: Quarantine, rows: readonly SlotRow[]): Promise<boolean> {
  const abandoned = rows.filter(
    ({ state, owner }) => state === 'releasing' && owner !== null && ownerState(owner) === 'dead',
  );
  for (const { quarantineId, slot } of abandoned)
    await quarantine.claim(quarantineId, [slot], 'releasing', 'unconfirmed', 'reconcile');
  return abandoned.length > 0;
}
