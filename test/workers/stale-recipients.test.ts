/**
 * stale-recipients — which table Postfix finds, with the real postmap: by the map's age, whole at any moment, made again where it is not.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { judgeRecipients } from '../../workers/stale-recipients.ts';
import { temporaryFolder } from '../folder.ts';

const hourMs = 3_600_000;
const domains = ['empty.example'];

type Rig = {
  readonly folder: string;
  readonly file: string;
  readonly now: number;
  judge(): ReturnType<typeof judgeRecipients>;
  age(hours: number): void;
  ask(key: string): Promise<string>;
};

/** A Postfix of its own: the machine's may have no configuration. */
function mailConfigIn(t: TestContext): string {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'main.cf'), 'compatibility_level = 3.6\ndefault_database_type = hash\n');
  process.env.MAIL_CONFIG = folder;
  t.after(() => delete process.env.MAIL_CONFIG);
  return folder;
}

function rigIn(t: TestContext): Rig {
  const env = { MAIL_CONFIG: mailConfigIn(t) };
  const folder = temporaryFolder(t);
  const file = join(folder, 'known');
  const now = Date.now();
  writeFileSync(file, 'anna@example.com x\n');
  return {
    folder,
    file,
    now,
    judge: () => judgeRecipients({ file, hours: 26, domains, now }),
    age(hours) {
      const then = (now - hours * hourMs) / 1000;
      utimesSync(file, then, then);
    },
    async ask(key) {
      const asked = promisify(execFile)('/usr/sbin/postmap', ['-q', key, `hash:${file}.stale`], { env });
      return (await asked.catch(() => ({ stdout: '' }))).stdout.trim();
    },
  };
}

test('judgeRecipients() puts the table by the age of the source: 26 h are fresh, more is stale', async (t) => {
  const rig = rigIn(t);
  rig.age(26);
  assert.deepEqual(await rig.judge(), { state: 'fresh', ageHours: 26, changed: true });
  assert.deepEqual([await rig.ask('example.com'), await rig.ask('anna@example.com')], ['', '']);
  assert.equal((await rig.judge()).changed, false, 'once');
  rig.age(26.1);
  const stale = await rig.judge();
  assert.deepEqual([stale.state, stale.changed], ['stale', true]);
  assert.equal(await rig.ask('anna@example.com'), 'DUNNO');
  for (const domain of ['example.com', 'empty.example']) assert.match(await rig.ask(domain), /^450 4\.1\.1 /);
  assert.equal((await rig.judge()).changed, false);
  rig.age(0);
  assert.deepEqual(await rig.judge(), { state: 'fresh', ageHours: 0, changed: true });
  assert.equal(await rig.ask('example.com'), '');
});

test('judgeRecipients() takes a map that names nobody for stale, however new it is', async (t) => {
  const rig = rigIn(t);
  for (const text of ['', '# nobody yet\n\n']) {
    writeFileSync(rig.file, text);
    rig.age(0);
    assert.equal((await rig.judge()).state, 'stale');
    assert.match(await rig.ask('empty.example'), /^450 4\.1\.1 /);
  }
  writeFileSync(rig.file, 'anna@example.com x\n');
  rig.age(0);
  assert.equal((await rig.judge()).state, 'fresh');
});

test('judgeRecipients() makes a table that Postfix and people can read, whatever the umask', async (t) => {
  const before = process.umask(0o077);
  t.after(() => process.umask(before));
  const rig = rigIn(t);
  await rig.judge();
  for (const end of ['.stale', '.stale.db']) assert.equal(statSync(`${rig.file}${end}`).mode & 0o777, 0o644);
});

test('judgeRecipients() makes the table anew where Postfix takes another type by now', async (t) => {
  const rig = rigIn(t);
  await rig.judge();
  // As after an upgrade of the system: the table that is there is of the type of before.
  renameSync(`${rig.file}.stale.db`, `${rig.file}.stale.lmdb`);
  assert.equal((await rig.judge()).changed, true);
  assert.equal(existsSync(`${rig.file}.stale.db`), true);
});

test('judgeRecipients() makes again what is missing or was left half by who died, and leaves nothing else', async (t) => {
  const rig = rigIn(t);
  rig.age(30);
  await rig.judge();
  // Died behind the first rename: the table is new, its source is not.
  writeFileSync(`${rig.file}.stale`, 'old');
  for (const end of ['', '.db']) writeFileSync(join(rig.folder, `.known.stale.sluice-0${end}`), 'half');
  assert.equal((await rig.judge()).changed, true);
  rmSync(`${rig.file}.stale.db`);
  assert.equal((await rig.judge()).changed, true);
  assert.match(await rig.ask('example.com'), /^450/);
  assert.deepEqual(readdirSync(rig.folder).toSorted(), ['known', 'known.stale', 'known.stale.db']);
});

test('judgeRecipients() writes through no link that somebody put beside the map', async (t) => {
  const rig = rigIn(t);
  const victim = join(temporaryFolder(t), 'victim');
  writeFileSync(victim, 'untouched', { mode: 0o600 });
  symlinkSync(victim, `${rig.file}.stale.new`);
  assert.equal((await rig.judge()).changed, true);
  assert.deepEqual([readFileSync(victim, 'utf8'), statSync(victim).mode & 0o777], ['untouched', 0o600]);
  rmSync(`${rig.file}.stale`);
  symlinkSync(victim, `${rig.file}.stale`);
  await assert.rejects(rig.judge(), /it is no plain file/);
  assert.equal(readFileSync(victim, 'utf8'), 'untouched');
});

test('judgeRecipients() without a map says so; where postmap fails the old table stays', async (t) => {
  const rig = rigIn(t);
  rig.age(30);
  await rig.judge();
  process.env.MAIL_CONFIG = join(rig.folder, 'nowhere');
  rig.age(0);
  await assert.rejects(rig.judge(), /^TempFail: Cannot make the table .*known\.stale: /);
  assert.match(await rig.ask('example.com'), /^450/);
  rmSync(rig.file);
  assert.deepEqual(await rig.judge(), { state: 'missing', ageHours: null, changed: false });
});
