/**
 * sync-faults — F40 to F44: whatever fails between two nodes, the backup has the complete old or the complete new database, its
 * spamd answers every scan, exit status, record and `bayes status` say what happened, and the next run works.
 *
 * SLUICE_BAYES_FAULTS: how many (default 10, one of each kind; 200: the whole list, and then what chance decides). SLUICE_BAYES_ONLY: those
 * whose name fits this regular expression.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Said } from './nodes-rig.ts';
import type { Fault } from './sync-fault.ts';
import { faultsOf } from './sync-fault-table.ts';
import { type FaultRig, startFaultRig } from './sync-faults-rig.ts';

const total = Number(process.env.SLUICE_BAYES_FAULTS ?? 10);
const asked = new Set<string>();
const only = process.env.SLUICE_BAYES_ONLY ?? '';

const faults = faultsOf(total).filter(({ kind, label }) => new RegExp(only).test(`${kind}: ${label}`));

test(`sync and fetch survive ${faults.length} faults: the old database or the new one, told, and the next run works`, async (t) => {
  const rig = await startFaultRig(t);
  const tally = new Map<string, { old: number; new: number }>();
  const wrong: string[] = [];
  for (const [at, fault] of faults.entries()) {
    const name = `fault ${at + 1}, ${fault.kind}: ${fault.label}`;
    const begun = Date.now();
    const scansBefore = rig.scans().failures.length;
    try {
      const left = await suffer(rig, fault, name);
      const sum = tally.get(fault.kind) ?? { old: 0, new: 0 };
      tally.set(fault.kind, { ...sum, [left]: sum[left] + 1 });
      assert.equal(rig.scans().failures.length, scansBefore, `${name}: ${rig.scans().failures.at(-1)}`);
    } catch (cause) {
      // The others are to be seen all the same.
      wrong.push(String(cause));
      console.error(String(cause));
      await rig.recover();
    }
    if (total > 10 || only !== '')
      console.log(`${name}: ${Date.now() - begun} ms ${wrong.length === 0 ? '' : wrong.length}`);
  }
  const { count, failures } = rig.scans();
  for (const [kind, sum] of tally)
    t.diagnostic(
      `${kind}: ${sum.old + sum.new} faults, then ${sum.old} times the old database, ${sum.new} times the new`,
    );
  assert.deepEqual(wrong, []);
  t.diagnostic(
    `${faults.length} faults, ${count} scans by the backup's spamd, ${failures.length} without an answer`,
  );
});

async function suffer(rig: FaultRig, fault: Fault, name: string): Promise<'old' | 'new'> {
  const caller = fault.way === 'push' ? rig.nodes.primary : rig.nodes.backup;
  const next = rig.turn();
  const begun = Date.now();
  const said = await fault.inject(rig);
  const text = `${name}: ended with ${said.signal ?? said.code}: ${said.stdout}${said.stderr}`;
  const left = await rig.found(next).catch((cause: unknown) => assert.fail(`${text}: ${String(cause)}`));
  assert.ok(fault.leaves === 'either' || fault.leaves === left, `${text}: it left the ${left} one`);
  assert.ok(
    fault.ends.some((end) => end === (said.signal ?? said.code)),
    text,
  );
  assert.match(said.stdout + said.stderr, fault.says, text);
  if (fault.hooked !== undefined)
    assert.ok(rig.reached(rig.nodes[fault.hooked]).length > 0, `${text}: not reached`);
  if (fault.recorded !== false && said.signal === null) await tells(rig, fault, said, begun, text);
  // The next night.
  rig.later();
  const again = await rig.sync(fault.way);
  assert.equal(again.code, 0, `${text}\nnext run: ${again.stdout}${again.stderr}`);
  await rig.has(next).catch((cause: unknown) => assert.fail(`${text}\nnext run: ${String(cause)}`));
  assert.match((await rig.record(caller))?.outcome ?? '', /done|already/, name);
  rig.reached(caller);
  return left;
}

/** Record and status say what the exit status does. */
async function tells(
  rig: FaultRig,
  { kind, way }: Fault,
  said: Said,
  begun: number,
  text: string,
): Promise<void> {
  const caller = way === 'push' ? rig.nodes.primary : rig.nodes.backup;
  const record = await rig.record(caller);
  const what = `${text}: ${JSON.stringify(record)}`;
  assert.ok(record !== undefined, what);
  const outcome = said.code === 0 ? 'done' : said.code === 69 ? 'failed' : 'refused';
  assert.equal(record.outcome === 'already' ? 'done' : record.outcome, outcome, what);
  assert.ok(kind === 'clock' || record.at >= begun, what);
  if (outcome === 'done') return;
  assert.ok(record.step !== null && record.message !== null && record.remedy !== null, what);
  // Status shows the record; it takes seconds, so it is asked once for each kind.
  if (asked.has(`${kind} ${way}`)) return;
  asked.add(`${kind} ${way}`);
  const status = await caller.sluice(['bayes', 'status']);
  assert.ok(status.stdout.includes(record.message), `${what}: ${status.stdout}${status.stderr}`);
}
