/**
 * smtp-client — one connection to the return smtpd, from the greeting to QUIT.
 *
 * Hides the socket, its timeouts and backpressure, and the count of replies that the peer owes us: octets that nobody
 * asked for mean that the two sides are out of step, and the connection is dropped. Every failure is one ConnectionFail,
 * which rejects whatever is waiting and everything that is asked later. Nothing is ever sent twice.
 */
import { connect, type Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { type Address, formatAddress } from '../rules/address.ts';
import { judgeReply, type OutcomeName, type PeerReply } from '../rules/replies.ts';
import { TempFail } from '../workers/fail.ts';
import { commandLine } from './client-commands.ts';
import { parseOffers, type PeerOffers } from './offers.ts';
import { quoteReply } from './outcome.ts';
import { createReplyParser } from './smtp-reply.ts';

/** The connection is of no use any more; `outcome` is what to answer, `reply` what the peer said, if that was why. */
export class ConnectionFail extends TempFail {
  readonly outcome: OutcomeName;
  readonly reply: PeerReply | null;

  constructor(message: string, outcome: OutcomeName = 'returnUnavailable', reply: PeerReply | null = null) {
    super(message);
    this.outcome = outcome;
    this.reply = reply;
  }
}

export type ConnectionOptions = {
  readonly address: Address;
  /** Our name in EHLO. */
  readonly hostname: string;
  readonly connectTimeoutMs: number;
  /** Longest wait for one reply, and for the peer to take the next 64 KiB. */
  readonly commandTimeoutMs: number;
};

/** A connection that has its greeting and EHLO behind it. Each of the signals ends the attempt. Throws ConnectionFail. */
export async function openConnection(
  options: ConnectionOptions,
  signals: readonly AbortSignal[],
): Promise<SmtpConnection> {
  const connection = new SmtpConnection(options);
  const releases = signals.map((signal) => connection.failOn(signal));
  try {
    await connection.connected();
    expectWelcome(connection, 'greeting', await connection.reply());
    await connection.write(commandLine(`EHLO ${options.hostname}`), 1);
    const reply = await connection.reply();
    expectWelcome(connection, 'ehlo', reply);
    connection.offers = parseOffers(reply.text);
    return connection;
  } finally {
    for (const release of releases) release();
  }
}

const replyReadBytes = 4_096;

export class SmtpConnection {
  offers: PeerOffers = parseOffers('');
  /** Transactions begun on it. */
  uses = 0;
  readonly #options: ConnectionOptions;
  readonly #socket: Socket;
  readonly #parser = createReplyParser();
  /** Replies that the peer owes us; the greeting is the first. */
  #owed = 1;
  readonly #replies: PeerReply[] = [];
  #failure: ConnectionFail | null = null;
  #wakeReader: ((reply: PeerReply) => void) | null = null;
  #wakeFailed: ((error: ConnectionFail) => void) | null = null;
  #closed = Promise.withResolvers<void>();

  constructor(options: ConnectionOptions) {
    this.#options = options;
    const { address } = options;
    // Read into one small buffer: a stream would take 64 KiB for each reply of a few octets.
    const buffer = Buffer.allocUnsafeSlow(replyReadBytes);
    const callback = (readBytes: number) => {
      this.#take(buffer.subarray(0, readBytes));
      return true;
    };
    this.#socket = connect({
      ...(address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port }),
      onread: { buffer, callback },
    });
    // DATA and the dot are small writes that must not wait for the peer's delayed ACK.
    this.#socket.setNoDelay(true);
    this.#socket.on('end', () => this.#lost('closed by the peer'));
    this.#socket.on('error', (error) =>
      this.#lost(error.message || ('code' in error ? String(error.code) : '')),
    );
    this.#socket.on('close', () => {
      this.#lost('closed');
      this.#closed.resolve();
    });
  }

  get failure(): ConnectionFail | null {
    return this.#failure;
  }

  /** Resolves when the socket is gone. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /** Resolves when the peer has taken the connection. */
  connected(): Promise<void> {
    return this.#wait(this.#options.connectTimeoutMs, 'connection', (resolve) => {
      this.#socket.once('connect', resolve);
    });
  }

  /** Hands octets to the kernel; `repliesOwed` replies will be expected for them. One write at a time. */
  async write(octets: Uint8Array, repliesOwed = 0): Promise<void> {
    this.check();
    this.#owed += repliesOwed;
    if (octets.length === 0) return;
    // What the kernel has taken at once needs no waiting, and that is nearly everything.
    if (this.#socket.write(octets) && this.#socket.writableLength === 0) return;
    await this.#wait<void>(this.#options.commandTimeoutMs, 'progress', (resolve) => {
      // An empty write ends when what stands before it has; a failed one is told by 'error' as well.
      this.#socket.write('', (error) => (error ? undefined : resolve()));
    });
  }

  /** The next reply that is owed. 421 (RFC 5321 §3.8: the peer closes) is a failure of the connection. */
  async reply(timeoutMs = this.#options.commandTimeoutMs): Promise<PeerReply> {
    const reply =
      this.#replies.shift() ??
      (await this.#wait<PeerReply>(timeoutMs, 'reply', (resolve) => {
        this.#wakeReader = resolve;
      }));
    if (reply.code === 421) {
      throw this.fail(
        new ConnectionFail(`return smtpd said ${quoteReply(reply)}`, 'returnUnavailable', reply),
      );
    }
    return reply;
  }

  /** Does `work` and gives its result, unless the connection fails first, or has failed already. */
  until<T>(work: () => Promise<T>): Promise<T> {
    return this.#wait<T>(null, '', (resolve, reject) => {
      work().then(resolve, reject);
    });
  }

  /**
   * Takes in what the peer has said until now, and throws if that was uncalled for. A "250" that came before the dot (the peer
   * saw the end of the message somewhere inside it) must not pass for the answer to the dot.
   */
  async listen(): Promise<void> {
    // The first is over before the event loop has looked at the sockets again, the second is not.
    await setImmediate();
    await setImmediate();
    this.check();
  }

  /** Ends a transaction without mail, reading the replies that are still owed; a failure only ends the connection. */
  async reset(): Promise<void> {
    try {
      const unread = this.#owed + this.#replies.length;
      await this.write(commandLine('RSET'), 1);
      for (let count = 0; count < unread; count++) await this.reply();
      const reply = await this.reply();
      if (reply.code !== 250) throw new ConnectionFail(`return smtpd said ${quoteReply(reply)} to RSET`);
    } catch (error) {
      // The outcomes are known already: all that is lost is a connection to be used again.
      this.fail(error instanceof ConnectionFail ? error : new ConnectionFail(String(error)));
    }
  }

  /** Throws the failure, if there was one. */
  check(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  /** Drops the connection at once, without a dot; returns the first failure. */
  fail(failure: ConnectionFail): ConnectionFail {
    if (this.#failure !== null) return this.#failure;
    this.#failure = failure;
    this.#socket.destroy();
    this.#wakeFailed?.(failure);
    return failure;
  }

  /** From now on the signal drops the connection; the function returned ends that. */
  failOn(signal: AbortSignal): () => void {
    const abort = () => {
      this.fail(new ConnectionFail(`stopped before the dot (${String(signal.reason)})`, 'deadline'));
    };
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    return () => signal.removeEventListener('abort', abort);
  }

  /** Says goodbye; a peer that does not close within a second is left. */
  quit(): void {
    if (this.#failure !== null) return;
    this.#owed++;
    this.#socket.end(commandLine('QUIT'));
    const timer = setTimeout(() => this.#socket.destroy(), 1000);
    this.#socket.once('close', () => clearTimeout(timer));
  }

  #take(chunk: Buffer): void {
    if (this.#failure !== null) return;
    try {
      const replies = this.#parser.push(chunk);
      this.#owed -= replies.length;
      const surplus = this.#owed < 0 || (this.#owed === 0 && this.#parser.pending());
      if (surplus) throw new ConnectionFail(`return smtpd said more than it was asked: ${excerpt(chunk)}`);
      this.#replies.push(...replies);
    } catch (error) {
      // Out of step: no reply that came along with it can be told to belong to our command.
      this.fail(error instanceof ConnectionFail ? error : new ConnectionFail(String(error)));
      return;
    }
    const reply = this.#wakeReader === null ? undefined : this.#replies.shift();
    if (reply !== undefined) this.#wakeReader?.(reply);
  }

  /** Replies that came before the end stay readable. */
  #lost(why: string): void {
    this.fail(new ConnectionFail(`connection to ${formatAddress(this.#options.address)} lost: ${why}`));
  }

  #wait<T>(
    timeoutMs: number | null,
    what: string,
    begin: (resolve: (value: T) => void, reject: (error: unknown) => void) => void,
  ): Promise<T> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    return new Promise<T>((resolve, reject) => {
      const timer =
        timeoutMs === null ? undefined : setTimeout(() => this.#timeOut(what, timeoutMs), timeoutMs);
      const settle = <V>(end: (value: V) => void) => {
        return (value: V) => {
          clearTimeout(timer);
          this.#wakeReader = null;
          this.#wakeFailed = null;
          end(value);
        };
      };
      this.#wakeFailed = settle(reject);
      begin(settle(resolve), settle(reject));
    });
  }

  #timeOut(what: string, timeoutMs: number): void {
    const where = formatAddress(this.#options.address);
    this.fail(new ConnectionFail(`no ${what} from ${where} within ${timeoutMs} ms`));
  }
}

function expectWelcome(connection: SmtpConnection, stage: 'greeting' | 'ehlo', reply: PeerReply): void {
  const expected = stage === 'greeting' ? 220 : 250;
  if (reply.code === expected) return;
  const misconfigured = judgeReply(stage, reply) === 'misconfigured';
  const outcome = misconfigured ? 'returnMisconfigured' : 'returnUnavailable';
  const what = stage === 'greeting' ? 'as greeting' : 'to EHLO';
  throw connection.fail(new ConnectionFail(`return smtpd said ${quoteReply(reply)} ${what}`, outcome, reply));
}

function excerpt(chunk: Buffer): string {
  return JSON.stringify(chunk.toString('latin1', 0, 80));
}
