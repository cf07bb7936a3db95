/**
 * nodes-large — 150,000 tokens from one node to the other, for each store: whole, in how many seconds, and with how much memory
 * on either side.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isSameContent } from '../../workers/bayes-dump.ts';
import { given, type StoreName } from '../workers/bayes-rig.ts';
import { type BayesNode, startNodes } from './nodes-rig.ts';
import { hooks } from './sync-faults-rig.ts';

const words = Object.fromEntries(
  Array.from({ length: 150_000 }, (_, at) => [`large${at}`, [1 + (at % 9), at % 7] as const]),
);
const memoryMegabytesMax = 200;
const secondsMax = 30;
const env = { NODE_OPTIONS: `--import=${hooks}`, SLUICE_TEST_MEMORY: '1' };

for (const store of ['files', 'postgres', 'redis'] satisfies StoreName[])
  test(`sluice bayes sync --now carries 150,000 tokens to ${store} in ${secondsMax} s, memory under ${memoryMegabytesMax} MB`, async (t) => {
    const { primary, backup } = await startNodes(t, { backup: store });
    await given(t, primary.site, words, { nspam: 20_000, nham: 20_000 });
    backup.grant('receive', env);
    const begun = Date.now();
    const said = await primary.sluice(['bayes', 'sync', '--now'], env);
    const seconds = (Date.now() - begun) / 1000;
    assert.equal(said.code, 0, said.stdout + said.stderr);
    const [here, there] = [await primary.site.figures(), await backup.site.figures()];
    assert.ok(isSameContent(here, there), JSON.stringify([here, there]));
    assert.equal(there.tokens, 150_000);
    t.diagnostic(`files to ${store}: ${seconds.toFixed(1)} s`);
    assert.ok(seconds < secondsMax, `${seconds} s`);
    for (const node of [primary, backup]) {
      const used = memoryOf(node);
      t.diagnostic(
        `${node.name}: ${used.map(({ megabytes, what }) => `${megabytes} MB ${what}`).join(', ')}`,
      );
      assert.ok(used.length > 0 && used.every(({ megabytes }) => megabytes < memoryMegabytesMax));
    }
  });

/** Of every process of sluice there. */
function memoryOf({ site }: BayesNode): { megabytes: number; what: string }[] {
  const lines = readFileSync(join(site.folder, 'memory'), 'utf8').trim().split('\n');
  return lines.map((line) => ({ megabytes: Number.parseInt(line, 10), what: line.replace(/^\d+ /, '') }));
}
