/**
 * redis-faults — Redis killed, flushed, stopped, full, read-only, then five workers killed: once each under a short queue.
 *
 * Nothing lost, nothing doubled, no verdict given to another message, and mail is taken again within five seconds. `npm run
 * soak:redis` is the long run, with all faults.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { faults, type MarkedSite, runFault, startMarkedSite } from './redis-faults.ts';
import { runKills } from './worker-kills.ts';

const messages = 60;
const short = ['killed', 'flushed', 'stopped', 'full', 'a read-only replica'];

suite('a filter without scanners of its own', () => {
  let marked: MarkedSite;
  before(async () => {
    marked = await startMarkedSite(() => 20 + Math.random() * 80);
  });
  after(() => marked?.stop());

  for (const [at, fault] of faults.filter(({ name }) => short.includes(name)).entries()) {
    test(`Redis ${fault.name}: ${messages} messages, each with its own verdict, once`, async (t) => {
      const run = { first: at * 100_000, messages, atMostMs: 1500, pauseMs: 200, timesMost: 1 };
      const { lost, doubled, wrong, keysLeft, againMs, deferrals } = await runFault(marked, fault, run);
      t.diagnostic(`again after ${againMs.join(', ')} ms, ${deferrals} deferrals`);
      assert.deepEqual([lost, doubled, wrong, keysLeft], [[], [], [], []]);
      assert.ok(
        againMs.every((ms) => ms <= 5000),
        againMs.join(),
      );
    });
  }

  test('kill -9 of 5 workers mid-scan: every message is decided inside its deadline', async (t) => {
    const report = await runKills(marked, 5, 1_000_000);
    t.diagnostic(`${report.messages} messages, ${report.cut} scans cut, slowest ${report.slowestMs} ms`);
    assert.deepEqual(report.putOff, []);
    assert.deepEqual([report.lost, report.doubled, report.wrong], [[], [], []]);
    assert.ok(report.cut > 0, 'no scan was under way when its worker died');
    assert.ok(report.slowestMs < report.deadlineMs, `${report.slowestMs} ms`);
  });
});
