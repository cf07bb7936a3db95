/** reinject: what reaches the return smtpd, octet for octet, and what is said of each recipient. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import { decodeWire, type Envelope, type Recipient } from '../../rules/mail.ts';
import { type FakeAnswer, type FakeCommand, keywordsWithout } from '../fakes/return-smtpd.ts';
import { temporaryFolder } from '../folder.ts';
import { chunks, handOff, outcomesOf, recipient, startRig } from './reinject-rig.ts';

/** As the fake remembers it: one character per octet. */
const octetsOf = (text: string) => Buffer.from(text).toString('latin1');

const mailLines: [label: string, of: Partial<Envelope>, line: string][] = [
  ['nothing but the sender', {}, 'MAIL FROM:<sender@example.net>'],
  ['the null sender', { sender: '' }, 'MAIL FROM:<>'],
  ['a quoted local part', { sender: '"a \\" >b"@x' }, 'MAIL FROM:<"a \\" >b"@x>'],
  ['a source route', { sender: '@a,@b:c@d' }, 'MAIL FROM:<@a,@b:c@d>'],
  [
    'BODY, RET, ENVID',
    { body: '8BITMIME', ret: 'HDRS', envid: 'a+3D' },
    'MAIL FROM:<sender@example.net> BODY=8BITMIME RET=HDRS ENVID=a+3D',
  ],
  ['SMTPUTF8', { sender: 'jürgen@exämple', smtputf8: true }, octetsOf('MAIL FROM:<jürgen@exämple> SMTPUTF8')],
  [
    'octets that are no UTF-8',
    { sender: decodeWire(Buffer.from('j\xfcrgen@x', 'latin1')) },
    'MAIL FROM:<j\xfcrgen@x>',
  ],
];

for (const [label, of, line] of mailLines) {
  test(`reinject() sends MAIL verbatim: ${label}`, async (context) => {
    const { smtpd, reinjector } = await startRig(context);
    assert.deepEqual(await outcomesOf(reinjector, handOff(['a@b'], { of })), ['accepted']);
    assert.equal(smtpd.transactions[0]?.mail, line);
  });
}

const rcptLines: [label: string, one: Recipient, line: string][] = [
  ['no parameters', recipient('One@Example.com'), 'RCPT TO:<One@Example.com>'],
  [
    'NOTIFY and ORCPT',
    { address: 'a@b', notify: 'SUCCESS,DELAY', orcpt: 'rfc822;A+2Bx@b' },
    'RCPT TO:<a@b> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;A+2Bx@b',
  ],
  [
    'raw quotes inside ORCPT',
    { address: '"a b"@c', notify: null, orcpt: 'rfc822;"a+20b"@c' },
    'RCPT TO:<"a b"@c> ORCPT=rfc822;"a+20b"@c',
  ],
  ['UTF-8', { address: 'ö@b', notify: null, orcpt: 'utf-8;ö@b' }, octetsOf('RCPT TO:<ö@b> ORCPT=utf-8;ö@b')],
  ['an empty ORCPT', { address: 'a@b', notify: null, orcpt: '' }, 'RCPT TO:<a@b> ORCPT='],
];

for (const [label, one, line] of rcptLines) {
  test(`reinject() sends RCPT verbatim: ${label}`, async (context) => {
    const { smtpd, reinjector } = await startRig(context);
    assert.deepEqual(await outcomesOf(reinjector, handOff([], { recipients: [one] })), ['accepted']);
    assert.equal(smtpd.transactions[0]?.recipients[0]?.line, line);
  });
}

test('reinject() sends XFORWARD verbatim, only what the peer lists, at most 512 octets a command', async (context) => {
  const { smtpd, reinjector } = await startRig(
    context,
    {},
    {
      keywords: [...keywordsWithout('XFORWARD'), 'XFORWARD NAME ADDR HELO IDENT SOURCE'],
    },
  );
  const xforward = {
    NAME: 'n'.repeat(250),
    ADDR: 'IPv6:2001:db8::1',
    PROTO: 'ESMTP',
    HELO: `+5Bx=${'h'.repeat(230)}`,
    IDENT: '4c7Yx1',
    SOURCE: 'REMOTE',
  };
  await outcomesOf(reinjector, handOff(['a@b'], { of: { xforward } }));
  const lines = smtpd.transactions[0]?.xforward ?? [];
  assert.deepEqual(lines, [
    `XFORWARD NAME=${xforward.NAME} ADDR=${xforward.ADDR}`,
    `XFORWARD HELO=${xforward.HELO} IDENT=4c7Yx1 SOURCE=REMOTE`,
  ]);
  for (const line of lines) assert.ok(line.length + 2 <= 512);
});

test('reinject() keeps the connection: next MAIL without RSET, no XFORWARD of the message before', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  await outcomesOf(reinjector, handOff(['a@b'], { of: { xforward: { IDENT: '4c7Yx1' } } }));
  await outcomesOf(reinjector, handOff(['c@d']));
  assert.deepEqual(
    smtpd.connections.map(({ lines }) => lines),
    [
      [
        'EHLO filter.example',
        'XFORWARD IDENT=4c7Yx1',
        'MAIL FROM:<sender@example.net>',
        'RCPT TO:<a@b>',
        'DATA',
        'MAIL FROM:<sender@example.net>',
        'RCPT TO:<c@d>',
        'DATA',
      ],
    ],
  );
  assert.deepEqual(
    smtpd.transactions.map(({ xforward }) => xforward),
    [['XFORWARD IDENT=4c7Yx1'], []],
  );
});

test('reinject() pipelines the envelope in one write, and never DATA behind it', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  await outcomesOf(reinjector, handOff(['a@b', 'c@d'], { of: { xforward: { IDENT: '4c7Yx1' } } }));
  assert.deepEqual(smtpd.connections[0]?.reads.slice(1), [
    'XFORWARD IDENT=4c7Yx1\r\nMAIL FROM:<sender@example.net>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\n',
    'DATA\r\n',
  ]);
  assert.deepEqual(smtpd.violations, []);
});

test('reinject() hands 2,000 recipients over in one transaction', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  const addresses = Array.from({ length: 2000 }, (_, at) => `recipient-${at}@example.com`);
  const outcomes = await outcomesOf(reinjector, handOff(addresses));
  assert.ok(outcomes.every((outcome) => outcome === 'accepted') && outcomes.length === 2000);
  assert.deepEqual(
    smtpd.transactions.map(({ recipients }) => recipients.map(({ address }) => address)),
    [addresses],
  );
});

test('reinject() says what the peer answered and its queue id', async (context) => {
  const { reinjector } = await startRig(context, { dot: '250 2.0.0 Ok: queued as 4c7Yx1AbCz' });
  assert.deepEqual(await reinjector.reinject(handOff(), new AbortController().signal), [
    {
      kind: 'accepted',
      reply: { code: 250, enhanced: '2.0.0', text: 'Ok: queued as 4c7Yx1AbCz' },
      queueIdOut: '4c7Yx1AbCz',
    },
  ]);
});

test('reinject() takes a queue id only in the form that Postfix gives it', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  for (const [said, expected] of [
    ['250 2.0.0 Ok', null],
    ['250 2.0.0 Ok: queued as ../../x', null],
    [`250 2.0.0 Ok: queued as ${'A'.repeat(40)}`, 'A'.repeat(30)],
  ] as const) {
    smtpd.script = { dot: said };
    const [outcome] = await reinjector.reinject(handOff(), new AbortController().signal);
    assert.equal(outcome?.kind === 'accepted' ? outcome.queueIdOut : 'not accepted', expected);
  }
});

test('reinject() speaks over a unix socket', async (context) => {
  const folder = temporaryFolder(context);
  const { smtpd, reinjector } = await startRig(context, {}, { path: join(folder, 'return.sock') });
  assert.deepEqual(await outcomesOf(reinjector, handOff()), ['accepted']);
  assert.equal(smtpd.committed().length, 1);
});

const messages: [label: string, message: string, delivered: string][] = [
  ['an empty message', '', ''],
  ['no final line end: SMTP needs one', 'a: b\r\n\r\nc', 'a: b\r\n\r\nc\r\n'],
  ['dots', '.\r\n..\r\n.a\r\n\r\n.\r\n', '.\r\n..\r\n.a\r\n\r\n.\r\n'],
  ['8-bit and NUL', '\0\xe4\xff\r\n', '\0\xe4\xff\r\n'],
  ['a line of 200,000 octets', `${'x'.repeat(200_000)}\r\n`, `${'x'.repeat(200_000)}\r\n`],
];

for (const [label, message, delivered] of messages) {
  test(`reinject() delivers the same octets: ${label}`, async (context) => {
    const { smtpd, reinjector } = await startRig(context);
    assert.deepEqual(await outcomesOf(reinjector, handOff(['a@b'], { message })), ['accepted']);
    assert.equal(smtpd.transactions[0]?.message.toString('latin1'), delivered);
  });
}

test('reinject() delivers the same octets for any message with CRLF line ends, in any chunks', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  const line = fc.array(fc.constantFrom(0x2e, 0x61, 0x00, 0x80, 0xff, 0x20), { maxLength: 8 });
  const message = fc
    .array(line, { maxLength: 20 })
    .map((lines) => lines.flatMap((octets) => [...octets, 0x0d, 0x0a]));
  await fc.assert(
    fc.asyncProperty(message, fc.array(fc.nat(12), { maxLength: 12 }), async (octets, sizes) => {
      const job = handOff(['a@b'], { bytes: () => chunks(Uint8Array.from(octets), sizes) });
      assert.deepEqual(await outcomesOf(reinjector, job), ['accepted']);
      assert.deepEqual([...(smtpd.transactions.at(-1)?.message ?? [])], octets);
    }),
    { numRuns: 500 },
  );
  assert.deepEqual(smtpd.violations, []);
  assert.equal(smtpd.connections.length, 5, 'one connection serves 100 messages');
});

test('reinject() delivers 25 MB of nothing but ".." lines intact', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  const message = Buffer.alloc(25_000_000, '..\r\n');
  assert.deepEqual(await outcomesOf(reinjector, handOff(['a@b'], { message })), ['accepted']);
  assert.ok(smtpd.transactions[0]?.message.equals(message));
});

test('reinject() awaits beforeDot once the octets are out, and before the dot', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  const { promise, resolve } = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<string | undefined>();
  const beforeDot = () => {
    asked.resolve(smtpd.transactions[0]?.state);
    return promise;
  };
  const outcomes = outcomesOf(reinjector, handOff(['a@b'], { beforeDot }));
  assert.equal(await asked.promise, 'data');
  resolve();
  assert.deepEqual(await outcomes, ['accepted']);
});

test('reinject() asks nobody where there are no recipients', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  assert.deepEqual(await outcomesOf(reinjector, handOff([])), []);
  assert.equal(smtpd.connections.length, 0);
});

test('reinject() never lets a line break in an envelope reach the wire', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  for (const evil of ['a@b>\r\nRCPT TO:<evil@x', 'a\nb@c', 'a\rb@c', 'a\0b@c']) {
    const jobs = [
      handOff(['fine@x', evil]),
      handOff(['a@b'], { of: { sender: evil } }),
      handOff(['a@b'], { of: { envid: evil } }),
      handOff(['a@b'], { of: { xforward: { HELO: evil } } }),
      handOff([], { recipients: [{ address: 'a@b', notify: null, orcpt: evil }] }),
    ];
    for (const job of jobs) {
      const outcomes = await outcomesOf(reinjector, job);
      assert.deepEqual(
        outcomes,
        job.recipients.map(() => 'internal'),
      );
    }
  }
  const lines = smtpd.connections.flatMap((connection) => connection.lines);
  assert.deepEqual([...new Set(lines)], ['EHLO filter.example']);
});

// Partial acceptance. What RCPT says, by local part.
const rcptReplies: Record<string, string> = {
  ok: '250 2.1.5 Ok',
  unknown: '550 5.1.1 <unknown>: User unknown',
  full: '452 4.2.2 Mailbox full',
  grey: '451 4.7.1 Try again later',
  relay: '554 5.7.1 Relay access denied',
  many: '452 4.5.3 Error: too many recipients',
};
const byLocalPart = ({ address }: FakeCommand): FakeAnswer | undefined =>
  rcptReplies[address.split(/[@.]/)[0] ?? ''];

const mixes: [label: string, rcpt: string, lmtp: string, smtp: string][] = [
  ['all accepted', 'ok ok', 'accepted accepted', 'accepted accepted'],
  ['one refused', 'ok unknown ok', 'accepted refused accepted', 'accepted refused accepted'],
  ['all refused', 'unknown unknown', 'refused refused', 'refused refused'],
  ['one deferred', 'ok full', 'accepted returnUnavailable', 'returnUnavailable returnUnavailable'],
  [
    'one deferred, one refused',
    'ok unknown grey',
    'accepted refused returnUnavailable',
    'returnUnavailable returnUnavailable returnUnavailable',
  ],
  [
    'relay denied is our configuration',
    'ok relay',
    'accepted returnMisconfigured',
    'returnMisconfigured returnMisconfigured',
  ],
  [
    'refused and relay denied',
    'unknown relay',
    'refused returnMisconfigured',
    'returnMisconfigured returnMisconfigured',
  ],
  ['too many before anybody is accepted', 'many', 'returnUnavailable', 'returnUnavailable'],
  [
    'too many and refused',
    'unknown many',
    'refused returnUnavailable',
    'returnUnavailable returnUnavailable',
  ],
];

for (const [label, rcpt, lmtp, smtp] of mixes) {
  for (const allOrNothing of [false, true]) {
    test(`reinject() ${allOrNothing ? 'all or nothing' : 'each by itself'}: ${label}`, async (context) => {
      const { smtpd, reinjector } = await startRig(context, { rcpt: byLocalPart });
      const addresses = rcpt.split(' ').map((local, at) => `${local}.${at}@x`);
      const outcomes = await outcomesOf(reinjector, handOff(addresses, { allOrNothing }));
      assert.deepEqual(outcomes, (allOrNothing ? smtp : lmtp).split(' '));
      const anybody = outcomes.includes('accepted');
      assert.deepEqual(
        smtpd.transactions.map(({ state }) => state),
        [anybody ? 'committed' : 'reset'],
      );
      assert.equal(smtpd.connections[0]?.lines.includes('DATA'), anybody);
      assert.equal(smtpd.connections[0]?.lines.includes('RSET'), !anybody);
      // The connection is good for the next one.
      assert.deepEqual(await outcomesOf(reinjector, handOff(['ok@x'])), ['accepted']);
      assert.equal(smtpd.connections.length, 1);
    });
  }
}

for (const allOrNothing of [false, true]) {
  test(`reinject() splits 120 recipients at a limit of 50 (${allOrNothing ? 'all or nothing' : 'each by itself'})`, async (context) => {
    let inTransaction = 0;
    const { smtpd, reinjector } = await startRig(context, {
      mail: () => {
        inTransaction = 0;
        return undefined;
      },
      rcpt: ({ address }) => {
        if (address.startsWith('unknown')) return rcptReplies['unknown'];
        return inTransaction++ < 50 ? undefined : rcptReplies['many'];
      },
    });
    const addresses = Array.from({ length: 120 }, (_, at) => `${at % 40 === 7 ? 'unknown' : 'r'}-${at}@x`);
    let dots = 0;
    const beforeDot = async () => void dots++;
    const outcomes = await outcomesOf(reinjector, handOff(addresses, { allOrNothing, beforeDot }));
    assert.deepEqual(
      outcomes,
      addresses.map((_, at) => (at % 40 === 7 ? 'refused' : 'accepted')),
    );
    const taken = smtpd
      .committed()
      .map(({ recipients }) => recipients.filter(({ reply }) => reply.startsWith('250')));
    assert.deepEqual(
      taken.map(({ length }) => length),
      [50, 50, 17],
    );
    const delivered = taken.flat().map(({ address }) => address);
    assert.deepEqual(
      delivered,
      addresses.filter((address) => address.startsWith('r-')),
    );
    assert.equal(dots, 3);
  });
}

test('reinject() says what became of the first part when the second one fails', async (context) => {
  let mails = 0;
  const { reinjector } = await startRig(context, {
    mail: () => (mails++ === 0 ? undefined : '452 4.3.1 Insufficient system storage'),
    rcpt: ({ nth }) => (nth < 2 ? undefined : rcptReplies['many']),
  });
  const job = handOff(['a@x', 'b@x', 'c@x'], { allOrNothing: true });
  assert.deepEqual(await outcomesOf(reinjector, job), ['accepted', 'accepted', 'returnUnavailable']);
});

test('reinject() does not try the postponed ones where the first part was not accepted', async (context) => {
  const { smtpd, reinjector } = await startRig(context, {
    rcpt: ({ nth }) => (nth < 2 ? undefined : rcptReplies['many']),
    dot: '554 5.6.0 Message refused',
  });
  assert.deepEqual(await outcomesOf(reinjector, handOff(['a@x', 'b@x', 'c@x'])), [
    'refused',
    'refused',
    'returnUnavailable',
  ]);
  assert.equal(smtpd.transactions.length, 1);
});

test('reinject() F24: 1,000 random mixes of replies: every outcome in its place, nobody accepted without a commit', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  const rcpt = fc.array(fc.constantFrom(...Object.keys(rcptReplies)), { minLength: 1, maxLength: 8 });
  const data = fc.constantFrom(undefined, undefined, undefined, '451 4.3.0 no', '554 5.5.1 no');
  const dot = fc.constantFrom(
    undefined,
    undefined,
    undefined,
    '451 4.3.0 no',
    '554 5.6.0 no',
    '530 5.7.0 no',
  );
  await fc.assert(
    fc.asyncProperty(rcpt, data, dot, fc.boolean(), async (locals, atData, atDot, allOrNothing) => {
      const seen = smtpd.transactions.length;
      smtpd.script = { rcpt: byLocalPart, data: () => atData, dot: () => atDot };
      const addresses = locals.map((local, at) => `${local}.${at}@x`);
      const outcomes = await outcomesOf(reinjector, handOff(addresses, { allOrNothing }));
      const made = smtpd.transactions.slice(seen);
      const committed = made.filter(({ state }) => state === 'committed');
      const delivered = committed.flatMap(({ recipients }) =>
        recipients.filter(({ reply }) => reply.startsWith('250')),
      );
      assert.deepEqual(
        delivered.map(({ address }) => address).toSorted(),
        addresses.filter((_, at) => outcomes[at] === 'accepted').toSorted(),
      );
      const deferred = locals.some((local) => ['full', 'grey', 'relay'].includes(local));
      if (allOrNothing && deferred) assert.equal(committed.length, 0);
      for (const [at, local] of locals.entries()) {
        if (outcomes[at] === 'refused')
          assert.ok(local === 'unknown' || (local === 'ok' && atDot?.startsWith('554')));
        if (outcomes[at] === 'accepted') assert.equal(local, 'ok');
        if (local === 'ok' && !allOrNothing && atData === undefined && atDot === undefined)
          assert.equal(outcomes[at], 'accepted');
      }
    }),
    { numRuns: 1000 },
  );
  assert.deepEqual(smtpd.violations, []);
});

// Connections.
test('reinject() uses at most connectionsMax connections; who waits and is aborted gets deadline', async (context) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { smtpd, reinjector } = await startRig(
    context,
    { dot: { do: 'slow', until: promise, say: '250 2.0.0 Ok' } },
    { connectionsMax: 2 },
  );
  const running = Array.from({ length: 5 }, () => outcomesOf(reinjector, handOff()));
  await smtpd.reached('dot', 2);
  assert.deepEqual(await outcomesOf(reinjector, handOff(), AbortSignal.abort()), ['deadline']);
  const controller = new AbortController();
  const waiting = outcomesOf(reinjector, handOff(), controller.signal);
  controller.abort();
  assert.deepEqual(await waiting, ['deadline']);
  resolve();
  assert.deepEqual(
    (await Promise.all(running)).flat(),
    Array.from({ length: 5 }, () => 'accepted'),
  );
  assert.equal(smtpd.connections.length, 2);
});

test('reinject() replaces a connection that the peer closed while it was idle', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  await outcomesOf(reinjector, handOff());
  await smtpd.hangUp();
  assert.deepEqual(await outcomesOf(reinjector, handOff()), ['accepted']);
  assert.equal(smtpd.connections.length, 2);
});

test('reinject() passes over an idle connection that the peer closed', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  await Promise.all([outcomesOf(reinjector, handOff()), outcomesOf(reinjector, handOff())]);
  await outcomesOf(reinjector, handOff());
  const lastUsed = smtpd.transactions.at(-1)?.connection ?? 0;
  await smtpd.hangUp(lastUsed);
  await reinjector.probe(); // longer on the way than the end of the other connection
  assert.deepEqual(await outcomesOf(reinjector, handOff()), ['accepted']);
  assert.equal(smtpd.transactions.at(-1)?.connection, 1 - lastUsed);
});

const staleness: [label: string, answer: FakeAnswer][] = [
  ['closes', { do: 'drop' }],
  ['says 421 and closes', { do: 'drop', say: '421 4.4.2 Error: timeout exceeded' }],
  ['says garbage', { do: 'raw', bytes: 'gone fishing\r\n' }],
];

for (const [label, answer] of staleness) {
  for (const stage of ['mail', 'rcpt', 'data'] as const) {
    test(`reinject() tries a fresh connection once when a used one ${label} at ${stage.toUpperCase()}`, async (context) => {
      const { smtpd, reinjector } = await startRig(context);
      await outcomesOf(reinjector, handOff());
      smtpd.script = { [stage]: ({ connection }: FakeCommand) => (connection === 0 ? answer : undefined) };
      assert.deepEqual(await outcomesOf(reinjector, handOff()), ['accepted']);
      assert.equal(smtpd.committed().length, 2);
      assert.equal(smtpd.connections.length, 2);
    });

    test(`reinject() defers when a fresh connection ${label} at ${stage.toUpperCase()}`, async (context) => {
      const { smtpd, reinjector } = await startRig(context, { [stage]: answer });
      assert.deepEqual(await outcomesOf(reinjector, handOff()), ['returnUnavailable']);
      assert.equal(smtpd.connections.length, 1);
    });
  }
}

test('reinject() says QUIT on a connection that idles too long', async (context) => {
  const { smtpd, reinjector } = await startRig(context, {}, { idleMs: 1 });
  await outcomesOf(reinjector, handOff());
  await smtpd.connections[0]?.closed;
  assert.equal(smtpd.connections[0]?.lines.at(-1), 'QUIT');
});

test('close() says QUIT on idle connections and drops what is before its dot', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  await Promise.all([outcomesOf(reinjector, handOff()), outcomesOf(reinjector, handOff())]);
  const hanging = outcomesOf(reinjector, handOff(['a@b'], { beforeDot: () => new Promise(() => undefined) }));
  await smtpd.reached('data', 3);
  await reinjector.close();
  assert.deepEqual(await hanging, ['deadline']);
  assert.deepEqual(
    smtpd.transactions.map(({ state }) => state),
    ['committed', 'committed', 'lost'],
  );
  await Promise.all(smtpd.connections.map(({ closed }) => closed));
  assert.equal(smtpd.connections.filter(({ lines }) => lines.at(-1) === 'QUIT').length, 1);
  assert.deepEqual(await outcomesOf(reinjector, handOff()), ['deadline']);
});

test('offers() is permissive at first, then what the peer last offered', async (context) => {
  const { smtpd, reinjector } = await startRig(context);
  const { offers } = reinjector;
  assert.deepEqual(offers(), { dsn: true, smtputf8: true, eightBitMime: true, sizeBytes: null });
  smtpd.keywords = ['PIPELINING', 'SIZE 5000', 'dsn', '8bitmime', 'XFORWARD NAME ident'];
  const probed = await reinjector.probe();
  assert.deepEqual(probed, {
    dsn: true,
    smtputf8: false,
    eightBitMime: true,
    sizeBytes: 5000,
    size: true,
    pipelining: true,
    enhancedStatusCodes: false,
    xforward: ['NAME', 'IDENT'],
  });
  assert.equal(offers().sizeBytes, 5000);
  smtpd.keywords = ['SIZE 0'];
  await outcomesOf(reinjector, handOff());
  assert.deepEqual(
    [offers().dsn, offers().smtputf8, offers().eightBitMime, offers().sizeBytes],
    [false, false, false, null],
  );
});

test('probe() throws TempFail that says why', async (context) => {
  const { reinjector } = await startRig(context, { greeting: '554 5.7.1 Go away' });
  await assert.rejects(reinjector.probe(), {
    name: 'TempFail',
    message: /said "554 5\.7\.1 Go away" as greeting/,
  });
});
