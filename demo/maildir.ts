/**
 * maildir — reads what virtual(8) delivered into the Maildir sink.
 *
 * Hides the three lines that Postfix puts in front of each delivered copy. Line ends are LF, as in any mailbox; a test
 * that wants the very octets of the wire takes an SMTP sink instead.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';

export type Delivered = {
  readonly file: string;
  readonly recipient: string;
  /** Envelope sender; '' is the null sender. */
  readonly sender: string;
  /** The message without Return-Path, X-Original-To and Delivered-To of virtual(8); lines end in LF. */
  readonly bytes: Buffer;
};

/** Every delivered copy in `folder`, oldest first; none where nothing was ever delivered. */
export async function readMaildir(folder: string): Promise<Delivered[]> {
  const found: { at: bigint; delivered: Delivered }[] = [];
  for (const part of ['new', 'cur']) {
    for (const name of await readdir(join(folder, part)).catch(() => [])) {
      const file = join(folder, part, name);
      const { mtimeNs } = await stat(file, { bigint: true });
      found.push({ at: mtimeNs, delivered: parseDelivered(file, await readFile(file)) });
    }
  }
  return found.toSorted((a, b) => Number(a.at - b.at)).map(({ delivered }) => delivered);
}

function parseDelivered(file: string, bytes: Buffer): Delivered {
  const added: Record<string, string> = {};
  let start = 0;
  for (const name of ['Return-Path', 'X-Original-To', 'Delivered-To']) {
    const end = bytes.indexOf(0x0a, start);
    const line = bytes.toString('utf8', start, end);
    if (!line.startsWith(`${name}: `)) continue;
    added[name] = line.slice(name.length + 2);
    start = end + 1;
  }
  return {
    file,
    recipient: added['Delivered-To'] ?? '',
    sender: (added['Return-Path'] ?? '').replace(/^<(.*)>$/s, '$1'),
    bytes: bytes.subarray(start),
  };
}
