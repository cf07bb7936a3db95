/**
 * smtp-input — what a client sends, in order: command lines or raw chunks, with bounded buffering.
 *
 * Hides TCP's cuts and the backpressure: the socket is read ahead up to 128 KiB, so that a client that leaves while
 * its message is being scanned is noticed and pipelined commands wait here; beyond that it is paused. Never throws:
 * end, loss of the connection, silence and our own wish to stop arrive as news.
 */
import type { Socket } from 'node:net';

const CR = 0x0d;
const LF = 0x0a;
const readAheadBytes = 128 * 1024;

/** One command line without its CRLF, or why it can't be one. */
export type Line =
  | { readonly kind: 'line'; readonly octets: Buffer }
  | { readonly kind: 'tooLong' }
  | { readonly kind: 'bareLineFeed' };

/** Why `wait` returned: there may be more to take, the client has gone, it kept silent, or `interrupt` was called. */
export type News = 'more' | 'end' | 'idle' | 'interrupted';

/** The reading side of one connection. `take…` never wait; null means that `wait` must come first. */
export class SmtpInput {
  readonly #socket: Socket;
  readonly #lineOctetsMax: number;
  #pending: Buffer = Buffer.alloc(0);
  #queue: Buffer[] = [];
  #queuedBytes = 0;
  #swallowing = false;
  #discarding = false;
  #ended = false;
  #idle = false;
  #interrupted = false;
  #wake: (() => void) | null = null;

  /** `lineOctetsMax` counts the CRLF (RFC 5321 §4.5.3.1.4); what is longer is swallowed up to its line end. */
  constructor(socket: Socket, lineOctetsMax: number) {
    this.#socket = socket;
    this.#lineOctetsMax = lineOctetsMax;
    socket.on('data', (chunk: Buffer) => this.#push(chunk));
    socket.on('end', () => this.#end());
    socket.on('close', () => this.#end());
  }

  /** The next whole line. Lines end at CRLF; a bare LF makes its line unusable, it never starts another command. */
  takeLine(): Line | null {
    for (;;) {
      const lineFeed = this.#pending.indexOf(LF);
      if (lineFeed !== -1) return this.#cut(lineFeed);
      if (this.#pending.length > this.#lineOctetsMax) {
        this.#swallowing = true;
        this.#pending = this.#pending.subarray(-1);
      }
      const chunk = this.#shift();
      if (chunk === null) return null;
      this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    }
  }

  /** Whatever octets are there, never empty. */
  takeChunk(): Buffer | null {
    if (this.#pending.length === 0) return this.#shift();
    const chunk = this.#pending;
    this.#pending = Buffer.alloc(0);
    return chunk;
  }

  /** Puts the rest of a taken chunk back in front. */
  unread(octets: Buffer): void {
    this.#pending = this.#pending.length === 0 ? octets : Buffer.concat([octets, this.#pending]);
  }

  /** Resolves when something happened; octets that came before the end are told first. */
  async wait(options: { interruptible: boolean }): Promise<News> {
    for (;;) {
      if (this.#queue.length > 0) return 'more';
      if (this.#ended) return 'end';
      if (this.#idle) return 'idle';
      if (options.interruptible && this.#interrupted) return 'interrupted';
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
  }

  /** The client kept silent for too long: `wait` says so. */
  expire(): void {
    this.#idle = true;
    this.#wake?.();
  }

  /** We want to stop: an interruptible `wait` returns now and from now on. */
  interrupt(): void {
    this.#interrupted = true;
    this.#wake?.();
  }

  /** Reads on and throws away, so that a last reply isn't lost to a reset (RFC 9293 §3.10.7). */
  discard(): void {
    this.#discarding = true;
    this.#queue = [];
    this.#socket.resume();
  }

  #push(chunk: Buffer): void {
    if (this.#discarding) return;
    this.#queue.push(chunk);
    this.#queuedBytes += chunk.length;
    if (this.#queuedBytes >= readAheadBytes) this.#socket.pause();
    this.#wake?.();
  }

  #shift(): Buffer | null {
    const chunk = this.#queue.shift();
    if (chunk === undefined) return null;
    this.#queuedBytes -= chunk.length;
    if (this.#queuedBytes < readAheadBytes && this.#socket.isPaused()) this.#socket.resume();
    return chunk;
  }

  #end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  #cut(lineFeed: number): Line {
    const octets = this.#pending.subarray(0, lineFeed);
    this.#pending = this.#pending.subarray(lineFeed + 1);
    const tooLong = this.#swallowing || lineFeed + 1 > this.#lineOctetsMax;
    this.#swallowing = false;
    if (octets.at(-1) !== CR) return { kind: 'bareLineFeed' };
    return tooLong ? { kind: 'tooLong' } : { kind: 'line', octets: octets.subarray(0, -1) };
  }
}
