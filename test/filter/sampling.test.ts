/**
 * sampling — which messages the filter offers to the sample, and that neither mail nor reply ever depends on it.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openReservoir, type SampleOffer } from '../../workers/bayes-sample.ts';
import { listEntries, readEntry, sealOf } from '../../workers/bayes-shelf.ts';
import { createSpool } from '../../workers/spool.ts';
import { temporaryFolder } from '../folder.ts';
import {
  infected,
  plainMessage,
  scored,
  tempfail,
  to,
  type TryOptions,
  unchecked,
  World,
} from './pipeline-rig.ts';
import { recordingLog } from './store-rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-sampling-'));
const spool = await createSpool({ folder, log: recordingLog() });
after(async () => {
  await spool.close();
  rmSync(folder, { recursive: true, force: true });
});

const cases: readonly (readonly [string, number, TryOptions])[] = [
  ['delivered', 1, { recipients: [to('a@deliver.test')] }],
  ['delivered and flagged as spam', 1, { recipients: [to('a@flag.test')], report: scored(12) }],
  ['delivered unscored', 1, { recipients: [to('a@deliver.test')], report: unchecked() }],
  [
    'held for one, delivered to another',
    0,
    { recipients: [to('a@hold.test'), to('a@deliver.test')], report: scored(12) },
  ],
  ['held', 0, { recipients: [to('a@hold.test')], report: scored(12) }],
  ['discarded', 0, { recipients: [to('a@discard.test')], report: scored(25) }],
  ['deferred by a scanner', 0, { recipients: [to('a@defer.test')], report: unchecked() }],
  ['deferred by the return smtpd', 0, { answer: () => tempfail }],
  ['infected, held', 0, { recipients: [to('a@hold.test')], report: infected }],
  ['infected, delivered in mode observe', 0, { report: infected, effects: { observe: true } }],
  ['sent by the site itself', 0, { direction: 'outbound', protocol: 'smtp' }],
];

for (const [label, wanted, options] of cases)
  test(`filterMessage() offers ${wanted === 0 ? 'no' : 'a'} message that was ${label}`, async () => {
    const offers: SampleOffer[] = [];
    const world = new World(spool);
    const effects = { ...options.effects, sample: (offer: SampleOffer) => void offers.push(offer) };
    await world.attempt({ ...options, effects });
    assert.equal(offers.length, wanted);
    assert.deepEqual(
      offers.map(({ sender, sizeBytes }) => [sender, sizeBytes]),
      offers.map(() => ['sender@partner.example', plainMessage.length]),
    );
  });

test('filterMessage() offers a message once, not at a retry that only repeats its outcome', async () => {
  let offers = 0;
  const world = new World(spool);
  for (let turn = 0; turn < 3; turn++) await world.attempt({ effects: { sample: () => void offers++ } });
  assert.equal(offers, 1);
});

for (const [label, sizeBytes] of [
  ['in memory', 10_000],
  ['in a file of the spool, which is removed at once', 400_000],
] as const)
  test(`the sample gets all octets of a message ${label}`, async (t) => {
    const state = temporaryFolder(t);
    const reservoir = await openReservoir({
      state,
      capacity: 10,
      messageBytesMax: 500_000,
      log: recordingLog(),
    });
    const bytes = Buffer.concat([plainMessage, Buffer.alloc(sizeBytes, 'An ordinary line.\r\n')]);
    await new World(spool).attempt({ bytes, effects: { sample: reservoir.offer } });
    await reservoir.close();
    const [entry, ...others] = await listEntries(state);
    const seal = await sealOf(state);
    assert.ok(entry !== undefined && others.length === 0 && seal !== null, JSON.stringify(reservoir.counts));
    const message = await readEntry(state, seal, entry.name);
    assert.ok(typeof message === 'object' && message.bytes.equals(bytes));
    assert.equal(message.sender, 'sender@partner.example');
  });

test('a sample that can not be written changes no reply', async (t) => {
  const state = temporaryFolder(t);
  const log = recordingLog();
  const reservoir = await openReservoir({ state, capacity: 10, messageBytesMax: 500_000, log });
  rmSync(join(state, 'sample'), { recursive: true });
  writeFileSync(join(state, 'sample'), 'no folder any more');
  const world = new World(spool);
  const replies = await world.attempt({ effects: { sample: reservoir.offer } });
  await reservoir.close();
  assert.deepEqual(
    replies?.map(({ code }) => code),
    [250],
  );
  assert.deepEqual([reservoir.counts.failed, world.events], [1, ['accepted one@deliver.test']]);
  assert.deepEqual(log.lines, ['warn Cannot keep a message of the sample: mail is not affected']);
});

test('what an offer costs: hardly anything where it is not kept', async (t) => {
  const state = temporaryFolder(t);
  const random = () => 0.0001;
  const options = { state, capacity: 200, messageBytesMax: 500_000, log: recordingLog() };
  const bytes = Buffer.alloc(50_000, 'An ordinary line.\r\n');
  const read = async function* () {
    yield bytes;
  };
  const offer = { sender: 'a@b.example', sizeBytes: bytes.length, read };
  const first = await openReservoir(options);
  const keeping = process.cpuUsage();
  for (let at = 0; at < 200; at++) {
    first.offer(offer);
    await first.idle();
  }
  const kept = process.cpuUsage(keeping);
  await first.close();
  const full = await openReservoir({ ...options, random });
  const passing = process.cpuUsage();
  for (let at = 0; at < 200_000; at++) full.offer(offer);
  const passed = process.cpuUsage(passing);
  await full.close();
  assert.deepEqual([first.counts.kept, full.counts.kept], [200, 0]);
  const total = ({ user, system }: NodeJS.CpuUsage) => user + system;
  t.diagnostic(
    `kept, 50 kB: ${(total(kept) / 200).toFixed(0)} µs of CPU; not kept: ${(total(passed) / 200_000).toFixed(2)} µs`,
  );
});
