/**
 * exchange — one request to a scanner daemon and its one reply, over TCP or a unix socket.
 *
 * Hides connecting, backpressure, the bound on the reply, and the reply that is still waiting when writing fails: a
 * daemon that answers early and closes must be heard (clamd over its StreamMaxLength does so). Whatever the daemon
 * does wrong is a value, `unchecked{reason}`; only an error of the request's own source is thrown.
 */
import { once } from 'node:events';
import { Socket } from 'node:net';
import { formatAddress } from '../rules/address.ts';
import type { Unchecked } from '../rules/mail.ts';

/** Where a daemon listens; the addresses of rules/address.ts fit (mode and owner are for who listens). */
export type Address =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

export type ExchangeOptions = {
  /** A longer reply is `protocol`. */
  readonly replyBytesMax: number;
  /** True when the reply so far is whole; without it the reply ends where the daemon closes. */
  readonly isComplete?: (reply: Buffer) => boolean;
  /** Close our direction after the request (SPAMC wants it); default: keep it open. */
  readonly halfClose?: boolean;
};

const connectTimeoutMs = 5_000;

/**
 * Sends `request` with backpressure and returns the reply as soon as it is whole, or as far as it came when the daemon
 * closed (possibly empty: parsing judges it). Once the reply is there, or the daemon takes no more, the rest of
 * `request` is not asked for: a request that was asked for its last chunk was sent up to there.
 */
export async function exchange(
  address: Address,
  signal: AbortSignal,
  request: AsyncIterable<Uint8Array>,
  options: ExchangeOptions,
): Promise<Buffer | Unchecked> {
  const incoming = new Incoming();
  const socket = await connectTo(address, signal, incoming);
  if (!(socket instanceof Socket)) return socket;
  try {
    const reply = collectReply(socket, incoming, signal, options, addressText(address));
    const answered = { yet: false };
    const noted = reply.then((value) => {
      answered.yet = true;
      return value;
    });
    const sent = send(socket, request, answered, noted, options.halfClose ?? false);
    return await Promise.race([noted, sent.then(() => noted)]);
  } finally {
    socket.destroy();
  }
}

/** A connected socket, or why there is none; `unreachable` says what to look at. */
async function connectTo(
  address: Address,
  signal: AbortSignal,
  incoming: Incoming,
): Promise<PatientSocket | Unchecked> {
  if (signal.aborted) return abortedBy(signal);
  const socket = new PatientSocket({ allowHalfOpen: true, onread: incoming });
  const timer = setTimeout(() => {
    socket.destroy(Object.assign(new Error('connect timed out'), { code: 'ETIMEDOUT' }));
  }, connectTimeoutMs);
  try {
    socket.connect(
      address.kind === 'tcp' ? { host: address.host, port: address.port } : { path: address.path },
    );
    await once(socket, 'connect', { signal });
    socket.on('error', () => undefined); // 'close' follows, and collectReply listens to it
    return socket;
  } catch (error) {
    socket.on('error', () => undefined); // a late error of an attempt that is already over
    socket.destroy();
    return signal.aborted ? abortedBy(signal) : connectFailure(address, error);
  } finally {
    clearTimeout(timer);
  }
}

/** True for the value that means "could not tell". */
export function isUnchecked(answer: object): answer is Unchecked {
  return 'kind' in answer && answer.kind === 'unchecked';
}

/** Why we stopped asking: `timeout` where the signal's reason is a TimeoutError, else `cancelled`. */
export function abortedBy(signal: AbortSignal): Unchecked {
  const reason: unknown = signal.reason;
  const timedOut = reason instanceof DOMException && reason.name === 'TimeoutError';
  return timedOut
    ? { kind: 'unchecked', reason: 'timeout', detail: 'No answer before the deadline' }
    : { kind: 'unchecked', reason: 'cancelled', detail: 'Stopped asking: the answer is not needed any more' };
}

/** `host:port` or `unix:path`, as the configuration writes it. */
export function addressText(address: Address): string {
  return formatAddress(address.kind === 'unix' ? { ...address, mode: null, owner: null } : address);
}

/**
 * What a socket has read so far, in one growing buffer that the kernel's octets go straight into (net.Socket, `onread`):
 * a stream would take 64 KiB for each read, and a reply has a few octets.
 */
class Incoming {
  onGrowth: (() => void) | null = null;
  #store = Buffer.allocUnsafe(1_024);
  #used = 0;

  get octets(): Buffer {
    return this.#store.subarray(0, this.#used);
  }

  /** Where the next octets go. */
  readonly buffer = (): Buffer => {
    if (this.#used === this.#store.length) this.#store = Buffer.concat([this.#store], 2 * this.#used);
    return this.#store.subarray(this.#used);
  };

  readonly callback = (readBytes: number): boolean => {
    this.#used += readBytes;
    this.onGrowth?.();
    return true;
  };
}

/** A socket on which a failed write does not throw away what the peer has already answered. */
class PatientSocket extends Socket {
  /** True once a write failed because the peer is gone. */
  broken = false;

  override _write(chunk: unknown, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    super._write(chunk, encoding, (error) => done(this.#unlessGone(error)));
  }

  override _writev(
    chunks: { chunk: unknown; encoding: BufferEncoding }[],
    done: (error?: Error | null) => void,
  ): void {
    super._writev?.(chunks, (error) => done(this.#unlessGone(error)));
  }

  #unlessGone(error: Error | null | undefined): Error | null {
    this.broken ||= isPeerGone(error);
    return isPeerGone(error) ? null : (error ?? null);
  }
}

function isPeerGone(error: Error | null | undefined): boolean {
  const code = codeOf(error);
  return code === 'EPIPE' || code === 'ECONNRESET';
}

function collectReply(
  socket: Socket,
  incoming: Incoming,
  signal: AbortSignal,
  options: ExchangeOptions,
  where: string,
): Promise<Buffer | Unchecked> {
  return new Promise((resolve) => {
    const settle = (value: Buffer | Unchecked) => {
      signal.removeEventListener('abort', stop);
      resolve(value);
    };
    const stop = () => settle(abortedBy(signal));
    if (signal.aborted) return stop();
    signal.addEventListener('abort', stop, { once: true });
    incoming.onGrowth = () => {
      const reply = incoming.octets;
      if (reply.length > options.replyBytesMax) {
        settle(uncheckedBy('protocol', `Reply of ${where} is longer than ${options.replyBytesMax} octets`));
        socket.destroy();
      } else if (options.isComplete?.(reply)) settle(reply);
    };
    socket.on('end', () => settle(incoming.octets));
    socket.on('close', () => settle(incoming.octets));
    return undefined;
  });
}

async function send(
  socket: PatientSocket,
  request: AsyncIterable<Uint8Array>,
  answered: { readonly yet: boolean },
  reply: Promise<unknown>,
  halfClose: boolean,
): Promise<void> {
  // Small pieces (a command, the head, the end mark) go out in one system call with their neighbours.
  socket.cork();
  for await (const chunk of request) {
    if (answered.yet || socket.broken || socket.destroyed) return;
    if (socket.write(chunk)) continue;
    socket.uncork();
    await Promise.race([drained(socket), reply]);
    socket.cork();
  }
  socket.uncork();
  if (halfClose && !answered.yet) socket.end();
}

/** Never rejects (unlike events.once): a socket that breaks instead settles the reply. */
function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('drain', resolve);
  });
}

function connectFailure(address: Address, error: unknown): Unchecked {
  const code = codeOf(error);
  const where = addressText(address);
  // A host with several addresses fails with an AggregateError, whose message is empty.
  const text = (error instanceof Error ? error.message : String(error)) || code;
  // EAGAIN: a unix socket's backlog is full; EMFILE and ENFILE: we ourselves are out of descriptors.
  if (code === 'EAGAIN')
    return uncheckedBy('busy', `Cannot connect to ${where}: its queue of connections is full`);
  if (code === 'EMFILE' || code === 'ENFILE')
    return uncheckedBy(
      'busy',
      `Cannot connect to ${where}: out of file descriptors here (raise LimitNOFILE)`,
    );
  if (code === 'ECONNRESET') return uncheckedBy('protocol', `${where} took the connection and reset it`);
  return uncheckedBy('unreachable', `Cannot connect to ${where}: ${text}${remedyFor(code)}`);
}

function remedyFor(code: string | null): string {
  if (code === 'ENOENT') return ' (no such socket: is the daemon running, is the path right?)';
  if (code === 'ECONNREFUSED') return ' (nobody listens there: is the daemon running?)';
  if (code === 'EACCES' || code === 'EPERM')
    return " (may not open it: add Sluice's user to the group of the socket)";
  if (code === 'ETIMEDOUT') return ' (no answer: is a firewall in between, is the daemon stopped?)';
  return '';
}

function uncheckedBy(reason: Unchecked['reason'], detail: string): Unchecked {
  return { kind: 'unchecked', reason, detail };
}

function codeOf(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null;
}
