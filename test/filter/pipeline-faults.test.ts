/**
 * pipeline-faults — whatever fails, wherever the process dies: nothing is lost, nothing is doubled but in W1 and W2.
 *
 * Each run is one message over several tries of a Postfix that retries whoever was told 4xx (LMTP) or everybody
 * (SMTP). Scores move between tries, the return smtpd says what it likes, and one effect of one try fails or is the
 * last thing that the process does.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { wantsDsn } from '../../filter/dsn.ts';
import type { HandOff, Outcome } from '../../filter/reinject.ts';
import type { Recipient, ScanReport } from '../../rules/mail.ts';
import { TempFail } from '../../workers/fail.ts';
import { createSpool } from '../../workers/spool.ts';
import {
  accepts,
  type EffectName,
  infected,
  isNotification,
  nameOf,
  type Point,
  refused,
  scored,
  tempfail,
  unchecked,
  type When,
  World,
} from './pipeline-rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-pipeline-'));
const silent = { debug() {}, info() {}, warn() {}, error() {} };
const spool = await createSpool({ folder, log: silent });
after(async () => {
  await spool.close();
  rmSync(folder, { recursive: true, force: true });
});

const effectNames = [
  'scan',
  'put',
  'find',
  'reinject',
  'recall',
  'check',
  'commit',
  'noteAttempt',
  'record',
] as const satisfies readonly EffectName[];

type Fault = { name: EffectName; nth: number; when: When; how: 'temp' | 'odd' | 'die' };
type Said = 'accept' | 'refuse' | 'temp';
/** `lost`: Postfix never hears the replies of this try, and comes again with everybody. */
type Try = { report: ScanReport; answers: readonly Said[]; dsn: Said; lost: boolean };
type Run = {
  protocol: 'smtp' | 'lmtp';
  sender: string;
  recipients: readonly Recipient[];
  tries: readonly Try[];
  faultAt: number;
  fault: Fault | null;
};

const answer = fc.constantFrom('accept' as const, 'accept' as const, 'refuse' as const, 'temp' as const);
const run: fc.Arbitrary<Run> = fc.record({
  protocol: fc.constantFrom('smtp', 'lmtp'),
  sender: fc.constantFrom('sender@partner.example', 'sender@partner.example', ''),
  recipients: fc.uniqueArray(
    fc.record({
      address: fc
        .tuple(fc.constantFrom('a', 'A', 'b'), fc.constantFrom('deliver', 'flag', 'hold', 'discard', 'defer'))
        .map(([user, domain]) => `${user}@${domain}.test`),
      notify: fc.constantFrom(null, null, 'NEVER', 'SUCCESS,FAILURE'),
      orcpt: fc.constantFrom(null, 'rfc822;alias@example'),
    }),
    { minLength: 1, maxLength: 6, selector: nameOf },
  ),
  tries: fc.array(
    fc.record({
      report: fc.constantFrom(scored(0), scored(8), scored(12), scored(25), unchecked(), infected),
      answers: fc.array(answer, { minLength: 6, maxLength: 6 }),
      dsn: answer,
      lost: fc.boolean(),
    }),
    { minLength: 1, maxLength: 4 },
  ),
  faultAt: fc.nat(2),
  fault: fc.option(
    fc.record({
      name: fc.constantFrom(...effectNames),
      nth: fc.nat(2),
      when: fc.constantFrom('before' as const, 'after' as const),
      how: fc.constantFrom('temp' as const, 'odd' as const, 'die' as const),
    }),
  ),
});

test('filterMessage() loses nothing and doubles nothing, whatever single thing fails on whichever try', async () => {
  await fc.assert(fc.asyncProperty(run, check), {
    numRuns: 2500,
    seed: Number(process.env.SLUICE_TEST_SEED ?? 20240601),
  });
});

/** Plays one message to its end and looks at the world after each try. */
async function check({ protocol, sender, recipients, tries, faultAt, fault }: Run): Promise<void> {
  const world = new World(spool);
  const bad = new Set<string>();
  let open = recipients;
  // What happened is fate; afterwards all works, so that every message comes to its end.
  const answers: Said[] = recipients.map(() => 'accept');
  const fine: Try = { report: scored(0), answers, dsn: 'accept', lost: false };
  for (const [number, fate] of [...tries, fine, fine].entries()) {
    // Objects are new with every try: only what they say is the same.
    const now = open.map((one) => ({ ...one }));
    if (now.length === 0) break;
    if (scoreOf(fate.report) >= 6.5) for (const one of now) bad.add(one.address);
    const before = snapshot(world);
    const waits = protocol === 'smtp' && waitsForScanner(fate.report, now, world);
    const replies = await world.attempt({
      protocol,
      sender,
      recipients: now,
      report: fate.report,
      answer: (recipient, job) => outcomeOf(saidTo(fate, recipients, recipient, job), recipient, job),
      ...(number === faultAt && fault !== null ? { at: pointOf(fault) } : {}),
    });
    if (waits) assert.deepEqual(snapshot(world), before, 'an effect beside a defer');
    if (replies === null) continue;
    assert.equal(replies.length, protocol === 'smtp' ? 1 : now.length);
    const replyTo = (one: Recipient) => replies[protocol === 'smtp' ? 0 : indexIn(now, one)]?.code;
    for (const one of now)
      assertHonest(world, { recipient: one, code: replyTo(one), protocol, sender, bad, fault });
    if (!fate.lost) open = open.filter((one) => replyTo(one) === 451);
  }
  assert.deepEqual(open, [], 'a message that never ends');
  for (const recipient of recipients) assertOnce(world, recipient, fault);
}

/** R1: 250 only for what the return smtpd accepted, what is held, or discarded behind its row; on SMTP, or told to the sender. */
function assertHonest(
  world: World,
  of: {
    recipient: Recipient;
    code: number | undefined;
    protocol: string;
    sender: string;
    bad: Set<string>;
    fault: Fault | null;
  },
): void {
  const { recipient, code, protocol, sender, bad, fault } = of;
  const name = nameOf(recipient);
  if (code === 451) return;
  const delivered = world.timesAccepted(name) > 0;
  if (code === 550) return assert.ok(!delivered || opensGap(fault), `${name} delivered and bounced`);
  assert.equal(code, 250);
  if (delivered || world.timesHeld(name) > 0 || world.isDiscarded(recipient.address)) return;
  assert.equal(protocol, 'smtp', `250 for ${name}, which is nowhere`);
  assert.ok(world.refused.has(name), `250 for ${name}, which is nowhere`);
  const envelope = {
    sender,
    body: null,
    smtputf8: false,
    ret: null,
    envid: null,
    recipients: [],
    xforward: {},
  };
  const wanted = wantsDsn(envelope, recipient, bad.has(recipient.address) ? 'spam' : 'clean');
  assert.ok(!wanted || world.told.has(recipient.address), `250 for ${name}, refused, and nobody told`);
}

function assertOnce(world: World, recipient: Recipient, fault: Fault | null): void {
  const name = nameOf(recipient);
  const [accepted, held] = [world.timesAccepted(name), world.timesHeld(name)];
  // W1 is a death between the return smtpd's 250 and the note; a ledger that fails leaves the same gap.
  const gap = fault !== null && ['reinject', 'commit', 'recall'].includes(fault.name);
  assert.ok(accepted <= (gap ? 2 : 1), `${name} delivered ${accepted} times`);
  assert.ok(held <= 1, `${name} held ${held} times`);
  assert.ok(gap || accepted + held <= 1, `${name} delivered and held`);
  const events = world.events.filter((event) => event.endsWith(` ${name}`));
  assert.ok(!events.join(';').includes(`held ${name};accepted`), `${name} held, then delivered`);
}

/** W1 is a death between the return smtpd's 250 and the note; a ledger that fails leaves the same gap. */
function opensGap(fault: Fault | null): boolean {
  return fault !== null && ['reinject', 'commit', 'recall'].includes(fault.name);
}

function pointOf({ name, nth, when, how }: Fault): Point {
  let seen = 0;
  return (called, at) => {
    if (called !== name || at !== when || seen++ !== nth) return undefined;
    if (how === 'die') return 'die';
    throw how === 'temp' ? new TempFail('says the test') : new TypeError('nobody foresaw this');
  };
}

function saidTo(fate: Try, recipients: readonly Recipient[], recipient: Recipient, job: HandOff): Said {
  return isNotification(job) ? fate.dsn : (fate.answers[indexIn(recipients, recipient)] ?? 'accept');
}

function outcomeOf(said: Said, recipient: Recipient, job: HandOff): Outcome {
  if (said === 'accept') return accepts(recipient, job);
  return said === 'refuse' ? refused : tempfail;
}

function indexIn(recipients: readonly Recipient[], recipient: Recipient): number {
  return recipients.findIndex((one) => nameOf(one) === nameOf(recipient));
}

/** Only defer.test waits for a scanner, and only until its third failure. */
function waitsForScanner(report: ScanReport, now: readonly Recipient[], world: World): boolean {
  const isNew = ({ address }: Recipient) => address.endsWith('@defer.test') && !world.knows(address);
  return report.spam.kind === 'unchecked' && Math.max(0, ...world.attempts.values()) < 2 && now.some(isNew);
}

function scoreOf({ spam }: ScanReport): number {
  return spam.kind === 'scored' ? spam.score : 0;
}

function snapshot(world: World) {
  const durable = world.rows.filter((row) => row.durable).length;
  return { events: world.events.length, durable, told: world.told.size };
}
