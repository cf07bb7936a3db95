/**
 * store — one database behind an async door: order, transactions, migrations, and every way a database can be down.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import type { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { openStore, type Store } from '../../filter/store.ts';
import { TempFail } from '../../workers/fail.ts';
import { temporaryFolder } from '../folder.ts';
import { recordingLog } from './store-rig.ts';

const migrations = ['CREATE TABLE note (text)', 'ALTER TABLE note ADD COLUMN extra'];

async function storeIn(
  context: TestContext,
  file: string,
  options: Partial<Parameters<typeof openStore>[0]> = {},
): Promise<Store> {
  const store = await openStore({
    file,
    migrations,
    synchronous: 'FULL',
    log: recordingLog(),
    busyTimeoutMs: 50,
    ...options,
  });
  context.after(() => store.close());
  return store;
}

function insert(text: string) {
  return { sql: 'INSERT INTO note (text) VALUES (?)', params: [text] };
}

/** Commits in a write-ahead log: frames that name the size of the database (sqlite.org/fileformat.html#walformat). */
function commitsIn(file: string): number {
  const log = readFileSync(file);
  const frameBytes = 24 + log.readUInt32BE(8);
  let commits = 0;
  for (let at = 32; at + frameBytes <= log.length; at += frameBytes)
    if (log.readUInt32BE(at + 4) > 0) commits++;
  return commits;
}

async function texts(store: Store): Promise<unknown[]> {
  const rows = await store.all<{ text: unknown }>('SELECT text FROM note ORDER BY rowid');
  return rows.map(({ text }) => text);
}

test('openStore() performs calls in the order made', async (context) => {
  const store = await storeIn(context, join(temporaryFolder(context), 'a.db'));
  const wanted = Array.from({ length: 200 }, (_, number) => `${number}`);
  await Promise.all(wanted.map((text) => store.run(insert(text).sql, [text])));
  assert.deepEqual(await texts(store), wanted);
});

test('Store.transaction() called many times at once: one commit for all of them', async (context) => {
  const file = join(temporaryFolder(context), 'a.db');
  const store = await storeIn(context, file);
  const before = commitsIn(`${file}-wal`);
  const wanted = Array.from({ length: 50 }, (_, number) => `${number}`);
  const changed = await Promise.all(wanted.map((text) => store.transaction([insert(text), insert(text)])));
  assert.ok(changed.every((one) => one.length === 2 && one.every(({ changes }) => changes === 1)));
  assert.equal(commitsIn(`${file}-wal`) - before, 1);
  assert.equal((await texts(store)).length, 100);
});

test('Store.transaction() that fails among others called at once is the only one undone', async (context) => {
  const store = await storeIn(context, join(temporaryFolder(context), 'a.db'));
  const outcomes = await Promise.allSettled([
    store.transaction([insert('a')]),
    store.transaction([insert('undone'), { sql: 'INSERT INTO nothing VALUES (1)' }]),
    store.transaction([insert('b')]),
  ]);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  assert.deepEqual(await texts(store), ['a', 'b']);
});

test('Store.read() asks several queries at once, and does not wait for what is not answered yet', async (context) => {
  const store = await storeIn(context, join(temporaryFolder(context), 'a.db'));
  await store.run(insert('a').sql, ['a']);
  const queries = [
    { sql: 'SELECT text FROM note' },
    { sql: 'SELECT ? AS text', params: ['mine'] },
    { sql: 'SELECT text FROM note WHERE 0' },
  ];
  const [, rows] = await Promise.all([store.run(insert('b').sql, ['b']), store.read(queries)]);
  assert.deepEqual(structuredClone(rows), [[{ text: 'a' }], [{ text: 'mine' }], []]);
  const [after] = await store.read(queries);
  assert.deepEqual(structuredClone(after), [{ text: 'a' }, { text: 'b' }]);
});

test('Store.transaction() does all steps or none, and tells what each changed', async (context) => {
  const store = await storeIn(context, join(temporaryFolder(context), 'a.db'));
  const changed = await store.transaction([
    insert('a'),
    { sql: "UPDATE note SET extra = 1 WHERE text = 'b'" },
  ]);
  assert.deepEqual(changed, [{ changes: 1 }, { changes: 0 }]);
  await assert.rejects(store.transaction([insert('c'), { sql: 'INSERT INTO nothing VALUES (1)' }]), TempFail);
  assert.deepEqual(await texts(store), ['a']);
});

test('Store keeps every string but lone surrogates, which become U+FFFD', async (context) => {
  const store = await storeIn(context, join(temporaryFolder(context), 'a.db'));
  const anyText = fc.oneof(fc.string({ unit: 'binary' }), fc.constant('\udc80\ud800x'), fc.constant('a\0b'));
  await fc.assert(
    fc.asyncProperty(anyText, async (text) => {
      await store.run('DELETE FROM note');
      await store.run(insert(text).sql, [text]);
      assert.deepEqual(await texts(store), [text.toWellFormed()]);
    }),
    { numRuns: 100 },
  );
});

test('openStore() migrates an older schema, once, and keeps its rows', async (context) => {
  const file = join(temporaryFolder(context), 'a.db');
  const first = await storeIn(context, file, { migrations: migrations.slice(0, 1) });
  await first.run(insert('old').sql, ['old']);
  await first.close();
  for (const _ of ['migrates', 'finds it migrated']) {
    const store = await storeIn(context, file);
    assert.deepEqual(await store.all('SELECT * FROM note'), [{ text: 'old', extra: null }]);
    await store.close();
  }
});

test('openStore() leaves a schema as it was where a migration fails', async (context) => {
  const file = join(temporaryFolder(context), 'a.db');
  const bad = await storeIn(context, file, { migrations: [...migrations, 'CREATE TABLE x (y); BOGUS'] });
  await assert.rejects(bad.check(), /BOGUS/);
  const good = await storeIn(context, file);
  await good.check();
  await assert.rejects(good.all('SELECT * FROM x'), /no such table/);
});

test('openStore() of a newer schema names file and remedy, and touches nothing', async (context) => {
  const file = join(temporaryFolder(context), 'a.db');
  const newer = await storeIn(context, file, { migrations: [...migrations, 'CREATE TABLE later (x)'] });
  await newer.close();
  const store = await storeIn(context, file);
  await assert.rejects(store.check(), (error: Error) => {
    assert.ok(error instanceof TempFail);
    assert.match(
      error.message,
      /a\.db: its schema has version 3, this Sluice knows up to 2: install the newer/,
    );
    return true;
  });
});

test('openStore() eight times at once on a new file: all of them open it', async (context) => {
  const file = join(temporaryFolder(context), 'a.db');
  const names = Array.from({ length: 8 }, (_, number) => `${number}`);
  const stores = await Promise.all(names.map(() => storeIn(context, file, { busyTimeoutMs: 2000 })));
  await Promise.all(stores.map((store, number) => store.run(insert('').sql, [`${number}`])));
  const [first] = stores;
  assert.ok(first);
  assert.deepEqual(new Set(await texts(first)), new Set(names));
});

type Fault = {
  readonly label: string;
  /** Breaks the database; what it gives mends it. */
  readonly brk: (file: string) => () => void;
  readonly says: RegExp;
};

const faults: readonly Fault[] = [
  {
    label: 'locked by another process',
    brk: (file) => {
      const other = new DatabaseSync(file);
      other.exec('BEGIN IMMEDIATE');
      return () => other.close();
    },
    says: /database is locked: another process/,
  },
  {
    label: 'overwritten with garbage',
    brk: (file) => {
      const kept = readFileSync(file);
      rmSync(`${file}-wal`, { force: true });
      rmSync(file);
      writeFileSync(file, 'garbage '.repeat(1000));
      return () => writeFileSync(file, kept);
    },
    says: /file is not a database: stop Sluice and move the file away/,
  },
  {
    label: 'its folder is gone',
    brk: (file) => {
      rmSync(join(file, '..'), { recursive: true });
      return () => mkdirSync(join(file, '..'));
    },
    says: /unable to open database file: see that its folder exists/,
  },
  {
    label: 'a folder stands in its place',
    brk: (file) => {
      rmSync(file);
      mkdirSync(file);
      return () => rmSync(file, { recursive: true });
    },
    says: /unable to open database file/,
  },
];

for (const { label, brk, says } of faults) {
  for (const when of ['before it is opened', 'while it is open'] as const) {
    test(`Store ${label} ${when}: TempFail with cause, and recovers by itself`, async (context) => {
      const folder = join(temporaryFolder(context), 'state');
      mkdirSync(folder);
      const file = join(folder, 'a.db');
      const log = recordingLog();
      const early = await storeIn(context, file, { log });
      await early.run(insert('x').sql, ['x']);
      if (when === 'before it is opened') await early.close();
      const mend = brk(file);
      const store = when === 'before it is opened' ? await storeIn(context, file, { log }) : early;
      for (const _ of ['once', 'and again']) {
        await assert.rejects(store.run(insert('y').sql, ['y']), (error: Error) => {
          assert.ok(error instanceof TempFail && error.cause instanceof Error);
          assert.match(error.message, says);
          return true;
        });
      }
      mend();
      await store.run(insert('z').sql, ['z']);
      assert.equal((await texts(store)).at(-1), 'z');
      const told = log.lines.filter((line) => line.includes('database'));
      assert.deepEqual(told, ['error database unavailable', 'info database available again']);
    });
  }
}

test('Store.all() still answers while another process holds the write lock', async (context) => {
  const file = join(temporaryFolder(context), 'a.db');
  const store = await storeIn(context, file);
  await store.run(insert('x').sql, ['x']);
  const other = new DatabaseSync(file);
  other.exec('BEGIN IMMEDIATE');
  assert.deepEqual(await texts(store), ['x']);
  other.close();
});

test('Store never stalls the event loop while it waits for a lock', async (context) => {
  const file = join(temporaryFolder(context), 'a.db');
  const store = await storeIn(context, file, { busyTimeoutMs: 10_000 });
  const other = new DatabaseSync(file);
  other.exec('BEGIN IMMEDIATE');
  const written = store.run(insert('x').sql, ['x']);
  // These turns of the loop would never come if the wait were in this thread: only we can release the lock.
  for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
  other.exec('COMMIT');
  other.close();
  assert.deepEqual(await written, { changes: 1 });
});

test('Store refuses, untried, what waited too long behind others', async (context) => {
  const file = join(temporaryFolder(context), 'a.db');
  const store = await storeIn(context, file, { busyTimeoutMs: 300, queueTimeoutMs: 100 });
  const other = new DatabaseSync(file);
  other.exec('BEGIN IMMEDIATE');
  // By turns, because neighbouring writes are tried together.
  const calls = Array.from({ length: 50 }, (_, number) =>
    number % 2 === 0 ? store.run(insert('').sql, [`${number}`]) : texts(store),
  );
  const outcomes = await Promise.allSettled(calls);
  other.close();
  const untried = outcomes.filter(
    (outcome) => outcome.status === 'rejected' && /too many requests/.test(String(outcome.reason)),
  );
  assert.ok(untried.length >= 48, `${untried.length}`);
  await store.run(insert('after').sql, ['after']);
  assert.deepEqual(await texts(store), ['after']);
});

test('Store whose file is replaced while it is open writes into the new one', async (context) => {
  const file = join(temporaryFolder(context), 'a.db');
  const store = await storeIn(context, file);
  await store.run(insert('old').sql, ['old']);
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${file}${suffix}`, { force: true });
  await store.run(insert('new').sql, ['new']);
  const other = new DatabaseSync(file, { readOnly: true });
  assert.deepEqual(
    other
      .prepare('SELECT text FROM note')
      .all()
      .map((row) => row['text']),
    ['new'],
  );
  other.close();
});

test('Store whose thread dies rejects what was waiting and starts the thread anew', async (context) => {
  const log = recordingLog();
  const started: Worker[] = [];
  const remember = (worker: Worker) => void started.push(worker);
  process.on('worker', remember);
  context.after(() => process.off('worker', remember));
  const file = join(temporaryFolder(context), 'a.db');
  const store = await storeIn(context, file, { log, busyTimeoutMs: 300 });
  await store.run(insert('before').sql, ['before']);
  const other = new DatabaseSync(file);
  other.exec('BEGIN IMMEDIATE');
  // The first waits for the lock inside SQLite, the second behind it, when the thread dies.
  const calls = ['first', 'second'].map((text) => store.run(insert('').sql, [text]));
  const rejected = calls.map((call) =>
    assert.rejects(call, (error: Error) => error instanceof TempFail && error.cause instanceof Error),
  );
  await started[0]?.terminate();
  await Promise.all(rejected);
  other.close();
  assert.ok(log.lines.includes('error database thread died'));
  await store.run(insert('after').sql, ['after']);
  assert.deepEqual(await texts(store), ['before', 'after']);
  assert.equal(started.length, 2);
});

test('Store.close() finishes what was asked for; later calls are TempFail', async (context) => {
  const file = join(temporaryFolder(context), 'a.db');
  const store = await storeIn(context, file);
  const written = store.run(insert('x').sql, ['x']);
  await Promise.all([store.close(), store.close()]);
  assert.deepEqual(await written, { changes: 1 });
  await assert.rejects(store.check(), TempFail);
});

test('Store.check() is TempFail where only the write lock is missing', async (context) => {
  const file = join(temporaryFolder(context), 'a.db');
  const store = await storeIn(context, file);
  await store.run(insert('x').sql, ['x']);
  const other = new DatabaseSync(file);
  other.exec('BEGIN IMMEDIATE');
  await assert.rejects(store.check(), TempFail);
  other.close();
  await store.check();
});
