/**
 * spam-copy — the octets that spamd gets to see of a message: its beginning, behind one line with the envelope sender.
 *
 * Hides what keeps that line trustworthy: copies that the message brought along are dropped, and nothing in a sender
 * can begin a line of its own. The copy is never delivered. Rejects with TempFail where the message ends early.
 */
import { createHeaderFilter } from '../rules/headers.ts';
import { encodeWire } from '../rules/mail.ts';
import { TempFail } from './fail.ts';

/** The first `take` octets of the message less forged lines, behind `front`; all of it in memory. */
export async function readCopy(
  message: AsyncIterable<Uint8Array>,
  take: number,
  front: Uint8Array,
): Promise<Buffer> {
  const filter = createHeaderFilter({ subjectTag: null, direction: 'inbound' });
  const parts: Uint8Array[] = [front];
  let taken = 0;
  for await (const chunk of message) {
    const part = chunk.subarray(0, take - taken);
    taken += part.length;
    parts.push(filter.write(part));
    if (taken === take) break;
  }
  if (taken < take)
    throw new TempFail(`Cannot read message for spamd: ended after ${taken} of ${take} octets`);
  return Buffer.concat([...parts, filter.end()]);
}

/**
 * The line that `envelope_sender_header` of sluice.cf names; '' is the null sender. A source route is left out: it is
 * to be ignored (RFC 5321 §4.1.1.3), and SpamAssassin finds no address behind one.
 */
export function formatSender(sender: string): Buffer {
  const address = encodeWire(withoutControls(sender).replace(/^@[^:]*:/, ''));
  return Buffer.concat([Buffer.from('X-Sluice-Envelope-From: <'), address, Buffer.from('>\r\n')]);
}

/** `text` without control characters. */
export function withoutControls(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what has to go
  return text.replaceAll(/[\x00-\x1f\x7f]/g, '');
}
