/**
 * encoded-words — text that is not ASCII in a header field (RFC 2047), both ways.
 *
 * Writes UTF-8 in base64; reads every charset that TextDecoder knows and leaves what it can't read as it stands.
 * Nothing that comes out of here holds a control character, so no header line can be forged with it. Linear time.
 */

/** Octets of UTF-8 in one encoded-word: 12 + 60 characters, under the 75 of RFC 2047 §2. */
const wordOctetsMax = 45;

/** One encoded-word; every part is bounded, so that hostile text costs linear time. A space inside is common practice. */
const encodedWord = /=\?([^?\s*]{1,64})(?:\*[^?\s]{0,64})?\?([bBqQ])\?([^?]{0,1024})\?=/g;

/** Neighbouring encoded-words of one charset: a character of many octets may be split over them. */
type Run = { readonly charset: string; readonly octets: number[]; raw: string };

/** `text` without control characters, line and paragraph separators (each a space) and lone surrogates. */
export function plainText(text: string): string {
  return text.toWellFormed().replaceAll(/[\p{Cc}\u2028\u2029]/gu, ' ');
}

/** `text` as it may stand in an unstructured field: itself where it is ASCII, else encoded-words folded by CRLF SP. */
export function encodeWords(text: string): string {
  const plain = plainText(text);
  if (/^[\x20-\x7e]*$/.test(plain) && !plain.includes('=?')) return plain;
  return piecesOf(plain)
    .map((octets) => `=?UTF-8?B?${btoa(String.fromCharCode(...octets))}?=`)
    .join('\r\n ');
}

/** The text that an unstructured field shows; an encoded-word of unknown charset stays as it is. */
export function decodeWords(text: string): string {
  const pieces: (string | Run)[] = [];
  let behind = 0;
  for (const match of text.matchAll(encodedWord)) {
    const [raw, name = '', encoding = '', encoded = ''] = match;
    const charset = name.toLowerCase();
    const octets = encoding.toLowerCase() === 'b' ? fromBase64(encoded) : fromQ(encoded);
    const between = text.slice(behind, match.index);
    const last = pieces.at(-1);
    // RFC 2047 §6.2: white space between neighbours is not shown.
    const neighbour = typeof last === 'object' && between.trim() === '' ? last : null;
    if (neighbour === null) pieces.push(between);
    if (neighbour?.charset === charset) {
      neighbour.octets.push(...octets);
      neighbour.raw += between + raw;
    } else pieces.push({ charset, octets, raw });
    behind = match.index + raw.length;
  }
  pieces.push(text.slice(behind));
  return plainText(pieces.map((piece) => (typeof piece === 'string' ? piece : decodeRun(piece))).join(''));
}

/** UTF-8 of `text` in pieces that fit one encoded-word each and never split a character (RFC 2047 §5). */
function piecesOf(text: string): number[][] {
  const pieces: number[][] = [[]];
  for (const character of text) {
    const octets = new TextEncoder().encode(character);
    const last = pieces.at(-1) ?? [];
    if (last.length + octets.length <= wordOctetsMax) last.push(...octets);
    else pieces.push([...octets]);
  }
  return pieces;
}

function decodeRun({ charset, octets, raw }: Run): string {
  try {
    return new TextDecoder(charset).decode(Uint8Array.from(octets));
  } catch {
    return raw; // TextDecoder does not know the charset: the reader sees what came
  }
}

function fromBase64(encoded: string): number[] {
  const digits = encoded.replaceAll(/[^A-Za-z0-9+/]/g, '');
  const whole = digits.length % 4 === 1 ? digits.slice(0, -1) : digits;
  return Array.from(atob(whole), (character) => character.charCodeAt(0));
}

function fromQ(encoded: string): number[] {
  const text = encoded
    .replaceAll('_', ' ')
    .replaceAll(/=([0-9A-Fa-f]{2})/g, (_, digits: string) =>
      String.fromCharCode(Number.parseInt(digits, 16)),
    );
  // A character above ÿ has no place in an encoded-word: shown as '?'.
  return Array.from(text, (character) => (character.charCodeAt(0) > 255 ? 63 : character.charCodeAt(0)));
}
