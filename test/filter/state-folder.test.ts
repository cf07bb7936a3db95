/**
 * state-folder — who we are once the state folder is known. Changing that needs root: as another user half of it is told
 * to be skipped.
 */
import assert from 'node:assert/strict';
import { chownSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { temporaryFolder } from '../folder.ts';
import { startScript } from '../workers/script-child.ts';

const module = JSON.stringify(join(import.meta.dirname, '../../filter/state-folder.ts'));
const isRoot = process.getuid?.() === 0;

type Became = { uid: number; gid: number; groups: number[]; warned: string[]; failed: string | null };

/** What a process is after `becomeOwner(folder)`. */
async function become(t: TestContext, folder: string): Promise<Became> {
  const child = await startScript(
    t,
    `import { becomeOwner } from ${module};
     const warned = [];
     const log = { debug() {}, info() {}, warn: (f, m) => warned.push(m), error() {} };
     let failed = null;
     say('up');
     try { becomeOwner(${JSON.stringify(folder)}, log) } catch (cause) { failed = String(cause) }
     say(JSON.stringify({ uid: process.getuid(), gid: process.getgid(), groups: process.getgroups(), warned, failed }));
     process.exit();`,
  );
  return JSON.parse(await child.line()) as Became;
}

test('becomeOwner() makes a missing folder that nobody else can read', async (t) => {
  const folder = join(temporaryFolder(t), 'deep', 'state');
  const { uid, failed } = await become(t, folder);
  assert.deepEqual([uid, failed], [process.getuid?.(), null]);
  assert.equal(statSync(folder).mode & 0o777, 0o700);
});

test('becomeOwner() says what to do where there can be no folder', async (t) => {
  const file = join(temporaryFolder(t), 'state');
  writeFileSync(file, '');
  const { failed } = await become(t, file);
  assert.match(
    failed ?? '',
    /^PermFail: Cannot create state folder .*: EEXIST.*: create it, owned by the user that Sluice shall run as$/,
  );
});

test('becomeOwner() warns where root owns the folder and stays root', {
  skip: isRoot ? false : 'needs root',
}, async (t) => {
  const { uid, warned, failed } = await become(t, temporaryFolder(t));
  assert.deepEqual([uid, failed], [0, null]);
  assert.match(warned.join(), /Running as root, the owner of the state folder/);
});

test('becomeOwner() takes on user and groups of the owner, root gone', {
  skip: isRoot ? false : 'needs root',
}, async (t) => {
  for (const [label, owner] of [
    ['a user', 65534],
    ['an owner without a name', 54321],
  ] as const) {
    const folder = join(temporaryFolder(t), 'state');
    mkdirSync(folder);
    chownSync(folder, owner, owner);
    const { warned, ...became } = await become(t, folder);
    assert.deepEqual(became, { uid: owner, gid: owner, groups: [owner], failed: null }, label);
    assert.deepEqual(warned, [], label);
  }
});
