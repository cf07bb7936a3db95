/**
 * quarantine-abandoned — a process that died between index and folder: the next start makes both say the same.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { openMemory } from '../../filter/memory.ts';
import { openQuarantine, type Quarantine, type RecipientState } from '../../filter/quarantine.ts';
import { parseConfig } from '../../rules/config.ts';
import { silentLog } from '../../workers/log.ts';
import { temporaryFolder } from '../folder.ts';
import { chunksOf, messageOf, spamFor } from './quarantine-rig.ts';
import { recordingLog, startChild } from './store-rig.ts';

type Place = { readonly folder: string; readonly file: string };

async function openIn(t: TestContext, place: Place): Promise<Quarantine> {
  const quarantine = await openQuarantine({ ...place, log: recordingLog() });
  t.after(() => quarantine.close());
  return quarantine;
}

function placeIn(t: TestContext): Place {
  const state = temporaryFolder(t);
  return { folder: join(state, 'quarantine'), file: join(state, 'quarantine.db') };
}

async function statesAfterRebuild(t: TestContext, place: Place, id: string): Promise<string[]> {
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${place.file}${suffix}`, { force: true });
  const { slots } = await (await openIn(t, place)).get(id);
  return slots.map(({ state }) => state);
}

for (const [to, expected] of [
  ['deleted', 'deleted'],
  ['expired', 'expired'],
  ['releasing', 'unconfirmed'],
] as const satisfies readonly (readonly [RecipientState, RecipientState])[]) {
  test(`Quarantine.reconcile() writes down what a process had changed to ${to} when it died before the folder knew`, async (t) => {
    const place = placeIn(t);
    const quarantine = await openIn(t, place);
    const id = await quarantine.put(spamFor(['a@b.test', 'c@d.test']), chunksOf(messageOf()));
    // strace fails the first write into states.jsonl for ever: what the child does next is die.
    const strace = [
      'strace',
      '-f',
      '-qq',
      '-o',
      '/dev/null',
      '-P',
      join(place.folder, id.slice(0, 2), id, 'states.jsonl'),
    ];
    const prefix = [...strace, '-e', 'inject=openat:signal=KILL:when=1'];
    const child = startChild(t, 'quarantine-child.ts', ['claim', place.folder, place.file], prefix);
    assert.equal(await child.line(), 'ready');
    child.write(`${id} held ${to}`);
    await child.ended();
    const raw = new DatabaseSync(place.file);
    const rows = raw.prepare('SELECT state, recorded FROM item_recipient').all();
    raw.close();
    assert.deepEqual(
      rows.map(({ state, recorded }) => [state, recorded]),
      [
        [to, 0],
        [to, 0],
      ],
    );
    const { recorded } = await quarantine.reconcile();
    assert.equal(recorded, 2);
    assert.equal((await quarantine.reconcile()).recorded, 0);
    const { slots } = await quarantine.get(id);
    assert.deepEqual(
      slots.map(({ state }) => state),
      [expected, expected],
    );
    await quarantine.close();
    assert.deepEqual(await statesAfterRebuild(t, place, id), [expected, expected]);
  });
}

test('Quarantine.reconcile() leaves a change of a living process alone, and writes nothing twice', async (t) => {
  const place = placeIn(t);
  const quarantine = await openIn(t, place);
  const id = await quarantine.put(spamFor(['a@b.test']), chunksOf(messageOf()));
  await quarantine.claim(id, [0], 'held', 'deleted', 'anna');
  const states = () => readFileSync(join(place.folder, id.slice(0, 2), id, 'states.jsonl'), 'utf8');
  const before = states();
  const raw = new DatabaseSync(place.file);
  raw.exec('UPDATE item_recipient SET recorded = 0');
  assert.equal((await quarantine.reconcile()).recorded, 0);
  raw.exec("UPDATE item_recipient SET owner = '00000000-1-1-1'");
  assert.equal((await quarantine.reconcile()).recorded, 0, 'it stands in the folder already');
  assert.equal(states(), before);
  assert.equal(raw.prepare('SELECT count(*) AS n FROM item_recipient WHERE recorded = 0').get()?.['n'], 0);
  raw.close();
});

test('openMemory() ends every hour what a command line that died had begun', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const state = temporaryFolder(t);
  const { config } = parseConfig({ file: join(state, 'sluice.yaml'), text: `state: ${state}` }, {});
  assert.ok(config !== null);
  const ended = Promise.withResolvers<void>();
  const tell = (_: object, message: string) => {
    if (message === 'Ended what dead processes had begun in the quarantine') ended.resolve();
  };
  const { quarantine, close } = await openMemory(config, { ...silentLog, warn: tell });
  t.after(close);
  const ids: string[] = [];
  for (const queueId of ['1', '2'])
    ids.push(await quarantine.put(spamFor(['a@b.test'], { queueId }), chunksOf(messageOf())));
  await quarantine.finish();
  const raw = new DatabaseSync(join(state, 'quarantine.db'));
  const die = raw.prepare(
    `UPDATE item_recipient SET state = ?, owner = '00000000-1-1-1', recorded = 0, trail = json_array(json(?))
      WHERE quarantine_id = ?`,
  );
  for (const [at, to] of ['releasing', 'deleted'].entries()) {
    const change = {
      slot: 0,
      from: 'held',
      to,
      actor: 'x',
      at: 1,
      owner: '00000000-1-1-1',
      queueIdOut: null,
    };
    die.run(to, JSON.stringify(change), ids[at] ?? '');
  }
  raw.close();
  t.mock.timers.tick(3_600_000);
  await ended.promise;
  const states = await Promise.all(ids.map(async (id) => (await quarantine.get(id)).slots[0]?.state));
  assert.deepEqual(states, ['unconfirmed', 'deleted']);
  assert.equal(
    existsSync(join(state, 'quarantine', ids[1]?.slice(0, 2) ?? '', ids[1] ?? '', 'message.eml')),
    false,
  );
});
