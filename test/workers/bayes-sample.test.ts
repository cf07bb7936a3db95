/**
 * bayes-sample — the sample of mail on a real disk: fair, recent, bounded, encrypted, and in nobody's way whatever fails.
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openReservoir, rankOf, type Reservoir, type ReservoirOptions } from '../../workers/bayes-sample.ts';
import {
  expiryMs,
  listEntries,
  openShelf,
  readEntry,
  samplePlaces,
  sealOf,
  writeEntry,
} from '../../workers/bayes-shelf.ts';
import { createChance } from '../bench/chance.ts';
import { mountSmallDisk, type SmallDisk } from '../e2e/small-disk.ts';
import { recordingLog } from '../filter/store-rig.ts';
import { temporaryFolder } from '../folder.ts';
import { only } from './bayes-rig.ts';
import { startScript } from './script-child.ts';

const nowMs = Date.UTC(2026, 10, 22);
const weekMs = 7 * 86_400_000;

test('offer() keeps message and sender, encrypted, for its owner alone', async (t) => {
  const state = temporaryFolder(t);
  const reservoir = await opened({ state });
  reservoir.offer(letter('Very private words', 'someone@partner.example'));
  await reservoir.close();
  assert.deepEqual(await messagesIn(state), [['someone@partner.example', 'Very private words']]);
  const { folder, key } = samplePlaces(state);
  assert.equal(statSync(key).mode & 0o777, 0o600);
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  for (const name of readdirSync(folder)) {
    assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600);
    assert.doesNotMatch(`${name}${readFileSync(join(folder, name), 'latin1')}`, /private|partner|words/);
  }
});

test('offer() of octets of every value and of none gives them back', async (t) => {
  const state = temporaryFolder(t);
  const reservoir = await opened({ state });
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, at) => at));
  reservoir.offer({ sender: '', sizeBytes: 256, read: () => only(bytes) });
  reservoir.offer({ sender: 'ü"@x.example', sizeBytes: 0, read: () => only(Buffer.alloc(0)) });
  await reservoir.close();
  const found = await messagesIn(state);
  assert.deepEqual(
    found.toSorted((one, other) => (String(one) < String(other) ? -1 : 1)),
    [
      ['', bytes.toString('latin1')],
      ['ü"@x.example', ''],
    ],
  );
});

for (const [label, spoil] of [
  ['changed', (file: string) => writeFileSync(file, flipped(readFileSync(file)))],
  ['cut', (file: string) => truncateSync(file, 40)],
  ['cut to nothing', (file: string) => truncateSync(file, 0)],
  [
    'under another name',
    (file: string) =>
      renameSync(
        file,
        file.replace(/-\d+-(?=\d+-)/, (rank) => rank.replace('-', '-9')),
      ),
  ],
] as const)
  test(`readEntry() opens no entry that is ${label}`, async (t) => {
    const state = temporaryFolder(t);
    const reservoir = await opened({ state });
    reservoir.offer(letter('x'));
    await reservoir.close();
    const { folder } = samplePlaces(state);
    spoil(join(folder, readdirSync(folder)[0] ?? ''));
    assert.deepEqual(await messagesIn(state), ['unreadable']);
  });

test('readEntry() of an entry that is gone, or of no entry at all, is gone', async (t) => {
  const state = temporaryFolder(t);
  const reservoir = await opened({ state });
  await reservoir.close();
  const seal = await sealOf(state);
  assert.ok(seal !== null);
  for (const name of ['1790000000000-1-1-00000000-0000000000000000', '../sample.key', ''])
    assert.equal(await readEntry(state, seal, name), 'gone');
});

test('offer() keeps the highest ranks, never more than the capacity, and goes on where it stopped', async (t) => {
  const state = temporaryFolder(t);
  const random = numbers(0.5, 0.9, 0.1, 0.7, 0.2);
  const first = await opened({ state, capacity: 2, random });
  for (const text of ['b', 'e', 'a', 'd']) await settled(first, letter(text));
  await first.close();
  assert.deepEqual(await textsIn(state), ['d', 'e']);
  const second = await opened({ state, capacity: 2, random });
  await settled(second, letter('lower'));
  await second.close();
  assert.deepEqual(await textsIn(state), ['d', 'e']);
  const third = await opened({ state, capacity: 1 });
  await third.close();
  assert.deepEqual(await textsIn(state), ['e'], 'the capacity was lowered');
});

test('rankOf() is fair among messages of one time, and gives a week more the double chance', () => {
  const random = createChance(7);
  const kept = (count: number, at: (index: number) => number) =>
    Array.from({ length: count }, (_, index) => ({ index, rank: rankOf(at(index), random()) }))
      .toSorted((one, other) => other.rank - one.rank)
      .slice(0, 1000);
  const fair = kept(10_000, () => nowMs);
  for (let part = 0; part < 5; part++) {
    const share = fair.filter(({ index }) => Math.floor(index / 2000) === part).length;
    assert.ok(share > 160 && share < 240, `part ${part} of 5 has ${share} of 1000`);
  }
  // Four weeks of equal mail, of which few can stay: 1 : 2 : 4 : 8.
  const recent = kept(80_000, (index) => nowMs - weekMs * (3 - Math.floor(index / 20_000)));
  const weeks = [0, 1, 2, 3].map(
    (week) => recent.filter(({ index }) => Math.floor(index / 20_000) === week).length,
  );
  const wanted = [67, 133, 267, 533];
  for (const [week, share] of weeks.entries())
    assert.ok(Math.abs(share - (wanted[week] ?? 0)) < 45, `weeks have ${weeks.join(', ')} of 1000`);
});

test('rankOf() lets some 20 messages a day into a sample of 200, however many come', () => {
  const [random, perDay, days] = [createChance(3), 1000, 42];
  const kept: number[] = [];
  let entered = 0;
  for (let at = 0; at < days * perDay; at++) {
    const rank = rankOf(nowMs + (at / perDay) * 86_400_000, random());
    if (kept.length === 200 && rank < (kept[0] ?? 0)) continue;
    const above = kept.findIndex((other) => other > rank);
    kept.splice(above === -1 ? kept.length : above, 0, rank);
    if (kept.length > 200) kept.shift();
    // Of the last two weeks: before them it was not in balance.
    if (at >= (days - 14) * perDay) entered++;
  }
  assert.ok(Math.abs(entered / 14 - 200 / (7 / Math.LN2)) < 3, `${entered / 14} a day`);
});

test('rankOf() is a whole number of at most 15 digits for every random number, and rises with it', () => {
  const ranks = [0, Number.MIN_VALUE, 1e-9, 0.5, 0.999, 1 - Number.EPSILON / 2].map((random) =>
    rankOf(nowMs, random),
  );
  for (const rank of ranks) assert.match(String(rank), /^\d{1,15}$/);
  assert.deepEqual(
    ranks,
    ranks.toSorted((one, other) => one - other),
  );
});

test('offer() keeps no more octets than allowed, and no message that is too large', async (t) => {
  const state = temporaryFolder(t);
  const reservoir = await opened({ state, bytesMax: 100, messageBytesMax: 60 });
  for (let at = 0; at < 10; at++) await settled(reservoir, letter(String(at).repeat(30)));
  await settled(reservoir, letter('x'.repeat(61)));
  await reservoir.close();
  const texts = await textsIn(state);
  assert.equal(texts.length, 3, texts.join());
  assert.ok(texts.every((text) => text.length === 30));
});

test('offer() passes over what comes while four are waiting, and counts it', async (t) => {
  const state = temporaryFolder(t);
  const reservoir = await opened({ state });
  for (let at = 0; at < 7; at++) reservoir.offer(letter(`text ${at}`));
  await reservoir.close();
  assert.deepEqual(reservoir.counts, { kept: 4, missed: 3, failed: 0 });
  assert.equal((await textsIn(state)).length, 4);
});

test('offer() holds 8 MiB in memory at most', async (t) => {
  const reservoir = await opened({ state: temporaryFolder(t), messageBytesMax: 100 * 1024 ** 2 });
  const large = Buffer.alloc(5 * 1024 ** 2);
  for (let at = 0; at < 2; at++)
    reservoir.offer({ sender: '', sizeBytes: large.length, read: () => only(large) });
  await reservoir.idle();
  assert.deepEqual(reservoir.counts, { kept: 1, missed: 1, failed: 0 });
  await settled(reservoir, letter('x'));
  await reservoir.close();
  assert.equal(reservoir.counts.kept, 2);
});

test('offer() reads at once, and never a message that it does not want', async (t) => {
  const state = temporaryFolder(t);
  const reservoir = await opened({ state, capacity: 1, random: numbers(0.9, 0.1) });
  let reads = 0;
  const counted = (text: string) => ({ ...letter(text), read: () => (reads++, only(Buffer.from(text))) });
  reservoir.offer(counted('kept'));
  assert.equal(reads, 1);
  await reservoir.idle();
  reservoir.offer(counted('not wanted'));
  assert.equal(reads, 1);
  await reservoir.close();
});

test('offer() of a message that can not be read is counted and told once; the next one is kept', async (t) => {
  const state = temporaryFolder(t);
  const log = recordingLog();
  const reservoir = await opened({ state, log });
  const broken = async function* (): AsyncGenerator<Buffer> {
    yield Buffer.from('half');
    throw new Error('removed');
  };
  for (let at = 0; at < 3; at++) await settled(reservoir, { sender: '', sizeBytes: 9, read: broken });
  await settled(reservoir, letter('whole'));
  await reservoir.close();
  assert.deepEqual(reservoir.counts, { kept: 1, missed: 0, failed: 3 });
  assert.deepEqual(log.lines, ['warn Cannot keep a message of the sample: mail is not affected']);
  assert.deepEqual(await textsIn(state), ['whole']);
});

test('openReservoir() with a capacity of 0 removes entries and key at once', async (t) => {
  const state = temporaryFolder(t);
  const reservoir = await opened({ state });
  reservoir.offer(letter('x'));
  await reservoir.close();
  const off = await opened({ state, capacity: 0 });
  const { folder, key } = samplePlaces(state);
  assert.deepEqual([existsSync(folder), existsSync(key)], [false, false]);
  off.offer(letter('y'));
  await off.close();
  assert.deepEqual(readdirSync(state), []);
});

test('openReservoir() removes what is older than four weeks, or comes from the future', async (t) => {
  const state = temporaryFolder(t);
  const seal = await openShelf(state);
  for (const [text, takenAt] of [
    ['old', nowMs - expiryMs - 1],
    ['not so old', nowMs - expiryMs],
    ['tomorrow', nowMs + 86_400_000],
    ['later', nowMs + 86_400_001],
  ] as const)
    await writeEntry(state, seal, { sender: '', bytes: Buffer.from(text) }, { takenAt, rank: 1 });
  const reservoir = await opened({ state });
  await reservoir.close();
  assert.deepEqual(await textsIn(state), ['not so old', 'tomorrow']);
});

for (const [label, spoil, why] of [
  ['others may read', (key: string) => chmodSync(key, 0o640), /others may use it \(mode 640\)/],
  ['is too short', (key: string) => truncateSync(key, 31), /it has 31 octets, a key has 32/],
  [
    'is a link',
    (key: string) => {
      renameSync(key, `${key}.real`);
      symlinkSync(`${key}.real`, key);
    },
    /ELOOP/,
  ],
] as const)
  test(`openReservoir() keeps nothing with a key that ${label}, and says so`, async (t) => {
    const state = temporaryFolder(t);
    await (await opened({ state })).close();
    const { key, folder } = samplePlaces(state);
    spoil(key);
    const errors: unknown[] = [];
    const log = { ...recordingLog(), error: ({ err }: { err?: unknown }) => void errors.push(err) };
    const reservoir = await opened({ state, log });
    reservoir.offer(letter('x'));
    await reservoir.close();
    assert.match(String(errors[0]), why);
    assert.deepEqual(readdirSync(folder), []);
    await assert.rejects(sealOf(state), why);
  });

test('openReservoir() removes entries that another key has sealed', async (t) => {
  const state = temporaryFolder(t);
  const first = await opened({ state });
  first.offer(letter('old key'));
  await first.close();
  rmSync(samplePlaces(state).key);
  const second = await opened({ state });
  second.offer(letter('new key'));
  await second.close();
  assert.deepEqual(await textsIn(state), ['new key']);
});

test('a full disk loses messages of the sample, is told of once, and leaves nothing behind', async (t) => {
  let disk: SmallDisk | null = null;
  // Before the folder around it is removed.
  t.after(() => disk?.unmount());
  disk = mountSmallDisk(join(temporaryFolder(t), 'disk'), 1024 * 1024);
  const log = recordingLog();
  const reservoir = await opened({ state: disk.folder, log });
  disk.fill();
  for (let at = 0; at < 3; at++) await settled(reservoir, letter('x'.repeat(50_000)));
  disk.free();
  await settled(reservoir, letter('y'.repeat(50_000)));
  await reservoir.close();
  assert.deepEqual(reservoir.counts, { kept: 1, missed: 0, failed: 3 });
  assert.equal(log.lines.length, 1, log.lines.join());
  assert.equal(readdirSync(samplePlaces(disk.folder).folder).length, 1);
});

test('kill -9 while entries are written leaves whole ones, and drafts that the next start sweeps', async (t) => {
  const state = temporaryFolder(t);
  const module = JSON.stringify(join(import.meta.dirname, '../../workers/bayes-sample.ts'));
  for (let turn = 0; turn < 5; turn++) {
    const child = await startScript(
      t,
      `import { openReservoir } from ${module};
       const log = { debug() {}, info() {}, warn() {}, error() {} };
       const bytes = Buffer.alloc(400_000, 'whole ');
       const reservoir = await openReservoir({ state: ${JSON.stringify(state)}, capacity: 50, messageBytesMax: 1e6, log });
       const read = async function* () { yield bytes; };
       const offer = () => { reservoir.offer({ sender: 'a@b.example', sizeBytes: bytes.length, read }); };
       setInterval(offer, 0);
       say('up');
       while (reservoir.counts.kept < 20) await new Promise((done) => setImmediate(done));
       say('enough');`,
    );
    assert.equal(await child.line(), 'enough');
    child.process.kill('SIGKILL');
    await child.ended;
  }
  // As if one had been killed in the middle of a write.
  const { folder } = samplePlaces(state);
  writeFileSync(join(folder, '.draft-000000000000'), 'half');
  const reservoir = await opened({ state, messageBytesMax: 1e6, now: Date.now });
  await reservoir.close();
  const found = await messagesIn(state);
  assert.ok(found.length > 20, String(found.length));
  const wanted = Buffer.alloc(400_000, 'whole ').toString();
  for (const one of found) assert.ok(one[0] === 'a@b.example' && one[1] === wanted);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('.')),
    [],
  );
});

function opened(options: Partial<ReservoirOptions> & { state: string }): Promise<Reservoir> {
  const usual = { capacity: 200, messageBytesMax: 500_000, log: recordingLog(), now: () => nowMs };
  return openReservoir({ ...usual, ...options });
}

function letter(text: string, sender = 'a@b.example') {
  const bytes = Buffer.from(text);
  return { sender, sizeBytes: bytes.length, read: () => only(bytes) };
}

/** Offers it and waits until it is kept, or not. */
async function settled(reservoir: Reservoir, message: ReturnType<typeof letter>): Promise<void> {
  reservoir.offer(message);
  await reservoir.idle();
}

async function messagesIn(state: string): Promise<('gone' | 'unreadable' | [string, string])[]> {
  const seal = await sealOf(state);
  assert.ok(seal !== null);
  const messages = await Promise.all(
    (await listEntries(state)).map(({ name }) => readEntry(state, seal, name)),
  );
  return messages.map((message) =>
    typeof message === 'string' ? message : [message.sender, message.bytes.toString('latin1')],
  );
}

async function textsIn(state: string): Promise<string[]> {
  return (await messagesIn(state)).map((message) => message[1] ?? '').toSorted();
}

function numbers(...wanted: readonly number[]): () => number {
  const left = [...wanted];
  return () => left.shift() ?? 0.5;
}

function flipped(bytes: Buffer): Buffer {
  const changed = Buffer.from(bytes);
  changed[40] = (changed[40] ?? 0) ^ 1;
  return changed;
}
