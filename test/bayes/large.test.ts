/**
 * large — 150,000 tokens on every store: exported, bundled, received, in processes of their own that tell time and memory.
 */
import assert from 'node:assert/strict';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { test } from 'node:test';
import { packBundle } from '../../workers/bayes-bundle.ts';
import { isSameContent } from '../../workers/bayes-dump.ts';
import { bayesOf, given, restoreInChild, startSite, type StoreName } from '../workers/bayes-rig.ts';

const words = Object.fromEntries(
  Array.from({ length: 150_000 }, (_, at) => [`large${at}`, [1 + (at % 9), at % 7] as const]),
);
const memoryMegabytesMax = 200;

for (const store of ['files', 'postgres', 'redis'] satisfies StoreName[]) {
  test(`150,000 tokens on ${store}: exported and received whole, memory under ${memoryMegabytesMax} MB`, async (t) => {
    const [primary, backup] = [await startSite(t, 'files'), await startSite(t, store)];
    await given(t, primary, words, { nspam: 20_000, nham: 20_000 });
    const told = [await restoreInChild(primary, '', 'never', 'export')];
    const status = await bayesOf(primary).status();
    const snapshot = status.kind === 'status' ? status.exported[0] : undefined;
    assert.ok(snapshot !== undefined, JSON.stringify(status));
    const bundle = join(primary.folder, 'bundle');
    await pipeline(packBundle(snapshot), createWriteStream(bundle));
    told.push(await restoreInChild(backup, bundle, 'never', 'receive'));
    assert.ok(isSameContent(await backup.figures(), snapshot.manifest), told.join());
    told.push(await restoreInChild(backup, '', 'never', 'export'));
    for (const line of told) {
      t.diagnostic(`${store}: ${line}`);
      const [, kind, megabytes] = /^(\w+) \d+ ms (\d+) MB/.exec(line) ?? [];
      assert.ok(kind === 'exported' || kind === 'restored', line);
      assert.ok(Number(megabytes) < memoryMegabytesMax, line);
    }
  });
}
