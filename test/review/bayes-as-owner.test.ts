/**
 * bayes-as-owner — the mail side of a machine, asked by root in a child that is the owner of the state folder.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { openQuarantine } from '../../filter/quarantine.ts';
import { ownerAnswerers } from '../../review/bayes-as-owner.ts';
import { runErrands } from '../../review/bayes-errands.ts';
import type { Call } from '../../workers/bayes-ssh.ts';
import { silentLog } from '../../workers/log.ts';
import { bytesOf, messageOf } from '../filter/quarantine-rig.ts';
import { overWire } from './nodes-desk.ts';
import { callOf, fill, makeSite, noSignal, pathsIn } from './owner-sites.ts';

test('createOwnerCall() works as the owner of the state folder: root leaves no file of its own there', async (t) => {
  const [backup, primary] = [await makeSite(t, 'backup'), await makeSite(t, 'primary')];
  const [id = ''] = await fill(backup, 1, 1);
  for (const { state } of [backup, primary]) {
    chmodSync(dirname(state), 0o755);
    execFileSync('chown', ['-R', 'nobody:nogroup', state]);
  }
  // As `receive` answers: root hands the question on.
  const names = ['held', 'moved', 'taught', 'learned'] as const;
  const from: Call = (ask) => overWire(ownerAnswerers(callOf(backup), names), ask);
  const errands = await runErrands(from, callOf(primary), silentLog, noSignal);
  assert.deepEqual(errands, { moved: 1, taught: 1, troubles: [] });
  for (const { state } of [backup, primary]) {
    const owners = readdirSync(state, { recursive: true }).map(
      (name) => statSync(join(state, String(name))).uid,
    );
    assert.deepEqual(new Set(owners), new Set([65_534]));
  }
  const quarantine = await openQuarantine({ ...pathsIn(primary.state), log: silentLog });
  assert.deepEqual(await bytesOf(quarantine.read(id)), messageOf(3000));
  await quarantine.close();
});

test('createOwnerCall() says what keeps the child from answering, and what is not asked here', async (t) => {
  const backup = await makeSite(t, 'backup');
  writeFileSync(backup.configFile, 'role: third\n');
  const broken = await callOf(backup)({ name: 'held' });
  assert.ok('kind' in broken);
  assert.match(broken.message, /^Cannot ask the mail side of this machine: .*role/);
  const primary = await makeSite(t, 'primary');
  const stranger = await callOf(primary)({ name: 'held' });
  assert.ok('kind' in stranger);
  assert.match(stranger.message, /Cannot answer "held": not by this door/);
});

test('createOwnerCall() whose payload breaks off tells it, as a trouble and as nothing else', async (t) => {
  const primary = await makeSite(t, 'primary');
  const stray: unknown[] = [];
  const note = (cause: unknown) => void stray.push(cause);
  process.on('unhandledRejection', note);
  t.after(() => process.off('unhandledRejection', note));
  for (const first of [Buffer.alloc(0), Buffer.from('20 3000\n'), Buffer.alloc(3_000_000, 65)]) {
    const payload = (async function* broken() {
      yield first;
      throw new Error('the connection broke off');
    })();
    const outcome = await callOf(primary)({ name: 'adopt', payload });
    assert.equal('kind' in outcome ? outcome.kind : null, 'failed');
  }
  assert.deepEqual(stray, []);
});

test('runErrands() leaves no process behind whose answer nobody took', async (t) => {
  const backup = await makeSite(t, 'backup');
  await fill(backup, 10, 0);
  const deaf: Call = async ({ payload }) =>
    payload === undefined
      ? { head: { host: 'primary', arrivals: [] } }
      : { kind: 'failed', step: 'connect', message: 'there is no key', remedy: '' };
  await runErrands(callOf(backup), deaf, silentLog, noSignal);
  assert.equal(readFileSync(`/proc/self/task/${process.pid}/children`, 'ascii'), '');
});
