/**
 * bytes — what comes out is `added + dropForged(cleaned)`, octet for octet, for thousands of real messages.
 *
 * First through the filter alone (engine.ts), where every octet that is added can be foretold; then a sample through
 * Postfix, Sluice, clamd, spamd and Postfix again. The oracles are test/rules/drop-forged.ts and corpus.ts, and for
 * DKIM the npm package mailauth.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';
import { startPostfix } from '../../demo/postfix.ts';
import { createReachableFolder } from '../../demo/postfix-folders.ts';
import { type Sink, startSink } from '../fakes/sink.ts';
import { openDialog, type SmtpDialog } from '../fakes/smtp-dialog.ts';
import { dropForged } from '../rules/drop-forged.ts';
import { type Arrival, arrivalsOf, assertSameOctets, frontPattern, post } from './arrivals.ts';
import { cleanedOf, corpus, fixtures, messagesFolder, type Specimen, wireOf } from './corpus.ts';
import { type Engine, startEngine } from './engine.ts';
import type { Letter } from './letters.ts';
import { startSite } from './site.ts';

const corpusSize = 3000;
const sampleSize = 60;
const sessionsPerFeed = 4;

/** Recipients' domains: what the policy makes Sluice add in front, written out. The fake spamd scores -0.002. */
const policies = `
default: { thresholds: { tag: 2.0, spam: 6.5 } }
recipients:
  tagged.example: { thresholds: { tag: -10 } }
  flagged.example: { senders: { score: { "@sender.example": 7 } } }
`;
const scanned = 'X-Virus-Scanned: yes (Sluice 1.2.3 at filter.example)\r\n';
const tests = 'tests=[NO_RECEIVED=-0.001,\r\n\tNO_RELAYS=-0.001]\r\n';
const added: Readonly<Record<string, string>> = {
  'plain.example': scanned,
  'tagged.example': `X-Spam-Score: 0.0\r\nX-Spam-Status: No, score=-0.002 required=6.5 ${tests}${scanned}`,
  'flagged.example': `X-Spam-Flag: YES\r\nX-Spam-Score: 7.0\r\nX-Spam-Level: ******\r\nX-Spam-Status: Yes, score=6.998 required=6.5 ${tests}${scanned}`,
};
const domains = Object.keys(added);

/** What a sender would like the recipient to believe; put in front of every fifth message of the corpus. */
const forged = 'X-Spam-Flag: NO\r\nx-spam-STATUS : No,\r\n\tscore=-99\r\nX-Quarantine-ID: <1>\r\n';

/** One message to send to the engine; `at` makes its recipient and its queue id. */
type Job = {
  readonly at: number;
  readonly protocol: 'smtp' | 'lmtp';
  readonly specimen: Specimen;
  readonly domain: string;
};

function jobOf(specimen: Specimen, at: number, protocol: Job['protocol']): Job {
  return { at, protocol, specimen, domain: domains[at % domains.length] ?? '' };
}

test(`filter: ${corpusSize} messages of the SpamAssassin corpus come out as added + dropForged(cleaned)`, async (context) => {
  const jobs = corpus(corpusSize).map(({ name, bytes }, at) => {
    const specimen = { name, bytes: at % 5 === 0 ? Buffer.concat([Buffer.from(forged), bytes]) : bytes };
    return jobOf(specimen, at, at % 2 === 0 ? 'smtp' : 'lmtp');
  });
  assert.equal(jobs.length, corpusSize);
  await filterAll(context, jobs);
});

test('filter: every message of test/messages comes out as added + dropForged(cleaned)', async (context) => {
  const twice = fixtures().flatMap((specimen) => [specimen, specimen]);
  await filterAll(
    context,
    twice.map((specimen, at) => jobOf(specimen, at, at % 2 === 0 ? 'smtp' : 'lmtp')),
  );
});

async function filterAll(context: TestContext, jobs: readonly Job[]): Promise<void> {
  const engine = await startEngine(policies);
  context.after(() => engine.stop());
  const [smtp, lmtp] = (['smtp', 'lmtp'] as const).map((feed) => jobs.filter((job) => job.protocol === feed));
  await Promise.all([sendAll(engine, 'smtp', smtp ?? []), sendAll(engine, 'lmtp', lmtp ?? [])]);
  const identical = compareAll(engine, jobs);
  assert.deepEqual(engine.troubles, []);
  context.diagnostic(
    `${identical} of ${jobs.length} messages identical (${smtp?.length} by SMTP, ${lmtp?.length} by LMTP)`,
  );
}

async function sendAll(engine: Engine, protocol: Job['protocol'], jobs: readonly Job[]): Promise<void> {
  const waiting = jobs.values();
  const work = async (): Promise<void> => {
    const dialog = await openDialog({ kind: 'tcp', host: '127.0.0.1', port: engine.ports[protocol] });
    await dialog.reply();
    await expect(dialog, protocol === 'smtp' ? 'EHLO mx.example' : 'LHLO mx.example');
    for (const job of waiting) await sendOne(dialog, job);
    await dialog.send('QUIT\r\n');
    await dialog.rest();
  };
  await Promise.all(Array.from({ length: sessionsPerFeed }, work));
}

async function sendOne(dialog: SmtpDialog, { at, specimen, domain }: Job): Promise<void> {
  await expect(dialog, `XFORWARD NAME=mail.sender.example ADDR=192.0.2.1 IDENT=Q${at}`);
  await expect(dialog, `MAIL FROM:<anna${at}@sender.example>`);
  await expect(dialog, `RCPT TO:<bob${at}@${domain}>`);
  await expect(dialog, 'DATA');
  // Three of seven bring their line ends as they are in the file, mostly bare LF: the listener makes them CRLF.
  await dialog.send(wireOf(specimen, at % 7 < 4 ? 'crlf' : 'asTheyAre'));
  await expect(dialog, '.');
}

async function expect(dialog: SmtpDialog, line: string): Promise<void> {
  const reply = await dialog.ask(line);
  assert.match(reply, /^(?:250|354)/, line);
}

/** How many messages left as they should; fails at the first that did not. */
function compareAll({ sink, clamd }: Engine, jobs: readonly Job[]): number {
  const out = new Map(sink.messages.map((sunk) => [/<.*>/.exec(sunk.rcpt.join(' '))?.[0], sunk]));
  assert.equal(sink.messages.length, jobs.length);
  assert.equal(out.size, jobs.length);
  const seen = new Set(clamd.conversations.map(({ stream }) => digestOf(stream)));
  for (const { at, specimen, domain } of jobs) {
    const sunk = out.get(`<bob${at}@${domain}>`);
    assert.ok(sunk, specimen.name);
    assert.match(sunk.mail, new RegExp(`^MAIL FROM:<anna${at}@sender\\.example>`));
    assert.match(sunk.xforward.join(' '), new RegExp(` IDENT=Q${at}$`));
    const cleaned = cleanedOf(specimen);
    const { kept } = dropForged(cleaned);
    assertSameOctets(sunk.bytes, Buffer.concat([Buffer.from(added[domain] ?? ''), kept]), specimen.name);
    assert.ok(seen.has(digestOf(cleaned)), `${specimen.name}: clamd saw other octets`);
  }
  return jobs.length;
}

function digestOf(octets: Buffer): string {
  return createHash('sha256').update(octets).digest('hex');
}

test('Postfix, Sluice, clamd, spamd, Postfix: messages come out as without a filter, less forged fields', async (context) => {
  const letters = [
    ...fixtures().map((specimen) => letterOf(specimen.name, specimen)),
    ...corpus(sampleSize).map((specimen, at) => letterOf(`corpus-${at}`, specimen)),
  ];
  const expected = await withoutFilter(letters);
  const site = await startSite({
    feedProtocol: 'lmtp',
    sink: 'smtp',
    spamd: { children: 2 },
    // All of it is delivered, spam too, and all of it gets score headers.
    policies: 'default: { thresholds: { tag: -100, quarantine: null } }',
  });
  context.after(() => site.stop());
  assert.ok(site.sink);
  const arrived = await passThrough(site.postfix, site.sink, letters, 'filter');
  for (const { name } of letters) compareOne(name, arrived.get(name), expected.get(name));
  context.diagnostic(`${letters.length} of ${letters.length} messages identical through the whole site`);
  await verifyDkim(context, site.sink);
});

function letterOf(name: string, specimen: Specimen): Letter {
  const wire = wireOf(specimen, 'crlf');
  return { name, mail: '<anna@sender.example>', rcpt: [`<bob@${name}.example>`], wire };
}

async function withoutFilter(letters: readonly Letter[]): Promise<Map<string, Arrival[]>> {
  const folder = await createReachableFolder('sluice-reference');
  const sink = await startSink();
  const postfix = await startPostfix({
    folder,
    feedProtocol: 'smtp',
    sluice: '127.0.0.1:9',
    contentFilter: false,
    sink: { smtp: sink.port },
  });
  try {
    return await passThrough(postfix, sink, letters, 'nothing');
  } finally {
    await postfix.stop();
    await sink.stop();
    await rm(folder, { recursive: true });
  }
}

async function passThrough(
  postfix: { feedPort: number; waitForQueueEmpty(timeoutMs: number): Promise<void> },
  sink: Sink,
  letters: readonly Letter[],
  through: 'filter' | 'nothing',
): Promise<Map<string, Arrival[]>> {
  for (const letter of letters) await post(postfix.feedPort, letter);
  await postfix.waitForQueueEmpty(120_000);
  assert.equal(sink.messages.length, letters.length);
  return arrivalsOf(sink, through);
}

function compareOne(
  name: string,
  [arrival, ...others]: readonly Arrival[] = [],
  [reference]: readonly Arrival[] = [],
): void {
  assert.ok(arrival && reference, name);
  assert.deepEqual(others, [], name);
  assert.match(arrival.front.join(''), frontPattern, name);
  assert.match(arrival.front.join(''), /^X-Spam-Status: (?:Yes|No), score=/m, name);
  assertSameOctets(arrival.message, dropForged(reference.message).kept, name);
}

/** The signed fixture verifies at the far end, with the key that signed it; a signed X-Spam-Status can't survive. */
async function verifyDkim(context: TestContext, sink: Sink): Promise<void> {
  const key = readFileSync(join(messagesFolder, 'dkim-public-key.txt'), 'utf8').trim();
  const resultOf = async (name: string) => {
    const sunk = sink.messages.find(({ rcpt }) => rcpt.join(' ').includes(`@${name}.example>`));
    const { results } = await dkimVerify(sunk?.bytes ?? Buffer.alloc(0), { resolver: async () => [[key]] });
    return results.map(({ status }) => status.result);
  };
  assert.deepEqual(await resultOf('dkim-signed'), ['pass']);
  assert.notDeepEqual(await resultOf('dkim-signed-spam-status'), ['pass']);
  context.diagnostic('dkim-signed.eml verifies behind the second Postfix');
}
