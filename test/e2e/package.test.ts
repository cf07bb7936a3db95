/**
 * package — what `npm pack` makes, unpacked elsewhere: the command runs from dist/, not from the sources.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../folder.ts';
import { packSluice } from './packed.ts';
import { top } from './site.ts';

test('npm pack: the packed command runs from dist/ with its policies and its database thread', (t) => {
  const folder = temporaryFolder(t);
  const archive = packSluice(folder);
  const home = join(folder, 'node_modules', 'sluice');
  execFileSync('mkdir', ['-p', home, join(folder, 'state')]);
  execFileSync('tar', ['xzf', archive, '-C', home, '--strip-components=1']);
  const { dependencies } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  for (const name of Object.keys(dependencies))
    symlinkSync(join(top, 'node_modules', name), join(folder, 'node_modules', name));

  const run = (...words: string[]) =>
    spawnSync(process.execPath, [join(home, 'bin', 'sluice.js'), ...words], {
      encoding: 'utf8',
      env: { ...process.env, SLUICE_STATE: join(folder, 'state') },
    });
  assert.ok(!readdirSync(home).includes('rules'), 'the package carries sources');
  const explained = run('policy', 'explain', 'user@example.com', '--json');
  assert.equal(explained.status, 0, explained.stderr);
  assert.match(explained.stdout, /"field":"thresholds.spam","value":6.5,"origin":"shipped default"/);
  const listed = run('quarantine', 'list');
  assert.equal(listed.status, 0, listed.stderr);
  assert.equal(listed.stdout, 'Nothing is held.\n');
});
