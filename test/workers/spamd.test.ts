/** spamd — the client against a scripted spamd: what it sends, and what it makes of every way to fail. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Log } from '../../workers/log.ts';
import { TempFail } from '../../workers/fail.ts';
import type { Address } from '../../workers/exchange.ts';
import { createSpamd } from '../../workers/spamd.ts';
import { type Act, gtube, sayScored, startFakeSpamd, type Step } from '../fakes/spamd.ts';
import { temporaryFolder } from '../folder.ts';

const never = () => new AbortController().signal;

function messageOf(octets: string | Buffer) {
  const bytes = Buffer.from(octets as string);
  return {
    sizeBytes: bytes.length,
    async *read(from = 0, to = bytes.length) {
      for (let at = from; at < to; at += 65_536) yield bytes.subarray(at, Math.min(at + 65_536, to));
    },
  };
}

const ham = messageOf('From: b@example.org\r\nSubject: x\r\n\r\nhello\r\n');

/** A client of one fake per script, and the lines it logged. */
async function setUp(
  t: TestContext,
  options: {
    scripts?: readonly (readonly (Act | null)[])[];
    user?: string;
    spamBytes?: number;
    timeoutMs?: number;
    concurrency?: number;
    allowTell?: boolean;
  } = {},
) {
  const scripts = options.scripts ?? [[null]];
  const tell = options.allowTell === undefined ? {} : { allowTell: options.allowTell };
  const fakes = await Promise.all(scripts.map((script) => startFakeSpamd({ script, ...tell })));
  const logged: { fields: object; message: string }[] = [];
  const write = (fields: object, message: string) => void logged.push({ fields, message });
  const log: Log = { debug: write, info: write, warn: write, error: write };
  const client = createSpamd({
    addresses: fakes.map(({ address }) => address),
    user: options.user ?? null,
    spamBytes: options.spamBytes ?? 524_288,
    concurrency: options.concurrency ?? 4,
    timeoutMs: options.timeoutMs ?? 10_000,
    log,
  });
  t.after(async () => {
    client.close();
    await Promise.all(fakes.map((fake) => fake.stop()));
  });
  const [fake] = fakes;
  if (fake === undefined) throw new Error('no fake');
  return { client, fake, fakes, logged };
}

test('scan() sends HEADERS with the exact length, the sender line in front, and closes its direction', async (t) => {
  const { client, fake } = await setUp(t);
  await client.scan(ham, { sender: 'jörg@example.org' }, never());
  const [conversation] = fake.conversations;
  assert.ok(conversation !== undefined);
  const expected =
    'X-Sluice-Envelope-From: <jörg@example.org>\r\nFrom: b@example.org\r\nSubject: x\r\n\r\nhello\r\n';
  assert.equal(conversation.command, 'HEADERS SPAMC/1.5');
  assert.equal(conversation.message.toString(), expected);
  assert.equal(conversation.headers.get('content-length'), String(Buffer.byteLength(expected)));
  assert.equal(conversation.headers.has('user'), false);
  assert.equal(conversation.ended, true);
});

test('scan() sends the user, without control characters', async (t) => {
  const { client, fake } = await setUp(t, { user: 'filter\r\nSet: local' });
  await client.scan(ham, { sender: '' }, never());
  assert.equal(fake.conversations[0]?.headers.get('user'), 'filterSet: local');
  assert.equal(fake.conversations[0]?.headers.has('set'), false);
});

test('scan() sends every octet as it is', async (t) => {
  const { client, fake } = await setUp(t);
  const octets = Buffer.concat([
    Buffer.from('Subject: x\r\n\r\n'),
    Buffer.from(Array.from({ length: 256 }, (_, i) => i)),
  ]);
  await client.scan(messageOf(octets), { sender: '' }, never());
  const sent = fake.conversations[0]?.message ?? Buffer.alloc(0);
  assert.ok(sent.subarray(-octets.length).equals(octets));
});

test('scan() sends the first spamBytes octets and says so; at exactly spamBytes nothing is cut', async (t) => {
  for (const [size, truncated] of [
    [999, false],
    [1000, false],
    [1001, true],
  ] as const) {
    const { client, fake } = await setUp(t, { spamBytes: 1000 });
    const message = messageOf(`Subject: x\r\n\r\n${'a'.repeat(size - 14)}`);
    const result = await client.scan(message, { sender: '' }, never());
    assert.ok(result.kind === 'scored');
    assert.equal(result.truncated, truncated, `${size}`);
    const front = 'X-Sluice-Envelope-From: <>\r\n'.length;
    assert.equal(fake.conversations[0]?.message.length, front + Math.min(size, 1000));
  }
});

test('scan() rejects with TempFail where the message ends early, and spamd is not asked', async (t) => {
  const { client, fake } = await setUp(t);
  const message = { ...ham, sizeBytes: ham.sizeBytes + 1 };
  await assert.rejects(client.scan(message, { sender: '' }, never()), TempFail);
  assert.deepEqual(fake.conversations, []);
});

test('scan() takes the reply while spamd is still busy with the same message', async (t) => {
  const say = sayScored({ tests: 'A=1', total: 'False ; 1.0 / 5.0' });
  const { client } = await setUp(t, { scripts: [[{ at: 'message', do: 'hang', say }]] });
  const result = await client.scan(ham, { sender: '' }, never());
  assert.equal(result.kind, 'scored');
});

test('scan() reads a reply as long as the header block of the message', async (t) => {
  const header = `X-Long: ${'y'.repeat(60)}\r\n`.repeat(40_000);
  const say = sayScored({
    tests: null,
    total: 'False ; 1.0 / 5.0',
    block: `X-Spam-Sluice-Tests: A=1\r\n${header}\r\n`,
  });
  const { client } = await setUp(t, {
    scripts: [[{ at: 'message', do: 'close', say }]],
    spamBytes: 3_000_000,
  });
  const result = await client.scan(messageOf(`${header}\r\nbody\r\n`), { sender: '' }, never());
  assert.equal(result.kind, 'scored');
});

const large = messageOf(`Subject: x\r\n\r\n${'a'.repeat(400_000)}`);
const steps: readonly Step[] = ['connect', 'head', 'part', 'message'];

for (const at of steps) {
  for (const [act, expected] of [
    ['hang', 'timeout'],
    ['close', 'protocol'],
    ['reset', 'protocol'],
  ] as const) {
    test(`scan() is unchecked{${expected}} where spamd does ${act} at ${at}`, async (t) => {
      const { client } = await setUp(t, {
        scripts: [[{ at, do: act }]],
        timeoutMs: act === 'hang' ? 150 : 10_000,
      });
      const result = await client.scan(large, { sender: '' }, never());
      const reason = result.kind === 'unchecked' ? result.reason : result.kind;
      // A reset so early may come before or after the client knows that it is connected.
      const early = at === 'connect' && act === 'reset' && reason === 'unreachable';
      if (!early) assert.equal(reason, expected);
    });
  }
  for (const [label, say] of [
    ['garbage', 'x'.repeat(65_536)],
    ['a header without end', `SPAMD/1.1 0 EX_OK\r\n${'X: y\r\n'.repeat(9000)}`],
  ] as const) {
    test(`scan() is unchecked{protocol} where spamd sends ${label} for ever at ${at}`, async (t) => {
      const { client } = await setUp(t, { scripts: [[{ at, do: 'endless', say }]] });
      const result = await client.scan(large, { sender: '' }, never());
      assert.equal(result.kind === 'unchecked' ? result.reason : result.kind, 'protocol');
    });
  }
}

const whole = sayScored({ tests: 'A=1,B=2', total: 'False ; 3.0 / 5.0' });
const answers = [
  ['half a reply, then hangs', { at: 'message', do: 'hang', say: whole.slice(0, -5) }, 'timeout'],
  ['half a reply, then closes', { at: 'message', do: 'close', say: whole.slice(0, -5) }, 'protocol'],
  ['half a status line', { at: 'message', do: 'close', say: 'SPAMD/1.' }, 'protocol'],
  [
    'a length that is too long',
    { at: 'message', do: 'close', say: sayScored({ tests: 'A=1', total: 'False ; 1.0 / 5.0', length: 999 }) },
    'protocol',
  ],
  [
    'a length that is too short',
    { at: 'message', do: 'close', say: sayScored({ tests: 'A=1', total: 'False ; 1.0 / 5.0', length: 10 }) },
    'protocol',
  ],
  [
    'no length',
    {
      at: 'message',
      do: 'close',
      say: sayScored({ tests: 'A=1', total: 'False ; 1.0 / 5.0', length: false }),
    },
    'protocol',
  ],
  [
    'NaN',
    { at: 'message', do: 'close', say: sayScored({ tests: 'A=1', total: 'False ; NaN / 5.0' }) },
    'protocol',
  ],
  [
    'a refusal before it has read all',
    { at: 'part', do: 'close', say: 'SPAMD/1.0 76 Bad header line: (no)\r\n' },
    'failed',
  ],
  ['EX_TEMPFAIL', { at: 'message', do: 'close', say: 'SPAMD/1.1 75 EX_TEMPFAIL\r\n\r\n' }, 'busy'],
  [
    'a reply without exact scores',
    { at: 'message', do: 'close', say: sayScored({ tests: null, total: 'False ; 1.0 / 5.0' }) },
    'failed',
  ],
] as const;

for (const [label, act, expected] of answers) {
  test(`scan() is unchecked{${expected}} where spamd sends ${label}`, async (t) => {
    const { client, logged, fake } = await setUp(t, {
      scripts: [[act]],
      timeoutMs: act.do === 'hang' ? 150 : 10_000,
    });
    const result = await client.scan(large, { sender: '' }, never());
    assert.equal(result.kind === 'unchecked' ? result.reason : result.kind, expected);
    assert.equal(logged.length, 1);
    assert.match(JSON.stringify(logged[0]), /spamd at /);
    assert.equal(fake.conversations.length, 1);
  });
}

test('scan() asks the next spamd where one is away, fails or is garbled', async (t) => {
  const gone = await startFakeSpamd();
  await gone.stop();
  const { client, fakes } = await setUp(t, {
    scripts: [
      [{ at: 'connect', do: 'close' }],
      [{ at: 'message', do: 'close', say: 'SPAMD/1.1 70 EX_SOFTWARE\r\n' }],
      [null],
    ],
  });
  for (let turn = 0; turn < 3; turn++)
    assert.equal((await client.scan(ham, { sender: '' }, never())).kind, 'scored');
  assert.equal(fakes[2]?.conversations.length, 3);
  const messages = fakes.flatMap(({ conversations }) =>
    conversations.map(({ message }) => message.toString()),
  );
  assert.equal(new Set(messages.filter((message) => message !== '')).size, 1);
});

test('scan() is unchecked{unreachable} with the remedy where nobody listens', async (t) => {
  const { client, fake } = await setUp(t);
  await fake.stop();
  const result = await client.scan(ham, { sender: '' }, never());
  assert.ok(result.kind === 'unchecked');
  assert.equal(result.reason, 'unreachable');
  assert.match(result.detail, /spamd at 127\.0\.0\.1:\d+: .*is the daemon running/);
});

test('scan() flows again once spamd is back at the same socket', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'spamd.sock');
  const address: Address = { kind: 'unix', path };
  const log: Log = { debug() {}, info() {}, warn() {}, error() {} };
  const client = createSpamd({
    addresses: [address],
    user: null,
    spamBytes: 1000,
    concurrency: 1,
    timeoutMs: 10_000,
    log,
  });
  const before = await client.scan(ham, { sender: '' }, never());
  const fake = await startFakeSpamd({ path });
  t.after(() => fake.stop());
  const after = await client.scan(ham, { sender: '' }, never());
  assert.deepEqual([before.kind, after.kind], ['unchecked', 'scored']);
});

for (const at of steps) {
  test(`scan() is unchecked{cancelled} and drops the connection when the signal fires at ${at}`, async (t) => {
    const { client, fake, logged } = await setUp(t, { scripts: [[{ at, do: 'hang' }]] });
    const controller = new AbortController();
    const reached = fake.next(at);
    const scan = client.scan(large, { sender: '' }, controller.signal);
    await reached;
    controller.abort();
    const result = await scan;
    await fake.untilLeft();
    assert.equal(result.kind === 'unchecked' ? result.reason : result.kind, 'cancelled');
    assert.deepEqual(logged, []);
  });
}

test('scan() waits for a free slot, which a cancelled scan gives back', async (t) => {
  const { client, fake } = await setUp(t, {
    scripts: [[{ at: 'message', do: 'hang' }, null]],
    concurrency: 1,
  });
  const reached = fake.next('message');
  const controller = new AbortController();
  const first = client.scan(ham, { sender: '' }, controller.signal);
  await reached;
  const second = client.scan(ham, { sender: '' }, never());
  assert.equal(fake.conversations.length, 1);
  controller.abort();
  assert.deepEqual([(await first).kind, (await second).kind], ['unchecked', 'scored']);
});

test('tell() sends class, place and the same octets as a scan, without a sender', async (t) => {
  const { client, fake } = await setUp(t, { spamBytes: 40 });
  const forged = messageOf(`X-Spam-Flag: YES\r\nSubject: x\r\n\r\n${gtube}`);
  const told = [];
  for (const as of ['spam', 'ham', 'forget', 'forget'] as const) {
    told.push((await client.tell(() => forged.read(), forged.sizeBytes, as, never())).kind);
  }
  assert.deepEqual(told, ['learned', 'unchanged', 'learned', 'unchanged']);
  assert.deepEqual(
    fake.conversations.map(({ command, headers }) => [
      command,
      headers.get('message-class'),
      headers.get('set'),
      headers.get('remove'),
    ]),
    [
      ['TELL SPAMC/1.5', 'spam', 'local', undefined],
      ['TELL SPAMC/1.5', 'ham', 'local', undefined],
      ['TELL SPAMC/1.5', undefined, undefined, 'local'],
      ['TELL SPAMC/1.5', undefined, undefined, 'local'],
    ],
  );
  const sent = new Set(fake.conversations.map(({ message }) => message.toString()));
  assert.deepEqual([...sent], [`Subject: x\r\n\r\n${gtube.slice(0, 8)}`]);
});

test('tell() is disabled, with the remedy, where spamd does not allow it', async (t) => {
  const { client } = await setUp(t, { allowTell: false });
  const told = await client.tell(() => ham.read(), ham.sizeBytes, 'spam', never());
  assert.ok(told.kind === 'disabled');
  assert.match(told.detail, /--allow-tell/);
});

const tellReplies = [
  ['nothing', '', 'protocol'],
  ['a reply without its end', 'SPAMD/1.1 0 EX_OK\r\nDidSet: local\r\n', 'protocol'],
  ['what was learned elsewhere only', 'SPAMD/1.1 0 EX_OK\r\nDidSet: remote\r\n\r\n\r\n', 'unchanged'],
  ['both places', 'SPAMD/1.1 0 EX_OK\r\nDidSet: local,remote\r\n\r\n\r\n', 'learned'],
  ['the other verb', 'SPAMD/1.1 0 EX_OK\r\nDidRemove: local\r\n\r\n\r\n', 'unchanged'],
] as const;

for (const [label, say, expected] of tellReplies) {
  test(`tell() is ${expected} where spamd sends ${label}`, async (t) => {
    const { client } = await setUp(t, { scripts: [[{ at: 'message', do: 'close', say }]] });
    const told = await client.tell(() => ham.read(), ham.sizeBytes, 'spam', never());
    assert.equal(told.kind === 'unchecked' ? told.reason : told.kind, expected);
  });
}

test('ping() tells of every address', async (t) => {
  const { client, fakes } = await setUp(t, { scripts: [[null], [{ at: 'connect', do: 'close' }], [null]] });
  await fakes[2]?.stop();
  const found = (await client.ping()).map(({ answer }) =>
    answer.kind === 'unchecked' ? answer.reason : answer.kind,
  );
  assert.deepEqual(found, ['alive', 'protocol', 'unreachable']);
});

const probe = { tests: 'A=1', total: 'False ; 1.0 / 5.0' };
const checks = [
  ['sluice.cf is loaded', null, 'loaded', /^$/],
  ['it is not', { ...probe, tests: null }, 'missing', /copy rules\/sluice\.cf/],
  ['an older one is', probe, 'missing', /An older sluice\.cf/],
  [
    'another line names the sender',
    { ...probe, sender: 'forged@sluice.invalid' },
    'missing',
    /envelope_sender_header/,
  ],
  ['spamd talks nonsense', { ...probe, total: 'NaN' }, 'unchecked', /Cannot read the total/],
] as const;

for (const [label, options, expected, detail] of checks) {
  test(`checkRules() is ${expected} where ${label}`, async (t) => {
    const act: Act | null = options === null ? null : { at: 'message', do: 'close', say: sayScored(options) };
    const { client } = await setUp(t, { scripts: [[act]] });
    const [checked] = await client.checkRules();
    assert.equal(checked?.answer.kind, expected);
    assert.match(checked !== undefined && 'detail' in checked.answer ? checked.answer.detail : '', detail);
  });
}

test('close() cancels what is under way', async (t) => {
  const { client, fake } = await setUp(t, { scripts: [[{ at: 'message', do: 'hang' }]] });
  const reached = fake.next('message');
  const scan = client.scan(ham, { sender: '' }, never());
  await reached;
  client.close();
  const result = await scan;
  assert.equal(result.kind === 'unchecked' ? result.reason : result.kind, 'cancelled');
});
