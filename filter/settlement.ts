/**
 * settlement — what became of each recipient of one transaction, and the replies that say so.
 *
 * Every recipient is settled at most once; the first word counts, because effects can't be taken back. Identity is the
 * recipient object: the same address may come twice. Hides how many outcomes become the one reply of SMTP
 * (RELIABILITY, partial acceptance): any deferral defers all, a refusal is relayed only where nobody got the message.
 */
import type { Recipient } from '../rules/mail.ts';
import { type OutcomeName, type Reply, relayReply, replyFor, type PeerReply } from '../rules/replies.ts';
import type { LedgerEntry } from './ledger.ts';

/** The outcome of one recipient. `repeated`: told from the ledger, nothing was done now. */
export type Settlement = {
  readonly kind: 'delivered' | 'held' | 'discarded' | 'refused' | 'deferred';
  readonly reply: Reply;
  readonly queueIdOut: string | null;
  readonly quarantineId: string | null;
  readonly repeated: boolean;
  /** Why it is deferred; null where it is not. */
  readonly reason: OutcomeName | null;
};

/** The settlements of one transaction; see the head of this file. */
export type Settlements = {
  readonly open: () => readonly Recipient[];
  readonly get: (recipient: Recipient) => Settlement | undefined;
  readonly of: (kind: Settlement['kind']) => readonly Recipient[];
  readonly anyDeferred: () => boolean;
  readonly deliver: (recipient: Recipient, queueIdOut: string | null) => void;
  readonly hold: (recipients: readonly Recipient[], quarantineId: string) => void;
  readonly discard: (recipients: readonly Recipient[]) => void;
  readonly refuse: (recipient: Recipient, reply: PeerReply) => void;
  readonly defer: (recipients: readonly Recipient[], outcome: OutcomeName) => void;
  readonly deferRest: (outcome: OutcomeName) => void;
  /** Where anybody is deferred, everybody who is open is, with the same reply. */
  readonly deferAlike: () => void;
  readonly repeat: (recipient: Recipient, entry: LedgerEntry) => void;
  /** The one thing that may be taken back: a refusal whose notification could not be handed over is deferred instead. */
  readonly deferRefused: (recipients: readonly Recipient[], outcome: OutcomeName) => void;
  readonly replies: (protocol: 'smtp' | 'lmtp') => readonly Reply[];
};

const nothing = { queueIdOut: null, quarantineId: null, repeated: false, reason: null } as const;

/** Settlements for these recipients, all open. */
export function createSettlements(recipients: readonly Recipient[]): Settlements {
  const settled = new Map<Recipient, Settlement>();
  const settle = (recipient: Recipient, settlement: Settlement): void => {
    if (!settled.has(recipient)) settled.set(recipient, settlement);
  };
  const open = (): Recipient[] => recipients.filter((recipient) => !settled.has(recipient));
  const of = (kind: Settlement['kind']): Recipient[] =>
    recipients.filter((one) => settled.get(one)?.kind === kind);
  const defer = (some: readonly Recipient[], outcome: OutcomeName): void => {
    for (const one of some) settle(one, deferredFor(outcome));
  };
  return {
    open,
    of,
    defer,
    get: (recipient) => settled.get(recipient),
    anyDeferred: () => of('deferred').length > 0,
    deliver: (one, queueIdOut) => settle(one, deliveredAs(queueIdOut)),
    hold: (some, quarantineId) => {
      for (const one of some)
        settle(one, { ...nothing, kind: 'held', reply: heldReply(quarantineId), quarantineId });
    },
    discard: (some) => {
      for (const one of some) settle(one, { ...nothing, kind: 'discarded', reply: replyFor('discarded') });
    },
    refuse: (one, reply) => settle(one, { ...nothing, kind: 'refused', reply: relayReply(reply) }),
    deferRest: (outcome) => defer(open(), outcome),
    deferAlike: () => {
      const deferred = [...settled.values()].find(({ kind }) => kind === 'deferred');
      if (deferred !== undefined) for (const one of open()) settle(one, deferred);
    },
    repeat: (one, { outcome, reply, queueIdOut, quarantineId }) =>
      settle(one, { kind: outcome, reply, queueIdOut, quarantineId, repeated: true, reason: null }),
    deferRefused: (some, outcome) => {
      for (const one of some) settled.set(one, deferredFor(outcome));
    },
    replies: (protocol) => {
      defer(open(), 'internal');
      const all = recipients.flatMap((one) => settled.get(one) ?? []);
      return protocol === 'lmtp' ? all.map(({ reply }) => reply) : [combine(all)];
    },
  };
}

function deferredFor(outcome: OutcomeName): Settlement {
  return { ...nothing, kind: 'deferred', reply: replyFor(outcome), reason: outcome };
}

function deliveredAs(queueIdOut: string | null): Settlement {
  const detail = queueIdOut === null ? undefined : `queued as ${queueIdOut}`;
  return { ...nothing, kind: 'delivered', reply: replyFor('delivered', detail), queueIdOut };
}

function heldReply(quarantineId: string): Reply {
  return replyFor('held', quarantineId);
}

/** One reply for all recipients of an SMTP transaction. */
function combine(all: readonly Settlement[]): Reply {
  const deferred = all.find(({ kind }) => kind === 'deferred');
  if (deferred !== undefined) return deferred.reply;
  const accepted = all.filter(({ kind }) => kind !== 'refused');
  const first = accepted[0] ?? all[0];
  if (first === undefined) return replyFor('internal');
  const ids = [...new Set(accepted.flatMap(({ queueIdOut }) => queueIdOut ?? []))];
  return ids.length > 1
    ? replyFor('delivered', `queued as ${ids.join(', ')}`)
    : bestOf(accepted, first).reply;
}

/** A delivery says more than a hold: its queue id continues the trail in Postfix's log. */
function bestOf(accepted: readonly Settlement[], otherwise: Settlement): Settlement {
  return accepted.find(({ kind }) => kind === 'delivered') ?? otherwise;
}
