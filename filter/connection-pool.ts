/**
 * connection-pool — connections to the return smtpd, used again as long as they are good.
 *
 * Hides which are idle, which went stale (the peer closed or spoke: dropped at once), how long one may idle and how often
 * it may be used, and the queue for a free one. What the peer last offered is remembered. Fails with ConnectionFail.
 */
import type { Address } from '../rules/address.ts';
import type { Log } from '../workers/log.ts';
import { type Offers, type PeerOffers, permissiveOffers } from './offers.ts';
import { ConnectionFail, openConnection, type SmtpConnection } from './smtp-client.ts';

export type PoolOptions = {
  readonly address: Address;
  /** Our name in EHLO. */
  readonly hostname: string;
  readonly connectionsMax: number;
  readonly log: Log;
  readonly connectTimeoutMs?: number;
  /** Longest wait for a reply before the dot, and for the peer to take the next 64 KiB. */
  readonly commandTimeoutMs?: number;
  /** An idle connection keeps an smtpd process of Postfix busy: not for long. */
  readonly idleMs?: number;
};

/** Transactions on one connection: then a new one, so that a busy site gets to see a changed configuration of Postfix. */
const usesMax = 100;

/** Connections to one peer: at most `connectionsMax` in use, the idle ones counted in. */
export class ConnectionPool {
  offers: Offers = permissiveOffers;
  readonly #options: Required<PoolOptions>;
  readonly #idle = new Map<SmtpConnection, NodeJS.Timeout>();
  readonly #open = new Set<SmtpConnection>();
  readonly #waiting = new Set<() => void>();
  readonly #closing = new AbortController();
  #inUse = 0;

  constructor(options: PoolOptions) {
    this.#options = { connectTimeoutMs: 10_000, commandTimeoutMs: 60_000, idleMs: 5_000, ...options };
  }

  /**
   * Runs `action` on a connection at rest. Where one that was used before fails under it, the peer had most likely closed
   * it in the meantime: once more on a fresh one. (What fails after the first octet of a message is no exception.)
   */
  async use<T>(signal: AbortSignal, action: (connection: SmtpConnection) => Promise<T>): Promise<T> {
    await this.#takeSlot(signal);
    try {
      const idle = this.#takeIdle();
      if (idle !== null) {
        try {
          return await this.#run(idle, action);
        } catch (error) {
          if (!(error instanceof ConnectionFail) || signal.aborted || this.#closing.signal.aborted)
            throw error;
          this.#options.log.debug(
            { detail: error.message },
            'Replacing a stale connection to the return smtpd',
          );
        }
      }
      return await this.#run(await this.#connect(signal), action);
    } finally {
      this.#giveSlot();
    }
  }

  async probe(signal: AbortSignal): Promise<PeerOffers> {
    const connection = await this.#connect(signal);
    connection.quit();
    return connection.offers;
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('closing'));
    for (const connection of this.#idle.keys()) this.#retire(connection);
    await Promise.all([...this.#open].map((connection) => connection.closed));
  }

  async #run<T>(connection: SmtpConnection, action: (connection: SmtpConnection) => Promise<T>): Promise<T> {
    const release = connection.failOn(this.#closing.signal);
    try {
      const result = await action(connection);
      this.#giveBack(connection);
      return result;
    } catch (error) {
      // In what state the peer is now, nobody knows.
      connection.fail(new ConnectionFail(String(error)));
      throw error;
    } finally {
      release();
    }
  }

  async #connect(signal: AbortSignal): Promise<SmtpConnection> {
    const connection = await openConnection(this.#options, [signal, this.#closing.signal]);
    this.offers = connection.offers;
    this.#open.add(connection);
    void connection.closed.then(() => this.#open.delete(connection));
    return connection;
  }

  #takeIdle(): SmtpConnection | null {
    // The one used last: the others grow old and are closed when the load goes down, the failed ones with them.
    const connection = [...this.#idle.keys()].findLast(({ failure }) => failure === null);
    if (connection === undefined) return null;
    clearTimeout(this.#idle.get(connection));
    this.#idle.delete(connection);
    return connection;
  }

  #giveBack(connection: SmtpConnection): void {
    if (connection.uses >= usesMax) {
      connection.quit();
      return;
    }
    this.#idle.set(
      connection,
      setTimeout(() => this.#retire(connection), this.#options.idleMs),
    );
  }

  #retire(connection: SmtpConnection): void {
    clearTimeout(this.#idle.get(connection));
    this.#idle.delete(connection);
    connection.quit();
  }

  /** First come, first served; rejects when the signal fires first. */
  async #takeSlot(signal: AbortSignal): Promise<void> {
    if (signal.aborted) throw noSlot(signal);
    if (this.#inUse < this.#options.connectionsMax) {
      this.#inUse++;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const leave = () => {
        this.#waiting.delete(give);
        reject(noSlot(signal));
      };
      const give = () => {
        this.#waiting.delete(give);
        signal.removeEventListener('abort', leave);
        resolve();
      };
      this.#waiting.add(give);
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  #giveSlot(): void {
    const [give] = this.#waiting;
    if (give === undefined) this.#inUse--;
    else give();
  }
}

function noSlot(signal: AbortSignal): ConnectionFail {
  return new ConnectionFail(`no connection was free (${String(signal.reason)})`, 'deadline');
}
