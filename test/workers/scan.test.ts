/** scan — both scanners at once, over fakes that speak the real protocols. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { eicar } from '../../demo/clamd.ts';
import { createClamd } from '../../workers/clamd.ts';
import { TempFail } from '../../workers/fail.ts';
import type { Log } from '../../workers/log.ts';
import { createScanner } from '../../workers/scan.ts';
import { createSpamd } from '../../workers/spamd.ts';
import type { SpooledMessage } from '../../workers/spool.ts';
import { type Act as ClamdAct, startFakeClamd } from '../fakes/clamd.ts';
import { type Act as SpamdAct, gtube, startFakeSpamd } from '../fakes/spamd.ts';

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };
const never = () => new AbortController().signal;
const eicarName = 'Eicar-Test-Signature.UNOFFICIAL';

function messageOf(text: string): SpooledMessage {
  const bytes = Buffer.from(text);
  return {
    spoolId: 'a1',
    sizeBytes: bytes.length,
    sha256: '0'.repeat(64),
    async *read(from = 0, to = bytes.length) {
      yield bytes.subarray(from, to);
    },
    head: async (maxBytes) => bytes.subarray(0, maxBytes),
    remove: async () => undefined,
  };
}

const ham = messageOf('Subject: x\r\n\r\nhello\r\n');
const virus = messageOf(`Subject: x\r\n\r\n${eicar()}\r\n`);

/** A scanner over one fake of each kind; `null` in `off` leaves it out. */
async function setUp(
  t: TestContext,
  options: {
    clamd?: ClamdAct | null;
    spamd?: SpamdAct | null;
    off?: 'clamd' | 'spamd';
    timeoutMs?: number;
  } = {},
) {
  const clamd = await startFakeClamd({ script: [options.clamd ?? null] });
  const spamd = await startFakeSpamd({ script: [options.spamd ?? null] });
  const common = { concurrency: 4, timeoutMs: options.timeoutMs ?? 10_000, log: silent };
  const scanner = createScanner({
    clamd: options.off === 'clamd' ? null : createClamd({ addresses: [clamd.address], ...common }),
    spamd:
      options.off === 'spamd'
        ? null
        : createSpamd({ addresses: [spamd.address], user: null, spamBytes: 524_288, ...common }),
  });
  t.after(async () => {
    scanner.close();
    await Promise.all([clamd.stop(), spamd.stop()]);
  });
  const scan = (message = ham, virusAsSpam: readonly string[] = [], signal = never()) =>
    scanner.scan(message, { sender: 'a@example.org', queueId: '4c7Yx1', virusAsSpam }, signal);
  return { clamd, spamd, scanner, scan };
}

test('scan() reports both results, as plain JSON', async (t) => {
  const { scan } = await setUp(t);
  const report = await scan(messageOf(`Subject: x\r\n\r\n${gtube}\r\n`));
  assert.deepEqual(JSON.parse(JSON.stringify(report)), report);
  assert.deepEqual(report.virus, { kind: 'clean' });
  assert.ok(report.spam.kind === 'scored');
  assert.equal(report.spam.score, 1000);
  assert.ok(Number.isInteger(report.virusMs) && Number.isInteger(report.spamMs));
});

test('scan() says off for a scanner that this site does not have', async (t) => {
  for (const [off, expected] of [
    ['clamd', ['off', 'scored']],
    ['spamd', ['clean', 'off']],
  ] as const) {
    const { scan, clamd, spamd } = await setUp(t, { off });
    const report = await scan();
    assert.deepEqual([report.virus.kind, report.spam.kind], expected);
    const asked = { clamd: clamd.conversations.length, spamd: spamd.conversations.length };
    assert.deepEqual(asked, { clamd: 1, spamd: 1, [off]: 0 });
  }
});

test('scan() asks both at once: neither waits for the other', async (t) => {
  const { scan, clamd, spamd } = await setUp(t, {
    clamd: { at: 'end', do: 'hang' },
    spamd: { at: 'message', do: 'hang' },
  });
  const controller = new AbortController();
  const reached = Promise.all([clamd.next('end'), spamd.next('message')]);
  const report = scan(ham, [], controller.signal);
  await reached;
  controller.abort();
  const { virus: virusResult, spam } = await report;
  assert.deepEqual(
    [virusResult, spam].map((result) => (result.kind === 'unchecked' ? result.reason : result.kind)),
    ['cancelled', 'cancelled'],
  );
});

test('scan() ends the wait for spam when a virus is found, and drops the connection', async (t) => {
  const { scan, spamd } = await setUp(t, { spamd: { at: 'message', do: 'hang' } });
  const report = await scan(virus);
  assert.deepEqual(report.virus, { kind: 'infected', name: eicarName });
  assert.equal(report.spam.kind === 'unchecked' ? report.spam.reason : report.spam.kind, 'cancelled');
  await spamd.untilLeft();
});

const patterns = [
  ['its whole name', [eicarName], 'scored'],
  ['a star', ['Eicar-*'], 'scored'],
  ['one of several patterns', ['Heuristics.Phishing.*', '*UNOFFICIAL'], 'scored'],
  ['a part of its name only', ['Eicar'], 'cancelled'],
  ['another name', ['Heuristics.Phishing.*'], 'cancelled'],
  ['nothing', [], 'cancelled'],
] as const;

for (const [label, virusAsSpam, expected] of patterns) {
  test(`scan() is ${expected} for spam when policy counts ${label} as spam`, async (t) => {
    const late: SpamdAct = { at: 'message', do: 'hang' };
    const { scan } = await setUp(t, expected === 'cancelled' ? { spamd: late } : {});
    const report = await scan(virus, virusAsSpam);
    assert.equal(report.virus.kind, 'infected');
    assert.equal(report.spam.kind === 'unchecked' ? report.spam.reason : report.spam.kind, expected);
  });
}

test('scan() waits for the other scanner when one fails', async (t) => {
  const failing = await setUp(t, { clamd: { at: 'end', do: 'close' } });
  const withoutVirus = await failing.scan();
  assert.deepEqual(
    [withoutVirus.virus.kind === 'unchecked' && withoutVirus.virus.reason, withoutVirus.spam.kind],
    ['protocol', 'scored'],
  );
  const other = await setUp(t, { spamd: { at: 'message', do: 'close' } });
  const withoutSpam = await other.scan();
  assert.deepEqual(
    [withoutSpam.virus.kind, withoutSpam.spam.kind === 'unchecked' && withoutSpam.spam.reason],
    ['clean', 'protocol'],
  );
});

test('scan() never throws, whatever both scanners do', async (t) => {
  const clamdActs: ClamdAct[] = [
    { at: 'connect', do: 'close' },
    { at: 'command', do: 'reset' },
    { at: 'chunk', do: 'endless', say: 'x'.repeat(1000) },
    { at: 'end', do: 'hang' },
  ];
  const spamdActs: SpamdAct[] = [
    { at: 'connect', do: 'reset' },
    { at: 'head', do: 'close', say: 'nonsense' },
    { at: 'part', do: 'endless', say: 'x'.repeat(65_536) },
    { at: 'message', do: 'hang' },
  ];
  for (const clamd of clamdActs) {
    for (const spamd of spamdActs) {
      const { scan } = await setUp(t, { clamd, spamd, timeoutMs: 100 });
      const report = await scan();
      assert.deepEqual(
        [report.virus.kind, report.spam.kind],
        ['unchecked', 'unchecked'],
        `${clamd.at} ${spamd.at}`,
      );
    }
  }
});

test('scan() tells the deadline of the message (timeout) from a client that is gone (cancelled)', async (t) => {
  for (const [reason, expected] of [
    [new DOMException('Deadline', 'TimeoutError'), 'timeout'],
    [new DOMException('Client gone', 'AbortError'), 'cancelled'],
  ] as const) {
    const { scan, clamd } = await setUp(t, {
      clamd: { at: 'end', do: 'hang' },
      spamd: { at: 'message', do: 'hang' },
    });
    const controller = new AbortController();
    const reached = clamd.next('end');
    const scanning = scan(ham, [], controller.signal);
    await reached;
    controller.abort(reason);
    const report = await scanning;
    assert.equal(report.virus.kind === 'unchecked' && report.virus.reason, expected);
    assert.equal(report.spam.kind === 'unchecked' && report.spam.reason, expected);
  }
});

test('scan() with a signal that has fired asks nobody', async (t) => {
  const { scan, clamd, spamd } = await setUp(t);
  const report = await scan(ham, [], AbortSignal.abort());
  assert.deepEqual([report.virus.kind, report.spam.kind], ['unchecked', 'unchecked']);
  assert.deepEqual([clamd.conversations.length, spamd.conversations.length], [0, 0]);
});

test('scan() rejects where the message cannot be read, and leaves no conversation behind', async (t) => {
  const { scan, clamd, spamd } = await setUp(t, { spamd: { at: 'message', do: 'hang' } });
  const read = async function* (from = 0, to?: number) {
    if (to === undefined) throw new TempFail('Cannot read a1: disk is gone');
    yield* ham.read(from, to);
  };
  await assert.rejects(scan({ ...ham, read }), { name: 'TempFail', message: 'Cannot read a1: disk is gone' });
  await spamd.untilLeft();
  await clamd.stop();
});

test('scan() leaves no listener on the signal of a message', async (t) => {
  const { scan } = await setUp(t);
  const signal = never();
  const counts = { added: 0, removed: 0 };
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    counts.added++;
    add(...args);
  };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    counts.removed++;
    remove(...args);
  };
  await scan(ham, [], signal);
  assert.ok(counts.added > 0);
  assert.equal(counts.added, counts.removed);
});

test('learn() teaches the spam scanner; off without one', async (t) => {
  const { scanner } = await setUp(t);
  const other = await setUp(t, { off: 'spamd' });
  const learn = (from: typeof scanner) => from.learn(() => ham.read(), ham.sizeBytes, 'spam', never());
  assert.deepEqual([(await learn(scanner)).kind, (await learn(other.scanner)).kind], ['learned', 'off']);
});
