/**
 * fidelity — what a real Postfix sends on is the same with Sluice behind it and without any filter.
 *
 * The reference is the same Postfix with `content_filter` empty: whatever it changes by itself (it quotes `a.@x`, drops
 * source routes, merges equal recipients, gives every recipient an ORCPT) is no doing of ours, and all else is. Each
 * letter goes through the LMTP and the SMTP feed, with real clamd and spamd, under the shipped policy.
 */
import assert from 'node:assert/strict';
import { readFile, rm } from 'node:fs/promises';
import { before, test } from 'node:test';
import { startPostfix } from '../../demo/postfix.ts';
import { createReachableFolder } from '../../demo/postfix-folders.ts';
import { startSink } from '../fakes/sink.ts';
import { dropForged } from '../rules/drop-forged.ts';
import { type Arrival, arrivalsOf, assertSameOctets, frontPattern, type Posted, post } from './arrivals.ts';
import { envelopes, largeLetter, type Letter, messages } from './letters.ts';
import { startSite, type TestSite } from './site.ts';

const letters: readonly Letter[] = [...envelopes, ...messages, largeLetter()];

type Run = {
  readonly posted: ReadonlyMap<string, Posted>;
  readonly arrivals: ReadonlyMap<string, readonly Arrival[]>;
  readonly maillog: string;
};

let reference: Run;

before(async () => {
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
    const posted = await postAll(postfix.feedPort);
    await postfix.waitForQueueEmpty(60_000);
    const maillog = await readFile(postfix.maillog, 'latin1');
    reference = { posted, arrivals: arrivalsOf(sink, 'nothing'), maillog };
  } finally {
    await postfix.stop();
    await sink.stop();
    await rm(folder, { recursive: true });
  }
});

async function postAll(port: number): Promise<Map<string, Posted>> {
  const posted = new Map<string, Posted>();
  for (const letter of letters) posted.set(letter.name, await post(port, letter));
  return posted;
}

for (const feedProtocol of ['lmtp', 'smtp'] as const) {
  test(`${feedProtocol} feed: envelope, DSN parameters and bytes are those of Postfix without a filter`, async (context) => {
    const site = await startSite({ feedProtocol, sink: 'smtp', spamd: { children: 2 } });
    context.after(() => site.stop());
    const run = await runThrough(site);
    assert.equal(troubleIn(run.maillog), '');
    assert.deepEqual([...run.arrivals.keys()].toSorted(), letters.map(({ name }) => name).toSorted());
    let [transactions, recipients, octets] = [0, 0, 0];
    for (const letter of letters) {
      const arrived = run.arrivals.get(letter.name) ?? [];
      compare(letter, arrived, run.posted.get(letter.name));
      transactions += arrived.length;
      recipients += arrived.flatMap(({ rcpt }) => rcpt).length;
      for (const { message } of arrived) octets += message.length;
    }
    context.diagnostic(
      `${letters.length} of ${letters.length} letters identical: ${transactions} transactions, ${recipients} recipients, ${octets} octets; 0 bounced, 0 deferred`,
    );
  });
}

async function runThrough(site: TestSite): Promise<Run> {
  const posted = await postAll(site.postfix.feedPort);
  await site.postfix.waitForQueueEmpty(120_000);
  assert.ok(site.sink);
  const maillog = await readFile(site.postfix.maillog, 'latin1');
  return { posted, arrivals: arrivalsOf(site.sink, 'filter'), maillog };
}

/** Lines of the log that tell of mail which did not go through at once. */
function troubleIn(maillog: string): string {
  return maillog
    .split('\n')
    .filter((line) => /status=(?:bounced|expired|deferred)|non-delivery notification/.test(line))
    .join('\n');
}

/** One letter: envelopes equal those of the reference, XFORWARD tells of the first client, bytes are the same. */
function compare({ name, xforward }: Letter, arrived: readonly Arrival[], posted: Posted | undefined): void {
  const expected = reference.arrivals.get(name) ?? [];
  const envelopeOf = ({ mail, rcpt }: Arrival) => ({ mail, rcpt });
  assert.deepEqual(arrived.map(envelopeOf), expected.map(envelopeOf), name);
  // Each run has its own connection and its own queue id; a gateway in front tells the port itself.
  const ours = {
    ...(xforward === undefined ? { PORT: String(posted?.clientPort) } : {}),
    IDENT: posted?.queueId,
  };
  for (const [at, arrival] of arrived.entries()) {
    const wanted = expected[at];
    assert.ok(wanted);
    assert.deepEqual(arrival.xforward, { ...wanted.xforward, ...ours }, name);
    assert.match(arrival.front.join(''), frontPattern, name);
    assertSameOctets(arrival.message, dropForged(wanted.message).kept, name);
  }
}

/** What Postfix does not carry verbatim, with or without a filter. */
const postfixChanges: Readonly<Record<string, string>> = {
  'dots-in-address': 'quotes a local part with an empty atom: <"a."@x>',
  route: 'drops source routes (and keeps them in ORCPT)',
  case: 'merges addresses that differ in case, unless ORCPT or NOTIFY differ',
  twice: 'merges equal recipients, unless ORCPT or NOTIFY differ',
  'body-is-dots': 'puts an empty line in front of what is no header',
  'no-field': 'puts an empty line in front of what is no header',
  'continuation-first': 'puts an empty line in front of what is no header',
  'bare-line-ends': 'takes a bare LF for a line end, makes a bare CR a blank',
  'crlf-and-lf-header': 'takes a bare LF for a line end',
};

test('Postfix without a filter: every other letter arrives verbatim, so through the filter as well', (context) => {
  assert.equal(troubleIn(reference.maillog), '');
  const changed = letters.filter((letter) => !isVerbatim(letter, reference.arrivals.get(letter.name) ?? []));
  const unexpected = changed.filter(({ name }) => postfixChanges[name] === undefined);
  assert.deepEqual(
    unexpected.map(({ name }) => name),
    [],
  );
  const many = reference.arrivals.get('many') ?? [];
  assert.deepEqual(
    many.map(({ rcpt }) => rcpt.length).toSorted((a, b) => b - a),
    [50, 50, 20],
  );
  context.diagnostic(`${letters.length - changed.length} of ${letters.length} letters verbatim; the others:`);
  for (const { name } of changed) context.diagnostic(`${name}: Postfix ${postfixChanges[name]}`);
});

/** Each address in its place, and the message octet for octet. SMTP can't leave out the last line's end: nobody could tell. */
function isVerbatim(letter: Letter, arrivals: readonly Arrival[]): boolean {
  const pathOf = (line: string) => /<.*?(?:example)?>(?= |$)/i.exec(line)?.[0];
  const pathsOf = (lines: readonly string[]) => lines.map((line) => pathOf(line) ?? '').toSorted();
  const message = letter.wire.toString('latin1').replaceAll(/^\.\./gm, '.');
  return (
    String(pathsOf(arrivals.flatMap(({ rcpt }) => rcpt))) === String(pathsOf(letter.rcpt)) &&
    arrivals.every(({ mail }) => pathOf(mail) === pathOf(letter.mail)) &&
    arrivals.every((arrival) => arrival.message.toString('latin1') === message)
  );
}
