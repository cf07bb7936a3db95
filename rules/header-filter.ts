/**
 * header-filter — drops header fields that only Sluice may write, and nothing else, as the octets flow by.
 *
 * Works on the top header block alone, in every fold and case; memory is bounded whatever comes. The output is the input
 * less the dropped fields, with two exceptions: the subject tag, where a policy wants one, and an empty line in front of
 * a message that begins with a continuation line (Postfix's smtpd puts it there too; else our last line would grow).
 */
import {
  CR,
  LF,
  asciiOf,
  isLineKind,
  type LabelState,
  type LineKind,
  labelOctetsMax,
  nameOf,
  Parts,
  readLabel,
  stepLabel,
} from './header-block.ts';
import { encodeTag, lineOctetsMax, subjectField, tagSubject } from './subject-tag.ts';

/** A filter for one message: `write` every chunk in order, then `end` once; both give what comes out. */
export interface HeaderFilter {
  /** What may leave after this chunk; may be a view of the chunk. */
  write(chunk: Uint8Array): Uint8Array;
  end(): Uint8Array;
  /** Names of dropped fields in lower case, each once, the first 100. */
  readonly dropped: readonly string[];
  /** How many of the dropped fields a DKIM-Signature of this message signs (h=): such a signature no longer verifies. */
  readonly droppedSigned: number;
}

/** How to filter one message; `subjectTag` is text for the front of Subject, or null. */
export type HeaderFilterOptions = {
  readonly subjectTag: string | null;
  readonly direction: 'inbound' | 'outbound';
};

/** A copy of one message without forged lines. Outbound mail keeps its X-Spam-* fields: there Sluice adds none. */
export function createHeaderFilter({ subjectTag, direction }: HeaderFilterOptions): HeaderFilter {
  return new StreamingFilter(subjectTag, direction === 'inbound' ? inboundForged : outboundForged);
}

const outboundForged = ['x-quarantine-', 'x-sluice-'];
const inboundForged = ['x-spam-', ...outboundForged];

const namesMax = 100;
const signatureOctetsMax = 16 * 1024;

class StreamingFilter implements HeaderFilter {
  readonly #forged: readonly string[];
  /** Encoded text still to be put in front of a Subject; null where none is wanted, or it is done. */
  #tag: string | null;
  #place: 'label' | 'line' | 'subject' | 'body' = 'label';
  #label: LabelState = 'start';
  /** Octets whose fate is open: a label, or the first line of the Subject to tag. Bounded. */
  #held: number[] = [];
  #subjectFrom = 0;
  #fields = 0;
  #keep = true;
  /** Text of the DKIM-Signature that flows by, up to its bound; null in any other field. */
  #signature: string | null = null;
  readonly #signed = new Set<string>();
  readonly #droppedTimes = new Map<string, number>();

  constructor(subjectTag: string | null, forged: readonly string[]) {
    this.#forged = forged;
    this.#tag = encodeTag(subjectTag);
  }

  get dropped(): readonly string[] {
    return [...this.#droppedTimes.keys()];
  }

  get droppedSigned(): number {
    let times = 0;
    for (const name of this.#signed) times += this.#droppedTimes.get(name) ?? 0;
    return times;
  }

  write(chunk: Uint8Array): Uint8Array {
    const out = new Parts();
    for (let at = 0; at < chunk.length; ) {
      if (this.#place === 'label') at = this.#readLabel(chunk, at, out);
      else if (this.#place === 'line') at = this.#passLine(chunk, at, out);
      else if (this.#place === 'subject') at = this.#readSubject(chunk, at, out);
      else {
        out.push(chunk.subarray(at));
        at = chunk.length;
      }
    }
    return out.joined();
  }

  end(): Uint8Array {
    const out = new Parts();
    if (this.#place === 'subject') this.#tagSubject(out);
    if (this.#place === 'line' && this.#keep && this.#tag !== null) out.push(Uint8Array.of(CR, LF));
    if (this.#place === 'label' && this.#held.length > 0) this.#judgeHeld('other', out);
    else if (this.#place !== 'body') this.#endHeader(out);
    return out.joined();
  }

  #readLabel(chunk: Uint8Array, from: number, out: Parts): number {
    const whole = this.#held.length === 0 ? readLabel(chunk, from) : null;
    if (whole === null) return this.#readCutLabel(chunk, from, out);
    this.#judge(whole.kind, chunk.subarray(from, whole.end), out);
    return whole.end;
  }

  /** A label that the chunk's end or beginning cuts. */
  #readCutLabel(chunk: Uint8Array, from: number, out: Parts): number {
    for (let at = from; at < chunk.length; at++) {
      const octet = chunk[at] ?? 0;
      this.#held.push(octet);
      const step = stepLabel(this.#label, octet);
      if (isLineKind(step)) this.#judgeHeld(step, out);
      else if (this.#held.length === labelOctetsMax) this.#judgeHeld('other', out);
      else {
        this.#label = step;
        continue;
      }
      return at + 1;
    }
    return chunk.length;
  }

  #judgeHeld(kind: LineKind, out: Parts): void {
    const held = Uint8Array.from(this.#held);
    this.#held = [];
    this.#label = 'start';
    this.#judge(kind, held, out);
  }

  /** These octets begin a line of this kind. */
  #judge(kind: LineKind, label: Uint8Array, out: Parts): void {
    this.#place = 'line';
    if (kind === 'field') return this.#startField(label, out);
    if (kind === 'continuation' && this.#fields > 0) return this.#pass(label, out);
    this.#endHeader(out);
    if (kind === 'continuation') out.push(Uint8Array.of(CR, LF));
    out.push(label);
  }

  #startField(label: Uint8Array, out: Parts): void {
    this.#endSignature();
    this.#fields++;
    const name = nameOf(label);
    this.#keep = !this.#forged.some((prefix) => name.startsWith(prefix));
    if (!this.#keep) return this.#countDropped(name);
    if (name === 'dkim-signature') this.#signature = '';
    if (name !== 'subject' || this.#tag === null) {
      out.push(label);
      return;
    }
    this.#place = 'subject';
    this.#held = [...label];
    this.#subjectFrom = label.length;
  }

  #passLine(chunk: Uint8Array, from: number, out: Parts): number {
    const lf = chunk.indexOf(LF, from);
    const to = lf === -1 ? chunk.length : lf + 1;
    this.#pass(chunk.subarray(from, to), out);
    if (lf !== -1) this.#place = 'label';
    return to;
  }

  #pass(part: Uint8Array, out: Parts): void {
    if (this.#keep) out.push(part);
    if (this.#signature === null) return;
    this.#signature += asciiOf(part.subarray(0, signatureOctetsMax - this.#signature.length));
  }

  #readSubject(chunk: Uint8Array, from: number, out: Parts): number {
    for (let at = from; at < chunk.length; at++) {
      const octet = chunk[at] ?? 0;
      this.#held.push(octet);
      if (octet !== LF && this.#held.length < lineOctetsMax + 2) continue;
      this.#tagSubject(out);
      if (octet === LF) this.#place = 'label';
      return at + 1;
    }
    return chunk.length;
  }

  #tagSubject(out: Parts): void {
    const line = Uint8Array.from(this.#held);
    const [label, text] = [line.subarray(0, this.#subjectFrom), line.subarray(this.#subjectFrom)];
    out.push(tagSubject(label, text, this.#tag ?? ''));
    this.#tag = null;
    this.#held = [];
    this.#place = 'line';
  }

  /** A message without Subject gets one as its last field. */
  #endHeader(out: Parts): void {
    this.#endSignature();
    if (this.#tag !== null) out.push(subjectField(this.#tag));
    this.#tag = null;
    this.#place = 'body';
  }

  #countDropped(name: string): void {
    const key = name.slice(0, namesMax);
    const times = this.#droppedTimes.get(key);
    if (times !== undefined || this.#droppedTimes.size < namesMax)
      this.#droppedTimes.set(key, (times ?? 0) + 1);
  }

  #endSignature(): void {
    for (const name of this.#signature === null ? [] : signedNames(this.#signature)) {
      if (!this.#forged.some((prefix) => name.startsWith(prefix))) continue;
      if (this.#signed.size < namesMax) this.#signed.add(name.slice(0, namesMax));
    }
    this.#signature = null;
  }
}

/** Field names in the h= tag of a DKIM-Signature's value, in lower case (RFC 6376 §3.5). */
function signedNames(value: string): string[] {
  const tags = value.replaceAll(/[ \t\r\n]+/g, '').split(';');
  const list = tags.find((tag) => tag.startsWith('h='))?.slice(2) ?? '';
  return list.toLowerCase().split(':');
}
