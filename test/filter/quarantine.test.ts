/**
 * quarantine — real folders, real databases, real processes: what is held stays held, once, whatever dies.
 */
import assert from 'node:assert/strict';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import {
  type NewItem,
  openQuarantine,
  type Quarantine,
  quarantineIdPattern,
  type RecipientState,
} from '../../filter/quarantine.ts';
import { ownOwner } from '../../filter/owner.ts';
import { decodeWire } from '../../rules/mail.ts';
import { PermFail, TempFail } from '../../workers/fail.ts';
import { temporaryFolder } from '../folder.ts';
import { bytesOf, chunksOf, keysOf, lookInto, messageOf, spamFor } from './quarantine-rig.ts';
import { recordingLog, startChild } from './store-rig.ts';

type Place = { folder: string; file: string };

function placeIn(context: TestContext): Place {
  const state = temporaryFolder(context);
  return { folder: join(state, 'quarantine'), file: join(state, 'quarantine.db') };
}

async function openIn(
  context: TestContext,
  place: Place,
  options: Partial<Parameters<typeof openQuarantine>[0]> = {},
): Promise<Quarantine> {
  const quarantine = await openQuarantine({ ...place, log: recordingLog(), busyTimeoutMs: 200, ...options });
  context.after(() => quarantine.close());
  return quarantine;
}

function itemFolder({ folder }: Place, quarantineId: string): string {
  return join(folder, quarantineId.slice(0, 2), quarantineId);
}

function removeIndex({ file }: Place): void {
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${file}${suffix}`, { force: true });
}

async function statesOf(quarantine: Quarantine, quarantineId: string): Promise<string[]> {
  const { slots } = await quarantine.get(quarantineId);
  return slots.map(({ state }) => state);
}

const two = ['one@example.com', 'two@example.com'];

test('Quarantine.put() holds bytes and envelope as they were given', async (context) => {
  const place = placeIn(context);
  const quarantine = await openIn(context, place);
  // Octets that are no UTF-8, as an address may have them.
  const odd = decodeWire(Uint8Array.of(0xff, 0x80, 0x40, 0x61));
  const given = spamFor([...two, odd]);
  const quarantineId = await quarantine.put(given, chunksOf(messageOf()));
  assert.match(quarantineId, quarantineIdPattern);
  assert.deepEqual(await bytesOf(quarantine.read(quarantineId)), messageOf());
  const { record, slots } = await quarantine.get(quarantineId);
  assert.deepEqual(record.envelope, given.envelope);
  assert.deepEqual(record.report, given.report);
  assert.deepEqual(
    record.slots.map(({ recipient }) => recipient),
    given.envelope.recipients,
  );
  assert.deepEqual(
    slots.map(({ recipient, state }) => [recipient, state]),
    [
      ['one@example.com', 'held'],
      ['two@example.com', 'held'],
      [odd.toWellFormed(), 'held'],
    ],
  );
  assert.deepEqual(lookInto(place.folder), { items: [quarantineId], temporary: [] });
});

test('Quarantine.put() and read() keep any bytes', async (context) => {
  const quarantine = await openIn(context, placeIn(context));
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 5000 }), async (message) => {
      const item = spamFor(two, { message, queueId: null });
      const quarantineId = await quarantine.put(item, chunksOf(message));
      assert.deepEqual(await bytesOf(quarantine.read(quarantineId)), Buffer.from(message));
    }),
    { numRuns: 30 },
  );
});

test('Quarantine.put() keeps slots of several dispositions and retentions apart', async (context) => {
  const quarantine = await openIn(context, placeIn(context), { now: () => 1000 });
  const item = spamFor(two);
  const [spam] = item.dispositions;
  const [one, other] = item.envelope.recipients;
  assert.ok(spam && one && other);
  const quarantineId = await quarantine.put(
    {
      ...item,
      dispositions: [
        { ...spam, recipients: [other], why: 'for two' },
        { ...spam, recipients: [one], why: 'for one' },
      ],
      slots: [
        { recipient: one, ledgerKey: 'k1', retentionDays: 1 },
        { recipient: other, ledgerKey: 'k2' },
      ],
    },
    chunksOf(messageOf()),
  );
  const { slots } = await quarantine.get(quarantineId);
  assert.deepEqual(
    slots.map(({ why, expiresAt }) => [why, expiresAt]),
    [
      ['for one', 1000 + 86_400_000],
      ['for two', 1000 + 30 * 86_400_000],
    ],
  );
});

test('Quarantine.put() refuses a recipient that no disposition names', async (context) => {
  const quarantine = await openIn(context, placeIn(context));
  const stranger = { recipient: { address: 'x@example.com', notify: null, orcpt: null }, ledgerKey: null };
  await assert.rejects(
    quarantine.put({ ...spamFor(two), slots: [stranger] }, chunksOf(messageOf())),
    PermFail,
  );
});

const badSources: readonly [string, () => AsyncIterable<Uint8Array>, RegExp][] = [
  ['one octet too few', chunksOf(messageOf().subarray(1)), /got 4999 octets/],
  ['one octet too many', chunksOf(Buffer.concat([messageOf(), Buffer.from('x')])), /got 5001 octets/],
  ['other octets', chunksOf(Buffer.alloc(5000)), /not the 5000 that were scanned/],
  [
    'a source that breaks',
    async function* broken() {
      yield messageOf().subarray(0, 100);
      throw new Error('spool file gone');
    },
    /spool file gone/,
  ],
];

for (const [label, bytes, says] of badSources) {
  test(`Quarantine.put() of ${label}: TempFail and nothing left`, async (context) => {
    const place = placeIn(context);
    const quarantine = await openIn(context, place);
    await assert.rejects(quarantine.put(spamFor(two), bytes), (error: Error) => {
      assert.ok(error instanceof TempFail);
      assert.match(error.message, says);
      return true;
    });
    assert.deepEqual(lookInto(place.folder), { items: [], temporary: [] });
    assert.deepEqual(await quarantine.list({ limit: 10 }), []);
  });
}

test('Quarantine.put() with keys that are held gives the same item, also after it was released', async (context) => {
  const place = placeIn(context);
  const quarantine = await openIn(context, place);
  const first = await quarantine.put(spamFor(two), chunksOf(messageOf()));
  assert.equal(await quarantine.put(spamFor(two), chunksOf(messageOf())), first);
  await quarantine.claim(first, [0], 'held', 'releasing', 'bob');
  await quarantine.claim(first, [0], 'releasing', 'released', 'bob', '4cOUT');
  assert.equal(await quarantine.put(spamFor(two), chunksOf(messageOf())), first);
  assert.equal(lookInto(place.folder).items.length, 1);
});

test('Quarantine.put() where only some keys are held holds nothing', async (context) => {
  const place = placeIn(context);
  const quarantine = await openIn(context, place);
  await quarantine.put(spamFor(['one@example.com']), chunksOf(messageOf()));
  await assert.rejects(quarantine.put(spamFor(two), chunksOf(messageOf())), TempFail);
  assert.equal(lookInto(place.folder).items.length, 1);
});

test('Quarantine.put() without ledger keys never adopts', async (context) => {
  const quarantine = await openIn(context, placeIn(context));
  const item = spamFor(two, { queueId: null });
  const first = await quarantine.put(item, chunksOf(messageOf()));
  assert.notEqual(await quarantine.put(item, chunksOf(messageOf())), first);
});

// F03: what a retry finds after kill -9 at each step. Before the rename nothing, from there on the item.
const deaths: readonly [string, { temporary: number; items: number }][] = [
  ['prepared', { temporary: 0, items: 0 }],
  ['made', { temporary: 1, items: 0 }],
  ['messageSynced', { temporary: 1, items: 0 }],
  ['itemSynced', { temporary: 1, items: 0 }],
  ['folderSynced', { temporary: 1, items: 0 }],
  ['renamed', { temporary: 0, items: 1 }],
  ['committed', { temporary: 0, items: 1 }],
  ['indexed', { temporary: 0, items: 1 }],
];

for (const [step, left] of deaths) {
  test(`Quarantine.put() killed at ${step}: the retry holds the message once`, async (context) => {
    const place = placeIn(context);
    const child = startChild(context, 'quarantine-child.ts', ['put', place.folder, place.file, '1', step]);
    await child.until('ready');
    child.write('go');
    await child.until(`at ${step}`);
    const living = await openIn(context, place);
    assert.equal((await living.reconcile()).swept, 0, 'a put of a living process is left alone');
    await child.kill();
    const { items, temporary } = lookInto(place.folder);
    assert.deepEqual({ temporary: temporary.length, items: items.length }, left);

    const quarantine = await openIn(context, place);
    const item = spamFor(two, { queueId: 'Q0' });
    const held = await quarantine.find(keysOf(item));
    assert.equal(held.size, left.items === 0 ? 0 : 2);
    const quarantineId = await quarantine.put(item, chunksOf(messageOf()));
    if (left.items === 1) assert.equal(quarantineId, items[0]);
    assert.deepEqual(lookInto(place.folder), { items: [quarantineId], temporary: [] });
    assert.deepEqual(
      (await quarantine.list({ limit: 10 })).map((row) => row.quarantineId),
      [quarantineId],
    );
    assert.deepEqual(await bytesOf(quarantine.read(quarantineId)), messageOf());
  });
}

test('Quarantine.reconcile() leaves an unfinished put of another process alone, sweeps one of the dead', async (context) => {
  const place = placeIn(context);
  const quarantine = await openIn(context, place);
  await quarantine.reconcile();
  const id = 'a'.repeat(32);
  const [boot, namespace] = ownOwner().split('-');
  // No process has this start time; another boot's processes are all dead; another namespace can't be judged.
  const owners = [`${boot}-${namespace}-${process.pid}-1`, `00000000-${namespace}-${process.pid}-1`];
  const kept = [ownOwner(), `${boot}-1-${process.pid}-1`];
  for (const owner of [...owners, ...kept]) mkdirSync(join(place.folder, 'aa', `tmp-${owner}-${id}`));
  assert.equal((await quarantine.reconcile()).swept, 2);
  assert.deepEqual(
    lookInto(place.folder).temporary.toSorted(),
    kept.map((owner) => `tmp-${owner}-${id}`).toSorted(),
  );
  const later = await openIn(context, place, { now: () => Date.now() + 4_000_000 });
  assert.equal((await later.reconcile()).swept, 1);
});

test('Quarantine finds, lists and reads what was held after the index was deleted', async (context) => {
  const place = placeIn(context);
  const first = await openIn(context, place);
  const items = Array.from({ length: 20 }, (_, number) => spamFor(two, { queueId: `Q${number}` }));
  const held = await Promise.all(items.map((item) => first.put(item, chunksOf(messageOf()))));
  await first.close();
  removeIndex(place);
  const second = await openIn(context, place);
  assert.equal((await second.reconcile()).indexed, 20);
  const listed = (await second.list({ limit: 50 })).map((row) => row.quarantineId);
  assert.deepEqual(listed.toSorted(), held.toSorted());
  for (const item of items) assert.equal((await second.find(keysOf(item))).size, 2);
});

test('Quarantine whose index is deleted while it is open still finds what it held', async (context) => {
  const place = placeIn(context);
  const quarantine = await openIn(context, place);
  const quarantineId = await quarantine.put(spamFor(two), chunksOf(messageOf()));
  removeIndex(place);
  assert.equal(await quarantine.put(spamFor(two), chunksOf(messageOf())), quarantineId);
  assert.deepEqual(await statesOf(quarantine, quarantineId), ['held', 'held']);
});

type Step = [from: RecipientState, to: RecipientState];
const histories: readonly [string, readonly Step[], string][] = [
  [
    'released',
    [
      ['held', 'releasing'],
      ['releasing', 'released'],
    ],
    'released',
  ],
  ['being released by us', [['held', 'releasing']], 'releasing'],
  [
    'held again after a refused hand-off',
    [
      ['held', 'releasing'],
      ['releasing', 'held'],
    ],
    'held',
  ],
  ['deleted', [['held', 'deleted']], 'deleted'],
  ['expired', [['held', 'expired']], 'expired'],
  [
    'released at the second try',
    [
      ['held', 'releasing'],
      ['releasing', 'unconfirmed'],
      ['unconfirmed', 'releasing'],
      ['releasing', 'released'],
    ],
    'released',
  ],
];

for (const [label, steps, state] of histories) {
  test(`Quarantine.claim() survives the loss of the index: ${label}`, async (context) => {
    const place = placeIn(context);
    const first = await openIn(context, place);
    const quarantineId = await first.put(spamFor(two), chunksOf(messageOf()));
    for (const [from, to] of steps) {
      const queueIdOut = to === 'released' ? '4cOUT' : null;
      assert.deepEqual(await first.claim(quarantineId, [0], from, to, 'bob', queueIdOut), [true]);
    }
    const before = await first.get(quarantineId);
    await first.close();
    removeIndex(place);
    const second = await openIn(context, place);
    await second.reconcile();
    assert.deepEqual(await statesOf(second, quarantineId), [state, 'held']);
    assert.deepEqual(await second.get(quarantineId), before);
    const trail = before.slots[0]?.trail.map(({ actor, to }) => `${actor} ${to}`);
    assert.deepEqual(
      trail,
      steps.map(([, to]) => `bob ${to}`),
    );
  });
}

const refused: readonly Step[] = [
  ['released', 'releasing'],
  ['deleted', 'held'],
  ['held', 'released'],
  ['held', 'unconfirmed'],
  ['releasing', 'deleted'],
  ['expired', 'releasing'],
];

for (const [from, to] of refused) {
  test(`Quarantine.claim() knows no way from ${from} to ${to}`, async (context) => {
    const quarantine = await openIn(context, placeIn(context));
    const claim = async () => quarantine.claim('a'.repeat(32), [0], from, to, 'bob');
    await assert.rejects(claim(), PermFail);
  });
}

test('Quarantine.claim() is true once, false for what is not in that state or not there', async (context) => {
  const quarantine = await openIn(context, placeIn(context));
  const quarantineId = await quarantine.put(spamFor(two), chunksOf(messageOf()));
  assert.deepEqual(await quarantine.claim(quarantineId, [1, 7], 'held', 'releasing', 'bob'), [true, false]);
  assert.deepEqual(await quarantine.claim(quarantineId, [0, 1], 'held', 'releasing', 'eve'), [true, false]);
  assert.deepEqual(await quarantine.claim('a'.repeat(32), [0], 'held', 'deleted', 'eve'), [false]);
});

test('Quarantine.claim() from two processes at once: exactly one wins each slot', async (context) => {
  const place = placeIn(context);
  const quarantine = await openIn(context, place);
  const children = [1, 2].map(() =>
    startChild(context, 'quarantine-child.ts', ['claim', place.folder, place.file]),
  );
  for (const child of children) await child.until('ready');
  for (let round = 0; round < 25; round++) {
    const quarantineId = await quarantine.put(spamFor(two, { queueId: `Q${round}` }), chunksOf(messageOf()));
    for (const child of children) child.write(`${quarantineId} held releasing`);
    const answers = await Promise.all(children.map((child) => child.line()));
    const wins = answers.flatMap((answer) => answer.split(' ')).filter((won) => won === 'true');
    assert.equal(wins.length, 2, answers.join(' | '));
  }
});

test('Quarantine.reconcile() shows a release as unconfirmed only once its process is dead (W6)', async (context) => {
  const place = placeIn(context);
  const quarantine = await openIn(context, place);
  const quarantineId = await quarantine.put(spamFor(two), chunksOf(messageOf()));
  const child = startChild(context, 'quarantine-child.ts', ['claim', place.folder, place.file]);
  await child.until('ready');
  child.write(`${quarantineId} held releasing`);
  assert.equal(await child.line(), 'true true');
  assert.deepEqual((await quarantine.reconcile()).unconfirmed, []);
  assert.deepEqual(await statesOf(quarantine, quarantineId), ['releasing', 'releasing']);
  await child.kill();
  const { unconfirmed } = await quarantine.reconcile();
  assert.deepEqual(unconfirmed, [
    { quarantineId, slot: 0 },
    { quarantineId, slot: 1 },
  ]);
  assert.deepEqual(await statesOf(quarantine, quarantineId), ['unconfirmed', 'unconfirmed']);
  // And so it is when the index is lost as well: never held again by itself.
  removeIndex(place);
  await quarantine.reconcile();
  assert.deepEqual(await statesOf(quarantine, quarantineId), ['unconfirmed', 'unconfirmed']);
});

test('Quarantine.claim() removes the octets once nobody wants them, and keeps what is known', async (context) => {
  const place = placeIn(context);
  const quarantine = await openIn(context, place);
  const quarantineId = await quarantine.put(spamFor(two), chunksOf(messageOf()));
  const message = join(itemFolder(place, quarantineId), 'message.eml');
  await quarantine.claim(quarantineId, [0], 'held', 'deleted', 'bob');
  assert.ok(existsSync(message));
  await quarantine.claim(quarantineId, [1], 'held', 'deleted', 'bob');
  assert.ok(!existsSync(message));
  assert.equal((await quarantine.get(quarantineId)).record.facts.subject, 'Buy');
  await assert.rejects(bytesOf(quarantine.read(quarantineId)), PermFail);
  assert.equal((await quarantine.find(keysOf(spamFor(two)))).size, 2);
});

test('Quarantine.reconcile() finishes a deletion that a crash cut short (F30)', async (context) => {
  const place = placeIn(context);
  const quarantine = await openIn(context, place);
  const quarantineId = await quarantine.put(spamFor(two), chunksOf(messageOf()));
  const folder = itemFolder(place, quarantineId);
  await quarantine.claim(quarantineId, [0, 1], 'held', 'expired', 'expiry');
  writeFileSync(join(folder, 'message.eml'), messageOf());
  removeIndex(place);
  assert.equal((await quarantine.reconcile()).removed, 1);
  assert.ok(!existsSync(join(folder, 'message.eml')));
  assert.equal((await quarantine.reconcile()).removed, 0);
});

test('Quarantine.claim() that can not be recorded in the folder is taken back', async (context) => {
  const place = placeIn(context);
  const quarantine = await openIn(context, place);
  const quarantineId = await quarantine.put(spamFor(two), chunksOf(messageOf()));
  const states = join(itemFolder(place, quarantineId), 'states.jsonl');
  mkdirSync(states);
  for (const to of ['releasing', 'deleted'] as const) {
    await assert.rejects(quarantine.claim(quarantineId, [0], 'held', to, 'bob'), TempFail);
    assert.deepEqual(await statesOf(quarantine, quarantineId), ['held', 'held']);
  }
  rmSync(states, { recursive: true });
  assert.deepEqual(await quarantine.claim(quarantineId, [0], 'held', 'releasing', 'bob'), [true]);
  mkdirSync(`${states}.kept`);
  renameSync(states, join(`${states}.kept`, 'x'));
  mkdirSync(states);
  // What happened has happened: the index says so, though the folder could not be told.
  assert.deepEqual(await quarantine.claim(quarantineId, [0], 'releasing', 'released', 'bob'), [true]);
  assert.deepEqual(await statesOf(quarantine, quarantineId), ['released', 'held']);
});

test('Quarantine reads states.jsonl past a line that a crash cut short', async (context) => {
  const place = placeIn(context);
  const quarantine = await openIn(context, place);
  const quarantineId = await quarantine.put(spamFor(two), chunksOf(messageOf()));
  appendFileSync(join(itemFolder(place, quarantineId), 'states.jsonl'), '{"slot":1,"from":"held","to":"del');
  await quarantine.claim(quarantineId, [0], 'held', 'deleted', 'bob');
  removeIndex(place);
  await quarantine.reconcile();
  assert.deepEqual(await statesOf(quarantine, quarantineId), ['deleted', 'held']);
});

test('Quarantine.reconcile() flags a row whose folder is gone, and clears the flag when it is back (R7)', async (context) => {
  const place = placeIn(context);
  const quarantine = await openIn(context, place);
  const quarantineId = await quarantine.put(spamFor(two), chunksOf(messageOf()));
  const folder = itemFolder(place, quarantineId);
  renameSync(folder, join(dirname(place.folder), 'elsewhere'));
  assert.deepEqual((await quarantine.reconcile()).missing, [quarantineId]);
  assert.deepEqual(
    (await quarantine.list({ limit: 1 })).map(({ flag }) => flag),
    ['missing'],
  );
  await assert.rejects(quarantine.get(quarantineId), PermFail);
  renameSync(join(dirname(place.folder), 'elsewhere'), folder);
  assert.deepEqual((await quarantine.reconcile()).missing, []);
  assert.deepEqual(
    (await quarantine.list({ limit: 1 })).map(({ flag }) => flag),
    [null],
  );
});

const spoilt: readonly [string, (path: string) => void, RegExp][] = [
  ['no JSON', (path) => writeFileSync(path, 'x'), /item\.json: : Invalid input/],
  ['cut short', (path) => truncateSync(path, 100), /item\.json: : Invalid input/],
  [
    'a wrong field',
    (path) => writeFileSync(path, readFileSync(path, 'utf8').replace('"heldAt"', '"heldAt": "x", "was"')),
    /heldAt: Invalid/,
  ],
  [
    'an unknown body',
    (path) => writeFileSync(path, readFileSync(path, 'utf8').replace('8BITMIME', '9BIT')),
    /envelope\.body: Invalid/,
  ],
  ['a missing file', (path) => rmSync(path), /it is not there/],
];

for (const [label, spoil, says] of spoilt) {
  test(`Quarantine.get() of an item.json with ${label}: PermFail that says so; reconcile() goes on`, async (context) => {
    const place = placeIn(context);
    const quarantine = await openIn(context, place);
    const good = await quarantine.put(spamFor(two, { queueId: 'good' }), chunksOf(messageOf()));
    const bad = await quarantine.put(spamFor(two), chunksOf(messageOf()));
    spoil(join(itemFolder(place, bad), 'item.json'));
    await assert.rejects(quarantine.get(bad), (error: Error) => {
      assert.ok(error instanceof PermFail);
      assert.match(error.message, says);
      return true;
    });
    removeIndex(place);
    const { broken, indexed } = await quarantine.reconcile();
    assert.deepEqual([broken.map(({ quarantineId }) => quarantineId), indexed], [[bad], 1]);
    assert.deepEqual(
      (await quarantine.list({ limit: 5 })).map(({ quarantineId }) => quarantineId),
      [good],
    );
    assert.ok(existsSync(itemFolder(place, bad)));
  });
}

test('Quarantine.read() throws before the end where the octets are not those that were held', async (context) => {
  const place = placeIn(context);
  const quarantine = await openIn(context, place);
  const quarantineId = await quarantine.put(spamFor(two), chunksOf(messageOf()));
  writeFileSync(join(itemFolder(place, quarantineId), 'message.eml'), messageOf().fill(0, 10, 11));
  await assert.rejects(bytesOf(quarantine.read(quarantineId)), PermFail);
});

for (const id of ['../../etc', '', `${'a'.repeat(31)}/`, 'A'.repeat(32), '%2e%2e']) {
  test(`Quarantine.get() and read() refuse the id ${JSON.stringify(id)}`, async (context) => {
    const quarantine = await openIn(context, placeIn(context));
    await assert.rejects(quarantine.get(id), PermFail);
    await assert.rejects(bytesOf(quarantine.read(id)), PermFail);
  });
}

test('Quarantine.list() pages newest first, also of one state', async (context) => {
  let now = 1000;
  const quarantine = await openIn(context, placeIn(context), { now: () => now });
  for (let number = 0; number < 7; number++) {
    if (number % 2 === 0) now++;
    await quarantine.put(spamFor(two, { queueId: `Q${number}` }), chunksOf(messageOf()));
  }
  const all = await quarantine.list({ limit: 10 });
  assert.deepEqual(
    all.map(({ heldAt }) => heldAt),
    [1004, 1003, 1003, 1002, 1002, 1001, 1001],
  );
  for (const state of [undefined, 'held'] as const) {
    const seen: string[] = [];
    for (let before: string | undefined; ; before = seen.at(-1)) {
      const page = await quarantine.list({
        limit: 2,
        ...(state === undefined ? {} : { state }),
        ...(before === undefined ? {} : { before }),
      });
      if (page.length === 0) break;
      seen.push(...page.map(({ quarantineId }) => quarantineId));
    }
    assert.deepEqual(
      seen,
      all.map(({ quarantineId }) => quarantineId),
    );
  }
  const [newest] = all;
  assert.ok(newest);
  await quarantine.claim(newest.quarantineId, [0], 'held', 'deleted', 'bob');
  assert.deepEqual(
    (await quarantine.list({ state: 'deleted', limit: 5 })).map((row) => row.quarantineId),
    [newest.quarantineId],
  );
});

/** Breaks the index in one way; gives what mends it. */
const indexFaults: readonly [string, (place: Place) => () => void][] = [
  [
    'locked',
    ({ file }) => {
      const other = new DatabaseSync(file);
      other.exec('BEGIN EXCLUSIVE');
      return () => other.close();
    },
  ],
  [
    'corrupt',
    (place) => {
      removeIndex(place);
      writeFileSync(place.file, 'garbage '.repeat(1000));
      return () => removeIndex(place);
    },
  ],
];

for (const [label, spoil] of indexFaults) {
  for (const when of ['at start', 'while open'] as const) {
    test(`Quarantine with its index ${label} ${when}: find() answers, put() is TempFail, recovers by itself`, async (context) => {
      const place = placeIn(context);
      const first = await openIn(context, place);
      const known = spamFor(two, { queueId: 'known' });
      const quarantineId = await first.put(known, chunksOf(messageOf()));
      if (when === 'at start') await first.close();
      const mend = spoil(place);
      const quarantine = when === 'at start' ? await openIn(context, place) : first;
      const unknown = spamFor(two, { queueId: 'unknown' });
      const found = await quarantine.find(keysOf(known));
      assert.deepEqual([...found.values()], [{ quarantineId }, { quarantineId }]);
      assert.equal((await quarantine.find(keysOf(unknown))).size, 0);
      await assert.rejects(quarantine.put(unknown, chunksOf(messageOf())), TempFail);
      assert.equal(lookInto(place.folder).items.length, 1);
      mend();
      assert.equal(await quarantine.put(known, chunksOf(messageOf())), quarantineId);
      await quarantine.put(unknown, chunksOf(messageOf()));
      assert.equal(lookInto(place.folder).items.length, 2);
    });
  }
}

test('Quarantine.put() whose index fails after the rename has held the message, and indexes it later', async (context) => {
  const place = placeIn(context);
  let other: DatabaseSync | null = null;
  const quarantine = await openIn(context, place, {
    onStep: (step) => {
      if (step !== 'committed' || other !== null) return;
      other = new DatabaseSync(place.file);
      other.exec('BEGIN IMMEDIATE');
    },
  });
  const item: NewItem = spamFor(two);
  const quarantineId = await quarantine.put(item, chunksOf(messageOf()));
  assert.deepEqual(await quarantine.list({ limit: 5 }), []);
  assert.equal((await quarantine.find(keysOf(item))).size, 2);
  (other as DatabaseSync | null)?.close();
  assert.equal(await quarantine.put(item, chunksOf(messageOf())), quarantineId);
  assert.deepEqual(
    (await quarantine.list({ limit: 5 })).map((row) => row.quarantineId),
    [quarantineId],
  );
});

test('Quarantine whose folder is emptied under it is TempFail at most once', async (context) => {
  const place = placeIn(context);
  const quarantine = await openIn(context, place);
  await quarantine.reconcile();
  rmSync(place.folder, { recursive: true });
  await assert.rejects(quarantine.put(spamFor(two), chunksOf(messageOf())), TempFail);
  await quarantine.put(spamFor(two), chunksOf(messageOf()));
});

test('Quarantine whose folder can not be made: find() answers, put() is TempFail, recovers by itself', async (context) => {
  const place = placeIn(context);
  writeFileSync(place.folder, '');
  const quarantine = await openIn(context, place);
  const item = spamFor(two);
  assert.equal((await quarantine.find(keysOf(item))).size, 0);
  await assert.rejects(quarantine.put(item, chunksOf(messageOf())), TempFail);
  await assert.rejects(quarantine.check(), TempFail);
  rmSync(place.folder);
  await quarantine.check();
  await quarantine.put(item, chunksOf(messageOf()));
  assert.equal((await quarantine.find(keysOf(item))).size, 2);
});
