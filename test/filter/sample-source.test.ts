/**
 * sample-source — which messages a sample is made of: recent ones of the reservoir, and up to half of it held spam.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openStateQuarantine } from '../../filter/memory.ts';
import type { NewItem, Quarantine } from '../../filter/quarantine.ts';
import { pickSample, readSample } from '../../filter/sample-source.ts';
import { openShelf, samplePlaces, writeEntry } from '../../workers/bayes-shelf.ts';
import { temporaryFolder } from '../folder.ts';
import { bytesOf, chunksOf, spamFor } from './quarantine-rig.ts';
import { recordingLog } from './store-rig.ts';

const now = Date.UTC(2026, 10, 22);
const log = recordingLog();

test('pickSample() takes held spam for half of the sample, and the highest ranks of the reservoir', async (t) => {
  const state = await stateWith(t, { recent: 10, held: 10 });
  const { ids, warnings } = await pickSample(wishFor(state, 8), { log, now });
  assert.deepEqual(warnings, []);
  assert.deepEqual(ids.map(kindOf).toSorted(), [...times(4, 'held'), ...times(4, 'recent')]);
  const texts = await textsOf(state, ids);
  assert.deepEqual(
    texts.filter((text) => text.startsWith('recent')).toSorted(),
    ['recent 6', 'recent 7', 'recent 8', 'recent 9'],
    'the highest ranks',
  );
  assert.equal(new Set(texts).size, 8);
});

for (const [label, recent, held, count, wanted] of [
  ['little spam: the reservoir fills up', 10, 1, 8, [1, 7]],
  ['no spam', 10, 0, 8, [0, 8]],
  ['little mail: spam stays within its half', 2, 10, 8, [4, 2]],
  ['no mail', 0, 10, 8, [4, 0]],
  ['a sample of one', 5, 5, 1, [0, 1]],
  ['nothing at all', 0, 0, 8, [0, 0]],
] as const)
  test(`pickSample() with ${label}`, async (t) => {
    const state = await stateWith(t, { recent, held });
    const { ids } = await pickSample(wishFor(state, count), { log, now });
    const kinds = ids.map(kindOf);
    assert.deepEqual(
      [kinds.filter((kind) => kind === 'held').length, kinds.length],
      [wanted[0], wanted[0] + wanted[1]],
    );
  });

test('pickSample() takes no virus, nothing outbound, too large, released or deleted', async (t) => {
  const state = await stateWith(t, { recent: 0, held: 0 });
  const quarantine = await openStateQuarantine(state, log);
  const good = await hold(quarantine, 'good', {});
  const infected = { virus: { kind: 'infected', name: 'Eicar-Test' } } as const;
  await hold(quarantine, 'infected', { report: { ...spamFor([]).report, ...infected } });
  await hold(quarantine, 'outbound', { direction: 'outbound' });
  await hold(quarantine, 'x'.repeat(2000), {});
  const unchecked = spamFor(['a@b.example']).dispositions.map((one) => ({
    ...one,
    verdict: 'unchecked' as const,
  }));
  await hold(quarantine, 'unchecked', {}, unchecked);
  const deleted = await hold(quarantine, 'deleted', {});
  await quarantine.claim(deleted, [0], 'held', 'deleted', 'somebody');
  await quarantine.close();
  const { ids } = await pickSample({ state, count: 20, messageBytesMax: 1000 }, { log, now });
  assert.deepEqual(ids, [`held:${good}`]);
});

test('pickSample() makes no database where there is no quarantine yet', async (t) => {
  const state = temporaryFolder(t);
  assert.deepEqual(await pickSample(wishFor(state, 8), { log, now }), { ids: [], warnings: [] });
  assert.deepEqual(readdirSync(state), []);
});

test('pickSample() goes on without a quarantine that can not be asked, and says so', async (t) => {
  const state = await stateWith(t, { recent: 3, held: 0 });
  for (const name of readdirSync(state)) if (name.startsWith('quarantine.db')) rmSync(join(state, name));
  writeFileSync(join(state, 'quarantine.db'), 'this is no database at all, but for its name'.repeat(100));
  const { ids, warnings } = await pickSample(wishFor(state, 8), { log, now });
  assert.equal(ids.length, 3);
  assert.match(warnings.join(), /^The sample has no spam of the quarantine: /);
});

test('pickSample() leaves out what has expired, and rejects with a key that can not be used', async (t) => {
  const state = await stateWith(t, { recent: 3, held: 0 });
  assert.deepEqual((await pickSample(wishFor(state, 8), { log, now: now + 40 * 86_400_000 })).ids, []);
  writeFileSync(samplePlaces(state).key, 'short');
  await assert.rejects(pickSample(wishFor(state, 8), { log, now }), /it has 5 octets, a key has 32/);
});

test('readSample() gives octets and sender, leaves out what is gone, and writes no file', async (t) => {
  const state = await stateWith(t, { recent: 2, held: 2 });
  const { ids } = await pickSample(wishFor(state, 4), { log, now });
  const { folder } = samplePlaces(state);
  const gone = readdirSync(folder).find((name) => name.endsWith(ids.at(-1)?.slice(7) ?? '?')) ?? '';
  rmSync(join(folder, gone));
  const before = readdirSync(state, { recursive: true, encoding: 'utf8' }).toSorted();
  const heads: unknown[] = [];
  for await (const { head, sizeBytes, bytes } of readSample(state, [...ids, 'held:no-id', 'other:1'], log)) {
    heads.push(head);
    assert.equal((await bytesOf(bytes)).length, sizeBytes);
  }
  const senders = { held: 'sender@example.net', recent: 'a@b.example' };
  assert.deepEqual(
    heads,
    ids.slice(0, 3).map((id) => ({ id, sender: senders[kindOf(id)] })),
  );
  assert.deepEqual(readdirSync(state, { recursive: true, encoding: 'utf8' }).toSorted(), before);
  assert.ok(existsSync(folder));
});

async function stateWith(
  t: TestContext,
  { recent, held }: { recent: number; held: number },
): Promise<string> {
  const state = temporaryFolder(t);
  const seal = await openShelf(state);
  for (let at = 0; at < recent; at++) {
    const message = { sender: 'a@b.example', bytes: Buffer.from(`recent ${at}`) };
    await writeEntry(state, seal, message, { takenAt: now, rank: at });
  }
  const quarantine = await openStateQuarantine(state, log);
  for (let at = 0; at < held; at++) await hold(quarantine, `held ${at}`, {});
  await quarantine.close();
  return state;
}

function hold(
  quarantine: Quarantine,
  text: string,
  more: Partial<NewItem>,
  dispositions?: NewItem['dispositions'],
): Promise<string> {
  const message = Buffer.from(text);
  const item = { ...spamFor(['a@b.example'], { queueId: null, message }), ...more };
  // A slot's recipient is one of the very objects in the dispositions.
  const own = dispositions?.map((one) => ({ ...one, recipients: item.envelope.recipients }));
  return quarantine.put(own === undefined ? item : { ...item, dispositions: own }, chunksOf(message));
}

function wishFor(state: string, count: number) {
  return { state, count, messageBytesMax: 1_000_000 };
}

function kindOf(id: string): 'held' | 'recent' {
  return id.startsWith('held:') ? 'held' : 'recent';
}

function times<T>(count: number, value: T): T[] {
  return Array.from({ length: count }, () => value);
}

async function textsOf(state: string, ids: readonly string[]): Promise<string[]> {
  const texts: string[] = [];
  for await (const { bytes } of readSample(state, ids, log)) texts.push((await bytesOf(bytes)).toString());
  return texts;
}
