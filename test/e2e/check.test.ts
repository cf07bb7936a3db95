/**
 * check — `sluice check` beside the real daemons: silent about a site as it should be, and every planted mistake is
 * found and named with its remedy.
 *
 * One whole site with a running Sluice; the mistakes are planted in its return smtpd, in a second clamd and a second
 * spamd, and in state folders of their own. Needs root.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Clamd, startClamd } from '../../demo/clamd.ts';
import { freePort } from '../../demo/daemon.ts';
import { type SpamDaemon, startSpamd } from '../../demo/spamd.ts';
import { formatAddress } from '../../rules/config.ts';
import type { Finding } from '../../rules/finding.ts';
import { headroomBytes } from '../../rules/postfix-fragment.ts';
import { startSite, type TestSite, top } from './site.ts';
import { mountSmallDisk } from './small-disk.ts';

type Answer = {
  readonly code: number | null;
  readonly groups: readonly { readonly name: string; readonly findings: readonly Finding[] }[];
};

const nobody = 65_534;
const messageBytes = 4 * 1024 ** 2;
/** Room behind Sluice for what Sluice and Postfix add. */
const returnOptions = { message_size_limit: String(messageBytes + headroomBytes) };

let site: TestSite;
let badClamd: Clamd;
let badSpamd: SpamDaemon;

before(async () => {
  site = await startSite({
    feedProtocol: 'lmtp',
    spamd: { allowTell: true, children: 2, extraRules: 'time_limit 100' },
    config: 'limits: { messageBytes: 4MB }',
    postfix: { messageSizeLimit: messageBytes - headroomBytes, returnOptions },
  });
  for (const name of ['clamd-bad', 'spamd-bad']) mkdirSync(join(site.folder, name));
  [badClamd, badSpamd] = await Promise.all([
    startClamd({
      folder: join(site.folder, 'clamd-bad'),
      signatures: 'test',
      extraConfig: [
        'AlertEncrypted no',
        'AlertExceedsMax no',
        'StreamMaxLength 1M',
        'HeuristicScanPrecedence yes',
      ],
    }),
    startSpamd({ folder: join(site.folder, 'spamd-bad'), sluiceRules: false }),
  ]);
});
after(async () => {
  await Promise.all([badClamd?.stop(), badSpamd?.stop()]);
  await site?.stop();
});

/** Runs the check with a configuration; as another user where `uid` is given. */
async function run(configFile: string, words: readonly string[], uid?: number) {
  const args = [join(top, 'bin', 'sluice.js'), 'check', ...words, '--config', configFile];
  const as = uid === undefined ? {} : { uid, gid: uid };
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], ...as });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

async function check(configFile: string, words: readonly string[] = [], uid?: number): Promise<Answer> {
  const { code, stdout, stderr } = await run(configFile, [...words, '--json'], uid);
  assert.equal(stderr, '');
  const { ok, groups } = JSON.parse(stdout) as { ok: boolean; groups: Answer['groups'] };
  assert.equal(code, ok ? 0 : 1);
  for (const { level, remedy, what } of groups.flatMap(({ findings }) => findings))
    assert.equal(remedy === null, level === 'ok', what);
  return { code, groups };
}

/** Writes a configuration on the same return smtpd; without scanners unless `more` names them. */
function configFile(name: string, more: Readonly<Record<string, string>> = {}): string {
  const keys = {
    listen: `{ smtp: 127.0.0.1:${site.smtpPort}, lmtp: 127.0.0.1:${site.lmtpPort} }`,
    health: '{ filter: null }',
    reinject: `127.0.0.1:${site.postfix.returnPort}`,
    state: join(site.folder, 'state'),
    limits: '{ messageBytes: 4MB }',
    scan: '{ virus: false, spam: false }',
    ...more,
  };
  const file = join(site.folder, `${name}.yaml`);
  writeFileSync(
    file,
    Object.entries(keys)
      .map(([key, value]) => `${key}: ${value}\n`)
      .join(''),
  );
  return file;
}

function troubles({ groups }: Answer, group: string): Finding[] {
  const found = groups.find(({ name }) => name === group);
  assert.ok(found !== undefined, `${group} is not among ${groups.map(({ name }) => name).join(', ')}`);
  return found.findings.filter(({ level }) => level !== 'ok');
}

/** Asserts that a mistake is found in a group, with its level, and that what and remedy say what they must. */
function assertFound(
  answer: Answer,
  group: string,
  level: 'warn' | 'fail',
  what: RegExp,
  remedy: RegExp,
): void {
  const all = troubles(answer, group);
  const found = all.find((finding) => what.test(finding.what));
  assert.ok(found !== undefined, `${String(what)} is not in ${JSON.stringify(all)}`);
  assert.equal(found.level, level, found.what);
  assert.match(found.remedy ?? '', remedy, found.what);
}

test('sluice check finds nothing wrong with a site as it should be, for people and for programs', async () => {
  const words = [
    '--probe',
    'bob@example.com',
    '--clamd-config',
    join(site.folder, 'clamd', 'clamd.conf'),
    '--postfix-config',
    site.postfix.configFolder,
  ];
  const answer = await check(site.configFile, words);
  for (const group of ['Configuration', 'Return smtpd', 'Loop'])
    assert.deepEqual(troubles(answer, group), []);
  // What cannot be otherwise here: everything is root's, one local signature.
  const warnings = ['State', 'ClamAV', 'SpamAssassin'].flatMap((group) => troubles(answer, group));
  assert.deepEqual(
    warnings.map(({ level, what }) => `${level} ${what.split(/[,:]/)[0]}`),
    ['warn Sluice runs as root', 'warn clamd has local signatures only'],
  );
  assert.deepEqual(
    troubles(answer, 'Postfix').filter(({ level }) => level === 'fail'),
    [],
  );
  assert.equal(answer.code, 0);
  await site.postfix.waitForQueueEmpty(10_000);
  const [probe, ...others] = await site.postfix.delivered();
  assert.match(probe?.bytes.toString() ?? '', /Message-ID: <sluice-probe-[0-9a-f]{16}@/);
  assert.deepEqual(others, []);
});

test('sluice check prints every line, and at the end what to do, failures last', async () => {
  const file = configFile('text', { reinject: `127.0.0.1:${await freePort()}` });
  const { code, stdout, stderr } = await run(file, ['--postfix-config', site.postfix.configFolder]);
  assert.deepEqual([code, stderr], [1, '']);
  assert.match(stdout, /^Configuration\n {2}ok {4}Configuration is in order \(.*text\.yaml\)\n/);
  assert.match(stdout, /\nReturn smtpd\n {2}FAIL {2}Return smtpd does not answer/);
  const todo = stdout.slice(stdout.indexOf('\nWhat to do\n'));
  assert.match(todo, /warn {2}State: Sluice runs as root.*\n {8}give it to a user of its own/);
  assert.ok(todo.indexOf('FAIL') > todo.lastIndexOf('  warn  '), todo);
  assert.match(todo, /\n\d+ failed, \d+ warnings?, \d+ ok\n$/);
});

test('sluice check ends with 78 for a configuration that can not be read, 64 for a probe to nobody', async () => {
  const file = configFile('broken', { limits: '{ messageBytes: many }' });
  const broken = await run(file, []);
  assert.equal(broken.code, 78);
  assert.match(broken.stderr, /broken\.yaml:\d+:\d+: limits\.messageBytes/);
  assert.equal((await run(site.configFile, ['--probe', 'nobody'])).code, 64);
});

test('sluice check names what is wrong with clamd and spamd', async () => {
  const answer = await check(
    configFile('scanners', {
      scan: '{ virus: true, spam: true }',
      clamd: formatAddress(badClamd.unix),
      spamd: formatAddress(badSpamd.unix),
    }),
    ['--clamd-config', join(site.folder, 'clamd-bad', 'clamd.conf')],
  );
  assertFound(answer, 'ClamAV', 'fail', /^Encrypted archives pass as clean/, /"AlertEncrypted yes"/);
  assertFound(answer, 'ClamAV', 'fail', /over clamd's limits passes as clean/, /"AlertExceedsMax yes"/);
  assertFound(answer, 'ClamAV', 'fail', /is more than clamd takes/, /"StreamMaxLength 4M" in place of 1M/);
  assertFound(answer, 'SpamAssassin', 'fail', /does not load sluice\.cf/, /copy rules\/sluice\.cf/);
  assertFound(answer, 'SpamAssassin', 'warn', /does not take lessons/, /--allow-tell/);
  assertFound(answer, 'SpamAssassin', 'warn', /^1 child for 16 messages/, /--max-children 2/);
  assertFound(answer, 'SpamAssassin', 'warn', /time_limit is 300 s/, /"time_limit 200"/);
});

test('sluice check names what is wrong with the return smtpd', async () => {
  const file = configFile('return');
  for (const { options, level, what, remedy } of [
    {
      options: { mynetworks: '192.0.2.1' },
      level: 'fail',
      what: /554 5\.7\.1 .*mail is deferred/,
      remedy: /mynetworks/,
    },
    {
      options: { smtpd_authorized_xforward_hosts: '' },
      level: 'warn',
      what: /does not offer XFORWARD/,
      remedy: /smtpd_authorized_xforward_hosts/,
    },
    {
      options: { message_size_limit: '4194304' },
      level: 'fail',
      what: /takes 4194304 octets, Sluice 4194304/,
      remedy: /message_size_limit=4296704/,
    },
    {
      options: { smtpd_discard_ehlo_keywords: 'dsn,8bitmime' },
      level: 'warn',
      what: /does not offer DSN/,
      remedy: /smtpd_discard_ehlo_keywords/,
    },
    {
      options: null,
      level: 'fail',
      what: /does not answer as it must: .*ECONNREFUSED/,
      remedy: /master\.cf/,
    },
  ] as const) {
    await site.postfix.setReturnOptions(options === null ? null : { ...returnOptions, ...options });
    assertFound(await check(file), 'Return smtpd', level, what, remedy);
  }
  await site.postfix.setReturnOptions(returnOptions);
});

test('sluice check --probe proves a content_filter loop, beside a running Sluice and without one', async (t) => {
  t.after(() => site.postfix.setReturnOptions(returnOptions));
  const content_filter = `scan:[127.0.0.1]:${site.lmtpPort}`;
  await site.postfix.setReturnOptions({ ...returnOptions, content_filter });
  const beside = await check(configFile('loop'), ['--probe', 'bob@example.com']);
  assertFound(beside, 'Loop', 'fail', /came back to Sluice/, /content_filter= .*postsuper -d/);
  await site.postfix.deleteAll();
  const free = await freePort();
  await site.postfix.setReturnOptions({ ...returnOptions, content_filter: `scan:[127.0.0.1]:${free}` });
  const listen = `{ smtp: null, lmtp: 127.0.0.1:${free} }`;
  const alone = await check(configFile('alone', { listen }), ['--probe', 'bob@example.com']);
  assertFound(alone, 'Loop', 'fail', /came back to Sluice/, /postsuper -d/);
  await site.postfix.deleteAll();
});

test('sluice check --probe proves a loop whose scan takes longer than the 10 s that it usually waits', async (t) => {
  t.after(() => site.postfix.setReturnOptions(returnOptions));
  const content_filter = `scan:[127.0.0.1]:${site.lmtpPort}`;
  await site.postfix.setReturnOptions({ ...returnOptions, content_filter });
  site.spamd.kill('SIGSTOP');
  // How long the scan takes: over 10 s more than what the check does before it.
  const scan = setTimeout(() => site.spamd.kill('SIGCONT'), 20_000);
  t.after(() => {
    clearTimeout(scan);
    site.spamd.kill('SIGCONT');
  });
  const words = ['--probe', 'bob@example.com', '--postfix-config', site.postfix.configFolder];
  assertFound(await check(configFile('slow'), words), 'Loop', 'fail', /came back to Sluice/, /postsuper -d/);
  await site.postfix.deleteAll();
});

test('sluice check names an address that is taken, and one where another configuration runs', async () => {
  const taken = `{ smtp: 127.0.0.1:${site.postfix.feedPort}, lmtp: 127.0.0.1:${site.lmtpPort} }`;
  const answer = await check(configFile('taken', { listen: taken }));
  assertFound(answer, 'Configuration', 'fail', /^Taken by .*master.*pid/, /another address/);
  const other = `{ smtp: 127.0.0.1:${await freePort()}, lmtp: 127.0.0.1:${site.lmtpPort} }`;
  const mixed = await check(configFile('mixed', { listen: other }));
  assertFound(mixed, 'Configuration', 'warn', /not on every address/, /restart Sluice/);
});

test('sluice check names what is wrong with the state folder', async () => {
  const state = (name: string) => join(site.folder, `state-${name}`);
  mkdirSync(state('open'), { mode: 0o755 });
  chownSync(state('open'), nobody, nobody);
  const open = await check(configFile('open', { state: state('open') }));
  assertFound(open, 'State', 'warn', /open to other users \(mode 0755\)/, /^chmod 0700/);
  const user = open.groups[0]?.findings.find(({ what }) => what.startsWith('Node'));
  assert.match(user?.what ?? '', /user nobody$/);
  const foreign = await check(configFile('foreign', { state: state('open') }), [], 1);
  assertFound(
    foreign,
    'State',
    'fail',
    /belongs to nobody, this is daemon/,
    /run Sluice as nobody or as root/,
  );
  const disk = mountSmallDisk(state('disk'), 16 * 1024 ** 2);
  try {
    disk.fill();
    const full = await check(configFile('full', { state: disk.folder }));
    assertFound(full, 'State', 'fail', /can not be written: ENOSPC/, /make room/);
    assertFound(full, 'State', 'fail', /^State folder has 0 MB left/, /make room/);
  } finally {
    disk.unmount();
  }
});

test('sluice check sees with the eyes of the user that Sluice runs as: a socket that is closed to it', async () => {
  const state = join(site.folder, 'state-nobody');
  mkdirSync(state, { mode: 0o700 });
  chownSync(state, nobody, nobody);
  chmodSync(badClamd.unix.path, 0o600);
  chmodSync(join(site.folder, 'clamd-bad'), 0o755);
  const file = configFile('closed', {
    state,
    scan: '{ virus: true, spam: false }',
    clamd: formatAddress(badClamd.unix),
  });
  assertFound(await check(file), 'ClamAV', 'fail', /clamd does not answer: .*EACCES/, /adduser USER clamav/);
});
