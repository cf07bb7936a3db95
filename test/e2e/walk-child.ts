/**
 * walk-child — one process that leads items through everything that can happen to held mail, until it is killed.
 *
 * walk-child STATE COUNT SMTP_PORT SPAMD_PORT. Started again it goes on with what is not done yet; it never does by
 * itself what only a human may decide (a release that nobody can confirm). Prints a line per stage.
 */
import { createReinjector } from '../../filter/reinject.ts';
import { join } from 'node:path';
import { openQuarantine, type Quarantine } from '../../filter/quarantine.ts';
import { parseQuery } from '../../filter/query.ts';
import { openAudit } from '../../review/audit.ts';
import { deleteHeld, type Desk, learn, list, release, search } from '../../review/verbs.ts';
import { silentLog } from '../../workers/log.ts';
import { createSpamd } from '../../workers/spamd.ts';
import { chunksOf } from '../filter/quarantine-rig.ts';
import { atOnce, bytesOf, fateOf, itemOf, keyOf, subjectOf } from './walk-plan.ts';

const [state = '', countText, smtpPort, spamdPort] = process.argv.slice(2);
const count = Number(countText);
const actor = { name: 'walk' };
const signal = new AbortController().signal;
const dayMs = 86_400_000;
let aheadMs = 0;

const quarantine = await openQuarantine({
  folder: join(state, 'quarantine'),
  file: join(state, 'quarantine.db'),
  log: silentLog,
  now: () => Date.now() + aheadMs,
});
const desk = await openDesk(quarantine);
await quarantine.reconcile();
say('ready');
const ids = await hold();
say('held');
await look();
say('listed');
await everyOne(decide);
say('decided');
aheadMs = 2 * dayMs;
await quarantine.expire(signal);
say('done');
process.exit(0);

async function openDesk(opened: Quarantine): Promise<Desk> {
  const tcp = (port: string | undefined) => ({ kind: 'tcp', host: '127.0.0.1', port: Number(port) }) as const;
  const reinjector = createReinjector({
    address: tcp(smtpPort),
    hostname: 'walk.example',
    connectionsMax: atOnce,
    log: silentLog,
  });
  const spamd = createSpamd({
    addresses: [tcp(spamdPort)],
    user: null,
    spamBytes: 1e6,
    concurrency: atOnce,
    timeoutMs: 30_000,
    log: silentLog,
  });
  return {
    quarantine: opened,
    audit: await openAudit({ file: join(state, 'review.db'), log: silentLog }),
    reinject: reinjector.reinject,
    learn: (...message) => spamd.tell(...message),
    marker: { scanner: 'Sluice 0', hostname: 'walk.example' },
    log: silentLog,
  };
}

/** Every item is held once, however often this process died while holding it; gives their ids. */
async function hold(): Promise<string[]> {
  const numbers = Array.from({ length: count }, (_, number) => number);
  const found = await quarantine.find(numbers.map(keyOf));
  const held = numbers.map((number) => found.get(keyOf(number))?.quarantineId);
  await everyOne(async (number) => {
    held[number] ??= await quarantine.put(itemOf(number), chunksOf(bytesOf(number)));
  });
  return held.map((id) => id ?? '');
}

/** Lists and searches, and insists on what must be found. */
async function look(): Promise<void> {
  const listed = await list(actor, desk, { all: true, limit: count + 1 });
  if (listed.length !== count) throw new Error(`${listed.length} of ${count} items are listed`);
  for (let number = 0; number < count; number += Math.ceil(count / 20)) {
    const { query } = parseQuery(`subject:"${subjectOf(number)}"`, { states: [], now: 0 });
    const [first, ...others] = await search(actor, desk, query, { all: true, limit: 9 });
    if (first?.quarantineId !== ids[number] || others.length > 0)
      throw new Error(`${subjectOf(number)} is not found, or not alone`);
  }
}

async function decide(number: number): Promise<void> {
  const id = ids[number] ?? '';
  switch (fateOf(number)) {
    case 'release':
      await release(actor, desk, id, { recipients: [], to: [], force: false, again: false, signal });
      return;
    case 'delete':
      await deleteHeld(actor, desk, id, []);
      return;
    case 'learn': {
      const { kind } = await learn(actor, desk, id, 'spam', signal);
      if (kind !== 'learned' && kind !== 'unchanged') throw new Error(`learn: ${kind}`);
      return;
    }
    case 'expire':
    case 'keep':
      return;
  }
}

/** Several at once, so that a kill meets many things half done. */
async function everyOne(act: (number: number) => Promise<void>): Promise<void> {
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < count) await act(next++);
  };
  await Promise.all(Array.from({ length: atOnce }, work));
}

function say(stage: string): void {
  process.stdout.write(`${stage}\n`);
}
