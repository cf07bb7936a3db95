/**
 * letters — the messages of the fidelity test: every envelope and every shape of message that is easily damaged.
 *
 * Each letter's recipients live in a domain of its own (`<name>.example`), which tells it apart at the other end. Command
 * lines are latin1: each octet is one character, so `utf8()` writes what SMTPUTF8 needs. `wire` is what goes between 354
 * and the dot, already dot-stuffed.
 */

/** One transaction with the feed. `mail` and `rcpt` are what follows `MAIL FROM:` and `RCPT TO:`, parameters included. */
export type Letter = {
  readonly name: string;
  readonly mail: string;
  readonly rcpt: readonly string[];
  readonly wire: Buffer;
  /** Name in EHLO. */
  readonly ehlo?: string;
  /** XFORWARD that the client of the feed sends itself, as a gateway in front of it would. */
  readonly xforward?: string;
};

const header = [
  'From: Anna <anna@sender.example>',
  'To: Bob <bob@recipient.example>',
  'Subject: fidelity',
  'Date: Mon, 05 Jan 2026 09:59:58 +0100',
  'Message-ID: <20260105.fidelity@sender.example>',
  '',
].join('\r\n');
const plain = wireOf(`${header}\r\nHello,\r\nthis is plain.\r\n`);
const sender = '<anna@sender.example>';

/** Octets as one latin1 character each: UTF-8 in a command line. */
function utf8(text: string): string {
  return Buffer.from(text).toString('latin1');
}

/** Text as one octet per character. */
function wireOf(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

function letter(name: string, rcpt: readonly string[], more: Partial<Letter> = {}): Letter {
  return { name, mail: sender, rcpt, wire: plain, ...more };
}

/** A letter to one plain recipient whose message is the point. */
function body(name: string, wire: Buffer | string, mail = sender): Letter {
  return letter(name, [`<bob@${name}.example>`], {
    mail,
    wire: typeof wire === 'string' ? wireOf(wire) : wire,
  });
}

/** Envelopes: addresses and DSN parameters that a parser likes to break. */
export const envelopes: readonly Letter[] = [
  letter('quoted', [
    '<"a b"@quoted.example>',
    '<"a\\"b"@quoted.example>',
    '<"a\\\\b"@quoted.example>',
    '<"@"@quoted.example>',
    '<"a>b"@quoted.example>',
    '<"a,b;c:d"@quoted.example>',
    '<"a@b"@quoted.example>',
  ]),
  letter('dots-in-address', ['<a.@dots-in-address.example>', '<a..b@dots-in-address.example>']),
  letter('specials', [`<!#$%&'*+-/=?^_\`{|}~@specials.example>`, '<user+ext=x@specials.example>']),
  letter('quoted-sender', ['<bob@quoted-sender.example>'], { mail: '<"an na\\"<>"@sender.example>' }),
  letter('verp-sender', ['<bob@verp-sender.example>'], {
    mail: '<SRS0=x+y=zz=Sender.Example=anna@Relay.Example>',
  }),
  letter('route', ['<@relay.example,@b.example:bob@route.example>'], { mail: '<@b.example:anna@x.example>' }),
  letter('null-sender', ['<bob@null-sender.example>'], { mail: '<>' }),
  letter('null-sender-dsn', ['<bob@null-sender-dsn.example> NOTIFY=NEVER'], { mail: '<> RET=HDRS' }),
  letter('case', ['<Bob@case.example>', '<bob@case.example>', '<BOB@CASE.Example>']),
  letter('case-dsn', [
    '<Bob@case-dsn.example> ORCPT=rfc822;first@case-dsn.example',
    '<bob@case-dsn.example> ORCPT=rfc822;second@case-dsn.example',
  ]),
  letter('twice', ['<bob@twice.example>', '<bob@twice.example>']),
  letter('twice-dsn', [
    '<bob@twice-dsn.example> NOTIFY=FAILURE ORCPT=rfc822;one@twice-dsn.example',
    '<bob@twice-dsn.example> NOTIFY=NEVER ORCPT=rfc822;one@twice-dsn.example',
    '<bob@twice-dsn.example> NOTIFY=FAILURE ORCPT=rfc822;two@twice-dsn.example',
  ]),
  letter(
    'dsn',
    [
      '<never@dsn.example> NOTIFY=NEVER',
      '<all@dsn.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;all+2Btag@dsn.example',
      '<success@dsn.example> NOTIFY=SUCCESS ORCPT=x400;/c+3Dde/s+3Dbob',
      '<none@dsn.example>',
    ],
    { mail: `${sender} RET=FULL ENVID=id+2B+3Dwith+2Bmore` },
  ),
  letter('dsn-quoted', ['<"a b"@dsn-quoted.example> ORCPT=rfc822;"a+20b"@dsn-quoted.example'], {
    mail: `${sender} RET=HDRS ENVID=QQ314159`,
  }),
  letter('punycode', ['<bob@xn--bcher-kva.punycode.example>'], { mail: '<anna@xn--mnchen-3ya.example>' }),
  letter('utf8', [utf8('<jürgen@bücher.utf8.example>'), utf8('<"Ää ß"@utf8.example>')], {
    mail: utf8('<ÄÖÜß@münchen.example> SMTPUTF8 BODY=8BITMIME'),
    wire: Buffer.from(`${header.replace('fidelity', 'Grüße')}\r\nSchöne Grüße\r\n`),
  }),
  // RFC 6533: utf-8 address type, and plain xtext of UTF-8 octets, 80 to 9F among them (U+00C4 is C3 84, U+00DF C3 9F).
  letter(
    'utf8-orcpt',
    [
      utf8('<Ä@utf8-orcpt.example> ORCPT=utf-8;\\x{C4}\\x{2B}x@utf8-orcpt.example'),
      utf8('<ß@utf8-orcpt.example> ORCPT=utf-8;ß@utf8-orcpt.example NOTIFY=FAILURE'),
      utf8('<À@utf8-orcpt.example> ORCPT=rfc822;+C3+80@utf8-orcpt.example'),
      '<ascii@utf8-orcpt.example>',
    ],
    { mail: utf8('<ü@sender.example> SMTPUTF8 ENVID=a+2Bb') },
  ),
  letter(
    'many',
    Array.from(
      { length: 120 },
      (_, at) => `<user${at}@many.example>${at % 3 === 0 ? ' NOTIFY=FAILURE' : ''}`,
    ),
    { mail: `${sender} ENVID=many` },
  ),
  letter('helo', ['<bob@helo.example>'], { ehlo: 'a=b+c.client.example' }),
  letter('forwarded', ['<bob@forwarded.example>'], {
    ehlo: 'gateway.example',
    xforward:
      'NAME=mail.sender.example ADDR=192.0.2.10 PORT=12345 PROTO=ESMTP HELO=helo+3Dname+20x.sender.example',
  }),
  letter('forwarded-unknown', ['<bob@forwarded-unknown.example>'], {
    xforward: 'NAME=[UNAVAILABLE] ADDR=198.51.100.7 HELO=[192.0.2.1]',
  }),
];

const eightBit = Buffer.concat([
  wireOf(`${header}MIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\n`),
  Buffer.from(Array.from({ length: 128 }, (_, at) => 128 + at)),
  wireOf('\r\n'),
]);

/** Messages: octets that a relay likes to change. */
export const messages: readonly Letter[] = [
  body('eight-bit', eightBit, `${sender} BODY=8BITMIME`),
  body('eight-bit-undeclared', eightBit),
  body('eight-bit-unlabelled', Buffer.from(`${header}\r\nGrüße\r\n`)),
  body('seven-bit-declared', plain, `${sender} BODY=7BIT`),
  body('eight-bit-header', Buffer.from(`From: Jürgen <j@sender.example>\r\nSubject: Grüße\r\n\r\nx\r\n`)),
  body('lines-998', `${header}\r\n${'x'.repeat(998)}\r\n${'y'.repeat(999)}\r\n`),
  body('lines-5000', `${header}\r\n${'long '.repeat(1000)}\r\n${'b'.repeat(5000)}\r\nend\r\n`),
  body('line-70000', `${header}\r\n${'z'.repeat(70_000)}\r\nend\r\n`),
  body('header-5000', `${header}X-Long: ${'w'.repeat(5000)}\r\nX-Folded: a\r\n\t  b\r\n c\r\n\r\nx\r\n`),
  body('dots', `${header}\r\n..\r\n...\r\n..one\r\n..two.\r\nx.\r\n....\r\n`),
  body('only-a-dot', `${header}\r\n..\r\n`),
  body('body-is-dots', `..\r\n..\r\n`),
  body('no-body', header),
  body('empty-body', `${header}\r\n`),
  body('no-header', `\r\nbody without a header\r\n`),
  body('no-field', `this is no header field\r\nX-Spam-Flag: NO\r\n\r\nbody\r\n`),
  body('continuation-first', ` begins with a blank\r\n${header}\r\nbody\r\n`),
  body('empty', ''),
  body('white-space', `${header}X-Tail:   \t \r\nX-Empty:\r\n\r\n \r\n\t\r\nend \t\r\n\r\n\r\n`),
  body('nul', `${header}\r\na\0b\r\n\0\r\n`),
  body('controls', `${header}\r\n\x01\x07\x08\x0b\x0c\x1b[31m\x7f\r\n`),
  body('bare-line-ends', `${header}\r\none\ntwo\rthree\r\r\nfour\r\n`),
  body('crlf-and-lf-header', `${header.replaceAll('\r\n', '\n')}\r\nLF header\r\n`),
  body('dkim', `DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple;\r\n  b=abc\r\n${header}\r\nx  y \r\n`),
  body('mbox-from', `${header}\r\nFrom the start\r\n>From quoted\r\n`),
  body('own-received', `Received: from a by b; Mon, 5 Jan 2026 10:00:00 +0100\r\n${header}\r\nx\r\n`),
  body(
    'forged-marks',
    `X-Spam-Flag: NO\r\n${header}x-SPAM-status: No,\r\n\tscore=-9\r\n\r\nX-Spam-Flag: NO\r\n`,
  ),
];

/** 25 MB: lines of every octet but CR, LF and NUL, a dot now and then at their start. */
export function largeLetter(sizeBytes = 25_000_000): Letter {
  const line = Buffer.from(Array.from({ length: 1000 }, (_, at) => at % 256)).map((octet) =>
    octet === 0 || octet === 10 || octet === 13 ? 32 : octet,
  );
  const block = Buffer.concat([line, wireOf('\r\n..dot\r\n')]);
  const blocks = Array.from({ length: Math.ceil(sizeBytes / block.length) }, () => block);
  return body('large', Buffer.concat([wireOf(`${header}\r\n`), ...blocks]), `${sender} BODY=8BITMIME`);
}
