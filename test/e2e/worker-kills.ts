/**
 * worker-kills — workers killed by kill -9 in the middle of scans, while messages come without a pause.
 *
 * Messages go into Sluice's own LMTP listener, so that the time of each is known: it must be decided inside its deadline, by the
 * verdict that it carries, and never be put off.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { openDialog } from '../fakes/smtp-dialog.ts';
import { type Account, accountOf, hand } from './marked-mail.ts';
import { startMarkedSite } from './redis-faults.ts';
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

const deadlineSeconds = 60;
const senders = 24;

/** Kills one of three workers so many times, `everyMs` apart; the dead one is replaced when the next one dies. */
export async function runKills(kills: number, everyMs: number): Promise<KillReport> {
  const marked = await startMarkedSite(() => 100 + Math.random() * 200, {
    workers: 3,
    config: `limits: { deadlineSeconds: ${deadlineSeconds} }`,
  });
  const { site, scanners, redis } = marked;
  try {
    const traffic = startTraffic(site);
    let starting: Promise<unknown> = Promise.resolve();
    for (let kill = 0; kill < kills; kill++) {
      await delay(everyMs);
      // In the middle of a scan, not between two.
      await Promise.all([starting, scanners.begun()]);
      const victim = redis.workers.all()[kill % 3];
      if (victim === undefined) throw new Error('No worker to kill');
      victim.kill('SIGKILL');
      await victim.stop();
      starting = redis.workers.start(victim.number);
    }
    await starting;
    const { numbers, replies } = await traffic.end();
    const account = await accountOf(site, numbers);
    const putOff = replies.filter(({ reply }) => !reply.startsWith('250')).map(({ reply }) => reply);
    const slowestMs = Math.round(Math.max(...replies.map(({ ms }) => ms)));
    const cut = repeated(scanners.asked);
    return { ...account, kills, cut, putOff, slowestMs, deadlineMs: deadlineSeconds * 1000 };
  } finally {
    await marked.stop();
  }
}

type Reply = { readonly reply: string; readonly ms: number };

/** Messages over several connections, one after the other on each, until it is told to end. */
function startTraffic(site: TestSite) {
  const numbers: number[] = [];
  const replies: Reply[] = [];
  let next = 0;
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
