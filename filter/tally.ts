/**
 * tally — what one message costs and loses on its walk: time by stage, forged lines dropped, notifications not sent.
 *
 * Hides that the times are taken around the effects: who walks the message needs no clock. Stages are walked one after
 * the other, so their sum is the message's time but for its own work in between.
 */
import type { Stage } from '../workers/metrics.ts';
import type { Effects } from './walk.ts';

/** Counted up as the message goes; times in milliseconds. */
export type Tally = {
  readonly ms: Record<Stage, number>;
  /** Of every copy the same lines are dropped: set, not added. */
  signedHeadersDropped: number;
  dsnSuppressed: number;
};

/** A tally for a message that took `receiveMs` to come in. */
export function createTally(receiveMs: number): Tally {
  const ms = { receive: receiveMs, scan: 0, quarantine: 0, reinject: 0, ledger: 0 };
  return { ms, signedHeadersDropped: 0, dsnSuppressed: 0 };
}

/** The same effects, their time added to the tally; `clock` in milliseconds. */
export function timed(
  effects: Effects,
  tally: Tally,
  clock: () => number = performance.now.bind(performance),
): Effects {
  const { quarantine, ledger } = effects;
  const time =
    <Arguments extends unknown[], Result>(stage: Stage, act: (...args: Arguments) => Promise<Result>) =>
    async (...args: Arguments): Promise<Result> => {
      const start = clock();
      try {
        return await act(...args);
      } finally {
        tally.ms[stage] += clock() - start;
      }
    };
  return {
    ...effects,
    scan: time('scan', effects.scan),
    reinject: time('reinject', effects.reinject),
    quarantine: {
      put: time('quarantine', quarantine.put.bind(quarantine)),
      find: time('quarantine', quarantine.find.bind(quarantine)),
    },
    ledger: {
      recall: time('ledger', ledger.recall.bind(ledger)),
      check: time('ledger', ledger.check.bind(ledger)),
      commit: time('ledger', ledger.commit.bind(ledger)),
      noteAttempt: time('ledger', ledger.noteAttempt.bind(ledger)),
    },
  };
}
