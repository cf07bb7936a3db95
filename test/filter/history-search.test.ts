/**
 * history-search — every message can be found again, by words, ids, outcome, score and time; also what was there before
 * there was an index.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { outcomes } from '../../filter/history-search.ts';
import { type History, openHistory, type OutcomeRow, type ScanRow } from '../../filter/history.ts';
import { parseQuery } from '../../filter/query.ts';
import type { ScanReport } from '../../rules/mail.ts';
import { replyFor } from '../../rules/replies.ts';
import { temporaryFolder } from '../folder.ts';
import { recordingLog } from './store-rig.ts';

const start = new Date(2026, 0, 1).getTime();
const dayMs = 86_400_000;

function scanOf(
  changes: Partial<ScanRow>,
  score: number | null = 1,
  virusName: string | null = null,
): ScanRow {
  const report: ScanReport = {
    virus: virusName === null ? { kind: 'clean' } : { kind: 'infected', name: virusName },
    spam:
      score === null ? { kind: 'off' } : { kind: 'scored', score, tests: [], truncated: false, ignored: [] },
    virusMs: 1,
    spamMs: 1,
  };
  return {
    at: start,
    queueId: null,
    direction: 'inbound',
    client: '192.0.2.1',
    sender: 'sender@example.net',
    from: null,
    subject: 'Hello',
    messageId: null,
    sizeBytes: 1,
    report,
    totalMs: 1,
    ...changes,
  };
}

function outcomeOf(recipient: string, changes: Partial<OutcomeRow> = {}): OutcomeRow {
  return {
    recipient,
    outcome: 'delivered',
    verdict: 'clean',
    disposition: 'deliver',
    score: 1,
    why: '',
    reply: replyFor('delivered'),
    quarantineId: null,
    queueIdOut: null,
    ...changes,
  };
}

async function openIn(t: TestContext, file = join(temporaryFolder(t), 'history.db')): Promise<History> {
  const history = await openHistory({ file, log: recordingLog(), groupMs: 1 });
  t.after(() => history.close());
  return history;
}

/** Queue ids or subjects of what is found, newest first. */
async function found(history: History, text: string, limit = 100): Promise<string[]> {
  const { query, problems } = parseQuery(text, { states: outcomes, now: start + 10 * dayMs });
  assert.deepEqual(problems, []);
  return (await history.search(query, { limit })).map(({ queueId, subject }) => queueId ?? subject ?? '');
}

const quarantineId = 'ab'.repeat(16);

async function fill(history: History): Promise<void> {
  const durable = { durable: false };
  await history.record(
    scanOf({ queueId: 'Q1', messageId: '<one@mid.example>', subject: 'Order no 7' }),
    [outcomeOf('anna@example.com', { queueIdOut: '4cOUT1' })],
    durable,
  );
  await history.record(
    scanOf({ queueId: 'Q2', at: start + dayMs, from: 'news@shop.example', subject: 'SALE' }, 12.25),
    [
      outcomeOf('anna@example.com', {
        outcome: 'held',
        verdict: 'spam',
        disposition: 'quarantine',
        quarantineId,
      }),
      outcomeOf('bob@example.org', { outcome: 'discarded', verdict: 'spam', disposition: 'discard' }),
    ],
    durable,
  );
  await history.record(
    scanOf({ queueId: 'Q3', at: start + 2 * dayMs, sender: '', subject: null }, null, 'Eicar-Test'),
    [
      outcomeOf('postmaster@example.com', {
        outcome: 'delivered',
        verdict: 'virus',
        disposition: 'quarantine',
      }),
    ],
    durable,
  );
  await history.record(
    scanOf({ queueId: 'Q4', at: start + 3 * dayMs, subject: 'again', report: null }),
    [outcomeOf('anna@example.com', { outcome: 'deferred', verdict: null })],
    durable,
  );
}

test('History.search() finds by every kind of term', async (t) => {
  const history = await openIn(t);
  await fill(history);
  for (const [query, expected] of [
    ['', ['Q4', 'Q3', 'Q2', 'Q1']],
    ['anna', ['Q4', 'Q2', 'Q1']],
    ['anna order', ['Q1']],
    ['to:example.org', ['Q2']],
    ['from:example.org', []],
    ['sale', ['Q2']],
    ['from:sender', ['Q4', 'Q2', 'Q1']],
    ['no', ['Q1']],
    ['7', ['Q1']],
    ['-anna', ['Q3']],
    ['-no', ['Q4', 'Q3', 'Q2']],
    ['eicar', ['Q3']],
    ['state:held', ['Q2']],
    ['state:discarded', ['Q2']],
    ['state:deferred', ['Q4']],
    ['-state:held anna', ['Q4', 'Q1']],
    ['state:delivered disposition:quarantine', ['Q3']],
    ['verdict:spam', ['Q2']],
    ['verdict:unchecked', []],
    ['disposition:quarantine', ['Q3', 'Q2']],
    ['disposition:quarantine sale', ['Q2']],
    ['-disposition:quarantine anna', ['Q4', 'Q1']],
    ['disposition:discard', ['Q2']],
    ['disposition:deliver', ['Q4', 'Q1']],
    ['disposition:defer', []],
    ['score:>12', ['Q2']],
    ['score:>12.25', []],
    ['score:<5', ['Q1']],
    ['after:2026-01-02', ['Q4', 'Q3', 'Q2']],
    ['before:2026-01-02', ['Q1']],
    ['after:2026-01-02 before:2026-01-03 anna', ['Q2']],
    ['after:2026-01-20', []],
    ['before:2025-01-20 anna', []],
    ['id:Q2', ['Q2']],
    ['id:4cOUT1', ['Q1']],
    ['4cOUT1', ['Q1']],
    ['one@mid.example', []],
    ['id:one@mid.example', ['Q1']],
    ['4cOUT1 order', ['Q1']],
    ['4cOUT1 sale', []],
    [`id:${quarantineId}`, ['Q2']],
    [`${quarantineId} sale`, ['Q2']],
    [`-${quarantineId} anna`, ['Q4', 'Q2', 'Q1']],
    [`-id:${quarantineId} anna`, ['Q4', 'Q1']],
  ] as const) {
    assert.deepEqual(await found(history, query), expected, query);
  }
  const { query } = parseQuery('anna', { states: [], now: 0 });
  const [first] = await history.search(query, { limit: 1 });
  assert.deepEqual([first?.queueId, first?.outcomes.length], ['Q4', 1]);
  const rest = await history.search(query, { limit: 5, before: first?.scanId });
  assert.deepEqual(
    rest.map(({ queueId, outcomes: all }) => [queueId, all.length]),
    [
      ['Q2', 2],
      ['Q1', 1],
    ],
  );
});

test('History.sweep() takes messages out of the index as well, and puts those in that were never there', async (t) => {
  const file = join(temporaryFolder(t), 'history.db');
  const older = new DatabaseSync(file);
  const made = await openIn(t);
  await made.close();
  const history = await openIn(t, file);
  for (let number = 0; number < 450; number++)
    await history.record(
      scanOf({ at: start + number, subject: `number ${number}.` }),
      [outcomeOf('anna@example.com')],
      { durable: false },
    );
  // As it would be had the rows been written before there was an index.
  older.exec('DELETE FROM scan_search; UPDATE unsearched SET below = 451');
  older.close();
  await history.record(scanOf({ at: start + 450, subject: 'number 450.' }), [], { durable: false });
  assert.deepEqual(await found(history, 'number'), ['number 450.']);
  await history.sweep(start + 100);
  const all = await found(history, 'number', 1000);
  assert.deepEqual([all.length, all[0], all.at(-1)], [351, 'number 450.', 'number 100.']);
  assert.equal((await found(history, 'to:anna', 1000)).length, 350);
  await history.sweep(start + 440);
  assert.equal((await found(history, 'number', 1000)).length, 11);
  assert.deepEqual(await found(history, '"number 99."'), []);
});

test('openHistory() of a version before the index keeps its rows and finds them', async (t) => {
  const file = join(temporaryFolder(t), 'history.db');
  const first = await openIn(t, file);
  await fill(first);
  await first.close();
  const raw = new DatabaseSync(file);
  raw.exec(`DROP TABLE scan_search; DROP TABLE scan_trigram; DROP TRIGGER scan_removed; DROP TABLE unsearched;
            DROP INDEX scan_message_id; DROP INDEX outcome_disposition; PRAGMA user_version = 1`);
  raw.close();
  const second = await openIn(t, file);
  assert.deepEqual(await found(second, 'anna'), []);
  await second.sweep(0);
  assert.deepEqual(await found(second, 'anna'), ['Q4', 'Q2', 'Q1']);
  assert.deepEqual(await found(second, 'verdict:virus'), ['Q3']);
});

test('openHistory({ asItStands }) looks into a file that another one writes, and makes none', async (t) => {
  const file = join(temporaryFolder(t), 'history.db');
  const missing = await openHistory({ file, log: recordingLog(), asItStands: true });
  await assert.rejects(missing.list({ limit: 1 }), /unable to open database file/);
  const writer = await openIn(t, file);
  await fill(writer);
  assert.deepEqual(await found(missing, 'order'), ['Q1']);
  await missing.close();
});

test('History.record() does not rest where many wait', async (t) => {
  const file = join(temporaryFolder(t), 'history.db');
  const history = await openHistory({ file, log: recordingLog(), groupMs: 3_600_000 });
  assert.equal(await history.record(scanOf({}), [], { durable: false }), true);
  const others = Array.from({ length: 200 }, () => history.record(scanOf({}), [], { durable: false }));
  assert.ok((await Promise.all(others)).every(Boolean));
  await history.close();
});

test('History.record() writes many messages in few commits, and close() waits for all', async (t) => {
  const file = join(temporaryFolder(t), 'history.db');
  const history = await openHistory({ file, log: recordingLog(), groupMs: 60_000 });
  const first = history.record(scanOf({}), [], { durable: false });
  const others = Array.from({ length: 50 }, () => history.record(scanOf({}), [], { durable: false }));
  assert.equal(await first, true);
  await history.close();
  assert.ok((await Promise.all(others)).every(Boolean));
  const raw = new DatabaseSync(file);
  assert.equal(raw.prepare('SELECT count(*) AS n FROM scan').get()?.['n'], 51);
  raw.close();
});

test('history.search() finds nothing where every recipient has the excluded word, and the rest where one has not', async (t) => {
  const history = await openIn(t);
  const record = (queueId: string, ...recipients: string[]) =>
    history.record(
      scanOf({ queueId, sender: 'x@y.test' }),
      recipients.map((one) => outcomeOf(one)),
      { durable: false },
    );
  assert.deepEqual(await found(history, '-example'), []);
  await record('Q1', 'anna@example.com');
  await record('Q2', 'Bob@Shop.EXAMPLE', 'anna@example.com');
  for (const query of ['-example', '-to:Example', '-EXAMPLE state:delivered'])
    assert.deepEqual(await found(history, query), [], query);
  assert.deepEqual(await found(history, '-from:example'), ['Q2', 'Q1']);
  assert.deepEqual(await found(history, '-to:anna'), []);
  await record('Q3', 'zoe@other.test');
  await record('Q4', 'zoe@other.test', 'anna@example.com');
  for (const query of ['-example', '-to:example', '-example state:delivered'])
    assert.deepEqual(await found(history, query), ['Q3'], query);
});
