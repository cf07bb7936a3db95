/**
 * quarantine-expiry — what is past its time: copies expire, octets go, and at last the item itself is forgotten.
 *
 * In small steps, each of them whole: killed anywhere (F30), the next run goes on where this one was. A copy that can't
 * be changed now is logged and left for the next run. An item whose copies are all settled stays as long as a retry of
 * Postfix may ask for it (RELIABILITY R9); a released one keeps its octets until its retention ends, to be learnt or
 * looked at. The history keeps that it was held.
 */
import { setImmediate } from 'node:timers/promises';
import type { DueCopy } from './quarantine-index.ts';
import { removeItem, removeMessage } from './quarantine-item.ts';
import { changeState, type Parts } from './quarantine-state.ts';

/** What one run did: copies expired, items whose octets it removed beside those, items forgotten. */
export type Expired = { readonly expired: number; readonly emptied: number; readonly forgotten: number };

const stepSize = 100;

/** Expires and forgets what is due at `parts.now()`; stops after the step in which `signal` fires. */
export async function expire(parts: Parts, keepMs: number, signal: AbortSignal): Promise<Expired> {
  const now = parts.now();
  const expired = await expireCopies(parts, now, signal);
  const { index, folder } = parts;
  const emptied = await eachItem(
    parts,
    (after) => index.spent(now, after, stepSize),
    signal,
    async (id) => {
      await removeMessage(folder, id);
      await index.noteBytesRemoved(id);
    },
  );
  const forgotten = await eachItem(
    parts,
    (after) => index.forgettable(now, keepMs, after, stepSize),
    signal,
    (id) => forget(parts, id),
  );
  const result = { expired, emptied, forgotten };
  if (expired + emptied + forgotten > 0) parts.log.info(result, 'quarantine expired');
  return result;
}

async function expireCopies(parts: Parts, now: number, signal: AbortSignal): Promise<number> {
  let expired = 0;
  let last: DueCopy | null = null;
  while (!signal.aborted) {
    const due: DueCopy[] = await parts.index.due(now, last, stepSize);
    for (const copies of Map.groupBy(due, ({ quarantineId, state }) => `${quarantineId} ${state}`).values())
      expired += await expireTogether(parts, copies);
    last = due.at(-1) ?? null;
    if (last === null) break;
    await setImmediate();
  }
  return expired;
}

/** Copies of one item in one state; gives how many this call expired. */
async function expireTogether(parts: Parts, copies: readonly DueCopy[]): Promise<number> {
  const [first] = copies;
  if (first === undefined) return 0;
  const { quarantineId, state } = first;
  const claim = { from: state, to: 'expired', actor: 'expiry', queueIdOut: null } as const;
  const slots = copies.map(({ slot }) => slot);
  try {
    const won = await changeState(parts, quarantineId, slots, claim);
    return won.filter(Boolean).length;
  } catch (error) {
    parts.log.warn({ err: error, quarantineId }, 'Cannot expire held copies: tried again with the next run');
    return 0;
  }
}

/** The row first: a folder without a row is indexed again at the next start, and forgotten then. */
async function forget({ index, folder }: Parts, quarantineId: string): Promise<void> {
  await index.remove(quarantineId);
  await removeItem(folder, quarantineId);
}

/** Acts on each item that `next` finds behind the last one; gives for how many it went well. */
async function eachItem(
  parts: Parts,
  next: (after: string) => Promise<string[]>,
  signal: AbortSignal,
  act: (quarantineId: string) => Promise<void>,
): Promise<number> {
  let done = 0;
  for (let after = ''; !signal.aborted; ) {
    const items = await next(after);
    for (const quarantineId of items) {
      if (await succeeds(parts, quarantineId, act)) done++;
    }
    const last = items.at(-1);
    if (last === undefined) break;
    after = last;
  }
  return done;
}

async function succeeds(
  { log }: Parts,
  quarantineId: string,
  act: (quarantineId: string) => Promise<void>,
): Promise<boolean> {
  try {
    await act(quarantineId);
    return true;
  } catch (error) {
    log.warn(
      { err: error, quarantineId },
      'Cannot remove an item past its time: tried again with the next run',
    );
    return false;
  }
}
