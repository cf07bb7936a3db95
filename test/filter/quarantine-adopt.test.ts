/**
 * quarantine-adopt — "already" is said only of what is really here: whoever hears it removes its own octets.
 */
import assert from 'node:assert/strict';
import { rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openQuarantine, type Quarantine } from '../../filter/quarantine.ts';
import { silentLog } from '../../workers/log.ts';
import { temporaryFolder } from '../folder.ts';
import { bytesOf, chunksOf, messageOf, spamFor } from './quarantine-rig.ts';

const message = messageOf();
const [a, b] = ['a@example.com', 'b@example.com'];

async function openAt(t: TestContext): Promise<{ quarantine: Quarantine; folder: string; state: string }> {
  const state = temporaryFolder(t);
  const folder = join(state, 'quarantine');
  const quarantine = await openQuarantine({ folder, file: join(state, 'quarantine.db'), log: silentLog });
  t.after(() => quarantine.close());
  return { quarantine, folder, state };
}

/** What a backup would send, for two recipients. */
async function storyOf(t: TestContext) {
  const { quarantine } = await openAt(t);
  const id = await quarantine.put(spamFor([a, b]), chunksOf(message));
  const { record } = await quarantine.get(id);
  return { id, story: { record: { ...record, movedFrom: { node: 'backup', at: 1 } }, changes: [] } };
}

const folderOf = (folder: string, id: string): string => join(folder, id.slice(0, 2), id);

test('Quarantine.adopt() takes an item again whose folder is gone, and leaves what was decided here', async (t) => {
  const { id, story } = await storyOf(t);
  const { quarantine, folder } = await openAt(t);
  assert.equal(await quarantine.adopt(story, chunksOf(message)), 'adopted');
  await quarantine.claim(id, [0], 'held', 'deleted', 'cli:anna');
  rmSync(folderOf(folder, id), { recursive: true });
  await quarantine.reconcile();
  assert.equal((await quarantine.list({ limit: 1 }))[0]?.flag, 'missing');
  assert.equal(await quarantine.adopt(story, chunksOf(message)), 'adopted');
  assert.deepEqual(await bytesOf(quarantine.read(id)), message);
  assert.equal((await quarantine.list({ limit: 1 }))[0]?.flag, null);
  const states = async () => (await quarantine.get(id)).slots.map(({ state }) => state);
  assert.deepEqual(await states(), ['deleted', 'held']);
  assert.equal(await quarantine.adopt(story, chunksOf(message)), 'already');
});

test('Quarantine.adopt() keeps in the folder, too, what was decided here before it was gone', async (t) => {
  const { id, story } = await storyOf(t);
  const first = await openAt(t);
  await first.quarantine.adopt(story, chunksOf(message));
  await first.quarantine.claim(id, [0], 'held', 'deleted', 'cli:anna');
  rmSync(folderOf(first.folder, id), { recursive: true });
  await first.quarantine.adopt(story, chunksOf(message));
  // The index is made anew from the folders.
  const file = join(first.state, 'other.db');
  const second = await openQuarantine({ folder: first.folder, file, log: silentLog });
  t.after(() => second.close());
  await second.reconcile();
  assert.deepEqual(
    (await second.get(id)).slots.map(({ state }) => state),
    ['deleted', 'held'],
  );
});

const spoilt = {
  'without its octets': (path: string) => rmSync(join(path, 'message.eml')),
  'with fewer octets': (path: string) => truncateSync(join(path, 'message.eml'), 100),
  'with a record that says nothing': (path: string) => writeFileSync(join(path, 'item.json'), '{}'),
};

for (const [how, spoil] of Object.entries(spoilt)) {
  test(`Quarantine.adopt() rejects where the item is here ${how}`, async (t) => {
    const { id, story } = await storyOf(t);
    const { quarantine, folder, state } = await openAt(t);
    await quarantine.adopt(story, chunksOf(message));
    spoil(folderOf(folder, id));
    await assert.rejects(quarantine.adopt(story, chunksOf(message)));
    const file = join(state, 'other.db');
    const unindexed = await openQuarantine({ folder, file, log: silentLog });
    t.after(() => unindexed.close());
    await assert.rejects(unindexed.adopt(story, chunksOf(message)), 'neither without a row');
  });
}

test('Quarantine.adopt() says already of what was deleted, whose octets are gone for good', async (t) => {
  const { id, story } = await storyOf(t);
  const { quarantine, folder, state } = await openAt(t);
  await quarantine.adopt(story, chunksOf(message));
  await quarantine.claim(id, [0, 1], 'held', 'deleted', 'cli:anna');
  assert.equal(await quarantine.adopt(story, chunksOf(message)), 'already');
  const unindexed = await openQuarantine({ folder, file: join(state, 'other.db'), log: silentLog });
  t.after(() => unindexed.close());
  assert.equal(await unindexed.adopt(story, chunksOf(message)), 'already');
});
