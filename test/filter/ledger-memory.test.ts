/**
 * ledger-memory — "never saw" is said only of what nobody ever wrote, whoever wrote it and however often it was loaded.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { createKnownKeys } from '../../filter/known-keys.ts';
import { createLedgerMemory, dataVersion, type LedgerMemory } from '../../filter/ledger-memory.ts';
import { openLedger } from '../../filter/ledger.ts';
import { openStore, type Store } from '../../filter/store.ts';
import { replyFor } from '../../rules/replies.ts';
import { temporaryFolder } from '../folder.ts';
import { recordingLog } from './store-rig.ts';

/** A ledger's file with these keys in it, and a store on it. */
async function storeWith(t: TestContext, keys: readonly string[]): Promise<{ file: string; store: Store }> {
  const file = join(temporaryFolder(t), 'ledger.db');
  const ledger = await openLedger({ file, log: recordingLog() });
  await ledger.commit(keys.map((key) => entryOf(key)));
  await ledger.close();
  const store = await openStore({ file, migrations: null, synchronous: 'FULL', log: recordingLog() });
  t.after(() => store.close());
  return { file, store };
}

function entryOf(key: string) {
  const reply = replyFor('delivered', 'queued as 4c1');
  const rest = { outcome: 'delivered', queueIdOut: null, quarantineId: null, reply, at: 1 } as const;
  return { key, queueId: `Q${key}`, ...rest };
}

/** Asks the ledger as a recall does. */
async function hear(store: Store, memory: LedgerMemory): Promise<void> {
  const [[row]] = (await store.read([dataVersion])) as [[{ data_version: number }]];
  memory.heard(row.data_version);
}

async function untilLoaded(store: Store, memory: LedgerMemory): Promise<void> {
  for (let tries = 0; tries < 10_000; tries++) {
    await hear(store, memory);
    if (memory.neverSaw(['never written'])) return;
    await setImmediate();
  }
  assert.fail('the memory was never loaded');
}

test('neverSaw() is false for every key and queue id that was there at the start or was added', async (t) => {
  const { store } = await storeWith(t, ['a', 'b']);
  const memory = createLedgerMemory(store, recordingLog());
  assert.equal(memory.neverSaw(['x']), false, 'not loaded yet: nobody knows');
  memory.add(['while loading']);
  await untilLoaded(store, memory);
  memory.add(['later']);
  for (const text of ['a', 'b', 'Qa', 'Qb', 'while loading', 'later'])
    assert.equal(memory.neverSaw([text]), false, text);
  assert.equal(memory.neverSaw(['x', 'y']), true);
  assert.equal(memory.neverSaw(['x', 'a']), false, 'one of several');
});

test('neverSaw() wants the ledger to have been asked within a second', async (t) => {
  const { store } = await storeWith(t, []);
  let now = 0;
  const memory = createLedgerMemory(store, recordingLog(), () => now);
  await untilLoaded(store, memory);
  now = 999;
  assert.equal(memory.neverSaw(['x']), true);
  now = 1000;
  assert.equal(memory.neverSaw(['x']), false);
});

test('heard() loads anew what another process has written', async (t) => {
  const { file, store } = await storeWith(t, ['a']);
  const memory = createLedgerMemory(store, recordingLog());
  await untilLoaded(store, memory);
  const other = new DatabaseSync(file);
  other.exec("INSERT INTO entry VALUES ('foreign', 'Qforeign', 'delivered', NULL, NULL, '{}', 1)");
  other.close();
  await hear(store, memory);
  assert.equal(memory.neverSaw(['foreign']), false, 'at once: it is not loaded any more');
  await untilLoaded(store, memory);
  assert.equal(memory.neverSaw(['foreign']), false);
  assert.equal(memory.neverSaw(['Qforeign']), false);
});

test('heard() notices what another process wrote before the ledger was first asked', async (t) => {
  const { file, store } = await storeWith(t, ['a']);
  const loaded = Promise.withResolvers<void>();
  const watched: Pick<Store, 'all'> = {
    async all<Row>(sql: string, params?: Parameters<Store['all']>[1]) {
      const rows = await store.all<Row>(sql, params);
      // The last page of all: what comes from now on is not in the memory.
      if (sql.includes('FROM attempt WHERE')) loaded.resolve();
      return rows;
    },
  };
  const memory = createLedgerMemory(watched, recordingLog());
  await loaded.promise;
  await setImmediate();
  const other = new DatabaseSync(file);
  other.exec("INSERT INTO entry VALUES ('foreign', 'Qforeign', 'delivered', NULL, NULL, '{}', 1)");
  other.close();
  await hear(store, memory);
  assert.equal(memory.neverSaw(['foreign']), false);
});

test('recall() finds what was committed a moment ago, memory or not', async (t) => {
  const ledger = await openLedger({ file: join(temporaryFolder(t), 'ledger.db'), log: recordingLog() });
  t.after(() => ledger.close());
  for (let at = 0; at < 300; at++) {
    const key = `key ${at}`;
    assert.equal((await ledger.recall([key], `Q${key}`)).entries.size, 0, key);
    await ledger.commit([entryOf(key)]);
    assert.equal((await ledger.recall([key], `Q${key}`)).entries.size, 1, key);
  }
});

test('createKnownKeys() forgets nothing, and calls few others known', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.string(), { maxLength: 2000 }), (texts) => {
      const known = createKnownKeys(texts.length);
      for (const text of texts) known.add(text);
      assert.ok(texts.every((text) => known.mayKnow(text)));
    }),
    { numRuns: 50 },
  );
  const known = createKnownKeys(20_000);
  for (let at = 0; at < 20_000; at++) known.add(`in ${at}`);
  assert.equal(known.isFull(), false);
  const wrong = Array.from({ length: 20_000 }, (_, at) => known.mayKnow(`out ${at}`)).filter(Boolean).length;
  assert.ok(wrong < 100, `${wrong} of 20,000`);
  known.add('one more');
  assert.equal(known.isFull(), true);
});
