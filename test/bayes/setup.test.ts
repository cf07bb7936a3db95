/** sluice bayes setup — every piece is printed; each one that is missing is found, with its remedy. */
import assert from 'node:assert/strict';
import { appendFileSync, existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Config } from '../../rules/config.ts';
import type { BayesStatus } from '../../workers/bayes.ts';
import { checkSshd, checkStore } from '../../workers/check-bayes-called.ts';
import { temporaryFolder } from '../folder.ts';
import { given, wordsOf } from '../workers/bayes-rig.ts';
import { doorCommand, run, startPair } from './carry-rig.ts';

test('on the primary: what is right is ok, and a key that may do more, or is missing, is found', async (t) => {
  const { primary, backup, sshd } = await startPair(t);
  await given(t, primary.site, wordsOf('spam'));
  await given(t, backup.site, wordsOf('ham'));
  const good = await run(primary, 'setup');
  t.diagnostic(good.out);
  assert.equal(good.code, 0, good.out + good.err);
  const key = readFileSync(`${sshd.ssh.key}.pub`, 'utf8').trim();
  assert.ok(
    good.out.includes(`restrict,command="sluice bayes receive" ${key.split(' ').slice(0, 2).join(' ')}`),
  );
  assert.match(good.out, /ssh-keyscan -t ed25519 -p \d+ 127\.0\.0\.1 >> /);
  assert.match(good.out, /ok {4}The key leads to sluice alone/);
  assert.match(good.out, /ok {4}The key opens no other port there/);
  assert.match(good.out, /ok {4}Postfix's message_size_limit is 10240000 on both nodes/);
  for (const [size, cost] of [
    [
      0,
      /10240000 here, 0 there: what is larger than the primary takes is accepted on the backup, and bounces/,
    ],
    [5000000, /10240000 here, 5000000 there: the backup refuses mail that the primary takes/],
  ] as const) {
    appendFileSync(join(backup.mailConfig, 'main.cf'), `message_size_limit = ${size}\n`);
    const { out } = await run(primary, 'setup');
    assert.match(out, cost);
    assert.match(out, /on the backup: postconf -e 'message_size_limit = 10240000'/);
  }
  sshd.authorize(doorCommand(backup, 'receive'), 'no-pty');
  assert.match((await run(primary, 'setup')).out, /warn {2}The key opens other ports there/);
  sshd.authorize('exec sh -c "$SSH_ORIGINAL_COMMAND"');
  const shell = await run(primary, 'setup');
  assert.equal(shell.code, 1);
  assert.match(shell.out, /no sluice, or no forced command/);
  const missing = join(sshd.folder, 'new');
  primary.configure({
    role: 'primary',
    bayes: [`ssh: { key: ${missing} }`, 'nodes: [mx2.example.com]'],
  });
  assert.match((await run(primary, 'setup')).out, /FAIL {2}There is no key/);
  const made = await run(primary, 'setup', '--keys');
  assert.ok(existsSync(missing), made.out + made.err);
  assert.match(made.out, /FAIL {2}The host key of root@mx2\.example\.com is not pinned/);
});

test('on the called side, a backup that is pushed to: its own pieces, its store, and what sshd here says', async (t) => {
  const { backup } = await startPair(t);
  await given(t, backup.site, wordsOf('ham'));
  const { out, err, code } = await run(backup, 'setup');
  t.diagnostic(out);
  assert.match(out, /restrict,command="sluice --config \S+ bayes receive" PUBLIC-KEY-OF-THE-OTHER-NODE/);
  assert.match(out, /Its host keys: what the other node pins must be one of them/);
  assert.match(out, /on both nodes:\n {5}systemctl enable --now sluice-bayes/);
  assert.match(out, /ok {4}This backup waits for its primary \(bayes\.primary is not set\)/);
  assert.match(out, /ready for a restore/);
  // What the machine's own sshd lets in is not this test's; no key of its root leads to this door, or it could not be asked.
  assert.match(
    out,
    /No authorized key of root leads to sluice bayes receive|What sshd does here is unknown|leads to sluice bayes receive/,
  );
  assert.equal(code, /FAIL {2}/.test(out) ? 1 : 0, out + err);
  assert.doesNotMatch(out, /ssh-keyscan|There is no key/, 'who is called has no key, and pins nobody');
});

test('checkSshd() finds a root that is not let in, no line for us, and a line that allows more', (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'keys');
  const levels = (root: string, line: string) => {
    writeFileSync(file, `# keys\n${line}\n`);
    const settings = new Map([
      ['permitrootlogin', [root]],
      ['pubkeyauthentication', ['yes']],
      ['authorizedkeysfile', [file]],
    ]);
    return checkSshd(settings, 'receive').map(({ level }) => level);
  };
  const line = 'restrict,command="sluice bayes receive" ssh-ed25519 AAAA x';
  assert.deepEqual(levels('forced-commands-only', line), ['ok', 'ok']);
  assert.deepEqual(levels('without-password', line), ['ok', 'ok']);
  assert.deepEqual(levels('yes', line), ['warn', 'ok']);
  assert.deepEqual(levels('no', line), ['fail', 'ok']);
  assert.deepEqual(levels('forced-commands-only', line.replace('restrict,', '')), ['ok', 'warn']);
  assert.deepEqual(levels('forced-commands-only', 'ssh-ed25519 AAAA x'), ['ok', 'fail']);
});

test('checkStore() wants a link before files, and a second index of Redis', (t) => {
  const folder = temporaryFolder(t);
  symlinkSync('generation', join(folder, 'current'));
  const check = (store: BayesStatus['store'], place: string, redisScratch: number | null = null) =>
    checkStore({ store, place, spamassassin: '4.0.1' } as BayesStatus, { bayes: { redisScratch } } as Config);
  assert.equal(check('files', join(folder, 'current', 'bayes')).level, 'ok');
  const unprepared = check('files', join(folder, 'bayes'));
  assert.equal(unprepared.level, 'fail');
  assert.match(unprepared.remedy ?? '', /ln -s generation-/);
  assert.deepEqual([check('redis', 'x').level, check('redis', 'x', 5).level], ['fail', 'ok']);
  assert.equal(check('postgres', 'x').level, 'ok');
});
