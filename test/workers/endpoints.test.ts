/** endpoints — spreading, cool-down, slots and deadline; attempts are plain functions, the clock is ours. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Reason, Unchecked } from '../../rules/mail.ts';
import { createEndpoints } from '../../workers/endpoints.ts';
import { type Address, addressText } from '../../workers/exchange.ts';

const a: Address = { kind: 'tcp', host: 'a', port: 1 };
const b: Address = { kind: 'unix', path: '/b' };
const c: Address = { kind: 'tcp', host: '::1', port: 3 };
const never = () => new AbortController().signal;
const answered = { kind: 'answered' } as const;

function unchecked(reason: Reason): Unchecked {
  return { kind: 'unchecked', reason, detail: reason };
}

/** Endpoints with a clock that stands still, and the addresses tried by each run. */
function setUp(options: { addresses?: Address[]; concurrency?: number; timeoutMs?: number } = {}) {
  const clock = { now: 1_000_000 };
  const endpoints = createEndpoints({
    addresses: options.addresses ?? [a, b, c],
    concurrency: options.concurrency ?? 10,
    timeoutMs: options.timeoutMs ?? 60_000,
    cooldownMs: 500,
    now: () => clock.now,
  });
  const run = async (answers: Partial<Record<string, Reason>> = {}, signal = never()) => {
    const tried: string[] = [];
    const answer = await endpoints.run<typeof answered>(signal, async (address) => {
      tried.push(addressText(address));
      const reason = answers[addressText(address)];
      return reason === undefined ? answered : unchecked(reason);
    });
    return { tried, answer };
  };
  return { clock, endpoints, run };
}

test('run() spreads over the addresses in turn', async () => {
  const { run } = setUp();
  const order = [];
  for (let i = 0; i < 6; i++) order.push(...(await run()).tried);
  assert.deepEqual(order, ['a:1', 'unix:/b', '[::1]:3', 'a:1', 'unix:/b', '[::1]:3']);
});

for (const { reason, goesOn } of [
  { reason: 'unreachable', goesOn: true },
  { reason: 'busy', goesOn: true },
  { reason: 'protocol', goesOn: true },
  { reason: 'failed', goesOn: true },
  { reason: 'timeout', goesOn: false },
  { reason: 'cancelled', goesOn: false },
  { reason: 'encrypted', goesOn: false },
  { reason: 'overLimit', goesOn: false },
] as const) {
  test(`run() ${goesOn ? 'tries another address' : 'is at its end'} after ${reason}`, async () => {
    const { run } = setUp();
    const { tried, answer } = await run({ 'a:1': reason });
    assert.deepEqual(tried, goesOn ? ['a:1', 'unix:/b'] : ['a:1']);
    assert.deepEqual(answer, goesOn ? answered : unchecked(reason));
  });
}

test('run() tries an address that is down last, until the cool-down is over', async () => {
  const { run, clock } = setUp({ addresses: [a, b] });
  const down = { 'a:1': 'unreachable' } as const;
  assert.deepEqual((await run(down)).tried, ['a:1', 'unix:/b']);
  assert.deepEqual((await run(down)).tried, ['unix:/b']);
  assert.deepEqual((await run(down)).tried, ['unix:/b']);
  clock.now += 499;
  assert.deepEqual((await run()).tried, ['unix:/b']);
  clock.now += 1;
  assert.deepEqual([...(await run()).tried, ...(await run()).tried].toSorted(), ['a:1', 'unix:/b']);
});

test('run() lets one message try an address after its cool-down, not all of them', async () => {
  const { endpoints, run, clock } = setUp({ addresses: [a, b] });
  await run({ 'a:1': 'unreachable', 'unix:/b': 'unreachable' });
  await run({ 'a:1': 'unreachable' });
  clock.now += 500;
  const first: string[] = [];
  const freed = new AbortController();
  const runs = [1, 2, 3, 4].map(() =>
    endpoints.run<typeof answered>(never(), (address) => {
      first.push(addressText(address));
      return whenAborted(freed.signal, answered);
    }),
  );
  await settled();
  assert.deepEqual(first.toSorted(), ['a:1', 'unix:/b', 'unix:/b', 'unix:/b']);
  freed.abort();
  await Promise.all(runs);
});

test('run() still tries what is down when nothing else is left, and takes it back', async () => {
  const { run } = setUp({ addresses: [a, b] });
  await run({ 'a:1': 'unreachable', 'unix:/b': 'unreachable' });
  assert.deepEqual((await run()).answer, answered);
});

test('run() is unreachable when every address is, and tells of the living one that failed otherwise', async () => {
  const all = setUp();
  assert.deepEqual(
    (await all.run({ 'a:1': 'unreachable', 'unix:/b': 'unreachable', '[::1]:3': 'unreachable' })).answer,
    unchecked('unreachable'),
  );
  const one = setUp();
  assert.deepEqual(
    (await one.run({ 'a:1': 'unreachable', 'unix:/b': 'failed', '[::1]:3': 'unreachable' })).answer,
    unchecked('failed'),
  );
  assert.equal((await setUp({ addresses: [] }).run()).tried.length, 0);
});

test('run() lets no more than `concurrency` attempts go on at once, first come first served', async () => {
  const { endpoints } = setUp({ concurrency: 2 });
  const started: number[] = [];
  const finish: (() => void)[] = [];
  const runs = [0, 1, 2, 3].map((n) =>
    endpoints.run<typeof answered>(never(), () => {
      started.push(n);
      return new Promise((resolve) => finish.push(() => resolve(answered)));
    }),
  );
  await settled();
  assert.deepEqual(started, [0, 1]);
  finish[1]?.();
  await runs[1];
  await settled();
  assert.deepEqual(started, [0, 1, 2]);
  finish[0]?.();
  finish[2]?.();
  await Promise.all([runs[0], runs[2]]);
  await settled();
  finish[3]?.();
  await runs[3];
  assert.deepEqual(started, [0, 1, 2, 3]);
});

test('run() frees the slot of an attempt that throws, and throws it', async () => {
  const { endpoints, run } = setUp({ concurrency: 1 });
  await assert.rejects(
    endpoints.run(never(), () => Promise.reject(new Error('the source broke'))),
    /the source broke/,
  );
  assert.deepEqual((await run()).answer, answered);
});

test('run() waiting for a slot: busy at the deadline, cancelled when nobody wants the answer', async () => {
  const { endpoints, run } = setUp({ concurrency: 1, timeoutMs: 50 });
  const freed = new AbortController();
  const holder = endpoints.run<typeof answered>(never(), () => whenAborted(freed.signal, answered));
  const late = await run();
  assert.deepEqual([late.tried, kindOf(late.answer)], [[], 'busy']);
  freed.abort();
  await holder;

  const second = setUp({ concurrency: 1 });
  const gone = new AbortController();
  const held = second.endpoints.run<typeof answered>(gone.signal, (_, signal) =>
    whenAborted(signal, answered),
  );
  const waiting = second.run({}, gone.signal);
  gone.abort();
  assert.equal(kindOf((await waiting).answer), 'cancelled');
  await held;
  assert.deepEqual((await second.run()).answer, answered, 'the slot is free again');
});

test('run() asks nobody when the deadline is over before it begins', async () => {
  const { tried, answer } = await setUp().run({}, AbortSignal.abort(new DOMException('', 'TimeoutError')));
  assert.deepEqual([tried, kindOf(answer)], [[], 'timeout']);
});

test("run() hands over a deadline of its own, and the caller's signal with its reason", async () => {
  const reasonSeen = async (signal: AbortSignal, timeoutMs: number) => {
    let seen: unknown;
    await setUp({ timeoutMs }).endpoints.run<typeof answered>(signal, async (_, deadline) => {
      await whenAborted(deadline, answered);
      seen = deadline.reason;
      return answered;
    });
    return seen instanceof DOMException ? seen.name : seen;
  };
  assert.equal(await reasonSeen(never(), 20), 'TimeoutError');
  assert.equal(await reasonSeen(AbortSignal.timeout(20), 60_000), 'TimeoutError');
  const controller = new AbortController();
  const seen = reasonSeen(controller.signal, 60_000);
  await settled();
  controller.abort('client gone');
  assert.equal(await seen, 'client gone');
});

test('run() begins elsewhere after an address has used up the deadline', async () => {
  const { endpoints, run } = setUp({ addresses: [a, b], timeoutMs: 20 });
  await endpoints.run<typeof answered>(never(), (_, signal) => whenAborted(signal, unchecked('timeout')));
  await run();
  assert.deepEqual((await run()).tried, ['unix:/b']);
});

test('each() asks every address once, also one that is down', async () => {
  const { endpoints, run } = setUp();
  await run({ 'a:1': 'unreachable' });
  const answers = await endpoints.each<typeof answered>(async (address) =>
    address === a ? unchecked('unreachable') : answered,
  );
  assert.deepEqual(answers, [
    { address: 'a:1', answer: unchecked('unreachable') },
    { address: 'unix:/b', answer: answered },
    { address: '[::1]:3', answer: answered },
  ]);
});

test('close() cancels what runs and what comes after', async () => {
  const { endpoints, run } = setUp();
  const running = endpoints.run<typeof answered>(never(), (_, signal) =>
    whenAborted(signal, unchecked('cancelled')),
  );
  await settled();
  endpoints.close();
  assert.deepEqual(await running, unchecked('cancelled'));
  assert.equal(kindOf((await run()).answer), 'cancelled');
});

function kindOf(answer: { kind: string; reason?: string }): string {
  return answer.reason ?? answer.kind;
}

function whenAborted<T>(signal: AbortSignal, value: T): Promise<T> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(value);
    signal.addEventListener('abort', () => resolve(value), { once: true });
  });
}

/** All that can go on without a new event has gone on. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
