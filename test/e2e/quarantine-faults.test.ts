/**
 * quarantine-faults — what no test double can show: a disk that fails, is full or read-only, by strace and tmpfs.
 *
 * Needs root, or sudo without a password, for mount and for strace on another process; it fails where it has neither.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { type History, openHistory, type ScanRow } from '../../filter/history.ts';
import { type Ledger, type LedgerEntry, openLedger } from '../../filter/ledger.ts';
import { openQuarantine, type Quarantine } from '../../filter/quarantine.ts';
import { replyFor } from '../../rules/replies.ts';
import { TempFail } from '../../workers/fail.ts';
import { temporaryFolder } from '../folder.ts';
import { runSluice } from '../review/desk-rig.ts';
import { chunksOf, keysOf, lookInto, messageOf, spamFor } from '../filter/quarantine-rig.ts';
import { recordingLog, startChild } from '../filter/store-rig.ts';

const asRoot = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
const two = ['one@example.com', 'two@example.com'];

function root(...command: string[]): void {
  const [program = '', ...args] = [...asRoot, ...command];
  execFileSync(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** A small disk of its own, gone when the test ends. */
function smallDisk(context: TestContext, options: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-disk-'));
  root('mount', '-t', 'tmpfs', '-o', `${options},mode=0777`, 'sluice-test', folder);
  context.after(() => {
    root('umount', '-l', folder);
    rmdirSync(folder);
  });
  return folder;
}

/** Attaches strace to a running process; resolves once it is attached. Gives what detaches it. */
async function attach(context: TestContext, pid: number, ...options: string[]): Promise<() => Promise<void>> {
  const [program = '', ...args] = [...asRoot, 'strace', '-f', '-p', `${pid}`, ...options];
  const strace = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(strace, 'exit');
  // SIGKILL: a strace whose tracee became a zombie under it hears nothing else.
  context.after(() => strace.kill('SIGKILL'));
  for await (const line of createInterface({ input: strace.stderr })) {
    if (line.includes('attached')) break;
    assert.doesNotMatch(line, /not permitted|not found/);
  }
  strace.stderr.resume();
  return async () => {
    strace.kill('SIGINT');
    await ended;
  };
}

function fillDisk(folder: string): () => void {
  const file = join(folder, 'filler');
  for (const sizeBytes of [1 << 20, 1 << 16, 1 << 12]) {
    try {
      for (;;) writeFileSync(file, Buffer.alloc(sizeBytes), { flag: 'a' });
    } catch (error) {
      assert.match(String(error), /ENOSPC/);
    }
  }
  return () => rmSync(file);
}

async function openAll(context: TestContext, state: string) {
  const log = recordingLog();
  const quarantine = await openQuarantine({
    folder: join(state, 'quarantine'),
    file: join(state, 'quarantine.db'),
    log,
  });
  const ledger = await openLedger({ file: join(state, 'ledger.db'), log });
  const history = await openHistory({ file: join(state, 'history.db'), log });
  context.after(() => Promise.all([quarantine.close(), ledger.close(), history.close()]));
  return { quarantine, ledger, history };
}

const scan: ScanRow = {
  at: 1,
  queueId: '4c7Yx1',
  direction: 'inbound',
  client: null,
  sender: '',
  from: null,
  subject: 'x'.repeat(1000),
  messageId: null,
  sizeBytes: 1,
  report: null,
  totalMs: 1,
};

function entryOf(key: string): LedgerEntry {
  const reply = replyFor('delivered', 'x'.repeat(300));
  return { key, queueId: '4c7Yx1', outcome: 'delivered', queueIdOut: null, quarantineId: null, reply, at: 1 };
}

/** Writes a little into each until all refuse; databases and folders keep some room that is theirs already. */
async function untilAllRefuse(all: {
  quarantine: Quarantine;
  ledger: Ledger;
  history: History;
}): Promise<void> {
  const refused = { quarantine: false, ledger: false, history: false, discard: false };
  for (let number = 0; number < 2000 && Object.values(refused).includes(false); number++) {
    const put = all.quarantine.put(spamFor(two, { queueId: `F${number}` }), chunksOf(messageOf()));
    refused.quarantine = await put.then(() => false, isTempFail);
    refused.ledger = await all.ledger.commit([entryOf(`F${number}`)]).then(() => false, isTempFail);
    refused.history = !(await all.history.record(scan, [], { durable: false }));
    refused.discard = await all.history.record(scan, [], { durable: true }).then(() => false, isTempFail);
  }
  assert.deepEqual(refused, { quarantine: true, ledger: true, history: true, discard: true });
}

function isTempFail(error: unknown): true {
  assert.ok(error instanceof TempFail, String(error));
  return true;
}

async function allWork(all: { quarantine: Quarantine; ledger: Ledger; history: History }, name: string) {
  await all.quarantine.put(spamFor(two, { queueId: name }), chunksOf(messageOf()));
  await all.ledger.commit([entryOf(name)]);
  assert.equal(await all.history.record(scan, [], { durable: true }), true);
}

// R10: a put has four fsyncs (message.eml, item.json, its folder, the parent) and closes each of the four after it.
for (const call of ['fsync', 'close']) {
  for (let failing = 1; failing <= 4; failing++) {
    test(`Quarantine.put() whose ${call} number ${failing} gives EIO: TempFail, nothing left, the next is held`, async (context) => {
      const state = temporaryFolder(context);
      const folder = join(state, 'quarantine');
      const child = startChild(context, 'quarantine-child.ts', [
        'put',
        folder,
        join(state, 'quarantine.db'),
        '3',
      ]);
      await child.until('ready');
      const inject = `inject=${call}:error=EIO:when=${failing}`;
      await attach(context, child.process.pid ?? 0, '-o', '/dev/null', '-e', `trace=${call}`, '-e', inject);
      child.write('go');
      const [first = '', ...others] = await child.until('done');
      assert.match(first, /^TempFail: Cannot hold [0-9a-f]{32}: EIO/);
      const held = others.map((line) => /^held ([0-9a-f]{32})$/.exec(line)?.[1]);
      assert.equal(held.length, 2);
      const { items, temporary } = lookInto(folder);
      assert.deepEqual([new Set(items), temporary], [new Set(held), []]);
    });
  }
}

test('Ledger.commit() whose sync to disk fails is TempFail, the next is committed', async (context) => {
  const file = join(temporaryFolder(context), 'ledger.db');
  const child = startChild(context, 'quarantine-child.ts', ['ledger', file]);
  await child.until('ready');
  child.write('zero');
  assert.equal(await child.line(), 'committed');
  const inject = 'inject=fsync,fdatasync:error=EIO:when=1';
  await attach(
    context,
    child.process.pid ?? 0,
    '-o',
    '/dev/null',
    '-e',
    'trace=fsync,fdatasync',
    '-e',
    inject,
  );
  child.write('one');
  assert.match(
    await child.line(),
    /^TempFail: Cannot use .*ledger\.db: disk I\/O error: see what the kernel says/,
  );
  child.write('two');
  assert.equal(await child.line(), 'committed');
  await child.kill();
  const ledger = await openLedger({ file, log: recordingLog() });
  context.after(() => ledger.close());
  assert.deepEqual([...(await ledger.recall(['zero', 'one', 'two'], '')).entries.keys()].toSorted(), [
    'two',
    'zero',
  ]);
});

test('History.record() syncs a discard to disk, and nothing else', async (context) => {
  const folder = temporaryFolder(context);
  const history = await openHistory({ file: join(folder, 'history.db'), log: recordingLog() });
  context.after(() => history.close());
  for (const [durable, syncs] of [
    [false, 0],
    [true, 5],
    [false, 0],
  ] as const) {
    const trace = join(folder, 'trace');
    const detach = await attach(context, process.pid, '-o', trace, '-e', 'trace=fdatasync,fsync');
    for (let number = 0; number < 5; number++) await history.record(scan, [], { durable });
    await detach();
    const seen = readFileSync(trace, 'utf8').match(/f(?:data)?sync\(.*= 0/g) ?? [];
    assert.equal(seen.length, syncs);
  }
});

test('Quarantine on a full disk: TempFail for what must be held, the rest goes on, then it recovers (F28)', async (context) => {
  const folder = smallDisk(context, 'size=2m');
  const file = join(temporaryFolder(context), 'quarantine.db');
  const quarantine = await openQuarantine({ folder, file, log: recordingLog() });
  context.after(() => quarantine.close());
  const known = spamFor(two, { queueId: 'known' });
  const quarantineId = await quarantine.put(known, chunksOf(messageOf()));
  const free = fillDisk(folder);
  const before = lookInto(folder).items;
  await assert.rejects(quarantine.put(spamFor(two), chunksOf(messageOf())), TempFail);
  await assert.rejects(quarantine.claim(quarantineId, [0], 'held', 'releasing', 'bob'), TempFail);
  assert.deepEqual(lookInto(folder), { items: before, temporary: [] });
  assert.equal((await quarantine.find(keysOf(known))).size, 2);
  assert.deepEqual(
    (await quarantine.get(quarantineId)).slots.map(({ state }) => state),
    ['held', 'held'],
  );
  free();
  await quarantine.put(spamFor(two), chunksOf(messageOf()));
  assert.deepEqual(await quarantine.claim(quarantineId, [0], 'held', 'releasing', 'bob'), [true]);
});

test('Everything on one full disk: each call fails as it should, and all recover by themselves', async (context) => {
  const state = smallDisk(context, 'size=4m');
  const all = await openAll(context, state);
  await allWork(all, 'before');
  const free = fillDisk(state);
  await untilAllRefuse(all);
  free();
  await allWork(all, 'after');
  assert.equal((await all.ledger.recall(['before', 'after'], '')).entries.size, 2);
  assert.deepEqual(lookInto(join(state, 'quarantine')).temporary, []);
});

test('A disk that held mail has filled can be emptied by Sluice: list, delete (a reserve is left)', async (context) => {
  const disk = smallDisk(context, 'size=8m');
  const state = join(disk, 'state');
  mkdirSync(state, { mode: 0o700 });
  const { quarantine } = await openAll(context, state);
  const message = messageOf(200_000);
  const ids: string[] = [];
  const put = (number: number) =>
    quarantine.put(spamFor(two, { message, queueId: `Q${number}` }), chunksOf(message));
  const refused =
    /^Cannot hold in .* are left on its disk, 0\.5 MB of them for deleting and releasing: make room/;
  for (let number = 0; number < 100; number++) {
    const held = await put(number).catch((error: unknown) => {
      assert.ok(error instanceof TempFail);
      assert.match(error.message, refused);
      return null;
    });
    if (held === null) break;
    ids.push(held);
  }
  assert.ok(ids.length > 10 && ids.length < 40, `${ids.length} were held`);
  // Many puts at once leave it free, too.
  const many = await Promise.allSettled(Array.from({ length: 50 }, (_, number) => put(1000 + number)));
  assert.ok(many.every(({ status }) => status === 'rejected'));
  const config = join(temporaryFolder(context), 'sluice.yaml');
  writeFileSync(config, `state: ${state}\nclamd: null\nspamd: null\nscan: { virus: false, spam: false }\n`);
  const run = (...words: string[]) => runSluice(['quarantine', ...words, '--config', config]);
  const list = await run('list', '--json');
  assert.deepEqual([list.code, list.stderr], [0, '']);
  const deleted = await run('delete', ...ids.slice(0, 5));
  assert.deepEqual([deleted.code, deleted.stderr], [0, '']);
  await quarantine.check();
  await put(2000);
  // What else fills the disk is told before anything must be held.
  const free = fillDisk(disk);
  await assert.rejects(quarantine.check(), /Cannot hold in .*: 0\.0 MB are left on its disk/);
  free();
});

test('A database says what to do where its disk is full, whatever SQLite calls that', async (context) => {
  const state = smallDisk(context, 'size=1m');
  fillDisk(state);
  const file = join(state, 'ledger.db');
  const ledger = await openLedger({ file, log: recordingLog() });
  context.after(() => ledger.close());
  await assert.rejects(ledger.check(), /: make room on the disk$/);
});

test('Everything opened on a full disk recovers when there is room', async (context) => {
  const state = smallDisk(context, 'size=4m');
  const free = fillDisk(state);
  const all = await openAll(context, state);
  await untilAllRefuse(all);
  free();
  await allWork(all, 'after');
});

test('Everything opened on a read-only disk: TempFail, and recovers when it can be written (F29)', async (context) => {
  const state = smallDisk(context, 'size=4m');
  const first = await openAll(context, state);
  await allWork(first, 'before');
  await Promise.all([first.quarantine.close(), first.ledger.close(), first.history.close()]);
  root('mount', '-o', 'remount,ro', state);
  const all = await openAll(context, state);
  await untilAllRefuse(all);
  const known = keysOf(spamFor(two, { queueId: 'before' }));
  assert.equal((await all.quarantine.find(known)).size, 2);
  root('mount', '-o', 'remount,rw', state);
  await allWork(all, 'after');
  assert.equal((await all.ledger.recall(['before', 'after'], '')).entries.size, 2);
});
