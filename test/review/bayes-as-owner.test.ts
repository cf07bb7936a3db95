/**
 * bayes-as-owner — the errands between real processes, as the owners of two state folders, and killed at any instant.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openQuarantine } from '../../filter/quarantine.ts';
import { createOwnerCall, ownerAnswerers } from '../../review/bayes-as-owner.ts';
import { runErrands } from '../../review/bayes-errands.ts';
import type { Call } from '../../workers/bayes-ssh.ts';
import { createJournal } from '../../review/journal.ts';
import { formatAddress } from '../../rules/config.ts';
import { silentLog } from '../../workers/log.ts';
import { type FakeSpamd, startFakeSpamd } from '../fakes/spamd.ts';
import { bytesOf, chunksOf, messageOf } from '../filter/quarantine-rig.ts';
import { temporaryFolder } from '../filter/store-rig.ts';
import { sluice, spam } from './desk-rig.ts';
import { overWire } from './nodes-desk.ts';

const noSignal = new AbortController().signal;
const sha256Of = (octets: Uint8Array) => createHash('sha256').update(octets).digest('hex');

type Site = { readonly state: string; readonly configFile: string; readonly spamd: FakeSpamd };

async function makeSite(t: TestContext, role: 'primary' | 'backup'): Promise<Site> {
  const folder = temporaryFolder(t);
  const spamd = await startFakeSpamd({ allowTell: true });
  t.after(() => spamd.stop());
  const [state, configFile] = [join(folder, 'state'), join(folder, 'sluice.yaml')];
  mkdirSync(state, { mode: 0o700 });
  writeFileSync(
    configFile,
    `role: ${role}\nstate: state\nclamd: null\nspamd: ${formatAddress(spamd.address as Parameters<typeof formatAddress>[0])}\nscan: { virus: false }\n`,
  );
  return { state, configFile, spamd };
}

/** Held mail and lessons, put there by this process, in the end everything owned by `nobody`. */
async function fill({ state }: Site, items: number, lessons: number): Promise<string[]> {
  const quarantine = await openQuarantine({ ...pathsIn(state), log: silentLog });
  const ids: string[] = [];
  for (let at = 0; at < items; at++) {
    const message = messageOf(3000 + at * 40_000);
    const item = { ...spam([`a${at}@example.com`], `Q${at}`), sizeBytes: message.length };
    ids.push(await quarantine.put({ ...item, sha256: sha256Of(message) }, chunksOf(message)));
  }
  await quarantine.close();
  const journal = createJournal(state);
  for (let at = 0; at < lessons; at++) {
    const octets = Buffer.from(`Subject: lesson ${at}\r\n\r\nx\r\n`);
    const lesson = {
      sha256: sha256Of(octets),
      as: 'spam',
      by: 'cli:anna',
      sizeBytes: octets.length,
    } as const;
    await journal.add(lesson, chunksOf(octets));
  }
  return ids;
}

function pathsIn(state: string): { folder: string; file: string } {
  return { folder: join(state, 'quarantine'), file: join(state, 'quarantine.db') };
}

const callOf = ({ configFile }: Site, signal = noSignal): Call =>
  createOwnerCall({ script: sluice, configFile, signal });

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

test('runErrands() killed at any instant, on either side, again and again: everything arrives once', async (t) => {
  const [backup, primary] = [await makeSite(t, 'backup'), await makeSite(t, 'primary')];
  const ids = await fill(backup, 6, 3);
  let killed = 0;
  for (let at = 0; at < Number(process.env['SLUICE_BAYES_KILLS'] ?? 6); at++) {
    // The delay grows: each of the processes that a run starts is hit at some time.
    const signal = AbortSignal.timeout(150 + ((at * 397) % 2600));
    const sides =
      at % 2 === 0 ? [callOf(backup, signal), callOf(primary)] : [callOf(backup), callOf(primary, signal)];
    const [from, to] = sides;
    if (from === undefined || to === undefined) throw new Error('two sides');
    killed += (await runErrands(from, to, silentLog, noSignal)).troubles.length > 0 ? 1 : 0;
  }
  assert.ok(killed > 0, 'some were killed');
  const last = await runErrands(callOf(backup), callOf(primary), silentLog, noSignal);
  assert.deepEqual(last.troubles, []);
  const [here, there] = [
    await openQuarantine({ ...pathsIn(backup.state), log: silentLog }),
    await openQuarantine({ ...pathsIn(primary.state), log: silentLog }),
  ];
  t.after(() => Promise.all([here.close(), there.close()]));
  await there.reconcile();
  const states = async (quarantine: typeof here) =>
    (await quarantine.list({ limit: 99 }))
      .map(({ quarantineId, slots }) => `${quarantineId} ${slots.map(({ state }) => state).join()}`)
      .toSorted();
  assert.deepEqual(await states(here), ids.map((id) => `${id} moved`).toSorted());
  assert.deepEqual(await states(there), ids.map((id) => `${id} held`).toSorted());
  for (const [at, id] of ids.entries())
    assert.deepEqual(await bytesOf(there.read(id)), messageOf(3000 + at * 40_000));
  assert.deepEqual(await createJournal(backup.state).list(), []);
  // SpamAssassin takes a message once, however often it is told.
  const told = primary.spamd.conversations.filter(({ command }) => command.startsWith('TELL'));
  assert.equal(new Set(told.map(({ message }) => message.toString())).size, 3);
});
