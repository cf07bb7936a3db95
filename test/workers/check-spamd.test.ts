/**
 * check-spamd, check-bayes — what is wrong with a spamd, or with what is taught through it, is named with its remedy.
 *
 * Two real spamds, one as it should be and one as a site that has not been prepared; command lines as data.
 */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type SpamDaemon, startSpamd } from '../../demo/spamd.ts';
import type { Finding } from '../../rules/finding.ts';
import { type BayesView, parseMagic, readBayesCounts } from '../../workers/bayes-counts.ts';
import { bayesViewOf, checkBayes } from '../../workers/check-bayes.ts';
import { checkSpamd, checkSpamdProcess, type SpamdDemands } from '../../workers/check-spamd.ts';
import { findUser, type LocalProcess, optionOf, processListeningOn } from '../../workers/local-process.ts';
import { startFakeSpamd } from '../fakes/spamd.ts';

const demands: SpamdDemands = { user: null, spamBytes: 524_288, concurrency: 16, scanSeconds: 240 };
const nothingWanted = { user: null, siteFolder: null };

let folder: string;
let good: SpamDaemon;
let bare: SpamDaemon;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-check-spamd-'));
  chmodSync(folder, 0o711);
  const goodOptions = { children: 2, allowTell: true, extraRules: 'time_limit 100' };
  await Promise.all([
    startSpamd({ folder: join(folder, 'good'), ...goodOptions }).then((started) => (good = started)),
    startSpamd({ folder: join(folder, 'bare'), sluiceRules: false }).then((started) => (bare = started)),
  ]);
});
after(async () => {
  await Promise.all([good?.stop(), bare?.stop()]);
  rmSync(folder, { recursive: true });
});

function troubles(findings: readonly Finding[]) {
  return findings.filter(({ level }) => level !== 'ok');
}

test('checkSpamd() and checkSpamdProcess() find nothing wrong with a spamd as it should be', async () => {
  for (const address of [good.unix, good.tcp]) {
    assert.deepEqual(troubles(await checkSpamd(address, demands)), []);
    const process = processListeningOn(address);
    assert.equal(process?.pid, good.pid);
    assert.deepEqual(troubles(checkSpamdProcess(address, process, demands)), []);
  }
});

test('checkSpamd() and checkSpamdProcess() name what an unprepared spamd lacks', async () => {
  const [rules, ...others] = troubles(await checkSpamd(bare.unix, demands));
  assert.deepEqual(others, []);
  assert.equal(rules?.level, 'fail');
  assert.match(rules.what, /^spamd does not load sluice\.cf: no message gets a score$/);
  assert.match(rules.remedy ?? '', /^copy rules\/sluice\.cf .* restart spamd$/);
  const found = troubles(checkSpamdProcess(bare.unix, processListeningOn(bare.unix), demands));
  assert.deepEqual(
    found.map(({ level }) => level),
    ['warn', 'warn'],
  );
  assert.match(found[0]?.what ?? '', /^1 child for 16 messages at once: .* waits 240 s of the 240 s/);
  assert.match(found[0]?.remedy ?? '', /--max-children 2 \(about 230 MB/);
  assert.match(found[1]?.what ?? '', /time_limit is 300 s, but Sluice waits 240 s only/);
  assert.match(found[1]?.remedy ?? '', /write "time_limit 200" in .*\/bare\/spamassassin\/local\.cf/);
});

test('checkSpamd() says how to get a spamd that answers', async (t) => {
  const [missing] = await checkSpamd({ kind: 'unix', path: join(folder, 'nobody.sock') }, demands);
  assert.equal(missing?.level, 'fail');
  assert.match(missing.what, /^spamd does not answer: Cannot connect/);
  assert.match(missing.remedy ?? '', /systemctl start spamd/);
  const garbled = await startFakeSpamd({ script: [{ at: 'head', do: 'close', say: 'hello\r\n' }] });
  t.after(() => garbled.stop());
  assert.equal((await checkSpamd(garbled.address, demands))[0]?.level, 'fail');
});

for (const { label, argv, uid = 0, change = {}, expected } of [
  {
    label: 'Debian as it comes',
    argv: ['--create-prefs', '--max-children', '5'],
    expected: [/runs as root without -u/],
  },
  { label: 'a user, Debian', argv: ['-u', 'debian-spamd', '-m', '5'], expected: [] },
  { label: 'started by a user', argv: ['-m2'], uid: 105, expected: [] },
  { label: 'one child', argv: ['-udebian-spamd', '-m1'], expected: [/^1 child for 16/] },
  {
    label: 'less time',
    argv: ['-u', 'x'],
    change: { scanSeconds: 40 },
    expected: [
      /^5 children for 16 messages .* 60 s of the 40 s/,
      /time_limit is 100 s, but Sluice waits 40 s/,
    ],
  },
  { label: 'few messages at once', argv: ['-u', 'x', '-m', '1'], change: { concurrency: 4 }, expected: [] },
] as const) {
  test(`checkSpamdProcess() of a command line: ${label}`, () => {
    const words = ['/usr/sbin/spamd', ...argv, `--siteconfigpath=${good.siteFolder}`];
    const process: LocalProcess = { pid: 2, uid, gid: uid, argv: words };
    const found = troubles(checkSpamdProcess(good.unix, process, { ...demands, ...change }));
    assert.equal(found.length, expected.length, JSON.stringify(found));
    for (const [at, what] of expected.entries()) assert.match(found[at]?.what ?? '', what);
    assert.ok(found.every(({ level, remedy }) => level === 'warn' && remedy !== null));
  });
}

test('checkSpamdProcess() asks to look there where the process can not be seen', () => {
  const [only, ...others] = checkSpamdProcess({ kind: 'tcp', host: '192.0.2.1', port: 783 }, null, demands);
  assert.deepEqual(others, []);
  assert.equal(only?.level, 'warn');
  assert.match(only.remedy ?? '', /--max-children 2, one user \(-u\) and time_limit 200/);
});

test('checkBayes() sees one database, and leaves no trace in it', async () => {
  const view = bayesViewOf(processListeningOn(good.unix), nothingWanted);
  assert.deepEqual(view, { user: findUser('nobody'), siteFolder: good.siteFolder });
  const findings = await checkBayes(good.unix, demands, view);
  assert.deepEqual(
    findings.map(({ level, what }) => [level, what]),
    [
      ['ok', 'spamd learns (--allow-tell)'],
      ['ok', "spamd's Bayes database is the one that sa-learn reads"],
      ['ok', 'Bayes waits for 200 of each: 0 spam and 0 ham messages learned; teach it with sa-learn'],
    ],
  );
  assert.deepEqual(await readBayesCounts(view), { nspam: 0, nham: 0 });
});

test('checkBayes() names a sa-learn that reads another database', async () => {
  const site = join(folder, 'elsewhere');
  mkdirSync(site);
  writeFileSync(join(site, 'local.cf'), `bayes_path ${join(folder, 'elsewhere', 'bayes')}\n`);
  const view: BayesView = { user: findUser('nobody'), siteFolder: site };
  const found = troubles(await checkBayes(good.unix, demands, view));
  assert.match(found[0]?.what ?? '', /^sa-learn finds no Bayes database, though spamd has learned into one$/);
  assert.match(found[0]?.remedy ?? '', /bayes_path/);
});

test('checkBayes() names a spamd that takes no lessons, and one that has nowhere to write them', async (t) => {
  const view = bayesViewOf(processListeningOn(bare.unix), nothingWanted);
  const [refusal] = troubles(await checkBayes(bare.unix, demands, view));
  assert.match(refusal?.what ?? '', /does not take lessons/);
  assert.match(refusal?.remedy ?? '', /--allow-tell/);
  const did = 'SPAMD/1.1 0 EX_OK\r\n\r\n\r\n';
  const pong = 'SPAMD/1.5 0 PONG\r\n';
  const deaf = await startFakeSpamd({
    script: [
      { at: 'head', do: 'close', say: pong },
      { at: 'message', do: 'close', say: did },
    ],
  });
  t.after(() => deaf.stop());
  const [unwritten] = troubles(await checkBayes(deaf.address, demands, view));
  assert.match(unwritten?.what ?? '', /learned nothing from a new message/);
  assert.match(unwritten?.remedy ?? '', /bayes_path/);
});

test('checkBayes() is silent about a spamd that does not answer: checkSpamd() tells', async () => {
  const view = { user: null, siteFolder: null };
  assert.deepEqual(await checkBayes({ kind: 'unix', path: join(folder, 'none') }, demands, view), []);
});

test('parseMagic() reads both counts, and nothing out of an error', () => {
  const text =
    '0.000          0          3          0  non-token data: bayes db version\n' +
    '0.000          0       1234          0  non-token data: nspam\n' +
    '0.000          0         56          0  non-token data: nham\n';
  assert.deepEqual(parseMagic(text), { nspam: 1234, nham: 56 });
  for (const other of ['', 'ERROR: Bayes dump returned an error', text.split('\n').slice(0, 2).join('\n')])
    assert.equal(parseMagic(other), null);
});

test('optionOf() takes an option in each of its spellings, the last one of several', () => {
  for (const [words, expected] of [
    [['-m', '3'], '3'],
    [['-m3'], '3'],
    [['--max-children', '3'], '3'],
    [['--max-children=3'], '3'],
    [['-m', '2', '--max-children=3'], '3'],
    [['--max-children-of-others=3'], null],
    [[], null],
  ] as const)
    assert.equal(optionOf(words, '-m', '--max-children'), expected, words.join(' '));
});
