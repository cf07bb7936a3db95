/**
 * worker-kills — workers killed by kill -9 in the middle of scans, while messages come without a pause.
 *
 * Messages go into Sluice's own LMTP listener, so that the time of each is known: it must be decided inside its deadline, by the
 * verdict that it carries, and never be put off.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { openDialog } from '../fakes/smtp-dialog.ts';
import { emptied } from './evidence.ts';
import { type Account, accountOf, hand } from './marked-mail.ts';
import type { MarkedSite } from './redis-faults.ts';
import type { TestSite } from './site.ts';

export type KillReport = Account & {
  readonly kills: number;
  /** Scans that were under way at their worker's death, and made again. */
  readonly cut: number;
  /** Replies that were no 250. */
  readonly putOff: readonly string[];
  readonly slowestMs: number;
  readonly deadlineMs: number;
};

/** limits.deadlineSeconds of a marked site. */
const deadlineSeconds = 60;
const senders = 24;

/**
 * Kills one worker after the other, so many times; a dead one is replaced before the next one dies. `first`: number of the first
 * message.
 */
export async function runKills(marked: MarkedSite, kills: number, first: number): Promise<KillReport> {
  const { site, scanners, redis } = marked;
  const askedBefore = scanners.asked.length;
  const traffic = startTraffic(site, first);
  let starting: Promise<unknown> = Promise.resolve();
  for (let kill = 0; kill < kills; kill++) {
    // In the middle of a scan, not between two; and of whatever else goes on at that instant.
    await Promise.all([starting, scanners.begun()]);
    await delay(Math.random() * 200);
    const victim = redis.workers.all()[kill % redis.workers.all().length];
    if (victim === undefined) throw new Error('No worker to kill');
    victim.kill('SIGKILL');
    await victim.stop();
    starting = redis.workers.start(victim.number);
  }
  await starting;
  const { numbers, replies } = await traffic.end();
  await emptied(site);
  const account = await accountOf(site, numbers);
  const cut = repeated(scanners.asked.slice(askedBefore));
  const putOff = replies.filter(({ reply }) => !reply.startsWith('250')).map(({ reply }) => reply);
  const slowestMs = Math.round(Math.max(...replies.map(({ ms }) => ms)));
  return { ...account, kills, cut, putOff, slowestMs, deadlineMs: deadlineSeconds * 1000 };
}

type Reply = { readonly reply: string; readonly ms: number };

/** Messages over several connections, one after the other on each, until it is told to end. */
function startTraffic(site: TestSite, first: number) {
  const numbers: number[] = [];
  const replies: Reply[] = [];
  let next = first;
  let isEnding = false;
  const send = async (): Promise<void> => {
    const dialog = await openDialog({ kind: 'tcp', host: '127.0.0.1', port: site.lmtpPort });
    await dialog.reply();
    await dialog.ask('LHLO traffic.example');
    while (!isEnding) {
      const number = next++;
      const began = performance.now();
      const reply = await hand(dialog, number);
      replies.push({ reply, ms: performance.now() - began });
      numbers.push(number);
    }
    dialog.reset();
  };
  const all = Promise.all(Array.from({ length: senders }, send));
  return {
    async end() {
      isEnding = true;
      await all;
      return { numbers, replies };
    },
  };
}

/** Scans of messages beyond the one by each scanner: they were begun again because a worker died. */
function repeated(asked: readonly number[]): number {
  const counts = Map.groupBy(asked, (number) => number);
  return [...counts.values()].reduce((sum, { length }) => sum + Math.max(0, length - 2), 0);
}
