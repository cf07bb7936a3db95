/**
 * spamc — the SPAMC/SPAMD protocol as octets: a request's head, a reply's parts (spamd/PROTOCOL, versions 1.2 to 1.5).
 *
 * Hides status lines, header lines and lengths, and which exit code of spamd means what. Nothing is guessed: a reply
 * that is cut, too long, or not of this protocol is `unchecked{protocol}`, and what spamd refuses keeps its own words.
 */
import type { TransientReason, Unchecked } from '../rules/mail.ts';

export type SpamcCommand = 'HEADERS' | 'TELL' | 'PING';

/** A reply with exit code 0: header names in lower case; `body` is empty where spamd sends none (TELL, PING). */
export type SpamcReply = {
  readonly kind: 'reply';
  readonly text: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
};

const headBytesMax = 8_192;

/** The head of a request; `lines` without line ends; `contentLength` in octets, null where no message follows. */
export function formatRequest(
  command: SpamcCommand,
  lines: readonly string[],
  contentLength: number | null,
): Buffer {
  const length = contentLength === null ? [] : [`Content-length: ${contentLength}`];
  return Buffer.from([`${command} SPAMC/1.5`, ...lines, ...length, '', ''].join('\r\n'), 'utf8');
}

/**
 * True when the reply has as many octets as it promised: spamd may go on working before it closes (expiry of Bayes
 * tokens). A reply that promises no length ends where spamd closes.
 */
export function isWholeReply(reply: Buffer): boolean {
  const end = reply.indexOf('\r\n\r\n');
  // Asked again for every chunk: a head that is no real one shall cost nothing.
  if (end > headBytesMax) return false;
  const length = end === -1 ? null : contentLengthOf(headersOf(reply.toString('latin1', 0, end)));
  return length !== null && reply.length >= end + 4 + length;
}

/** Parses all that spamd sent until it closed, or until `isWholeReply`. */
export function parseReply(reply: Buffer): SpamcReply | Unchecked {
  const end = reply.indexOf('\r\n\r\n');
  const head = reply.toString('latin1', 0, end === -1 ? reply.length : end + 2);
  const status = /^SPAMD\/\d+\.\d+ (\d{1,3}) ([^\r\n]*)\r\n/.exec(head);
  if (reply.length === 0) return protocolError('spamd closed the connection without an answer');
  if (status === null) return protocolError(`Not a reply of spamd: ${quote(head)}`);
  const text = status[2] ?? '';
  if (Number(status[1]) !== 0) return refusal(Number(status[1]), text);
  // PONG comes without the empty line that ends every other head.
  if (end === -1 && text !== 'PONG') return protocolError(`Reply of spamd is cut short: ${quote(head)}`);
  const headers = headersOf(head);
  const length = contentLengthOf(headers);
  const body = end === -1 ? Buffer.alloc(0) : reply.subarray(end + 4);
  if (length !== null && body.length !== length) {
    return protocolError(`Reply of spamd has ${body.length} octets, its Content-length says ${length}`);
  }
  return { kind: 'reply', text, headers, body };
}

/** `unchecked{protocol}` with what was wrong. */
export function protocolError(detail: string): Unchecked {
  return { kind: 'unchecked', reason: 'protocol', detail };
}

/** Text of a daemon for a log line: control characters escaped, 120 characters at most. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text);
}

/** Exit codes of sysexits.h, and 79 (EX_TIMEOUT), which is spamd's own. */
function refusal(code: number, text: string): Unchecked {
  const reasons: Readonly<Record<number, TransientReason>> = { 75: 'busy', 79: 'timeout' };
  return {
    kind: 'unchecked',
    reason: reasons[code] ?? 'failed',
    detail: `spamd said ${code} ${quote(text)}`,
  };
}

function headersOf(head: string): Map<string, string> {
  const headers = new Map<string, string>();
  for (const line of head.split('\r\n').slice(1)) {
    const colon = line.indexOf(':');
    if (colon > 0) headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
  }
  return headers;
}

/** NaN where the header is there and no number: it equals no length, so the reply counts as broken. */
function contentLengthOf(headers: ReadonlyMap<string, string>): number | null {
  const text = headers.get('content-length');
  if (text === undefined) return null;
  return /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
}
