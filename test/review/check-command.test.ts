/**
 * check-command — what `sluice check` prints, in which order, and with which exit code; the checks have tests of their own.
 *
 * Run in this process with fakes at the wire; the whole command with real daemons is in test/e2e/check.test.ts.
 */
import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { check } from '../../review/check-command.ts';
import { countOf, formatGroup, formatSummary } from '../../review/check-text.ts';
import { type Options, UsageError } from '../../review/invocation.ts';
import { silentStatusLine } from '../../review/progress.ts';
import { type Finding, fail, ok, warn } from '../../rules/finding.ts';
import { addressText } from '../../workers/exchange.ts';
import { ConfigurationError, readSite } from '../../workers/site.ts';
import { startFakeClamd } from '../fakes/clamd.ts';
import { startReturnSmtpd } from '../fakes/return-smtpd.ts';
import { freePort } from '../../demo/daemon.ts';
import { temporaryFolder } from '../folder.ts';

type Json = { ok: boolean; count: object; groups: { name: string; findings: Finding[] }[] };

/** Runs the command with these keys of sluice.yaml over ones that find nothing to do. */
async function run(t: TestContext, keys: Readonly<Record<string, string>>, options: Options = {}) {
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o700);
  const file = join(folder, 'sluice.yaml');
  const all = {
    listen: `{ smtp: null, lmtp: 127.0.0.1:${await freePort()} }`,
    health: '{ filter: null }',
    scan: '{ virus: false, spam: false }',
    limits: '{ messageBytes: 64KB }',
    state: folder,
    ...keys,
  };
  writeFileSync(
    file,
    Object.entries(all)
      .map(([key, value]) => `${key}: ${value}\n`)
      .join(''),
  );
  const printed: string[] = [];
  const json: Json[] = [];
  const code = await check({
    words: [],
    options: { 'postfix-config': folder, ...options },
    site: () => readSite(file, {}),
    config: () => readSite(file, {}).config,
    user: 'test',
    columns: Number.POSITIVE_INFINITY,
    status: silentStatusLine(),
    print: (text) => void printed.push(text),
    printJson: (value) => void json.push(value as Json),
  });
  return { code, text: printed.join('\n'), json: json[0], folder };
}

async function returnSmtpd(t: TestContext): Promise<string> {
  const server = await startReturnSmtpd();
  t.after(() => server.stop());
  assert.ok(server.address.kind === 'tcp');
  return `127.0.0.1:${server.address.port}`;
}

const groups = [
  { name: 'One', findings: [ok('Fine', '/a:1'), fail('Bad', '/b:2', 'do this')] },
  { name: 'Two', findings: [warn('Dear', null, 'do that'), ok('Fine too')] },
];

test('formatGroup() shows every finding with its mark and place, without what a terminal would act on', () => {
  assert.equal(
    formatGroup(groups[0] ?? { name: '', findings: [] }),
    'One\n  ok    Fine (/a:1)\n  FAIL  Bad (/b:2)',
  );
  const hostile = formatGroup({ name: 'x', findings: [fail('said \u001b[2J\r\nok', 'a\u202eb', 'x')] });
  assert.equal(hostile, 'x\n  FAIL  said ?[2J??ok (a?b)');
});

test('formatSummary() puts remedies at the end, failures last, and counts', () => {
  assert.equal(
    formatSummary(groups),
    'What to do\n  warn  Two: Dear\n        do that\n  FAIL  One: Bad (/b:2)\n        do this\n\n1 failed, 1 warning, 2 ok',
  );
  assert.equal(formatSummary([{ name: 'x', findings: [ok('Fine')] }]), '0 failed, 0 warnings, 1 ok');
  assert.deepEqual(countOf(groups), { ok: 2, warn: 1, fail: 1 });
});

test('check() prints the groups in order, and its JSON is the same findings', async (t) => {
  const reinject = await returnSmtpd(t);
  const people = await run(t, { reinject });
  const programs = await run(t, { reinject }, { json: true });
  const names = ['Configuration', 'State', 'ClamAV', 'SpamAssassin', 'Return smtpd', 'Postfix'];
  assert.deepEqual(
    programs.json?.groups.map(({ name }) => name),
    names,
  );
  assert.equal(programs.text, '');
  const places = names.map((name) => people.text.indexOf(`${name}\n  `));
  assert.deepEqual(
    places,
    places.toSorted((a, b) => a - b),
  );
  assert.equal(places.includes(-1), false, people.text);
  // Postfix's folder is empty here.
  assert.deepEqual([people.code, programs.code, programs.json?.ok], [1, 1, false]);
  assert.deepEqual(programs.json?.count, countOf(programs.json?.groups ?? []));
});

test('check() names a Postfix folder and a clamd.conf that can not be read', async (t) => {
  const clamd = await startFakeClamd();
  t.after(() => clamd.stop());
  const address = addressText(clamd.address);
  const keys = { reinject: await returnSmtpd(t), scan: '{ virus: true, spam: false }', clamd: address };
  const { json, code, folder } = await run(t, keys, { json: true, 'clamd-config': '/nowhere/clamd.conf' });
  const failed =
    json?.groups.flatMap(({ findings }) => findings.filter(({ level }) => level === 'fail')) ?? [];
  assert.equal(code, 1);
  const postfix = failed.find(({ where }) => where === folder);
  assert.match(postfix?.remedy ?? '', /--postfix-config DIR/);
  const file = failed.find(({ where }) => where === '/nowhere/clamd.conf');
  assert.match(file?.remedy ?? '', /--clamd-config FILE/);
});

test('check() looks at each of several clamd', async (t) => {
  const [first, second] = [await startFakeClamd(), await startFakeClamd()];
  t.after(() => Promise.all([first.stop(), second.stop()]));
  const addresses = [first, second].map(({ address }) => addressText(address));
  const keys = {
    reinject: await returnSmtpd(t),
    scan: '{ virus: true, spam: false }',
    clamd: `[${addresses.join(', ')}]`,
  };
  const { json } = await run(t, keys, { json: true });
  const found = json?.groups.find(({ name }) => name === 'ClamAV')?.findings ?? [];
  for (const where of addresses)
    assert.ok(
      found.some((finding) => finding.where === where && finding.what.includes('answers')),
      where,
    );
});

test('check() says that a scanner is off, and does not ask it', async (t) => {
  const { json } = await run(t, { reinject: await returnSmtpd(t) }, { json: true });
  for (const name of ['ClamAV', 'SpamAssassin']) {
    const [found, ...others] = json?.groups.find((group) => group.name === name)?.findings ?? [];
    assert.deepEqual([found?.level, others], ['warn', []]);
    assert.match(found?.what ?? '', /^scan\.(?:virus|spam) is false: no message is checked/);
  }
});

test('check() refuses what it does not understand', async (t) => {
  await assert.rejects(run(t, {}, { probe: 'bob' }), UsageError);
  await assert.rejects(run(t, { limits: '{ messageBytes: x }' }), ConfigurationError);
  const spam = { scan: '{ virus: false, spam: true }', spamd: '127.0.0.1:1' };
  await assert.rejects(run(t, spam, { 'spamd-user': 'nobody-of-that-name' }), UsageError);
});
