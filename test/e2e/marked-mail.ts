/**
 * marked-mail — messages that each carry the verdict they must get, and the account of what became of them.
 *
 * Hides how a fate is read from the sink and the quarantine. A message is lost, doubled, or judged by another one's verdict: each
 * is counted by itself, and each has a witness.
 */
import { eicar } from '../../demo/clamd.ts';
import type { SmtpDialog } from '../fakes/smtp-dialog.ts';
import type { TestSite } from './site.ts';

/** What must become of a message. */
export type Expected = { readonly score: number; readonly infected: boolean };

export type Account = {
  readonly messages: number;
  readonly lost: readonly number[];
  readonly doubled: readonly number[];
  /** In words: what became of it instead. */
  readonly wrong: readonly string[];
};

/** Thresholds of the shipped policy that tell delivered mail from held mail. */
const quarantineFrom = 10;

/** Every twentieth is infected; the others have scores from 2.0, where headers begin, to 11.9; one in five is held. */
export function expectedOf(number: number): Expected {
  return { infected: number % 20 === 7, score: (20 + ((number * 7) % 100)) / 10 };
}

/** `padding`: so many octets more. */
export function markedMail(number: number, padding = 0): Buffer {
  const { infected, score } = expectedOf(number);
  const filler = 'An ordinary line about an ordinary order.\r\n';
  const lines = [
    'From: <sender@partner.example>',
    `To: <r${number}@site.example>`,
    `Subject: order ${number}`,
    `Message-ID: <m${number}@partner.example>`,
    `Date: ${new Date().toUTCString().replace('GMT', '+0000')}`,
    `X-Marked: ${number} ${score.toFixed(1)}`,
    '',
    infected ? eicar() : 'An ordinary line about an ordinary order.',
    filler.repeat(Math.ceil(padding / filler.length)),
  ];
  return Buffer.from(lines.join('\r\n'), 'latin1');
}

/** Puts these messages into the queue of the feed, over one connection. */
export async function fillQueue(site: TestSite, numbers: Iterable<number>, padding = 0): Promise<void> {
  const dialog = await site.dial();
  await dialog.reply();
  await dialog.ask('EHLO client.example');
  for (const number of numbers) await hand(dialog, number, padding);
  await dialog.send('QUIT\r\n');
  await dialog.rest();
}

/** One marked message; gives the reply to the dot. */
export async function hand(dialog: SmtpDialog, number: number, padding = 0): Promise<string> {
  const commands = ['MAIL FROM:<sender@partner.example>', `RCPT TO:<r${number}@site.example>`, 'DATA'];
  await dialog.send(`${commands.join('\r\n')}\r\n`);
  let reply = '';
  for (const _ of commands) reply = await dialog.reply();
  if (!reply.startsWith('354')) return reply;
  await dialog.send(markedMail(number, padding));
  return dialog.ask('.');
}

/** What became of all these messages. */
export async function accountOf(site: TestSite, numbers: readonly number[]): Promise<Account> {
  const fates = new Map<number, string[]>();
  const note = (number: number, fate: string) => fates.set(number, [...(fates.get(number) ?? []), fate]);
  for (const { bytes } of site.sink?.messages ?? []) {
    const head = bytes.toString('latin1', 0, 8192);
    const number = Number(/^Message-ID: <m(\d+)@/m.exec(head)?.[1] ?? -1);
    const scanned = /^X-Virus-Scanned: (yes|no)/m.exec(head)?.[1];
    note(number, `delivered ${scanned} ${/^X-Spam-Status: [^]*?\bscore=(\S+)/m.exec(head)?.[1]}`);
  }
  for (const item of await heldAt(site)) {
    const number = Number(/<m(\d+)@/.exec(item.messageId ?? '')?.[1] ?? -1);
    note(number, item.virusName === null ? `held ${item.score}` : `infected ${item.virusName}`);
  }
  const lost = numbers.filter((number) => !fates.has(number));
  const doubled = numbers.filter((number) => (fates.get(number) ?? []).length > 1);
  const wrong = numbers.flatMap((number) => {
    const wanted = wantedFate(number);
    const others = (fates.get(number) ?? []).filter((fate) => !isSame(fate, wanted));
    return others.map((fate) => `m${number}: ${fate}, not ${wanted}`);
  });
  return { messages: numbers.length, lost, doubled, wrong };
}

function wantedFate(number: number): string {
  const { infected, score } = expectedOf(number);
  if (infected) return `infected Marked.${number}`;
  return score >= quarantineFrom ? `held ${score}` : `delivered yes ${score}`;
}

function isSame(fate: string, wanted: string): boolean {
  const [words, number] = [fate.split(' '), wanted.split(' ')];
  const [last, wantedLast] = [words.at(-1) ?? '', number.at(-1) ?? ''];
  const sameWords = words.slice(0, -1).join(' ') === number.slice(0, -1).join(' ');
  return sameWords && (last === wantedLast || Number(last) === Number(wantedLast));
}

type Held = {
  readonly messageId: string | null;
  readonly score: number | null;
  readonly virusName: string | null;
};

async function heldAt(site: TestSite): Promise<readonly Held[]> {
  const { code, stdout, stderr } = await site.cli(
    'quarantine',
    'list',
    '--all',
    '--limit',
    '10000',
    '--json',
  );
  if (code !== 0) throw new Error(`quarantine list ended with ${code}: ${stderr}`);
  return JSON.parse(stdout) as Held[];
}
