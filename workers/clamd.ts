/**
 * clamd — asks ClamAV's daemon about one message: INSTREAM over TCP or a unix socket (clamd(8), COMMANDS).
 *
 * Hides the protocol and the wording of clamd's replies. Only the exact reply `stream: OK` is clean; whatever is not
 * recognised is `unchecked{protocol}`. It never throws for a scanner's failure; it rejects only where the message
 * itself can't be read (TempFail of the spool), which is not clamd's fault.
 */
import type { Unchecked, VirusResult } from '../rules/mail.ts';
import { createEndpoints } from './endpoints.ts';
import { type Address, addressText, exchange, isUnchecked } from './exchange.ts';
import type { Log } from './log.ts';

/** What is needed of a SpooledMessage. */
export type Readable = { read(): AsyncIterable<Uint8Array> };

/** `signaturesAt`: when the database was made, epoch milliseconds; both null where only local signatures are loaded. */
export type ClamdVersion = {
  readonly kind: 'version';
  readonly engine: string;
  readonly signatures: number | null;
  readonly signaturesAt: number | null;
};

/** What each configured address answered. */
export type Answers<T> = readonly { readonly address: string; readonly answer: T | Unchecked }[];

export type ClamdClient = {
  /** Verdict on the bytes of `message`; another clamd is asked where one is away, busy, garbled or failing. */
  scan(message: Readable, signal: AbortSignal): Promise<VirusResult>;
  ping(): Promise<Answers<{ readonly kind: 'alive' }>>;
  /** `atMostMs` shortens the deadline. */
  version(atMostMs?: number): Promise<Answers<ClamdVersion>>;
  /** Cancels what is under way. */
  close(): void;
};

const replyBytesMax = 4_096;

/** A client of one or several clamd. `timeoutMs`: hard deadline of one call, all attempts together. */
export function createClamd(options: {
  addresses: readonly Address[];
  concurrency: number;
  timeoutMs: number;
  log: Log;
  cooldownMs?: number;
  now?: () => number;
}): ClamdClient {
  const { log } = options;
  const endpoints = createEndpoints(options);

  async function ask<T extends object>(
    address: Address,
    signal: AbortSignal,
    request: AsyncIterable<Uint8Array>,
    parse: (reply: Buffer) => T | Unchecked,
  ): Promise<T | Unchecked> {
    const reply = await exchange(address, signal, request, { replyBytesMax, isComplete: endsWithNul });
    const answer = isUnchecked(reply) ? reply : parse(reply);
    if (!isUnchecked(answer)) return answer;
    const placed = { ...answer, detail: `clamd at ${addressText(address)}: ${answer.detail}` };
    if (answer.reason !== 'cancelled') log.warn(placed, 'clamd could not tell');
    return placed;
  }

  return {
    scan: (message, signal) =>
      endpoints.run<VirusResult>(signal, (address, deadline) => {
        const sent = { whole: false };
        return ask(address, deadline, instream(message, sent), (reply) => parseScanReply(reply, sent.whole));
      }),
    ping: () => endpoints.each((address, deadline) => ask(address, deadline, command('PING'), parsePing)),
    version: (atMostMs) =>
      endpoints.each(
        (address, deadline) => ask(address, deadline, command('VERSION'), parseVersion),
        atMostMs,
      ),
    close: () => endpoints.close(),
  };
}

/**
 * The verdict in clamd's reply to `zINSTREAM`; clean only where the message was sent whole. What clamd found is a virus
 * unless it only says "I could not look".
 */
export function parseScanReply(reply: Uint8Array, sentWhole: boolean): VirusResult {
  const line = lineOf(reply);
  if (line === null) return unchecked('protocol', `Reply is cut short: ${quoted(reply)}`);
  if (line === 'stream: OK' && sentWhole) return { kind: 'clean' };
  const name = /^stream: (\S.*) FOUND$/.exec(line)?.[1];
  if (name !== undefined) return parseName(name);
  if (line === 'INSTREAM size limit exceeded. ERROR')
    return unchecked('overLimit', 'Message is longer than StreamMaxLength (raise it in clamd.conf)');
  if (line.endsWith(' ERROR')) return unchecked('failed', `Error of the daemon: ${quoted(reply)}`);
  const when = sentWhole ? '' : ' before the end of the message';
  return unchecked('protocol', `Reply${when} is not understood: ${quoted(reply)}`);
}

/** The reply to `zVERSION`: `ClamAV 1.4.6/27450/Tue Nov  4 08:50:35 2025`, or only `ClamAV 1.4.6`. */
export function parseVersion(reply: Uint8Array): ClamdVersion | Unchecked {
  const [engine, signatures, date] = lineOf(reply)?.split('/') ?? [];
  const number = /^ClamAV (\S+)$/.exec(engine ?? '')?.[1];
  if (number === undefined) return unchecked('protocol', `Reply is not understood: ${quoted(reply)}`);
  const at = date === undefined ? Number.NaN : Date.parse(date); // ctime(3): clamd's local time
  return {
    kind: 'version',
    engine: number,
    signatures: signatures !== undefined && /^\d+$/.test(signatures) ? Number(signatures) : null,
    signaturesAt: Number.isNaN(at) ? null : at,
  };
}

function parsePing(reply: Uint8Array): { kind: 'alive' } | Unchecked {
  if (lineOf(reply) === 'PONG') return { kind: 'alive' };
  return unchecked('protocol', `Reply to PING is not understood: ${quoted(reply)}`);
}

/** AlertEncrypted and AlertExceedsMax report under these names what clamd could not look into (clamd.conf(5)). */
function parseName(name: string): VirusResult {
  if (name.startsWith('Heuristics.Encrypted.')) return unchecked('encrypted', `Encrypted part: ${name}`);
  if (name.startsWith('Heuristics.Limits.Exceeded'))
    return unchecked(
      'overLimit',
      `Over a limit of clamd: ${name} (see MaxScanSize, MaxFileSize, MaxRecursion)`,
    );
  return { kind: 'infected', name };
}

async function* instream(message: Readable, sent: { whole: boolean }): AsyncGenerator<Uint8Array> {
  yield Buffer.from('zINSTREAM\0', 'latin1');
  for await (const chunk of message.read()) {
    // A chunk of length zero is the end of the stream: the rest would go unscanned.
    if (chunk.length === 0) continue;
    yield lengthOf(chunk);
    yield chunk;
  }
  sent.whole = true;
  yield Buffer.alloc(4);
}

function lengthOf(chunk: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(chunk.length);
  return length;
}

async function* command(name: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(`z${name}\0`, 'latin1');
}

function endsWithNul(reply: Uint8Array): boolean {
  return reply.includes(0);
}

/** The reply without its NUL, or null where it has none at its end, or one before. */
function lineOf(reply: Uint8Array): string | null {
  if (reply.indexOf(0) !== reply.length - 1 || reply.length === 0) return null;
  return Buffer.from(reply.subarray(0, -1)).toString('latin1');
}

function quoted(reply: Uint8Array): string {
  return JSON.stringify(Buffer.from(reply.subarray(0, 200)).toString('latin1'));
}

function unchecked(reason: Unchecked['reason'], detail: string): Unchecked {
  return { kind: 'unchecked', reason, detail };
}
