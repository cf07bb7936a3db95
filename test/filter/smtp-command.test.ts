/**
 * smtp-command — odd addresses and parameters stay verbatim; what is malformed is refused with the right code.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { permissiveOffers } from '../../filter/offers.ts';
import { type Extensions, parseCommand } from '../../filter/smtp-command.ts';
import { encodeWire } from '../../rules/mail.ts';

function parse(line: string, extensions: Extensions = permissiveOffers) {
  return parseCommand(Buffer.from(line, 'utf8'), extensions);
}

const paths = [
  'a@example.com',
  '"a b"@x',
  'a.@x',
  '.a..b@x',
  '"a\\"b>c"@x',
  '"a> b"@x',
  '"\\\\"@x',
  '""@x',
  '@relay.example,@two.example:a@x',
  'user@[IPv6:::1]',
  'jürgen@exämple.de',
  'a@xn--exmple-cua.de',
  'A.Case@EXAMPLE.com',
  'a+b=c@x',
  'prvs=0123abc=a@x',
  'no-domain',
  'quote"inside@x',
  'two"quotes"@x',
  'a@b"c',
  'a\\>b@x',
  'a<b@x',
  ' leading@x',
  '\ttab@x',
];

for (const path of paths) {
  test(`parseCommand() keeps <${path}> verbatim, with and without parameters`, () => {
    for (const parameters of ['', ' ', ` ORCPT=rfc822;${path.replaceAll(/[ \t]/g, '+20')} NOTIFY=NEVER`]) {
      const command = parse(`RCPT TO:<${path}>${parameters}`);
      assert.equal(command.kind === 'rcpt' && command.address, path, JSON.stringify(command));
    }
    const command = parse(`mail from:<${path}> size=10`);
    assert.equal(command.kind === 'mail' && command.sender, path);
  });
}

test('parseCommand() keeps octets that are no UTF-8', () => {
  const octets = Buffer.from('RCPT TO:<\x80\xff"\xe4 b"@x> ORCPT=utf-8;\x80\x9f@x', 'latin1');
  const command = parseCommand(octets, permissiveOffers);
  assert.ok(command.kind === 'rcpt' && command.orcpt !== null);
  assert.deepEqual(Buffer.from(encodeWire(command.address)).toString('latin1'), '\x80\xff"\xe4 b"@x');
  assert.deepEqual(Buffer.from(encodeWire(command.orcpt)).toString('latin1'), 'utf-8;\x80\x9f@x');
});

test('parseCommand() keeps any quoted local part (property)', () => {
  const character = fc.oneof(
    fc.constantFrom('"', '\\', '>', '<', ' ', '@', ';', '.'),
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }),
  );
  fc.assert(
    fc.property(fc.array(character, { maxLength: 20 }), (characters) => {
      const local = characters.join('').replaceAll(/[\0\r\n]/g, '');
      fc.pre(local.isWellFormed());
      const path = `"${local.replaceAll(/["\\]/g, '\\$&')}"@example.com`;
      const command = parse(`RCPT TO:<${path}> NOTIFY=NEVER`);
      assert.equal(command.kind === 'rcpt' && command.address, path);
    }),
  );
});

test('parseCommand() reads every MAIL parameter, values verbatim', () => {
  const line = 'MAIL FROM:<> SIZE=1234 BODY=8bitmime SMTPUTF8 RET=hdrs ENVID=a+2Bb+C3+A4';
  assert.deepEqual(parse(line), {
    kind: 'mail',
    sender: '',
    sizeBytes: 1234,
    body: '8BITMIME',
    smtputf8: true,
    ret: 'hdrs',
    envid: 'a+2Bb+C3+A4',
  });
});

for (const orcpt of [
  'rfc822;"a+20b"@x',
  'utf-8;j+C3+BCrgen@x',
  'utf-8;+80+9F@x',
  'utf-8;\\x{FC}@x',
  'utf-8;jürgen@x',
]) {
  test(`parseCommand() keeps ORCPT=${orcpt}`, () => {
    const command = parse(`RCPT TO:<a@x> NOTIFY=SUCCESS,delay ORCPT=${orcpt}`);
    assert.deepEqual(command, { kind: 'rcpt', address: 'a@x', notify: 'SUCCESS,delay', orcpt });
  });
}

test('parseCommand() reads XFORWARD values with =, xtext and nothing in them', () => {
  const command = parse(
    'XFORWARD NAME=[UNAVAILABLE] addr=IPv6:2001:db8::1 HELO=a=b+20c+80 IDENT= SOURCE=[TEMPUNAVAIL]',
  );
  assert.ok(command.kind === 'xforward');
  assert.deepEqual(
    [...command.attributes],
    [
      ['NAME', '[UNAVAILABLE]'],
      ['ADDR', 'IPv6:2001:db8::1'],
      ['HELO', 'a=b+20c+80'],
      ['IDENT', ''],
      ['SOURCE', '[TEMPUNAVAIL]'],
    ],
  );
});

const noDsn = { ...permissiveOffers, dsn: false };
const no8Bit = { ...permissiveOffers, eightBitMime: false };
const noUtf8 = { ...permissiveOffers, smtputf8: false };
const refused: readonly { line: string; reply: string; extensions?: Extensions }[] = [
  { line: 'MAIL FROM:a@x', reply: '501 5.5.4' },
  { line: 'MAIL FROM:<a@x', reply: '501 5.5.4' },
  { line: 'MAIL FROM <a@x>', reply: '501 5.5.4' },
  { line: 'MAIL', reply: '501 5.5.4' },
  { line: 'MAIL FROM:<a@x>SIZE=1', reply: '501 5.5.4' },
  { line: 'MAIL FROM:<a@x> SIZE=x', reply: '501 5.5.4' },
  { line: 'MAIL FROM:<a@x> SIZE', reply: '501 5.5.4' },
  { line: 'MAIL FROM:<a@x> SIZE=1 SIZE=1', reply: '501 5.5.4' },
  { line: 'MAIL FROM:<a@x> BODY=BINARYMIME', reply: '501 5.5.4' },
  { line: 'MAIL FROM:<a@x> SMTPUTF8=1', reply: '501 5.5.4' },
  { line: 'MAIL FROM:<a@x> RET=ALL', reply: '501 5.5.4' },
  { line: 'MAIL FROM:<a@x> ENVID=', reply: '501 5.5.4' },
  { line: 'MAIL FROM:<a@x> AUTH=<>', reply: '555 5.5.4' },
  { line: 'MAIL FROM:<a@x> NOTIFY=NEVER', reply: '555 5.5.4' },
  { line: 'MAIL FROM:<a@x> BODY=8BITMIME', reply: '555 5.5.4', extensions: no8Bit },
  { line: 'MAIL FROM:<a@x> SMTPUTF8', reply: '555 5.5.4', extensions: noUtf8 },
  { line: 'MAIL FROM:<a@x> RET=FULL', reply: '555 5.5.4', extensions: noDsn },
  { line: 'MAIL FROM:<a@x> SIZE=1', reply: '555 5.5.4', extensions: null },
  { line: 'RCPT TO:<>', reply: '501 5.5.4' },
  { line: 'RCPT TO:a@x', reply: '501 5.5.4' },
  { line: 'RCPT TO:<a@x> NOTIFY=NEVER,SUCCESS', reply: '501 5.5.4' },
  { line: 'RCPT TO:<a@x> ORCPT=a@x', reply: '501 5.5.4' },
  { line: 'RCPT TO:<a@x> X-Odd=1', reply: '555 5.5.4' },
  { line: 'RCPT TO:<a@x> NOTIFY=NEVER', reply: '555 5.5.4', extensions: noDsn },
  { line: 'XFORWARD', reply: '501 5.5.4' },
  { line: 'XFORWARD NAME', reply: '501 5.5.4' },
  { line: 'XFORWARD LOGIN=a', reply: '501 5.5.4' },
  { line: 'XFORWARD __PROTO__=a', reply: '501 5.5.4' },
  { line: 'NOOP\0', reply: '500 5.5.2' },
  { line: 'RCPT TO:<"a\rb"@x>', reply: '500 5.5.2' },
  { line: '', reply: '500 5.5.2' },
  { line: 'GET / HTTP/1.1', reply: '500 5.5.2' },
  { line: 'AUTH PLAIN AGEAYg==', reply: '502 5.5.1' },
  { line: 'STARTTLS', reply: '502 5.5.1' },
  { line: 'BDAT 10 LAST', reply: '502 5.5.1' },
  { line: 'XCLIENT ADDR=1.2.3.4', reply: '502 5.5.1' },
];

for (const { line, reply, extensions = permissiveOffers } of refused) {
  test(`parseCommand() answers ${reply} to ${JSON.stringify(line)}`, () => {
    const command = parse(line, extensions);
    assert.ok(command.kind === 'refused', JSON.stringify(command));
    assert.equal(`${command.reply.code} ${command.reply.enhanced}`, reply);
    assert.match(command.reply.text, /^[ -~]{1,400}$/);
  });
}

test('parseCommand() answers every line with a command or a reply that fits on a line (property)', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.constantFrom('', 'MAIL FROM:<', 'RCPT TO:<a> ', 'XFORWARD '),
      (octets, start) => {
        const command = parseCommand(Buffer.concat([Buffer.from(start), octets]), permissiveOffers);
        if (command.kind === 'refused') assert.match(command.reply.text, /^[ -~]{1,400}$/);
      },
    ),
  );
});
