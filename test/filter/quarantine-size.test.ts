/** Quarantine.size(): what is held for somebody, and what is kept on disk. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { openQuarantine } from '../../filter/quarantine.ts';
import { temporaryFolder } from '../folder.ts';
import { chunksOf, messageOf, spamFor } from './quarantine-rig.ts';
import { recordingLog } from './store-rig.ts';

test('Quarantine.size() counts an item once while anybody waits for it, its octets while they are kept', async (context) => {
  const state = temporaryFolder(context);
  const options = { folder: join(state, 'quarantine'), file: join(state, 'quarantine.db') };
  const quarantine = await openQuarantine({ ...options, log: recordingLog() });
  context.after(() => quarantine.close());
  const sizeBytes = messageOf().length;
  assert.deepEqual(await quarantine.size(), { items: 0, bytes: 0 });
  const two = ['one@example.com', 'two@example.com'];
  const first = await quarantine.put(spamFor(two, { queueId: 'A1' }), chunksOf(messageOf()));
  const second = await quarantine.put(spamFor(two, { queueId: 'A2' }), chunksOf(messageOf()));
  assert.deepEqual(await quarantine.size(), { items: 2, bytes: 2 * sizeBytes });
  await quarantine.claim(first, [0], 'held', 'deleted', 'bob');
  assert.deepEqual(await quarantine.size(), { items: 2, bytes: 2 * sizeBytes });
  await quarantine.claim(first, [1], 'held', 'deleted', 'bob');
  assert.deepEqual(await quarantine.size(), { items: 1, bytes: sizeBytes });
  await quarantine.claim(second, [0, 1], 'held', 'releasing', 'bob');
  assert.deepEqual(await quarantine.size(), { items: 0, bytes: sizeBytes });
});
