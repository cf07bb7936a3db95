/** remove-tree — what goes, and what a link leads to and stays. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { removeTree } from '../../workers/remove-tree.ts';
import { temporaryFolder } from '../folder.ts';

test('removeTree() removes a folder with all in it, follows no link, and takes a missing one for removed', async (t) => {
  const folder = temporaryFolder(t);
  const [gone, kept] = [join(folder, 'gone'), join(folder, 'kept')];
  mkdirSync(join(gone, 'deep'), { recursive: true });
  mkdirSync(kept);
  writeFileSync(join(kept, 'file'), '');
  symlinkSync(kept, join(gone, 'deep', 'link'));
  await removeTree(gone);
  assert.equal(existsSync(gone), false);
  assert.equal(existsSync(join(kept, 'file')), true);
  await removeTree(gone);
  await assert.rejects(removeTree('/proc/self/status'), /rm:/);
});
