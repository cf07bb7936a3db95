/**
 * queue — the door to the scanners: a ticket goes in, a ScanReport comes out.
 *
 * Hides where the scan runs: in this process, or by workers over Redis. A ticket is plain JSON and never holds message octets:
 * it names a message of the spool by id, size and digest. One that is malformed, or speaks of another message than the
 * spool holds, is a TempFail: nothing may be decided by the scan of other octets.
 */
import { z } from 'zod';
import type { Config } from '../rules/config.ts';
import type { ScanReport } from '../rules/mail.ts';
import type { ScannerClients } from './clients.ts';
import { TempFail } from './fail.ts';
import type { Log } from './log.ts';
import type { QueueSources } from './queue-metrics.ts';
import { createScanner, type Scanner } from './scan.ts';
import type { LearnAs, LearnResult } from './spamd.ts';
import type { Spool, SpooledMessage } from './spool.ts';

/** What to scan; plain JSON. `virusAsSpam` as in ScanContext. */
export type Ticket = {
  readonly spoolId: string;
  readonly sizeBytes: number;
  /** Of the spooled octets, hex. */
  readonly sha256: string;
  readonly queueId: string | null;
  readonly sender: string;
  readonly virusAsSpam: readonly string[];
};

export interface Queue {
  /** Rejects with TempFail where the ticket or the spool is wrong; a scanner's failure is in the report. */
  scan(ticket: Ticket, signal: AbortSignal): Promise<ScanReport>;
  /** Teaches the spam scanner the message; `message` is read once. */
  learn(
    message: () => AsyncIterable<Uint8Array>,
    sizeBytes: number,
    as: LearnAs,
    signal: AbortSignal,
  ): Promise<LearnResult>;
  /** The queues in Redis, to be looked at; null where scans run in this process. */
  readonly view: QueueSources | null;
  /** Cancels what is under way. */
  close(): Promise<void>;
}

/** The queue of one process: scans run right here. */
export function createQueue({ spool, scanner }: { spool: Pick<Spool, 'get'>; scanner: Scanner }): Queue {
  return {
    async scan(ticket, signal) {
      const { spoolId, sender, queueId, virusAsSpam } = checkTicket(ticket);
      const message = spooled(spool.get(spoolId), ticket);
      return scanner.scan(message, { sender, queueId, virusAsSpam }, signal);
    },
    learn: (message, sizeBytes, as, signal) => scanner.learn(message, sizeBytes, as, signal),
    view: null,
    async close() {
      scanner.close();
    },
  };
}

/**
 * The queue that this configuration asks for. `trusts`: which peers may fetch messages from here (redis.fetch); without it
 * nobody, and nothing listens: a command beside the filter must not take its address.
 */
export async function openQueue(
  config: Config,
  options: {
    /** Null: for learning only. */
    spool: Pick<Spool, 'get' | 'mark'> | null;
    clients: ScannerClients;
    log: Log;
    trusts?: (peer: string) => boolean;
  },
): Promise<Queue> {
  const { clients, log, trusts = null } = options;
  const spool = options.spool ?? noSpool;
  const { redis, scan } = config;
  if (redis === null) return createQueue({ spool, scanner: createScanner(clients) });
  // Loaded here, so that a site without Redis pays nothing for it.
  const { openRemote } = await import('./remote.ts');
  const remote = await openRemote({
    config,
    redis,
    mark: (await options.spool?.mark()) ?? null,
    clients,
    trusts,
    log,
  });
  const scanner = createScanner({
    clamd: scan.virus ? remote.clamd : null,
    spamd: scan.spam ? remote.spamd : null,
  });
  const queue = createQueue({ spool, scanner });
  return {
    ...queue,
    view: remote.view,
    async close() {
      await queue.close();
      await remote.close();
    },
  };
}

const noSpool: Pick<Spool, 'get'> = { get: () => undefined };

const ticketShape = z.strictObject({
  // An id, never a path: it will name a file where the scan runs elsewhere.
  spoolId: z.string().regex(/^[0-9a-zA-Z-]{1,64}$/),
  sizeBytes: z.int().nonnegative(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  queueId: z.string().nullable(),
  sender: z.string(),
  virusAsSpam: z.array(z.string()),
});

function checkTicket(ticket: unknown): Ticket {
  const checked = ticketShape.safeParse(ticket);
  if (checked.success) return checked.data;
  const problems = checked.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw new TempFail(`Cannot scan: malformed ticket: ${problems.join('; ')}`);
}

function spooled(message: SpooledMessage | undefined, ticket: Ticket): SpooledMessage {
  if (message === undefined) throw new TempFail(`Cannot scan ${ticket.spoolId}: not in the spool`);
  if (message.sizeBytes !== ticket.sizeBytes || message.sha256 !== ticket.sha256) {
    throw new TempFail(`Cannot scan ${ticket.spoolId}: the spool holds another message than the ticket says`);
  }
  return message;
}
