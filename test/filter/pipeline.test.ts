/**
 * pipeline — the story of one message: what is done in which order, what each recipient is told, what a retry repeats.
 *
 * Random faults are in pipeline-faults.test.ts.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { type Ledger, openLedger } from '../../filter/ledger.ts';
import { openQuarantine } from '../../filter/quarantine.ts';
import type { Recipient } from '../../rules/mail.ts';
import type { Reply } from '../../rules/replies.ts';
import { createSpool } from '../../workers/spool.ts';
import { temporaryFolder } from '../folder.ts';
import {
  accepts,
  type Answer,
  dying,
  failing,
  infected,
  isNotification,
  nowMs,
  plainMessage,
  policiesOf,
  refused,
  scored,
  tempfail,
  to,
  unchecked,
  World,
} from './pipeline-rig.ts';
import { recordingLog } from './store-rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-pipeline-'));
const spool = await createSpool({ folder, log: recordingLog() });
after(async () => {
  await spool.close();
  rmSync(folder, { recursive: true, force: true });
});

const deliver = to('a@deliver.test');
const flag = to('b@flag.test');
const hold = to('c@hold.test');
const discard = to('d@discard.test');
const defer = to('e@defer.test');
const everyKind = [deliver, flag, hold, discard, defer];
const textOf = (reply: Reply) => `${reply.code} ${reply.enhanced} ${reply.text}`;
const codesOf = (replies: readonly Reply[] | null) => replies?.map(({ code }) => code);
const textsOf = (replies: readonly Reply[] | null) => replies?.map(textOf);
const waiting = '451 4.3.0 Content scan unavailable, try again later';

test('filterMessage() decides per recipient and acts in order: quarantine, discards, hand-offs, each noted at once', async () => {
  const world = new World(spool);
  const replies = await world.attempt({ recipients: everyKind, report: scored(25) });
  assert.deepEqual(textsOf(replies), [
    '250 2.0.0 Ok: handed to the return smtpd: queued as B14',
    '250 2.0.0 Ok: handed to the return smtpd: queued as B11',
    `250 2.0.0 Ok: held in quarantine: ${'1'.padStart(32, '0')}`,
    '250 2.0.0 Ok: discarded by policy',
    '250 2.0.0 Ok: handed to the return smtpd: queued as B12',
  ]);
  const order = 'put commit record commit reinject commit reinject commit record';
  assert.equal(world.calls.join(' '), `recall find scan ${order}`);
  assert.deepEqual(
    world.accepted.map(({ name, job }) => [name, job.recipients.length]),
    [
      ['a@deliver.test', 2],
      ['e@defer.test', 2],
      ['b@flag.test', 1],
    ],
    'equal copies share one hand-off',
  );
});

test('filterMessage() gives SMTP one reply, with every queue id of the return smtpd', async () => {
  const world = new World(spool);
  const replies = await world.attempt({ protocol: 'smtp', recipients: everyKind, report: scored(25) });
  assert.deepEqual(textsOf(replies), ['250 2.0.0 Ok: handed to the return smtpd: queued as B14, B11, B12']);
  const held = await world.attempt({
    protocol: 'smtp',
    recipients: [hold],
    report: scored(25),
    ident: 'HELD',
  });
  assert.match(textsOf(held)?.join() ?? '', /^250 2\.0\.0 Ok: held in quarantine: \d+$/);
});

test('filterMessage() repeats every outcome to a retry, word for word, whatever the scanners say by now', async () => {
  for (const protocol of ['lmtp', 'smtp'] as const) {
    const world = new World(spool);
    const recipients = [deliver, hold, discard, to('gone@deliver.test')];
    const answer: Answer = (recipient, job) =>
      recipient.address === 'gone@deliver.test' ? refused : accepts(recipient, job);
    const first = await world.attempt({ protocol, recipients, report: scored(25), answer });
    const { events } = world;
    const seen = [...events];
    world.calls.length = 0;
    for (const report of [scored(0), infected, unchecked()]) {
      const copies = recipients.map((one) => ({ ...one }));
      assert.deepEqual(await world.attempt({ protocol, recipients: copies, report }), first, protocol);
    }
    assert.deepEqual(events, seen, protocol);
    assert.equal(world.calls.join(' '), 'recall record recall record recall record');
    assert.deepEqual(
      world.rows.at(-1)?.outcomes.map(({ recipient }) => recipient),
      recipients.map(({ address }) => address),
    );
    assert.equal(world.notifications.length, protocol === 'smtp' ? 1 : 0);
  }
});

test('filterMessage() on SMTP: one recipient to defer means 451 and no effect at all', async () => {
  for (const recipients of [everyKind, everyKind.toReversed()]) {
    const world = new World(spool);
    const replies = await world.attempt({ protocol: 'smtp', recipients, report: unchecked() });
    assert.deepEqual(textsOf(replies), [waiting]);
    assert.deepEqual([world.events, world.ledger.size], [[], 0]);
    assert.deepEqual(
      world.rows.map(({ outcomes }) => outcomes.map(({ outcome }) => outcome)),
      [recipients.map(() => 'deferred')],
      'the history tells of the try',
    );
  }
});

test('filterMessage() on LMTP: only who waits for a scanner gets 451', async () => {
  const world = new World(spool);
  const replies = await world.attempt({ recipients: everyKind, report: unchecked() });
  assert.deepEqual(codesOf(replies), [250, 250, 250, 250, 451]);
  assert.equal(textsOf(replies)?.[4], waiting);
});

test('filterMessage() holds and hands over for the others where one effect fails: LMTP defers only who needs it', async () => {
  for (const [label, at, codes] of [
    ['quarantine down', failing('put'), [250, 250, 451, 250, 250]],
    ['history down', failing('record'), [250, 250, 250, 451, 250]],
    ['one hand-off fails', failing('reinject'), [451, 451, 451, 451, 451]],
  ] as const) {
    const world = new World(spool);
    const replies = await world.attempt({ recipients: everyKind, report: scored(25), at });
    if (label !== 'one hand-off fails') assert.deepEqual(codesOf(replies), codes, label);
    else assert.deepEqual(codesOf(replies), [451, 451, 250, 250, 451], 'what is held stays held');
  }
});

test('filterMessage() on SMTP: where the quarantine fails nothing further is done', async () => {
  const world = new World(spool);
  const replies = await world.attempt({
    protocol: 'smtp',
    recipients: everyKind,
    report: scored(25),
    at: failing('put'),
  });
  assert.deepEqual(textsOf(replies), ['451 4.3.0 Quarantine unavailable, try again later']);
  assert.deepEqual([world.events, world.rows.filter(({ durable }) => durable)], [[], []]);
});

test('filterMessage() discards only behind a row that is written', async () => {
  const world = new World(spool);
  const replies = await world.attempt({
    recipients: [discard],
    report: scored(25),
    effects: { history: { record: async () => false } },
  });
  assert.deepEqual(codesOf(replies), [451]);
  assert.equal(world.ledger.size, 0);
});

test('filterMessage() writes one row for all who are discarded', async () => {
  const world = new World(spool);
  const policies = policiesOf(
    'recipients: { y.test: { thresholds: { discard: 15 } }, x.test: { virus: discard } }',
  );
  await world.attempt({ recipients: [to('a@x.test'), to('a@y.test')], report: infected, policies });
  const discarding = policiesOf(
    'recipients: { y.test: { thresholds: { discard: 15 } }, x.test: { thresholds: { discard: 16, spam: 5 } } }',
  );
  await world.attempt({
    recipients: [to('a@x.test'), to('a@y.test')],
    report: scored(25),
    ident: 'B',
    policies: discarding,
  });
  assert.deepEqual(
    world.rows.map(({ durable, outcomes }) => [durable, outcomes.map(({ recipient }) => recipient)]),
    [
      [true, ['a@x.test']],
      [false, ['a@y.test']],
      [true, ['a@x.test', 'a@y.test']],
    ],
  );
});

test('filterMessage() after a crash between quarantine and ledger finds the item by its key, and notes it', async (t) => {
  for (const protocol of ['lmtp', 'smtp'] as const) {
    const { quarantine, ledger } = await realStores(t, protocol);
    const recipients = () => [{ ...hold }, to('c2@hold.test')];
    const dead = new World(spool);
    const { promise: atCommit, resolve } = Promise.withResolvers<void>();
    const commit = () => {
      resolve();
      return new Promise<never>(() => undefined);
    };
    void dead.attempt({
      protocol,
      recipients: recipients(),
      report: scored(25),
      effects: { quarantine, ledger: { ...ledger, commit } },
    });
    await atCommit;
    const world = new World(spool);
    const effects = { quarantine, ledger };
    const replies = await world.attempt({ protocol, recipients: recipients(), report: scored(0), effects });
    const items = await quarantine.list({ limit: 9 });
    assert.deepEqual(
      items.map(({ slots }) => slots.length),
      [2],
    );
    const held = `250 2.0.0 Ok: held in quarantine: ${items[0]?.quarantineId}`;
    assert.deepEqual(textsOf(replies), protocol === 'smtp' ? [held] : [held, held]);
    assert.deepEqual([world.events, world.calls.includes('scan')], [[], false]);
    const keys = items[0] === undefined ? [] : await keysIn(quarantine, items[0].quarantineId);
    const noted = await ledger.recall(keys, '');
    assert.deepEqual(
      [...noted.entries.values()].map(({ outcome }) => outcome),
      ['held', 'held'],
    );
  }
});

test('filterMessage() with the ledger down: LMTP flows, SMTP gets 451', async (t) => {
  const ledger = await brokenLedger(t);
  const world = new World(spool);
  assert.deepEqual(
    codesOf(await world.attempt({ recipients: [deliver, hold], report: scored(25), effects: { ledger } })),
    [250, 250],
  );
  await world.attempt({ ident: 'D1', recipients: [defer], report: unchecked(), at: failing('recall') });
  assert.ok(!world.calls.includes('noteAttempt'));
  assert.ok(
    world.lines.some(
      ({ message, fields }) => message === 'Ledger does not answer' && fields['alarm'] === true,
    ),
  );
  const replies = await world.attempt({ protocol: 'smtp', ident: 'S1', effects: { ledger } });
  assert.deepEqual(textsOf(replies), ['451 4.3.0 Ledger unavailable, try again later']);
  assert.deepEqual(world.events, ['held c@hold.test', 'accepted a@deliver.test']);
});

test('filterMessage() with a ledger that can be read but not written: SMTP gets 451 before any effect', async () => {
  const world = new World(spool);
  const replies = await world.attempt({ protocol: 'smtp', recipients: everyKind, at: failing('check') });
  assert.deepEqual([codesOf(replies), world.events], [[451], []]);
});

test('filterMessage() with the ledger down delivers nothing that is held', async () => {
  const world = new World(spool);
  await world.attempt({ recipients: [hold], report: infected, at: dying('commit', 'before') });
  const replies = await world.attempt({
    recipients: [{ ...hold }],
    report: scored(0),
    at: failing('recall', 'before', 9),
  });
  assert.match(textsOf(replies)?.join() ?? '', /^250 2\.0\.0 Ok: held in quarantine/);
  assert.deepEqual(world.events, ['held c@hold.test']);
});

test('filterMessage() answers 451 while the same hand-off is in flight, and takes it afterwards', async () => {
  for (const protocol of ['lmtp', 'smtp'] as const) {
    const world = new World(spool);
    const { promise: hanging, resolve } = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    const answer: Answer = accepts;
    const slow = world.attempt({
      protocol,
      recipients: [deliver],
      answer,
      effects: {
        scan: async () => {
          reached.resolve();
          await hanging;
          return scored(0);
        },
      },
    });
    await reached.promise;
    const both = [{ ...deliver }, to('other@deliver.test')];
    const during = await world.attempt({ protocol, recipients: both });
    assert.deepEqual(codesOf(during), protocol === 'smtp' ? [451] : [451, 250]);
    assert.match(textsOf(during)?.[0] ?? '', /same hand-off is in flight/);
    resolve();
    assert.deepEqual(codesOf(await slow), [250]);
    assert.deepEqual(
      codesOf(await world.attempt({ protocol, recipients: both.map((one) => ({ ...one })) })),
      protocol === 'smtp' ? [250] : [250, 250],
    );
    assert.deepEqual(
      [world.timesAccepted('a@deliver.test'), world.timesAccepted('other@deliver.test')],
      [1, 1],
    );
  }
});

test('filterMessage() defers what the return smtpd gives back to the filter, with an alarm', async () => {
  for (const protocol of ['lmtp', 'smtp'] as const) {
    const world = new World(spool);
    await world.attempt({ protocol });
    const again = Buffer.concat([
      Buffer.from(
        'Received: from filter.example (localhost [127.0.0.1])\r\n\tby mx.example (Postfix) with ESMTP id B16;\r\n\tTue, 14 Nov 2023 22:14:00 +0000 (UTC)\r\n',
      ),
      plainMessage,
    ]);
    const replies = await world.attempt({ protocol, bytes: again });
    assert.match(textsOf(replies)?.join() ?? '', /^451 4\.4\.6 Content filter loop/);
    assert.equal(world.accepted.length, 1);
    assert.ok(world.lines.some(({ level, fields }) => level === 'error' && fields['alarm'] === true));
  }
});

test('filterMessage() counts attempts on which a living scanner failed; the third one is decided', async () => {
  for (const [reason, codes] of [
    ['timeout', [451, 451, 250]],
    ['unreachable', [451, 451, 451]],
  ] as const) {
    const world = new World(spool);
    const seen = [];
    for (const _ of codes)
      seen.push(
        ...(codesOf(await world.attempt({ recipients: [{ ...defer }], report: unchecked(reason) })) ?? []),
      );
    assert.deepEqual(seen, codes, reason);
    assert.equal(world.calls.includes('noteAttempt'), reason === 'timeout');
  }
});

test('filterMessage() counts attempts on SMTP too, and goes on where they can not be counted', async () => {
  const world = new World(spool);
  const tryOnce = (at?: ReturnType<typeof failing>) =>
    world.attempt({ protocol: 'smtp', recipients: [{ ...deliver }, { ...defer }], report: unchecked(), at });
  assert.deepEqual(codesOf(await tryOnce(failing('noteAttempt'))), [451]);
  assert.deepEqual([...world.attempts.values()], []);
  for (const code of [451, 451, 250]) assert.deepEqual(codesOf(await tryOnce()), [code]);
  assert.equal(world.attempts.size, 0, 'forgotten with the outcome');
});

test('filterMessage() has no effect once the client is gone or the deadline has passed, before or during the scan', async () => {
  for (const protocol of ['lmtp', 'smtp'] as const) {
    for (const during of [false, true]) {
      const world = new World(spool);
      const gone = new AbortController();
      if (!during) gone.abort();
      const replies = await world.attempt({
        protocol,
        recipients: everyKind,
        signal: gone.signal,
        effects: {
          scan: async () => {
            gone.abort();
            return scored(25);
          },
        },
      });
      assert.deepEqual(
        new Set(textsOf(replies)),
        new Set(['451 4.4.2 Time is up before the hand-off, try again later']),
      );
      assert.deepEqual([world.events, world.ledger.size, world.rows.length], [[], 0, 1]);
    }
  }
});

test('filterMessage() on SMTP: beside accepted ones a refused recipient is told of in a notification before the 250', async () => {
  const world = new World(spool);
  const gone = to('gone@deliver.test', { orcpt: 'rfc822;alias@example.org' });
  const replies = await world.attempt({
    protocol: 'smtp',
    recipients: [deliver, gone],
    answer: refusing('gone'),
  });
  assert.deepEqual(codesOf(replies), [250]);
  assert.deepEqual(
    world.calls.slice(-5),
    ['reinject', 'commit', 'reinject', 'commit', 'record'],
    'noted only when told',
  );
  const { job, text = '' } = world.notifications[0] ?? {};
  assert.deepEqual(
    [job?.envelope.sender, job?.recipients],
    ['', [{ address: 'sender@partner.example', notify: 'NEVER', orcpt: null }]],
  );
  for (const line of [
    'Original-Envelope-Id: QQ314',
    'Original-Recipient: rfc822; alias@example.org',
    'Final-Recipient: rfc822; gone@deliver.test',
    'Status: 5.1.1',
    'Subject: order',
  ])
    assert.ok(text.includes(`\r\n${line}\r\n`), line);
  assert.deepEqual([...world.ledger.values()].map(({ outcome }) => outcome).toSorted(), [
    'delivered',
    'refused',
  ]);
});

test('filterMessage() on SMTP: a notification that can not be handed over defers; the retry does only what is left', async () => {
  for (const [label, failure] of [
    ['tempfail', { answer: refusing('gone', tempfail) }],
    ['thrown', { answer: refusing('gone'), at: failingAtNotification() }],
  ] as const) {
    const world = new World(spool);
    const both = () => [{ ...deliver }, to('gone@deliver.test')];
    const first = await world.attempt({ protocol: 'smtp', recipients: both(), ...failure });
    assert.deepEqual([codesOf(first), world.notifications.length], [[451], 0], label);
    const second = await world.attempt({ protocol: 'smtp', recipients: both(), answer: refusing('gone') });
    assert.deepEqual(
      [codesOf(second), world.notifications.length, world.events],
      [[250], 1, ['accepted a@deliver.test']],
      label,
    );
    const third = await world.attempt({ protocol: 'smtp', recipients: both(), answer: refusing('gone') });
    assert.deepEqual([third, world.notifications.length], [second, 1], label);
  }
});

test('filterMessage() on SMTP sends no notification where none is wanted, and 250 stands', async () => {
  const gone = (more: Partial<Recipient> = {}) => to('gone@flag.test', more);
  for (const [label, recipient, sender, report] of [
    ['null sender', gone(), '', scored(0)],
    ['NOTIFY=NEVER', gone({ notify: 'NEVER' }), 'sender@partner.example', scored(0)],
    ['NOTIFY without FAILURE', gone({ notify: 'SUCCESS,DELAY' }), 'sender@partner.example', scored(0)],
    ['verdict spam', gone(), 'sender@partner.example', scored(8)],
  ] as const) {
    const world = new World(spool);
    const replies = await world.attempt({
      protocol: 'smtp',
      sender,
      recipients: [deliver, recipient],
      report,
      answer: refusing('gone'),
    });
    assert.deepEqual([codesOf(replies), world.notifications.length], [[250], 0], label);
    assert.ok(
      world.lines.some(({ message }) => message.startsWith('Recipients refused')),
      label,
    );
    assert.equal([...world.ledger.values()].filter(({ outcome }) => outcome === 'refused').length, 1, label);
  }
});

test('filterMessage() on SMTP takes a notification that is refused for good as told: its sender can not be reached', async () => {
  const world = new World(spool);
  const replies = await world.attempt({
    protocol: 'smtp',
    recipients: [deliver, to('gone@deliver.test')],
    answer: refusing('gone', refused),
  });
  assert.deepEqual(codesOf(replies), [250]);
});

test('filterMessage() on SMTP relays the refusal where nobody got the message, without a notification', async () => {
  const world = new World(spool);
  const recipients = () => [to('gone@deliver.test'), to('gone@flag.test')];
  const replies = await world.attempt({
    protocol: 'smtp',
    recipients: recipients(),
    report: scored(8),
    answer: refusing('gone'),
  });
  assert.deepEqual(textsOf(replies), ['550 5.1.1 No such user']);
  assert.deepEqual(await world.attempt({ protocol: 'smtp', recipients: recipients() }), replies);
  assert.deepEqual([world.notifications, world.events], [[], []]);
});

test('filterMessage() on SMTP: held for one and refused for the other is 250, with a notification', async () => {
  const world = new World(spool);
  const replies = await world.attempt({
    protocol: 'smtp',
    recipients: [hold, to('gone@deliver.test')],
    report: scored(25),
    answer: refusing('gone'),
  });
  assert.match(textsOf(replies)?.join() ?? '', /^250 2\.0\.0 Ok: held in quarantine/);
  assert.equal(world.notifications.length, 1);
});

test('filterMessage() on SMTP: a later group that is deferred makes 451, and the retry hands over only what is left', async () => {
  const world = new World(spool);
  const both = () => [{ ...deliver }, { ...flag }, to('gone@deliver.test')];
  const report = scored(8);
  const answer: Answer = (one, job) => (one.address === flag.address ? tempfail : refusing('gone')(one, job));
  assert.deepEqual(
    codesOf(await world.attempt({ protocol: 'smtp', recipients: both(), report, answer })),
    [451],
  );
  assert.deepEqual(
    [world.events, world.notifications.length],
    [['accepted a@deliver.test'], 0],
    'W5; nobody told too early',
  );
  assert.deepEqual(
    codesOf(await world.attempt({ protocol: 'smtp', recipients: both(), report, answer: refusing('gone') })),
    [250],
  );
  assert.deepEqual(world.events, ['accepted a@deliver.test', 'accepted b@flag.test']);
  assert.equal(world.notifications.length, 1);
});

test('filterMessage() on SMTP hands over nothing more after a group that was deferred', async () => {
  const world = new World(spool);
  const policies = policiesOf(
    'recipients: { x.test: { thresholds: { spam: 4 } }, y.test: { thresholds: { spam: 3 } } }',
  );
  const recipients = [to('a@x.test'), to('a@y.test'), to('a@z.test')];
  const answer: Answer = (one, job) => (one.address === 'a@y.test' ? tempfail : accepts(one, job));
  assert.deepEqual(
    codesOf(await world.attempt({ protocol: 'smtp', recipients, report: scored(8), answer, policies })),
    [451],
  );
  assert.deepEqual(world.events, ['accepted a@x.test']);
});

test('filterMessage() on SMTP tells nobody twice of a refusal, even where the delivery could not be noted', async () => {
  const world = new World(spool);
  const both = () => [{ ...deliver }, to('gone@deliver.test')];
  await world.attempt({
    protocol: 'smtp',
    recipients: both(),
    answer: refusing('gone'),
    at: failing('commit'),
  });
  const replies = await world.attempt({ protocol: 'smtp', recipients: both(), answer: refusing('gone') });
  assert.deepEqual([codesOf(replies), world.notifications.length], [[250], 1]);
});

test('filterMessage() raises an alarm where the return smtpd refuses the filter itself', async () => {
  const world = new World(spool);
  const denied = { ...tempfail, outcome: 'returnMisconfigured' } as const;
  const replies = await world.attempt({ answer: () => denied });
  assert.match(textsOf(replies)?.join() ?? '', /^451 4\.3\.5 Return smtpd refuses the content filter/);
  const line = world.lines.find(({ message }) => message.startsWith('Cannot reinject'));
  assert.deepEqual([line?.level, line?.fields['alarm']], ['error', true]);
});

test('filterMessage() holds one item: octets, envelope, origin of each decision, days by the recipient', async () => {
  const world = new World(spool);
  const policies = policiesOf(
    'recipients: { x.test: { retentionDays: 3, thresholds: { quarantine: 8 } }, y.test: { retentionDays: 40 } }',
  );
  await world.attempt({
    recipients: [to('a@x.test'), to('a@y.test'), to('b@y.test')],
    report: scored(12),
    policies,
  });
  const [{ item } = { item: null }] = world.items;
  assert.deepEqual(
    item?.slots.map(({ retentionDays }) => retentionDays),
    [3, 40, 40],
  );
  assert.equal(item?.retentionDays, 40);
  assert.deepEqual(
    item?.dispositions.map(({ why, recipients }) => `${recipients.length}: ${why}`).toSorted(),
    [
      '3: score 12 >= quarantine 10 (shipped default) | score 12 >= quarantine 8 (policies.yaml:1 recipients: x.test)',
    ],
  );
  assert.deepEqual(item?.facts, {
    from: 'sender@partner.example',
    subject: 'order',
    messageId: '<1@partner.example>',
  });
  assert.deepEqual(
    [item?.sizeBytes, item?.queueId, item?.envelope.envid],
    [plainMessage.length, '4c7Yx1', 'QQ314'],
  );
});

test('filterMessage() on SMTP hands over all or nothing; LMTP each for itself', async () => {
  const answer: Answer = (one, job) => (one.address === 'slow@deliver.test' ? tempfail : accepts(one, job));
  const recipients = () => [{ ...deliver }, to('slow@deliver.test')];
  const world = new World(spool);
  assert.deepEqual(
    codesOf(await world.attempt({ protocol: 'smtp', recipients: recipients(), answer })),
    [451],
  );
  assert.deepEqual(world.events, []);
  assert.deepEqual(
    codesOf(await world.attempt({ protocol: 'lmtp', recipients: recipients(), answer })),
    [250, 451],
  );
  assert.deepEqual(
    codesOf(await world.attempt({ protocol: 'lmtp', recipients: [to('slow@deliver.test')] })),
    [250],
  );
  assert.deepEqual(world.events, ['accepted a@deliver.test', 'accepted slow@deliver.test']);
});

test('filterMessage() on LMTP relays a refusal to the one it concerns, and repeats it', async () => {
  const world = new World(spool);
  const recipients = [deliver, to('gone@deliver.test')];
  const replies = await world.attempt({ recipients, answer: refusing('gone') });
  assert.deepEqual(textsOf(replies)?.[1], '550 5.1.1 No such user');
  assert.deepEqual(await world.attempt({ recipients }), replies);
});

test('filterMessage() defers whoever the hand-off has no outcome for', async () => {
  const world = new World(spool);
  const replies = await world.attempt({
    recipients: [deliver, to('x@deliver.test')],
    effects: { reinject: async (job) => [accepts(job.recipients[0] ?? deliver, job)] },
  });
  assert.deepEqual(codesOf(replies), [250, 451]);
});

test('filterMessage() knows a message again that postsuper -r gave another Received line', async () => {
  for (const [label, ident, first, second] of [
    ['submitted here, no IDENT', null, 'local-pickup.eml', 'local-requeued.eml'],
    ['from a client', '4c7Yx16WkPz1', null, 'remote-requeued.eml'],
  ] as const) {
    const world = new World(spool);
    const requeued = fixture(second);
    // Without the line in front: as it came the first time.
    const original = first === null ? requeued.subarray(requeued.indexOf('Received: from')) : fixture(first);
    await world.attempt({ ident, bytes: original });
    const replies = await world.attempt({ ident, bytes: requeued });
    assert.deepEqual([codesOf(replies), world.accepted.length, world.ledger.size], [[250], 1, 1], label);
  }
});

test('filterMessage() tells apart what only looks the same', async () => {
  const twice = [
    to('a@deliver.test', { orcpt: 'rfc822;x@example' }),
    to('a@deliver.test', { orcpt: 'rfc822;y@example' }),
  ];
  const cases = [to('Anna@deliver.test'), to('anna@deliver.test')];
  for (const recipients of [twice, cases]) {
    const world = new World(spool);
    const answer: Answer = (one, job) => (one === recipients[1] ? tempfail : accepts(one, job));
    assert.deepEqual(codesOf(await world.attempt({ recipients, answer })), [250, 451]);
    const [, second] = recipients;
    assert.ok(second !== undefined);
    assert.deepEqual(codesOf(await world.attempt({ recipients: [{ ...second }] })), [250]);
    assert.equal(world.accepted.length, 2);
  }
});

test('filterMessage() gives the very same recipient twice two replies', async () => {
  const world = new World(spool);
  const recipients = [to('a@deliver.test'), to('a@deliver.test')];
  assert.deepEqual(codesOf(await world.attempt({ recipients })), [250, 250]);
});

test('filterMessage() without a queue id asks no ledger and delivers', async () => {
  const world = new World(spool);
  assert.deepEqual(codesOf(await world.attempt({ ident: null, protocol: 'smtp' })), [250]);
  assert.equal(world.calls.join(' '), 'scan reinject record');
  await world.attempt({ ident: null, recipients: [defer], report: unchecked() });
  assert.ok(!world.calls.includes('noteAttempt'));
});

test('filterMessage() delivers a message whose outcome can not be noted or recorded, and says so', async () => {
  const world = new World(spool);
  const replies = await world.attempt({
    at: (name, when) => failing('commit')?.(name, when, []) ?? failing('record')?.(name, when, []),
  });
  assert.deepEqual(codesOf(replies), [250]);
  const alarms = world.lines.filter(({ level }) => level === 'error').map(({ message }) => message);
  assert.deepEqual(alarms, [
    'Cannot note outcome in the ledger: a retry may deliver again',
    'Cannot record message in the history',
  ]);
});

test('filterMessage() defers whoever is left when something unforeseen is thrown, logs the stack and records the try', async () => {
  const world = new World(spool);
  const scan = async () => {
    throw new TypeError('nobody foresaw this');
  };
  const replies = await world.attempt({ recipients: everyKind, effects: { scan } });
  assert.deepEqual(new Set(textsOf(replies)), new Set(['451 4.3.0 Internal error, try again later']));
  assert.ok(world.lines.some(({ level, fields }) => level === 'error' && fields['err'] instanceof TypeError));
  assert.deepEqual(
    world.rows[0]?.outcomes.map(({ outcome, why }) => `${outcome} ${why}`),
    everyKind.map(() => 'deferred not decided'),
  );
  const said = world.lines.filter(({ message }) => message === 'Recipient decided');
  assert.ok(
    said.length === 5 && said.every(({ fields }) => fields['reply'] === 'Internal error, try again later'),
  );
  assert.deepEqual(
    codesOf(await world.attempt({ recipients: everyKind.map((one) => ({ ...one })) })),
    [250, 250, 250, 250, 250],
    'its claims are free',
  );
});

test('filterMessage() takes the policies once: a reload in between changes nothing for this message', async () => {
  const world = new World(spool);
  let asked = 0;
  const strict = policiesOf('default: { thresholds: { tag: 0, spam: 0, quarantine: 0 } }');
  const lenient = policiesOf('default: { thresholds: { tag: null, spam: null, quarantine: null } }');
  const effects = { policies: () => (asked++ === 0 ? lenient : strict) };
  await world.attempt({ report: scored(5), effects });
  assert.deepEqual([world.events, asked], [['accepted one@deliver.test'], 1]);
});

test('filterMessage() hands what the site itself sends over unmarked, and raises an alarm for its score', async () => {
  const world = new World(spool);
  const replies = await world.attempt({
    direction: 'outbound',
    protocol: 'smtp',
    recipients: [hold],
    report: scored(12),
  });
  assert.deepEqual([codesOf(replies), world.events], [[250], ['accepted c@hold.test']]);
  const text = world.accepted[0]?.text ?? '';
  assert.ok(!/^X-Spam/m.test(text));
  const line = world.lines.find(({ message }) => message === 'Recipient decided');
  assert.deepEqual([line?.level, line?.fields['alarm']], ['warn', true]);
});

test('filterMessage() records one row per recipient, with why and what it was told', async () => {
  const world = new World(spool);
  await world.attempt({ recipients: [deliver, hold], report: scored(25) });
  await world.attempt({ recipients: [deliver, hold], report: scored(0) });
  assert.deepEqual(
    world.rows.map(({ scan, outcomes }) => [
      scan.queueId,
      scan.client,
      scan.report === null,
      outcomes.map(({ outcome, why }) => `${outcome}: ${why}`),
    ]),
    [
      [
        '4c7Yx1',
        '192.0.2.7',
        false,
        [
          'delivered: score 25 is below every threshold',
          'held: score 25 >= quarantine 10 (policies.yaml:5 recipients: hold.test)',
        ],
      ],
      [
        '4c7Yx1',
        '192.0.2.7',
        true,
        ['delivered: outcome of an earlier try, repeated', 'held: outcome of an earlier try, repeated'],
      ],
    ],
  );
  assert.equal(world.rows[0]?.scan.at, nowMs);
  await world.attempt({ client: '[UNAVAILABLE]', ident: 'local' });
  assert.equal(world.rows.at(-1)?.scan.client, null);
});

test('filterMessage() hands over our lines in front of the message, and its size', async () => {
  const world = new World(spool);
  await world.attempt({ recipients: [flag], report: scored(8) });
  const { job, text = '' } = world.accepted[0] ?? {};
  assert.match(text, /^X-Spam-Flag: YES\r\n/m);
  assert.ok(text.endsWith(plainMessage.toString()));
  assert.equal(job?.sizeBytes, Buffer.byteLength(text));
});

/** Refuses who is called so; `notification` is what it says to one of ours. */
function refusing(user: string, notification?: ReturnType<Answer>): Answer {
  return (recipient, job) => {
    if (isNotification(job)) return notification ?? accepts(recipient, job);
    return recipient.address.startsWith(`${user}@`) ? refused : accepts(recipient, job);
  };
}

function failingAtNotification(): ReturnType<typeof failing> {
  let handOffs = 0;
  return (name, when) => {
    if (name === 'reinject' && when === 'before' && handOffs++ === 1)
      throw new TypeError('nobody foresaw this');
    return undefined;
  };
}

function fixture(name: string): Buffer {
  return readFileSync(join(import.meta.dirname, '../messages', name));
}

async function realStores(t: TestContext, label: string) {
  const state = join(temporaryFolder(t), label);
  mkdirSync(state);
  const log = recordingLog();
  const ledger = await openLedger({ file: join(state, 'ledger.db'), log });
  const quarantine = await openQuarantine({
    folder: join(state, 'quarantine'),
    file: join(state, 'quarantine.db'),
    log,
  });
  t.after(async () => {
    await ledger.close();
    await quarantine.close();
  });
  return { ledger, quarantine };
}

async function keysIn(
  quarantine: Awaited<ReturnType<typeof openQuarantine>>,
  quarantineId: string,
): Promise<string[]> {
  const { record } = await quarantine.get(quarantineId);
  return record.slots.flatMap(({ ledgerKey }) => ledgerKey ?? []);
}

/** A ledger whose file is a folder: every call fails. */
async function brokenLedger(t: TestContext): Promise<Ledger> {
  const file = join(temporaryFolder(t), 'ledger.db');
  mkdirSync(file);
  const ledger = await openLedger({ file, log: recordingLog() });
  t.after(() => ledger.close());
  return ledger;
}
