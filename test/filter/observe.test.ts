/**
 * observe — `mode: observe` through the pipeline: everybody gets the message, log and history tell what would have been.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { ScanReport } from '../../rules/mail.ts';
import { createSpool } from '../../workers/spool.ts';
import { infected, scored, to, unchecked, World } from './pipeline-rig.ts';
import { recordingLog } from './store-rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-observe-'));
const spool = await createSpool({ folder, log: recordingLog() });
after(async () => {
  await spool.close();
  rmSync(folder, { recursive: true, force: true });
});

for (const protocol of ['lmtp', 'smtp'] as const) {
  test(`filterMessage() in mode observe hands every copy over and remembers what would have been (${protocol})`, async () => {
    const cases: readonly (readonly [ScanReport, string, string, RegExp])[] = [
      [scored(25), 'a@hold.test', 'quarantine spam', /^X-Spam-Flag: YES/],
      [scored(25), 'a@discard.test', 'discard spam', /^X-Spam-Flag: YES/],
      [infected, 'a@hold.test', 'quarantine virus', /X-Virus-Status: Infected \(Eicar-Test\)\r\n/],
      [infected, 'a@discard.test', 'discard virus', /X-Virus-Status: Infected \(Eicar-Test\)\r\n/],
      [unchecked(), 'a@defer.test', 'defer unchecked', /X-Spam-Status: unchecked \(timeout\)\r\n/],
      [scored(0), 'a@deliver.test', 'deliver clean', /^X-Virus-Scanned: yes/],
    ];
    for (const [report, address, would, marked] of cases) {
      const world = new World(spool);
      const recipients = [to(address)];
      const replies = await world.attempt({ protocol, recipients, report, effects: { observe: true } });
      assert.deepEqual(
        replies?.map(({ code }) => code),
        [250],
        would,
      );
      assert.deepEqual(world.events, [`accepted ${address}`], would);
      assert.match(world.accepted[0]?.text ?? '', marked);
      const [row] = world.rows.flatMap(({ outcomes }) => outcomes);
      assert.equal(`${row?.disposition} ${row?.verdict} ${row?.outcome}`, `${would} delivered`);
      const said = world.lines.find(({ message }) => message === 'Recipient decided')?.fields;
      assert.deepEqual([said?.['disposition'], said?.['outcome']], [would.split(' ')[0], 'delivered']);
    }
  });
}

test('filterMessage() in mode observe still repeats what an earlier try held', async () => {
  const world = new World(spool);
  await world.attempt({ recipients: [to('a@hold.test')], report: scored(25) });
  await world.attempt({ recipients: [to('a@hold.test')], report: scored(25), effects: { observe: true } });
  assert.deepEqual(world.events, ['held a@hold.test']);
});
