/**
 * bayes-parity — two nodes with real spamd and databases of their own score one sample over the wire's own octets.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { parityJudgementOf } from '../../rules/bayes-parity.ts';
import {
  createFetchedParity,
  createParity,
  type ParityReport,
  type PrimaryOptions,
  sampleAnswer,
  scoreAnswer,
  type SampleSource,
} from '../../workers/bayes-parity.ts';
import { outcomeOfParity } from '../../workers/bayes-parity-note.ts';
import type { Call } from '../../workers/bayes-ssh.ts';
import { failed, outcomeOf } from '../../workers/bayes-step.ts';
import { type Answerers, packAsk, packParts, readAnswer, serveAsk } from '../../workers/bayes-wire.ts';
import {
  dumpOf,
  given,
  letterOf,
  only,
  type Site,
  snapshotOf,
  startSite,
  bayesOf,
  wordsOf,
} from './bayes-rig.ts';

const never = new AbortController().signal;
const letters = new Map([
  ['spam', letterOf(wordsOf('spam'))],
  ['ham', letterOf(wordsOf('spam', 20, 'other'))],
  ['empty', Buffer.alloc(0)],
]);
const thresholds = () => [{ name: 'spam', score: 5 }];

test('createParity(): before the sync the nodes judge otherwise, after it alike; the sample is scored here once', async (t) => {
  const [primary, backup] = await pairOf(t);
  const sample = sampleOf();
  const call = callTo({ score: scoreAnswer(backup.view, never) });
  const before = await createParity(optionsFor(primary, sample.source))(call);
  assert.ok(before.kind === 'compared', JSON.stringify(before));
  const { summary, worst, loneRules } = before.parity;
  assert.deepEqual([summary.messages, summary.probabilityDiffers, summary.notScored], [3, 1, 0]);
  assert.equal(worst[0]?.id, 'spam');
  assert.ok(
    loneRules.some(({ name, here }) => name.startsWith('BAYES_9') && here === 1),
    JSON.stringify(loneRules),
  );
  assert.match(
    outcomeOfParity(before, 'mx2', 1).warnings.join(),
    /^mx2 judges otherwise: of 3 messages 1 have another prob/,
  );
  await sync(t, backup);
  const reads = sample.reads();
  const compare = createParity(optionsFor(primary, sample.source));
  for (const after of await Promise.all([compare(call), compare(call)])) {
    assert.ok(after.kind === 'compared', JSON.stringify(after));
    assert.equal(parityJudgementOf(after.parity.summary), 'equal');
    assert.deepEqual(outcomeOfParity(after, 'mx2', 1).warnings, []);
  }
  assert.equal(sample.reads() - reads, 3, 'once here, once for each node');
});

test('createFetchedParity(): a backup that fetches compares with the scores of its primary', async (t) => {
  const [primary, backup] = await pairOf(t);
  const call = callTo({ sample: sampleAnswer(optionsFor(primary, sampleOf().source)) });
  const before = await createFetchedParity({ view: backup.view, signal: never })(call);
  assert.ok(before.kind === 'compared', JSON.stringify(before));
  assert.deepEqual([before.parity.summary.messages, before.parity.summary.probabilityDiffers], [3, 1]);
  await sync(t, backup);
  const after = await createFetchedParity({ view: backup.view, signal: never })(call);
  assert.ok(
    after.kind === 'compared' && parityJudgementOf(after.parity.summary) === 'equal',
    JSON.stringify(after),
  );
  const off = await createFetchedParity({ view: backup.view, signal: never })(
    callTo({ sample: sampleAnswer(null) }),
  );
  assert.deepEqual(off, { kind: 'off' });
  assert.deepEqual(outcomeOfParity(off, 'mx1', 1), { parity: null, warnings: [] });
});

test('parity is unknown, with the reason, where a node can not score', async (t) => {
  const [primary, backup] = await pairOf(t);
  const broken = join(backup.folder, 'broken');
  const view = { ...backup.view, siteFolder: broken };
  writeFileSync(broken, '');
  const good = optionsFor(primary, sampleOf().source);
  const there = await createParity(good)(callTo({ score: scoreAnswer(view, never) }));
  assert.match(unknownIn(there, 3), /^Cannot score with a spamd of our own: it ended with 255: /);
  const here = await createParity({ ...good, view })(callTo({ score: scoreAnswer(backup.view, never) }));
  assert.match(unknownIn(here, 3), /^Cannot score with a spamd of our own/);
  const fetched = await createFetchedParity({ view: backup.view, signal: never })(
    callTo({ sample: sampleAnswer({ ...good, view }) }),
  );
  assert.match(unknownIn(fetched, 0), /^Cannot score with a spamd of our own/);
  const { parity, warnings } = outcomeOfParity(there, 'mx2', 7);
  assert.deepEqual([parity?.at, parity?.messages, parity?.notScored], [7, 0, 3]);
  assert.match(warnings.join(), /Cannot score with a spamd of our own: .*: see what it says/);
});

test('parity is unknown where the sample is empty, breaks off, or the other node answers something else', async (t) => {
  const [primary, backup] = await pairOf(t);
  const { source } = sampleOf();
  const scoring = callTo({ score: scoreAnswer(backup.view, never) });
  const nothing = { ...source, list: async () => ({ ids: [], warnings: [] }) };
  assert.match(
    unknownIn(await createParity(optionsFor(primary, nothing))(scoring), 0),
    /the sample is empty/,
  );
  const key = { ...source, list: () => Promise.reject(failed('parity', 'Cannot use the key', 'remove it')) };
  assert.match(unknownIn(await createParity(optionsFor(primary, key))(scoring), 0), /^Cannot use the key$/);
  const cut = {
    ...source,
    read: async function* () {
      const head = JSON.stringify({ id: 'spam', sender: '' });
      yield Buffer.from(`${head.length} 500\n${head}half a message`);
    },
  };
  assert.match(unknownIn(await createParity(optionsFor(primary, cut))(scoring), 3), /it ends within a part/);
  const stranger = callTo({ score: async () => ({ head: { scores: [{ kind: 'scored', id: 'spam' }] } }) });
  assert.match(
    unknownIn(await createParity(optionsFor(primary, source))(stranger), 3),
    /it has another form/,
  );
  const policies = () => {
    throw new Error('no policies');
  };
  const without = await createParity({ ...optionsFor(primary, source), thresholds: policies })(scoring);
  assert.match(unknownIn(without, 0), /no policies/);
  const older = callTo({});
  assert.match(unknownIn(await createParity(optionsFor(primary, source))(older), 3), /Cannot answer "score"/);
});

test('a message that is gone since the sample was listed is not scored, and the others are compared', async (t) => {
  const [primary, backup] = await pairOf(t);
  await sync(t, backup);
  const { source } = sampleOf();
  const listed = {
    ...source,
    list: async () => ({ ids: [...letters.keys(), 'gone'], warnings: ['a warning'] }),
  };
  const report = await createParity(optionsFor(primary, listed))(
    callTo({ score: scoreAnswer(backup.view, never) }),
  );
  assert.ok(report.kind === 'compared', JSON.stringify(report));
  assert.deepEqual(report.parity.notScored, [
    { here: 'it is not there any more', there: 'no answer for this message', messages: 1 },
  ]);
  assert.deepEqual(outcomeOfParity(report, 'mx2', 1).warnings, ['a warning']);
});

/** Two nodes of which one has learned what is spam. */
async function pairOf(t: TestContext): Promise<[Site, Site]> {
  const [primary, backup] = [await startSite(t, 'files'), await startSite(t, 'files')];
  await given(t, primary, wordsOf('spam'));
  await given(t, backup, wordsOf('ham', 20, 'unheard'));
  return [primary, backup];
}

async function sync(t: TestContext, backup: Site): Promise<void> {
  const { folder } = await snapshotOf(t, dumpOf(wordsOf('spam')), { snapshotId: 9 });
  const outcome = await bayesOf(backup).restore(folder, { force: true });
  assert.equal(outcome.kind, 'restored', JSON.stringify(outcome));
}

function optionsFor({ view }: Site, sample: SampleSource): PrimaryOptions {
  return { view, sample, thresholds, signal: never };
}

function sampleOf(): { source: SampleSource; reads: () => number } {
  let reads = 0;
  const source: SampleSource = {
    list: async () => ({ ids: [...letters.keys()], warnings: [] }),
    read(ids) {
      reads++;
      const known = ids.flatMap((id) => {
        const bytes = letters.get(id);
        return bytes === undefined ? [] : [{ id, bytes }];
      });
      return packParts(
        known.map(({ id, bytes }) => ({
          head: { id, sender: 'a@a.example' },
          sizeBytes: bytes.length,
          bytes: only(bytes),
        })),
      );
    },
  };
  return { source, reads: () => reads };
}

/** The other node in this process: what is asked and answered goes through the octets of the wire. */
function callTo(answerers: Answerers): Call {
  return (ask) =>
    outcomeOf(
      () => undefined,
      async (step) => {
        step('answer');
        const output = new PassThrough();
        const served = serveAsk(Readable.from(packAsk(ask), { objectMode: false }), output, answerers);
        void served.then(() => output.end());
        return await readAnswer(output, (text) => failed('answer', `No answer: ${text}`, ''));
      },
    );
}

function unknownIn(report: ParityReport, messages: number): string {
  assert.ok(report.kind === 'unknown', JSON.stringify(report));
  assert.equal(report.messages, messages);
  return report.message;
}
