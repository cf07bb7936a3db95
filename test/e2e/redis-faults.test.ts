/**
 * redis-faults — each fault of Redis once under a short queue; `npm run soak:redis` is the long run.
 *
 * Nothing lost, nothing doubled, no verdict given to another message, and mail is taken again within five seconds.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { faults, type MarkedSite, runFault, startMarkedSite } from './redis-faults.ts';

const messages = 100;
const takesMs = () => 5 + Math.random() * 40;

suite('a filter without scanners of its own', () => {
  let marked: MarkedSite;
  before(async () => {
    marked = await startMarkedSite(takesMs);
  });
  after(() => marked?.stop());

  for (const [at, fault] of faults.entries()) {
    test(`Redis ${fault.name}: ${messages} messages, each with its own verdict, once`, async (t) => {
      const run = { first: at * 100_000, messages, atMostMs: 2000, pauseMs: 300, timesMost: 1 };
      const { lost, doubled, wrong, keysLeft, againMs, deferrals } = await runFault(marked, fault, run);
      t.diagnostic(`again after ${againMs.join(', ')} ms, ${deferrals} deferrals`);
      assert.deepEqual([lost, doubled, wrong, keysLeft], [[], [], [], []]);
      assert.ok(
        againMs.every((ms) => ms <= 5000),
        againMs.join(),
      );
    });
  }
});

test('Redis killed beside a filter with scanners of its own: nothing is even deferred', async (t) => {
  const marked = await startMarkedSite(takesMs, { side: { filterScans: true } });
  t.after(() => marked.stop());
  const [killed] = faults;
  assert.ok(killed !== undefined);
  const run = { first: 0, messages: 100, atMostMs: 1500, pauseMs: 300, timesMost: 1 };
  const { lost, doubled, wrong, deferrals } = await runFault(marked, killed, run);
  assert.deepEqual([lost, doubled, wrong, deferrals], [[], [], [], 0]);
});
