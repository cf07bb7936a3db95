/**
 * walk — what one message carries with it through the pipeline, and everything it may touch on the way.
 *
 * Types only. Effects are handed in by main.ts; a test hands in literals.
 */
import type { Policies } from '../rules/policy.ts';
import type { OutcomeName } from '../rules/replies.ts';
import type { SampleOffer } from '../workers/bayes-sample.ts';
import type { Log } from '../workers/log.ts';
import type { Queue } from '../workers/queue.ts';
import type { Account } from './account.ts';
import type { Marker } from './copy.ts';
import type { History } from './history.ts';
import type { Identity } from './identity.ts';
import type { createInFlight, Ledger } from './ledger.ts';
import type { Transaction } from './listener.ts';
import type { Quarantine } from './quarantine.ts';
import type { Reinjector } from './reinject.ts';
import type { Settlements } from './settlement.ts';
import type { Tally } from './tally.ts';

/** Everything that a message may touch, handed in by main.ts (six literals in a test). */
export type Effects = {
  readonly scan: Queue['scan'];
  readonly quarantine: Pick<Quarantine, 'put' | 'find'>;
  readonly reinject: Reinjector['reinject'];
  readonly ledger: Pick<Ledger, 'recall' | 'check' | 'commit' | 'noteAttempt'>;
  readonly inFlight: ReturnType<typeof createInFlight>;
  readonly history: Pick<History, 'record'>;
  readonly policies: () => Policies;
  /** `mode: observe`: what is decided is told and remembered, and every copy is delivered. */
  readonly observe?: boolean;
  readonly now: () => number;
  readonly marker: Marker;
  readonly log: Log;
  /** Called once for each message that was recognised, when every recipient has its outcome. */
  readonly tell: (account: Account) => void;
  /** A message that went on to its recipients: nothing waits for it. Missing: no sample is kept. */
  readonly sample?: (message: SampleOffer) => void;
  /** A message answered 4xx before anything could be known of it. */
  readonly tempfail: (reason: OutcomeName) => void;
};

/** One message on its walk: what later steps need of the earlier ones. */
export type Walk = {
  readonly transaction: Transaction;
  readonly effects: Effects;
  readonly identity: Identity;
  readonly settlements: Settlements;
  readonly tally: Tally;
  /** One value for the whole walk: a reload in between changes nothing here. */
  readonly policies: Policies;
};
