/**
 * held-verbs — looking for, deleting, teaching and handing out held mail: what is done, for whom, and what is written down.
 *
 * Releasing has a file of its own (verbs.test.ts).
 */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseQuery } from '../../filter/query.ts';
import { recipientStates } from '../../filter/quarantine.ts';
import { openAudit } from '../../review/audit.ts';
import {
  type Actor,
  auditTrail,
  canAccess,
  deleteHeld,
  type Desk,
  exportMessage,
  history,
  learn,
  list,
  release,
  search,
  searchAll,
  show,
} from '../../review/verbs.ts';
import { openHistory } from '../../filter/history.ts';
import { replyFor } from '../../rules/replies.ts';
import { PermFail, TempFail } from '../../workers/fail.ts';
import { silentLog } from '../../workers/log.ts';
import type { LearnResult } from '../../workers/spamd.ts';
import { bytesOf } from '../filter/quarantine-rig.ts';
import { temporaryFolder } from '../folder.ts';
import { message, plain, type Rig, spam, startDesk } from './desk-rig.ts';

const anna: Actor = { name: 'cli:anna' };
const noSignal = new AbortController().signal;
const queryOf = (text: string) => parseQuery(text, { states: recipientStates, now: Date.now() }).query;
const statesOf = async ({ desk }: Rig, id: string) =>
  (await desk.quarantine.get(id)).slots.map(
    ({ recipient, state, actor }) => `${recipient} ${state} ${actor}`,
  );
const audited = async ({ desk }: Rig) =>
  (await desk.audit.list({ limit: 100 }))
    .toReversed()
    .map(({ actor, verb, quarantineId, outcome }) => [actor, verb, quarantineId, outcome]);

async function exported(actor: Actor, desk: Desk, id: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  await exportMessage(actor, desk, id, async (chunk) => {
    chunks.push(chunk);
    return true;
  });
  return Buffer.concat(chunks);
}

test('deleteHeld() deletes what is held or unconfirmed, and nothing twice; the octets go with the last copy', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put(spam(['a@example.com', 'b@example.com', 'c@example.com']));
  await rig.desk.quarantine.claim(id, [1], 'held', 'releasing', 'x');
  await rig.desk.quarantine.claim(id, [1], 'releasing', 'unconfirmed', 'x');
  await rig.desk.quarantine.claim(id, [2], 'held', 'releasing', 'x');
  assert.deepEqual(await deleteHeld(anna, rig.desk, id, ['a@example.com']), [
    { recipient: 'a@example.com', kind: 'deleted', detail: 'it was held' },
  ]);
  assert.deepEqual(await deleteHeld(anna, rig.desk, id, []), [
    { recipient: 'b@example.com', kind: 'deleted', detail: 'it was unconfirmed' },
    { recipient: 'a@example.com', kind: 'skipped', detail: 'it is deleted' },
    { recipient: 'c@example.com', kind: 'skipped', detail: 'it is releasing' },
  ]);
  assert.deepEqual(await bytesOf(rig.desk.quarantine.read(id)), message);
  await rig.desk.quarantine.claim(id, [2], 'releasing', 'held', 'x');
  await deleteHeld(anna, rig.desk, id, []);
  await assert.rejects(bytesOf(rig.desk.quarantine.read(id)), PermFail);
  assert.deepEqual(await statesOf(rig, id), [
    'a@example.com deleted cli:anna',
    'b@example.com deleted cli:anna',
    'c@example.com deleted cli:anna',
  ]);
});

test('deleteHeld() for a stranger deletes nothing; of what is not there it says so', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put();
  await assert.rejects(
    deleteHeld(anna, rig.desk, id, ['a@example.com', 'x@example.com']),
    (error: unknown) => {
      assert.ok(error instanceof PermFail);
      assert.equal(error.message, `Cannot delete ${id}: it is not held for x@example.com`);
      return true;
    },
  );
  assert.deepEqual(await statesOf(rig, id), ['a@example.com held null']);
  await assert.rejects(deleteHeld(anna, rig.desk, 'f'.repeat(32), []), PermFail);
});

test('deleteHeld() and release() at once: one of them gets the copy', async (t) => {
  const rig = await startDesk(t);
  for (let round = 0; round < 5; round++) {
    const id = await rig.put(spam(['a@example.com'], `Q${round}`));
    const sent = rig.smtpd.committed().length;
    const [deleted, released] = await Promise.all([
      deleteHeld(anna, rig.desk, id, []),
      release(anna, rig.desk, id, plain),
    ]);
    const isReleased = released[0]?.kind === 'released';
    assert.equal(deleted[0]?.kind, isReleased ? 'skipped' : 'deleted');
    assert.equal(rig.smtpd.committed().length - sent, isReleased ? 1 : 0);
  }
});

test('learn() teaches the octets as they were scanned, also after a release, and says what spamd says', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put();
  const taught: string[] = [];
  const results: LearnResult[] = [
    { kind: 'learned' },
    { kind: 'unchanged', detail: 'known already' },
    { kind: 'disabled', detail: 'start it with --allow-tell' },
    { kind: 'unchecked', reason: 'unreachable', detail: 'nobody there' },
  ];
  const desk: Desk = {
    ...rig.desk,
    learn: async (bytes, sizeBytes, as) => {
      taught.push(`${as} ${sizeBytes} ${(await bytesOf(bytes())).equals(message)}`);
      return results[taught.length - 1] ?? { kind: 'off' };
    },
  };
  const seen = [
    await learn(anna, desk, id, 'spam', noSignal),
    await learn(anna, desk, id, 'forget', noSignal),
    await learn(anna, desk, id, 'ham', noSignal),
  ];
  await release(anna, desk, id, plain);
  seen.push(await learn(anna, desk, id, 'ham', noSignal), await learn(anna, desk, id, 'ham', noSignal));
  assert.deepEqual(seen, [...results, { kind: 'off' }]);
  assert.deepEqual(
    taught,
    ['spam', 'forget', 'ham', 'ham', 'ham'].map((as) => `${as} ${message.length} true`),
  );
});

test('exportMessage() gives the octets as they were scanned', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put();
  assert.deepEqual(await exported(anna, rig.desk, id), message);
  await deleteHeld(anna, rig.desk, id, []);
  await assert.rejects(exported(anna, rig.desk, id), /it is not there \(any more\)/);
  const [entry] = await rig.desk.audit.list({ limit: 1, quarantineId: id });
  assert.match(entry?.outcome ?? '', /^failed: Cannot read .*message\.eml: it is not there/);
});

test('exportMessage() that nobody reads to its end is not called handed out', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put();
  assert.equal(await exportMessage(anna, rig.desk, id, async () => false), 0);
  const [entry] = await rig.desk.audit.list({ limit: 1, quarantineId: id });
  assert.deepEqual([entry?.verb, entry?.outcome], ['export', 'broken off after 0 octets']);
});

test('list() and search() tell what waits for a decision; with all, everything; newest first and page by page', async (t) => {
  const rig = await startDesk(t);
  const ids: string[] = [];
  for (const name of ['one', 'two', 'three', 'four'])
    ids.push(
      await rig.put({
        ...spam([`${name}@example.com`], name),
        facts: { from: null, subject: name, messageId: null },
      }),
    );
  const [one = '', two = '', three = '', four = ''] = ids;
  await deleteHeld(anna, rig.desk, two, []);
  await rig.desk.quarantine.claim(three, [0], 'held', 'releasing', 'x');
  await rig.desk.quarantine.claim(three, [0], 'releasing', 'unconfirmed', 'x');
  const idsOf = (items: readonly { quarantineId: string }[]) => items.map(({ quarantineId }) => quarantineId);
  const all = { all: true, limit: 9 };
  const open = { all: false, limit: 9 };
  assert.deepEqual(idsOf(await list(anna, rig.desk, all)).toSorted(), ids.toSorted());
  assert.deepEqual(idsOf(await list(anna, rig.desk, open)).toSorted(), [one, three, four].toSorted());
  const [newest = ''] = idsOf(await list(anna, rig.desk, { all: false, limit: 1 }));
  const others = idsOf(await list(anna, rig.desk, { ...open, before: newest }));
  assert.deepEqual([newest, ...others].toSorted(), [one, three, four].toSorted());
  const unknown = { ...open, before: 'f'.repeat(32) };
  const refused = /^PermFail: Cannot list what was held before f{32}: there is no such item \(any more\)$/;
  await assert.rejects(list(anna, rig.desk, unknown), refused);
  await assert.rejects(search(anna, rig.desk, queryOf('example'), unknown), refused);
  const last = others.at(-1) ?? newest;
  assert.deepEqual(idsOf(await list(anna, rig.desk, { ...open, before: last })), []);
  const find = async (text: string, options = open) =>
    idsOf(await search(anna, rig.desk, queryOf(text), options));
  assert.deepEqual((await find('example.com')).toSorted(), [one, three, four].toSorted());
  assert.deepEqual((await find('example.com', all)).toSorted(), ids.toSorted());
  assert.deepEqual(await find('two'), []);
  assert.deepEqual(await find('two state:deleted'), [two]);
  assert.deepEqual(await find('state:deleted'), [two]);
  assert.deepEqual(await find('to:one@'), [one]);
  assert.deepEqual(idsOf(await search(anna, rig.desk, queryOf('@'), { all: false, limit: 1 })).length, 1);
  const matches = await searchAll(anna, rig.desk, queryOf('-one'));
  assert.deepEqual(matches.map(({ quarantineId }) => quarantineId).toSorted(), [three, four].toSorted());
});

test('every verb stands in the audit, with its outcome; a failure is one', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put(spam(['a@example.com', 'b@example.com']));
  await list(anna, rig.desk, { all: false, limit: 9 });
  await search(anna, rig.desk, queryOf('buy'), { all: false, limit: 9 });
  await show(anna, rig.desk, id);
  await exported(anna, rig.desk, id);
  await learn(anna, rig.desk, id, 'spam', noSignal);
  await deleteHeld(anna, rig.desk, id, ['a@example.com']);
  await release({ name: 'cli:bert' }, rig.desk, id, plain);
  await show(anna, rig.desk, 'f'.repeat(32)).catch(() => undefined);
  assert.deepEqual(await audited(rig), [
    ['cli:anna', 'list', null, '1 found'],
    ['cli:anna', 'search', null, '1 found'],
    ['cli:anna', 'show', id, 'shown'],
    ['cli:anna', 'export', id, 'handed out'],
    ['cli:anna', 'learn', id, 'off'],
    ['cli:anna', 'delete', id, 'a@example.com: deleted'],
    ['cli:bert', 'release', id, 'b@example.com: released, a@example.com: skipped'],
    [
      'cli:anna',
      'show',
      'f'.repeat(32),
      `failed: Cannot read ${join(rig.state, 'quarantine/ff', 'f'.repeat(32), 'item.json')}: it is not there (any more)`,
    ],
  ]);
  const [last] = await rig.desk.audit.list({ limit: 1, quarantineId: id });
  assert.deepEqual(last?.detail, { recipients: [], to: [], force: false, again: false });
});

test('a verb that can not be written down is not done', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put();
  const file = join(temporaryFolder(t), 'review.db');
  mkdirSync(file);
  const audit = await openAudit({ file, log: silentLog });
  t.after(() => audit.close());
  const desk = { ...rig.desk, audit };
  await assert.rejects(release(anna, desk, id, plain), TempFail);
  await assert.rejects(deleteHeld(anna, desk, id, []), TempFail);
  await assert.rejects(exported(anna, desk, id), TempFail);
  await assert.rejects(show(anna, desk, id), TempFail);
  assert.deepEqual([rig.smtpd.committed().length, await statesOf(rig, id)], [0, ['a@example.com held null']]);
});

test('an audit row of a process that died on the way has no outcome', async (t) => {
  const audit = await openAudit({
    file: join(temporaryFolder(t), 'review.db'),
    log: silentLog,
    now: () => 42,
  });
  t.after(() => audit.close());
  const entry = { actor: 'cli:anna', verb: 'release', quarantineId: 'x', detail: { to: ['a@b'] } } as const;
  const began = Promise.withResolvers<void>();
  const dying = audit.during(entry, () => new Promise<string>(() => began.resolve()), String);
  await began.promise;
  const [row] = await audit.list({ limit: 1 });
  assert.deepEqual(row, { ...entry, auditId: row?.auditId, at: 42, outcome: null });
  assert.ok(dying instanceof Promise);
});

test('show() and auditTrail() tell who did what, of a forgotten item too; not to who may not see everything', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put();
  await exported(anna, rig.desk, id);
  await release({ name: 'cli:bert' }, rig.desk, id, { ...plain, to: ['boss@example.org'] });
  await show(anna, rig.desk, id);
  const { audit } = await show(anna, rig.desk, id);
  assert.deepEqual(
    audit.map(({ actor, verb, outcome }) => [actor, verb, outcome]),
    [
      ['cli:bert', 'release', 'boss@example.org: released'],
      ['cli:anna', 'export', 'handed out'],
    ],
  );
  const site: Actor = { name: 'site', domains: ['example.com'] };
  assert.deepEqual((await show(site, rig.desk, id)).audit, []);
  await assert.rejects(auditTrail(site, rig.desk, { limit: 9 }), PermFail);
  const all = await auditTrail(anna, rig.desk, { limit: 2 });
  assert.deepEqual(
    all.map(({ actor, verb }) => [actor, verb]),
    [
      ['site', 'show'],
      ['cli:anna', 'show'],
    ],
  );
  const one = await auditTrail(anna, rig.desk, { limit: 9, quarantineId: 'f'.repeat(32) });
  assert.deepEqual(one, []);
});

test('openAudit() keeps rows for so many days', async (t) => {
  const file = join(temporaryFolder(t), 'review.db');
  let now = 0;
  const audit = await openAudit({ file, log: silentLog, keepDays: 2, now: () => now });
  t.after(() => audit.close());
  const note = async (days: number) => {
    now = days * 86_400_000;
    const entry = { actor: 'cli:anna', verb: 'list', quarantineId: null, detail: days } as const;
    await audit.during(entry, async () => null, String);
  };
  for (const days of [1, 2, 3, 4.5]) await note(days);
  assert.deepEqual(
    (await audit.list({ limit: 9 })).map(({ detail }) => detail),
    [4.5, 3],
  );
});

test('canAccess() goes by the domains of recipients, in any spelling; the command line may everything', () => {
  const item = (...recipients: string[]) => ({ slots: recipients.map((recipient) => ({ recipient })) });
  const bert: Actor = { name: 'bert', domains: ['example.com', 'xn--bcher-kva.example'] };
  for (const [actor, recipients, expected] of [
    [anna, ['a@example.com'], true],
    [anna, [''], true],
    [bert, ['a@example.com'], true],
    [bert, ['a@EXAMPLE.com'], true],
    [bert, ['"a@b"@example.com'], true],
    [bert, ['a@bücher.example'], true],
    [bert, ['a@sub.example.com'], false],
    [bert, ['a@example.org'], false],
    [bert, ['a@example.org', 'a@example.com'], true],
    [bert, ['postmaster'], false],
    [bert, [''], false],
    [bert, [], false],
    [{ name: 'nobody', domains: [] }, ['a@example.com'], false],
    [{ name: 'nobody', domains: [''] }, ['postmaster'], false],
  ] as const)
    assert.equal(canAccess(actor, item(...recipients)), expected, `${actor.name} ${recipients.join()}`);
});

test('an actor with domains sees and touches the copies of these domains only, and learns of no others', async (t) => {
  const rig = await startDesk(t);
  const both = await rig.put(spam(['a@example.com', 'secret@example.org'], 'both'));
  const foreign = await rig.put(spam(['secret@example.org'], 'foreign'));
  const bert: Actor = { name: 'bert', domains: ['example.com'] };
  const told: unknown[] = [
    await list(bert, rig.desk, { all: true, limit: 9 }),
    await search(bert, rig.desk, queryOf('secret'), { all: true, limit: 9 }),
    await show(bert, rig.desk, both),
  ];
  assert.ok(!JSON.stringify(told).includes('secret'), 'nothing speaks of the other recipient');
  const { record, slots } = await show(bert, rig.desk, both);
  assert.deepEqual(
    slots.map(({ recipient }) => recipient),
    ['a@example.com'],
  );
  assert.deepEqual(
    record.envelope.recipients.map(({ address }) => address),
    ['a@example.com'],
  );
  for (const attempt of [
    () => show(bert, rig.desk, foreign),
    () => release(bert, rig.desk, foreign, plain),
    () => deleteHeld(bert, rig.desk, foreign, []),
    () => learn(bert, rig.desk, foreign, 'spam', noSignal),
    () => exported(bert, rig.desk, foreign),
    () => release(bert, rig.desk, both, { ...plain, recipients: ['secret@example.org'] }),
  ])
    await assert.rejects(attempt(), PermFail);
  await release(bert, rig.desk, both, plain);
  assert.deepEqual(await statesOf(rig, both), [
    'a@example.com released bert',
    'secret@example.org held null',
  ]);
  await deleteHeld(bert, rig.desk, both, []);
  assert.deepEqual(await statesOf(rig, both), [
    'a@example.com released bert',
    'secret@example.org held null',
  ]);
});

test('history() gives each actor the outcomes of his recipients', async (t) => {
  const rig = await startDesk(t);
  const told = await openHistory({ file: join(rig.state, 'history.db'), log: silentLog });
  t.after(() => told.close());
  const outcome = (recipient: string) =>
    ({
      recipient,
      outcome: 'delivered',
      verdict: 'clean',
      disposition: 'deliver',
      score: null,
      why: '',
      reply: replyFor('delivered'),
      quarantineId: null,
      queueIdOut: null,
    }) as const;
  const scan = {
    at: 1,
    queueId: 'Q1',
    direction: 'inbound',
    client: null,
    sender: 's@example.net',
    from: null,
    subject: 'Hello',
    messageId: null,
    sizeBytes: 1,
    report: null,
    totalMs: 1,
  } as const;
  const durable = { durable: true };
  await told.record(scan, [outcome('a@example.com'), outcome('secret@example.org')], durable);
  await told.record({ ...scan, queueId: 'Q2' }, [outcome('secret@example.org')], durable);
  const desk = { audit: rig.desk.audit, history: told };
  const seenBy = async (actor: Actor) =>
    (await history(actor, desk, queryOf('hello'), { limit: 9 })).map(
      ({ queueId, outcomes }) => `${queueId} ${outcomes.map(({ recipient }) => recipient).join()}`,
    );
  assert.deepEqual(await seenBy(anna), ['Q2 secret@example.org', 'Q1 a@example.com,secret@example.org']);
  assert.deepEqual(await seenBy({ name: 'bert', domains: ['example.com'] }), ['Q1 a@example.com']);
});
