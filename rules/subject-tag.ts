/**
 * subject-tag — text in front of a Subject: the one change that Sluice ever makes to a field of the message itself.
 *
 * Off by default, for it breaks DKIM signatures. Hides how the tag is encoded (RFC 2047) and where the line is folded,
 * so that no line grows over 998 octets that was shorter before.
 */
import { encodeWords, plainText } from './encoded-words.ts';
import { asciiOf, joinOctets } from './header-block.ts';

/** Octets of a line without its CRLF (RFC 5322 §2.1.1). */
export const lineOctetsMax = 998;

const tagCharactersMax = 100;

/** A policy's tag as it stands in the field, or null where there is nothing to say. */
export function encodeTag(subjectTag: string | null): string | null {
  const text = plainText(subjectTag ?? '')
    .trim()
    .slice(0, tagCharactersMax);
  const encoded = encodeWords(text);
  if (encoded === '') return null;
  // RFC 2047 §6.2 hides the space between neighbouring encoded-words: it goes inside.
  return encoded.startsWith('=?') ? encodeWords(`${text} `) : encoded;
}

/** A field for a message that has no Subject. */
export function subjectField(tag: string): Uint8Array {
  return new TextEncoder().encode(`Subject: ${tag}\r\n`);
}

/** The first line of a Subject field, `label` up to its colon and `text` behind, with the encoded tag between. */
export function tagSubject(label: Uint8Array, text: Uint8Array, tag: string): Uint8Array {
  const rest = asciiOf(text);
  const lastLine = `${asciiOf(label)} ${tag}`.split('\r\n').at(-1) ?? '';
  // A line of white space alone must not come to be: blank text stays beside the tag.
  const fits = lastLine.length + 1 + text.length <= lineOctetsMax || rest.trim() === '';
  const gap = `${fits ? '' : '\r\n'}${/^(?:[ \t\r\n]|$)/.test(rest) ? '' : ' '}`;
  return joinOctets([label, new TextEncoder().encode(` ${tag}${gap}`), text]);
}
