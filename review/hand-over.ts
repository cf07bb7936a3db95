/**
 * hand-over — a held message on its way back to Postfix: the copy, its envelope, and for whom.
 *
 * Hides what a release repeats (envelope, XFORWARD and DSN parameters as they came) and what it adds (our header lines
 * and X-Quarantine-ID). Everything is looked up beforehand: an item that can't be sent is a PermFail before any copy is
 * claimed, and afterwards every failure is an outcome.
 */
import { copyOf, type Marker } from '../filter/copy.ts';
import type { ItemRecord, Quarantine } from '../filter/quarantine.ts';
import type { Outcome, Reinjector } from '../filter/reinject.ts';
import { formatQuarantineId } from '../rules/headers.ts';
import type { Envelope, Recipient } from '../rules/mail.ts';
import { PermFail } from '../workers/fail.ts';

/** What it takes to hand over. */
export type HandOver = {
  readonly quarantine: Pick<Quarantine, 'read'>;
  readonly reinject: Reinjector['reinject'];
  readonly marker: Marker;
};

/** For those of `slots` that are named then, one outcome each; PermFail where item.json does not know them. */
export function prepare(
  desk: HandOver,
  record: ItemRecord,
  disposition: number,
  slots: readonly number[],
): (some: readonly number[], signal: AbortSignal) => Promise<readonly Outcome[]> {
  const bytes = copyFor(desk, record, disposition);
  const recipients = new Map(slots.map((slot) => [slot, recipientOf(record, slot)]));
  return (some, signal) => {
    const now = some.flatMap((slot) => recipients.get(slot) ?? []);
    return desk.reinject({ envelope: record.envelope, recipients: now, bytes, allOrNothing: false }, signal);
  };
}

/** To addresses that were not in the envelope: nobody asked for their delivery status. */
export function prepareElsewhere(
  desk: HandOver,
  record: ItemRecord,
  to: readonly string[],
): (signal: AbortSignal) => Promise<readonly Outcome[]> {
  const bytes = copyFor(desk, record, 0);
  const recipients: Recipient[] = to.map((address) => ({ address, notify: 'NEVER', orcpt: null }));
  // RFC 6531 §3.4: an address that is not ASCII needs it, whatever the message came with.
  const smtputf8 = record.envelope.smtputf8 || to.some((address) => /[^\x20-\x7e]/.test(address));
  const envelope: Envelope = { ...record.envelope, ret: null, envid: null, smtputf8, recipients };
  return (signal) => desk.reinject({ envelope, recipients, bytes, allOrNothing: false }, signal);
}

function copyFor(desk: HandOver, record: ItemRecord, disposition: number): () => AsyncIterable<Uint8Array> {
  const { quarantineId, direction } = record;
  const marks = record.dispositions[disposition]?.marks;
  if (marks === undefined)
    throw new PermFail(`Cannot release ${quarantineId}: item.json has no disposition ${disposition}`);
  const extra = formatQuarantineId(quarantineId);
  return copyOf(() => desk.quarantine.read(quarantineId), { marks, direction, marker: desk.marker, extra });
}

function recipientOf({ quarantineId, slots }: ItemRecord, slot: number): Recipient {
  const found = slots[slot];
  if (found === undefined)
    throw new PermFail(`Cannot release ${quarantineId}: item.json has no slot ${slot}`);
  return found.recipient;
}
