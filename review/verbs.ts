/**
 * verbs — what a human may do with held mail, whoever asks: the command line now, the browser later.
 *
 * Every verb takes its actor first; each change of state is recorded under that name. A release claims its recipients by
 * compare-and-set before anything is sent, so that two people who click at once release once; what can't be known to
 * have arrived ends as `unconfirmed` and is never sent again by itself (RELIABILITY W6).
 */
import type { Envelope, Recipient } from '../rules/mail.ts';
import { formatQuarantineId } from '../rules/headers.ts';
import { PermFail } from '../workers/fail.ts';
import type { Log } from '../workers/log.ts';
import { copyOf, type Marker } from '../filter/copy.ts';
import type { ItemRecord, ItemRow, Quarantine, RecipientState, SlotRow } from '../filter/quarantine.ts';
import type { Outcome, Reinjector } from '../filter/reinject.ts';

/** Who acts: a person at the command line, later one in the browser. `name` stands in the item's trail. */
export type Actor = { readonly name: string };

/** What verbs work with. */
export type Desk = {
  readonly quarantine: Quarantine;
  readonly reinject: Reinjector['reinject'];
  readonly marker: Marker;
  readonly log: Log;
};

export type ReleaseOptions = {
  /** Original recipients to release for, compared verbatim; empty: everyone for whom it is held. */
  readonly recipients: readonly string[];
  /** Other addresses instead: no DSN parameters, the held copies stay held. */
  readonly to: readonly string[];
  /** Needed where the message is infected. */
  readonly force: boolean;
  /** Allowed to end the hand-off until the dot. */
  readonly signal: AbortSignal;
};

/** What became of one address of a release. */
export type Released = {
  readonly recipient: string;
  readonly kind: 'released' | 'held' | 'unconfirmed' | 'skipped';
  readonly detail: string;
  readonly queueIdOut: string | null;
};

/** Items, newest first; without `state` all of them. */
export function list(
  { quarantine }: Desk,
  options: { state?: RecipientState; limit: number },
): Promise<ItemRow[]> {
  return quarantine.list(options);
}

/** All that is known of one item. PermFail where there is none. */
export function show(
  { quarantine }: Desk,
  quarantineId: string,
): Promise<{ record: ItemRecord; slots: readonly SlotRow[] }> {
  return quarantine.get(quarantineId);
}

/** Gives a held message back to Postfix, with envelope and DSN parameters as it came. PermFail where it may not be. */
export async function release(
  actor: Actor,
  desk: Desk,
  quarantineId: string,
  options: ReleaseOptions,
): Promise<readonly Released[]> {
  const { record, slots } = await desk.quarantine.get(quarantineId);
  if (record.report.virus.kind === 'infected' && !options.force) {
    throw new PermFail(
      `Cannot release ${quarantineId}: it is infected (${record.report.virus.name}); --force releases it`,
    );
  }
  if (options.to.length > 0) return releaseElsewhere(desk, record, options);
  const wanted = chosen(slots, options.recipients, quarantineId);
  const won = await claimForRelease(desk, quarantineId, wanted, actor);
  const mine = wanted.filter((_, at) => won[at]);
  const skipped = wanted.filter((_, at) => !won[at]).map(({ recipient, state }) => skip(recipient, state));
  const released = mine.length === 0 ? [] : await releaseClaimed(actor, desk, record, mine, options);
  return [...released, ...skipped];
}

/** Held copies are claimed; one that was left unconfirmed may be claimed again by a human who decides so. */
async function claimForRelease(
  desk: Desk,
  id: string,
  slots: readonly SlotRow[],
  actor: Actor,
): Promise<boolean[]> {
  const won: boolean[] = [];
  for (const { slot, state } of slots) {
    const from = state === 'unconfirmed' ? 'unconfirmed' : 'held';
    const [mine = false] = await desk.quarantine.claim(id, [slot], from, 'releasing', actor.name);
    won.push(mine);
  }
  return won;
}

async function releaseClaimed(
  actor: Actor,
  desk: Desk,
  record: ItemRecord,
  slots: readonly SlotRow[],
  { signal }: ReleaseOptions,
): Promise<Released[]> {
  const recipients = slots.map(({ slot }) => recipientOf(record, slot));
  const released: Released[] = [];
  // One hand-off per group of equal marks; almost always one.
  for (const disposition of new Set(slots.map(({ slot }) => record.slots[slot]?.disposition ?? 0))) {
    const group = slots.filter(({ slot }) => record.slots[slot]?.disposition === disposition);
    const targets = group.map((row) => recipients[slots.indexOf(row)] ?? recipientOf(record, row.slot));
    const outcomes = await handOver(desk, record, disposition, record.envelope, targets, signal);
    for (const [at, row] of group.entries())
      released.push(await settle(actor, desk, record, row, outcomes[at]));
  }
  return released;
}

/** Writes down what became of one claimed copy: back to held only where it certainly did not leave. */
async function settle(
  actor: Actor,
  { quarantine, log }: Desk,
  { quarantineId }: ItemRecord,
  { slot, recipient }: SlotRow,
  outcome: Outcome | undefined,
): Promise<Released> {
  const { kind, detail, queueIdOut } = meaningOf(outcome);
  await quarantine.claim(quarantineId, [slot], 'releasing', kind, actor.name, queueIdOut);
  log.info({ quarantineId, recipient, actor: actor.name, state: kind, queueIdOut, detail }, 'Release');
  return { recipient, kind, detail, queueIdOut };
}

async function releaseElsewhere(
  desk: Desk,
  record: ItemRecord,
  options: ReleaseOptions,
): Promise<Released[]> {
  const recipients: Recipient[] = options.to.map((address) => ({ address, notify: 'NEVER', orcpt: null }));
  const envelope: Envelope = { ...record.envelope, ret: null, envid: null, recipients };
  const outcomes = await handOver(desk, record, 0, envelope, recipients, options.signal);
  return recipients.map(({ address }, at) => ({ recipient: address, ...meaningOf(outcomes[at]) }));
}

function handOver(
  desk: Desk,
  record: ItemRecord,
  disposition: number,
  envelope: Envelope,
  recipients: readonly Recipient[],
  signal: AbortSignal,
): Promise<readonly Outcome[]> {
  const marks = record.dispositions[disposition]?.marks;
  if (marks === undefined)
    throw new PermFail(`Cannot release ${record.quarantineId}: item.json has no disposition`);
  const bytes = copyOf(() => desk.quarantine.read(record.quarantineId), {
    marks,
    direction: record.direction,
    marker: desk.marker,
    extra: formatQuarantineId(record.quarantineId),
  });
  return desk.reinject({ envelope, recipients, bytes, allOrNothing: false }, signal);
}

function meaningOf(outcome: Outcome | undefined): Omit<Released, 'recipient' | 'kind'> & {
  kind: 'released' | 'held' | 'unconfirmed';
} {
  switch (outcome?.kind) {
    case 'accepted':
      return { kind: 'released', detail: outcome.reply.text, queueIdOut: outcome.queueIdOut };
    case 'refused':
      return {
        kind: 'held',
        detail: `return smtpd refused: ${outcome.reply.code} ${outcome.reply.text}`,
        queueIdOut: null,
      };
    case 'tempfail': {
      const kind = outcome.outcome === 'outcomeUnknown' ? 'unconfirmed' : 'held';
      return { kind, detail: outcome.detail, queueIdOut: null };
    }
    case undefined:
      return { kind: 'unconfirmed', detail: 'no outcome for this recipient', queueIdOut: null };
  }
}

function chosen(
  slots: readonly SlotRow[],
  recipients: readonly string[],
  quarantineId: string,
): readonly SlotRow[] {
  const stray = recipients.find((address) => !slots.some((row) => row.recipient === address));
  if (stray !== undefined) throw new PermFail(`Cannot release ${quarantineId}: it is not held for ${stray}`);
  return recipients.length === 0 ? slots : slots.filter((row) => recipients.includes(row.recipient));
}

function skip(recipient: string, state: RecipientState): Released {
  return { recipient, kind: 'skipped', detail: `it is ${state}`, queueIdOut: null };
}

function recipientOf(record: ItemRecord, slot: number): Recipient {
  const found = record.slots[slot];
  if (found === undefined)
    throw new PermFail(`Cannot release ${record.quarantineId}: item.json has no slot ${slot}`);
  return found.recipient;
}
