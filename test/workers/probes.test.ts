/** probes — asked in time, never twice at once; the real clients against fakes of the daemons. */
import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { test } from 'node:test';
import { createClamd } from '../../workers/clamd.ts';
import { type Log, silentLog } from '../../workers/log.ts';
import { returnProbe, type ScannerState, scannerProbes, startProbes } from '../../workers/probes.ts';
import { createSpamd } from '../../workers/spamd.ts';
import { startFakeClamd } from '../fakes/clamd.ts';
import { startFakeSpamd } from '../fakes/spamd.ts';

/** A clock that stands still until it is told to go. */
function createClock() {
  let now = 0;
  const timers = new Set<{ at: number; action: () => void }>();
  return {
    waiting: () => timers.size,
    after: (ms: number, action: () => void) => {
      const timer = { at: now + ms, action };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
    async go(ms: number) {
      now += ms;
      for (const timer of timers) {
        if (timer.at > now) continue;
        timers.delete(timer);
        timer.action();
      }
      // Answers arrive by promise: let them.
      await setImmediate();
    },
  };
}

test('startProbes() asks at once and every minute after the answer', async () => {
  const clock = createClock();
  let asked = 0;
  const probes = startProbes([{ name: 'x', ask: async () => void asked++ }], {
    after: clock.after,
    log: silentLog,
  });
  await clock.go(0);
  assert.equal(asked, 1);
  await clock.go(59_999);
  assert.equal(asked, 1);
  await clock.go(1);
  assert.equal(asked, 2);
  probes.stop();
  await clock.go(600_000);
  assert.equal(asked, 2);
});

test('startProbes() never asks again what has not answered, and others all the same', async () => {
  const clock = createClock();
  const asked = { slow: 0, quick: 0 };
  const answer = Promise.withResolvers<void>();
  const slow = () => {
    asked.slow++;
    return answer.promise;
  };
  const probes = startProbes(
    [
      { name: 'slow', ask: slow },
      { name: 'quick', ask: async () => void asked.quick++ },
    ],
    { after: clock.after, log: silentLog },
  );
  for (let minute = 0; minute < 10; minute++) await clock.go(60_000);
  assert.deepEqual(asked, { slow: 1, quick: 10 });
  answer.resolve();
  await clock.go(0);
  await clock.go(60_000);
  assert.deepEqual(asked, { slow: 2, quick: 11 });
  probes.stop();
  await clock.go(0);
  assert.equal(clock.waiting(), 0);
});

test('startProbes() logs what a probe throws, and asks again', async () => {
  const clock = createClock();
  const lines: object[] = [];
  const log: Log = { ...silentLog, warn: (fields, text) => void lines.push({ ...fields, text }) };
  let asked = 0;
  const ask = async () => {
    if (asked++ === 0) throw new Error('not now');
  };
  const probes = startProbes([{ name: 'x', ask }], { after: clock.after, log });
  await clock.go(0);
  assert.deepEqual(lines, [{ err: new Error('not now'), probe: 'x', text: 'Probe failed' }]);
  await clock.go(60_000);
  assert.equal(asked, 2);
  probes.stop();
});

test('startProbes() stopped while a probe is under way does not ask it again', async () => {
  const clock = createClock();
  const answer = Promise.withResolvers<void>();
  const probes = startProbes([{ name: 'x', ask: () => answer.promise }], {
    after: clock.after,
    log: silentLog,
  });
  probes.stop();
  answer.resolve();
  await clock.go(60_000);
  assert.equal(clock.waiting(), 0);
});

test('scannerProbes() tells of every address who answers, and how old clamd says its signatures are', async (t) => {
  const [clamd, spamd] = await Promise.all([
    startFakeClamd({
      script: [{ at: 'command', do: 'close', say: 'ClamAV 1.4.6/27450/Tue Nov  4 08:50:35 2025\0' }],
    }),
    startFakeSpamd(),
  ]);
  const gone = await startFakeClamd();
  await gone.stop();
  t.after(() => Promise.all([clamd.stop(), spamd.stop()]));
  const common = { concurrency: 1, timeoutMs: 5000, log: silentLog };
  const clients = {
    clamd: createClamd({ addresses: [clamd.address, gone.address], ...common }),
    spamd: createSpamd({ addresses: [spamd.address], user: null, spamBytes: 1000, ...common }),
  };
  const told: ScannerState[] = [];
  for (const probe of scannerProbes(clients, (state) => told.push(state))) await probe.ask();
  assert.deepEqual(
    told.map(({ scanner, up, signaturesAt }) => [scanner, up, signaturesAt]),
    [
      ['clamd', true, Date.parse('Tue Nov  4 08:50:35 2025')],
      ['clamd', false, null],
      ['spamd', true, null],
    ],
  );
  assert.deepEqual(
    told.map(({ detail }) => detail !== null && /Cannot connect/.test(detail)),
    [false, true, false],
  );
  assert.deepEqual(
    scannerProbes({ clamd: null, spamd: null }, () => undefined),
    [],
  );
});

test('version() and ping() give up when their own, shorter time is over', async (t) => {
  const clamd = await startFakeClamd({ script: [{ at: 'command', do: 'hang' }] });
  t.after(() => clamd.stop());
  const client = createClamd({
    addresses: [clamd.address],
    concurrency: 1,
    timeoutMs: 60_000,
    log: silentLog,
  });
  const [answer] = await client.version(30);
  assert.ok(answer?.answer.kind === 'unchecked' && answer.answer.reason === 'timeout');
});

test('returnProbe() asks only where no mail does', async () => {
  let [idle, asked] = [false, 0];
  const told: [boolean, string | null][] = [];
  const answers = [async () => undefined, () => Promise.reject(new Error('connection refused'))];
  const probe = returnProbe(
    async () => answers[asked++]?.(),
    () => idle,
    (up, detail) => told.push([up, detail]),
  );
  await probe.ask();
  assert.deepEqual([asked, told], [0, []]);
  idle = true;
  await probe.ask();
  await probe.ask();
  assert.deepEqual(told, [
    [true, null],
    [false, 'connection refused'],
  ]);
});

test('returnProbe() gives up on a return smtpd that says nothing', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const told: boolean[] = [];
  const hangs = (signal: AbortSignal) =>
    new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error));
    });
  const asking = returnProbe(
    hangs,
    () => true,
    (up) => told.push(up),
  ).ask();
  t.mock.timers.tick(10_000);
  await asking;
  assert.deepEqual(told, [false]);
});
