/**
 * spamd — the client against Debian's spamd, and one contract that the real daemon and the fake both keep.
 *
 * The oracle is Debian's own client: spamc gets the same octets and must come to the same verdict, score and rules.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { type SpamDaemon, startSpamd } from '../../demo/spamd.ts';
import type { Address } from '../../workers/exchange.ts';
import type { Log } from '../../workers/log.ts';
import { createSpamd, type LearnAs, type SpamdClient } from '../../workers/spamd.ts';
import { formatSender, readCopy } from '../../workers/spam-copy.ts';
import { type FakeSpamd, gtube, startFakeSpamd } from '../fakes/spamd.ts';

const top = join(import.meta.dirname, '..', '..');
const corpus = join(top, 'node_modules', '@stdlib', 'datasets-spam-assassin', 'data');
const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };
const never = () => new AbortController().signal;

const extraRules = String.raw`
header SLUICE_ALICE EnvelopeFrom =~ /^alice\@example\.org$/
score SLUICE_ALICE 0.1234567
describe SLUICE_ALICE Prüft den Absender des Umschlags, mit einer Beschreibung, die über mehrere Zeilen geht
header SLUICE_ODD EnvelopeFrom =~ /^(?:"a,b c"\@example\.org|j\xc3\xb6rg\@ex\xc3\xa4mple\.org|\xf6\@example\.org)$/
score SLUICE_ODD 0.01
header SLUICE_NULL EnvelopeFrom =~ /^$/
score SLUICE_NULL 0.01
header SLUICE_FORGED EnvelopeFrom =~ /forged/
score SLUICE_FORGED 50
header SLUICE_GOOD Subject =~ /sluice-good/
score SLUICE_GOOD -7.503
header SLUICE_EDGE Subject =~ /sluice-edge/
score SLUICE_EDGE 4.999
header SLUICE_DKIM_TEST Subject =~ /sluice-dkim/
score SLUICE_DKIM_TEST 3.21
tflags SLUICE_DKIM_TEST nice
full SLUICE_TAIL /sluice-tail/
score SLUICE_TAIL 2
`;

let folder: string;
/** Two children, TELL allowed, sluice.cf loaded. */
let daemon: SpamDaemon;
/** One child, as a site that has not been prepared. */
let bare: SpamDaemon;
let fake: FakeSpamd;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-spamd-'));
  // spamd works as nobody when root starts it.
  await chmod(folder, 0o711);
  // Each is noted as it comes up: should another one fail, it can be stopped.
  await Promise.all([
    startFakeSpamd().then((started) => (fake = started)),
    startSpamd({ folder: join(folder, 'full'), children: 2, allowTell: true, extraRules }).then(
      (started) => (daemon = started),
    ),
    startSpamd({ folder: join(folder, 'bare'), children: 1, sluiceRules: false }).then(
      (started) => (bare = started),
    ),
  ]);
});

after(async () => {
  await Promise.all([daemon?.stop(), bare?.stop(), fake?.stop()]);
  await rm(folder, { recursive: true });
});

function clientOf(
  addresses: readonly Address[],
  options: { timeoutMs?: number; spamBytes?: number } = {},
): SpamdClient {
  const { timeoutMs = 30_000, spamBytes = 524_288 } = options;
  return createSpamd({ addresses, user: null, spamBytes, concurrency: 4, timeoutMs, log: silent });
}

function messageOf(octets: Uint8Array | string) {
  const bytes = Buffer.from(octets as string);
  return {
    sizeBytes: bytes.length,
    async *read(from = 0, to = bytes.length) {
      yield bytes.subarray(from, to);
    },
  };
}

function letter(
  subject: string,
  body = 'Good morning, the minutes of yesterday are in the usual place.\r\n',
): string {
  return (
    'Received: from mx.example.org (mx.example.org [192.0.2.1])\r\n' +
    '\tby mail.example.net (Postfix) with ESMTP id 4c7Yx1; Fri, 20 Nov 2026 10:00:00 +0000 (UTC)\r\n' +
    'From: Alice <alice@example.org>\r\nTo: Bob <bob@example.net>\r\n' +
    `Subject: ${subject}\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n` +
    `Message-ID: <20261120100000.4711@example.org>\r\n\r\n${body}`
  );
}

async function scored(client: SpamdClient, octets: Uint8Array | string, sender = 'alice@example.org') {
  const result = await client.scan(messageOf(octets), { sender }, never());
  assert.ok(result.kind === 'scored', JSON.stringify(result));
  return { ...result, names: result.tests.map(({ name }) => name) };
}

const kinds = [
  ['the fake', () => fake.address],
  ['spamd over TCP', () => daemon.tcp],
  ['spamd over its unix socket', () => daemon.unix],
] as const;

for (const [label, address] of kinds) {
  test(`contract of ${label}: alive, prepared, ham is ham, GTUBE is 1000 points with its description`, async () => {
    const client = clientOf([address()]);
    assert.deepEqual(
      (await client.ping()).map(({ answer }) => answer),
      [{ kind: 'alive' }],
    );
    assert.deepEqual(
      (await client.checkRules()).map(({ answer }) => answer),
      [{ kind: 'loaded' }],
    );
    const ham = await scored(client, letter('Minutes'));
    assert.ok(ham.score < 5, String(ham.score));
    assert.equal(ham.names.includes('GTUBE'), false);
    const spam = await scored(client, letter('Minutes', `${gtube}\r\n`));
    const hit = spam.tests.find(({ name }) => name === 'GTUBE');
    assert.deepEqual(hit, {
      name: 'GTUBE',
      score: 1000,
      description: 'BODY: Generic Test for Unsolicited Bulk Email',
    });
    assert.ok(spam.score >= 995, String(spam.score));
    client.close();
  });

  test(`contract of ${label}: TELL learns and forgets, each once`, async () => {
    const client = clientOf([address()]);
    const message = messageOf(
      letter(`For ${label}`, 'Words only Bayes could love: zyzzyva quokka axolotl.\r\n'),
    );
    const told: string[] = [];
    for (const as of ['spam', 'spam', 'forget', 'forget'] as const) {
      told.push((await client.tell(() => message.read(), message.sizeBytes, as, never())).kind);
    }
    assert.deepEqual(told, ['learned', 'unchanged', 'learned', 'unchanged']);
    client.close();
  });

  test(`contract of ${label}: an empty message, one without a body and one of one octet are scored`, async () => {
    const client = clientOf([address()]);
    for (const octets of ['', 'Subject: x\r\n', 'x', '\r\n', Buffer.from([0])]) await scored(client, octets);
    client.close();
  });
}

test('scan() gives exact scores: negative ones, small ones, and ham a hair under the threshold', async () => {
  const client = clientOf([daemon.unix]);
  const good = await scored(client, letter('sluice-good'));
  assert.equal(good.tests.find(({ name }) => name === 'SLUICE_GOOD')?.score, -7.503);
  assert.ok(good.score < -6, String(good.score));
  const sum = good.tests.reduce((points, hit) => points + hit.score, 0);
  assert.ok(Math.abs(sum - good.score) < 0.0015 * good.tests.length, `${sum} ${good.score}`);
  const alice = good.tests.find(({ name }) => name === 'SLUICE_ALICE');
  assert.equal(alice?.score, 0.123);
  assert.equal(
    alice?.description,
    'Prüft den Absender des Umschlags, mit einer Beschreibung, die über mehrere Zeilen geht',
  );
  const edge = await scored(client, letter('sluice-edge'), 'bob@example.org');
  assert.equal(edge.tests.find(({ name }) => name === 'SLUICE_EDGE')?.score, 4.999);
  client.close();
});

const forgery = 'X-Sluice-Envelope-From: <forged@example.org>\r\n';
const route = 'Return-Path: <forged@example.org>\r\n';
const senders = [
  ['an address', 'alice@example.org', '', 'SLUICE_ALICE'],
  ['the null sender', '', '', 'SLUICE_NULL'],
  ['the null sender, Return-Path forged', '', route, 'SLUICE_NULL'],
  ['an address, our line forged', 'alice@example.org', forgery, 'SLUICE_ALICE'],
  ['an address, our line forged in another case', 'alice@example.org', forgery.toUpperCase(), 'SLUICE_ALICE'],
  [
    'an address, our line forged in a fold',
    'alice@example.org',
    forgery.replace(' ', '\r\n\t'),
    'SLUICE_ALICE',
  ],
  ['an address, Return-Path forged', 'alice@example.org', route, 'SLUICE_ALICE'],
  [
    'an address, everything forged',
    'alice@example.org',
    `${route}${forgery}X-Envelope-From: <forged@a>\r\n`,
    'SLUICE_ALICE',
  ],
  ['an address behind a source route', '@hop.example:alice@example.org', '', 'SLUICE_ALICE'],
  ['a quoted local part', '"a,b c"@example.org', '', 'SLUICE_ODD'],
  ['a UTF-8 address', 'jörg@exämple.org', '', 'SLUICE_ODD'],
  ['an address that is no UTF-8', '\udcf6@example.org', '', 'SLUICE_ODD'],
  ['a sender with line ends', 'alice@\r\nX-Sluice-Envelope-From: forged@example.org', '', null],
] as const;

for (const [label, sender, lines, expected] of senders) {
  test(`scan() lets SpamAssassin see ${label} as the envelope sender`, async () => {
    const client = clientOf([daemon.unix]);
    const { names } = await scored(client, lines + letter('Minutes'), sender);
    const seen = names.filter((name) => /^SLUICE_(?:ALICE|NULL|ODD|FORGED)$/.test(name));
    if (expected !== null) assert.deepEqual(seen, [expected]);
    else assert.equal(names.includes('SLUICE_ALICE'), false);
    client.close();
  });
}

test('scan() of a truncated message leaves out what lies behind the cut, and DKIM hits', async () => {
  const message = letter('sluice-dkim', `${'x'.repeat(60)}\r\n`.repeat(200) + 'sluice-tail\r\n');
  const whole = await scored(clientOf([daemon.unix]), message);
  const cut = await scored(clientOf([daemon.unix], { spamBytes: 4096 }), message);
  assert.deepEqual([whole.truncated, cut.truncated], [false, true]);
  assert.deepEqual([whole.names.includes('SLUICE_TAIL'), cut.names.includes('SLUICE_TAIL')], [true, false]);
  assert.deepEqual(whole.ignored, []);
  assert.ok(whole.names.includes('SLUICE_DKIM_TEST'));
  assert.deepEqual(
    cut.ignored.map(({ name, score }) => [name, score]),
    [['SLUICE_DKIM_TEST', 3.21]],
  );
  assert.equal(cut.names.includes('SLUICE_DKIM_TEST'), false);
});

/** Debian's spamc on the same octets: its verdict, its score, and the rules in its report. */
async function spamc(octets: Buffer): Promise<{ spam: boolean; score: number; rows: Map<string, string> }> {
  const args = ['-U', daemon.unix.path, '-x', '-s', '20000000', '-E', '-R'];
  const child = spawn('/usr/bin/spamc', args, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(octets);
  const closed = once(child, 'close');
  let output = '';
  for await (const chunk of child.stdout) output += String(chunk);
  const [code] = await closed;
  assert.ok(code === 0 || code === 1, `spamc ended with ${code}`);
  return { spam: code === 1, score: Number.parseFloat(output), rows: rowsOf(output) };
}

function oracleMessages(): { label: string; octets: Buffer }[] {
  const fixtures = [
    'begins-with-continuation',
    'dkim-signed',
    'eight-bit',
    'empty',
    'forged-marks',
    'no-body',
    'no-final-newline',
    'nul-in-name',
  ].map((name) => join(top, 'test', 'messages', `${name}.eml`));
  const samples = ['spam-1', 'spam-2', 'easy-ham-1', 'hard-ham-1'].flatMap((group) =>
    globSync(join(corpus, group, '*.txt'))
      .toSorted()
      .slice(3, 4),
  );
  const files = [...fixtures, ...samples].map((file) => ({
    label: basename(file),
    octets: readFileSync(file),
  }));
  const made: [string, string | Buffer][] = [
    ['GTUBE', letter('x', gtube)],
    ['negative', letter('sluice-good')],
    ['just under the threshold', letter('sluice-edge')],
    ['8 bit', Buffer.from(letter('Gr\xfc\xdfe', 'Sch\xf6ne Gr\xfc\xdfe \x80\xff\r\n'), 'latin1')],
    ['a long line', letter('x', `${'long '.repeat(2_000)}\r\n`)],
    ['dots and NUL octets', letter('x', '.\r\n..\r\na\0b\0\0c\r\n')],
  ];
  return [...files, ...made.map(([label, octets]) => ({ label, octets: Buffer.from(octets as string) }))];
}

test('scan() agrees with Debian’s spamc on verdict, score and every rule of every message', async () => {
  const client = clientOf([daemon.unix]);
  const seen = { spam: 0, ham: 0, negative: 0 };
  for (const { label, octets } of oracleMessages()) {
    const copy = await readCopy(messageOf(octets).read(), octets.length, formatSender('alice@example.org'));
    const [ours, theirs] = await Promise.all([scored(client, octets), spamc(copy)]);
    assert.equal(ours.score >= 5, theirs.spam, `${label}: ${ours.score} and ${theirs.score}`);
    assert.ok(Math.abs(ours.score - theirs.score) <= 0.1, `${label}: ${ours.score} and ${theirs.score}`);
    assert.deepEqual(new Set(theirs.rows.keys()), new Set(ours.names), label);
    for (const { name, score: points } of ours.tests) {
      const row = theirs.rows.get(name) ?? 'none';
      // The report shows whole points from 10 on.
      const near = Math.abs(points - Number(row)) <= (row.includes('.') ? 0.051 : 0.51);
      assert.ok(near, `${label}: ${name} ${points} and ${row}`);
    }
    seen[theirs.spam ? 'spam' : 'ham']++;
    if (ours.score < 0) seen.negative++;
  }
  assert.ok(seen.spam >= 3 && seen.ham >= 5 && seen.negative >= 1, JSON.stringify(seen));
  client.close();
});

/** The table of SpamAssassin's report: rule name and rounded points. */
function rowsOf(report: string): Map<string, string> {
  const rows = report.matchAll(/^ *(-?\d+(?:\.\d)?) ([A-Z]\w+)/gm);
  return new Map([...rows].map(([, points = '', name = '']) => [name, points]));
}

test('tell() moves the counts of the very Bayes database that sa-learn reads', async () => {
  const client = clientOf([daemon.tcp]);
  const message = messageOf(
    letter('Counted', 'Words that were never seen before: serendipity, petrichor.\r\n'),
  );
  const tell = (as: LearnAs) => client.tell(() => message.read(), message.sizeBytes, as, never());
  const start = await bayesCounts();
  assert.equal((await tell('spam')).kind, 'learned');
  const learned = await bayesCounts();
  assert.equal((await tell('ham')).kind, 'learned');
  assert.equal((await tell('forget')).kind, 'learned');
  const end = await bayesCounts();
  assert.deepEqual(learned, { nspam: start.nspam + 1, nham: start.nham });
  assert.deepEqual(end, start);
  client.close();
});

/** What sa-learn sees. */
async function bayesCounts(): Promise<{ nspam: number; nham: number }> {
  const args = [`--siteconfigpath=${daemon.siteFolder}`, '--dump', 'magic'];
  const { stdout } = await promisify(execFile)('/usr/bin/sa-learn', args);
  const count = (name: string) =>
    Number(new RegExp(String.raw`(\d+)\s+\d+\s+non-token data: ${name}`).exec(stdout)?.[1]);
  return { nspam: count('nspam'), nham: count('nham') };
}

test('a spamd that was not prepared says so: no exact scores, no learning', async () => {
  const client = clientOf([bare.unix]);
  const [checked] = await client.checkRules();
  assert.ok(checked?.answer.kind === 'missing');
  assert.match(checked.answer.detail, /sluice\.cf/);
  const result = await client.scan(messageOf(letter('x')), { sender: '' }, never());
  assert.equal(result.kind === 'unchecked' ? result.reason : result.kind, 'failed');
  const told = await client.tell(() => messageOf(letter('x')).read(), letter('x').length, 'ham', never());
  assert.equal(told.kind, 'disabled');
  client.close();
});

test('scan() is unchecked{timeout} while every child of spamd is busy, and flows again after', async () => {
  const holder = connect(bare.unix.path);
  await once(holder, 'connect');
  holder.write('HEADERS SPAMC/1.5\r\nContent-length: 1000\r\n\r\n');
  // The only child now waits for a message that does not come; the next connection waits for the child.
  const hasty = clientOf([bare.unix], { timeoutMs: 500 });
  const waiting = await hasty.scan(messageOf(letter('x')), { sender: '' }, never());
  assert.equal(waiting.kind === 'unchecked' ? waiting.reason : waiting.kind, 'timeout');
  holder.destroy();
  const client = clientOf([bare.unix]);
  assert.deepEqual(
    (await client.ping()).map(({ answer }) => answer.kind),
    ['alive'],
  );
  hasty.close();
  client.close();
});

test('scan() is unchecked{timeout} while spamd is stopped, goes elsewhere meanwhile, and flows again after', async () => {
  const hasty = clientOf([daemon.tcp], { timeoutMs: 500 });
  daemon.kill('SIGSTOP');
  const stopped = await hasty.scan(messageOf(letter('x')), { sender: '' }, never());
  assert.equal(stopped.kind === 'unchecked' ? stopped.reason : stopped.kind, 'timeout');
  daemon.kill('SIGCONT');
  await scored(clientOf([daemon.tcp]), letter('x'));
  hasty.close();
});

test('scan() is unchecked{unreachable} once spamd is killed, and another spamd takes over', async () => {
  daemon.kill('SIGKILL');
  await daemon.stop();
  const client = clientOf([daemon.tcp]);
  const result = await client.scan(messageOf(letter('x')), { sender: '' }, never());
  assert.equal(result.kind === 'unchecked' ? result.reason : result.kind, 'unreachable');
  const two = clientOf([daemon.unix, fake.address]);
  for (let turn = 0; turn < 3; turn++) await scored(two, letter('x'));
  client.close();
  two.close();
});
