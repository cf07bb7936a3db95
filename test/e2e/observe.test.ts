/**
 * observe — `mode: observe` beside a real Postfix, clamd and spamd: all mail arrives, marked, and nothing is held.
 *
 * The history tells of each message what would have been done with it.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import type { HistoryRow } from '../../filter/history.ts';
import * as evidence from './evidence.ts';
import { gtube, infectedMails, mailOf } from './mails.ts';
import { startSite, type TestSite } from './site.ts';

suite('mode: observe', () => {
  let site: TestSite;

  before(async () => {
    site = await startSite({
      feedProtocol: 'lmtp',
      sink: 'smtp',
      config: 'mode: observe',
      policies: 'recipients: { drop.example: { thresholds: { discard: 20 }, virus: discard } }',
    });
  });
  after(() => site.stop());

  /** What the history says of each recipient of this message, once it says anything. */
  async function storyOf(queueId: string): Promise<string[]> {
    const [row] = await evidence.until(`history of ${queueId}`, async () => {
      const { stdout } = await site.cli('history', `id:${queueId}`, '--json');
      const rows = JSON.parse(stdout) as HistoryRow[];
      return rows.length > 0 && rows;
    });
    return (row?.outcomes ?? [])
      .map(({ recipient, outcome, disposition }) => `${recipient} ${outcome} (${disposition})`)
      .toSorted();
  }

  test('viruses are delivered, marked as infected', async () => {
    const [{ bytes: virus } = { bytes: Buffer.alloc(0) }] = infectedMails();
    const to = ['a@site.example', 'a@drop.example'];
    const queueId = await evidence.post(site, { to, bytes: virus });
    for (const one of to) {
      const { bytes } = await evidence.arrived(site, one);
      const fields = evidence.fieldsOf(bytes);
      assert.deepEqual(
        fields.flatMap(([name, value]) => (name === 'x-virus-status' ? [value] : [])),
        ['Infected (Eicar-Test-Signature.UNOFFICIAL)'],
      );
      assert.equal(evidence.marksOf(bytes)['x-virus-scanned'], undefined);
    }
    assert.deepEqual(await storyOf(queueId), [
      'a@drop.example delivered (discard)',
      'a@site.example delivered (quarantine)',
    ]);
  });

  test('spam is delivered with the headers it would have had, good mail as ever', async () => {
    const spam = mailOf({ subject: 'gtube', body: gtube });
    const queueId = await evidence.post(site, { to: ['b@site.example', 'b@drop.example'], bytes: spam });
    for (const one of ['b@site.example', 'b@drop.example']) {
      const { bytes } = await evidence.arrived(site, one);
      assert.deepEqual(evidence.marksOf(bytes)['x-spam-flag'], ['YES']);
    }
    assert.deepEqual(await storyOf(queueId), [
      'b@drop.example delivered (discard)',
      'b@site.example delivered (quarantine)',
    ]);
    const plain = mailOf({ subject: 'order' });
    await evidence.post(site, { to: ['c@site.example'], bytes: plain });
    const { bytes } = await evidence.arrived(site, 'c@site.example');
    assert.match(evidence.marksOf(bytes)['x-virus-scanned']?.join() ?? '', /^yes \(Sluice /);
  });

  test('a scanner that is away delays nothing', async () => {
    await site.clamd.stop();
    await evidence.post(site, { to: ['d@site.example'], bytes: mailOf({ subject: 'no scanner' }) });
    const { bytes } = await evidence.arrived(site, 'd@site.example');
    assert.deepEqual(evidence.marksOf(bytes)['x-virus-scanned'], ['no (unreachable)']);
  });

  test('nothing is held, and the log says what would have been and that a virus is let through', async () => {
    assert.deepEqual(await evidence.quarantineOf(site), []);
    const events = await evidence.eventsOf(site);
    assert.ok(events.some(({ mode, level }) => mode === 'observe' && level === 'warn'));
    const would = events.filter(
      ({ msg, disposition }) => msg === 'Recipient decided' && disposition !== 'deliver',
    );
    assert.equal(would.length, 5);
    assert.ok(would.every(({ outcome }) => outcome === 'delivered'));
  });
});
