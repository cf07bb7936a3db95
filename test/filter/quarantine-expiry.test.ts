/**
 * quarantine-expiry — nothing goes before its time, everything goes after it, wherever the process was killed (F30).
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openQuarantine, type Quarantine, type RecipientState } from '../../filter/quarantine.ts';
import { temporaryFolder } from '../folder.ts';
import { chunksOf, lookInto, messageOf, spamFor } from './quarantine-rig.ts';
import { recordingLog, startChild } from './store-rig.ts';

const dayMs = 86_400_000;
const heldAt = 1_700_000_000_000;
const noSignal = new AbortController().signal;

type Place = { folder: string; file: string };

function placeIn(t: TestContext): Place {
  const state = temporaryFolder(t);
  return { folder: join(state, 'quarantine'), file: join(state, 'quarantine.db') };
}

/** A quarantine whose clock says what `clock.now` says. */
async function openAt(t: TestContext, place: Place, clock: { now: number }, log = recordingLog()) {
  const quarantine = await openQuarantine({ ...place, log, now: () => clock.now });
  t.after(() => quarantine.close());
  return quarantine;
}

function put(quarantine: Quarantine, name: string, retentionDays: number, copies = 1): Promise<string> {
  const addresses = Array.from({ length: copies }, (_, at) => `${name}${at}@example.com`);
  const item = spamFor(addresses, { queueId: name, message: messageOf(50) });
  return quarantine.put({ ...item, retentionDays }, chunksOf(messageOf(50)));
}

function itemFolder({ folder }: Place, quarantineId: string): string {
  return join(folder, quarantineId.slice(0, 2), quarantineId);
}

/** `states octets`, or `forgotten`. */
async function fateOf(quarantine: Quarantine, place: Place, quarantineId: string): Promise<string> {
  if (!existsSync(itemFolder(place, quarantineId))) return 'forgotten';
  const { slots } = await quarantine.get(quarantineId);
  const octets = existsSync(join(itemFolder(place, quarantineId), 'message.eml')) ? 'octets' : 'no octets';
  return `${slots.map(({ state }) => state).join(' ')}, ${octets}`;
}

/** Leads slot 0 from held to a state, as the verbs do. */
async function lead(quarantine: Quarantine, id: string, to: RecipientState, slot = 0): Promise<void> {
  const ways: Partial<Record<RecipientState, RecipientState[]>> = {
    released: ['releasing', 'released'],
    unconfirmed: ['releasing', 'unconfirmed'],
    releasing: ['releasing'],
    deleted: ['deleted'],
  };
  let from: RecipientState = 'held';
  for (const next of ways[to] ?? []) {
    await quarantine.claim(id, [slot], from, next, 'anna');
    from = next;
  }
}

for (const [state, fates] of [
  ['held', ['held, octets', 'expired, no octets', 'expired, no octets', 'forgotten']],
  ['unconfirmed', ['unconfirmed, octets', 'expired, no octets', 'expired, no octets', 'forgotten']],
  ['released', ['released, octets', 'released, no octets', 'forgotten', 'forgotten']],
  ['deleted', ['deleted, no octets', 'deleted, no octets', 'forgotten', 'forgotten']],
  ['releasing', ['releasing, octets', 'releasing, octets', 'releasing, octets', 'releasing, octets']],
] as const) {
  test(`Quarantine.expire() of what is ${state}: not before its time, then the octets, and six days later the rest`, async (t) => {
    const place = placeIn(t);
    const clock = { now: heldAt };
    const quarantine = await openAt(t, place, clock);
    const id = await put(quarantine, 'Q', 3);
    clock.now += dayMs;
    await lead(quarantine, id, state);
    const seen: string[] = [];
    // A millisecond before its time; its time; six days after a decision on the first day; six after expiring.
    for (const at of [3 * dayMs - 1, 3 * dayMs, 7 * dayMs, 9 * dayMs]) {
      clock.now = heldAt + at;
      await quarantine.expire(noSignal);
      seen.push(await fateOf(quarantine, place, id));
    }
    assert.deepEqual(seen, fates);
    assert.equal((await quarantine.list({ limit: 9 })).length, state === 'releasing' ? 1 : 0);
  });
}

test('Quarantine.expire() goes by each copy: the octets stay while one of them is wanted', async (t) => {
  const place = placeIn(t);
  const clock = { now: heldAt };
  const quarantine = await openAt(t, place, clock);
  const item = spamFor(['short@example.com', 'long@example.com', 'out@example.com'], {
    message: messageOf(50),
  });
  const [short, long, out] = item.slots;
  assert.ok(short && long && out);
  const slots = [
    { ...short, retentionDays: 1 },
    { ...long, retentionDays: 9 },
    { ...out, retentionDays: 5 },
  ];
  const id = await quarantine.put({ ...item, slots }, chunksOf(messageOf(50)));
  await lead(quarantine, id, 'released', 2);
  const seen: string[] = [];
  for (const days of [1, 5, 9, 14, 15]) {
    clock.now = heldAt + days * dayMs;
    await quarantine.expire(noSignal);
    seen.push(await fateOf(quarantine, place, id));
  }
  assert.deepEqual(seen, [
    'expired held released, octets',
    'expired held released, octets',
    'expired expired released, no octets',
    'expired expired released, no octets',
    'forgotten',
  ]);
});

test('Quarantine.expire() writes down who did it, and a retry still finds what is expired', async (t) => {
  const clock = { now: heldAt };
  const quarantine = await openAt(t, placeIn(t), clock);
  const item = spamFor(['a@example.com'], { message: messageOf(50) });
  const id = await quarantine.put({ ...item, retentionDays: 1 }, chunksOf(messageOf(50)));
  clock.now += 2 * dayMs;
  assert.deepEqual(await quarantine.expire(noSignal), { expired: 1, emptied: 0, forgotten: 0 });
  const { slots } = await quarantine.get(id);
  assert.deepEqual(
    slots[0]?.trail.map(({ from, to, actor, at }) => [from, to, actor, at]),
    [['held', 'expired', 'expiry', clock.now]],
  );
  const key = item.slots[0]?.ledgerKey ?? '';
  assert.equal((await quarantine.find([key])).get(key)?.quarantineId, id);
});

test('Quarantine.expire() passes over what it can not change now, and comes back to it', async (t) => {
  const place = placeIn(t);
  const clock = { now: heldAt };
  const log = recordingLog();
  const quarantine = await openAt(t, place, clock, log);
  const ids = [
    await put(quarantine, 'Q1', 1),
    await put(quarantine, 'Q2', 1),
    await put(quarantine, 'Q3', 1),
  ];
  // No state can be appended where a folder is.
  const obstacle = join(itemFolder(place, ids[1] ?? ''), 'states.jsonl');
  mkdirSync(obstacle);
  clock.now += dayMs;
  assert.equal((await quarantine.expire(noSignal)).expired, 2);
  assert.ok(log.lines.some((line) => line.startsWith('warn Cannot expire held copies')));
  rmdirSync(obstacle);
  assert.equal((await quarantine.expire(noSignal)).expired, 1);
});

test('Quarantine.expire() forgets a row that lost its folder, when its time and the time of retries are over', async (t) => {
  const place = placeIn(t);
  const clock = { now: heldAt };
  const quarantine = await openAt(t, place, clock);
  const id = await put(quarantine, 'Q', 2);
  rmSync(itemFolder(place, id), { recursive: true });
  assert.deepEqual((await quarantine.reconcile()).missing, [id]);
  clock.now = heldAt + 8 * dayMs - 1;
  await quarantine.expire(noSignal);
  assert.equal((await quarantine.list({ limit: 9 })).length, 1);
  clock.now += 1;
  assert.deepEqual(await quarantine.expire(noSignal), { expired: 0, emptied: 0, forgotten: 1 });
  assert.equal((await quarantine.list({ limit: 9 })).length, 0);
});

test('Quarantine.expire() stops with its signal', async (t) => {
  const clock = { now: heldAt };
  const quarantine = await openAt(t, placeIn(t), clock);
  await put(quarantine, 'Q', 1);
  clock.now += dayMs;
  assert.deepEqual(await quarantine.expire(AbortSignal.abort()), { expired: 0, emptied: 0, forgotten: 0 });
});

test('Quarantine.expire() killed at any step goes on where it was (F30)', async (t) => {
  const place = placeIn(t);
  const clock = { now: heldAt };
  const quarantine = await openAt(t, place, clock);
  const names = ['Q1', 'Q2', 'Q3', 'Q4', 'Q5', 'Q6'];
  const ids = await Promise.all(names.map((name) => put(quarantine, name, 1, 2)));
  const [released = '', deleted = ''] = ids;
  await lead(quarantine, released, 'released', 0);
  await lead(quarantine, released, 'released', 1);
  await lead(quarantine, deleted, 'deleted', 0);
  const expiring = async (now: number, killAt: number | null): Promise<boolean> => {
    const calls = 'fsync,rename,unlink,rmdir';
    const strace = ['strace', '-f', '-qq', '-o', '/dev/null', '-e', `trace=${calls}`];
    const prefix = killAt === null ? [] : [...strace, '-e', `inject=${calls}:signal=KILL:when=${killAt}`];
    const child = startChild(t, 'expiry-child.ts', [place.folder, place.file, `${now}`], prefix);
    await child.ended();
    return child.process.exitCode === 0;
  };
  let kills = 0;
  for (const now of [heldAt + dayMs, heldAt + 8 * dayMs]) {
    for (let killAt = 1; killAt < 60 && !(await expiring(now, killAt)); killAt += 3) kills++;
    assert.ok(await expiring(now, null));
  }
  assert.ok(kills >= 4, `${kills} kills`);
  clock.now = heldAt + 8 * dayMs;
  const { indexed, missing, broken, unconfirmed, swept } = await quarantine.reconcile();
  assert.deepEqual({ missing, broken, unconfirmed }, { missing: [], broken: [], unconfirmed: [] });
  t.diagnostic(
    `${kills} kills; ${indexed} folders indexed again, ${swept} half removed ones swept at the end`,
  );
  await quarantine.expire(noSignal);
  assert.deepEqual(lookInto(place.folder), { items: [], temporary: [] });
  assert.deepEqual(await quarantine.list({ limit: 99 }), []);
});
