/**
 * bayes-lock — one Bayes run at a time for one folder of this machine.
 *
 * Hides how: each run makes itself known in the folder (instance.ts: a socket that the kernel closes however the process
 * dies, so there is no process id to be reused and no clock to be wrong), then looks for others. Of two that come at the
 * same instant at least one sees the other. Other locks fit the same type: the runs get theirs as an argument.
 */
import { randomInt } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { basename } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createInstance, deadInstances, instancePattern } from './instance.ts';
import { silentLog } from './log.ts';

/** Resolves with what gives the lock back, or with null where another run has it. */
export type BayesLock = () => Promise<(() => Promise<void>) | null>;

const triesMax = 3;

/** A lock for all runs that name the same folder, which holds nothing else; its path may have some 60 octets. */
export function createBayesLock(folder: string): BayesLock {
  return async () => {
    for (let tries = 1; ; tries++) {
      const own = await createInstance(folder, silentLog);
      const others = await othersIn(folder, basename(own.folder));
      if (others.length === 0) return () => own.close();
      await own.close();
      if (tries === triesMax) return null;
      // Two that came at once have both seen the other: they shall not come at once again.
      await delay(randomInt(20, 200));
    }
  };
}

async function othersIn(folder: string, own: string): Promise<string[]> {
  const dead = await deadInstances(folder);
  const all = (await readdir(folder)).filter((name) => instancePattern.test(name));
  return all.filter((name) => name !== own && !dead.includes(name));
}
