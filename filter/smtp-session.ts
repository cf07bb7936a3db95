/**
 * smtp-session — the dialog with one client, SMTP or LMTP, from the banner to the last reply.
 *
 * Hides the order of commands and the life of a transaction: envelope, XFORWARD, place in flight, who gets which
 * reply. Whatever fails here is a 4xx; 5xx only for size and malformed protocol (RELIABILITY R6), because Postfix
 * would make a bounce of it. Never rejects; a client that resets, stalls or floods ends its own session only.
 */
import type { Socket } from 'node:net';
import type { Recipient } from '../rules/mail.ts';
import { type OutcomeName, type Reply, replyFor } from '../rules/replies.ts';
import { TempFail } from '../workers/fail.ts';
import type { Log } from '../workers/log.ts';
import type { Spool, SpoolWriter } from '../workers/spool.ts';
import type { Offers } from './offers.ts';
import { type Command, type MailCommand, parseCommand, xforwardNames } from './smtp-command.ts';
import { handOver, type OnMessage, openSpool, receiveData, repeatReply } from './smtp-data.ts';
import { SmtpInput } from './smtp-input.ts';
import { protocolReplies, SmtpOutput } from './smtp-output.ts';

/** What every session of a listener shares. */
export type SessionOptions = {
  readonly protocol: 'smtp' | 'lmtp';
  readonly direction: 'inbound' | 'outbound';
  readonly hostname: string;
  readonly spool: Omit<Spool, 'mark'>;
  readonly sizeBytesMax: number;
  readonly deadlineMs: number;
  readonly idleMs: number;
  /** Takes a place in flight at MAIL and returns its release; null: overloaded. */
  readonly admit: () => (() => void) | null;
  readonly offers: () => Offers;
  readonly onMessage: OnMessage;
  /** A message that never got as far as onMessage was answered 4xx. */
  readonly onTempfail?: (reason: OutcomeName) => void;
  readonly log: Log;
};

/** RFC 5321 §4.5.3.1.4 asks for 512 octets and more with extensions; ORCPT of a long quoted address needs much more. */
const lineOctetsMax = 4096;
const recipientsMax = 2000;
const badCommandsMax = 20;

/** One for all: every session ends so, and the default reason is an error with a stack made for each. */
const clientGone = new TempFail('Client gone');

/** A transaction from an accepted MAIL on. */
type Mail = { readonly command: MailCommand; readonly recipients: Recipient[]; readonly release: () => void };

/** One connection. `run` is called once and resolves when all is over, the message in flight included. */
export class SmtpSession {
  readonly #socket: Socket;
  readonly #options: SessionOptions;
  readonly #remoteAddress: string;
  readonly #input: SmtpInput;
  readonly #output: SmtpOutput;
  readonly #gone = new AbortController();
  #greeted = false;
  #offers: Offers | null = null;
  #xforward = new Map<string, string>();
  #mail: Mail | null = null;
  #mailRefusal: Reply | null = null;
  #badCommands = 0;
  #draining = false;
  #left = false;

  /** The socket must have been opened with allowHalfOpen, so that replies to a client's last words can still go out. */
  constructor(socket: Socket, remoteAddress: string, options: SessionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#remoteAddress = remoteAddress;
    this.#input = new SmtpInput(socket, lineOctetsMax);
    this.#output = new SmtpOutput(socket, options.idleMs);
    socket.on('error', (error) => options.log.debug({ remoteAddress, err: error }, 'Connection error'));
    socket.on('end', () => this.#gone.abort(clientGone));
    socket.on('close', () => this.#gone.abort(clientGone));
  }

  /** Holds the dialog; resolves when it is over and nothing of it is left. */
  async run(): Promise<void> {
    try {
      const protocol = this.#options.protocol === 'lmtp' ? 'LMTP' : 'ESMTP';
      this.#output.sayPlain(220, [`${this.#options.hostname} ${protocol} Sluice`]);
      await this.#converse();
    } catch (error) {
      this.#options.log.error({ remoteAddress: this.#remoteAddress, err: error }, 'Session failed');
      this.#leave(replyFor('internal'));
    } finally {
      this.#reset();
    }
  }

  /** Ends an idle session with 421 now, a busy one after its message (RELIABILITY R12). */
  drain(): void {
    this.#draining = true;
    this.#input.interrupt();
  }

  /** Drops the connection: what has no dot yet is gone, what has one loses its listener. */
  drop(): void {
    this.#socket.destroy();
  }

  async #converse(): Promise<void> {
    while (!this.#left) {
      if (this.#draining && this.#mail === null) return this.#leave(replyFor('shuttingDown'));
      const line = this.#input.takeLine();
      if (line === null) await this.#awaitClient(this.#mail === null);
      else if (line.kind === 'line') await this.#obey(parseCommand(line.octets, this.#offers));
      else if (line.kind === 'tooLong') this.#refuse(protocolReplies.lineTooLong);
      // What follows a bare LF may be content that somebody wants us to obey (CVE-2023-51764): hang up on it.
      else this.#leave(protocolReplies.bareLineFeed, 'linger');
    }
  }

  /** Sends the replies and waits for octets; leaves when the client is gone or silent. */
  async #awaitClient(interruptible: boolean): Promise<void> {
    await this.#output.flush();
    const timer = setTimeout(() => this.#input.expire(), this.#options.idleMs);
    const news = await this.#input.wait({ interruptible });
    clearTimeout(timer);
    if (news === 'end') this.#leave(null);
    if (news === 'idle') this.#leave(protocolReplies.silence);
  }

  async #obey(command: Command): Promise<void> {
    switch (command.kind) {
      case 'greeting':
        return this.#greet(command.verb);
      case 'mail':
        return this.#output.say(this.#startMail(command));
      case 'rcpt':
        return this.#output.say(this.#addRecipient(command));
      case 'data':
        return this.#data();
      case 'xforward':
        return this.#output.say(this.#forward(command.attributes));
      case 'rset':
        this.#reset();
        return this.#output.say(protocolReplies.ok);
      case 'noop':
        return this.#output.say(protocolReplies.ok);
      case 'vrfy':
        return this.#output.say(protocolReplies.cannotVerify);
      case 'quit':
        return this.#leave(protocolReplies.bye);
      case 'refused':
        return command.hangUp ? this.#leave(command.reply, 'linger') : this.#refuse(command.reply);
      default:
        return assertNever(command);
    }
  }

  #greet(verb: 'EHLO' | 'HELO' | 'LHLO'): void {
    if ((verb === 'LHLO') !== (this.#options.protocol === 'lmtp'))
      return this.#refuse(protocolReplies.wrongGreeting);
    this.#reset();
    this.#greeted = true;
    this.#offers = verb === 'HELO' ? null : this.#options.offers();
    this.#output.sayPlain(250, [this.#options.hostname, ...this.#keywords()]);
  }

  #keywords(): string[] {
    if (this.#offers === null) return [];
    const { dsn, smtputf8, eightBitMime } = this.#offers;
    const keywords = ['PIPELINING', `SIZE ${this.#sizeBytesMax()}`, 'ENHANCEDSTATUSCODES'];
    if (eightBitMime) keywords.push('8BITMIME');
    if (dsn) keywords.push('DSN');
    if (smtputf8) keywords.push('SMTPUTF8');
    return [...keywords, `XFORWARD ${xforwardNames.join(' ')}`];
  }

  /** The smaller of our limit and the return smtpd's, where 0 means none (RFC 1870 §4). */
  #sizeBytesMax(): number {
    const offered = this.#offers?.sizeBytes ?? 0;
    return offered === 0 ? this.#options.sizeBytesMax : Math.min(this.#options.sizeBytesMax, offered);
  }

  #startMail(command: MailCommand): Reply {
    if (!this.#greeted) return protocolReplies.greetFirst;
    if (this.#mail !== null) return protocolReplies.inTransaction;
    this.#mailRefusal = null;
    if ((command.sizeBytes ?? 0) > this.#sizeBytesMax()) return this.#refuseMail(replyFor('tooLarge'));
    const release = this.#options.admit();
    if (release === null) return this.#refuseMail(this.#refusal('overloaded'));
    this.#mail = { command, recipients: [], release };
    return protocolReplies.senderOk;
  }

  /** Pipelined RCPT and DATA get the same reply: a 503 there would turn "later" into a bounce. */
  #refuseMail(reply: Reply): Reply {
    this.#mailRefusal = reply;
    return reply;
  }

  #addRecipient({ address, notify, orcpt }: Recipient): Reply {
    if (this.#mail === null) return this.#mailRefusal ?? protocolReplies.needMail;
    if (this.#mail.recipients.length >= recipientsMax) return protocolReplies.tooManyRecipients;
    this.#mail.recipients.push({ address, notify, orcpt });
    return protocolReplies.recipientOk;
  }

  /** Postfix sends two XFORWARD commands in front of one MAIL: they add up (XFORWARD_README). */
  #forward(attributes: ReadonlyMap<string, string>): Reply {
    if (this.#mail !== null) return protocolReplies.inTransaction;
    for (const [name, value] of attributes) this.#xforward.set(name, value);
    return protocolReplies.ok;
  }

  async #data(): Promise<void> {
    const mail = this.#mail;
    if (mail === null) return this.#output.say(this.#mailRefusal ?? protocolReplies.needMail);
    if (mail.recipients.length === 0) return this.#output.say(protocolReplies.noRecipients);
    const writer = openSpool(this.#options.spool, this.#options.log);
    if (writer === null) this.#output.say(this.#refusal('spoolUnavailable'));
    else await this.#receive(mail, writer);
    this.#reset();
  }

  async #receive(mail: Mail, writer: SpoolWriter): Promise<void> {
    const { log, protocol } = this.#options;
    this.#output.sayPlain(354, ['End data with <CR><LF>.<CR><LF>']);
    const source = { next: () => this.#nextChunk(), unread: (octets: Buffer) => this.#input.unread(octets) };
    const received = await receiveData(source, writer, this.#sizeBytesMax(), log);
    const { sender } = mail.command;
    if (received.kind === 'left') return log.info({ sender }, 'Client left before the dot: message dropped');
    if (received.kind === 'failed') log.info({ sender, outcome: received.outcome }, 'Message not taken');
    // A client may have sent everything at once: it needn't wait for the scan to hear of its recipients.
    await this.#output.flush();
    const slots = protocol === 'lmtp' ? mail.recipients.length : 1;
    const replies =
      received.kind === 'failed'
        ? repeatReply(this.#refusal(received.outcome), slots)
        : await handOver(received, this.#transaction(mail), {
            ...this.#options,
            slots,
            gone: this.#gone.signal,
          });
    for (const reply of replies) this.#output.say(reply);
    // RFC 5321 §3.8: who says 421 hangs up.
    if (replies.some((reply) => reply.code === 421)) this.#leave(null, 'linger');
  }

  /** A reply in our own words to a message that is not taken; what may be tried again is counted. */
  #refusal(outcome: OutcomeName): Reply {
    const reply = replyFor(outcome);
    if (reply.code < 500) this.#options.onTempfail?.(outcome);
    return reply;
  }

  async #nextChunk(): Promise<Buffer | null> {
    let chunk = this.#input.takeChunk();
    while (chunk === null && !this.#left) {
      await this.#awaitClient(false);
      chunk = this.#input.takeChunk();
    }
    return this.#left ? null : chunk;
  }

  #transaction(mail: Mail) {
    const { protocol, direction } = this.#options;
    const { sender, body, smtputf8, ret, envid } = mail.command;
    const xforward = Object.fromEntries(this.#xforward);
    const envelope = { sender, body, smtputf8, ret, envid, recipients: mail.recipients, xforward };
    return { direction, protocol, envelope, remoteAddress: this.#remoteAddress };
  }

  /** Ends the transaction: envelope and XFORWARD are forgotten, its place is free again. */
  #reset(): void {
    this.#mail?.release();
    this.#mail = null;
    this.#mailRefusal = null;
    this.#xforward = new Map();
  }

  /** A command that makes no sense; who keeps sending such isn't speaking our protocol. */
  #refuse(reply: Reply): void {
    this.#badCommands++;
    this.#output.say(reply);
    if (this.#badCommands >= badCommandsMax) this.#leave(protocolReplies.tooManyErrors, 'linger');
  }

  /** Ends the dialog. `linger` where octets of the client may still be under way. */
  #leave(reply: Reply | null, how: 'at once' | 'linger' = 'at once'): void {
    if (reply !== null) this.#output.say(reply);
    this.#left = true;
    if (how === 'at once' || this.#gone.signal.aborted) return this.#output.hangUp();
    this.#output.linger();
    this.#input.discard();
  }
}

function assertNever(value: never): never {
  throw new Error(`Unknown command ${JSON.stringify(value)}`);
}
