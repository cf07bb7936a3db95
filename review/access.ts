/**
 * access — whose held mail somebody may see and decide about.
 *
 * The command line may everything. An actor with domains sees and touches only the copies of their recipients; that there
 * are others, and who they are, they do not learn (IDOR between domains, RELIABILITY "Hostile input").
 */
import type { ItemRecord, SlotRow } from '../filter/quarantine.ts';
import { canonicalAddress, domainOf } from '../rules/recipient.ts';

/** Who acts: `name` stands in the item's trail and in the audit. Without `domains`: everybody's mail. */
export type Actor = { readonly name: string; readonly domains?: readonly string[] };

/** Whether any copy of an item is this actor's. */
export function canAccess(actor: Actor, item: { slots: readonly { recipient: string }[] }): boolean {
  return actor.domains === undefined || ownCopies(actor, item.slots).length > 0;
}

/** Those copies that are this actor's. */
export function ownCopies<Copy extends { readonly recipient: string }>(
  { domains }: Actor,
  copies: readonly Copy[],
): readonly Copy[] {
  if (domains === undefined) return copies;
  return copies.filter(({ recipient }) => {
    const canonical = canonicalAddress(recipient);
    return canonical !== null && domains.includes(domainOf(canonical));
  });
}

/** The record without what speaks of others; positions in its lists stay, for slots and dispositions count into them. */
export function ownRecord({ domains }: Actor, record: ItemRecord, own: readonly SlotRow[]): ItemRecord {
  if (domains === undefined) return record;
  const slots = record.slots.map((slot, at) =>
    own.some((row) => row.slot === at)
      ? slot
      : { ...slot, recipient: { address: '', notify: null, orcpt: null }, ledgerKey: null },
  );
  const recipients = slots.map(({ recipient }) => recipient).filter(({ address }) => address !== '');
  const used = new Set(own.map(({ slot }) => record.slots[slot]?.disposition));
  const dispositions = record.dispositions.map((one, at) => (used.has(at) ? one : { ...one, why: '' }));
  return { ...record, slots, dispositions, policies: [], envelope: { ...record.envelope, recipients } };
}
