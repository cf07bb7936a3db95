/**
 * history — every message leaves a row, nobody's mail waits for it, and a discard is on disk or did not happen.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { type History, openHistory, type OutcomeRow, type ScanRow } from '../../filter/history.ts';
import { decodeWire } from '../../rules/mail.ts';
import { replyFor } from '../../rules/replies.ts';
import { TempFail } from '../../workers/fail.ts';
import { temporaryFolder } from '../folder.ts';
import { recordingLog } from './store-rig.ts';

const scan: ScanRow = {
  at: 1_700_000_000_000,
  queueId: '4c7Yx1',
  direction: 'inbound',
  client: '192.0.2.1',
  sender: 's@example.net',
  from: 'seller@example.net',
  subject: 'Buy',
  messageId: '<1@example.net>',
  sizeBytes: 5000,
  report: {
    virus: { kind: 'infected', name: 'Eicar-Test-Signature' },
    spam: { kind: 'scored', score: 7.125, tests: [], truncated: false, ignored: [] },
    virusMs: 3.5,
    spamMs: 90,
  },
  totalMs: 120.25,
};

function outcomeFor(recipient: string, changes: Partial<OutcomeRow> = {}): OutcomeRow {
  return {
    recipient,
    outcome: 'held',
    verdict: 'virus',
    disposition: 'quarantine',
    score: 7.1,
    why: 'virus Eicar-Test-Signature (shipped default)',
    reply: replyFor('held'),
    quarantineId: 'f'.repeat(32),
    queueIdOut: null,
    ...changes,
  };
}

async function openIn(
  context: TestContext,
  file = join(temporaryFolder(context), 'history.db'),
): Promise<History> {
  const history = await openHistory({ file, log: recordingLog(), busyTimeoutMs: 50 });
  context.after(() => history.close());
  return history;
}

test('History.record() keeps one row per message and one per recipient, in order', async (context) => {
  const history = await openIn(context);
  const outcomes = [
    outcomeFor('two@example.com'),
    outcomeFor('one@example.com', {
      outcome: 'delivered',
      disposition: 'deliver',
      queueIdOut: '4cOUT',
      score: null,
    }),
  ];
  assert.equal(await history.record(scan, outcomes, { durable: false }), true);
  const { report: _, ...plain } = scan;
  assert.deepEqual(await history.list({ limit: 5 }), [
    {
      ...plain,
      scanId: 1,
      virus: 'infected',
      virusName: 'Eicar-Test-Signature',
      virusReason: null,
      virusMs: 3.5,
      spam: 'scored',
      score: 7.125,
      spamReason: null,
      spamMs: 90,
      outcomes,
    },
  ]);
});

test('History.record() of a repeated outcome has no report, of an unchecked one the reason', async (context) => {
  const history = await openIn(context);
  const unchecked = { kind: 'unchecked', reason: 'timeout', detail: '' } as const;
  await history.record({ ...scan, report: null }, [], { durable: false });
  await history.record(
    { ...scan, report: { virus: unchecked, spam: unchecked, virusMs: 1, spamMs: 1 } },
    [],
    {
      durable: false,
    },
  );
  const seen = (await history.list({ limit: 5 })).map((row) => [
    row.virus,
    row.virusReason,
    row.spam,
    row.spamReason,
  ]);
  assert.deepEqual(seen, [
    ['unchecked', 'timeout', 'unchecked', 'timeout'],
    [null, null, null, null],
  ]);
});

test('History.record() side by side gives each outcome to its own message', async (context) => {
  const history = await openIn(context);
  const numbers = Array.from({ length: 100 }, (_, number) => `${number}`);
  await Promise.all(
    numbers.map((queueId) =>
      history.record({ ...scan, queueId }, [outcomeFor(queueId), outcomeFor(queueId)], { durable: false }),
    ),
  );
  for (const { queueId, outcomes } of await history.list({ limit: 200 })) {
    assert.deepEqual(
      outcomes.map(({ recipient }) => recipient),
      [queueId, queueId],
    );
  }
  assert.equal((await history.list({ limit: 200, queueId: '42' })).length, 1);
});

test('History.record() takes octets that are no UTF-8, and a subject of a megabyte', async (context) => {
  const history = await openIn(context);
  const odd = decodeWire(Uint8Array.of(0x61, 0xff, 0x40));
  const row = { ...scan, sender: odd, from: odd, client: odd, subject: 'x'.repeat(1e6) };
  assert.equal(await history.record(row, [outcomeFor(odd, { why: odd })], { durable: true }), true);
  const [listed] = await history.list({ limit: 1 });
  assert.equal(listed?.sender, odd.toWellFormed());
  assert.equal(listed?.outcomes[0]?.recipient, odd.toWellFormed());
  assert.equal(listed?.subject?.length, 2000);
});

test('History down: rows are dropped and counted, a discard is TempFail, then it goes on', async (context) => {
  const file = join(temporaryFolder(context), 'history.db');
  const history = await openIn(context, file);
  const other = new DatabaseSync(file);
  other.exec('BEGIN IMMEDIATE');
  assert.equal(await history.record(scan, [], { durable: false }), false);
  await assert.rejects(history.record(scan, [], { durable: true }), TempFail);
  assert.equal(history.dropped, 1);
  other.close();
  assert.equal(await history.record(scan, [], { durable: true }), true);
  assert.equal((await history.list({ limit: 5 })).length, 1);
});

test('History.record() drops at once what would pile up behind a slow database', async (context) => {
  const file = join(temporaryFolder(context), 'history.db');
  const history = await openIn(context, file);
  const other = new DatabaseSync(file);
  other.exec('BEGIN IMMEDIATE');
  const calls = Array.from({ length: 1500 }, () => history.record(scan, [], { durable: false }));
  assert.equal(history.dropped, 500);
  const urgent = history.record(scan, [], { durable: true });
  other.close();
  assert.equal(await urgent, true);
  const written = (await Promise.all(calls)).filter(Boolean).length;
  assert.equal(written + history.dropped, 1500);
});

test('History.list() pages; sweep() forgets what is older, outcomes as well', async (context) => {
  const file = join(temporaryFolder(context), 'history.db');
  const history = await openIn(context, file);
  for (const at of [1, 2, 3, 4, 5])
    await history.record({ ...scan, at }, [outcomeFor('a')], { durable: false });
  const first = await history.list({ limit: 2 });
  const before = first.at(-1)?.scanId ?? 0;
  assert.deepEqual(
    (await history.list({ limit: 9, before })).map(({ at }) => at),
    [3, 2, 1],
  );
  await history.sweep(4);
  assert.deepEqual(
    (await history.list({ limit: 9 })).map(({ at }) => at),
    [5, 4],
  );
  await history.close();
  const raw = new DatabaseSync(file);
  assert.equal(raw.prepare('SELECT count(*) AS n FROM outcome').get()?.['n'], 2);
  raw.close();
});
