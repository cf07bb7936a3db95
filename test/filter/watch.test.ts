/** watch — what hand-offs and probes say of the return smtpd, and when the log hears of a change. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Outcome } from '../../filter/reinject.ts';
import { watchAge, watchReturn, watchScanners, workersProbe } from '../../filter/watch.ts';
import type { Log } from '../../workers/log.ts';
import { refused, tempfail } from './pipeline-rig.ts';

function recordingLog() {
  const lines: string[] = [];
  const write = (level: string) => (fields: object, message: string) => {
    lines.push(`${level} ${message}${'alarm' in fields ? ' (alarm)' : ''}`);
  };
  const log: Log = { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
  return { lines, log };
}

const accepted: Outcome = {
  kind: 'accepted',
  reply: { code: 250, enhanced: '2.0.0', text: 'Ok' },
  queueIdOut: 'B1',
};
const failed = (outcome: 'returnUnavailable' | 'returnMisconfigured' | 'deadline'): Outcome => ({
  kind: 'tempfail',
  outcome,
  reply: null,
  detail: 'connection refused',
});

function setUp() {
  const { lines, log } = recordingLog();
  const counted: boolean[] = [];
  let [inFlight, probed] = [0, 0];
  const answers: Outcome[][] = [];
  const offers = { dsn: true, smtputf8: true, eightBitMime: true, sizeBytes: null };
  const watched = watchReturn(
    {
      reinject: async () => answers.shift() ?? [],
      probe: async () => {
        probed++;
        return { ...offers, size: true, pipelining: true, enhancedStatusCodes: true, xforward: [] };
      },
      offers: () => offers,
    },
    (up) => counted.push(up),
    { inFlight: () => inFlight },
    log,
  );
  return {
    lines,
    counted,
    state: watched.state,
    probed: () => probed,
    busy: (messages: number) => (inFlight = messages),
    ask: () => watched.probe.ask(),
    handOff: async (...outcomes: Outcome[]) => {
      answers.push(outcomes);
      assert.deepEqual(await watched.reinject(undefined as never, undefined as never), outcomes);
    },
  };
}

test('watchReturn() judges by hand-offs', async () => {
  const table: [label: string, outcomes: Outcome[], up: boolean | null][] = [
    ['accepted', [accepted], true],
    ['refused for this message', [refused], true],
    ['4xx about this message', [tempfail], true],
    ['nobody there', [failed('returnUnavailable')], false],
    ['refuses the filter', [failed('returnMisconfigured')], false],
    ['refuses one of several', [failed('returnMisconfigured'), accepted], true],
    ['our own deadline', [failed('deadline')], null],
    ['nothing handed over', [], null],
  ];
  for (const [label, outcomes, up] of table) {
    const { handOff, state, counted } = setUp();
    await handOff(...outcomes);
    assert.equal(state().up, up, label);
    assert.deepEqual(counted, up === null ? [] : [up], label);
  }
});

test('watchReturn() logs the first word and every change', async () => {
  const { handOff, lines } = setUp();
  for (const outcome of [
    accepted,
    accepted,
    failed('returnUnavailable'),
    failed('returnUnavailable'),
    accepted,
  ])
    await handOff(outcome);
  assert.deepEqual(lines, [
    'info Return smtpd answers',
    'error Return smtpd does not answer: mail is deferred until it does (alarm)',
    'info Return smtpd answers',
  ]);
});

test('watchReturn() asks only while nothing is in flight and no hand-off has told since the last time', async () => {
  const { handOff, ask, busy, probed } = setUp();
  await ask();
  assert.equal(probed(), 1);
  await handOff(accepted);
  await ask();
  assert.equal(probed(), 1, 'a hand-off has told');
  await ask();
  assert.equal(probed(), 2);
  busy(1);
  await ask();
  assert.equal(probed(), 2, 'a message is in flight');
  await handOff(failed('deadline'));
  busy(0);
  await ask();
  assert.equal(probed(), 3, 'that hand-off told nothing');
});

test('watchScanners() keeps the last word of each, and logs only a change', () => {
  const { lines, log } = recordingLog();
  const counted: unknown[][] = [];
  const { tell, all } = watchScanners((...args) => counted.push(args), log);
  const state = (address: string, up: boolean) =>
    ({ scanner: 'clamd', address, up, detail: null, signaturesAt: 5 }) as const;
  for (const one of [
    state('a', true),
    state('b', false),
    state('a', true),
    state('a', false),
    state('a', false),
    state('a', true),
    state('b', true),
  ])
    tell(one);
  assert.deepEqual(lines, [
    'error Scanner does not answer (alarm)',
    'info Scanner answers again',
    'info Scanner answers again',
  ]);
  assert.deepEqual(all(), [state('a', true), state('b', true)]);
  assert.equal(counted.length, 7);
  assert.deepEqual(counted[1], ['clamd', 'b', false, 5]);
});

test('watchAge() raises the alarm over four hours, once an hour', async () => {
  const { lines, log } = recordingLog();
  let [now, seconds] = [0, 4 * 3600];
  const { ask } = watchAge(
    () => seconds,
    log,
    () => now,
  );
  await ask();
  assert.deepEqual(lines, []);
  seconds++;
  for (const minute of [0, 1, 59, 60, 61]) {
    now = minute * 60_000;
    await ask();
  }
  assert.deepEqual(lines, [
    'error A deferred message has been waiting for more than 4 hours (alarm)',
    'error A deferred message has been waiting for more than 4 hours (alarm)',
  ]);
});

test('workersProbe() tells of the scanners of living workers by host, and forgets those nobody asks any more', async () => {
  const counted: unknown[][] = [];
  const gone: unknown[][] = [];
  const { log, lines } = recordingLog();
  const scanners = watchScanners(
    (...args) => counted.push(args),
    log,
    (...args) => gone.push(args),
  );
  const scanner = (ok: boolean) => ({
    ok,
    detail: null,
    downSince: null,
    concurrency: 1,
    running: 0,
    addresses: [{ address: 'unix:/c', ok, detail: ok ? null : 'refused' }],
  });
  const worker = (id: string, host: string, ok: boolean) => ({
    id,
    host,
    pid: 1,
    version: '1',
    startedAt: 0,
    spools: [],
    virus: scanner(ok),
    spam: null,
  });
  let isUp = true;
  let workers = [worker('1', 'a', false), worker('2', 'a', true), worker('3', 'b', false)];
  const backlog = () => Promise.reject(new Error('not asked here'));
  const probe = workersProbe({ isUp: () => isUp, seen: () => ({ workers, filters: [] }), backlog }, scanners);
  await probe.ask();
  assert.deepEqual(
    scanners.all().map(({ address, up, detail }) => [address, up, detail]),
    [
      ['unix:/c at a', true, null],
      ['unix:/c at b', false, 'refused'],
    ],
  );
  workers = [worker('1', 'a', true)];
  isUp = false;
  await probe.ask();
  assert.deepEqual(gone, [], 'who is there is not known while Redis is away');
  isUp = true;
  await probe.ask();
  assert.deepEqual(gone, [['clamd', 'unix:/c at b']]);
  assert.deepEqual(lines, []);
  assert.equal(counted.length, 3);
});
