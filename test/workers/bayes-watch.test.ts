/**
 * bayes-watch — each run is one event, each trouble one alarm and one mail, its end another; over a real SMTP connection.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { BayesStatus, BayesTrouble } from '../../workers/bayes.ts';
import { type SyncRecord, writeRecord } from '../../workers/bayes-record.ts';
import { createBayesWatch, type WatchOptions } from '../../workers/bayes-watch.ts';
import { createNotice } from '../../workers/notice.ts';
import { type FakeReturnSmtpd, startReturnSmtpd } from '../fakes/return-smtpd.ts';
import { temporaryFolder } from '../folder.ts';
import { listeningLog } from './redis-rig.ts';

const hourMs = 3_600_000;
const begin = Date.UTC(2026, 10, 22, 3, 20);
const counts = { nspam: 800, nham: 810, tokens: 150_000 };

function recordOf(changes: Partial<SyncRecord> = {}): SyncRecord {
  const lastGood = { at: begin, snapshotId: 1, takenAt: begin, here: counts, there: counts };
  const run = { node: 'root@mx2', at: begin, seconds: 12.5, outcome: 'done' as const, warnings: [] };
  return { ...run, step: null, message: null, remedy: null, lastGood, parity: null, ...changes };
}

const broken: Partial<SyncRecord> = {
  outcome: 'failed',
  step: 'connect',
  message: 'Cannot reach root@mx2: refused',
  remedy: 'start sshd there',
};

async function setUp(t: TestContext, more: Partial<WatchOptions> = {}) {
  const folder = temporaryFolder(t);
  const smtpd = await startReturnSmtpd();
  t.after(() => smtpd.stop());
  const { log, lines } = listeningLog();
  const clock = { now: begin };
  const open = () =>
    createBayesWatch({
      folder,
      role: 'primary',
      nodes: ['root@mx2'],
      status: null,
      hours: 26,
      elsewhereAt: () => null,
      openNight: async () => null,
      mail: {
        to: 'admin@example.com',
        send: createNotice({ address: smtpd.address, hostname: 'mx1.example.com' }),
        host: 'mx1.example.com',
      },
      log,
      now: () => clock.now,
      ...more,
    });
  return {
    folder,
    smtpd,
    lines,
    clock,
    open,
    write: (changes: Partial<SyncRecord> = {}) => writeRecord(folder, recordOf(changes)),
  };
}

/** Mails that it took. */
function mailsTo(smtpd: FakeReturnSmtpd): string[] {
  return smtpd.transactions
    .filter(({ state }) => state === 'committed')
    .map(({ message }) => message.toString('latin1'));
}

function subjectsOf(smtpd: FakeReturnSmtpd): string[] {
  return mailsTo(smtpd).map((mail) => /^Subject: (.*)$/m.exec(mail)?.[1]?.trim() ?? '');
}

test('BayesWatch tells of each run once, whoever ran it', async (t) => {
  const { open, lines, write } = await setUp(t);
  await write();
  const watch = open();
  await watch.look();
  assert.deepEqual(lines, []);
  await write({ at: begin + 1000 });
  await watch.look();
  await watch.look();
  assert.equal(lines.length, 1, lines.join('\n'));
  assert.match(
    lines[0] ?? '',
    /^info Bayes sync done .*"node":"root@mx2","outcome":"done","seconds":12\.5,"snapshotId":1/,
  );
  await write({ ...broken, at: begin + 2000, outcome: 'refused', step: 'lock' });
  await watch.look();
  assert.match(lines[1] ?? '', /^info Bayes sync found another run under way/);
  const parity = {
    messages: 200,
    probabilityDiffers: 3,
    scoreDiffers: 1,
    flips: 0,
    worst: 0.4,
    notScored: 0,
  };
  await write({ at: begin + 3000, parity });
  await watch.look();
  assert.match(lines[3] ?? '', /^warn Scores differ between primary and backup .*"probabilityDiffers":3/);
  await write({ at: begin + 4000, parity: { ...parity, flips: 2 } });
  await watch.look();
  assert.match(lines[5] ?? '', /^error Verdicts differ between primary and backup .*"flips":2.*"alarm":true/);
  assert.equal(lines.length, 6);
});

test('BayesWatch tells of a run that could not be written down, until another one is', async (t) => {
  const { open, lines, write } = await setUp(t);
  await write();
  const watch = open();
  await watch.look();
  await watch.hear([recordOf({ ...broken, at: begin + 1000 })]);
  await watch.look();
  assert.deepEqual(
    lines.map((line) => line.split(' {')[0]),
    ['error Bayes sync failed', 'error Bayes alarm'],
  );
  assert.deepEqual(
    watch.view().records.map(({ at, outcome }) => [at, outcome]),
    [[begin + 1000, 'failed']],
  );
  // A clock that went back is no reason to stay with the old one.
  await write({ at: begin - 1000 });
  await watch.look();
  assert.deepEqual(watch.view().troubles, []);
  assert.deepEqual(
    watch.view().records.map(({ at, outcome }) => [at, outcome]),
    [[begin - 1000, 'done']],
  );
});

test('BayesWatch sends one mail for a trouble and one for its end, with step and remedy, over SMTP', async (t) => {
  const { open, lines, smtpd, write } = await setUp(t);
  let watch = open();
  await watch.look();
  await write({ ...broken, at: begin + 1000 });
  for (let minute = 0; minute < 5; minute++) await watch.look();
  await write({ ...broken, at: begin + 2000, message: 'Cannot reach root@mx2: no route' });
  await watch.look();
  // A restart is no new trouble.
  watch = open();
  await watch.look();
  assert.deepEqual(subjectsOf(smtpd), ['Sluice: Bayes sync with root@mx2 needs somebody']);
  const [mail = ''] = mailsTo(smtpd);
  for (const part of [
    /^From: Sluice <sluice@mx1\.example\.com>/m,
    /^To: admin@example\.com/m,
    /^Auto-Submitted: auto-generated/m,
    /root@mx2: failed at connect: Cannot reach root@mx2: refused/,
    /What to do: start sshd there/,
  ])
    assert.match(mail, part);
  assert.equal(smtpd.transactions[0]?.mail, 'MAIL FROM:<>');
  await write({ at: begin + 3000 });
  for (let minute = 0; minute < 3; minute++) await watch.look();
  assert.deepEqual(subjectsOf(smtpd).slice(1), ['Sluice: Bayes sync with root@mx2 is good again']);
  const alarms = lines.filter((line) => / Bayes alarm/.test(line));
  assert.equal(alarms.length, 2, alarms.join('\n'));
  assert.match(
    alarms[0] ?? '',
    /^error Bayes alarm .*"trouble":"failed","detail":"failed at connect.*"remedy":"start sshd there","alarm":true/,
  );
  assert.match(alarms[1] ?? '', /^info Bayes alarm is over/);
});

test('BayesWatch mails later what the return smtpd did not take, and says so once', async (t) => {
  const { open, lines, smtpd, write } = await setUp(t);
  const watch = open();
  smtpd.script = { mail: '451 4.3.0 not now' };
  await write(broken);
  for (let minute = 0; minute < 3; minute++) await watch.look();
  assert.equal(lines.filter((line) => line.includes('Cannot mail the Bayes alarm')).length, 1);
  smtpd.script = {};
  for (let minute = 0; minute < 3; minute++) await watch.look();
  assert.equal(subjectsOf(smtpd).length, 1);
});

test('BayesWatch says nothing of the end of a trouble that no mail told of', async (t) => {
  const { open, smtpd, write } = await setUp(t);
  const watch = open();
  smtpd.script = { mail: '451 4.3.0 not now' };
  await write(broken);
  await watch.look();
  smtpd.script = {};
  await write({ at: begin + 1 });
  await watch.look();
  assert.deepEqual(subjectsOf(smtpd), []);
});

test('BayesWatch raises the alarm when a node that never got a database was watched for 26 hours', async (t) => {
  const { open, clock, smtpd } = await setUp(t);
  await open().look();
  clock.now += 26 * hourMs;
  const restarted = open();
  await restarted.look();
  assert.deepEqual(restarted.view().troubles, []);
  clock.now += 1;
  await restarted.look();
  assert.deepEqual(
    restarted.view().troubles.map(({ kind }) => kind),
    ['old'],
  );
  assert.match(mailsTo(smtpd)[0] ?? '', /no Bayes database has come into place in 26 h/);
});

function statusOf(takenAt: number | null): BayesStatus {
  const mark =
    takenAt === null ? null : { snapshotId: 1, takenAt, ...counts, digest: '', restoredAt: takenAt };
  const standing = { current: { mark }, previous: null };
  return {
    kind: 'status',
    store: 'files',
    place: '/x',
    spamassassin: '4.0.1',
    counts: null,
    standing,
    exported: [],
    received: [],
    broken: [],
  } as BayesStatus;
}

test('BayesWatch on a backup goes by the database in place, and by what it knew while the store can not be asked', async (t) => {
  const answers: { now: BayesStatus | BayesTrouble } = { now: statusOf(begin) };
  const { open, clock, lines } = await setUp(t, {
    role: 'backup',
    nodes: ['primary'],
    status: async () => answers.now,
    statusEveryMs: hourMs,
  });
  const watch = open();
  await watch.look();
  assert.deepEqual(watch.view().seen, [{ node: 'primary', last: null, takenAt: begin }]);
  answers.now = { kind: 'failed', step: 'settings', message: 'Cannot run sa-learn', remedy: 'install it' };
  clock.now += 27 * hourMs;
  await watch.look();
  await watch.look();
  assert.deepEqual(
    watch.view().troubles.map(({ kind, remedy }) => [kind, /on the primary/.test(remedy)]),
    [['old', true]],
  );
  assert.equal(lines.filter((line) => line.includes('Cannot ask which Bayes database')).length, 1);
  answers.now = statusOf(clock.now);
  clock.now += hourMs;
  await watch.look();
  assert.deepEqual(watch.view().troubles, []);
});

test('createNotice() sends through a unix socket as well, and no text of ours can add a header', async (t) => {
  const folder = temporaryFolder(t);
  const smtpd = await startReturnSmtpd({ path: join(folder, 's') });
  t.after(() => smtpd.stop());
  const send = createNotice({ address: smtpd.address, hostname: 'mx1.example.com' });
  await send({ to: 'admin@example.com', subject: 'one\r\nBcc: other@example.com', text: 'first\n.\nlast\n' });
  const [mail = ''] = mailsTo(smtpd);
  assert.match(mail, /^Subject: one Bcc: other@example\.com\r$/m);
  assert.match(mail, /first\r\n\.\r\nlast\r\n/);
  assert.deepEqual(
    smtpd.transactions[0]?.recipients.map(({ address }) => address),
    ['admin@example.com'],
  );
});
