/**
 * messages — unlike mail of one size: real messages of the corpus, padded, no two alike and none sent twice.
 *
 * Scanners remember what they have seen (clamd by the digest of each part), so every part of every message carries a
 * token of its own. The same `seed` gives the same messages. Lines end with CRLF; no line begins with a dot.
 */
import { createHash } from 'node:crypto';
import { corpus } from '../e2e/corpus.ts';

/** Messages of about `sizeBytes`: over 16 KiB as an attachment, else as text. `at` counts from 0. */
export type Mails = (at: number) => Buffer;

const textBytesMax = 4096;
const attachmentFrom = 16 * 1024;
const poolBytes = 1024 * 1024;
const lineOctets = 76;

type Model = { readonly header: string; readonly text: string };

/** A maker of messages; `models` is how many different real ones it begins with. */
export function createMails(options: { sizeBytes: number; seed: string; models: number }): Mails {
  const { sizeBytes, seed } = options;
  const models = readModels(options.models);
  const pool = createPool(sizeBytes < attachmentFrom ? 0 : poolBytes);
  return (at) => {
    const { header, text } = models[at % models.length] ?? { header: '', text: '' };
    const token = createHash('sha256').update(`${seed}/${at}`).digest('hex');
    if (sizeBytes < attachmentFrom) return withText(header, text, token, sizeBytes);
    return withAttachment(header, text, token, pool, sizeBytes);
  };
}

/** Header fields that speak of the body's form are left out: the body becomes another one. */
function readModels(count: number): Model[] {
  return corpus(count).map(({ bytes }) => {
    const lines = bytes.toString('latin1').replaceAll('\r', '').replaceAll('\0', '');
    const end = lines.indexOf('\n\n');
    const fields = lines.slice(0, end === -1 ? lines.length : end).split(/\n(?![ \t])/);
    const kept = fields.filter((field) => !/^(?:content-|mime-version|status:)/i.test(field));
    const text = end === -1 ? '' : lines.slice(end + 2, end + 2 + textBytesMax);
    return { header: wired(kept.join('\n')), text: wired(text.replaceAll(/^\./gm, ':')) };
  });
}

function wired(lines: string): string {
  return lines.replaceAll('\n', '\r\n');
}

function withText(header: string, text: string, token: string, sizeBytes: number): Buffer {
  const head = `${header.slice(0, sizeBytes / 2)}\r\nX-Bench: ${token}\r\n\r\n`;
  const room = Math.max(0, sizeBytes - head.length);
  const body = text.slice(0, room);
  return Buffer.from(`${head}${body}\r\n${filler(token, room - body.length)}`, 'latin1');
}

/** Words out of a digest chain, so that padding is unlike as well. */
function filler(token: string, octets: number): string {
  const lines: string[] = [];
  let last = token;
  for (let size = 0; size < octets; size += last.length + 9) {
    last = createHash('sha256').update(last).digest('hex');
    lines.push(last.replaceAll(/(.{9})/g, '$1 '));
  }
  return `${lines.join('\r\n')}\r\n`;
}

function withAttachment(header: string, text: string, token: string, pool: Buffer, size: number): Buffer {
  const boundary = `=_${token.slice(0, 24)}`;
  const head =
    `${header}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="${boundary}"\r\n` +
    `X-Bench: ${token}\r\n\r\n--${boundary}\r\nContent-Type: text/plain\r\n\r\n${text}\r\n${token}\r\n` +
    `--${boundary}\r\nContent-Type: application/octet-stream; name="${token.slice(0, 8)}.bin"\r\n` +
    `Content-Transfer-Encoding: base64\r\n\r\n${token}\r\n`;
  const lines = Math.max(0, Math.floor((size - head.length) / (lineOctets + 2)));
  const from = (Number.parseInt(token.slice(0, 6), 16) % 4096) * (lineOctets + 2);
  const pieces = [Buffer.from(head, 'latin1'), pool.subarray(from)];
  for (let left = lines * (lineOctets + 2) - (pool.length - from); left > 0; left -= pool.length)
    pieces.push(pool);
  const whole = Buffer.concat(pieces, head.length + lines * (lineOctets + 2));
  return Buffer.concat([whole, Buffer.from(`--${boundary}--\r\n`, 'latin1')]);
}

/** Base64 lines of octets that do not repeat, the same in every process. */
function createPool(octets: number): Buffer {
  const lines: string[] = [];
  for (let at = 0; at * (lineOctets + 2) < octets; at++) {
    const digest = createHash('sha512').update(`pool ${at}`).digest('base64').slice(0, 64);
    lines.push(`${digest}${digest.slice(0, lineOctets - 64)}\r\n`);
  }
  return Buffer.from(lines.join(''), 'latin1');
}
