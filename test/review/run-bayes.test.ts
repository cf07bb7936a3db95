/**
 * run-bayes — `sluice run bayes` as a process: who may be it, what it says of itself, how it ends. As root.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { freePort } from '../../demo/daemon.ts';
import { mayRunBayes, wantsBayesPart } from '../../review/bayes-wanted.ts';
import { parseConfig } from '../../rules/config.ts';
import { findUser } from '../../workers/local-process.ts';
import { temporaryFolder } from '../folder.ts';

const script = join(import.meta.dirname, '../../bin/sluice.js');

type Event = Readonly<Record<string, unknown>> & { readonly msg: string };

/** Runs it with a state folder that is another user's, as it is on a site. */
async function start(t: TestContext, part: string, yaml: string, as: { uid?: number; gid?: number } = {}) {
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o755);
  const state = join(folder, 'state');
  mkdirSync(state, { mode: 0o700 });
  const owner = findUser('nobody');
  assert.ok(owner !== null);
  chownSync(state, owner.uid, owner.gid);
  const [health, filter, lmtp] = [await freePort(), await freePort(), await freePort()];
  const file = join(folder, 'sluice.yaml');
  const common = [
    `state: ${state}`,
    `listen: { smtp: null, lmtp: 127.0.0.1:${lmtp} }`,
    'scan: { virus: false, spam: false }',
    `health: { bayes: 127.0.0.1:${health}, filter: 127.0.0.1:${filter} }`,
  ];
  writeFileSync(file, `${common.join('\n')}\n${yaml}\n`);
  const child = spawn(process.execPath, [script, 'run', part, '--config', file], {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...as,
  });
  const ended = once(child, 'exit');
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return { child, ended, state, health, eventsOf: listen(child) };
}

/** Events as they come; resolves with the first one of that text. */
function listen(child: ChildProcess): (msg: string) => Promise<Event> {
  assert.ok(child.stdout !== null && child.stderr !== null);
  child.stderr.resume();
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const seen: Event[] = [];
  return async (msg) => {
    for (;;) {
      const found = seen.find((event) => event.msg.startsWith(msg));
      if (found !== undefined) return found;
      const line = await lines.next();
      if (line.done === true) throw new Error(`it ended without "${msg}": ${JSON.stringify(seen)}`);
      seen.push(JSON.parse(line.value) as Event);
    }
  };
}

test('`sluice run bayes` stays root, keeps its nights in a folder of root, and ends with 0 at SIGTERM', async (t) => {
  const yaml = 'bayes: { nodes: [192.0.2.7], sync: { at: "03:15", zone: Asia/Kathmandu } }';
  const { child, ended, state, health, eventsOf } = await start(t, 'bayes', yaml);
  const scheduled = await eventsOf('Bayes sync is scheduled');
  assert.equal(scheduled['zone'], 'Asia/Kathmandu');
  assert.match(String(scheduled['next']), /T21:3\d:/);
  assert.equal((await eventsOf('Bayes part runs'))['scheduled'], true);
  const { uid, mode } = statSync(join(state, 'bayes'));
  assert.deepEqual([uid, mode & 0o777], [process.getuid?.(), 0o700]);
  assert.equal(statSync(join(state, 'bayes', 'nights.db')).uid, uid);
  const ready = await fetch(`http://127.0.0.1:${health}/readyz`);
  assert.equal(ready.status, 200);
  const alarms = await (await fetch(`http://127.0.0.1:${health}/metrics`)).text();
  assert.match(alarms, /^sluice_bayes_alarm\{node="root@192\.0\.2\.7",trouble="failed"\} 0$/m);
  child.kill('SIGTERM');
  assert.deepEqual(await ended, [0, null]);
});

test('`sluice run bayes` ends with 78 where there is nothing for it to do', async (t) => {
  const { ended } = await start(t, 'bayes', '');
  assert.deepEqual(await ended, [78, null]);
});

test('`sluice run all` has the Bayes part among its parts as root, and says where it must be root', async (t) => {
  const yaml = 'bayes: { nodes: [192.0.2.7] }';
  const all = await start(t, 'all', yaml);
  assert.equal((await all.eventsOf('Bayes part runs'))['name'], 'bayes');
  assert.equal((await all.eventsOf('Filter runs'))['name'], 'filter');
  all.child.kill('SIGTERM');
  assert.deepEqual(await all.ended, [0, null]);
  const owner = findUser('nobody');
  assert.ok(owner !== null);
  const { uid, gid } = owner;
  const alone = await start(t, 'all', yaml, { uid, gid });
  assert.equal((await alone.eventsOf('The Bayes part is not among the parts'))['name'], 'supervisor');
  await alone.eventsOf('Filter runs');
  alone.child.kill('SIGTERM');
  assert.deepEqual(await alone.ended, [0, null]);
});

test('wantsBayesPart(), mayRunBayes() by role, nodes and user', () => {
  const configOf = (text: string) => {
    const { config } = parseConfig({ file: 'sluice.yaml', text }, {});
    assert.ok(config !== null);
    return config;
  };
  const wanted = ['', 'role: backup', 'bayes: { nodes: [mx2] }', 'role: backup\nbayes: { primary: mx1 }'];
  assert.deepEqual(
    wanted.map((text) => wantsBayesPart(configOf(text))),
    [false, true, true, true],
  );
  assert.equal(mayRunBayes(configOf('')), true);
});
