/**
 * check-clamd — every mistake in clamd.conf is found on the running clamd and named with its remedy.
 *
 * Real clamds, each with one mistake; the fake where only its words count (age of signatures, no answer).
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { startClamd } from '../../demo/clamd.ts';
import type { Finding } from '../../rules/finding.ts';
import { checkClamd } from '../../workers/check-clamd.ts';
import {
  findClamdConfig,
  formatClamdSize,
  parseClamdConfig,
  parseClamdSize,
} from '../../workers/clamd-config.ts';
import { startFakeClamd } from '../fakes/clamd.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-check-clamd-'));
const messageBytes = 4 * 1024 ** 2;
const now = Date.parse('2025-11-05T08:50:35');
after(() => rmSync(folder, { recursive: true, force: true }));

let started = 0;

/** Findings on a real clamd whose configuration has these lines; its file is known unless `blind`. */
async function check(t: { after(fn: () => Promise<void>): void }, extraConfig: string[], blind = false) {
  const own = join(folder, `clamd-${started++}`);
  const limits = ['StreamMaxLength 4M', 'MaxFileSize 4M', 'MaxScanSize 8M'];
  const names = new Set(extraConfig.map((line) => line.split(' ')[0]));
  const lines = [...limits.filter((line) => !names.has(line.split(' ')[0])), ...extraConfig];
  const clamd = await startClamd({ folder: own, signatures: 'test', extraConfig: lines });
  t.after(() => clamd.stop());
  const file = join(own, 'clamd.conf');
  const config = blind ? null : parseClamdConfig(file, readFileSync(file, 'utf8'));
  return { findings: await checkClamd(clamd.unix, { messageBytes, config, now }), file };
}

function troubles(findings: readonly Finding[]) {
  return findings.filter(({ level, what }) => level !== 'ok' && !what.includes('local signatures'));
}

test('checkClamd() finds nothing wrong with a clamd as it should be', async (t) => {
  const { findings } = await check(t, []);
  assert.deepEqual(troubles(findings), []);
  for (const what of [
    /answers/,
    /EICAR is found$/,
    /attachment/,
    /in an archive/,
    /AlertEncrypted/,
    /AlertExceedsMax/,
  ])
    assert.ok(
      findings.some((finding) => finding.level === 'ok' && what.test(finding.what)),
      String(what),
    );
  const local = findings.find(({ what }) => what.includes('local signatures'));
  assert.equal(local?.level, 'warn');
  assert.match(local.remedy ?? '', /freshclam/);
});

for (const { line, level, what, remedy, blind = false } of [
  {
    line: 'AlertEncrypted no',
    level: 'fail',
    what: /^Encrypted archives pass as clean/,
    remedy: /^write "AlertEncrypted yes" in place of no in .*clamd\.conf and restart clamd$/,
  },
  {
    line: 'AlertEncrypted no',
    level: 'fail',
    what: /^Encrypted archives/,
    remedy: /^write "AlertEncrypted yes" in clamd\.conf/,
    blind: true,
  },
  {
    line: 'AlertExceedsMax no',
    level: 'fail',
    what: /over clamd's limits passes as clean/,
    remedy: /"AlertExceedsMax yes"/,
  },
  {
    line: 'HeuristicScanPrecedence yes',
    level: 'fail',
    what: /hides the virus/,
    remedy: /"HeuristicScanPrecedence no"/,
  },
  {
    line: 'ScanMail no',
    level: 'fail',
    what: /in an attachment is not found: it says clean/,
    remedy: /"ScanMail yes"/,
  },
  { line: 'ScanArchive no', level: 'fail', what: /in an archive is not found/, remedy: /"ScanArchive yes"/ },
  {
    line: 'StreamMaxLength 3M',
    level: 'fail',
    what: /^A message of 4M .* is more than clamd takes/,
    remedy: /"StreamMaxLength 4M" in place of 3M/,
  },
  {
    line: 'MaxFileSize 3M',
    level: 'warn',
    what: /MaxFileSize \(3M\) is scanned: .*zip archives pass as clean/,
    remedy: /"MaxFileSize 4M"/,
  },
  {
    line: 'MaxFileSize 3M',
    level: 'warn',
    what: /MaxFileSize is scanned/,
    remedy: /"MaxFileSize 4M" in clamd\.conf/,
    blind: true,
  },
  {
    line: 'MaxScanSize 5M',
    level: 'warn',
    what: /MaxScanSize \(5M\) is scanned/,
    remedy: /"MaxScanSize 8M" in place of 5M/,
  },
] as const) {
  test(`checkClamd() names ${line}${blind ? ', the file not known' : ''}`, async (t) => {
    const { findings, file } = await check(t, [line], blind);
    const found = troubles(findings);
    assert.deepEqual(
      found.map((finding) => finding.level),
      [level],
      JSON.stringify(found),
    );
    assert.match(found[0]?.what ?? '', what);
    assert.match(found[0]?.remedy ?? '', remedy);
    if (!blind) {
      const text = readFileSync(file, 'utf8').split('\n');
      assert.equal(found[0]?.where, `${file}:${text.indexOf(line) + 1}`);
    }
  });
}

test('checkClamd() asks for a restart where the file is right and the running clamd is not', async (t) => {
  const clamd = await startClamd({
    folder: join(folder, 'stale'),
    signatures: 'test',
    extraConfig: ['AlertEncrypted no', 'StreamMaxLength 3M'],
  });
  t.after(() => clamd.stop());
  const config = parseClamdConfig('clamd.conf', 'AlertEncrypted true\nStreamMaxLength 100M\n');
  const found = troubles(await checkClamd(clamd.unix, { messageBytes, config, now }));
  assert.deepEqual(
    found.map(({ where, remedy }) => [where, remedy]),
    [
      ['clamd.conf:1', 'restart clamd: its file says AlertEncrypted true, what runs does otherwise'],
      ['clamd.conf:2', 'restart clamd: its file says StreamMaxLength 100M, what runs does otherwise'],
    ],
  );
});

test('checkClamd() judges the age of the signatures: ok to 2 days, warn to 7, then fail', async (t) => {
  const clamd = await startFakeClamd();
  t.after(() => clamd.stop());
  const madeAt = Date.parse('Tue Nov  4 08:50:35 2025');
  for (const [days, level] of [
    [-0.1, 'ok'],
    [1.99, 'ok'],
    [2.01, 'warn'],
    [6.99, 'warn'],
    [7.01, 'fail'],
  ] as const) {
    const at = madeAt + days * 86_400_000;
    const findings = await checkClamd(clamd.address, { messageBytes: 1024, config: null, now: at });
    const found = findings.find(({ what }) => what.startsWith('Signatures 27450 are'));
    assert.equal(found?.level, level, `${days} days: ${JSON.stringify(found)}`);
    assert.equal(found.remedy === null, level === 'ok');
  }
});

test('checkClamd() says how to get a clamd that answers', async (t) => {
  const [missing] = await checkClamd(
    { kind: 'unix', path: join(folder, 'nobody.ctl') },
    { messageBytes, config: null, now },
  );
  assert.equal(missing?.level, 'fail');
  assert.match(missing.what, /^clamd does not answer: Cannot connect/);
  assert.match(missing.remedy ?? '', /systemctl start clamav-daemon/);
  const garbled = await startFakeClamd({ script: [{ at: 'command', do: 'close', say: 'hello\0' }] });
  t.after(() => garbled.stop());
  const [strange, ...others] = await checkClamd(garbled.address, { messageBytes, config: null, now });
  assert.equal(strange?.level, 'fail');
  assert.deepEqual(others, []);
});

test('parseClamdConfig() takes comments, cases and quotes as clamd does', () => {
  const config = parseClamdConfig(
    'c',
    '# AlertEncrypted yes\n  alertexceedsmax   TRUE \nLocalSocket "/run/a b"\nFoo\n',
  );
  assert.equal(config.get('AlertEncrypted'), null);
  assert.deepEqual(config.get('AlertExceedsMax'), { value: 'TRUE', line: 2 });
  assert.equal(config.get('LocalSocket')?.value, '/run/a b');
  assert.deepEqual(['25M', '1k', '0', '12', '1G', 'x', '-1'].map(parseClamdSize), [
    25 * 1024 ** 2,
    1024,
    0,
    12,
    1024 ** 3,
    null,
    null,
  ]);
  assert.deepEqual([104_857_600, 1536, 1].map(formatClamdSize), ['100M', '2K', '1K']);
});

test("findClamdConfig() takes the system's file only for the system's clamd", () => {
  const text = readFileSync('/etc/clamav/clamd.conf', 'utf8');
  const socket = parseClamdConfig('', text).get('LocalSocket')?.value ?? '';
  assert.equal(findClamdConfig({ kind: 'unix', path: socket })?.file, '/etc/clamav/clamd.conf');
  assert.equal(
    findClamdConfig({ kind: 'unix', path: socket.replace('/var/run', '/run') })?.file,
    '/etc/clamav/clamd.conf',
  );
  writeFileSync(join(folder, 'other.ctl'), '');
  assert.equal(findClamdConfig({ kind: 'unix', path: join(folder, 'other.ctl') }), null);
  assert.equal(findClamdConfig({ kind: 'tcp', host: '192.0.2.1', port: 3310 }), null);
});
