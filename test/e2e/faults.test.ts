/**
 * faults — what must hold, 4: whatever breaks, mail waits in Postfix's queue, goes on by itself, and is never bounced.
 *
 * Real Postfix, clamd and spamd, both feeds, the shipped policy. Messages are larger than the spool's memory, so that a
 * forgotten spool file would be seen. After every case: nothing queued, spooled or bounced, no copy twice at the sink.
 * Postfix retries every second here; nobody restarts Sluice.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync, readlinkSync, renameSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, afterEach, before, suite, test } from 'node:test';
import { type Clamd, startClamd } from '../../demo/clamd.ts';
import { createReachableFolder } from '../../demo/postfix-folders.ts';
import { type SpamDaemon, startSpamd } from '../../demo/spamd.ts';
import { startFakeClamd } from '../fakes/clamd.ts';
import { startFakeSpamd } from '../fakes/spamd.ts';
import * as evidence from './evidence.ts';
import { startGate } from './gate.ts';
import { gtube, mailOf, scoredMail, scoreRules } from './mails.ts';
import { startSite, type TestSite, top } from './site.ts';
import { mountSmallDisk, type SmallDisk } from './small-disk.ts';

const policies = `recipients:
  keep.example: { thresholds: { quarantine: null } }
  drop.example: { thresholds: { discard: 20 } }
  anyway.example: { onUnchecked: { spam: deliver } }
`;
const deadlineSeconds = 6;
const spamOptions = { extraRules: scoreRules([8]), children: 2 };
const scanUnavailable = /^451 4\.3\.0 Content scan unavailable/;
const misconfigured = /^451 4\.3\.5 Return smtpd refuses the content filter/;

/** Over 256 KiB: it lies in a spool file while it is scanned. */
const bulk = 'An ordinary line about an ordinary order.\r\n'.repeat(7000);

function bulkMail(subject: string): Buffer {
  return mailOf({ subject, body: bulk });
}

function bulkSpam(subject: string): Buffer {
  return mailOf({ subject, body: `${gtube}\r\n${bulk}` });
}

/** Return smtpd configurations under which nothing may be delivered, and nothing bounced. */
const returnFaults = [
  { name: 'is not there', options: null, said: /^451 4\.4\.1 Return smtpd unavailable/, alarm: false },
  {
    name: 'has a full disk (452 4.3.1)',
    options: { queue_minfree: '1000000000000000' },
    said: /^451 4\.4\.1 Return smtpd unavailable/,
    alarm: false,
  },
  {
    name: 'wants TLS (530)',
    options: { smtpd_tls_security_level: 'encrypt' },
    said: misconfigured,
    alarm: true,
  },
  {
    name: 'denies relaying at RCPT (554 5.7.1)',
    options: {
      mynetworks: '192.0.2.1/32',
      smtpd_client_restrictions: '',
      smtpd_recipient_restrictions: 'permit_mynetworks, reject_unauth_destination',
    },
    said: misconfigured,
    alarm: true,
  },
  {
    name: 'turns the filter away in its greeting (554)',
    options: { smtpd_client_restrictions: 'reject', smtpd_delay_reject: 'no' },
    said: misconfigured,
    alarm: true,
  },
  {
    name: 'refuses DATA (554 5.7.1)',
    options: { smtpd_data_restrictions: 'reject' },
    said: misconfigured,
    alarm: true,
  },
] as const;

for (const feedProtocol of ['lmtp', 'smtp'] as const) {
  suite(`${feedProtocol} feed`, () => {
    let site: TestSite;
    let clamd: Clamd;
    let spamd: SpamDaemon;
    let stateDisk: SmallDisk;
    let quarantineDisk: SmallDisk;
    let state: string;
    /** From each repair to the copy at the sink. */
    const recoveriesMs: number[] = [];

    before(async () => {
      state = await createReachableFolder('sluice-state');
      stateDisk = mountSmallDisk(state, 48 << 20);
      quarantineDisk = mountSmallDisk(join(state, 'quarantine'), 16 << 20);
      site = await startSite({
        feedProtocol,
        sink: 'smtp',
        policies,
        state,
        spamd: spamOptions,
        config: `limits: { deadlineSeconds: ${deadlineSeconds}, spamBytes: 4KB }`,
        // Few enough at once for two children of spamd: a scan that times out three times ends by policy.
        postfix: { retrySeconds: 1, scanProcesses: 4 },
      });
      ({ clamd, spamd } = site);
    });
    after(async (t) => {
      t.diagnostic(
        `after ${recoveriesMs.length} repairs mail flowed again within ${Math.max(...recoveriesMs)} ms`,
      );
      await site?.stop();
      await clamd?.stop();
      await spamd?.stop();
      quarantineDisk.unmount();
      stateDisk.unmount();
      rmdirSync(state);
    });

    afterEach(async () => {
      await evidence.emptied(site).catch(async (cause: unknown) => {
        // What a failed case left behind must not fail the next ones.
        await site.postfix.deleteAll();
        throw cause;
      });
      assert.deepEqual(await evidence.bouncesOf(site), []);
      assert.deepEqual(evidence.notificationsIn(site), []);
      assert.deepEqual(
        await evidence.until(
          'an empty spool',
          async () => {
            const files = await evidence.spooled(state);
            return files.length === 0 && files;
          },
          5_000,
        ),
        [],
      );
      const copies = Map.groupBy(site.sink?.messages.flatMap(({ rcpt }) => rcpt) ?? [], (rcpt) => rcpt);
      assert.deepEqual(
        [...copies].filter(([, { length }]) => length > 1),
        [],
        'delivered twice',
      );
    });

    /** One message under a fault: deferred with this reply and in the queue, delivered within 5 s of the repair. */
    async function deferredUntilRepaired(
      to: string,
      said: RegExp,
      fault: { inflict: () => Promise<unknown> | void; repair: () => Promise<unknown> | void },
    ): Promise<void> {
      await fault.inflict();
      const queueId = await evidence.post(site, { to: [to], bytes: bulkMail(to) });
      try {
        await deferral(queueId, to, said);
        assert.deepEqual(evidence.copiesFor(site, to), []);
        // postqueue can miss a message that moves from one queue to the other while it looks.
        await evidence.until('it stays queued', async () =>
          (await site.postfix.queue()).some((entry) => entry.queueId === queueId),
        );
      } finally {
        await fault.repair();
      }
      const repairedAt = Date.now();
      await evidence.arrived(site, to, 5_000);
      recoveriesMs.push(Date.now() - repairedAt);
      assert.match((await evidence.settled(site, queueId, to)).text, /^250 2\.0\.0 /);
    }

    function deferral(queueId: string, to: string, said: RegExp): Promise<evidence.Delivery> {
      return evidence.flushUntil(site, `deferral ${said} of ${queueId} for ${to}`, async () =>
        (await evidence.deliveriesOf(site, queueId)).find(
          ({ recipient, status, text }) =>
            recipient === to && status === 'deferred' && said.test(text.replace(/^host .*? said: /, '')),
        ),
      );
    }

    async function alarmsAbout(queueId: string | null, message: RegExp): Promise<number> {
      const events = await evidence.eventsOf(site);
      return events.filter(
        (event) =>
          event.alarm === true &&
          message.test(String(event.msg)) &&
          (queueId === null || event.queueId === queueId),
      ).length;
    }

    async function killClamd(): Promise<void> {
      clamd.kill('SIGKILL');
      await clamd.stop();
    }

    async function reviveClamd(): Promise<void> {
      clamd = await startClamd({ folder: join(site.folder, 'clamd'), signatures: 'test' });
    }

    async function killSpamd(): Promise<void> {
      spamd.kill('SIGKILL');
      await spamd.stop();
      rmSync(spamd.unix.path, { force: true });
    }

    async function reviveSpamd(): Promise<void> {
      spamd = await startSpamd({ folder: join(site.folder, 'spamd'), ...spamOptions });
    }

    test('clamd killed: 451, nothing delivered, flows again by itself', async () => {
      await deferredUntilRepaired('clamd-killed@site.example', scanUnavailable, {
        inflict: killClamd,
        repair: async () => {
          const file = join(site.folder, 'clean.eml');
          writeFileSync(file, mailOf({ subject: 'clean' }));
          assert.equal((await site.cli('scan', file)).code, 75, 'scan says: try again');
          await reviveClamd();
        },
      });
    });

    test('clamd hangs: 451 inside the deadline, flows again by itself', async () => {
      const start = Date.now();
      await deferredUntilRepaired('clamd-hung@site.example', scanUnavailable, {
        inflict: () => clamd.kill('SIGSTOP'),
        repair: () => clamd.kill('SIGCONT'),
      });
      assert.ok(Date.now() - start < 3 * deadlineSeconds * 1000);
    });

    test('spamd killed: by policy 451, or delivered and marked', async () => {
      await killSpamd();
      const anyway = await evidence.post(site, { to: ['a@anyway.example'], bytes: bulkMail('anyway') });
      const both = ['spamd-both@site.example', 'spamd-both@anyway.example'];
      const mixed = await evidence.post(site, { to: both, bytes: bulkMail('mixed') });
      await deferredUntilRepaired('spamd-killed@site.example', scanUnavailable, {
        inflict: () => undefined,
        repair: async () => {
          await evidence.settled(site, anyway, 'a@anyway.example');
          await deferral(mixed, 'spamd-both@site.example', scanUnavailable);
          // On SMTP input one deferral is everybody's, and has no effect at all.
          if (feedProtocol === 'lmtp') await evidence.settled(site, mixed, 'spamd-both@anyway.example');
          else await deferral(mixed, 'spamd-both@anyway.example', scanUnavailable);
          assert.equal(
            evidence.copiesFor(site, 'spamd-both@anyway.example').length,
            feedProtocol === 'lmtp' ? 1 : 0,
          );
          await reviveSpamd();
        },
      });
      const marks = evidence.marksOf((await evidence.arrived(site, 'a@anyway.example')).bytes);
      assert.deepEqual(marks['x-spam-status'], ['unchecked (unreachable)']);
      assert.match(marks['x-virus-scanned']?.[0] ?? '', /^yes /);
    });

    test('a living clamd that fails on a message three times: held by policy on the third try', async () => {
      await killClamd();
      rmSync(clamd.unix.path, { force: true });
      const fake = await startFakeClamd({
        path: clamd.unix.path,
        script: [{ at: 'end', do: 'close', say: 'stream: garbage\0' }],
      });
      try {
        const to = 'garbage@site.example';
        const queueId = await evidence.post(site, { to: [to], bytes: bulkMail('garbage') });
        assert.match((await evidence.settled(site, queueId, to)).text, /held in quarantine/);
        const tries = await evidence.deliveriesOf(site, queueId);
        assert.deepEqual(
          tries.map(({ status }) => status),
          ['deferred', 'deferred', 'sent'],
        );
        assert.deepEqual(await evidence.handOffsOf(site, queueId), []);
        const item = (await evidence.quarantineOf(site)).find((one) => one.queueId === queueId);
        assert.match(
          item?.slots[0]?.why ?? '',
          /virus unchecked \(protocol\): failed 3 times >= deferAtMost\.attempts 3/,
        );
      } finally {
        await fake.stop();
        await reviveClamd();
      }
    });

    test('a living spamd that fails on a message three times: delivered, marked, on the third try', async () => {
      await killSpamd();
      const fake = await startFakeSpamd({
        path: spamd.unix.path,
        script: [{ at: 'message', do: 'close', say: 'SPAMD/1.1 76 Bad header line\r\n\r\n' }],
      });
      try {
        const to = 'spam-garbage@site.example';
        const queueId = await evidence.post(site, { to: [to], bytes: bulkMail('garbage') });
        const { bytes } = await evidence.arrived(site, to);
        assert.match(
          evidence.marksOf(bytes)['x-spam-status']?.join() ?? '',
          /^unchecked \((?:protocol|failed)\)$/,
        );
        await evidence.settled(site, queueId, to);
        const tries = await evidence.deliveriesOf(site, queueId);
        assert.deepEqual(
          tries.map(({ status }) => status),
          ['deferred', 'deferred', 'sent'],
        );
      } finally {
        await fake.stop();
        await reviveSpamd();
      }
    });

    for (const [at, { name, options, said, alarm }] of returnFaults.entries()) {
      test(`return smtpd ${name}: 451, delivered once after the repair`, async () => {
        const to = `return-${at}@site.example`;
        await deferredUntilRepaired(to, said, {
          inflict: () => site.postfix.setReturnOptions(options),
          repair: async () => {
            const alarms = await evidence.eventsOf(site);
            const about = alarms.filter(
              (event) => event.recipient === to && event.msg === 'Cannot reinject: deferred',
            );
            assert.ok(about.length > 0);
            assert.ok(
              about.every((event) => event.alarm === alarm),
              'an alarm where somebody must repair it',
            );
            await site.postfix.setReturnOptions({});
          },
        });
      });
    }

    test('return smtpd hangs: 451 at the deadline, delivered once after the repair', async (t) => {
      const gate = await startGate();
      t.after(() => gate.stop());
      await deferredUntilRepaired('return-hangs@site.example', /^451 4\.4\.2 Time is up/, {
        inflict: () => site.postfix.setReturnOptions({ smtpd_sender_restrictions: gate.restriction }),
        repair: () => site.postfix.setReturnOptions({}),
      });
    });

    test('quarantine disk full: 451 for held mail only, clean mail keeps flowing', async () => {
      quarantineDisk.fill();
      const both = ['full-both@site.example', 'full-both@keep.example'];
      const held = await evidence.post(site, { to: ['full@site.example'], bytes: bulkSpam('full') });
      const mixed = await evidence.post(site, { to: both, bytes: bulkSpam('both') });
      try {
        await deferral(held, 'full@site.example', /^451 4\.3\.0 Quarantine unavailable/);
        await deferral(mixed, 'full-both@site.example', /^451 4\.3\.0 Quarantine unavailable/);
        assert.ok((await alarmsAbout(held, /^Cannot hold message in quarantine/)) > 0);
        const clean = await evidence.post(site, { to: ['clean@site.example'], bytes: bulkMail('clean') });
        await evidence.arrived(site, 'clean@site.example', 5_000);
        assert.deepEqual(
          (await evidence.deliveriesOf(site, clean)).filter(({ status }) => status !== 'sent'),
          [],
        );
        assert.equal(
          evidence.copiesFor(site, 'full-both@keep.example').length,
          feedProtocol === 'lmtp' ? 1 : 0,
        );
      } finally {
        quarantineDisk.free();
      }
      await evidence.arrived(site, 'full-both@keep.example', 5_000);
      await evidence.emptied(site);
      assert.deepEqual(await heldIn('full'), ['full-both@site.example', 'full@site.example']);
      assert.deepEqual(evidence.copiesFor(site, 'full@site.example'), []);
    });

    test('every disk full: held mail 451, large mail 452, other mail flows', async () => {
      stateDisk.fill();
      quarantineDisk.fill();
      const spam = mailOf({ subject: 'disks full', body: gtube });
      const held = await evidence.post(site, { to: ['disks-spam@site.example'], bytes: spam });
      const large = await evidence.post(site, { to: ['disks-large@site.example'], bytes: bulkMail('large') });
      try {
        await deferral(held, 'disks-spam@site.example', /^451 4\.3\.0 Quarantine unavailable/);
        await deferral(large, 'disks-large@site.example', /^452 4\.3\.1 Insufficient storage/);
        await evidence.post(site, { to: ['disks-clean@site.example'], bytes: mailOf({ subject: 'clean' }) });
        await evidence.arrived(site, 'disks-clean@site.example', 20_000);
      } finally {
        stateDisk.free();
        quarantineDisk.free();
      }
      await evidence.arrived(site, 'disks-large@site.example', 5_000);
      await evidence.emptied(site);
      assert.deepEqual(await heldIn('disks-'), ['disks-spam@site.example']);
    });

    test('databases locked by somebody else: only what needs them waits', async () => {
      const locks = new Map(
        ['ledger', 'history', 'quarantine'].map((name) => [name, lock(join(state, `${name}.db`))]),
      );
      const held = await evidence.post(site, { to: ['locked@site.example'], bytes: bulkSpam('locked') });
      const drop = await evidence.post(site, { to: ['locked@drop.example'], bytes: bulkSpam('locked') });
      const clean = await evidence.post(site, {
        to: ['locked-clean@site.example'],
        bytes: bulkMail('clean'),
      });
      try {
        // Without the ledger a deferral among several hand-offs of one SMTP transaction would double the others.
        if (feedProtocol === 'smtp')
          await deferral(clean, 'locked-clean@site.example', /^451 4\.3\.0 Ledger unavailable/);
        else await evidence.arrived(site, 'locked-clean@site.example', 20_000);
        locks.get('ledger')?.();
        await deferral(held, 'locked@site.example', /^451 4\.3\.0 Quarantine unavailable/);
        await deferral(drop, 'locked@drop.example', /^451 4\.3\.0 /);
        await evidence.arrived(site, 'locked-clean@site.example', 20_000);
        const settled = [
          ...(await evidence.deliveriesOf(site, held)),
          ...(await evidence.deliveriesOf(site, drop)),
        ];
        assert.deepEqual(
          settled.filter(({ status }) => status !== 'deferred'),
          [],
        );
      } finally {
        for (const unlock of locks.values()) unlock();
      }
      assert.match((await evidence.settled(site, drop, 'locked@drop.example')).text, /discarded by policy/);
      assert.match((await evidence.settled(site, held, 'locked@site.example')).text, /held in quarantine/);
      assert.deepEqual(await heldIn('locked'), ['locked@site.example']);
    });

    test('a return smtpd that filters again: 451 4.4.6 and an alarm, no endless loop', async () => {
      const port = feedProtocol === 'lmtp' ? site.lmtpPort : site.smtpPort;
      await site.postfix.setReturnOptions({ content_filter: `scan:[127.0.0.1]:${port}` });
      const to = 'loop@site.example';
      const queueId = await evidence.post(site, { to: [to], bytes: bulkMail('loop') });
      try {
        // What comes back before the ledger has noted where it went is handed off once more, and caught then.
        const looped = await evidence.flushUntil(site, 'a loop', async () => {
          const last = (await evidence.handOffsOf(site, queueId)).at(-1) ?? '';
          const tries = (await evidence.deliveriesOf(site, last)).filter(({ dsn }) => dsn === '4.4.6');
          return tries.length >= 3 && { last, reply: tries[0]?.text ?? '' };
        });
        assert.match(looped.reply, /said: 451 4\.4\.6 Content filter loop/);
        assert.ok((await alarmsAbout(queueId, /^Content filter loop/)) > 0);
        const handOffs = await evidence.handOffsOf(site, queueId);
        assert.ok(handOffs.length <= 2, `handed off ${handOffs.length} times`);
        assert.equal(handOffs.at(-1), looped.last, 'not handed off again');
        assert.deepEqual(evidence.copiesFor(site, to), []);
      } finally {
        await site.postfix.setReturnOptions({});
      }
      // Each queue file stores its filter: docs/postfix.md tells to requeue after such a repair.
      await site.postfix.requeueAll();
      await evidence.arrived(site, to, 10_000);
    });

    test('SIGTERM under load: exit 0, nothing lost, nothing doubled', async (t) => {
      await site.sluice().stop();
      const numbers = Array.from({ length: 30 }, (_, number) => number);
      for (const number of numbers) {
        const bytes = number % 5 === 0 ? bulkSpam('load') : bulkMail('load');
        await evidence.post(site, { to: [`load-${number}@site.example`], bytes });
      }
      for (let round = 1; round <= 2; round++) {
        const sluice = await startAlone();
        const before = site.sink?.messages.length ?? 0;
        await evidence.flushUntil(
          site,
          'some of it arrived',
          () => (site.sink?.messages.length ?? 0) >= before + 4,
        );
        sluice.kill('SIGTERM');
        assert.deepEqual(await once(sluice, 'exit'), [0, null]);
        t.diagnostic(`round ${round}: ${(site.sink?.messages.length ?? 0) - before} delivered`);
      }
      await site.restart();
      await evidence.emptied(site);
      for (const number of numbers) {
        const copies = evidence.copiesFor(site, `load-${number}@site.example`).length;
        assert.equal(copies, number % 5 === 0 ? 0 : 1, `load-${number}`);
      }
      const spam = numbers
        .filter((number) => number % 5 === 0)
        .map((number) => `load-${number}@site.example`);
      assert.deepEqual(await heldIn('load-'), spam.toSorted());
    });

    /** The filter process as a supervisor sees it: with its exit code. */
    async function startAlone() {
      const out = openSync(join(site.folder, 'sluice.log'), 'a');
      const words = [join(top, 'bin', 'sluice.js'), 'run', 'filter', '--config', site.configFile];
      const sluice = spawn(process.execPath, words, { stdio: ['ignore', out, out] });
      await evidence.until('the filter runs', async () =>
        (await evidence.eventsOf(site)).some(({ pid, msg }) => pid === sluice.pid && msg === 'Filter runs'),
      );
      return sluice;
    }

    test("Postfix's client killed while we scan: delivered once", async () => {
      clamd.kill('SIGSTOP');
      const to = 'killed-in-scan@site.example';
      await evidence.post(site, { to: [to], bytes: bulkMail('killed in scan') });
      try {
        await evidence.until('Sluice asks clamd', () => connectionsTo(clamd.unix.path, site) > 0);
        assert.ok((await site.postfix.kill('scan', 'SIGKILL')).length > 0);
      } finally {
        clamd.kill('SIGCONT');
      }
      await evidence.arrived(site, to);
    });

    test("Postfix's client killed before it heard our 250: the retry repeats it, delivered once (W3)", async (t) => {
      const gate = await startGate();
      t.after(() => gate.stop());
      await site.postfix.setReturnOptions({ smtpd_end_of_data_restrictions: gate.restriction });
      const to = ['killed-at-dot@site.example', 'killed-at-dot@keep.example'];
      const queueId = await evidence.post(site, { to, bytes: bulkSpam('killed at the dot') });
      await gate.reached();
      assert.ok((await site.postfix.kill('scan', 'SIGKILL')).length > 0);
      gate.open();
      await evidence.settled(site, queueId, 'killed-at-dot@keep.example');
      await evidence.settled(site, queueId, 'killed-at-dot@site.example');
      const repeated = (await evidence.eventsOf(site)).filter(
        (event) => event.queueId === queueId && event.repeated,
      );
      assert.deepEqual(new Set(repeated.map(({ recipient }) => recipient)), new Set(to));
      await evidence.arrived(site, 'killed-at-dot@keep.example');
      await site.postfix.setReturnOptions({});
      assert.deepEqual(await heldIn('killed-at-dot'), ['killed-at-dot@site.example']);
      assert.equal((await evidence.handOffsOf(site, queueId)).length, 1);
    });

    // Nothing of it depends on the feed.
    if (feedProtocol === 'lmtp')
      test('policies.yaml changed: the next message is judged by it; a broken file keeps the old ones', async () => {
        const file = join(site.folder, 'policies.yaml');
        const replace = async (text: string, event: RegExp) => {
          const count = async () =>
            (await evidence.eventsOf(site)).filter(({ msg }) => event.test(String(msg))).length;
          const before = await count();
          writeFileSync(`${file}.new`, text);
          renameSync(`${file}.new`, file);
          await evidence.until(String(event), async () => (await count()) > before, 10_000);
        };
        const lands = async (to: string, where: RegExp) => {
          const queueId = await evidence.post(site, { to: [to], bytes: scoredMail(8) });
          assert.match((await evidence.settled(site, queueId, to)).text, where);
        };
        await lands('reload-1@site.example', /handed to the return smtpd/);
        await replace(`default: { thresholds: { quarantine: 7 } }\n${policies}`, /^Policies reloaded/);
        await lands('reload-2@site.example', /held in quarantine/);
        await replace('default: { thresholds: { quarantine: 3 } }\n', /^Cannot reload policies/);
        await lands('reload-3@site.example', /held in quarantine/);
        await replace('default: [\n', /^Cannot reload policies/);
        await lands('reload-4@site.example', /held in quarantine/);
        await replace(policies, /^Policies reloaded/);
        await lands('reload-5@site.example', /handed to the return smtpd/);
      });

    /** Addresses that begin so for which something is held, each as often as it is. */
    async function heldIn(prefix: string): Promise<string[]> {
      const slots = (await evidence.quarantineOf(site)).flatMap((item) => item.slots);
      const held = slots.filter(
        ({ recipient, state: now }) => recipient.startsWith(prefix) && now === 'held',
      );
      return held.map(({ recipient }) => recipient).toSorted();
    }
  });
}

/** Holds the lock of a database's writer, as another process would; gives what lets go of it, once. */
function lock(file: string): () => void {
  const database = new DatabaseSync(file);
  database.exec('BEGIN IMMEDIATE');
  return () => {
    if (database.isOpen) database.close();
  };
}

/** Connections to a unix socket that its owner has not accepted or closed yet (proc(5)). */
function connectionsTo(path: string, { redis }: TestSite): number {
  // Each network namespace has its own list; workers may be in another one.
  const processes = ['self', ...(redis?.workers.all() ?? []).map(({ pid }) => pid)];
  const namespaces = new Map(processes.map((pid) => [readlinkSync(`/proc/${pid}/ns/net`), pid]));
  const lists = [...namespaces.values()].map((pid) => readFileSync(`/proc/${pid}/net/unix`, 'latin1'));
  const lines = lists.flatMap((list) => list.split('\n'));
  // One line is the listening socket itself.
  return lines.filter((line) => line.endsWith(` ${path}`)).length - 1;
}
