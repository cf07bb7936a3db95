/** queue — the door: tickets are checked against the spool before anybody is asked. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createClamd } from '../../workers/clamd.ts';
import { TempFail } from '../../workers/fail.ts';
import type { Log } from '../../workers/log.ts';
import { createQueue, type Ticket } from '../../workers/queue.ts';
import { createScanner } from '../../workers/scan.ts';
import { createSpamd } from '../../workers/spamd.ts';
import { createSpool } from '../../workers/spool.ts';
import { startFakeClamd } from '../fakes/clamd.ts';
import { gtube, startFakeSpamd } from '../fakes/spamd.ts';

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };
const never = () => new AbortController().signal;
const text = `Subject: x\r\n\r\n${gtube}\r\n`;

/** A queue over a real spool with one message, and fakes of both daemons. */
async function setUp(t: TestContext, memoryBytesMax = 262_144) {
  const folder = await mkdtemp(join(tmpdir(), 'sluice-queue-'));
  const spool = await createSpool({ folder, memoryBytesMax, log: silent });
  const [clamd, spamd] = await Promise.all([startFakeClamd(), startFakeSpamd()]);
  const common = { concurrency: 4, timeoutMs: 10_000, log: silent };
  const scanner = createScanner({
    clamd: createClamd({ addresses: [clamd.address], ...common }),
    spamd: createSpamd({ addresses: [spamd.address], user: null, spamBytes: 524_288, ...common }),
  });
  const queue = createQueue({ spool, scanner });
  const writer = spool.open();
  await writer.write(Buffer.from(text));
  const message = await writer.finish();
  t.after(async () => {
    await queue.close();
    await Promise.all([clamd.stop(), spamd.stop(), spool.close()]);
    await rm(folder, { recursive: true, force: true });
  });
  const { spoolId, sizeBytes, sha256 } = message;
  const ticket: Ticket = { spoolId, sizeBytes, sha256, queueId: '4c7Yx1', sender: '', virusAsSpam: [] };
  return { queue, clamd, spamd, ticket, message };
}

for (const [label, memoryBytesMax] of [
  ['memory', 262_144],
  ['a file', 0],
] as const) {
  test(`scan() finds the message of the ticket in ${label} and reports on it`, async (t) => {
    const { queue, clamd, spamd, ticket } = await setUp(t, memoryBytesMax);
    // A ticket survives being written down.
    const report = await queue.scan(JSON.parse(JSON.stringify(ticket)) as Ticket, never());
    assert.deepEqual(report.virus, { kind: 'clean' });
    assert.equal(report.spam.kind === 'scored' && report.spam.score, 1000);
    assert.equal(clamd.conversations[0]?.stream.toString(), text);
    assert.equal(spamd.conversations[0]?.message.toString(), `X-Sluice-Envelope-From: <>\r\n${text}`);
  });
}

const wrong: readonly [string, object][] = [
  ['another size', { sizeBytes: 1 }],
  ['another digest', { sha256: 'a'.repeat(64) }],
  ['an unknown spool id', { spoolId: 'abc' }],
  ['a path for a spool id', { spoolId: '../../etc/passwd' }],
  ['an empty spool id', { spoolId: '' }],
  ['a negative size', { sizeBytes: -1 }],
  ['a size that is no integer', { sizeBytes: 1.5 }],
  ['a size that is text', { sizeBytes: String(text.length) }],
  ['a digest in upper case', { sha256: 'A'.repeat(64) }],
  ['no digest', { sha256: undefined }],
  ['no sender', { sender: null }],
  ['no patterns', { virusAsSpam: 'Heuristics.*' }],
  ['message octets', { bytes: 'Subject: x' }],
];

for (const [label, change] of wrong) {
  test(`scan() rejects a ticket with ${label}, and asks nobody`, async (t) => {
    const { queue, clamd, spamd, ticket } = await setUp(t);
    const forged = { ...ticket, ...change } as Ticket;
    await assert.rejects(queue.scan(forged, never()), (error) => {
      assert.ok(error instanceof TempFail);
      assert.match(error.message, /^Cannot scan/);
      return true;
    });
    assert.deepEqual([clamd.conversations.length, spamd.conversations.length], [0, 0]);
  });
}

test('scan() rejects a ticket whose message has been removed', async (t) => {
  const { queue, ticket, message } = await setUp(t);
  await message.remove();
  await assert.rejects(queue.scan(ticket, never()), TempFail);
});

test('learn() passes the message on to the spam scanner', async (t) => {
  const { queue, spamd, message } = await setUp(t);
  const told = await queue.learn(() => message.read(), message.sizeBytes, 'ham', never());
  assert.deepEqual(told, { kind: 'learned' });
  assert.equal(spamd.conversations[0]?.message.toString(), text);
});

test('close() cancels what is under way', async (t) => {
  const { queue, ticket, spamd } = await setUp(t);
  const reached = spamd.next('connect');
  const scanning = queue.scan(ticket, never());
  await Promise.race([reached, scanning]);
  await queue.close();
  // Whatever was answered by then, the scan comes to an end.
  assert.ok(['scored', 'unchecked'].includes((await scanning).spam.kind));
});
