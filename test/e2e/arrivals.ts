/**
 * arrivals — what left Postfix behind, taken apart: whose letter it is, its envelope, what was put in front on the way.
 *
 * Nothing is normalised but what two runs can't share: SIZE= (our lines make the message longer) and the order of
 * recipients within one transaction.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Sink, SunkMessage } from '../fakes/sink.ts';
import { openDialog, type SmtpDialog } from '../fakes/smtp-dialog.ts';
import type { Letter } from './letters.ts';

/** One transaction at the sink. Lines are latin1, each octet one character. */
export type Arrival = {
  readonly letter: string;
  readonly mail: string;
  readonly rcpt: readonly string[];
  readonly xforward: Readonly<Record<string, string>>;
  /** Fields put in front on the way, top first, each with its line ends. */
  readonly front: readonly string[];
  readonly message: Buffer;
};

/** What the feed said to one letter, and the port of the client that brought it. */
export type Posted = { readonly queueId: string; readonly clientPort: number };

/** Takes a message of the sink apart; see `splitFront` for `ours`. */
export function arrivalOf(sunk: SunkMessage, through: 'filter' | 'nothing'): Arrival {
  const { front, message } = splitFront(sunk.bytes, through);
  return {
    letter: /([a-z0-9-]+)\.example>/i.exec(sunk.rcpt.at(-1) ?? '')?.[1]?.toLowerCase() ?? '',
    mail: sunk.mail.replace(/ SIZE=\d+/, ''),
    rcpt: sunk.rcpt.toSorted(),
    xforward: attributesOf(sunk.xforward),
    front,
    message,
  };
}

/** Every transaction of one letter, in an order that two runs share. */
export function arrivalsOf(sink: Sink, through: 'filter' | 'nothing'): Map<string, Arrival[]> {
  const all = sink.messages.map((sunk) => arrivalOf(sunk, through));
  all.sort((a, b) => (a.rcpt[0] ?? '').localeCompare(b.rcpt[0] ?? ''));
  return Map.groupBy(all, ({ letter }) => letter);
}

/**
 * Cuts off what was added: without a filter one Received line; with it the return smtpd's Received line, our lines, and
 * the feed's Received line. What is not of that form stays in the message, where a comparison finds it.
 */
function splitFront(bytes: Buffer, through: 'filter' | 'nothing'): { front: string[]; message: Buffer } {
  const front: string[] = [];
  let at = 0;
  const take = (pattern: RegExp): boolean => {
    const field = /^.*\r\n(?:[ \t].*\r\n)*/.exec(bytes.toString('latin1', at, at + 8192))?.[0] ?? '';
    if (!pattern.test(field)) return false;
    front.push(field);
    at += field.length;
    return true;
  };
  take(postfixReceived);
  if (through === 'filter') {
    while (take(/^X-(?:Spam-(?:Flag|Score|Level|Status)|Virus-Scanned): /)) continue;
    take(postfixReceived);
  }
  return { front, message: bytes.subarray(at) };
}

/** All that is in front with a filter: Received of the return smtpd, our lines, Received of the feed. */
export const frontPattern =
  /^Received: [^]*? id [^]*?\r\n(?:X-Spam-(?:Flag|Score|Level|Status): .*\r\n(?:\t.*\r\n)*)*X-Virus-Scanned: yes \(Sluice \S+ at \S+\)\r\nReceived: [^]*? id [^]*?\r\n$/;

/** Fails with the place of the first difference, and with no megabytes of it. */
export function assertSameOctets(actual: Buffer, expected: Buffer, name: string): void {
  if (actual.equals(expected)) return;
  const at = actual.findIndex((octet, index) => octet !== expected[index]);
  const from = Math.max(0, (at === -1 ? actual.length : at) - 40);
  const excerpt = (octets: Buffer) => JSON.stringify(octets.toString('latin1', from, from + 120));
  assert.fail(
    `${name}: octet ${at} of ${actual.length} (not ${expected.length}): ${excerpt(actual)} instead of ${excerpt(expected)}`,
  );
}

const postfixReceived = /^Received: from [^]*\bby mail\.demo\.test \(Postfix\)/;

function attributesOf(lines: readonly string[]): Record<string, string> {
  const words = lines.flatMap((line) => line.split(' ').slice(1));
  return Object.fromEntries(words.map((word) => [word.split('=', 1)[0], word.slice(word.indexOf('=') + 1)]));
}

/** Hands one letter to the feed on `port`; rejects where the feed does not take all of it. */
export async function post(port: number, letter: Letter): Promise<Posted> {
  const dialog = await openDialog({ kind: 'tcp', host: '127.0.0.1', port });
  await dialog.reply();
  await expect(dialog, `EHLO ${letter.ehlo ?? 'client.example'}`, '250');
  if (letter.xforward !== undefined) await expect(dialog, `XFORWARD ${letter.xforward}`, '250');
  await expect(dialog, `MAIL FROM:${letter.mail}`, '250');
  for (const rcpt of letter.rcpt) await expect(dialog, `RCPT TO:${rcpt}`, '250');
  await expect(dialog, 'DATA', '354');
  await dialog.send(letter.wire);
  const reply = await expect(dialog, '.', '250');
  const clientPort = dialog.socket.localPort ?? 0;
  const closed = once(dialog.socket, 'end');
  await dialog.send('QUIT\r\n');
  await closed;
  dialog.socket.destroy();
  return { queueId: /queued as (\w+)/.exec(reply)?.[1] ?? '', clientPort };
}

async function expect(dialog: SmtpDialog, line: string, code: string): Promise<string> {
  const reply = await dialog.ask(line);
  if (!reply.startsWith(code)) throw new Error(`Feed said "${reply}" to ${line.slice(0, 200)}`);
  return reply;
}
