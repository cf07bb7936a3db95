/**
 * move — what a backup held is at the primary afterwards, once, with everything that is known of it.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { runErrands } from '../../review/bayes-errands.ts';
import { noteMoved, takeOut } from '../../review/move.ts';
import { deleteHeld, list, release, show } from '../../review/verbs.ts';
import { formatItem, itemJson } from '../../review/item-text.ts';
import { PermFail } from '../../workers/fail.ts';
import { silentLog } from '../../workers/log.ts';
import { bytesOf, chunksOf, keysOf } from '../filter/quarantine-rig.ts';
import { message, plain, spam } from './desk-rig.ts';
import { losing, type Node, openNode } from './nodes-desk.ts';

const anna = { name: 'cli:anna' };
const noSignal = new AbortController().signal;
const dayMs = 86_400_000;
const [a, b, c] = ['a@example.com', 'b@example.com', 'c@example.com'];

async function openNodes(t: TestContext, now?: () => number): Promise<{ backup: Node; primary: Node }> {
  return { backup: await openNode(t, 'backup', now), primary: await openNode(t, 'primary', now) };
}

const carry = ({ backup, primary }: { backup: Node; primary: Node }) =>
  runErrands(backup.call, primary.call, silentLog, noSignal);

const put = (node: Node, addresses: readonly string[], queueId?: string) =>
  node.quarantine.put(spam(addresses, queueId), chunksOf(message));

async function statesOf({ quarantine }: Node, id: string): Promise<string[]> {
  const { slots } = await quarantine.get(id);
  return slots.map(({ recipient, state }) => `${recipient} ${state}`);
}

const waiting = async ({ quarantine, audit, log }: Node) =>
  (
    await list(anna, { quarantine, audit, log } as Parameters<typeof list>[1], { all: false, limit: 100 })
  ).map(({ quarantineId }) => quarantineId);

test('runErrands() moves what is held, with id, ledger keys, reasons and octets; then it is only at the primary', async (t) => {
  const nodes = await openNodes(t);
  const { backup, primary } = nodes;
  const item = spam([a, b]);
  const id = await backup.quarantine.put(item, chunksOf(message));
  const { record } = await backup.quarantine.get(id);
  assert.deepEqual(await carry(nodes), { moved: 1, taught: 0, troubles: [] });
  assert.deepEqual(await statesOf(backup, id), [`${a} moved`, `${b} moved`]);
  assert.deepEqual(await statesOf(primary, id), [`${a} held`, `${b} held`]);
  assert.deepEqual([await waiting(backup), await waiting(primary)], [[], [id]]);
  const there = (await primary.quarantine.get(id)).record;
  assert.equal(there.movedFrom?.node, 'backup.example');
  assert.deepEqual({ ...there, movedFrom: undefined }, { ...record, movedFrom: undefined });
  assert.deepEqual(
    [...(await primary.quarantine.find(keysOf(item))).values()],
    [{ quarantineId: id }, { quarantineId: id }],
  );
  assert.deepEqual(await bytesOf(primary.quarantine.read(id)), message);
  await assert.rejects(bytesOf(backup.quarantine.read(id)), PermFail);
  assert.deepEqual(await carry(nodes), { moved: 0, taught: 0, troubles: [] });
});

test('runErrands() leaves rows in history and audit of both nodes, and show says where it was', async (t) => {
  const nodes = await openNodes(t);
  const { backup, primary } = nodes;
  const id = await put(backup, [a]);
  await carry(nodes);
  const rows = async ({ history }: Node) =>
    (await history.list({ limit: 9 })).flatMap(({ outcomes }) =>
      outcomes.map(({ recipient, outcome, why, quarantineId }) => [recipient, outcome, why, quarantineId]),
    );
  const why = (await primary.quarantine.get(id)).slots[0]?.why;
  assert.deepEqual(await rows(backup), [[a, 'moved', `moved to primary.example; ${why}`, id]]);
  assert.deepEqual(await rows(primary), [[a, 'held', `held by backup.example first; ${why}`, id]]);
  const audited = async ({ audit }: Node) =>
    (await audit.list({ limit: 9, quarantineId: id })).map(({ actor, verb, outcome }) => [
      actor,
      verb,
      outcome,
    ]);
  assert.deepEqual(await audited(backup), [
    ['node:primary.example', 'move', '1 copies moved'],
    ['node:primary.example', 'move', 'handed out'],
  ]);
  assert.deepEqual(await audited(primary), [['node:backup.example', 'adopt', 'adopted']]);
  const desk = primary as unknown as Parameters<typeof show>[1];
  const shown = await show(anna, desk, id);
  assert.match(formatItem(shown, 120).join('\n'), /^moved from {2}backup\.example, /m);
  assert.equal(itemJson(shown).movedFrom, 'backup.example');
  assert.equal((await primary.quarantine.list({ limit: 1 }))[0]?.movedFrom, 'backup.example');
});

test('runErrands() keeps what became of each copy: nothing that was decided is undone', async (t) => {
  const nodes = await openNodes(t);
  const { backup, primary } = nodes;
  const id = await put(backup, [a, b, c]);
  const claim = backup.quarantine.claim.bind(backup.quarantine);
  await claim(id, [0], 'held', 'releasing', 'cli:anna');
  await claim(id, [0], 'releasing', 'released', 'cli:anna', '4OUT');
  await claim(id, [1], 'held', 'deleted', 'cli:anna');
  await carry(nodes);
  assert.deepEqual(await statesOf(backup, id), [`${a} released`, `${b} deleted`, `${c} moved`]);
  assert.deepEqual(await statesOf(primary, id), [`${a} released`, `${b} deleted`, `${c} held`]);
  const [first] = (await primary.quarantine.get(id)).slots;
  assert.deepEqual([first?.actor, first?.queueIdOut, first?.trail.length], ['cli:anna', '4OUT', 2]);
  // The index can be built anew from the folder alone.
  await primary.quarantine.reconcile();
  await deleteHeld(anna, primary as unknown as Parameters<typeof deleteHeld>[1], id, []);
  await carry(nodes);
  assert.deepEqual(await statesOf(primary, id), [`${a} released`, `${b} deleted`, `${c} deleted`]);
});

test('takeOut() lets a release that was begun win, and takes the rest when it has ended', async (t) => {
  const nodes = await openNodes(t);
  const { backup, primary } = nodes;
  const id = await put(backup, [a, b]);
  await backup.quarantine.claim(id, [0], 'held', 'releasing', 'cli:anna');
  assert.equal(await takeOut(anna, backup, id), null);
  assert.deepEqual(await statesOf(backup, id), [`${a} releasing`, `${b} held`]);
  assert.equal((await carry(nodes)).moved, 0);
  await backup.quarantine.claim(id, [0], 'releasing', 'held', 'cli:anna');
  assert.equal((await carry(nodes)).moved, 1);
  assert.deepEqual(await statesOf(primary, id), [`${a} held`, `${b} held`]);
});

test('takeOut() hands out nothing where somebody claims a copy between its look and its claim, and puts nothing back', async (t) => {
  const { backup, primary } = await openNodes(t);
  const id = await put(backup, [a, b, c]);
  const { quarantine } = backup;
  await quarantine.claim(id, [2], 'held', 'releasing', 'x');
  await quarantine.claim(id, [2], 'releasing', 'unconfirmed', 'x');
  let raced = false;
  const racing = {
    ...backup,
    quarantine: new Proxy(quarantine, {
      get(target, name) {
        if (name !== 'claim') return (target[name as keyof typeof target] as () => unknown).bind(target);
        return async (...args: Parameters<typeof target.claim>) => {
          if (!raced) await target.claim(id, [0], 'held', 'releasing', 'cli:anna');
          raced = true;
          return target.claim(...args);
        };
      },
    }),
  };
  assert.equal(await takeOut({ name: 'node:primary.example' }, racing, id), null);
  // Another round may have handed it out meanwhile: what was put back could be released on both nodes.
  assert.deepEqual(await statesOf(backup, id), [`${a} releasing`, `${b} moving`, `${c} moving`]);
  await quarantine.claim(id, [0], 'releasing', 'released', 'cli:anna');
  await carry({ backup, primary });
  assert.deepEqual(await statesOf(backup, id), [`${a} released`, `${b} moved`, `${c} moved`]);
  assert.deepEqual(await statesOf(primary, id), [`${a} released`, `${b} held`, `${c} unconfirmed`]);
});

test('takeOut() moves an unconfirmed copy as one', async (t) => {
  const nodes = await openNodes(t);
  const id = await put(nodes.backup, [a]);
  await nodes.backup.quarantine.claim(id, [0], 'held', 'releasing', 'x');
  await nodes.backup.quarantine.claim(id, [0], 'releasing', 'unconfirmed', 'x');
  await carry(nodes);
  assert.deepEqual(await statesOf(nodes.primary, id), [`${a} unconfirmed`]);
});

for (const [side, count] of [
  ['backup', 3],
  ['primary', 2],
] as const) {
  for (let lost = 0; lost < count; lost++) {
    test(`runErrands() whose ${side} answers, but answer ${lost} gets lost, goes on the next time: one item, there`, async (t) => {
      const nodes = await openNodes(t);
      const { backup, primary } = nodes;
      const id = await put(backup, [a, b]);
      const from = side === 'backup' ? losing(backup.call, lost) : backup.call;
      const to = side === 'primary' ? losing(primary.call, lost) : primary.call;
      const first = await runErrands(from, to, silentLog, noSignal);
      assert.equal(first.troubles.length, 1);
      // Never nowhere: as long as the primary does not have it, its octets are here.
      if ((await primary.quarantine.list({ limit: 9 })).length === 0)
        assert.deepEqual(await bytesOf(backup.quarantine.read(id)), message);
      assert.deepEqual((await carry(nodes)).troubles, []);
      assert.deepEqual(await statesOf(backup, id), [`${a} moved`, `${b} moved`]);
      assert.deepEqual(await statesOf(primary, id), [`${a} held`, `${b} held`]);
      assert.deepEqual(await bytesOf(primary.quarantine.read(id)), message);
      assert.equal((await primary.quarantine.list({ limit: 9 })).length, 1);
    });
  }
}

test('runErrands() claims nothing while the primary does not listen, and takes nothing from octets that were cut', async (t) => {
  const { backup, primary } = await openNodes(t);
  const id = await put(backup, [a]);
  const away = async () => ({ kind: 'failed', step: 'connect', message: 'away', remedy: '' }) as const;
  assert.equal((await runErrands(backup.call, away, silentLog, noSignal)).troubles.length, 1);
  assert.deepEqual(await statesOf(backup, id), [`${a} held`]);
  assert.equal((await runErrands(away, primary.call, silentLog, noSignal)).moved, 0);
  const cutting: Node['call'] = async (ask) => {
    const outcome = await backup.call(ask);
    if ('kind' in outcome || outcome.payload === undefined) return outcome;
    const { payload } = outcome;
    return {
      ...outcome,
      payload: (async function* cut() {
        for await (const chunk of payload) yield chunk.subarray(0, 10);
      })(),
    };
  };
  const { moved, troubles } = await runErrands(cutting, primary.call, silentLog, noSignal);
  assert.equal(moved, 0);
  assert.match(troubles[0]?.message ?? '', /Cannot read or write the parts of a payload/);
  assert.deepEqual(await primary.quarantine.list({ limit: 9 }), []);
  assert.equal((await runErrands(backup.call, primary.call, silentLog, noSignal)).moved, 1);
});

test('a copy that is moving is released only with --again, and then stays here', async (t) => {
  const nodes = await openNodes(t);
  const { backup } = nodes;
  const id = await put(backup, [a]);
  assert.notEqual(await takeOut({ name: 'node:primary' }, backup, id), null);
  const reinject = async () => [
    { kind: 'accepted', reply: { code: 250, enhanced: '2.0.0', text: 'Ok' }, queueIdOut: '4OUT' } as const,
  ];
  const marker = { scanner: 'Sluice 0', hostname: 'x' };
  const desk = { ...backup, reinject, marker } as unknown as Parameters<typeof release>[1];
  const [skipped] = await release(anna, desk, id, plain);
  assert.equal(skipped?.kind, 'skipped');
  assert.match(skipped?.detail ?? '', /it is moving: the primary may have it; --again releases it/);
  const [released] = await release(anna, desk, id, { ...plain, again: true });
  assert.equal(released?.kind, 'released');
  assert.equal((await carry(nodes)).moved, 0);
  assert.deepEqual(await statesOf(backup, id), [`${a} released`]);
});

for (const before of ['moving', 'unconfirmed', 'held'] as const) {
  const after = before === 'held' ? 'held' : 'unconfirmed';
  test(`a copy that was ${before} and is put off by the return smtpd is ${after} then`, async (t) => {
    const { backup } = await openNodes(t);
    const id = await put(backup, [a]);
    if (before === 'moving') assert.notEqual(await takeOut({ name: 'node:primary' }, backup, id), null);
    if (before === 'unconfirmed') {
      await backup.quarantine.claim(id, [0], 'held', 'releasing', 'x');
      await backup.quarantine.claim(id, [0], 'releasing', 'unconfirmed', 'x');
    }
    const putOffNow = {
      kind: 'tempfail',
      outcome: 'returnUnavailable',
      reply: null,
      detail: '452 full',
    } as const;
    const reinject = async () => [putOffNow];
    const marker = { scanner: 'Sluice 0', hostname: 'x' };
    const desk = { ...backup, reinject, marker } as unknown as Parameters<typeof release>[1];
    const [putOff] = await release(anna, desk, id, { ...plain, again: true });
    assert.equal(putOff?.kind, 'held', 'not sent');
    assert.deepEqual(await statesOf(backup, id), [`${a} ${after}`]);
    // Where it may be somewhere else already, nobody releases it by mistake.
    const [next] = await release(anna, desk, id, plain);
    assert.equal(next?.kind, before === 'held' ? 'held' : 'skipped');
  });
}

test('Quarantine.adopt() resurrects nothing: what was forgotten is kept in mind until it would have expired', async (t) => {
  let now = Date.now();
  const nodes = await openNodes(t, () => now);
  const { backup, primary } = nodes;
  const id = await put(backup, [a]);
  // Everything but the last word to the backup.
  await runErrands(losing(backup.call, 2), primary.call, silentLog, noSignal);
  assert.deepEqual(await statesOf(backup, id), [`${a} moved`]);
  const story = await primary.quarantine.get(id);
  await primary.quarantine.claim(id, [0], 'held', 'deleted', 'cli:anna');
  const again = { record: story.record, changes: [] };
  now += 20 * dayMs;
  await primary.quarantine.expire(noSignal);
  assert.equal(await primary.quarantine.adopt(again, chunksOf(message)), 'already');
  now += 20 * dayMs;
  await primary.quarantine.expire(noSignal);
  assert.equal((await primary.quarantine.list({ limit: 9 })).length, 0, 'forgotten');
  assert.equal(await primary.quarantine.adopt(again, chunksOf(message)), 'expired');
  assert.deepEqual(await primary.quarantine.list({ limit: 9 }), []);
});

test('noteMoved() says expired where nobody can want it any more', async (t) => {
  let now = Date.now();
  const nodes = await openNodes(t, () => now);
  const id = await put(nodes.backup, [a]);
  assert.notEqual(await takeOut({ name: 'node:p' }, nodes.backup, id), null);
  now += 31 * dayMs;
  assert.equal((await carry(nodes)).moved, 0);
  assert.deepEqual(await statesOf(nodes.backup, id), [`${a} expired`]);
  assert.equal(existsSync(join(nodes.backup.state, 'quarantine', id.slice(0, 2), id, 'message.eml')), false);
  assert.equal(await noteMoved(anna, nodes.backup, id, { to: 'p', arrival: 'already' }), 0);
});

test('runErrands() carries many at once; what is broken keeps nobody from the way, and is not claimed', async (t) => {
  const nodes = await openNodes(t);
  const { backup, primary } = nodes;
  const ids: string[] = [];
  for (let at = 0; at < 60; at++) ids.push(await put(backup, [`u${at}@example.com`], `Q${at}`));
  // More in a row than the errands would put up with, at either end of the list.
  const broken = [...ids.slice(0, 4), ...ids.slice(-4)];
  for (const id of broken) {
    const path = join(backup.state, 'quarantine', id.slice(0, 2), id, 'message.eml');
    if (id === ids[0]) rmSync(join(path, '..'), { recursive: true });
    else if (id === ids[1]) truncateSync(path, 3);
    else rmSync(path);
  }
  let questions = 0;
  const counting: Node['call'] = (ask) => {
    questions++;
    return backup.call(ask);
  };
  const { moved } = await runErrands(counting, primary.call, silentLog, noSignal);
  assert.equal(moved, 52);
  assert.ok(questions < 10, `${questions} questions`);
  assert.deepEqual((await waiting(backup)).toSorted(), broken.toSorted());
  assert.deepEqual(
    (await backup.quarantine.list({ state: 'moving', limit: 99 })).map(({ quarantineId }) => quarantineId),
    [],
  );
  const there = await waiting(primary);
  assert.deepEqual(there.toSorted(), ids.filter((id) => !broken.includes(id)).toSorted());
});

test('runErrands() lets items that the primary refuses stand in the way of no other for long', async (t) => {
  const nodes = await openNodes(t);
  const { backup, primary } = nodes;
  const ids: string[] = [];
  for (let at = 0; at < 12; at++) ids.push(await put(backup, [`u${at}@example.com`], `Q${at}`));
  // As where their folders on the primary's disk can't be read: the newest, which are listed first.
  const refused = ids.slice(-4);
  for (const id of refused) {
    const folder = join(primary.state, 'quarantine', id.slice(0, 2), id);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'item.json'), '{}');
  }
  let moved = 0;
  for (let run = 0; run < 20 && moved < 8; run++) moved += (await carry(nodes)).moved;
  assert.equal(moved, 8);
  assert.deepEqual((await waiting(primary)).toSorted(), ids.slice(0, 8).toSorted());
});

test('takeOut() gives an item on its way to one primary to no other, unless that one is silent for a day', async (t) => {
  let now = Date.now();
  const { backup } = await openNodes(t, () => now);
  const id = await put(backup, [a]);
  const [one, other] = [{ name: 'node:mx1' }, { name: 'node:mx2' }];
  assert.notEqual(await takeOut(one, backup, id), null);
  assert.equal(await takeOut(other, backup, id), null);
  assert.notEqual(await takeOut(one, backup, id), null, 'its answer may have got lost');
  now += dayMs + 1;
  assert.notEqual(await takeOut(other, backup, id), null);
});

test('takeOut() counts the day from the last hand-out: a primary that keeps asking keeps its claim', async (t) => {
  let now = Date.now();
  const { backup, primary } = await openNodes(t, () => now);
  const id = await put(backup, [a]);
  const [one, other] = [{ name: 'node:mx1' }, { name: 'node:mx2' }];
  for (let hour = 0; hour < 60; hour += 0.5) {
    assert.notEqual(await takeOut(one, backup, id), null, `${hour} h`);
    assert.equal(await takeOut(other, backup, id), null, `${hour} h`);
    now += dayMs / 48;
  }
  const [slot] = (await backup.quarantine.get(id)).slots;
  assert.ok((slot?.trail.length ?? 0) < 25, `${slot?.trail.length} changes, not one for each question`);
  now += dayMs;
  const story = await takeOut(other, backup, id);
  assert.ok(story !== null);
  assert.equal(await takeOut(one, backup, id), null, 'now the other has the claim');
  // Nothing of this is told to the primary, and the folder tells the same as the index.
  assert.deepEqual(story.changes, []);
  await backup.quarantine.reconcile();
  assert.deepEqual(await statesOf(backup, id), [`${a} moving`]);
  assert.equal(await primary.quarantine.adopt(story, chunksOf(message)), 'adopted');
});

test('noteMoved() believes a primary that something is expired only where this clock says so, too', async (t) => {
  const { backup } = await openNodes(t);
  const id = await put(backup, [a]);
  assert.notEqual(await takeOut(anna, backup, id), null);
  assert.equal(await noteMoved(anna, backup, id, { to: 'p', arrival: 'expired' }), 0);
  assert.deepEqual(await statesOf(backup, id), [`${a} moving`]);
  assert.deepEqual(await bytesOf(backup.quarantine.read(id)), message);
});
