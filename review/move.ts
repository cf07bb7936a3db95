/**
 * move — what a backup held goes to the primary's quarantine, once, and from then on appears only there.
 *
 * held → moving → moved, each by compare-and-set, so that a release that was begun here wins. An item leaves as a whole or
 * waits. The octets here go only when the primary has said that it holds them, under the same id; whatever dies in
 * between, the next try offers the same item again and the primary knows it.
 */
import type { History, OutcomeRow, ScanRow } from '../filter/history.ts';
import type { Bytes, ItemRecord, ItemStory, RecipientState, SlotRow } from '../filter/quarantine.ts';
import { replyFor } from '../rules/replies.ts';
import { PermFail } from '../workers/fail.ts';
import type { Actor } from './access.ts';
import { claimCopies, type Desk, open } from './desk.ts';

/** What moving works with; `host` is this machine's name. */
export type Removal = Pick<Desk, 'quarantine' | 'audit' | 'log'> & {
  readonly history: Pick<History, 'record'>;
  readonly host: string;
  readonly now: () => number;
};

/** What the primary did with an item: it has it now, had it, or nobody can want it any more. */
export type Arrival = 'adopted' | 'already' | 'expired';

/** States of a copy that has yet to leave. */
const leaving = ['held', 'unconfirmed', 'moving'] as const satisfies readonly RecipientState[];

/** A primary that was not heard of for so long has no claim any more. */
const claimMs = 86_400_000;
/** A claim older than this is renewed with the next hand-out: one line more of the item's story, not one a minute. */
const renewMs = claimMs / 8;

/** An item that has yet to leave, and how large it is. */
export type Movable = { readonly quarantineId: string; readonly sizeBytes: number };

/** Items with a copy that has yet to leave, at most so many. */
export async function movable({ quarantine }: Removal, limit: number): Promise<Movable[]> {
  const found = await Promise.all(leaving.map((state) => quarantine.list({ state, limit })));
  const items = new Map(found.flat().map(({ quarantineId, sizeBytes }) => [quarantineId, sizeBytes]));
  return [...items].slice(0, limit).map(([quarantineId, sizeBytes]) => ({ quarantineId, sizeBytes }));
}

/** The item as the primary shall have it, its copies claimed; null where it has to wait or nothing is left to move. */
export async function takeOut(
  actor: Actor,
  removal: Removal,
  quarantineId: string,
): Promise<ItemStory | null> {
  return removal.audit.during(
    { actor: actor.name, verb: 'move', quarantineId, detail: null },
    () => claimWhole(actor, removal, quarantineId),
    (story) => (story === null ? 'waits' : 'handed out'),
  );
}

async function claimWhole(actor: Actor, removal: Removal, quarantineId: string): Promise<ItemStory | null> {
  const desk = { quarantine: removal.quarantine };
  const at = removal.now();
  const { record, slots } = await open(actor, desk, quarantineId);
  if (slots.some((slot) => hasToWait(actor, slot, at))) return null;
  await claimCopies(actor, desk, slots, ['held', 'unconfirmed'], 'moving');
  await claimCopies(
    actor,
    desk,
    slots.filter((slot) => slot.actor !== actor.name || at - slot.at > renewMs),
    ['moving'],
    'moving',
  );
  const now = (await removal.quarantine.get(quarantineId)).slots;
  // Somebody began to release a copy meanwhile: that comes first, and the item leaves with what it came to. What is
  // claimed stays so: another round may have handed it out, and what was put back could be released on both nodes.
  const isLeft = ({ state }: SlotRow) => state === 'held' || state === 'unconfirmed';
  if (now.some((slot) => isLeft(slot) || hasToWait(actor, slot, at))) return null;
  if (!now.some(({ state }) => state === 'moving')) return null;
  return {
    record: { ...record, movedFrom: { node: removal.host, at } },
    changes: now.flatMap(changesBeforeMoving),
  };
}

/** It is being released; or another primary may have it, or get it. */
function hasToWait(actor: Actor, slot: SlotRow, now: number): boolean {
  if (slot.state === 'releasing') return true;
  return slot.state === 'moving' && slot.actor !== actor.name && now - slot.at < claimMs;
}

/** What happened to a copy besides its leaving, as one way without gaps. */
function changesBeforeMoving({ trail }: SlotRow): ItemStory['changes'] {
  let state: RecipientState = 'held';
  return trail.flatMap((change) => {
    const from = state;
    if (change.to === 'moving' || change.to === from) return [];
    state = change.to;
    return [{ ...change, from }];
  });
}

/** The primary holds the item: it is moved, its octets here go. What has been noted before is not noted twice. */
export async function noteMoved(
  actor: Actor,
  removal: Removal,
  quarantineId: string,
  { to, arrival }: { to: string; arrival: Arrival },
): Promise<number> {
  const { quarantine, audit, history } = removal;
  const entry = { actor: actor.name, verb: 'move', quarantineId, detail: { to, arrival } } as const;
  const moved = async () => {
    const { record, slots } = await open(actor, { quarantine }, quarantineId);
    const state = arrival === 'expired' ? 'expired' : 'moved';
    // A primary whose clock is wrong must not make us drop what it did not take.
    const over = slots.filter(({ expiresAt }) => arrival !== 'expired' || expiresAt <= removal.now());
    const mine = await claimCopies(actor, { quarantine }, over, ['moving'], state);
    if (mine.length > 0 && state === 'moved')
      await history.record(
        scanRow(record, removal.now()),
        outcomes(record, mine, 'moved', (why) => `moved to ${to}; ${why}`),
        { durable: false },
      );
    return mine.length;
  };
  return audit.during(entry, moved, (count) => `${count} copies moved`);
}

/** Holds here what another node held. What is or was here stays as it is. */
export async function adopt(
  actor: Actor,
  removal: Removal,
  story: ItemStory,
  bytes: Bytes,
): Promise<Arrival> {
  const { quarantine, audit, history, log } = removal;
  const { record } = story;
  const from = record.movedFrom?.node ?? '';
  const { quarantineId } = record;
  if (from === '') throw new PermFail(`Cannot adopt ${quarantineId}: it does not say where it comes from`);
  const entry = { actor: actor.name, verb: 'adopt', quarantineId, detail: { from } } as const;
  const arrive = async () => {
    const arrival = await quarantine.adopt(story, bytes);
    if (arrival !== 'adopted') return arrival;
    log.info({ quarantineId, from }, 'Adopted what another node held');
    const { slots } = await quarantine.get(quarantineId);
    const open = slots.filter(({ state }) => leaving.some((one) => one === state));
    await history.record(
      scanRow(record, removal.now()),
      outcomes(record, open, 'held', (why) => `held by ${from} first; ${why}`),
      { durable: false },
    );
    return arrival;
  };
  return audit.during(entry, arrive, (arrival) => arrival);
}

/** The message's own row, as of now: it did not pass here, its copies did. */
function scanRow(record: ItemRecord, at: number): ScanRow {
  const { queueId, direction, envelope, facts, sizeBytes, report } = record;
  return {
    at,
    queueId,
    direction,
    client: envelope.xforward.ADDR ?? null,
    sender: envelope.sender,
    ...facts,
    sizeBytes,
    report,
    totalMs: 0,
  };
}

function outcomes(
  { dispositions, slots, quarantineId }: ItemRecord,
  rows: readonly SlotRow[],
  outcome: 'moved' | 'held',
  tell: (why: string) => string,
): OutcomeRow[] {
  return rows.map(({ slot, recipient }) => {
    const disposition = dispositions[slots[slot]?.disposition ?? -1];
    return {
      recipient,
      outcome,
      verdict: disposition?.verdict ?? null,
      disposition: disposition?.kind ?? null,
      score: disposition?.marks.score ?? null,
      why: tell(disposition?.why ?? ''),
      reply: replyFor('held'),
      quarantineId,
      queueIdOut: null,
    };
  });
}
