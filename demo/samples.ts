/**
 * samples — the three messages of the demonstration, and the way to hand one to the feed.
 *
 * EICAR and GTUBE are put together at run time, so that no file of ours is itself reported. `sendMessage` is a plain
 * SMTP client for one message; any reply but 2xx (354 at DATA) rejects with what the server said.
 */
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { createInterface } from 'node:readline';
import { eicar } from './clamd.ts';

export type Sample = {
  readonly name: string;
  readonly expected: 'delivered' | 'held';
  readonly sender: string;
  readonly recipient: string;
  /** The message; lines end in CRLF. */
  readonly bytes: Buffer;
};

/** A good message, one that SpamAssassin calls spam by agreement (GTUBE), one that every virus scanner knows (EICAR). */
export function createSamples(now: Date): readonly Sample[] {
  return [
    sample(
      'good',
      'delivered',
      now,
      ['Content-Type: text/plain; charset=utf-8', ...eightBit],
      [
        'Dear Bob,',
        'this message is harmless, and every octet of it arrives: grüße, 你好.',
        '. a line that begins with a dot',
      ],
    ),
    sample('GTUBE', 'held', now, ['Content-Type: text/plain; charset=us-ascii'], [gtube()]),
    sample(
      'EICAR',
      'held',
      now,
      ['Content-Type: multipart/mixed; boundary=sample'],
      [
        '--sample',
        'Content-Type: text/plain',
        '',
        'The attachment is no virus, only the test file that all scanners agreed to report.',
        '--sample',
        'Content-Type: application/octet-stream; name=eicar.com',
        'Content-Disposition: attachment; filename=eicar.com',
        'Content-Transfer-Encoding: base64',
        '',
        Buffer.from(eicar(), 'latin1').toString('base64'),
        '--sample--',
      ],
    ),
  ];
}

const eightBit = ['Content-Transfer-Encoding: 8bit'];

function sample(
  name: string,
  expected: Sample['expected'],
  now: Date,
  fields: readonly string[],
  body: readonly string[],
): Sample {
  const sender = `alice+${name.toLowerCase()}@example.net`;
  const recipient = 'bob@example.com';
  const header = [
    `From: Alice <${sender}>`,
    `To: Bob <${recipient}>`,
    `Subject: Sluice sample: ${name}`,
    `Date: ${now.toUTCString().replace('GMT', '+0000')}`,
    `Message-ID: <${name.toLowerCase()}.${now.getTime()}@example.net>`,
    'MIME-Version: 1.0',
    ...fields,
  ];
  return { name, expected, sender, recipient, bytes: Buffer.from([...header, '', ...body, ''].join('\r\n')) };
}

/** The Generic Test for Unsolicited Bulk Email: SpamAssassin gives it 1,000 points. */
function gtube(): string {
  return ['XJS*C4JDBQADN1.NSBN3*2IDNEN', '*GTUBE-STANDARD-ANTI', '-UBE-TEST-EMAIL*C.34X'].join('');
}

/** Hands one message to the SMTP server on `port` of this machine; resolves to its reply at the dot. */
export async function sendMessage(
  port: number,
  message: { readonly sender: string; readonly recipients: readonly string[]; readonly bytes: Buffer },
): Promise<string> {
  const socket = createConnection({ host: '127.0.0.1', port });
  try {
    await once(socket, 'connect');
    const replies = repliesOf(createInterface({ input: socket }));
    const ask = async (line: string | null) => {
      if (line !== null) socket.write(line);
      const reply = (await replies.next()).value ?? 'connection closed';
      if (!/^[23]/.test(reply)) throw new Error(`Cannot send to port ${port}: server said "${reply}"`);
      return reply;
    };
    await ask(null);
    await ask('EHLO localhost\r\n');
    await ask(`MAIL FROM:<${message.sender}> BODY=8BITMIME\r\n`);
    for (const recipient of message.recipients) await ask(`RCPT TO:<${recipient}>\r\n`);
    await ask('DATA\r\n');
    socket.write(stuffed(message.bytes));
    const reply = await ask('.\r\n');
    await ask('QUIT\r\n');
    return reply;
  } finally {
    socket.destroy();
  }
}

/** The last line of each reply. */
async function* repliesOf(lines: AsyncIterable<string>): AsyncGenerator<string, undefined> {
  for await (const line of lines) if (line[3] !== '-') yield line;
  return undefined;
}

/** Dots doubled at the begin of lines (RFC 5321 §4.5.2), CRLF at the end. */
function stuffed(bytes: Buffer): Buffer {
  const text = bytes.toString('latin1').replaceAll(/^\./gm, '..');
  return Buffer.from(text.endsWith('\r\n') ? text : `${text}\r\n`, 'latin1');
}
