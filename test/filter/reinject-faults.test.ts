/** reinject under F23, F25, F26 and R3–R6: whatever the peer does, nothing is called accepted or refused that is not. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import test from 'node:test';
import { createReinjector } from '../../filter/reinject.ts';
import { type FakeAnswer, type FakeScript, type FakeStage, keywordsWithout } from '../fakes/return-smtpd.ts';
import { chunks, handOff, outcomesOf, startRig } from './reinject-rig.ts';

const stages = ['greeting', 'ehlo', 'xforward', 'mail', 'rcpt', 'data', 'dot'] as const satisfies FakeStage[];
const withXforward = { of: { xforward: { IDENT: '4c7Yx1' } } };

// F23: what each stage answers, and what becomes of the only recipient. `*` stands for every stage that is not named.
const faults: [label: string, answer: FakeAnswer, outcomes: Partial<Record<FakeStage | '*', string>>][] = [
  ['hangs', { do: 'hang' }, { '*': 'returnUnavailable', dot: 'outcomeUnknown' }],
  ['drops', { do: 'drop' }, { '*': 'returnUnavailable', dot: 'outcomeUnknown' }],
  ['says 421 and drops', { do: 'drop', say: '421 4.3.2 Bye' }, { '*': 'returnUnavailable' }],
  ['says 421 and stays', '421 4.3.2 Bye', { '*': 'returnUnavailable' }],
  ['says 451', '451 4.3.0 Later', { '*': 'returnUnavailable' }],
  ['says 452 4.3.1', '452 4.3.1 Insufficient system storage', { '*': 'returnUnavailable' }],
  ['says 500', '500 5.5.2 Error', { '*': 'returnMisconfigured' }],
  ['says 521', '521 5.3.2 Does not accept mail', { '*': 'returnMisconfigured' }],
  ['says 530', '530 5.7.0 Must issue a STARTTLS command first', { '*': 'returnMisconfigured' }],
  [
    'says 550 5.1.1',
    '550 5.1.1 User unknown',
    { '*': 'returnMisconfigured', rcpt: 'refused', dot: 'refused' },
  ],
  ['says 550 alone', '550 No', { '*': 'returnMisconfigured', dot: 'refused' }],
  [
    'says 552 5.3.4',
    '552 5.3.4 Message size exceeds fixed limit',
    { '*': 'returnMisconfigured', mail: 'refused', rcpt: 'refused', data: 'refused', dot: 'refused' },
  ],
  ['says 554 5.7.1', '554 5.7.1 Relay access denied', { '*': 'returnMisconfigured', dot: 'refused' }],
  ['says 554 with 4.7.1', '554 4.7.1 Confused', { '*': 'returnMisconfigured', dot: 'refused' }],
  ['says 555', '555 5.5.4 Unsupported option', { '*': 'returnMisconfigured' }],
  // F26: what is no reply, or not one to this command.
  ['says garbage', 'Hello there', { '*': 'returnUnavailable', dot: 'outcomeUnknown' }],
  [
    'says nothing but a NUL',
    { do: 'raw', bytes: '\0\r\n' },
    { '*': 'returnUnavailable', dot: 'outcomeUnknown' },
  ],
  ['says 250 with a NUL', '250 2.0.0 O\0k', { '*': 'returnUnavailable', dot: 'outcomeUnknown' }],
  [
    'says 334',
    '334 VXNlcm5hbWU6',
    {
      '*': 'returnUnavailable',
      greeting: 'returnMisconfigured',
      ehlo: 'returnMisconfigured',
      dot: 'outcomeUnknown',
    },
  ],
  ['says 199', '199 Hm', { '*': 'returnUnavailable', dot: 'outcomeUnknown' }],
  ['says 250-550', '250-2.0.0 Ok\r\n550 5.1.1 No', { '*': 'returnUnavailable', dot: 'outcomeUnknown' }],
  [
    'says an endless line',
    { do: 'raw', bytes: 'x'.repeat(100_000) },
    { '*': 'returnUnavailable', dot: 'outcomeUnknown' },
  ],
  [
    'says an endless reply',
    { do: 'raw', bytes: '550-5.1.1 no\r\n'.repeat(10_000) },
    { '*': 'returnUnavailable', dot: 'outcomeUnknown' },
  ],
  ['says two replies', '550 5.1.1 No\r\n250 2.0.0 Ok', { '*': 'returnUnavailable', dot: 'outcomeUnknown' }],
  [
    'says 250 and half a reply more',
    { do: 'raw', bytes: '250 2.0.0 Ok\r\n2' },
    { '*': 'returnUnavailable', dot: 'outcomeUnknown' },
  ],
  [
    'says half a reply and drops',
    { do: 'drop', say: '250-2.0.0 Ok' },
    { '*': 'returnUnavailable', dot: 'outcomeUnknown' },
  ],
];

for (const [label, answer, outcomes] of faults) {
  test(`reinject() F23, F26: the peer ${label}, at each stage; then mail is accepted again`, async (context) => {
    const { smtpd, reinjector } = await startRig(
      context,
      {},
      {
        connectTimeoutMs: 2000,
        commandTimeoutMs: 60,
        dotTimeoutMs: 60,
        idleMs: 0,
      },
    );
    for (const stage of stages) {
      smtpd.script = { [stage]: answer };
      const expected = outcomes[stage] ?? outcomes['*'];
      const committedBefore = smtpd.committed().length;
      for (const allOrNothing of [false, true]) {
        const got = await outcomesOf(reinjector, handOff(['a@b'], { ...withXforward, allOrNothing }));
        assert.deepEqual(got, [expected], stage);
      }
      // A commit whose reply can't be understood is outcomeUnknown, and nothing else may have been committed.
      if (stage !== 'dot') assert.equal(smtpd.committed().length, committedBefore, stage);
      smtpd.script = {};
      const commandTimeoutMs = 5000;
      const again = createReinjector({
        address: smtpd.address,
        hostname: 'x',
        connectionsMax: 1,
        log: silent,
        commandTimeoutMs,
      });
      assert.deepEqual(await outcomesOf(again, handOff()), ['accepted'], stage);
      await again.close();
    }
  });
}
test('reinject() waits at the dot as long as the job says (R5, W4), asked at the dot', async (context) => {
  const { smtpd, reinjector } = await startRig(context, { dot: { do: 'hang' } }, { dotTimeoutMs: 600_000 });
  let asked = 0;
  const dotTimeoutMs = () => {
    asked++;
    return 50;
  };
  assert.deepEqual(await outcomesOf(reinjector, handOff(['a@b'], { dotTimeoutMs })), ['outcomeUnknown']);
  assert.equal(asked, 1);
  assert.equal(smtpd.transactions.at(-1)?.state, 'dot');
});

const silent = { debug() {}, info() {}, warn() {}, error() {} };

test('reinject() F23: nobody listens, then somebody does', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  await smtpd.stop();
  const [outcome] = await reinjector.reinject(handOff(), new AbortController().signal);
  assert.ok(outcome?.kind === 'tempfail');
  assert.equal(outcome.outcome, 'returnUnavailable');
  assert.match(outcome.detail, /ECONNREFUSED/);
});

test('reinject() F23: the connection is lost in the middle of the message', async (context) => {
  const { smtpd, reinjector } = await startRig(context, {
    during: { octets: 100_000, answer: { do: 'drop' } },
  });
  const job = handOff(['a@b'], { message: Buffer.alloc(20_000_000, 'x\r\n') });
  assert.deepEqual(await outcomesOf(reinjector, job), ['returnUnavailable']);
  assert.deepEqual(
    smtpd.transactions.map(({ state }) => state),
    ['lost'],
  );
});

for (const said of ['250 2.0.0 Ok: queued as EARLY', '550 5.1.1 No', '452 4.3.1 Full', '354 Go on']) {
  test(`reinject() F26: "${said}" before the dot counts for nothing`, async (context) => {
    const { smtpd, reinjector } = await startRig(context, { during: { octets: 1, answer: said } });
    // The reply is there before the source ends: what the peer says early must never pass for the answer to the dot.
    async function* bytes() {
      yield Buffer.from('a\r\n');
      await smtpd.reached('data');
      await new Promise((resolve) => setImmediate(resolve));
      yield Buffer.from('b\r\n');
    }
    assert.deepEqual(await outcomesOf(reinjector, handOff(['a@b'], { bytes })), ['returnUnavailable']);
    assert.equal(smtpd.committed().length, 0);
  });
}

test('reinject() F26: a reply too many among those to RCPT shifts nothing', async (context) => {
  const { smtpd, reinjector } = await startRig(context, {
    rcpt: ({ nth }) =>
      nth === 0 ? { do: 'raw', bytes: '250 2.1.5 Ok\r\n250 2.1.5 Ok\r\n' } : '550 5.1.1 No',
  });
  assert.deepEqual(await outcomesOf(reinjector, handOff(['a@b', 'c@d'])), [
    'returnUnavailable',
    'returnUnavailable',
  ]);
  assert.equal(smtpd.connections[0]?.lines.includes('DATA'), false);
});

test('reinject() F26: what is said on an idle connection costs that connection only', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  await outcomesOf(reinjector, handOff());
  smtpd.say('250 2.0.0 Ok: queued as GHOST\r\n');
  await smtpd.connections[0]?.closed;
  assert.deepEqual(await outcomesOf(reinjector, handOff()), ['accepted']);
  assert.equal(smtpd.connections.length, 2);
});

test('reinject() F36: a peer that stops reading costs commandTimeoutMs, or as long as the signal allows', async (context) => {
  const script: FakeScript = { data: { do: 'deaf', say: '354 Go on' } };
  const message = Buffer.alloc(30_000_000, 'x\r\n');
  const slow = await startRig(context, script, { commandTimeoutMs: 200 });
  assert.deepEqual(await outcomesOf(slow.reinjector, handOff(['a@b'], { message })), ['returnUnavailable']);
  const patient = await startRig(context, script);
  const controller = new AbortController();
  const outcomes = outcomesOf(patient.reinjector, handOff(['a@b'], { message }), controller.signal);
  await patient.smtpd.reached('data');
  controller.abort();
  assert.deepEqual(await outcomes, ['deadline']);
});

for (const stage of ['greeting', 'ehlo', 'mail', 'rcpt', 'data'] as const) {
  test(`reinject() gives up at once when the signal fires while the peer hangs at ${stage.toUpperCase()}`, async (context) => {
    const { smtpd, reinjector } = await startRig(context, { [stage]: { do: 'hang' } });
    const controller = new AbortController();
    const outcomes = outcomesOf(reinjector, handOff(['a@b', 'c@d']), controller.signal);
    await smtpd.reached(stage);
    controller.abort();
    assert.deepEqual(await outcomes, ['deadline', 'deadline']);
    await smtpd.connections[0]?.closed;
  });
}

test('reinject() R3: the signal fires before the dot: no dot', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  const controller = new AbortController();
  const beforeDot = async () => controller.abort();
  assert.deepEqual(await outcomesOf(reinjector, handOff(['a@b'], { beforeDot }), controller.signal), [
    'deadline',
  ]);
  await smtpd.connections[0]?.closed;
  assert.deepEqual(
    smtpd.transactions.map(({ state }) => state),
    ['lost'],
  );
});

test('reinject() R5: the signal fires after the dot: the answer is awaited all the same', async (context) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { smtpd, reinjector } = await startRig(
    context,
    { dot: { do: 'slow', until: promise, say: '250 2.0.0 Ok' } },
    { commandTimeoutMs: 1000 },
  );
  const controller = new AbortController();
  const outcomes = outcomesOf(reinjector, handOff(), controller.signal);
  await smtpd.reached('dot');
  controller.abort();
  resolve();
  assert.deepEqual(await outcomes, ['accepted']);
});

test('reinject() R5: nothing is begun where the signal has fired already', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  assert.deepEqual(await outcomesOf(reinjector, handOff(['a@b']), AbortSignal.abort()), ['deadline']);
  assert.equal(smtpd.connections.length, 0);
});

const sources: [label: string, bytes: () => AsyncIterable<Uint8Array>][] = [
  [
    'fails at once',
    () => {
      throw new Error('spool is gone');
    },
  ],
  [
    'fails half way',
    async function* () {
      yield Buffer.from('a\r\n');
      throw new Error('EIO');
    },
  ],
];

for (const [label, bytes] of sources) {
  test(`reinject() sends no dot when the source ${label}`, async (context) => {
    const { smtpd, reinjector } = await startRig(context);
    const [outcome] = await reinjector.reinject(handOff(['a@b'], { bytes }), new AbortController().signal);
    assert.ok(outcome?.kind === 'tempfail');
    assert.equal(outcome.outcome, 'internal');
    assert.match(outcome.detail, /spool is gone|EIO/);
    await smtpd.connections[0]?.closed;
    assert.deepEqual(
      smtpd.transactions.map(({ state }) => state),
      ['lost'],
    );
    assert.deepEqual(await outcomesOf(reinjector, handOff()), ['accepted']);
  });
}

test('reinject() lets go of a source that hangs, and tells it so', async (context) => {
  const { reinjector } = await startRig(context);
  const asked = Promise.withResolvers<void>();
  const returned = Promise.withResolvers<string>();
  const source: AsyncIterator<Uint8Array> = {
    next: () => {
      asked.resolve();
      return new Promise(() => undefined);
    },
    return: async () => {
      returned.resolve('returned');
      return { done: true, value: undefined };
    },
  };
  const controller = new AbortController();
  const bytes = () => ({ [Symbol.asyncIterator]: () => source });
  const outcomes = outcomesOf(reinjector, handOff(['a@b'], { bytes }), controller.signal);
  await asked.promise;
  controller.abort();
  assert.deepEqual(await outcomes, ['deadline']);
  assert.equal(await returned.promise, 'returned');
});

test('reinject() sends no dot when beforeDot rejects', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  const beforeDot = () => Promise.reject(new Error('ledger is gone'));
  assert.deepEqual(await outcomesOf(reinjector, handOff(['a@b'], { beforeDot })), ['internal']);
  await smtpd.connections[0]?.closed;
  assert.deepEqual(
    smtpd.transactions.map(({ state }) => state),
    ['lost'],
  );
});

// F25: what is missing, and how an envelope that uses everything looks then.
const everything = {
  of: {
    body: '8BITMIME',
    ret: 'FULL',
    envid: 'e1',
    xforward: { IDENT: '4c7Yx1' },
  },
  recipients: [{ address: 'a@b', notify: 'NEVER', orcpt: 'rfc822;a@b' }],
  sizeBytes: 9,
  message: '\xe4\xf6\xfc..\r\n\r\n',
} as const;
const lacking: [missing: string[], mail: string, rcpt: string, xforward: string[]][] = [
  [[], 'SIZE=9 BODY=8BITMIME RET=FULL ENVID=e1', 'NOTIFY=NEVER ORCPT=rfc822;a@b', ['XFORWARD IDENT=4c7Yx1']],
  [['8BITMIME'], 'SIZE=9 RET=FULL ENVID=e1', 'NOTIFY=NEVER ORCPT=rfc822;a@b', ['XFORWARD IDENT=4c7Yx1']],
  [['DSN'], 'SIZE=9 BODY=8BITMIME', '', ['XFORWARD IDENT=4c7Yx1']],
  [['SIZE'], 'BODY=8BITMIME RET=FULL ENVID=e1', 'NOTIFY=NEVER ORCPT=rfc822;a@b', ['XFORWARD IDENT=4c7Yx1']],
  [['XFORWARD'], 'SIZE=9 BODY=8BITMIME RET=FULL ENVID=e1', 'NOTIFY=NEVER ORCPT=rfc822;a@b', []],
  [
    ['PIPELINING'],
    'SIZE=9 BODY=8BITMIME RET=FULL ENVID=e1',
    'NOTIFY=NEVER ORCPT=rfc822;a@b',
    ['XFORWARD IDENT=4c7Yx1'],
  ],
  [['8BITMIME', 'DSN', 'SIZE', 'XFORWARD', 'PIPELINING', 'SMTPUTF8', 'ENHANCEDSTATUSCODES'], '', '', []],
];

for (const [missing, mail, rcpt, xforward] of lacking) {
  test(`reinject() F25: without ${missing.join(', ') || 'nothing missing'}`, async (context) => {
    const { smtpd, reinjector } = await startRig(context, {}, { keywords: keywordsWithout(...missing) });
    assert.deepEqual(await outcomesOf(reinjector, handOff([], everything)), ['accepted']);
    const [transaction] = smtpd.transactions;
    assert.equal(transaction?.mail, `MAIL FROM:<sender@example.net> ${mail}`.trim());
    assert.equal(transaction?.recipients[0]?.line, `RCPT TO:<a@b> ${rcpt}`.trim());
    assert.deepEqual(transaction?.xforward, xforward);
    assert.equal(transaction?.message.toString('latin1'), everything.message);
    assert.deepEqual(smtpd.violations, []);
  });
}

test('reinject() F25: a message that needs SMTPUTF8 waits until it is offered, unconverted', async (context) => {
  const { smtpd, reinjector } = await startRig(context, {}, { keywords: keywordsWithout('SMTPUTF8') });
  const job = handOff(['ö@b'], { of: { smtputf8: true } });
  assert.deepEqual(await outcomesOf(reinjector, job), ['returnMisconfigured']);
  assert.equal(smtpd.transactions.length, 0);
  // The connection is as good as before for everybody else.
  assert.deepEqual(await outcomesOf(reinjector, handOff()), ['accepted']);
  assert.equal(smtpd.connections.length, 1);
});

test('reinject() F25: one command at a time without PIPELINING, also when MAIL is refused', async (context) => {
  const { smtpd, reinjector } = await startRig(
    context,
    { mail: '451 4.3.0 Later' },
    { keywords: keywordsWithout('PIPELINING') },
  );
  assert.deepEqual(await outcomesOf(reinjector, handOff(['a@b', 'c@d'])), [
    'returnUnavailable',
    'returnUnavailable',
  ]);
  smtpd.script = {};
  assert.deepEqual(await outcomesOf(reinjector, handOff(['a@b'])), ['accepted']);
  assert.equal(smtpd.connections.length, 1);
  assert.deepEqual(smtpd.violations, []);
});

test('reinject() reads past the replies to what was pipelined behind a refused MAIL', async (context) => {
  const { smtpd, reinjector } = await startRig(context, { mail: '452 4.3.1 Full' });
  const [outcome, other] = await reinjector.reinject(handOff(['a@b', 'c@d']), new AbortController().signal);
  assert.ok(outcome?.kind === 'tempfail' && other?.kind === 'tempfail');
  assert.equal(outcome.detail, 'return smtpd said "452 4.3.1 Full" to MAIL');
  smtpd.script = {};
  assert.deepEqual(await outcomesOf(reinjector, handOff(['a@b'])), ['accepted']);
  assert.equal(smtpd.connections.length, 1);
});

test('reinject() defers when the RSET after a refusal fails, with what was said before', async (context) => {
  const { smtpd, reinjector } = await startRig(context, { rcpt: '550 5.1.1 No', rset: { do: 'drop' } });
  assert.deepEqual(await outcomesOf(reinjector, handOff()), ['refused']);
  smtpd.script = {};
  assert.deepEqual(await outcomesOf(reinjector, handOff()), ['accepted']);
  assert.equal(smtpd.connections.length, 2);
});

test('reinject() delivers to a peer that sends its replies octet by octet', async (context) => {
  const peer = createServer((socket) => {
    const says = (line: string) => {
      for (const octet of `${line}\r\n`) socket.write(octet);
    };
    socket.setNoDelay(true);
    says('220 slow.example');
    let message = false;
    socket.on('data', (chunk: Buffer) => {
      const text = chunk.toString('latin1');
      if (message) {
        if (text.endsWith('.\r\n')) says('250 2.0.0 Ok: queued as SLOW');
        message = !text.endsWith('.\r\n');
        return;
      }
      message = text === 'DATA\r\n';
      for (const line of text.split('\r\n').slice(0, -1)) {
        says(
          line.startsWith('EHLO')
            ? '250-slow.example\r\n250 PIPELINING'
            : line === 'DATA'
              ? '354 Go'
              : '250 Ok',
        );
      }
    });
    socket.on('error', () => undefined);
  });
  peer.listen(0, '127.0.0.1');
  await once(peer, 'listening');
  const bound = peer.address();
  assert.ok(bound !== null && typeof bound === 'object');
  const address = { kind: 'tcp', host: '127.0.0.1', port: bound.port } as const;
  const reinjector = createReinjector({ address, hostname: 'x', connectionsMax: 1, log: silent });
  context.after(async () => {
    await reinjector.close();
    peer.close();
  });
  const job = handOff(['a@b'], { bytes: () => chunks(Buffer.from('a\r\nb\r\n'), [1, 1, 1, 1, 1]) });
  assert.deepEqual(await outcomesOf(reinjector, job), ['accepted']);
});
