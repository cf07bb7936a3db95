/**
 * ledger — the outcome of a hand-off is repeated word for word, survives what it must, and is forgotten in time.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { createInFlight, type Ledger, type LedgerEntry, ledgerKey, openLedger } from '../../filter/ledger.ts';
import { decodeWire } from '../../rules/mail.ts';
import { replyFor } from '../../rules/replies.ts';
import { TempFail } from '../../workers/fail.ts';
import { temporaryFolder } from '../folder.ts';
import { recordingLog, startChild } from './store-rig.ts';

const dayMs = 86_400_000;

async function openIn(
  context: TestContext,
  file = join(temporaryFolder(context), 'ledger.db'),
): Promise<Ledger> {
  const ledger = await openLedger({ file, log: recordingLog(), now: () => 1000 });
  context.after(() => ledger.close());
  return ledger;
}

function entryOf(key: string, changes: Partial<LedgerEntry> = {}): LedgerEntry {
  const reply = replyFor('delivered', `queued as 4c${key}`);
  const rest = { queueIdOut: '4cOUT', quarantineId: null, reply, at: 1000 };
  return { key, queueId: '4c7Yx1', outcome: 'delivered', ...rest, ...changes };
}

/** The entries that it has for these keys. */
async function found(ledger: Ledger, keys: readonly string[]) {
  return (await ledger.recall(keys, '')).entries;
}

/** Attempts noted for each of these keys. */
async function attempts(ledger: Ledger, keys: readonly string[]): Promise<number[]> {
  const noted = (await ledger.recall(keys, '')).attempts;
  return keys.map((key) => noted.get(key) ?? 0);
}

test('Ledger.recall() repeats each outcome word for word', async (context) => {
  const ledger = await openIn(context);
  const entries = [
    entryOf('a'),
    entryOf('b', {
      outcome: 'held',
      queueIdOut: null,
      quarantineId: 'f'.repeat(32),
      reply: replyFor('held'),
    }),
    entryOf('c', { outcome: 'discarded', queueIdOut: null, reply: replyFor('discarded') }),
    entryOf('d', { outcome: 'refused', reply: { code: 550, enhanced: '5.1.1', text: 'no such "user"' } }),
  ];
  await ledger.commit(entries);
  const repeated = await found(ledger, ['a', 'b', 'c', 'd', 'unknown']);
  assert.deepEqual([...repeated.values()], entries);
  assert.equal((await found(ledger, [])).size, 0);
});

test('Ledger.commit() never changes an outcome that a key has', async (context) => {
  const ledger = await openIn(context);
  await ledger.commit([entryOf('a', { outcome: 'held' })]);
  await ledger.commit([entryOf('a'), entryOf('b')]);
  const kept = await found(ledger, ['a', 'b']);
  assert.deepEqual(
    [...kept.values()].map(({ outcome }) => outcome),
    ['held', 'delivered'],
  );
});

test('Ledger.noteAttempt() counts per key until the key has an outcome', async (context) => {
  const file = join(temporaryFolder(context), 'ledger.db');
  const first = await openIn(context, file);
  await first.noteAttempt(['a', 'b', 'a']);
  await first.noteAttempt(['a']);
  await first.close();
  const ledger = await openIn(context, file);
  assert.deepEqual(await attempts(ledger, ['a', 'b', 'c']), [2, 1, 0]);
  await ledger.commit([entryOf('a')]);
  assert.deepEqual(await attempts(ledger, ['a', 'b']), [0, 1]);
});

test('Ledger.recall() names what the return smtpd made of a message', async (context) => {
  const ledger = await openIn(context);
  await ledger.commit([
    entryOf('a'),
    entryOf('b'),
    entryOf('c', { queueIdOut: '4cTWO' }),
    entryOf('d', { queueIdOut: null }),
  ]);
  await ledger.commit([entryOf('e', { queueId: 'other', queueIdOut: '4cX' })]);
  assert.deepEqual((await ledger.recall([], '4c7Yx1')).queueIdsOut.toSorted(), ['4cOUT', '4cTWO']);
  assert.deepEqual((await ledger.recall([], 'unknown')).queueIdsOut, []);
});

// F31: a clock that went back keeps more than it must, never less.
const ages: readonly [string, number, boolean][] = [
  ['exactly six days old', 10 * dayMs - 6 * dayMs, true],
  ['a millisecond older', 10 * dayMs - 6 * dayMs - 1, false],
  ['from a clock that was ahead', 99 * dayMs, true],
  ['from 1970', 0, false],
];

for (const [label, at, kept] of ages) {
  test(`Ledger.sweep() of an entry ${label}: ${kept ? 'kept' : 'forgotten'}`, async (context) => {
    const ledger = await openIn(context);
    await ledger.commit([entryOf('a', { at })]);
    await ledger.sweep(10 * dayMs);
    assert.equal((await found(ledger, ['a'])).size, kept ? 1 : 0);
  });
}

test('Ledger.sweep() forgets any number of entries, and attempts too', async (context) => {
  const ledger = await openIn(context);
  const old = Array.from({ length: 12_000 }, (_, number) => entryOf(`old ${number}`));
  await ledger.commit([...old, entryOf('new', { at: 10 * dayMs })]);
  await ledger.noteAttempt(['attempt']);
  await ledger.sweep(10 * dayMs);
  const left = await found(ledger, [...old.map(({ key }) => key), 'new']);
  assert.deepEqual([...left.keys()], ['new']);
  assert.deepEqual(await attempts(ledger, ['attempt']), [0]);
});

test('Ledger down: every call is TempFail, and works again when the cause is gone', async (context) => {
  const file = join(temporaryFolder(context), 'ledger.db');
  const ledger = await openIn(context, file);
  await ledger.check();
  const other = new DatabaseSync(file);
  other.exec('BEGIN IMMEDIATE');
  await assert.rejects(ledger.commit([entryOf('a')]), TempFail);
  assert.equal((await found(ledger, ['a'])).size, 0);
  other.close();
  await ledger.commit([entryOf('a')]);
  assert.equal((await found(ledger, ['a'])).size, 1);
});

test('Ledger.commit() that resolved is there after kill -9', async (context) => {
  const file = join(temporaryFolder(context), 'ledger.db');
  const child = startChild(context, 'quarantine-child.ts', ['ledger', file]);
  await child.until('ready');
  for (const key of ['a', 'b', 'c']) {
    child.write(key);
    assert.equal(await child.line(), 'committed');
  }
  await child.kill();
  const ledger = await openIn(context, file);
  assert.equal((await found(ledger, ['a', 'b', 'c'])).size, 3);
});

const handOff = {
  queueId: '4c7Yx1',
  sha256: 'ab',
  sender: 's@example.net',
  recipient: { address: 'r@example.com', notify: 'FAILURE', orcpt: 'rfc822;r@example.com' },
};
const others: readonly [string, typeof handOff][] = [
  ['queue id', { ...handOff, queueId: '4c7Yx2' }],
  ['bytes', { ...handOff, sha256: 'ac' }],
  ['sender', { ...handOff, sender: '' }],
  ['case of the recipient', { ...handOff, recipient: { ...handOff.recipient, address: 'R@example.com' } }],
  ['NOTIFY', { ...handOff, recipient: { ...handOff.recipient, notify: 'NEVER' } }],
  ['ORCPT', { ...handOff, recipient: { ...handOff.recipient, orcpt: 'rfc822;x@example.com' } }],
];

for (const [label, other] of others) {
  test(`ledgerKey() differs with another ${label}`, () => {
    assert.match(ledgerKey(handOff), /^[0-9a-f]{64}$/);
    assert.equal(ledgerKey(handOff), ledgerKey(structuredClone(handOff)));
    assert.notEqual(ledgerKey(other), ledgerKey(handOff));
  });
}

test('ledgerKey() is equal exactly where all parts are, whatever octets they have', () => {
  const text = fc.uint8Array({ maxLength: 3 }).map((octets) => decodeWire(octets));
  const parts = fc.record({
    queueId: text,
    sha256: text,
    sender: text,
    recipient: fc.record({ address: text, notify: fc.option(text), orcpt: fc.option(text) }),
  });
  fc.assert(
    fc.property(parts, parts, (one, two) => {
      const same = JSON.stringify(one) === JSON.stringify(two);
      assert.equal(ledgerKey(one) === ledgerKey(two), same);
    }),
    { numRuns: 2000 },
  );
});

test('createInFlight() claims all keys or none, and the same key twice in one claim is one', () => {
  const inFlight = createInFlight();
  assert.equal(inFlight.claim(['a', 'a', 'b']), true);
  assert.equal(inFlight.claim(['c', 'b']), false);
  assert.equal(inFlight.claim(['c']), true);
  inFlight.release(['a', 'a', 'b']);
  assert.equal(inFlight.claim(['a', 'b']), true);
  assert.equal(inFlight.claim(['c']), false);
});
