/**
 * account — all that log and metrics are told of one message, when each of its recipients has an outcome.
 *
 * Types only: plain data, so that whoever tells it further touches neither mail nor effects.
 */
import type { Measured } from '../workers/metrics.ts';
import type { OutcomeRow } from './history.ts';

/** What became of one recipient; the history's row and what only the log tells. */
export type RecipientAccount = OutcomeRow &
  Measured['recipients'][number] & {
    /** Outbound mail over its alarm threshold: delivered all the same. */
    readonly alarm: boolean;
  };

/** One message and its recipients, in envelope order. */
export type Account = Omit<Measured, 'recipients'> & {
  readonly queueId: string | null;
  /** sha256 (hex) by which a retry is known where there is no queue id. */
  readonly digest: string;
  /** XFORWARD ADDR: the client that brought it to Postfix. */
  readonly client: string | null;
  readonly sender: string;
  readonly messageId: string | null;
  /** When our Postfix took it (top Received line), else when we did; epoch milliseconds. */
  readonly waitingSince: number;
  readonly recipients: readonly RecipientAccount[];
};
