/**
 * verbs — what a human may do with held mail, whoever asks: the command line now, the browser later.
 *
 * Every verb takes its actor first; each change of state is recorded under that name. A release claims its recipients by
 * compare-and-set before anything is sent, so that two people who click at once release once; what can't be known to
 * have arrived ends as `unconfirmed` and is never sent again by itself (RELIABILITY W6).
 */
import { ownerState } from '../filter/owner.ts';
import type { ItemRecord, ItemRow, Quarantine, RecipientState, SlotRow } from '../filter/quarantine.ts';
import type { Outcome } from '../filter/reinject.ts';
import { PermFail } from '../workers/fail.ts';
import type { Log } from '../workers/log.ts';
import { type HandOver, prepare, prepareElsewhere } from './hand-over.ts';

/** Who acts: a person at the command line, later one in the browser. `name` stands in the item's trail. */
export type Actor = { readonly name: string };

/** What verbs work with. */
export type Desk = HandOver & { readonly quarantine: Quarantine; readonly log: Log };

export type ReleaseOptions = {
  /** Original recipients to release for, compared verbatim; empty: everyone for whom it is held. */
  readonly recipients: readonly string[];
  /** Other addresses instead: no DSN parameters, the held copies stay held. */
  readonly to: readonly string[];
  /** Needed where the message is infected. */
  readonly force: boolean;
  /** Also those left unconfirmed by an earlier release: they may get the message twice. */
  readonly again: boolean;
  /** Allowed to end the hand-off until the dot. */
  readonly signal: AbortSignal;
};

/**
 * What became of one address of a release. `held`: not sent, try again later; `refused`: not sent, the return smtpd does
 * not want it; both stay held. `unconfirmed`: it may have arrived. `skipped`: nothing was done.
 */
export type Released = {
  readonly recipient: string;
  readonly kind: 'released' | 'held' | 'refused' | 'unconfirmed' | 'skipped';
  readonly detail: string;
  readonly queueIdOut: string | null;
};

/** States in which a copy still waits for somebody's decision. */
const openStates = ['held', 'releasing', 'unconfirmed'] as const satisfies readonly RecipientState[];

/** Items, newest first: those with a copy that waits for a decision, or `all`. */
export async function list(
  _actor: Actor,
  { quarantine }: Desk,
  { all, limit }: { all: boolean; limit: number },
): Promise<ItemRow[]> {
  if (all) return quarantine.list({ limit });
  const found = await Promise.all(openStates.map((state) => quarantine.list({ state, limit })));
  const items = new Map(found.flat().map((item) => [item.quarantineId, item]));
  return [...items.values()].toSorted((one, other) => other.heldAt - one.heldAt).slice(0, limit);
}

/** All that is known of one item. PermFail where there is none. */
export async function show(
  _actor: Actor,
  { quarantine }: Desk,
  quarantineId: string,
): Promise<{ record: ItemRecord; slots: readonly SlotRow[] }> {
  const { record, slots } = await quarantine.get(quarantineId);
  const changed = await unconfirmAbandoned(quarantine, slots);
  return { record, slots: changed ? (await quarantine.get(quarantineId)).slots : slots };
}

/** Gives a held message back to Postfix, with envelope and DSN parameters as it came. PermFail where it may not be. */
export async function release(
  actor: Actor,
  desk: Desk,
  quarantineId: string,
  options: ReleaseOptions,
): Promise<readonly Released[]> {
  const { record, slots } = await show(actor, desk, quarantineId);
  if (record.report.virus.kind === 'infected' && !options.force) {
    throw new PermFail(
      `Cannot release ${quarantineId}: it is infected (${record.report.virus.name}); --force releases it`,
    );
  }
  if (options.to.length > 0) return releaseElsewhere(actor, desk, record, options);
  const wanted = chosen(slots, options.recipients, quarantineId);
  // One hand-off per group of equal marks, almost always one; each is claimed just before it is sent.
  const groups = [...Map.groupBy(wanted, ({ slot }) => record.slots[slot]?.disposition ?? -1)];
  const prepared = groups.map(([disposition, rows]) => ({
    rows,
    send: prepare(
      desk,
      record,
      disposition,
      rows.map(({ slot }) => slot),
    ),
  }));
  const released: Released[] = [];
  for (const { rows, send } of prepared)
    released.push(...(await releaseGroup(actor, desk, rows, send, options)));
  return released;
}

/** What a hand-over prepared beforehand does: nothing can be wrong with the item any more once copies are claimed. */
type Send = ReturnType<typeof prepare>;

async function releaseGroup(
  actor: Actor,
  desk: Desk,
  rows: readonly SlotRow[],
  send: Send,
  { again, signal }: ReleaseOptions,
): Promise<Released[]> {
  const mine = await claimForRelease(actor, desk, rows, again);
  const skipped = rows.filter((row) => !mine.includes(row));
  const outcomes =
    mine.length === 0
      ? []
      : await send(
          mine.map(({ slot }) => slot),
          signal,
        );
  const released: Released[] = [];
  for (const [at, row] of mine.entries()) released.push(await settle(actor, desk, row, outcomes[at]));
  return [...released, ...(await skip(desk, skipped))];
}

/** Those that this call, and nobody else, may send now. */
async function claimForRelease(
  actor: Actor,
  { quarantine }: Desk,
  rows: readonly SlotRow[],
  again: boolean,
): Promise<SlotRow[]> {
  const mine: SlotRow[] = [];
  for (const from of again ? (['held', 'unconfirmed'] as const) : (['held'] as const)) {
    const some = rows.filter(({ state }) => state === from);
    const [{ quarantineId } = { quarantineId: '' }] = some;
    if (some.length === 0) continue;
    const slots = some.map(({ slot }) => slot);
    const won = await quarantine.claim(quarantineId, slots, from, 'releasing', actor.name);
    mine.push(...some.filter((_, at) => won[at]));
  }
  return mine;
}

/** Writes down what became of one claimed copy: back to held only where it certainly did not leave. */
async function settle(
  actor: Actor,
  { quarantine, log }: Desk,
  { quarantineId, slot, recipient }: SlotRow,
  outcome: Outcome | undefined,
): Promise<Released> {
  const meaning = meaningOf(outcome);
  const { kind, queueIdOut } = meaning;
  const state = kind === 'refused' ? 'held' : kind;
  const about = { quarantineId, recipient, actor: actor.name, ...meaning };
  log.info(about, 'Release');
  try {
    await quarantine.claim(quarantineId, [slot], 'releasing', state, actor.name, queueIdOut);
  } catch (cause) {
    // What happened has happened: the copy stays `releasing`, and turns unconfirmed when this process is gone.
    log.error({ ...about, err: cause }, 'Cannot record what became of a release');
  }
  return { recipient, ...meaning };
}

/** Says why nothing was done for these, by their states as they are now: somebody else may have been quicker. */
async function skip({ quarantine }: Desk, rows: readonly SlotRow[]): Promise<Released[]> {
  const [{ quarantineId } = { quarantineId: '' }] = rows;
  if (rows.length === 0) return [];
  const { slots } = await quarantine.get(quarantineId);
  return rows.map(({ slot, recipient, state: before }) => {
    const state = slots.find((row) => row.slot === slot)?.state ?? before;
    const more = state === 'unconfirmed' ? ': it may have arrived; --again releases it once more' : '';
    return { recipient, kind: 'skipped', detail: `it is ${state}${more}`, queueIdOut: null };
  });
}

async function releaseElsewhere(
  actor: Actor,
  desk: Desk,
  record: ItemRecord,
  { to, signal }: ReleaseOptions,
): Promise<Released[]> {
  const outcomes = await prepareElsewhere(desk, record, to)(signal);
  return to.map((recipient, at) => {
    const meaning = meaningOf(outcomes[at]);
    const { quarantineId } = record;
    desk.log.info({ quarantineId, recipient, actor: actor.name, ...meaning }, 'Release to another address');
    return { recipient, ...meaning };
  });
}

function meaningOf(outcome: Outcome | undefined): Omit<Released, 'recipient' | 'kind'> & {
  kind: Exclude<Released['kind'], 'skipped'>;
} {
  switch (outcome?.kind) {
    case 'accepted':
      return { kind: 'released', detail: outcome.reply.text, queueIdOut: outcome.queueIdOut };
    case 'refused': {
      const { code, enhanced, text } = outcome.reply;
      const said = [code, enhanced, text].filter((word) => word !== null).join(' ');
      return { kind: 'refused', detail: `return smtpd said "${said}"`, queueIdOut: null };
    }
    case 'tempfail': {
      const kind = outcome.outcome === 'outcomeUnknown' ? 'unconfirmed' : 'held';
      return { kind, detail: outcome.detail, queueIdOut: null };
    }
    case undefined:
      return { kind: 'unconfirmed', detail: 'no outcome for this recipient', queueIdOut: null };
  }
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

function chosen(
  slots: readonly SlotRow[],
  recipients: readonly string[],
  quarantineId: string,
): readonly SlotRow[] {
  const stray = recipients.find((address) => !slots.some((row) => row.recipient === address));
  if (stray !== undefined) throw new PermFail(`Cannot release ${quarantineId}: it is not held for ${stray}`);
  return recipients.length === 0 ? slots : slots.filter((row) => recipients.includes(row.recipient));
}
