/**
 * sync — two nodes joined by a real sshd: what one has learned, the other has after `sluice bayes sync --now` or `fetch`, and
 * where anything is wrong it has the complete old database and both say why.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { isSameContent } from '../../workers/bayes-dump.ts';
import { readRecords } from '../../workers/bayes-record.ts';
import { given, wordsOf } from '../workers/bayes-rig.ts';
import { run, startPair } from './carry-rig.ts';

for (const way of ['push', 'fetch'] as const)
  test(`${way}: the backup has what the primary has, both say so, and a second run adds nothing`, async (t) => {
    const { primary, backup } = await startPair(t, { way });
    await given(t, primary.site, wordsOf('spam'));
    await given(t, backup.site, wordsOf('ham', 20, 'old'));
    writeFileSync(primary.policies, 'default: { thresholds: { tag: 1.5 } }\n');
    const go = () => (way === 'push' ? run(primary, 'sync', '--now') : run(backup, 'fetch'));
    const first = await go();
    assert.equal(first.code, 0, first.out + first.err);
    t.diagnostic(first.out);
    const sent = await primary.site.figures();
    assert.ok(isSameContent(await backup.site.figures(), sent));
    for (const node of [primary, backup]) {
      const [record, ...more] = await readRecords(node.bayesFolder);
      assert.deepEqual(more, []);
      assert.equal(record?.outcome, 'done', JSON.stringify(record));
      const { nspam, nham, tokens } = sent;
      assert.deepEqual(record.lastGood?.here, { nspam, nham, tokens });
      assert.deepEqual(record.lastGood?.there, { nspam, nham, tokens });
      const status = await run(node, 'status');
      t.diagnostic(status.out);
      assert.match(status.out, /done in/);
    }
    const again = await go();
    assert.equal(again.code, 0, again.out + again.err);
    assert.ok(isSameContent(await backup.site.figures(), sent));
  });
