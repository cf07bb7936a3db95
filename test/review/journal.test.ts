/**
 * journal — what was taught on a backup reaches the primary's scanner once, whatever gets lost or dies on the way.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createSetBack, runErrands } from '../../review/bayes-errands.ts';
import { countTaught, createJournal, type Journal } from '../../review/journal.ts';
import { learn } from '../../review/verbs.ts';
import { PermFail, TempFail } from '../../workers/fail.ts';
import { silentLog } from '../../workers/log.ts';
import { bytesOf, chunksOf } from '../filter/quarantine-rig.ts';
import { temporaryFolder } from '../folder.ts';
import { message, spam } from './desk-rig.ts';
import { losing, type Node, openNode } from './nodes-desk.ts';

const anna = { name: 'cli:anna' };
const noSignal = new AbortController().signal;
const text = message.toString('latin1');

async function openNodes(t: TestContext): Promise<{ backup: Node; primary: Node }> {
  return { backup: await openNode(t, 'backup'), primary: await openNode(t, 'primary') };
}

const carry = ({ backup, primary }: { backup: Node; primary: Node }) =>
  runErrands(backup.call, primary.call, silentLog, noSignal);

/** A message of the backup's quarantine that somebody teaches there; it is deleted, so that only the lesson travels. */
async function teachOn(backup: Node, as: 'spam' | 'ham' | 'forget'): Promise<string> {
  const desk = backup as unknown as Parameters<typeof learn>[1];
  const id = await backup.quarantine.put(spam(['a@example.com']), chunksOf(message));
  const result = await learn(anna, desk, id, as, noSignal);
  assert.equal(result.kind, 'learned');
  return id;
}

test('learn() on a backup keeps the lesson, and runErrands() teaches the primary by the same door, once', async (t) => {
  const nodes = await openNodes(t);
  const { backup, primary } = nodes;
  await teachOn(backup, 'spam');
  assert.deepEqual(backup.lessons, [`spam ${text}`]);
  const [lesson] = await backup.journal.list();
  assert.deepEqual([lesson?.as, lesson?.by, await countTaught(backup.state)], ['spam', 'cli:anna', 1]);
  assert.equal((await carry(nodes)).taught, 1);
  assert.deepEqual(primary.lessons, [`spam ${text}`]);
  assert.deepEqual([await backup.journal.list(), await countTaught(backup.state)], [[], 0]);
  assert.equal((await carry(nodes)).taught, 0);
  const [entry] = (await primary.audit.list({ limit: 9 })).filter(({ verb }) => verb === 'teach');
  assert.deepEqual([entry?.actor, entry?.outcome], ['node:backup.example', 'learned']);
  assert.match(JSON.stringify(entry?.detail), /"by":"cli:anna"/);
});

test('learn() on the primary keeps nothing', async (t) => {
  const { primary } = await openNodes(t);
  const desk = { ...primary, journal: null } as unknown as Parameters<typeof learn>[1];
  const id = await primary.quarantine.put(spam(['a@example.com']), chunksOf(message));
  await learn(anna, desk, id, 'ham', noSignal);
  assert.equal(await countTaught(primary.state), 0);
});

for (const [side, count] of [
  ['backup', 2],
  ['primary', 1],
] as const) {
  for (let lost = 0; lost < count; lost++) {
    test(`runErrands() teaches once although answer ${lost} of the ${side} to a lesson gets lost`, async (t) => {
      const nodes = await openNodes(t);
      const { backup, primary } = nodes;
      await teachOn(backup, 'ham');
      await backup.quarantine.claim(
        (await backup.quarantine.list({ limit: 1 }))[0]?.quarantineId ?? '',
        [0],
        'held',
        'deleted',
        'x',
      );
      // The backup's first answer is the list of what waits.
      const from = side === 'backup' ? losing(backup.call, lost + 1) : backup.call;
      const to = side === 'primary' ? losing(primary.call, lost) : primary.call;
      assert.equal((await runErrands(from, to, silentLog, noSignal)).troubles.length, 1);
      assert.deepEqual((await carry(nodes)).troubles, []);
      assert.deepEqual(primary.lessons, [`ham ${text}`]);
      assert.deepEqual(await backup.journal.list(), []);
    });
  }
}

test('runErrands() keeps the lesson while the primary cannot learn, and lets go of what can never be learnt', async (t) => {
  const nodes = await openNodes(t);
  const { backup, primary } = nodes;
  await teachOn(backup, 'spam');
  for (const answer of [
    { kind: 'unchecked', reason: 'unreachable', detail: 'away' },
    { kind: 'disabled', detail: 'no --allow-tell' },
    { kind: 'off' },
  ] as const) {
    primary.answer = answer;
    const { taught, troubles } = await carry(nodes);
    assert.deepEqual([taught, troubles.length], [0, 1], answer.kind);
    assert.match(troubles[0]?.message ?? '', /^Cannot teach [0-9a-f]{64}: /);
    assert.equal((await backup.journal.list()).length, 1);
  }
  primary.answer = { kind: 'unchecked', reason: 'overLimit', detail: 'too large' };
  assert.deepEqual(await carry(nodes), { moved: 0, taught: 1, troubles: [] });
  assert.deepEqual(await backup.journal.list(), []);
});

test('runErrands() teaches the rest although the oldest lessons can never be taught, and tries those last from then on', async (t) => {
  let now = Date.now();
  const backup = await openNode(t, 'backup', () => now++);
  const primary = await openNode(t, 'primary');
  const octets = ['bad 1', 'bad 2', 'bad 3', 'good 1', 'good 2'];
  for (const one of octets)
    await backup.journal.add(
      { sha256: digest(one), as: 'spam', by: 'cli:anna', sizeBytes: one.length },
      chunksOf(Buffer.from(one)),
    );
  const tried: string[] = [];
  const learn: Node['learn'] = async (bytes) => {
    const lesson = (await bytesOf(bytes())).toString();
    tried.push(lesson);
    return lesson.startsWith('bad')
      ? { kind: 'unchecked', reason: 'unreachable', detail: lesson }
      : { kind: 'learned' };
  };
  Object.assign(primary, { learn });
  const setBack = createSetBack();
  const again = () => runErrands(backup.call, primary.call, silentLog, noSignal, setBack);
  assert.equal((await again()).taught, 0);
  assert.equal((await again()).taught, 2);
  tried.length = 0;
  assert.equal((await again()).taught, 0);
  assert.ok(tried.length > 0 && tried.every((one) => one.startsWith('bad')), tried.join(', '));
  const waiting = async () =>
    (await backup.journal.list()).map(({ sha256 }) => octets.find((one) => digest(one) === sha256));
  assert.deepEqual(new Set(await waiting()), new Set(octets.slice(0, 3)));
  // A new one does not wait behind them.
  await backup.journal.add(
    { sha256: digest('new'), as: 'ham', by: 'x', sizeBytes: 3 },
    chunksOf(Buffer.from('new')),
  );
  assert.equal((await again()).taught, 1);
  assert.deepEqual(new Set(await waiting()), new Set(octets.slice(0, 3)));
});

test('Journal.add() keeps the last word about a message, in the order of time', async (t) => {
  let now = 1000;
  const { journal, add } = journalIn(t, () => now++);
  await add('one', 'spam');
  await add('two', 'spam');
  await add('one', 'ham');
  const kept = await journal.list();
  assert.deepEqual(
    kept.map(({ as, at }) => [as, at]),
    [
      ['spam', 1001],
      ['ham', 1002],
    ],
  );
  await journal.remove({ sha256: digest('one'), as: 'spam' });
  assert.equal((await journal.list()).length, 2, 'an older lesson is not this one');
  assert.deepEqual(await journal.read({ sha256: digest('one'), as: 'ham' }), Buffer.from('one'));
});

test('Journal.add() is bounded, refuses other octets, and sweeps what a process left that died', async (t) => {
  const { journal, add, folder } = journalIn(t);
  await add('first', 'spam');
  writeFileSync(join(folder, 'tmp-999999999-0000'), 'half');
  await assert.rejects(
    journal.add({ sha256: digest('x'), as: 'spam', by: 'x', sizeBytes: 1 }, chunksOf(Buffer.from('y'))),
    TempFail,
  );
  assert.deepEqual(readdirSync(folder).length, 1);
  const huge = { sha256: digest('x'), as: 'ham', by: 'x', sizeBytes: 300 * 1024 ** 2 } as const;
  await assert.rejects(journal.add(huge, chunksOf(Buffer.from('x'))), (error: unknown) => {
    assert.ok(error instanceof PermFail);
    assert.match(error.message, /the journal .* is full \(1 messages, \d+ octets\)/);
    return true;
  });
  for (let at = 0; at < 999; at++) writeFileSync(join(folder, `${digest(String(at))}.spam`), '');
  await assert.rejects(add('one more', 'spam'), PermFail);
  await add('first', 'spam');
});

test('createJournal() reads what a stranger put there for nothing, and names are never paths', async (t) => {
  const { journal, folder, add } = journalIn(t);
  assert.deepEqual(await journal.list(), []);
  await add('one', 'spam');
  writeFileSync(join(folder, `${digest('odd')}.ham`), 'no json\n');
  mkdirSync(join(folder, 'folder'));
  assert.equal((await journal.list()).length, 1);
  await assert.rejects(journal.read({ sha256: '../../../etc/passwd', as: 'spam' }), PermFail);
  await assert.rejects(journal.remove({ sha256: digest('one'), as: '../x' as 'spam' }), PermFail);
});

function digest(octets: string): string {
  return createHash('sha256').update(octets).digest('hex');
}

function journalIn(
  t: TestContext,
  now: () => number = Date.now,
): { journal: Journal; folder: string; add: (octets: string, as: 'spam' | 'ham') => Promise<void> } {
  const state = temporaryFolder(t);
  const journal = createJournal(state, now);
  const add = (octets: string, as: 'spam' | 'ham') =>
    journal.add(
      { sha256: digest(octets), as, by: 'cli:anna', sizeBytes: octets.length },
      chunksOf(Buffer.from(octets)),
    );
  return { journal, folder: join(state, 'taught'), add };
}
