/**
 * check-files, spamassassin-config — a file that Sluice can not read or that anybody can change; the last line of a setting.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { checkFile } from '../../workers/check-files.ts';
import { settingIn } from '../../workers/spamassassin-config.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-check-files-'));
chmodSync(folder, 0o755);
after(() => rmSync(folder, { recursive: true }));

function fileWith(name: string, mode: number): string {
  const file = join(folder, name);
  writeFileSync(file, '');
  chmodSync(file, mode);
  return file;
}

test('checkFile() is content with a file that we can read and others can not change', () => {
  const file = fileWith('good', 0o640);
  assert.deepEqual(checkFile('Policies are', file), {
    level: 'ok',
    what: 'Policies are in order',
    where: file,
    remedy: null,
  });
});

test('checkFile() names a file that anybody can change', () => {
  const found = checkFile('Policies are', fileWith('open', 0o666));
  assert.equal(found.level, 'warn');
  assert.match(found.what, /^Everybody on this machine can change .*open \(mode 0666\)$/);
  assert.match(found.remedy ?? '', /^chmod o-w /);
});

test('checkFile() names a file that our user can not read', () => {
  const file = fileWith('closed', 0o600);
  const script = `import(${JSON.stringify(join(import.meta.dirname, '../../workers/check-files.ts'))})
    .then(({ checkFile }) => console.log(JSON.stringify(checkFile('Configuration is', ${JSON.stringify(file)}))))`;
  // Root reads everything: the question is asked by another process, as nobody where we are root.
  const isRoot = process.getuid?.() === 0;
  if (!isRoot) chmodSync(file, 0o000);
  const as = isRoot ? { uid: 65_534, gid: 65_534 } : {};
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', ...as });
  const found = JSON.parse(stdout || JSON.stringify(stderr)) as {
    level: string;
    what: string;
    remedy: string;
  };
  assert.equal(found.level, 'fail');
  assert.match(found.what, /, as whom Sluice runs, can not read it: EACCES$/);
  assert.match(found.remedy, /^let \w+ read it: chgrp \w+ .* chmod 0640/);
});

test('settingIn() takes the last line of the last file, and says where it stands', () => {
  const site = join(folder, 'site');
  mkdirSync(site);
  writeFileSync(join(site, 'a.cf'), 'time_limit 10\n# time_limit 11\n  time_limit 12 # seconds\n');
  writeFileSync(join(site, 'b.cf'), 'time_limits 13\nbayes_auto_learn 0\n');
  writeFileSync(join(site, 'c.txt'), 'time_limit 14\n');
  assert.deepEqual(settingIn(site, 'time_limit'), { value: '12', place: `${join(site, 'a.cf')}:3` });
  assert.equal(settingIn(site, 'bayes_auto_learn')?.value, '0');
  assert.equal(settingIn(site, 'use_bayes'), null);
  assert.equal(settingIn(join(folder, 'nowhere'), 'time_limit'), null);
});
