/**
 * spool — any bytes come back whole or not at all; disks that fail; processes that die.
 *
 * Other processes are real ones (this file, started with an argument); full disks are RLIMIT_FSIZE and strace.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { TempFail } from '../../workers/fail.ts';
import { createSpool, type Spool, type SpooledMessage } from '../../workers/spool.ts';

const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const root = mkdtempSync(join(tmpdir(), 'sluice-spool-'));
after(() => rmSync(root, { recursive: true, force: true }));

test('read() gives back any bytes written in any chunks, whole, in part, again and at once', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 3_000 }), { maxLength: 12 }),
      fc.integer({ min: 0, max: 20_000 }),
      fc.nat(25_000),
      fc.nat(25_000),
      async (chunks, memoryBytesMax, from, to) => {
        await using box = await openBox({ memoryBytesMax });
        const bytes = Buffer.concat(chunks);
        const message = await spooled(box.spool, chunks);
        assert.equal(message.sizeBytes, bytes.length);
        assert.equal(message.sha256, createHash('sha256').update(bytes).digest('hex'));
        const [whole, part, head, again] = await Promise.all([
          bytesOf(message.read()),
          bytesOf(message.read(from, to)),
          message.head(to),
          bytesOf(message.read()),
        ]);
        assert.ok(whole.equals(bytes) && again.equals(bytes));
        assert.ok(part.equals(bytes.subarray(from, Math.max(from, to))));
        assert.ok(bytes.subarray(0, to).equals(head));
        assert.equal(box.files().length, bytes.length > memoryBytesMax ? 1 : 0);
        await message.remove();
        assert.deepEqual(box.files(), []);
      },
    ),
    { numRuns: 60 },
  );
});

for (const { sizeBytes, files } of [
  { sizeBytes: 262_143, files: 0 },
  { sizeBytes: 262_144, files: 0 },
  { sizeBytes: 262_145, files: 1 },
]) {
  test(`finish() a message of ${sizeBytes} octets is in ${files ? 'a file' : 'memory'}`, async () => {
    await using box = await openBox();
    const message = await spooled(box.spool, [Buffer.alloc(sizeBytes, 'x')]);
    assert.equal(box.files().length, files);
    assert.equal((await bytesOf(message.read())).length, sizeBytes);
  });
}

test('createSpool() nobody else may look: folders 0700, files 0600', async () => {
  await using box = await openBox({ memoryBytesMax: 0 });
  await spooled(box.spool, [Buffer.from('secret')]);
  const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);
  assert.equal(mode(box.folder), '700');
  assert.equal(mode(box.instance()), '700');
  assert.deepEqual(
    box.files().map((file) => mode(join(box.instance(), file))),
    ['600'],
  );
});

test('write() is done with a chunk when it resolves: the caller may use its buffer again', async () => {
  await using box = await openBox();
  const writer = box.spool.open();
  const buffer = Buffer.from('first');
  await writer.write(buffer);
  buffer.fill('x');
  assert.equal(String(await (await writer.finish()).head(99)), 'first');
});

test('get() knows a message from finish to remove', async () => {
  await using box = await openBox();
  const writer = box.spool.open();
  await writer.write(Buffer.from('x'));
  const message = await writer.finish();
  assert.equal(box.spool.get(message.spoolId), message);
  await message.remove();
  assert.equal(box.spool.get(message.spoolId), undefined);
  assert.equal(box.spool.get('nothing'), undefined);
});

for (const memoryBytesMax of [0, 1_000_000]) {
  const where = memoryBytesMax === 0 ? 'file' : 'memory';
  test(`remove() twice is fine, reading afterwards is a TempFail, a reader under way finishes (${where})`, async () => {
    await using box = await openBox({ memoryBytesMax });
    const bytes = Buffer.alloc(300_000, 'abc');
    const message = await spooled(box.spool, [bytes]);
    const reader = message.read()[Symbol.asyncIterator]();
    const chunks = [Buffer.from((await reader.next()).value ?? '')];
    await message.remove();
    await message.remove();
    for (let step = await reader.next(); step.done !== true; step = await reader.next())
      chunks.push(Buffer.from(step.value));
    assert.ok(Buffer.concat(chunks).equals(bytes));
    await assert.rejects(bytesOf(message.read()), TempFail);
    await assert.rejects(message.head(1), TempFail);
  });
}

test('read() of a file that got shorter, or lost, is a TempFail and never a shorter message', async () => {
  await using box = await openBox({ memoryBytesMax: 0 });
  const message = await spooled(box.spool, [Buffer.alloc(200_000)]);
  const [file] = box.files();
  truncateSync(join(box.instance(), file ?? ''), 100_000);
  await assert.rejects(bytesOf(message.read()), TempFail);
  assert.equal((await message.head(100)).length, 100);
  rmSync(join(box.instance(), file ?? ''));
  await assert.rejects(bytesOf(message.read()), TempFail);
  await message.remove();
});

test('abort() at any moment leaves neither file nor descriptor, and works twice', async () => {
  await using box = await openBox({ memoryBytesMax: 10 });
  const descriptors = await openDescriptors();
  for (const wait of [true, false]) {
    const writer = box.spool.open();
    const write = writer.write(Buffer.alloc(100_000));
    if (wait) await write;
    await Promise.all([writer.abort(), writer.abort()]);
    await write;
    await assert.rejects(writer.write(Buffer.from('x')), TempFail);
    await assert.rejects(writer.finish(), TempFail);
  }
  assert.deepEqual(box.files(), []);
  assert.equal(await openDescriptors(), descriptors);
});

test('abort() after finish changes nothing, finish works once', async () => {
  await using box = await openBox({ memoryBytesMax: 0 });
  const writer = box.spool.open();
  await writer.write(Buffer.from('kept'));
  const message = await writer.finish();
  await writer.abort();
  await assert.rejects(writer.finish(), TempFail);
  assert.equal(String(await message.head(10)), 'kept');
});

test('read() that is left early closes its file', async () => {
  await using box = await openBox({ memoryBytesMax: 0 });
  const message = await spooled(box.spool, [Buffer.alloc(500_000)]);
  const descriptors = await openDescriptors();
  for await (const chunk of message.read()) {
    assert.equal(chunk.length, 65_536);
    break;
  }
  assert.equal(await openDescriptors(), descriptors);
});

test('finish() an error of close is a TempFail, and the file is gone (R10)', async () => {
  await using box = await openBox({ memoryBytesMax: 0 });
  const writer = box.spool.open();
  await writer.write(Buffer.from('x'));
  closeSync(descriptorOf(join(box.instance(), box.files()[0] ?? ''))); // EBADF is an error of close(2) like any other
  await assert.rejects(writer.finish(), (error) => error instanceof TempFail && /EBADF/.test(error.message));
  assert.deepEqual(box.files(), []);
});

test('20 messages of 25 MB in flight are not in memory, and remove() gives memory back', async () => {
  await using box = await openBox();
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  const heldBytes = async () => {
    // Buffers are freed beside the collection, not in it: the second one waits for what the first one found.
    for (let times = 0; times < 2; times++) {
      collectGarbage();
      await setImmediate();
    }
    return process.memoryUsage().arrayBuffers;
  };
  const before = await heldBytes();
  const chunk = Buffer.alloc(65_536, 'x');
  const large = await Promise.all(
    Array.from({ length: 20 }, () => spooled(box.spool, Array<Buffer>(400).fill(chunk))),
  );
  const heldForLarge = (await heldBytes()) - before;
  assert.ok(heldForLarge < 2_000_000, `${heldForLarge} octets held for messages in files`);
  const small = await Promise.all(
    Array.from({ length: 20 }, () => spooled(box.spool, Array<Buffer>(4).fill(chunk))),
  );
  const heldForSmall = (await heldBytes()) - before;
  assert.ok(heldForSmall < 20 * 262_144 + 2_000_000, `${heldForSmall} octets held for messages in memory`);
  await Promise.all([...large, ...small].map((message) => message.remove()));
  const heldAfter = (await heldBytes()) - before;
  assert.ok(heldAfter < 2_000_000, `${heldAfter} octets held after remove`);
  assert.deepEqual(box.files(), []);
});

for (const { label, command } of [
  {
    label: 'the last write is short, then EFBIG', // 500 blocks of 512 octets end in the last of four writes
    command: ['sh', '-c', 'trap "" XFSZ; ulimit -f 500; exec "$@"', 'sh'],
  },
  ...['ENOSPC', 'EIO', 'EDQUOT'].map((code) => ({
    label: `${code} at the third write`,
    command: [
      'strace',
      '-f',
      '-qq',
      '-o',
      '/dev/null',
      '-e',
      'trace=pwrite64',
      '-e',
      `inject=pwrite64:error=${code}:when=3+`,
    ],
  })),
]) {
  test(`write() ${label}: TempFail, file and descriptor gone, small messages still pass`, async () => {
    const folder = mkdtempSync(join(root, 'f'));
    const told = await tellOf(startOther('full', folder, command));
    assert.deepEqual(told, { error: 'TempFail', files: [], descriptors: 0, small: 'still fine' });
  });
}

test('createSpool() sweeps the folders of dead instances, and none of a living or stopped one', async () => {
  const folder = mkdtempSync(join(root, 'f'));
  const [killed, stopped] = [startOther('hold', folder), startOther('hold', folder)];
  const [killedFolder, stoppedFolder] = [await tellOf(killed), await tellOf(stopped)];
  for (const held of [killedFolder, stoppedFolder]) assert.equal(filesIn(String(held)).length, 1);
  stopped.kill('SIGSTOP');
  killed.kill('SIGKILL');
  await once(killed, 'exit');
  mkdirSync(join(folder, 'starting-1-00000000'));
  mkdirSync(join(folder, 'something-else'));
  mkdirSync(join(folder, '1-00000000'));
  symlinkSync('owner', join(folder, '1-00000000', 'owner')); // ELOOP: neither a connection nor a refusal
  writeFileSync(join(folder, 'file'), '');

  await (await createSpool({ folder, log })).close();
  assert.deepEqual(
    readdirSync(folder)
      .map((name) => join(folder, name))
      .toSorted(),
    [
      String(stoppedFolder),
      ...['1-00000000', 'something-else', 'file'].map((name) => join(folder, name)),
    ].toSorted(),
  );
  assert.equal(filesIn(String(stoppedFolder)).length, 1);

  stopped.kill('SIGKILL');
  await once(stopped, 'exit');
  await (await createSpool({ folder, log })).close();
  assert.deepEqual(readdirSync(folder).toSorted(), ['1-00000000', 'file', 'something-else']);
});

test('createSpool() thirty at once: none sweeps another', async () => {
  const folder = mkdtempSync(join(root, 'f'));
  const spools = await Promise.all(
    Array.from({ length: 30 }, () => createSpool({ folder, memoryBytesMax: 0, log })),
  );
  assert.equal(readdirSync(folder).length, 30);
  await Promise.all(spools.map((spool) => spooled(spool, [Buffer.from('x')])));
  await Promise.all(spools.map((spool) => spool.close()));
  assert.deepEqual(readdirSync(folder), []);
});

test('createSpool() says what is wrong with a path that is too long, or may not be written', async () => {
  await assert.rejects(createSpool({ folder: join(root, 'x'.repeat(100)), log }), /too long.*set "spool"/);
  writeFileSync(join(root, 'plain-file'), '');
  await assert.rejects(createSpool({ folder: join(root, 'plain-file'), log }), /plain-file/);
});

test('close() removes the folder of this instance, and works twice', async () => {
  const box = await openBox({ memoryBytesMax: 0 });
  await spooled(box.spool, [Buffer.from('x')]);
  await box.spool.close();
  await box.spool.close();
  assert.deepEqual(readdirSync(box.folder), []);
});

/** A spool in a folder of its own. */
async function openBox(options: { memoryBytesMax?: number } = {}) {
  const folder = mkdtempSync(join(root, 'f'));
  const spool = await createSpool({ folder, log, ...options });
  const instance = () => join(folder, readdirSync(folder)[0] ?? '');
  return {
    folder,
    spool,
    instance,
    files: () => filesIn(instance()),
    async [Symbol.asyncDispose]() {
      await spool.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function filesIn(instance: string): string[] {
  return readdirSync(instance).filter((name) => name !== 'owner');
}

async function spooled(spool: Spool, chunks: readonly Uint8Array[]): Promise<SpooledMessage> {
  const writer = spool.open();
  for (const chunk of chunks) await writer.write(chunk);
  return writer.finish();
}

async function bytesOf(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

function descriptorOf(path: string): number {
  const held = readdirSync('/proc/self/fd').find((name) => {
    // The descriptor with which /proc/self/fd is read is itself listed, and gone by now.
    return readlinkOf(`/proc/self/fd/${name}`) === path;
  });
  return Number(held);
}

function readlinkOf(path: string): string | null {
  return lstatSync(path, { throwIfNoEntry: false }) === undefined ? null : readlinkSync(path);
}

/** Each count includes the one that looks; the connection that proved our own lock is gone by then. */
async function openDescriptors(): Promise<number> {
  for (let times = 0; times < 5; times++) await setImmediate();
  return readdirSync('/proc/self/fd').length;
}

/** Runs test/fakes/spool-process.ts in a process of its own, under `command`. */
function startOther(task: 'hold' | 'full', folder: string, command: readonly string[] = []): ChildProcess {
  const script = join(import.meta.dirname, '..', 'fakes', 'spool-process.ts');
  const [program, ...args] = [...command, process.execPath, script, task, folder];
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, UV_THREADPOOL_SIZE: '1' }, // strace counts calls per thread
  });
  after(() => child.kill('SIGKILL'));
  return child;
}

/** The one line of JSON that it prints. */
async function tellOf(child: ChildProcess): Promise<unknown> {
  assert.ok(child.stdout !== null);
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return JSON.parse(String(line));
}
