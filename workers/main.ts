/**
 * main — the worker process: read → connect → take jobs → drain.
 *
 * Hides the order in which things start and stop. Needs Redis and a scanner; no Postfix, no quarantine, no state folder. SIGTERM
 * takes no more jobs, finishes those that run inside their deadline, and ends with 0. Throws PermFail where it can't start.
 */
import { PermFail } from './fail.ts';
import type { QueueName } from './job.ts';
import { createLog, standardOutput } from './log.ts';
import { endOnUncaught, untilSignal } from './signals.ts';
import type { Site } from './site.ts';
import { version } from './version.ts';

/** Runs a worker process for this site, for these queues, until a signal ends it; resolves with its exit code. */
export async function runWorker(site: Site, queues: readonly QueueName[]): Promise<number> {
  const { config } = site;
  const { redis } = config;
  const log = createLog({ name: 'worker', level: config.log.level, destination: standardOutput() });
  endOnUncaught(log);
  if (redis === null) throw new PermFail('Cannot run a worker: redis is not set, and jobs come from there');
  // Loaded here, so that a site without Redis pays nothing for it.
  const { openWorker } = await import('./remote-worker.ts');
  const worker = await openWorker({ config, redis, queues, log });
  const stopped = untilSignal(() => undefined, worker.drain, log);
  log.info({ version, queues, id: worker.id }, 'Worker runs');
  return stopped;
}
