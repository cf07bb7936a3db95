/**
 * check-state — what is wrong with state folder, spool, databases or quarantine is named, and nothing is changed.
 *
 * Real folders, real databases, a real disk that is full or read-only (tmpfs), a real fsync that is slow (strace). Needs
 * root, as `npm test` does.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkState } from '../../filter/check-state.ts';
import { openMemory } from '../../filter/memory.ts';
import { type Config, parseConfig } from '../../rules/config.ts';
import type { Finding } from '../../rules/finding.ts';
import { judgeRoom } from '../../workers/check-folder.ts';
import { mountSmallDisk, type SmallDisk } from '../e2e/small-disk.ts';
import { temporaryFolder } from '../folder.ts';
import { chunksOf, messageOf, spamFor } from './quarantine-rig.ts';
import { recordingLog } from './store-rig.ts';

function configOf(state: string, more = ''): Config {
  const text = `state: ${state}\nlimits: { messageBytes: 64KB }\n${more}`;
  const { config, problems } = parseConfig({ file: join(state, 'sluice.yaml'), text }, {});
  assert.ok(config !== null, JSON.stringify(problems));
  return config;
}

/** A state folder as a filter leaves it, with this many held messages; gives their ids. */
async function usedState(folder: string, count = 3): Promise<string[]> {
  chmodSync(folder, 0o700);
  const memory = await openMemory(configOf(folder), recordingLog());
  await memory.quarantine.reconcile();
  const held: string[] = [];
  for (let number = 0; number < count; number++) {
    const message = messageOf(1000 + number);
    const item = spamFor(['a@example.com'], { queueId: `4c7Yx${number}`, message });
    held.push(await memory.quarantine.put(item, chunksOf(message)));
  }
  await memory.close();
  return held;
}

/** A disk of 4 MB for the time of `act`: unmounted before the test's folder is removed. */
async function withDisk(folder: string, act: (disk: SmallDisk) => Promise<void>): Promise<void> {
  const disk = mountSmallDisk(folder, 4 * 1024 ** 2);
  try {
    await act(disk);
  } finally {
    disk.unmount();
  }
}

/** What is not ok, apart from the warning that root owns it all here. */
async function troublesOf(config: Config): Promise<Finding[]> {
  const findings = await checkState(config);
  for (const { level, remedy, what } of findings) assert.equal(remedy === null, level === 'ok', what);
  return findings.filter(({ level, what }) => level !== 'ok' && !what.startsWith('Sluice runs as root'));
}

/** Exactly one trouble: its level, and what it and its remedy say. */
async function onlyTrouble(config: Config, level: Finding['level'], what: RegExp, remedy: RegExp) {
  const found = await troublesOf(config);
  assert.equal(found.length, 1, JSON.stringify(found));
  assert.equal(found[0]?.level, level);
  assert.match(found[0].what, what);
  assert.match(found[0].remedy ?? '', remedy);
}

test('checkState() finds nothing wrong with a new folder and a used one', async (t) => {
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o700);
  assert.deepEqual(await troublesOf(configOf(folder)), []);
  await usedState(folder);
  assert.deepEqual(await troublesOf(configOf(folder)), []);
  const whats = (await checkState(configOf(folder))).map(({ what }) => what);
  for (const expected of ['Database is whole and can be written', '3 of 3 items were read, all are whole'])
    assert.ok(whats.includes(expected), expected);
});

test('checkState() changes nothing: no file, no octet, no mode', async (t) => {
  const folder = temporaryFolder(t);
  const [first = ''] = await usedState(folder);
  rmSync(join(folder, 'quarantine', first.slice(0, 2), first, 'item.json'));
  writeFileSync(join(folder, 'ledger.db-journal'), '');
  const before = snapshot(folder);
  await checkState(configOf(folder));
  assert.deepEqual(snapshot(folder), before);
});

/** Every path below, with mode and octets; but for what SQLite keeps beside an open database. */
function snapshot(folder: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' }).toSorted()) {
    if (/-(?:wal|shm)$/.test(name)) continue;
    const path = join(folder, name);
    const { mode } = statSync(path);
    found.set(name, `${mode} ${statSync(path).isFile() ? readFileSync(path).toString('base64') : ''}`);
  }
  return found;
}

test('checkState() names a folder that is missing, and one that can not be made', async (t) => {
  const folder = temporaryFolder(t);
  const missing = configOf(join(folder, 'state'));
  await onlyTrouble(missing, 'warn', /does not exist: the first start makes it/, /install -d -m 0700/);
  writeFileSync(join(folder, 'file'), '');
  const blocked = configOf(join(folder, 'file', 'state'));
  await onlyTrouble(blocked, 'fail', /can not be looked at: ENOTDIR/, /check as root/);
  await onlyTrouble(configOf(join(folder, 'file')), 'fail', /is no folder/, /move it away/);
});

test('checkState() names another owner, and a folder that is open to others', async (t) => {
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o755);
  await onlyTrouble(configOf(folder), 'warn', /open to other users \(mode 0755\)/, /^chmod 0700 /);
  chmodSync(folder, 0o700);
  chownSync(folder, 65_534, 65_534);
  await onlyTrouble(configOf(folder), 'fail', /belongs to nobody, this is root/, /chown -R root /);
});

test('checkState() names a disk that is read-only, full, or nearly so', async (t) => {
  await withDisk(join(temporaryFolder(t), 'disk'), async (disk) => {
    const config = configOf(disk.folder);
    assert.deepEqual(await troublesOf(config), []);
    disk.fill();
    const full = await troublesOf(config);
    assert.deepEqual(
      full.map(({ level }) => level),
      ['fail', 'fail'],
      JSON.stringify(full),
    );
    assert.match(full[0]?.what ?? '', /can not be written: ENOSPC/);
    assert.equal(full[0]?.remedy, 'make room on that disk');
    assert.match(full[1]?.what ?? '', /has 0 MB left \(0\.0 %\), less than two of the largest messages/);
    disk.free();
    execFileSync('mount', ['-o', 'remount,ro', disk.folder]);
    const [readOnly] = await troublesOf(config);
    assert.match(readOnly?.what ?? '', /can not be written: EROFS/);
    assert.match(readOnly?.remedy ?? '', /mount it for writing/);
  });
});

test('judgeRoom() warns under 10 %, fails under 1 % and under two messages', () => {
  for (const [label, free, total, needed, level] of [
    ['half', 500, 1000, 10, 'ok'],
    ['exactly 10 %', 100, 1000, 10, 'ok'],
    ['a little less', 99, 1000, 10, 'warn'],
    ['exactly 1 %', 10, 1000, 10, 'warn'],
    ['less', 9, 1000, 5, 'fail'],
    ['two messages do not fit', 499, 1000, 500, 'fail'],
    ['they just fit', 500, 1000, 500, 'ok'],
    ['nothing at all', 0, 0, 1, 'fail'],
  ] as const)
    assert.equal(judgeRoom('Disk', '/', { free, total, needed }).level, level, label);
});

test('checkSync() warns of a disk whose fsync takes more than 20 ms', (t) => {
  const folder = temporaryFolder(t);
  const module = join(import.meta.dirname, '..', '..', 'workers', 'check-folder.ts');
  const script = `import(${JSON.stringify(module)})
    .then(({ checkSync }) => checkSync(${JSON.stringify(folder)}))
    .then((found) => process.stdout.write(JSON.stringify(found)))`;
  const strace = ['-f', '-qq', '-o', '/dev/null', '-e', 'trace=fsync', '-e', 'inject=fsync:delay_exit=30000'];
  const said = execFileSync('strace', [...strace, process.execPath, '-e', script], { encoding: 'utf8' });
  const found = JSON.parse(said) as Finding;
  assert.equal(found.level, 'warn', said);
  assert.match(found.what, /^fsync takes (?:3\d|[4-9]\d|\d{3,})\.\d ms, .* of 20: hand-offs are slow$/);
});

test('checkState() names a damaged database, one that is none, and one that is locked', async (t) => {
  const folder = temporaryFolder(t);
  await usedState(folder);
  const file = join(folder, 'ledger.db');
  const whole = readFileSync(file);
  writeFileSync(file, Buffer.concat([whole.subarray(0, 4096), Buffer.alloc(whole.length - 4096, 0x55)]));
  await onlyTrouble(configOf(folder), 'fail', /malformed|damaged/, /move the file away/);
  writeFileSync(file, 'this is no database, but long enough to be taken for one'.repeat(100));
  await onlyTrouble(configOf(folder), 'fail', /not a database/, /move the file away/);
  writeFileSync(file, whole);
  const { DatabaseSync } = await import('node:sqlite');
  const other = new DatabaseSync(file);
  t.after(() => other.close());
  other.exec('BEGIN IMMEDIATE');
  await onlyTrouble(
    configOf(folder),
    'fail',
    /ledger\.db: database is locked/,
    /another process holds its lock/,
  );
});

test('checkState() looks at the database of what people did, which their first command makes', async (t) => {
  const folder = temporaryFolder(t);
  await usedState(folder);
  const file = join(folder, 'review.db');
  const [missing] = (await checkState(configOf(folder))).filter(({ where }) => where === file);
  assert.deepEqual(
    [missing?.level, missing?.what],
    ['ok', 'Database is made by the first command that needs it'],
  );
  writeFileSync(file, 'this is no database, but long enough to be taken for one'.repeat(100));
  await onlyTrouble(configOf(folder), 'fail', /review\.db.*not a database/, /move the file away/);
});

test('checkState() names rows without folder, folders without row, and items that can not be read', async (t) => {
  const folder = temporaryFolder(t);
  const quarantine = join(folder, 'quarantine');
  const held = await usedState(folder);
  const [lost = '', damaged = ''] = held.map((id) => join(quarantine, id.slice(0, 2), id));
  renameSync(lost, join(folder, 'aside'));
  await onlyTrouble(configOf(folder), 'warn', /^1 held items have lost their folder/, /from a backup/);
  renameSync(join(folder, 'aside'), lost);
  writeFileSync(join(damaged, 'item.json'), '{"format":1');
  await onlyTrouble(
    configOf(folder),
    'warn',
    /^1 of 3 items can not be read: Cannot read .*item\.json/,
    /backup/,
  );
  rmSync(damaged, { recursive: true });
  rmSync(join(folder, 'quarantine.db'));
  await onlyTrouble(configOf(folder), 'warn', /^2 held items are not in the index/, /restart Sluice/);
});

test('checkState() mentions what dead processes left, in quarantine and spool', async (t) => {
  const folder = temporaryFolder(t);
  const [id = ''] = await usedState(folder, 1);
  const owner = '00000000-4026531836-1-1';
  mkdirSync(join(folder, 'quarantine', id.slice(0, 2), `tmp-${owner}-${'0'.repeat(32)}`));
  mkdirSync(join(folder, 'spool', '4711-0123abcd'), { recursive: true });
  chmodSync(join(folder, 'spool'), 0o700);
  assert.deepEqual(await troublesOf(configOf(folder)), []);
  const whats = (await checkState(configOf(folder))).map(({ what }) => what);
  assert.ok(whats.includes('1 unfinished items of dead processes: the next start removes them'));
  assert.ok(whats.includes('Spool holds 1 folders of dead processes: the next start removes them'));
});

test('checkState() names a spool whose path is too long, one without room, one on a disk of its own', async (t) => {
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o700);
  const long = configOf(folder, `spool: ${join(folder, 'x'.repeat(76 - folder.length))}\n`);
  await onlyTrouble(long, 'fail', /too long for the lock/, /that is 2 octets shorter/);
  await withDisk(join(folder, 'spool'), async (disk) => {
    const config = configOf(folder);
    assert.deepEqual(await troublesOf(config), []);
    assert.ok((await checkState(config)).some(({ what }) => what === 'Spool has a file system of its own'));
    disk.fill();
    const found = await troublesOf(config);
    assert.match(found[0]?.what ?? '', /^Spool can not be written: ENOSPC/);
    assert.match(found[1]?.what ?? '', /^Spool has 0 MB left/);
  });
});
