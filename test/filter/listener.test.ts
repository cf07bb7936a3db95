/**
 * listener — the dialog: every trap of FACTS.md as a contract, over real sockets, octet by octet.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Reply, replyFor } from '../../rules/replies.ts';
import { TempFail } from '../../workers/fail.ts';
import { replies, startRig } from './listener-rig.ts';

const message = 'Subject: x\r\n\r\nhello\r\n';

test('createListener() says its banner at once and offers what the return smtpd offers', async () => {
  let offers = { dsn: true, smtputf8: true, eightBitMime: true, sizeBytes: 5000 as number | null };
  await using rig = await startRig({ offers: () => offers, sizeBytesMax: 9000 });
  // The quickest of ten: a busy machine may hold up one.
  const waits: number[] = [];
  for (let at = 0; at < 10; at++) {
    const before = performance.now();
    (await rig.dial()).reset();
    waits.push(performance.now() - before);
  }
  assert.ok(Math.min(...waits) < 90, 'the banner waits for nothing');
  const dialog = await rig.dial();
  assert.equal(dialog.heard(), '220 filter.example.org ESMTP Sluice\r\n');
  assert.deepEqual((await dialog.ask('EHLO a')).split('\n'), [
    '250-filter.example.org',
    '250-PIPELINING',
    '250-SIZE 5000',
    '250-ENHANCEDSTATUSCODES',
    '250-8BITMIME',
    '250-DSN',
    '250-SMTPUTF8',
    '250 XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE',
  ]);
  offers = { dsn: false, smtputf8: false, eightBitMime: false, sizeBytes: null };
  assert.deepEqual((await dialog.ask('EHLO a')).split('\n'), [
    '250-filter.example.org',
    '250-PIPELINING',
    '250-SIZE 9000',
    '250-ENHANCEDSTATUSCODES',
    '250 XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE',
  ]);
  assert.equal(await dialog.ask('HELO a'), '250 filter.example.org');
  assert.equal(await dialog.ask('QUIT'), '221 2.0.0 Bye');
  assert.deepEqual(await dialog.rest(), []);
});

for (const greeting of ['EHLO', 'EHLO ', 'HELO', 'HELO ', 'ehlo [::1]', 'EHLO ü', 'HELO x']) {
  test(`createListener() takes mail after ${JSON.stringify(greeting)}`, async () => {
    await using rig = await startRig();
    const dialog = await rig.dial();
    assert.match(await dialog.ask(greeting), /^250/);
    await dialog.send(`MAIL FROM:<>\r\nRCPT TO:<a@x>\r\nDATA\r\n${message}.\r\nQUIT\r\n`);
    assert.deepEqual(await dialog.rest(), [
      '250 2.1.0 Ok',
      '250 2.1.5 Ok',
      '354 End data with <CR><LF>.<CR><LF>',
      '250 2.0.0 Ok: handed to the return smtpd',
      '221 2.0.0 Bye',
    ]);
    assert.equal(rig.taken[0]?.octets.toString(), message);
  });
}

test('createListener() hands over the envelope verbatim, every RCPT a slot of its own', async () => {
  await using rig = await startRig({ protocol: 'lmtp', direction: 'outbound' });
  const dialog = await rig.greet();
  const addresses = [
    '"a b"@x',
    'a.@x',
    '"a\\"b>c"@x',
    '@r.example:a@x',
    'A@x',
    'a@x',
    'a@x',
    'a@xn--exmple-cua.de',
  ];
  await dialog.ask('XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=[UNAVAILABLE]');
  await dialog.ask('XFORWARD HELO=a=b+20c IDENT=4c7Yx1 SOURCE=REMOTE NAME=mx.example');
  const parameters = 'SIZE=100 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=e+2B1';
  assert.equal(await dialog.ask(`MAIL FROM:<"s p"@x> ${parameters}`), '250 2.1.0 Ok');
  for (const [at, address] of addresses.entries()) {
    assert.equal(await dialog.ask(`RCPT TO:<${address}> NOTIFY=NEVER ORCPT=rfc822;r${at}`), '250 2.1.5 Ok');
  }
  await dialog.send(
    Buffer.from('RCPT TO:<j\u00fcrgen@ex\u00e4mple.de> ORCPT=utf-8;j+C3+BC+80+9F@x\r\n', 'utf8'),
  );
  await dialog.reply();
  await dialog.ask('DATA');
  await dialog.send(`${message}.\r\n`);
  for (let slot = 0; slot < 9; slot++) assert.match(await dialog.reply(), /^250 2\.0\.0 /);

  const transaction = rig.taken[0]?.transaction;
  assert.ok(transaction !== undefined);
  assert.equal(transaction.protocol, 'lmtp');
  assert.equal(transaction.direction, 'outbound');
  assert.equal(transaction.remoteAddress, '127.0.0.1');
  assert.equal(transaction.clientGone, false);
  assert.ok(Math.abs(transaction.receivedAt - Date.now()) < 60_000);
  const { recipients, xforward, ...rest } = transaction.envelope;
  assert.deepEqual(rest, {
    sender: '"s p"@x',
    body: '8BITMIME',
    smtputf8: true,
    ret: 'HDRS',
    envid: 'e+2B1',
  });
  assert.deepEqual(recipients, [
    ...addresses.map((address, at) => ({ address, notify: 'NEVER', orcpt: `rfc822;r${at}` })),
    { address: 'j\u00fcrgen@ex\u00e4mple.de', notify: null, orcpt: 'utf-8;j+C3+BC+80+9F@x' },
  ]);
  assert.deepEqual(xforward, {
    NAME: 'mx.example',
    ADDR: '192.0.2.1',
    PORT: '[UNAVAILABLE]',
    HELO: 'a=b+20c',
    IDENT: '4c7Yx1',
    SOURCE: 'REMOTE',
  });
});

test('createListener() forgets XFORWARD after a message, RSET and EHLO, and keeps it over a refused MAIL', async () => {
  await using rig = await startRig();
  const dialog = await rig.greet();
  const deliver = async (before: readonly string[]) => {
    for (const line of before) await dialog.ask(line);
    await dialog.ask('MAIL FROM:<a@x>');
    await dialog.ask('RCPT TO:<b@x>');
    await dialog.ask('DATA');
    assert.match(await dialog.ask(`${message}.`), /^250/);
    return rig.taken.at(-1)?.transaction.envelope.xforward;
  };
  const xforward = 'XFORWARD IDENT=Q1 SOURCE=LOCAL';
  assert.deepEqual(await deliver([xforward]), { IDENT: 'Q1', SOURCE: 'LOCAL' });
  assert.deepEqual(await deliver([]), {});
  assert.deepEqual(await deliver([xforward, 'RSET']), {});
  assert.deepEqual(await deliver([xforward, 'EHLO b']), {});
  assert.deepEqual(await deliver([xforward, 'NOOP', 'MAIL FROM:<a@x> SIZE=999999999999']), {
    IDENT: 'Q1',
    SOURCE: 'LOCAL',
  });
  await dialog.ask('MAIL FROM:<a@x>');
  assert.equal(await dialog.ask(xforward), '503 5.5.1 MAIL transaction in progress');
});

const dialogs: readonly { label: string; protocol: 'smtp' | 'lmtp'; lines: readonly [string, string][] }[] = [
  {
    label: 'commands out of order',
    protocol: 'smtp',
    lines: [
      ['MAIL FROM:<a@x>', '503 5.5.1'],
      ['EHLO a', '250'],
      ['RCPT TO:<a@x>', '503 5.5.1'],
      ['DATA', '503 5.5.1'],
      ['MAIL FROM:<a@x>', '250 2.1.0'],
      ['MAIL FROM:<a@x>', '503 5.5.1'],
      ['DATA', '503 5.5.1'],
      ['RCPT TO:<>', '501 5.5.4'],
      ['DATA', '503 5.5.1'],
      ['RSET', '250 2.0.0'],
      ['RCPT TO:<a@x>', '503 5.5.1'],
      ['NOOP x', '250 2.0.0'],
      ['VRFY a', '252 2.0.0'],
      ['', '500 5.5.2'],
    ],
  },
  {
    label: 'the other protocol',
    protocol: 'smtp',
    lines: [
      ['LHLO a', '500 5.5.1'],
      ['MAIL FROM:<a@x>', '503 5.5.1'],
    ],
  },
  {
    label: 'the other protocol',
    protocol: 'lmtp',
    lines: [
      ['EHLO a', '500 5.5.1'],
      ['HELO a', '500 5.5.1'],
      ['LHLO a', '250'],
      ['MAIL FROM:<a@x>', '250 2.1.0'],
      ['DATA', '503 5.5.1'],
    ],
  },
  {
    label: 'what is not offered',
    protocol: 'smtp',
    lines: [
      ['EHLO a', '250'],
      ['AUTH LOGIN', '502 5.5.1'],
      ['STARTTLS', '502 5.5.1'],
      ['EXPN a', '502 5.5.1'],
      ['FOO', '500 5.5.2'],
      ['MAIL FROM:<a@x> AUTH=<>', '555 5.5.4'],
      ['BDAT 5 LAST', '502 5.5.1'],
    ],
  },
];

for (const { label, protocol, lines } of dialogs) {
  test(`createListener() over ${protocol}: ${label}`, async () => {
    await using rig = await startRig({ protocol });
    const dialog = await rig.dial();
    for (const [line, start] of lines) {
      const reply = await dialog.ask(line);
      const last = reply.split('\n').at(-1) ?? '';
      assert.ok(last.startsWith(start), `${line}: ${reply}`);
    }
  });
}

test('createListener() swallows a line over 4,096 octets whole, and takes one of 4,096', async () => {
  await using rig = await startRig();
  const dialog = await rig.greet();
  assert.equal(await dialog.ask(`NOOP ${'x'.repeat(4096 - 7)}`), '250 2.0.0 Ok');
  assert.equal(await dialog.ask(`NOOP ${'x'.repeat(4096 - 6)}`), '500 5.5.2 Line too long');
  assert.equal(await dialog.ask('x'.repeat(300_000)), '500 5.5.2 Line too long');
  assert.equal(await dialog.ask('NOOP'), '250 2.0.0 Ok');
});

test('createListener() hangs up on a bare LF between commands: nothing behind it is obeyed', async () => {
  await using rig = await startRig();
  const dialog = await rig.greet();
  await dialog.send(`NOOP\r\nNOOP\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n${message}.\r\n`);
  assert.deepEqual(await dialog.rest(), ['250 2.0.0 Ok', '500 5.5.2 Bare LF: commands end at CRLF']);
  assert.equal(rig.taken.length, 0);
});

test('createListener() hangs up on BDAT and on who speaks another protocol', async () => {
  await using rig = await startRig();
  const first = await rig.greet();
  await first.send('BDAT 30 LAST\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\n');
  assert.deepEqual(await first.rest(), ['502 5.5.1 BDAT is not offered']);
  const second = await rig.dial();
  await second.send('Host: filter\r\n'.repeat(25));
  const heard = await second.rest();
  assert.equal(heard.length, 21);
  assert.equal(heard.at(-1), '421 4.7.0 Too many errors');
});

test('createListener() takes 2,000 recipients pipelined and answers 452 to the next', async () => {
  await using rig = await startRig({ protocol: 'lmtp' });
  const dialog = await rig.greet();
  const rcpts = Array.from({ length: 2001 }, (_, at) => `RCPT TO:<r${at}@x>\r\n`).join('');
  await dialog.send(`MAIL FROM:<a@x>\r\n${rcpts}DATA\r\n${message}.\r\nQUIT\r\n`);
  const heard = await dialog.rest();
  assert.equal(heard.length, 1 + 2001 + 1 + 2000 + 1);
  assert.equal(heard.filter((reply) => reply === '452 4.5.3 Too many recipients').length, 1);
  assert.equal(rig.taken[0]?.transaction.envelope.recipients.length, 2000);
});

test('createListener() refuses an oversize message: by SIZE= at MAIL, by its octets at the dot, nothing kept', async () => {
  await using rig = await startRig({ sizeBytesMax: 1000, protocol: 'lmtp' });
  const dialog = await rig.greet();
  const tooLarge = '552 5.3.4 Message size exceeds fixed limit';
  assert.equal(await dialog.ask('MAIL FROM:<a@x> SIZE=1001'), tooLarge);
  assert.equal(await dialog.ask('RCPT TO:<b@x>'), tooLarge);
  assert.equal(await dialog.ask('MAIL FROM:<a@x> SIZE=1000'), '250 2.1.0 Ok');
  await dialog.send(`RCPT TO:<b@x>\r\nRCPT TO:<c@x>\r\nDATA\r\n${'x'.repeat(999)}\r\n.\r\n`);
  await dialog.send(`MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n${'x'.repeat(998)}\r\n.\r\nQUIT\r\n`);
  assert.deepEqual(
    (await dialog.rest()).map((reply) => reply.slice(0, 9)),
    ['250 2.1.5', '250 2.1.5', '354 End d', '552 5.3.4', '552 5.3.4'].concat([
      '250 2.1.0',
      '250 2.1.5',
      '354 End d',
      '250 2.0.0',
      '221 2.0.0',
    ]),
  );
  assert.deepEqual(
    rig.taken.map(({ octets }) => octets.length),
    [1000],
  );
  assert.deepEqual(await rig.spooled(), []);
});

test('createListener() sheds overload at MAIL with 451, and so to what is pipelined behind it', async () => {
  let places = 0;
  await using rig = await startRig({ admit: () => (places-- > 0 ? () => undefined : null) });
  const dialog = await rig.greet();
  const overloaded = '451 4.3.2 Too many messages in flight, try again later';
  await dialog.send('MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nRSET\r\n');
  for (const reply of [overloaded, overloaded, overloaded, '250 2.0.0 Ok'])
    assert.equal(await dialog.reply(), reply);
  places = 1;
  assert.equal(await dialog.ask('MAIL FROM:<a@x>'), '250 2.1.0 Ok');
});

test('createListener() gives replies in order, one per RCPT over LMTP, and reads the next MAIL behind the dot', async () => {
  const own = (code: number, text: string): Reply => ({
    code,
    enhanced: `${Math.floor(code / 100)}.9.9`,
    text,
  });
  await using rig = await startRig({
    protocol: 'lmtp',
    onMessage: async ({ envelope }) =>
      envelope.recipients.map(({ address }) => own(address.startsWith('n') ? 550 : 250, address)),
  });
  const dialog = await rig.greet();
  const transaction = (...addresses: string[]) =>
    `MAIL FROM:<a@x>\r\n${addresses.map((address) => `RCPT TO:<${address}>\r\n`).join('')}DATA\r\n${message}.\r\n`;
  await dialog.send(`${transaction('1@x', 'n2@x', '3@x')}${transaction('4@x')}QUIT\r\n`);
  const heard = (await dialog.rest()).filter((reply) => /\d\.9\.9/.test(reply));
  assert.deepEqual(heard, ['250 2.9.9 1@x', '550 5.9.9 n2@x', '250 2.9.9 3@x', '250 2.9.9 4@x']);
});

const failures: readonly { label: string; onMessage: () => Promise<readonly Reply[]>; logged: string }[] = [
  {
    label: 'throws',
    onMessage: async () => {
      throw new TempFail('no');
    },
    logged: 'Message failed: answered 451',
  },
  {
    label: 'throws before its first await',
    onMessage: () => {
      throw new RangeError('no');
    },
    logged: 'Message failed: answered 451',
  },
  {
    label: 'gives one reply too few',
    onMessage: async () => [replyFor('delivered')],
    logged: 'Replies do not match the recipients: answered 451',
  },
];

for (const { label, onMessage, logged } of failures) {
  test(`createListener() answers 451 to every recipient when onMessage ${label}`, async () => {
    await using rig = await startRig({ protocol: 'lmtp', onMessage });
    const dialog = await rig.greet();
    await dialog.send(`MAIL FROM:<a@x>\r\nRCPT TO:<a@x>\r\nRCPT TO:<a@x>\r\nDATA\r\n${message}.\r\nQUIT\r\n`);
    assert.deepEqual((await dialog.rest()).slice(4), [
      '451 4.3.0 Internal error, try again later',
      '451 4.3.0 Internal error, try again later',
      '221 2.0.0 Bye',
    ]);
    const line = rig.lines.find((entry) => entry.message === logged);
    assert.equal(line?.level, 'error');
    assert.deepEqual(await rig.spooled(), []);
  });
}

for (const step of ['open', 'write', 'finish'] as const) {
  test(`createListener() answers 452 when the spool fails at ${step}, and takes the next message`, async () => {
    let broken = true;
    const messages: string[] = [];
    const fail = async () => {
      throw new TempFail('disk full');
    };
    await using rig = await startRig({
      spool: {
        get: () => undefined,
        close: async () => undefined,
        open() {
          if (broken && step === 'open') throw new TempFail('disk full');
          let size = 0;
          return {
            write:
              broken && step === 'write' ? fail : async (chunk: Uint8Array) => void (size += chunk.length),
            finish:
              broken && step === 'finish'
                ? fail
                : async () => ({
                    spoolId: '1',
                    sizeBytes: size,
                    sha256: '',
                    async *read() {},
                    head: async () => Buffer.alloc(0),
                    remove: async () => void messages.push('removed'),
                  }),
            abort: async () => void messages.push('aborted'),
          };
        },
      },
    });
    const dialog = await rig.greet();
    const unavailable = '452 4.3.1 Insufficient storage, try again later';
    const ask = async () => {
      await dialog.ask('MAIL FROM:<a@x>');
      await dialog.ask('RCPT TO:<b@x>');
      const reply = await dialog.ask('DATA');
      return reply.startsWith('354') ? dialog.ask(`${message.repeat(20_000)}.`) : reply;
    };
    assert.equal(await ask(), unavailable);
    assert.equal(rig.taken.length, 0);
    broken = false;
    assert.match(await ask(), /^250 2\.0\.0/);
    assert.equal(messages.at(-1), 'removed');
  });
}

test('createListener() hangs up after a 421 of onMessage', async () => {
  await using rig = await startRig({
    onMessage: async (transaction) => replies(transaction, replyFor('shuttingDown')),
  });
  const dialog = await rig.greet();
  await dialog.send(`MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n${message}.\r\n`);
  assert.equal((await dialog.rest()).at(-1), '421 4.3.2 Service shutting down');
});

test('createListener() keeps NUL, 8-bit octets and long lines, and makes bare LF and CR what Postfix makes of them', async () => {
  await using rig = await startRig();
  const dialog = await rig.greet();
  await dialog.send('MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n');
  const long = 'x'.repeat(200_000);
  await dialog.send(`\0\x80\xff\n.\na\rb\r\n..dot\r\n${long}\r\nno end\r\n.\r\nQUIT\r\n`);
  await dialog.rest();
  assert.equal(
    rig.taken[0]?.octets.toString('latin1'),
    `\0\x80\xff\r\n.\r\na b\r\n.dot\r\n${long}\r\nno end\r\n`,
  );
});
