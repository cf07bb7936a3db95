/** fair-priority — the order of jobs: a table, and a day's worth of mail simulated. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bulkOf, priorityOf, roundMs, roundOf } from '../../workers/fair-priority.ts';

const first = { arrivalMs: 1_000_000, sizeBytes: 5_000, waitingOfSender: 0 };
const mega = 1024 ** 2;

const later: readonly [string, Partial<typeof first>, Partial<typeof first>][] = [
  ['the same with more of its sender', {}, { waitingOfSender: 1 }],
  ['who came 100 ms later', {}, { arrivalMs: 1_000_100 }],
  ['a large one that came with it', {}, { sizeBytes: 25 * mega }],
  ['a large one that came 1.8 s before', { arrivalMs: 1_001_800 }, { sizeBytes: 25 * mega }],
  ['the tenth of a sender that came 4 s before', { arrivalMs: 1_004_000 }, { waitingOfSender: 10 }],
  ['the hundredth of a sender that came 29 s before', { arrivalMs: 1_029_000 }, { waitingOfSender: 100 }],
];

for (const [label, before, behind] of later) {
  test(`priorityOf() puts first before ${label}`, () => {
    assert.ok(priorityOf({ ...first, ...before }) < priorityOf({ ...first, ...behind }));
  });
}

const notStarving: readonly [string, Partial<typeof first>][] = [
  ['a large one', { sizeBytes: 1000 * mega }],
  ['one of a thousand', { waitingOfSender: 1000 }],
  ['a large one of a thousand', { sizeBytes: 1000 * mega, waitingOfSender: 1000 }],
];

for (const [label, one] of notStarving) {
  test(`priorityOf() lets nobody who comes 32 s later overtake ${label}`, () => {
    assert.ok(
      priorityOf({ ...first, ...one }) <= priorityOf({ ...first, arrivalMs: first.arrivalMs + 32_100 }),
    );
  });
}

test('priorityOf() stays what BullMQ takes, all the way round', () => {
  for (const arrivalMs of [0, 1, roundMs - 1, roundMs, Date.now(), 4_102_444_800_000]) {
    for (const sizeBytes of [0, 4 * 1024 * mega]) {
      const priority = priorityOf({ arrivalMs, sizeBytes, waitingOfSender: 10_000 });
      assert.ok(Number.isInteger(priority) && priority >= 1 && priority < 2 ** 21, `${priority}`);
    }
  }
  assert.equal(roundOf(roundMs - 1), 0);
  assert.equal(roundOf(roundMs), 1);
});

/** 10 messages a second are scanned; one sender always has 100 waiting, as many as a filter takes; somebody comes each second. */
test('priorityOf() keeps everybody else below 1 s while one sender fills the queue, and that one goes on too', () => {
  type Waiting = { readonly sender: string; readonly cameMs: number; readonly priority: number };
  const waiting: Waiting[] = [];
  const worst = { bulk: 0, person: 0 };
  const come = (sender: string, cameMs: number, sizeBytes: number): void => {
    const waitingOfSender = waiting.filter((one) => one.sender === sender).length;
    waiting.push({ sender, cameMs, priority: priorityOf({ arrivalMs: cameMs, sizeBytes, waitingOfSender }) });
  };
  for (let now = 0; now < 600_000; now += 100) {
    while (waiting.filter(({ sender }) => sender === 'bulk').length < 100) come('bulk', now, 5_000);
    if (now % 1_000 === 0) come(`person ${now % 7}`, now, 50_000);
    const next = waiting.reduce((best, one) => (one.priority < best.priority ? one : best));
    waiting.splice(waiting.indexOf(next), 1);
    const kind = next.sender === 'bulk' ? 'bulk' : 'person';
    worst[kind] = Math.max(worst[kind], now - next.cameMs);
  }
  assert.ok(worst.person < 1_000, `a person waited ${worst.person} ms`);
  assert.ok(worst.bulk < 45_000, `one of the bulk waited ${worst.bulk} ms`);
});

const bulk: readonly [string, string, string, string][] = [
  ['a local part for each recipient', 'scan', 'news+anna=site.example@list.example', '@list.example'],
  ['BATV', 'scan', 'prvs=4123a=bob@list.example', '@list.example'],
  ['capitals', 'scan', 'bob@List.Example', '@list.example'],
  ['an @ in the local part', 'scan', '"a@b"@list.example', '@list.example'],
  ['the null sender', 'scan', '', '<>'],
  ['learning', 'learn spam', '', 'learn'],
];

for (const [label, task, sender, counted] of bulk)
  test(`bulkOf() counts together: ${label}`, () => assert.equal(bulkOf({ task, sender }), counted));

test('bulkOf() of no domain is no domain, nor a bounce, nor learning', () => {
  for (const sender of ['learn', 'root', 'l'])
    assert.ok(!['learn', '<>'].includes(bulkOf({ task: 'scan', sender })), sender);
});
