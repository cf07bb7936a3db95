/** bayes-folder — root writes nothing where another user can put links. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ownFolder, requireOwn } from '../../workers/bayes-folder.ts';
import { readTold, writeTold } from '../../workers/bayes-told.ts';
import { temporaryFolder } from '../folder.ts';

const told = { watched: { mx2: 1 }, told: [], over: [] };

test('writeTold() follows no link in place of a draft, and none in place of its folder', async (t) => {
  const [folder, elsewhere] = [ownFolder(join(temporaryFolder(t), 'bayes')), temporaryFolder(t)];
  const victim = join(elsewhere, 'victim');
  writeFileSync(victim, 'untouched');
  symlinkSync(victim, join(folder, 'told.json.draft'));
  symlinkSync(victim, join(folder, 'told.json'));
  await writeTold(folder, told);
  assert.deepEqual(await readTold(folder), told);
  assert.equal(readFileSync(victim, 'utf8'), 'untouched');
  const link = join(temporaryFolder(t), 'bayes');
  symlinkSync(elsewhere, link);
  await assert.rejects(writeTold(link, told), /^PermFail: Cannot use .*: it is no folder of this user alone/);
  assert.deepEqual(readdirSync(elsewhere), ['victim']);
});

test("requireOwn() refuses another user's folder, and one that others may write into", (t) => {
  const folder = join(temporaryFolder(t), 'bayes');
  mkdirSync(folder, { mode: 0o755 });
  requireOwn(folder);
  chmodSync(folder, 0o775);
  assert.throws(() => requireOwn(folder), /chmod go-w/);
  chmodSync(folder, 0o700);
  if (process.getuid?.() !== 0) return;
  chownSync(folder, 65534, 65534);
  assert.throws(() => ownFolder(folder), /run it as uid 65534/);
});
