/**
 * release — a held message goes back to Postfix, to the right recipients and once.
 *
 * A release claims its recipients by compare-and-set before anything is sent, so that two people who click at once
 * release once; what can't be known to have arrived ends as `unconfirmed` and is never sent again by itself (W6).
 */
import type { ItemRecord, RecipientState, SlotRow } from '../filter/quarantine.ts';
import type { Outcome } from '../filter/reinject.ts';
import { PermFail } from '../workers/fail.ts';
import type { Actor } from './access.ts';
import { chosen, claimCopies, type Desk, open, skipped, told } from './desk.ts';
import { prepare, prepareElsewhere } from './hand-over.ts';

export type ReleaseOptions = {
  /** Original recipients to release for, compared verbatim; empty: everyone for whom it is held. */
  readonly recipients: readonly string[];
  /** Other addresses instead: no DSN parameters, the held copies stay held. */
  readonly to: readonly string[];
  /** Needed where the message is infected. */
  readonly force: boolean;
  /**
   * Also those left unconfirmed by an earlier release, or on their way to the primary, and other addresses that were sent
   * it already: they may get the message twice.
   */
  readonly again: boolean;
  /** Allowed to end the hand-off until the dot. */
  readonly signal: AbortSignal;
};

/**
 * What became of one address of a release. `held`: not sent, try again later; `refused`: not sent, the return smtpd does
 * not want it; both stay held, or unconfirmed where they may be somewhere already. `unconfirmed`: it may have arrived.
 * `skipped`: nothing was done.
 */
export type Released = {
  readonly recipient: string;
  readonly kind: 'released' | 'held' | 'refused' | 'unconfirmed' | 'skipped';
  readonly detail: string;
  readonly queueIdOut: string | null;
};

/** Gives a held message back to Postfix, with envelope and DSN parameters as it came. PermFail where it may not be. */
export async function release(
  actor: Actor,
  desk: Desk,
  quarantineId: string,
  options: ReleaseOptions,
): Promise<readonly Released[]> {
  const { signal: _, ...detail } = options;
  const entry = { actor: actor.name, verb: 'release', quarantineId, detail } as const;
  return desk.audit.during(
    entry,
    (auditId) => releaseNow(actor, desk, quarantineId, { ...options, auditId }),
    told,
  );
}

/** `auditId`: this release's own row. */
type Asked = ReleaseOptions & { readonly auditId: string };

async function releaseNow(
  actor: Actor,
  desk: Desk,
  quarantineId: string,
  options: Asked,
): Promise<readonly Released[]> {
  const { record, slots } = await open(actor, desk, quarantineId);
  if (record.report.virus.kind === 'infected' && !options.force) {
    throw new PermFail(
      `Cannot release ${quarantineId}: it is infected (${record.report.virus.name}); --force releases it`,
    );
  }
  if (options.to.length > 0) return releaseElsewhere(actor, desk, record, options);
  const wanted = chosen(slots, options.recipients, 'release', quarantineId);
  const states = claimable(options);
  if (wanted.some(({ state }) => states.some((one) => one === state)))
    await confirmOctets(desk, quarantineId);
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
  options: ReleaseOptions,
): Promise<Released[]> {
  const mine = await claimCopies(actor, desk, rows, claimable(options), 'releasing');
  const outcomes =
    mine.length === 0
      ? []
      : await send(
          mine.map(({ slot }) => slot),
          options.signal,
        );
  const released: Released[] = [];
  for (const [at, row] of mine.entries()) released.push(await settle(actor, desk, row, outcomes[at]));
  const others = await skipped(
    desk,
    rows.filter((row) => !mine.includes(row)),
  );
  return [...released, ...others.map((one) => ({ ...one, kind: 'skipped' as const, queueIdOut: null }))];
}

/**
 * Writes down what became of one claimed copy: back to held only where it certainly did not leave, now or before. What was
 * unconfirmed or moving may be somewhere already, whatever became of this try: it is never plainly held again.
 */
async function settle(
  actor: Actor,
  { quarantine, log }: Desk,
  { quarantineId, slot, recipient, state: before }: SlotRow,
  outcome: Outcome | undefined,
): Promise<Released> {
  const meaning = meaningOf(outcome);
  const { kind, queueIdOut } = meaning;
  const unsent = before === 'held' ? 'held' : 'unconfirmed';
  const state = kind === 'refused' || kind === 'held' ? unsent : kind;
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

async function releaseElsewhere(
  actor: Actor,
  desk: Desk,
  record: ItemRecord,
  { to, again, signal, auditId }: Asked,
): Promise<Released[]> {
  const { quarantineId } = record;
  const sent = again ? new Map<string, string>() : await sentElsewhere(desk, quarantineId, auditId);
  const wanted = [...new Set(to)].filter((address) => !sent.has(address));
  if (wanted.length > 0) await confirmOctets(desk, quarantineId);
  const outcomes = wanted.length === 0 ? [] : await prepareElsewhere(desk, record, wanted)(signal);
  const released = wanted.map((recipient, at) => {
    const meaning = meaningOf(outcomes[at]);
    desk.log.info({ quarantineId, recipient, actor: actor.name, ...meaning }, 'Release to another address');
    return { recipient, ...meaning };
  });
  const skippedTo = to.filter((address) => sent.has(address));
  return [
    ...released,
    ...skippedTo.map((recipient) => ({
      recipient,
      kind: 'skipped' as const,
      detail: `it was sent there by ${sent.get(recipient)}, or may have been; --again sends it once more`,
      queueIdOut: null,
    })),
  ];
}

/** Addresses that an earlier --to of this item has reached, or may have, each with who did that; the audit knows. */
async function sentElsewhere(
  { audit }: Desk,
  quarantineId: string,
  auditId: string,
): Promise<Map<string, string>> {
  const entries = await audit.list({ limit: releasesMax, quarantineId });
  // Of two at once the later one sees the earlier one.
  const earlier = entries.slice(entries.findIndex((entry) => entry.auditId === auditId) + 1);
  return new Map(
    earlier.flatMap(({ verb, actor, detail, outcome }) => {
      if (verb !== 'release' || outcome?.startsWith('failed: ') === true) return [];
      const said = new Set(outcome?.split(', '));
      const stayed = (address: string) =>
        ['held', 'refused', 'skipped'].some((kind) => said.has(`${address}: ${kind}`));
      return addressesOf(detail).flatMap((address) => (stayed(address) ? [] : [[address, actor] as const]));
    }),
  );
}

const releasesMax = 1000;

function addressesOf(detail: unknown): string[] {
  const to = typeof detail === 'object' && detail !== null && 'to' in detail ? detail.to : [];
  return Array.isArray(to) ? to.filter((address) => typeof address === 'string') : [];
}

/** PermFail where the message itself can't be had: found out before anything is claimed, or waiting would be advised. */
async function confirmOctets({ quarantine }: Desk, quarantineId: string): Promise<void> {
  try {
    for await (const _ of quarantine.read(quarantineId));
  } catch (cause) {
    if (!(cause instanceof PermFail)) throw cause;
    throw new PermFail(
      `Cannot release ${quarantineId}: the message itself is gone or damaged: ${cause.message}`,
      {
        cause,
      },
    );
  }
}

/** States from which copies are released. */
function claimable({ again }: ReleaseOptions): readonly RecipientState[] {
  return again ? ['held', 'unconfirmed', 'moving'] : ['held'];
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
