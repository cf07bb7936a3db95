/**
 * held-over-ssh — what a backup held and was taught goes to the primary over a real sshd, whoever of the two calls.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { openQuarantine } from '../../filter/quarantine.ts';
import { silentLog } from '../../workers/log.ts';
import { chunksOf } from '../filter/quarantine-rig.ts';
import { message, spam } from '../review/desk-rig.ts';
import { type BayesNode, run, startNodes } from './nodes-rig.ts';

const script = join(import.meta.dirname, '..', '..', 'bin', 'sluice.js');
const child = join(import.meta.dirname, 'rounds-child.ts');

type Trips = { node: string; errands: { moved: number; taught: number; troubles: { step: string }[] } }[];

async function round(node: BayesNode): Promise<Trips> {
  const said = await run([...node.within, process.execPath, child, node.file, script]);
  assert.equal(said.code, 0, said.stderr);
  return JSON.parse(said.stdout) as Trips;
}

async function listed(node: BayesNode): Promise<string[]> {
  const { stdout } = await node.sluice(['quarantine', 'list', '--json']);
  return (JSON.parse(stdout) as { quarantineId: string }[]).map(({ quarantineId }) => quarantineId);
}

/** Spam that SpamAssassin has learned. */
async function spamCount(node: BayesNode): Promise<number> {
  return Number((await node.site.figures()).nspam);
}

for (const way of ['push', 'pull'] as const) {
  test(`a round over ssh, ${way}: unreachable is no loss; then all is at the primary, taught once`, async (t) => {
    const nodes = await startNodes(t, { way, lean: true });
    const { primary, backup } = nodes;
    const state = join(dirname(backup.file), 'state');
    const paths = { folder: join(state, 'quarantine'), file: join(state, 'quarantine.db') };
    const quarantine = await openQuarantine({ ...paths, log: silentLog });
    const ids = [];
    for (const at of [1, 2, 3])
      ids.push(await quarantine.put(spam([`a${at}@example.com`], `Q${at}`), chunksOf(message)));
    await quarantine.close();
    for (const node of [primary, backup])
      execFileSync('chown', ['nobody:nogroup', join(dirname(node.file), 'state')]);
    execFileSync('chown', ['-R', 'nobody:nogroup', join(state, 'quarantine'), join(state, 'quarantine.db')]);
    const taught = await backup.sluice(['quarantine', 'learn', 'spam', ids[0] ?? '']);
    assert.equal(taught.code, 0, taught.stdout + taught.stderr);
    const status = async () => (await backup.sluice(['bayes', 'status'])).stdout;
    assert.match(await status(), /^lessons {3}1 wait for the primary$/m);
    const before = await spamCount(primary);
    const caller = way === 'push' ? primary : backup;
    await nodes.link(false);
    const [lost] = await round(caller);
    assert.deepEqual([lost?.errands.moved, lost?.errands.taught], [0, 0]);
    assert.ok((lost?.errands.troubles ?? []).length > 0);
    assert.equal((await listed(backup)).length, 3);
    await nodes.link(true);
    const [first] = await round(caller);
    assert.deepEqual(first?.errands, { moved: 3, taught: 1, troubles: [] });
    assert.deepEqual([await listed(backup), (await listed(primary)).toSorted()], [[], ids.toSorted()]);
    const [second] = await round(caller);
    assert.deepEqual(second?.errands, { moved: 0, taught: 0, troubles: [] });
    assert.equal(await spamCount(primary), before + 1);
    assert.match(await status(), /^lessons {3}none waits for the primary$/m);
  });
}
