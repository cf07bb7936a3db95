/** tally — time is taken around every effect, also around those that fail, and nothing else changes. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createTally, timed } from '../../filter/tally.ts';
import type { Effects } from '../../filter/walk.ts';
import { silentLog } from '../../workers/log.ts';
import { createSpool, type Spool } from '../../workers/spool.ts';
import { failing, refused, scored, tempfail, to, World, policiesOf } from './pipeline-rig.ts';

let folder = '';
let spool: Spool;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-tally-'));
  spool = await createSpool({ folder, log: silentLog });
});
after(async () => {
  await spool.close();
  await rm(folder, { recursive: true });
});

/** Effects that take these many milliseconds of a clock of their own. */
function slowEffects() {
  let now = 0;
  const take =
    <Result>(ms: number, result: Result) =>
    async (): Promise<Result> => {
      now += ms;
      return result;
    };
  const effects = {
    scan: take(100, scored(1)),
    reinject: take(20, []),
    quarantine: { put: take(7, 'id'), find: take(3, new Map()) },
    ledger: {
      check: take(1, undefined),
      commit: take(1, undefined),
      noteAttempt: take(1, undefined),
      recall: async () => {
        now += 1;
        throw new Error('down');
      },
    },
  } as unknown as Effects;
  return { effects, clock: () => now };
}

test('timed() adds up the time of each stage, of failing effects too, and passes everything through', async () => {
  const { effects, clock } = slowEffects();
  const tally = createTally(5);
  const { scan, reinject, quarantine, ledger } = timed(effects, tally, clock);
  const nothing = undefined as never;
  assert.deepEqual(await scan(nothing, nothing), scored(1));
  await reinject(nothing, nothing);
  await reinject(nothing, nothing);
  assert.equal(await quarantine.put(nothing, nothing), 'id');
  await quarantine.find([]);
  await ledger.check();
  await ledger.commit([]);
  await ledger.noteAttempt([]);
  await assert.rejects(ledger.recall([], 'x'), /down/);
  assert.deepEqual(tally.ms, { receive: 5, scan: 100, quarantine: 10, reinject: 40, ledger: 4 });
});

test('filterMessage() tells times by stage, and what is not reached takes none', async () => {
  const world = new World(spool);
  await world.attempt({ recipients: [to('a@deliver.test')] });
  await world.attempt({ ident: null, report: scored(12), recipients: [to('a@hold.test')] });
  const [delivered, held] = world.accounts.map(({ ms }) => ms);
  assert.ok(delivered !== undefined && held !== undefined);
  assert.equal(delivered.receive, 3);
  for (const stage of ['scan', 'reinject', 'ledger'] as const) assert.ok(delivered[stage] > 0, stage);
  assert.ok(held.quarantine > 0);
  assert.deepEqual([held.reinject, held.ledger], [0, 0]);
});

test('filterMessage() tells why each recipient is deferred', async () => {
  const world = new World(spool);
  await world.attempt({ recipients: [to('a@deliver.test'), to('b@deliver.test')], answer: () => tempfail });
  await world.attempt({ recipients: [to('a@hold.test')], report: scored(12), at: failing('put') });
  assert.deepEqual(
    world.accounts.map(({ recipients }) => recipients.map(({ reason, outcome }) => `${outcome} ${reason}`)),
    [['deferred returnUnavailable', 'deferred returnUnavailable'], ['deferred quarantineUnavailable']],
  );
  assert.deepEqual(world.tempfails, []);
});

test('filterMessage() counts a message that it can not even read', async () => {
  const world = new World(spool);
  const recipients = [to('a@deliver.test')];
  const writer = spool.open();
  const message = await writer.finish();
  await message.remove();
  const replies = await world.attempt({
    recipients,
    message: { ...message, head: () => Promise.reject(new Error('gone')) },
  });
  assert.deepEqual(
    [replies?.map(({ code }) => code), world.tempfails, world.accounts],
    [[451], ['internal'], []],
  );
});

test('filterMessage() counts forged lines that a DKIM signature lists, once for all copies', async () => {
  const world = new World(spool);
  const bytes = Buffer.from(
    'DKIM-Signature: v=1; h=from:x-spam-status:\r\n\tX-Spam-Flag; b=x\r\nX-Spam-Status: No\r\nX-Spam-Flag: NO\r\n' +
      'X-Spam-Other: x\r\nFrom: a@b.example\r\n\r\n',
  );
  const recipients = [to('a@deliver.test'), to('b@flag.test')];
  await world.attempt({ bytes, recipients, report: scored(8) });
  assert.equal(world.accepted.length, 2);
  assert.equal(world.accounts[0]?.signedHeadersDropped, 2);
});

test('filterMessage() counts notifications that spam does not get', async () => {
  const world = new World(spool);
  const gone = [to('gone@flag.test'), to('gone2@flag.test', { notify: 'NEVER' }), to('b@flag.test')];
  const policies = policiesOf('recipients: { flag.test: { thresholds: { spam: 5, quarantine: null } } }');
  await world.attempt({
    protocol: 'smtp',
    recipients: gone,
    report: scored(8),
    policies,
    answer: (one) =>
      one.address.startsWith('gone')
        ? refused
        : { kind: 'accepted', reply: { code: 250, enhanced: null, text: 'Ok' }, queueIdOut: null },
  });
  assert.deepEqual([world.notifications.length, world.accounts[0]?.dsnSuppressed], [0, 1]);
});
