/**
 * crash — kill -9 at random instants while a real Postfix queue drains through Sluice; then every copy is accounted for.
 *
 * Each recipient of each message ends delivered or held, never lost, never both. A second delivered copy can only come
 * from the windows W1 and W2 of RELIABILITY.md (the process died between the return smtpd's 250 and the ledger's
 * commit): they are counted and bounded by what can be in flight at a kill.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startSite, type TestSite } from './site.ts';

const gtube = ['XJS*C4JDBQADN1.NSBN3*2IDNEN*', 'GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X'].join('');
// The long run: `npm run crash`.
const kills = Number(process.env.SLUICE_TEST_KILLS ?? 6);
const messages = kills * 25;
const inFlightMax = 8;

type Fate = { delivered: number; held: number };

for (const feedProtocol of ['lmtp', 'smtp'] as const) {
  test(`kill -9 at ${kills} random instants loses nothing of ${messages} messages (${feedProtocol} feed)`, async (t) => {
    const site = await startSite({
      feedProtocol,
      sink: 'smtp',
      policies: 'recipients: { keep.example: { thresholds: { quarantine: null } } }\n',
      spamd: { children: 2 },
      postfix: { scanProcesses: inFlightMax, retrySeconds: 1 },
    });
    t.after(() => site.stop());
    await site.sluice().stop();
    await fillQueue(site);
    await site.restart();
    await site.postfix.flush();
    await killAtRandom(site);
    await site.postfix.waitForQueueEmpty(400_000);
    const fates = await fatesOf(site);
    const wrong = [...expected()].filter(([copy, where]) => !isRight(fates.get(copy), where));
    const doubled = [...fates.values()].reduce((sum, { delivered }) => sum + Math.max(0, delivered - 1), 0);
    t.diagnostic(`${fates.size} copies accounted for, ${kills} kills, ${doubled} delivered twice (W1/W2)`);
    assert.deepEqual(wrong.slice(0, 5), [], `${wrong.length} of ${expected().size} copies went wrong`);
    assert.equal(fates.size, expected().size);
    assert.ok(doubled <= kills * inFlightMax, `${doubled} copies delivered twice`);
  });
}

/** Copy ("message recipient") → where it belongs. Every fifth message is spam; every third goes to both domains. */
function expected(): Map<string, 'delivered' | 'held'> {
  const copies = new Map<string, 'delivered' | 'held'>();
  for (let number = 0; number < messages; number++) {
    for (const recipient of recipientsOf(number)) {
      const held = number % 5 === 0 && recipient.endsWith('@hold.example');
      copies.set(`m${number} ${recipient}`, held ? 'held' : 'delivered');
    }
  }
  return copies;
}

function recipientsOf(number: number): string[] {
  const keep = `r${number}@keep.example`;
  const hold = `r${number}@hold.example`;
  return number % 3 === 0 ? [keep, hold] : [number % 2 === 0 ? keep : hold];
}

function isRight(fate: Fate | undefined, where: 'delivered' | 'held'): boolean {
  if (fate === undefined) return false;
  return where === 'held' ? fate.held === 1 && fate.delivered === 0 : fate.delivered >= 1 && fate.held === 0;
}

async function fillQueue(site: TestSite): Promise<void> {
  const dialog = await site.dial();
  await dialog.reply();
  await dialog.ask('EHLO client.example');
  for (let number = 0; number < messages; number++) {
    const recipients = recipientsOf(number);
    const body = number % 5 === 0 ? gtube : 'An ordinary line about an ordinary order.';
    const text = [
      'From: <sender@partner.example>',
      `To: ${recipients.map((one) => `<${one}>`).join(', ')}`,
      `Subject: order ${number}`,
      `Message-ID: <m${number}@partner.example>`,
      `Date: ${new Date().toUTCString()}`,
      '',
      body,
      '',
    ].join('\r\n');
    const commands = [
      'MAIL FROM:<sender@partner.example>',
      ...recipients.map((one) => `RCPT TO:<${one}>`),
      'DATA',
    ];
    await dialog.send(`${commands.join('\r\n')}\r\n`);
    for (const _ of commands) await dialog.reply();
    await dialog.send(`${text}.\r\n`);
    assert.match(await dialog.reply(), /^250 /);
  }
  await dialog.send('QUIT\r\n');
  await dialog.rest();
}

async function killAtRandom(site: TestSite): Promise<void> {
  for (let kill = 0; kill < kills; kill++) {
    // The instant is the point here: nothing is awaited, only left to chance.
    await delay(50 + Math.random() * 1200);
    site.sluice().kill('SIGKILL');
    await site.restart();
    await site.postfix.flush();
  }
}

async function fatesOf(site: TestSite): Promise<Map<string, Fate>> {
  const fates = new Map<string, Fate>();
  const fateOf = (copy: string): Fate => {
    const fate = fates.get(copy) ?? { delivered: 0, held: 0 };
    fates.set(copy, fate);
    return fate;
  };
  for (const { bytes, rcpt } of site.sink?.messages ?? []) {
    const id = /^Message-ID: <(m\d+)@/m.exec(bytes.toString('latin1'))?.[1] ?? 'unknown';
    for (const line of rcpt) fateOf(`${id} ${/<(.*?)>/.exec(line)?.[1]}`).delivered++;
  }
  const { stdout } = await site.cli('quarantine', 'list', '--all', '--limit', '5000', '--json');
  const items = JSON.parse(stdout) as { messageId: string; slots: { recipient: string }[] }[];
  for (const { messageId, slots } of items) {
    const id = /<(m\d+)@/.exec(messageId)?.[1] ?? 'unknown';
    for (const { recipient } of slots) fateOf(`${id} ${recipient}`).held++;
  }
  return fates;
}
