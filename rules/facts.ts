/**
 * facts — what the header block says of a message: author, subject, ids, age; and which octets the ledger leaves out.
 *
 * Reads, never writes. Header fields can be forged: nothing here is proof, and what is ambiguous is null. Every text is
 * bounded before it is parsed and every step is linear, so that a hostile header costs no more than its octets.
 */
import { authorOf } from './author.ts';
import { parseDate } from './date.ts';
import { decodeWords, plainText } from './encoded-words.ts';
import { type Field, fieldsOf } from './header-block.ts';

/** Facts out of a header block; null where there is none, or where it can't be read. */
export type ParsedFacts = {
  /** Address of the one author in From:, in lower case; null where From: names several. */
  readonly from: string | null;
  /** Subject decoded (RFC 2047), without control characters, at most 1,000 characters. */
  readonly subject: string | null;
  /** Message-ID as it stands, angle brackets included. */
  readonly messageId: string | null;
  /** Date of the top Received line, epoch milliseconds. */
  readonly receivedAtMs: number | null;
  /** Queue id ("id X") of the top Received line. */
  readonly topReceivedId: string | null;
  /** Queue id of locally submitted mail (RELIABILITY R9). */
  readonly localQueueId: string | null;
};

const valueOctetsMax = 16 * 1024;
const textCharactersMax = 1000;

/** Facts of the header block at the start of `head`. */
export function parseFacts(head: Uint8Array): ParsedFacts {
  const first = new Map<string, string>();
  const authors: (string | null)[] = [];
  for (const field of fieldsOf(head)) {
    const { name } = field;
    if (name === 'from')
      authors.push(authorOf(field.to - field.valueFrom > valueOctetsMax ? '' : valueOf(head, field)));
    else if (wanted.has(name) && !first.has(name)) first.set(name, valueOf(head, field));
  }
  const [author = null] = authors;
  const received = first.get('received') ?? null;
  return {
    from: authors.every((other) => other === author) ? author : null,
    subject: shortened(decodeWords(first.get('subject') ?? '')),
    messageId: shortened(plainText(first.get('message-id') ?? '')),
    receivedAtMs: received === null ? null : parseDate(received.slice(received.lastIndexOf(';') + 1)),
    topReceivedId: received === null ? null : receivedId(received),
    localQueueId: leadingLocal(head).at(-1)?.id ?? null,
  };
}

/**
 * R9: how many octets at the start the ledger leaves out of its sha256, because `postsuper -r` put them there.
 *
 * Without XFORWARD IDENT (`ident` null) the message was submitted here, and the lowest leading "Received: by … (Postfix,
 * from userid …)" is its own: all above it go. With an IDENT it came from a client, so all of these lines go.
 */
export function ledgerSkip(head: Uint8Array, ident: string | null = null): number {
  const lowest = leadingLocal(head).at(-1);
  if (lowest === undefined) return 0;
  return ident === null ? lowest.from : lowest.to;
}

const wanted = new Set(['subject', 'message-id', 'received']);

/** The leading fields that Postfix's pickup wrote, top to bottom. */
function leadingLocal(head: Uint8Array): { id: string; from: number; to: number }[] {
  const leading = [];
  for (const field of fieldsOf(head)) {
    const value = field.name === 'received' ? valueOf(head, field).slice(0, textCharactersMax) : '';
    const id = /^by [^\s()]+ \(Postfix, from userid \d+\)\s+id ([A-Za-z0-9]+);/.exec(value)?.[1];
    if (id === undefined) break;
    leading.push({ id, from: field.from, to: field.to });
  }
  return leading;
}

/** The last "id X" of a Received line outside comments and angle brackets: what stands before it may come from HELO. */
function receivedId(received: string): string | null {
  const clauses = received.slice(0, received.lastIndexOf(';') + 1 || received.length);
  const words = withoutComments(clauses).split(/[\s;]+/);
  const at = words.lastIndexOf('id');
  return at === -1 ? null : (/^[A-Za-z0-9._-]{1,64}$/.exec(words[at + 1] ?? '')?.[0] ?? null);
}

/** Text less what stands in parentheses or angle brackets. */
function withoutComments(text: string): string {
  let depth = 0;
  let outside = '';
  for (const character of text) {
    if (character === '(' || character === '<') depth++;
    if (depth === 0) outside += character;
    if ((character === ')' || character === '>') && depth > 0) depth--;
  }
  return outside;
}

/** Value of a field, unfolded and trimmed: UTF-8 where it is valid, else windows-1252; its first 16 KiB. */
function valueOf(head: Uint8Array, { valueFrom, to }: Field): string {
  const octets = head.subarray(valueFrom, Math.min(to, valueFrom + valueOctetsMax));
  return decodeText(octets).replaceAll(/\r?\n/g, '').trim();
}

const utf8 = new TextDecoder('utf-8', { fatal: true });
const windows1252 = new TextDecoder('windows-1252');

function decodeText(octets: Uint8Array): string {
  try {
    return utf8.decode(octets);
  } catch {
    return windows1252.decode(octets); // 8-bit text without a charset: the commonest of them
  }
}

function shortened(text: string): string | null {
  return text === '' ? null : text.slice(0, textCharactersMax).toWellFormed();
}
