/**
 * smtp-output — what we say to a client: replies gathered, sent in one piece, and the last one made to arrive.
 *
 * Hides a client that doesn't read (we wait, not for ever) and the ways to hang up. Also names the replies that belong
 * to the protocol alone; replies that speak of a message are in rules/replies.ts. Never throws.
 */
import type { Socket } from 'node:net';
import type { Reply } from '../rules/replies.ts';

/** Replies to the dialog itself (RFC 5321 §4.2, RFC 3463). */
export const protocolReplies = {
  ok: { code: 250, enhanced: '2.0.0', text: 'Ok' },
  senderOk: { code: 250, enhanced: '2.1.0', text: 'Ok' },
  recipientOk: { code: 250, enhanced: '2.1.5', text: 'Ok' },
  bye: { code: 221, enhanced: '2.0.0', text: 'Bye' },
  cannotVerify: { code: 252, enhanced: '2.0.0', text: 'Cannot verify, send it and see' },
  greetFirst: { code: 503, enhanced: '5.5.1', text: 'Send a greeting first' },
  wrongGreeting: { code: 500, enhanced: '5.5.1', text: 'Wrong greeting for this protocol' },
  inTransaction: { code: 503, enhanced: '5.5.1', text: 'MAIL transaction in progress' },
  needMail: { code: 503, enhanced: '5.5.1', text: 'Send MAIL first' },
  noRecipients: { code: 503, enhanced: '5.5.1', text: 'No valid recipients' },
  tooManyRecipients: { code: 452, enhanced: '4.5.3', text: 'Too many recipients' },
  lineTooLong: { code: 500, enhanced: '5.5.2', text: 'Line too long' },
  bareLineFeed: { code: 500, enhanced: '5.5.2', text: 'Bare LF: commands end at CRLF' },
  tooManyErrors: { code: 421, enhanced: '4.7.0', text: 'Too many errors' },
  silence: { code: 421, enhanced: '4.4.2', text: 'Timeout, closing connection' },
} as const satisfies Record<string, Reply>;

/** How long a connection may linger for its last words. */
const lingerMs = 5000;

/** The writing side of one connection. */
export class SmtpOutput {
  readonly #socket: Socket;
  readonly #stallMs: number;
  #unsent = '';
  #onWritable: (() => void) | null = null;

  /** A client that doesn't read for `stallMs` is dropped. */
  constructor(socket: Socket, stallMs: number) {
    this.#socket = socket;
    this.#stallMs = stallMs;
    socket.on('drain', () => this.#onWritable?.());
    socket.on('close', () => this.#onWritable?.());
  }

  /** Adds a reply to what the next `flush` sends. */
  say(reply: Reply): void {
    this.#unsent += `${reply.code} ${reply.enhanced} ${reply.text}\r\n`;
  }

  /** The same for a reply without an enhanced code: greetings and 354 (RFC 2034 §4). */
  sayPlain(code: number, lines: readonly string[]): void {
    const last = lines.length - 1;
    this.#unsent += lines.map((line, at) => `${code}${at === last ? ' ' : '-'}${line}\r\n`).join('');
  }

  /** Sends what is to be said, and waits while the client doesn't read. */
  async flush(): Promise<void> {
    const unsent = this.#unsent;
    this.#unsent = '';
    if (unsent === '' || !this.#socket.writable || this.#socket.write(unsent)) return;
    const timer = setTimeout(() => this.#socket.destroy(), this.#stallMs);
    await new Promise<void>((resolve) => {
      this.#onWritable = resolve;
    });
    this.#onWritable = null;
    clearTimeout(timer);
  }

  /** Sends the rest and hangs up, but hears the client out: a reset over unread octets would cost it our reply. */
  linger(): void {
    this.#end();
    this.#socket.once('end', () => this.#socket.destroy());
  }

  /** Sends the rest and hangs up, without waiting for the client. */
  hangUp(): void {
    this.#end();
    this.#socket.destroySoon();
  }

  #end(): void {
    const socket = this.#socket;
    const timer = setTimeout(() => socket.destroy(), lingerMs).unref();
    socket.once('close', () => clearTimeout(timer));
    if (socket.writable) socket.end(this.#unsent);
    this.#unsent = '';
  }
}
