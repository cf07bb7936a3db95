/**
 * listener — where mail comes in: one SMTP or LMTP server on a TCP port or a unix socket.
 *
 * Hides sockets and sessions: a message arrives at `onMessage` as one value, whole, spooled, its envelope verbatim.
 * Refuses to start where strangers could reach it unnamed; a stranger who comes all the same gets 421, never 5xx.
 * Nothing a client does ends the process.
 */
import { createServer, type Socket } from 'node:net';
import type { Address } from '../rules/config.ts';
import { openServerSocket } from '../workers/server-socket.ts';
import { SmtpSession, type SessionOptions } from './smtp-session.ts';
import { parseTrustedClients, plainAddress, requireTrustedClients } from './trusted-clients.ts';

export type { OnMessage, Transaction } from './smtp-data.ts';

/** `address` as bound; `close` ends the listener in an orderly way and may be called more than once. */
export interface Listener {
  readonly address: Address;
  /**
   * Stops accepting, says 421 to idle sessions, lets messages in flight finish for `drainMs`, then drops the rest
   * (RELIABILITY R12). Resolves when no session is left, at the latest shortly after the drop.
   */
  close(drainMs: number): Promise<void>;
}

export type ListenerOptions = Omit<SessionOptions, 'idleMs'> & {
  readonly address: Address;
  /** IP addresses and networks (CIDR) besides loopback that may connect; they may use XFORWARD. */
  readonly trustedClients: readonly string[];
  /** How long a client may keep silent; default five minutes (RFC 5321 §4.5.3.2.7). */
  readonly idleMs?: number;
};

/** How long `close` waits, after it has dropped the connections, for messages that ignore it (past our dot, R4). */
const afterDropMs = 1000;

/** Starts a listener. Throws PermFail where the configuration must change, TempFail where the address is taken. */
export async function createListener(options: ListenerOptions): Promise<Listener> {
  const { log } = options;
  const trusted = parseTrustedClients(options.trustedClients);
  requireTrustedClients(options.address, options.trustedClients);
  const sessionOptions = { ...options, idleMs: options.idleMs ?? 300_000 };
  const sessions = new Map<SmtpSession, Promise<void>>();
  let closing: Promise<void> | null = null;

  function accept(socket: Socket): void {
    const remoteAddress = options.address.kind === 'unix' ? 'unix' : plainAddress(socket.remoteAddress ?? '');
    if (remoteAddress !== 'unix' && !trusted.has(remoteAddress)) return turnAway(socket, remoteAddress);
    const session = new SmtpSession(socket, remoteAddress, sessionOptions);
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    const over = Promise.all([session.run(), closed]).then(() => void sessions.delete(session));
    sessions.set(session, over);
    if (closing !== null) session.drain();
  }

  function turnAway(socket: Socket, remoteAddress: string): void {
    log.warn({ remoteAddress }, 'Client is not in listen.trustedClients: turned away');
    socket.on('error', (error) => log.debug({ remoteAddress, err: error }, 'Connection error'));
    socket.end(`421 4.7.0 ${options.hostname} Access denied, see the log of Sluice\r\n`);
    socket.destroySoon();
  }

  const server = createServer({ allowHalfOpen: true, noDelay: true }, accept);
  const address = await openServerSocket(server, options.address);
  // Out of descriptors and the like: the next connection may be luckier.
  server.on('error', (error) => log.error({ err: error }, 'Cannot accept a connection'));

  async function drain(drainMs: number): Promise<void> {
    server.close();
    for (const session of sessions.keys()) session.drain();
    if (await settled(sessions.values(), drainMs)) return;
    log.warn({ sessions: sessions.size }, 'Drain limit reached: connections dropped');
    for (const session of sessions.keys()) session.drop();
    await settled(sessions.values(), afterDropMs);
  }

  return {
    address,
    close(drainMs) {
      closing ??= drain(drainMs);
      return closing;
    },
  };
}

/** True when all of `work` is done inside `ms`. */
async function settled(work: Iterable<Promise<void>>, ms: number): Promise<boolean> {
  const all = Promise.all(work).then(() => true);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  try {
    return await Promise.race([all, late]);
  } finally {
    clearTimeout(timer);
  }
}
