/**
 * clamd — one contract for the fake and the real clamd; every way to fail at every step; npm clamscan as an oracle.
 *
 * The real clamd is demo/clamd.ts with a database of one line (EICAR); it reports encrypted parts and broken limits.
 */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable as NodeReadable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { type Clamd, eicar, startClamd } from '../../demo/clamd.ts';
import type { Unchecked, VirusResult } from '../../rules/mail.ts';
import { createClamd, parseScanReply, parseVersion, type Readable } from '../../workers/clamd.ts';
import type { Address } from '../../workers/exchange.ts';
import { TempFail } from '../../workers/fail.ts';
import { type Act, type FakeClamd, startFakeClamd } from '../fakes/clamd.ts';
import { zipOf } from '../fakes/zip.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-clamd-'));
const streamBytesMax = 4 * 1024 * 1024;
const virusName = 'Eicar-Test-Signature.UNOFFICIAL';
const infected: VirusResult = { kind: 'infected', name: virusName };
const clean: VirusResult = { kind: 'clean' };
const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const never = () => new AbortController().signal;

let real: Clamd;
before(async () => {
  real = await startClamd({
    folder: join(folder, 'real'),
    signatures: 'test',
    extraConfig: ['StreamMaxLength 4M', 'MaxFileSize 2M', 'MaxScanSize 8M'],
  });
});
after(async () => {
  await real.stop();
  rmSync(folder, { recursive: true, force: true });
});

for (const server of ['fake', 'real'] as const) {
  for (const transport of ['unix', 'tcp'] as const) {
    describe(`contract: ${server} clamd over ${transport}`, () => {
      let fake: FakeClamd;
      let address: Address;
      before(async () => {
        const path = join(folder, `contract-${transport}.ctl`);
        fake = await startFakeClamd(transport === 'unix' ? { path, streamBytesMax } : { streamBytesMax });
        address = server === 'fake' ? fake.address : real[transport];
      });
      after(() => fake.stop());

      for (const { label, bytes, expected } of [
        { label: 'EICAR as it is', bytes: Buffer.from(eicar()), expected: infected },
        { label: 'a plain message', bytes: mail('text/plain', '7bit', 'Hello'), expected: clean },
        { label: 'no octet at all', bytes: Buffer.alloc(0), expected: clean },
        { label: '1 MiB of every octet', bytes: everyOctet(1_048_576), expected: clean },
      ]) {
        test(`scan() ${expected.kind}: ${label}`, async () => {
          assert.deepEqual(await scan(address, messageOf(bytes)), expected);
        });
      }

      test('scan() is overLimit beyond StreamMaxLength, each of 20 times', async () => {
        for (let i = 0; i < 20; i++)
          assertUnchecked(await scan(address, messageOf(Buffer.alloc(3 * streamBytesMax))), 'overLimit');
      });

      test('scan() twenty at once, four at a time', async () => {
        const clamd = createClamd({ addresses: [address], concurrency: 4, timeoutMs: 10_000, log });
        const bodies = Array.from({ length: 20 }, (_, i) => (i % 2 ? eicar() : `clean ${i}`));
        const results = await Promise.all(bodies.map((body) => clamd.scan(messageOf(body), never())));
        assert.deepEqual(
          results,
          bodies.map((_, i) => (i % 2 ? infected : clean)),
        );
      });

      test('ping() and version() name the address', async () => {
        const clamd = createClamd({ addresses: [address], concurrency: 1, timeoutMs: 5_000, log });
        const [ping] = await clamd.ping();
        assert.deepEqual(ping?.answer, { kind: 'alive' });
        assert.match(ping?.address ?? '', transport === 'unix' ? /^unix:\// : /^127\.0\.0\.1:\d+$/);
        const answer = (await clamd.version())[0]?.answer;
        assert.ok(answer?.kind === 'version');
        assert.match(answer.engine, /^\d+\.\d+\.\d+$/);
      });
    });
  }
}

const clearZip = zipOf('note.txt', Buffer.from('nothing'));
const virusZip = zipOf('eicar.com', Buffer.from(eicar()));
const encryptedZip = zipOf('secret.txt', Buffer.from('secret'.repeat(20)), { encrypted: true });

/** What only the real clamd can judge. */
const samples: readonly {
  label: string;
  bytes: Buffer;
  expected: VirusResult | 'encrypted' | 'overLimit';
}[] = [
  { label: 'EICAR as an attachment in base64', bytes: attached(eicar()), expected: infected },
  {
    label: 'EICAR quoted-printable',
    bytes: mail('text/plain', 'quoted-printable', eicar().replace('=', '=3D')),
    expected: infected,
  },
  { label: 'EICAR in a deflated zip', bytes: attached(virusZip), expected: infected },
  {
    label: 'EICAR in a stored zip',
    bytes: attached(zipOf('e.com', Buffer.from(eicar()), { stored: true })),
    expected: infected,
  },
  { label: 'EICAR in a zip in a zip', bytes: attached(zipOf('inner.zip', virusZip)), expected: infected },
  { label: 'a clean zip', bytes: attached(clearZip), expected: clean },
  { label: 'a zip in a zip, clean', bytes: attached(zipOf('inner.zip', clearZip)), expected: clean },
  { label: '8-bit text', bytes: mail('text/plain', '8bit', 'Grüße'), expected: clean },
  { label: 'an encrypted zip', bytes: attached(encryptedZip), expected: 'encrypted' },
  { label: 'EICAR beside an encrypted zip', bytes: attached(encryptedZip, eicar()), expected: infected },
  { label: 'a file over MaxFileSize', bytes: everyOctet(3 * 1_048_576), expected: 'overLimit' },
];

for (const { label, bytes, expected } of samples) {
  test(`scan() by the real clamd: ${label}`, async () => {
    const result = await scan(real.unix, messageOf(bytes));
    if (typeof expected === 'string') assertUnchecked(result, expected);
    else assert.deepEqual(result, expected);
  });
}

test('scan() says of every sample what npm clamscan says', async () => {
  const oracle = await oracleOf({
    clamdscan: { host: real.tcp.host, port: real.tcp.port, localFallback: false },
    preference: 'clamdscan',
  });
  for (const { label, bytes } of samples) {
    const theirs = await oracle.scanStream(NodeReadable.from([bytes]));
    const ours = await scan(real.tcp, messageOf(bytes));
    // The oracle knows no difference between a virus and an alert that says "could not look".
    assert.equal(theirs.isInfected, ours.kind !== 'clean', label);
    if (ours.kind === 'infected') assert.deepEqual(theirs.viruses, [ours.name], label);
    if (ours.kind === 'unchecked') assert.ok(ours.detail.includes(theirs.viruses[0] ?? '?'), label);
  }
});

const large = () => messageOf(Buffer.alloc(8 * 1_048_576, 'x'));
const steps = ['connect', 'command', 'chunk', 'end'] as const;

/** F16, F18: how it misbehaves → what it must be called. Wherever the step does not matter, all steps. */
const failures: readonly {
  label: string;
  act: Omit<Act, 'at'>;
  at?: readonly Act['at'][];
  reason: Unchecked['reason'];
}[] = [
  { label: 'hangs', act: { do: 'hang' }, reason: 'timeout' },
  { label: 'hangs in the middle of its reply', act: { do: 'hang', say: 'stream: OK' }, reason: 'timeout' },
  { label: 'closes without a word', act: { do: 'close' }, reason: 'protocol' },
  { label: 'resets', act: { do: 'reset' }, reason: 'protocol' },
  { label: 'cuts its reply short', act: { do: 'close', say: 'stream: OK' }, reason: 'protocol' },
  { label: 'never ends its reply', act: { do: 'endless', say: 'x'.repeat(999) }, reason: 'protocol' },
  { label: 'sends garbage', act: { do: 'close', say: '\xff\x00\x80\r\n' }, reason: 'protocol' },
  { label: 'says nothing but NUL', act: { do: 'close', say: '\0' }, reason: 'protocol' },
  { label: 'says ERROR', act: { do: 'close', say: 'Out of memory. ERROR\0' }, reason: 'failed' },
  { label: 'says ERROR and hangs', act: { do: 'hang', say: 'Out of memory. ERROR\0' }, reason: 'failed' },
  {
    label: 'finds it too long',
    act: { do: 'close', say: 'INSTREAM size limit exceeded. ERROR\0' },
    reason: 'overLimit',
  },
  {
    label: 'says OK before the end',
    at: ['chunk'],
    act: { do: 'close', say: 'stream: OK\0' },
    reason: 'protocol',
  },
];

for (const { label, act, at, reason } of failures) {
  for (const step of at ?? steps) {
    test(`scan() is ${reason} when clamd ${label} at ${step}`, async (t) => {
      const fake = await startFakeClamd({ script: [{ ...act, at: step }] });
      t.after(() => fake.stop());
      assertUnchecked(
        await scan(fake.address, large(), { timeoutMs: reason === 'timeout' ? 150 : 10_000 }),
        reason,
      );
      if (fake.conversations[0]?.closed === false) await fake.next('closed');
    });
  }
}

for (const transport of ['tcp', 'unix'] as const) {
  test(`scan() hears what clamd said before it hung up, each of 50 times over ${transport}`, async (t) => {
    const fake = await startFakeClamd({
      script: [{ at: 'chunk', do: 'close', say: 'INSTREAM size limit exceeded. ERROR\0' }],
      ...(transport === 'unix' ? { path: join(folder, 'early.ctl') } : {}),
    });
    t.after(() => fake.stop());
    for (let i = 0; i < 50; i++) assertUnchecked(await scan(fake.address, large()), 'overLimit');
  });
}

for (const step of steps) {
  test(`scan() is cancelled at once when the client goes at ${step}, and hangs up`, async (t) => {
    const fake = await startFakeClamd({ script: [{ at: step, do: 'hang' }] });
    t.after(() => fake.stop());
    const gone = new AbortController();
    const result = scan(fake.address, large(), { signal: gone.signal, timeoutMs: 60_000 });
    await fake.next(step);
    gone.abort();
    assertUnchecked(await result, 'cancelled');
    if (fake.conversations[0]?.closed === false) await fake.next('closed');
  });
}

test('scan() reads no more of the message than clamd takes', async (t) => {
  const fake = await startFakeClamd({ script: [{ at: 'chunk', do: 'hang' }] });
  t.after(() => fake.stop());
  let readBytes = 0;
  const endless: Readable = {
    async *read() {
      for (; readBytes < 1e9; readBytes += 65_536) yield Buffer.alloc(65_536);
    },
  };
  assertUnchecked(await scan(fake.address, endless, { timeoutMs: 300 }), 'timeout');
  assert.ok(readBytes < 50e6, `${readBytes} octets were read`);
});

test('scan() stops reading the message when clamd has answered early', async (t) => {
  const fake = await startFakeClamd({
    script: [{ at: 'chunk', do: 'close', say: 'INSTREAM size limit exceeded. ERROR\0' }],
  });
  t.after(() => fake.stop());
  const left = Promise.withResolvers<void>();
  const endless: Readable = {
    async *read() {
      try {
        for (;;) yield Buffer.alloc(65_536);
      } finally {
        left.resolve();
      }
    },
  };
  assertUnchecked(await scan(fake.address, endless), 'overLimit');
  await left.promise;
});

test('scan() rejects with the TempFail of a message that can not be read, and ends no stream', async (t) => {
  const fake = await startFakeClamd();
  t.after(() => fake.stop());
  const broken: Readable = {
    async *read() {
      yield Buffer.alloc(100_000, 'the beginning');
      throw new TempFail('Cannot read 1234: EIO');
    },
  };
  await assert.rejects(scan(fake.address, broken), TempFail);
  assert.deepEqual(
    (await fakeResult(fake)).map(({ stream, chunks }) => [String(stream).slice(0, 13), chunks.includes(0)]),
    [['the beginning', false]],
  );
});

test('scan() sends no empty chunk: it would end the stream before the virus', async (t) => {
  const fake = await startFakeClamd();
  t.after(() => fake.stop());
  const withHole: Readable = {
    async *read() {
      yield* [Buffer.from('a'), Buffer.alloc(0), Buffer.from(eicar())];
    },
  };
  assert.deepEqual(await scan(fake.address, withHole), infected);
  assert.deepEqual(fake.conversations[0]?.chunks, [1, 68]);
});

for (const { label, act } of [
  { label: 'is cut off', act: { at: 'chunk', do: 'close' } },
  { label: 'resets', act: { at: 'chunk', do: 'reset' } },
  { label: 'sends garbage', act: { at: 'end', do: 'close', say: 'what?\0' } },
  { label: 'fails', act: { at: 'end', do: 'close', say: 'Cannot write. ERROR\0' } },
] as const) {
  test(`scan() asks another clamd, with the whole message, when one ${label}`, async (t) => {
    const [bad, good] = [await startFakeClamd({ script: [act] }), await startFakeClamd()];
    t.after(() => Promise.all([bad.stop(), good.stop()]));
    const bytes = Buffer.concat([everyOctet(500_000), Buffer.from(eicar())]);
    assert.deepEqual(await scan([bad.address, good.address], messageOf(bytes)), infected);
    assert.equal(bad.conversations.length, 1);
    assert.ok(good.conversations[0]?.stream.equals(bytes));
  });
}

test('scan() asks no other clamd once the deadline is over', async (t) => {
  const bad = await startFakeClamd({ script: [{ at: 'end', do: 'hang' }] });
  const good = await startFakeClamd();
  t.after(() => Promise.all([bad.stop(), good.stop()]));
  assertUnchecked(await scan([bad.address, good.address], messageOf('x'), { timeoutMs: 150 }), 'timeout');
  assert.equal(good.conversations.length, 0);
});

test('scan() is unreachable with the remedy: no socket, nobody listening, no permission', async (t) => {
  const fake = await startFakeClamd({ path: join(folder, 'forbidden.ctl') });
  t.after(() => fake.stop());
  chmodSync(join(folder, 'forbidden.ctl'), 0o600);
  chmodSync(folder, 0o711);
  const gone = await startFakeClamd();
  await gone.stop();
  const missing = { kind: 'unix', path: join(folder, 'none.ctl') } as const;
  const noSocket = assertUnchecked(await scan(missing, messageOf('x')), 'unreachable');
  assert.match(noSocket.detail, /unix:.*none\.ctl.*is the daemon running/);
  const nobody = assertUnchecked(await scan(gone.address, messageOf('x')), 'unreachable');
  assert.match(nobody.detail, /127\.0\.0\.1:\d+.*is the daemon running/);
  if (process.getuid?.() === 0) process.seteuid?.(65_534);
  else chmodSync(join(folder, 'forbidden.ctl'), 0);
  const forbidden = await scan(fake.address, messageOf('x'));
  if (process.getuid?.() === 0) process.seteuid?.(0);
  assert.match(assertUnchecked(forbidden, 'unreachable').detail, /add Sluice's user to the group/);
});

test('scan() while the real clamd reloads: every verdict is right', async () => {
  const clamd = createClamd({ addresses: [real.unix], concurrency: 8, timeoutMs: 20_000, log });
  const results: VirusResult[] = [];
  for (let i = 0; i < 5; i++) {
    real.kill('SIGUSR2'); // clamd(8): reload the signature databases
    results.push(...(await Promise.all([1, 2, 3, 4].map(() => clamd.scan(messageOf(eicar()), never())))));
  }
  assert.deepEqual(results, Array(20).fill(infected));
});

test('scan() when the real clamd is stopped: timeout, then clean again; when killed: unreachable, others go on', async (t) => {
  const mortal = await startClamd({ folder: join(folder, 'mortal'), signatures: 'test' });
  t.after(() => mortal.stop());
  for (const address of [mortal.unix, mortal.tcp]) {
    mortal.kill('SIGSTOP');
    assertUnchecked(await scan(address, large(), { timeoutMs: 300 }), 'timeout');
    mortal.kill('SIGCONT');
    assert.deepEqual(await scan(address, messageOf('x')), clean);
  }
  mortal.kill('SIGKILL');
  await mortal.stop();
  for (const address of [mortal.unix, mortal.tcp])
    assertUnchecked(await scan(address, messageOf('x')), 'unreachable');
  assert.deepEqual(await scan([mortal.unix, real.unix], messageOf(eicar())), infected);
});

for (const { reply, expected } of [
  { reply: 'stream: OK\0', expected: 'clean' },
  { reply: 'stream: Win.Trojan-1 FOUND\0', expected: 'infected Win.Trojan-1' },
  { reply: 'stream: Odd name FOUND FOUND\0', expected: 'infected Odd name FOUND' },
  { reply: 'stream: Heuristics.Encrypted.Zip FOUND\0', expected: 'encrypted' },
  { reply: 'stream: Heuristics.Encrypted.PDF FOUND\0', expected: 'encrypted' },
  { reply: 'stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0', expected: 'overLimit' },
  { reply: 'stream: Heuristics.Limits.Exceeded FOUND\0', expected: 'overLimit' },
  {
    reply: 'stream: Heuristics.Phishing.Email.SpoofedDomain FOUND\0',
    expected: 'infected Heuristics.Phishing.Email.SpoofedDomain',
  },
  { reply: 'INSTREAM size limit exceeded. ERROR\0', expected: 'overLimit' },
  { reply: "INSTREAM: Can't write to temporary file. ERROR\0", expected: 'failed' },
  { reply: 'COMMAND READ TIMED OUT ERROR\0', expected: 'failed' },
  { reply: 'stream: OK', expected: 'protocol' },
  { reply: 'stream: OK\n', expected: 'protocol' },
  { reply: 'stream: OK\n\0', expected: 'protocol' },
  { reply: 'stream: OK\0\0', expected: 'protocol' },
  { reply: 'stream: OK\0stream: X FOUND\0', expected: 'protocol' },
  { reply: ' stream: OK\0', expected: 'protocol' },
  { reply: 'STREAM: OK\0', expected: 'protocol' },
  { reply: '1: stream: OK\0', expected: 'protocol' },
  { reply: 'stream:  FOUND\0', expected: 'protocol' },
  { reply: 'stream: FOUND\0', expected: 'protocol' },
  { reply: 'UNKNOWN COMMAND\0', expected: 'protocol' },
  { reply: '\0', expected: 'protocol' },
  { reply: '', expected: 'protocol' },
]) {
  test(`parseScanReply() ${JSON.stringify(reply)} is ${expected}`, () => {
    const result = parseScanReply(Buffer.from(reply, 'latin1'), true);
    const name = result.kind === 'infected' ? ` ${result.name}` : '';
    assert.equal(result.kind === 'unchecked' ? result.reason : `${result.kind}${name}`, expected);
  });
}

test('parseScanReply() a virus counts wherever it is found, OK only after the whole message', () => {
  assert.equal(parseScanReply(Buffer.from('stream: X FOUND\0'), false).kind, 'infected');
  assertUnchecked(parseScanReply(Buffer.from('stream: OK\0'), false), 'protocol');
});

test('parseVersion() with official signatures, without, and garbage', () => {
  assert.deepEqual(parseVersion(Buffer.from('ClamAV 1.4.6/27450/Tue Nov  4 08:50:35 2025\0')), {
    kind: 'version',
    engine: '1.4.6',
    signatures: 27_450,
    signaturesAt: new Date(2025, 10, 4, 8, 50, 35).getTime(),
  });
  assert.deepEqual(parseVersion(Buffer.from('ClamAV 1.4.6\0')), {
    kind: 'version',
    engine: '1.4.6',
    signatures: null,
    signaturesAt: null,
  });
  for (const garbage of ['', '\0', 'ClamAV 1.4.6', 'hello\0', '/1/2\0'])
    assert.equal(parseVersion(Buffer.from(garbage)).kind, 'unchecked', JSON.stringify(garbage));
});

type Oracle = {
  scanStream(stream: NodeReadable): Promise<{ isInfected: boolean | null; viruses: string[] }>;
};

/** npm clamscan has no types; what is used of it stands here. */
async function oracleOf(options: object): Promise<Oracle> {
  const NodeClam: new () => { init(options: object): Promise<Oracle> } = createRequire(import.meta.url)(
    'clamscan',
  );
  return new NodeClam().init(options);
}

function scan(
  addresses: Address | readonly Address[],
  message: Readable,
  options: { signal?: AbortSignal; timeoutMs?: number } = {},
): Promise<VirusResult> {
  const list = 'kind' in addresses ? [addresses] : addresses;
  const clamd = createClamd({ addresses: list, concurrency: 1, timeoutMs: options.timeoutMs ?? 10_000, log });
  return clamd.scan(message, options.signal ?? never());
}

function assertUnchecked(result: VirusResult, reason: Unchecked['reason']): Unchecked {
  assert.ok(result.kind === 'unchecked', `expected ${reason}, got ${JSON.stringify(result)}`);
  assert.equal(result.reason, reason, result.detail);
  return result;
}

async function fakeResult(fake: FakeClamd): Promise<FakeClamd['conversations']> {
  if (fake.conversations[0]?.closed === false) await fake.next('closed');
  return fake.conversations;
}

function messageOf(bytes: Uint8Array | string): Readable {
  const buffer = Buffer.from(bytes);
  return {
    async *read() {
      for (let at = 0; at < buffer.length; at += 65_536) yield buffer.subarray(at, at + 65_536);
    },
  };
}

function everyOctet(sizeBytes: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: sizeBytes }, (_, i) => i % 251));
}

function mail(type: string, encoding: string, body: string): Buffer {
  const head = ['From: a@example.com', 'To: b@example.net', 'Subject: test', 'MIME-Version: 1.0'];
  const lines = [...head, `Content-Type: ${type}`, `Content-Transfer-Encoding: ${encoding}`, '', body, ''];
  return Buffer.from(lines.join('\r\n'));
}

/** A multipart message with each of `parts` as an attachment in base64. */
function attached(...parts: (Uint8Array | string)[]): Buffer {
  const bodies = parts.map((part, at) =>
    [
      '--=_part',
      `Content-Type: application/octet-stream; name="file${at}"`,
      'Content-Transfer-Encoding: base64',
      `Content-Disposition: attachment; filename="file${at}"`,
      '',
      Buffer.from(part).toString('base64').replaceAll(/.{76}/g, '$&\r\n'),
    ].join('\r\n'),
  );
  return mail('multipart/mixed; boundary="=_part"', '7bit', [...bodies, '--=_part--'].join('\r\n'));
}
