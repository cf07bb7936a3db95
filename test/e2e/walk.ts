/**
 * walk — held, listed, searched, released, learnt, deleted, expired, with the process killed at random; then every item
 * is accounted for, and files and index say the same.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';
import { openQuarantine, type Quarantine, type SlotRow } from '../../filter/quarantine.ts';
import { readChanges } from '../../filter/quarantine-item.ts';
import { silentLog } from '../../workers/log.ts';
import { startFakeSpamd } from '../fakes/spamd.ts';
import { startSink } from '../fakes/sink.ts';
import { bytesOf as octetsOf, lookInto } from '../filter/quarantine-rig.ts';
import { bytesOf, fateOf, recipientsOf, subjectOf } from './walk-plan.ts';

/** What the walk has shown; copies of a release that a kill left open are `unconfirmed`. */
export type WalkReport = { readonly kills: Readonly<Record<string, number>>; readonly unconfirmed: number };

/** Walks so many items with about so many kills; rejects where anything is lost, doubled or contradictory. */
export async function walk(count: number, kills: number, betweenMs: number): Promise<WalkReport> {
  const state = mkdtempSync(join(tmpdir(), 'sluice-walk-'));
  const sink = await startSink();
  const spamd = await startFakeSpamd();
  try {
    const { port = 0 } = 'port' in spamd.address ? spamd.address : {};
    const killed: Record<string, number> = {};
    // On a slow machine so many may all fall into the first stage: then it takes more.
    const isEnough = (kill: number) => kill >= kills && (Object.keys(killed).length > 1 || kill >= 6 * kills);
    for (let kill = 0; !isEnough(kill); kill++) {
      const stage = await runFor(startChild(state, count, sink.port, port), Math.random() * betweenMs);
      if (stage === 'done') break;
      killed[stage] = (killed[stage] ?? 0) + 1;
    }
    assert.equal(await runFor(startChild(state, count, sink.port, port), null), 'done');
    const copies = sink.messages.flatMap(({ rcpt }) => rcpt.map((line) => /<(.*?)>/.exec(line)?.[1] ?? ''));
    const learned = new Set(
      spamd.conversations.map(({ message }) => /walk \d+\./.exec(message.toString())?.[0]),
    );
    const unconfirmed = await account(state, count, { copies, learned });
    return { kills: killed, unconfirmed };
  } finally {
    await spamd.stop();
    await sink.stop();
    rmSync(state, { recursive: true, force: true });
  }
}

function startChild(state: string, ...rest: number[]): ChildProcess {
  const script = join(import.meta.dirname, 'walk-child.ts');
  return spawn(process.execPath, [script, state, ...rest.map(String)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** Kills it so long after it is ready (null: never); gives the last stage that it had done by then. */
async function runFor(child: ChildProcess, afterMs: number | null): Promise<string> {
  const exited = once(child, 'exit');
  const { promise: ready, resolve } = Promise.withResolvers<void>();
  let stage = 'started';
  if (child.stdout !== null)
    createInterface({ input: child.stdout }).on('line', (line) => {
      stage = line;
      resolve();
    });
  await Promise.race([ready, exited]);
  // The instant is the point here: nothing is awaited, only left to chance.
  if (afterMs !== null) void delay(afterMs).then(() => child.kill('SIGKILL'));
  await exited;
  if (child.exitCode !== 0 && child.exitCode !== null)
    throw new Error(`walk-child ended with ${child.exitCode}`);
  return child.exitCode === 0 ? 'done' : stage;
}

type Seen = { readonly copies: readonly string[]; readonly learned: ReadonlySet<string | undefined> };

/** Every item, once, where it belongs; gives how many copies are unconfirmed. */
async function account(state: string, count: number, seen: Seen): Promise<number> {
  const folder = join(state, 'quarantine');
  const file = join(state, 'quarantine.db');
  const quarantine = await openQuarantine({ folder, file, log: silentLog });
  try {
    // What a kill left half way is put right by the first; then there is nothing left to put right.
    await quarantine.reconcile();
    const { indexed, recorded, missing, broken, unconfirmed, removed, swept } = await quarantine.reconcile();
    assert.deepEqual(
      { indexed, recorded, missing, broken, unconfirmed, removed, swept },
      { indexed: 0, recorded: 0, missing: [], broken: [], unconfirmed: [], removed: 0, swept: 0 },
    );
    const items = await quarantine.list({ limit: count + 1 });
    const { items: folders, temporary } = lookInto(folder);
    assert.deepEqual(temporary, []);
    assert.deepEqual(items.map(({ quarantineId }) => quarantineId).toSorted(), folders.toSorted());
    const bySubject = Map.groupBy(items, ({ subject }) => subject);
    let unsure = 0;
    for (let number = 0; number < count; number++) {
      const found = bySubject.get(subjectOf(number)) ?? [];
      assert.equal(found.length, 1, `${subjectOf(number)}: held ${found.length} times`);
      for (const { quarantineId, slots } of found)
        unsure += await accountOne(quarantine, folder, number, quarantineId, slots, seen);
    }
    return unsure;
  } finally {
    await quarantine.close();
    integrity(file);
  }
}

async function accountOne(
  quarantine: Quarantine,
  folder: string,
  number: number,
  quarantineId: string,
  slots: readonly SlotRow[],
  { copies, learned }: Seen,
): Promise<number> {
  const name = subjectOf(number);
  const fate = fateOf(number);
  const states = slots.map(({ state }) => state);
  const delivered = recipientsOf(number).map((one) => copies.filter((copy) => copy === one).length);
  assert.equal(states.length, delivered.length, name);
  const right = { delete: 'deleted', expire: 'expired', learn: 'held', keep: 'held' } as const;
  for (const [at, state] of states.entries()) {
    // W6: at most once; shown as unconfirmed where nobody can tell.
    if (fate !== 'release') assert.deepEqual([state, delivered[at]], [right[fate], 0], name);
    else if (state === 'unconfirmed') assert.ok((delivered[at] ?? 0) <= 1, `${name}: doubled`);
    else assert.deepEqual([state, delivered[at]], ['released', 1], name);
  }
  if (fate === 'learn') assert.ok(learned.has(name), `${name}: never learnt`);
  const changes = await readChanges(folder, quarantineId);
  for (const { slot, state } of slots)
    assert.equal(changes.findLast((change) => change.slot === slot)?.to ?? 'held', state, `${name}: folder`);
  const isGone = fate === 'delete' || fate === 'expire';
  const octets = join(folder, quarantineId.slice(0, 2), quarantineId, 'message.eml');
  assert.equal(existsSync(octets), !isGone, `${name}: octets`);
  if (!isGone) assert.ok((await octetsOf(quarantine.read(quarantineId))).equals(bytesOf(number)), name);
  return states.filter((state) => state === 'unconfirmed').length;
}

/** SQLite's own checks, that of the full-text index included. */
function integrity(file: string): void {
  const raw = new DatabaseSync(file);
  assert.deepEqual(Object.values(raw.prepare('PRAGMA integrity_check').get() ?? {}), ['ok']);
  raw.exec("INSERT INTO item_search (item_search, rank) VALUES ('integrity-check', 1)");
  const states = raw
    .prepare('SELECT count(*) AS n FROM item_text WHERE number NOT IN (SELECT number FROM item)')
    .get();
  assert.equal(states?.['n'], 0);
  raw.close();
}
