/**
 * header-block — where a header field begins and where the header block ends, on raw octets.
 *
 * Sees a message as Postfix does (is_header.c, mime_state.c), for Postfix decides in the end what is header and what is
 * body: space before the colon is allowed, a line of white space alone continues a field, and the first line that is
 * neither a field nor a continuation ends the block. Total and linear for any octets; a bare LF ends a line too.
 */

/** One header field: `name` in lower case; octets `from`..`to` hold all of it, `valueFrom`..`to` what follows the colon. */
export type Field = {
  readonly name: string;
  readonly from: number;
  readonly valueFrom: number;
  readonly to: number;
};

/** How far the start of a line has been read; `stepLabel` moves on. */
export type LabelState = 'start' | 'cr' | 'name' | 'space';

/** What a line turns out to be; `blank` and `other` end the header block. */
export type LineKind = 'field' | 'continuation' | 'blank' | 'other';

/** The colon of a field stands among this many octets (Postfix's line_length_limit), else the line is no field. */
export const labelOctetsMax = 2048;

export const CR = 13;
export const LF = 10;
const tab = 9;
const space = 32;
const colon = 58;

/** Reads one more octet at the start of a line: the next state, or what the line is. */
export function stepLabel(state: LabelState, octet: number): LabelState | LineKind {
  const white = octet === space || octet === tab;
  if (state === 'cr') return octet === LF ? 'blank' : 'other';
  if (state === 'start' && white) return 'continuation';
  if (state === 'start' && octet === LF) return 'blank';
  if (state === 'start' && octet === CR) return 'cr';
  if (octet === colon) return state === 'start' ? 'other' : 'field';
  if (white) return 'space';
  if (state === 'space' || octet < 0x21 || octet > 0x7e) return 'other';
  return 'name';
}

/**
 * What the line at `from` is, and the octet behind its label; null where `octets` end before that can be told. The octets
 * of a name are passed over in one go, because nearly every line begins with them.
 */
export function readLabel(octets: Uint8Array, from: number): { kind: LineKind; end: number } | null {
  const limit = Math.min(octets.length, from + labelOctetsMax);
  let at = from;
  while (at < limit && isNameOctet(octets[at] ?? 0)) at++;
  let state: LabelState = at === from ? 'start' : 'name';
  for (; at < limit; at++) {
    const step = stepLabel(state, octets[at] ?? 0);
    if (isLineKind(step)) return { kind: step, end: at + 1 };
    state = step;
  }
  return limit === from + labelOctetsMax ? { kind: 'other', end: limit } : null;
}

/** True for the answers of `stepLabel` that end the label. */
export function isLineKind(step: LabelState | LineKind): step is LineKind {
  return step === 'field' || step === 'continuation' || step === 'blank' || step === 'other';
}

/** Name in lower case of the field whose label (all up to the colon) is `label`. */
export function nameOf(label: Uint8Array): string {
  let name = '';
  for (let at = 0; at < label.length && isNameOctet(label[at] ?? 0); at++)
    name += String.fromCharCode(label[at] ?? 0);
  return name.toLowerCase();
}

/** The fields of the header block at the start of `head`, top to bottom; the last may be cut where `head` ends. */
export function* fieldsOf(head: Uint8Array): Generator<Field> {
  let open: { name: string; from: number; valueFrom: number; to: number } | undefined;
  for (let at = 0; at < head.length; ) {
    const { kind, end } = readLabel(head, at) ?? { kind: 'other', end: head.length };
    const next = lineEnd(head, at);
    if (kind === 'continuation' && open !== undefined) open.to = next;
    else {
      if (open !== undefined) yield open;
      open = undefined;
      if (kind !== 'field') return;
      open = { name: nameOf(head.subarray(at, end)), from: at, valueFrom: end, to: next };
    }
    at = next;
  }
  if (open !== undefined) yield open;
}

/** Octets as a string, one character each (ISO 8859-1): for text that is known to be ASCII. */
export function asciiOf(octets: Uint8Array): string {
  let text = '';
  for (let at = 0; at < octets.length; at++) text += String.fromCharCode(octets[at] ?? 0);
  return text;
}

/** Parts of one output in order. Neighbours in memory become one: what nothing is taken from leaves uncopied. */
export class Parts {
  readonly #done: Uint8Array[] = [];
  #buffer: ArrayBufferLike | null = null;
  #from = 0;
  #to = 0;

  push(part: Uint8Array): void {
    if (part.buffer !== this.#buffer || part.byteOffset !== this.#to) {
      this.#settle();
      this.#buffer = part.buffer;
      this.#from = part.byteOffset;
    }
    this.#to = part.byteOffset + part.length;
  }

  joined(): Uint8Array {
    this.#settle();
    this.#buffer = null;
    return joinOctets(this.#done);
  }

  #settle(): void {
    if (this.#buffer !== null)
      this.#done.push(new Uint8Array(this.#buffer, this.#from, this.#to - this.#from));
  }
}

/** All parts in one array; a single part is returned as it is. */
export function joinOctets(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** What a field's name is made of (RFC 5322 §3.6.8). */
function isNameOctet(octet: number): boolean {
  return octet > space && octet < 0x7f && octet !== colon;
}

/** Offset behind the LF of the line at `from`, or the end. */
function lineEnd(head: Uint8Array, from: number): number {
  const at = head.indexOf(LF, from);
  return at === -1 ? head.length : at + 1;
}
