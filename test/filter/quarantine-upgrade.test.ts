/**
 * quarantine-upgrade — a quarantine.db of before there was a backup to move from (schema 3) goes on, held mail and all.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { openQuarantine, type Quarantine, type RecipientState } from '../../filter/quarantine.ts';
import { silentLog } from '../../workers/log.ts';
import { temporaryFolder } from '../folder.ts';
import { bytesOf, chunksOf, keysOf, messageOf, spamFor } from './quarantine-rig.ts';

const oldStates = ['held', 'releasing', 'released', 'unconfirmed', 'deleted', 'expired'];

/** Makes of it what schema 3 was: a column less, and a trigger that knows six states. */
function makeOld(file: string): void {
  const database = new DatabaseSync(file);
  const [trigger] = database
    .prepare(`SELECT sql FROM sqlite_schema WHERE name = 'item_state_changed'`)
    .all()
    .map(({ sql }) => String(sql));
  const marks = [...(trigger ?? '').matchAll(/WHEN '(\w+)' THEN '[^']+'/g)];
  assert.equal(marks.length, 8);
  const old = marks
    .filter(([, state = '']) => !oldStates.includes(state))
    .reduce((sql, [mark]) => sql.replace(mark, ''), trigger ?? '');
  database.exec(`ALTER TABLE item DROP COLUMN moved_from; DROP TRIGGER item_state_changed; ${old};
    PRAGMA user_version = 3`);
  database.close();
}

async function openIn(t: TestContext, state: string): Promise<Quarantine> {
  const paths = { folder: join(state, 'quarantine'), file: join(state, 'quarantine.db') };
  const quarantine = await openQuarantine({ ...paths, log: silentLog });
  t.after(() => quarantine.close());
  return quarantine;
}

const found = async (quarantine: Quarantine, state: RecipientState): Promise<string[]> =>
  quarantine.searchIds([{ kind: 'state', negated: false, states: [state] }], { limit: 9 });

test('openQuarantine() takes over an index of schema 3 with what it holds, and can move it', async (t) => {
  const state = temporaryFolder(t);
  const before = await openIn(t, state);
  const [item, other] = [
    spamFor(['a@example.com', 'b@example.com']),
    spamFor(['c@d.test'], { queueId: 'Q2' }),
  ];
  const id = await before.put(item, chunksOf(messageOf()));
  const otherId = await before.put(other, chunksOf(messageOf()));
  await before.claim(otherId, [0], 'held', 'deleted', 'cli:anna');
  await before.close();
  makeOld(join(state, 'quarantine.db'));
  const quarantine = await openIn(t, state);
  const { indexed, missing, broken } = await quarantine.reconcile();
  assert.deepEqual([indexed, missing, broken], [0, [], []]);
  assert.equal((await quarantine.list({ limit: 1 }))[0]?.movedFrom, null);
  assert.deepEqual([await found(quarantine, 'held'), await found(quarantine, 'deleted')], [[id], [otherId]]);
  assert.deepEqual(await bytesOf(quarantine.read(id)), messageOf());
  await quarantine.claim(id, [0, 1], 'held', 'moving', 'node:mx1');
  assert.deepEqual([await found(quarantine, 'held'), await found(quarantine, 'moving')], [[], [id]]);
  await quarantine.claim(id, [0, 1], 'moving', 'moved', 'node:mx1');
  assert.deepEqual([await found(quarantine, 'moving'), await found(quarantine, 'moved')], [[], [id]]);
  assert.equal((await quarantine.find(keysOf(item))).size, 2, 'a retry is answered as held');
});

test('openQuarantine() beside a process that has the index of schema 3 open: both go on', async (t) => {
  const state = temporaryFolder(t);
  const before = await openIn(t, state);
  const id = await before.put(spamFor(['a@example.com']), chunksOf(messageOf()));
  makeOld(join(state, 'quarantine.db'));
  // What an old filter has open all along.
  const old = new DatabaseSync(join(state, 'quarantine.db'));
  t.after(() => old.close());
  const insert =
    old.prepare(`INSERT INTO item (quarantine_id, held_at, received_at, direction, sender, size_bytes, sha256, bytes, number)
    VALUES (?, 1, 1, 'inbound', '', 1, '', 1, 1)`);
  const quarantine = await openIn(t, state);
  await quarantine.claim(id, [0], 'held', 'moving', 'node:mx1');
  insert.run('f'.repeat(32));
  assert.equal((await quarantine.list({ limit: 9 })).length, 2);
  assert.deepEqual({ ...old.prepare('SELECT state FROM item_recipient').get() }, { state: 'moving' });
});
