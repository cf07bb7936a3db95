/**
 * worker-kills — ten workers killed in the middle of their scans; `npm run soak:redis` kills a hundred.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runKills } from './worker-kills.ts';

test('kill -9 of 10 workers mid-scan: every message is decided inside its deadline', async (t) => {
  const report = await runKills(10, 1000);
  t.diagnostic(`${report.messages} messages, ${report.cut} scans cut, slowest ${report.slowestMs} ms`);
  assert.deepEqual(report.putOff, []);
  assert.deepEqual([report.lost, report.doubled, report.wrong], [[], [], []]);
  assert.ok(report.cut > 0, 'no scan was under way when its worker died');
  assert.ok(report.slowestMs < report.deadlineMs, `${report.slowestMs} ms`);
});
