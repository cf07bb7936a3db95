/**
 * run-command — `sluice run [all|filter|worker|bayes]`.
 *
 * `all` supervises one child process per part: the filter, a worker where there is a Redis and a scanner, and the Bayes part
 * where there is another node and this process may do it. A part runs in this very process.
 */
import { existsSync } from 'node:fs';
import type { Config } from '../rules/config.ts';
import type { QueueName } from '../workers/job.ts';
import { createLog, type Log, silentLog } from '../workers/log.ts';
import { keepHeapSmall } from '../workers/heap.ts';
import { runWorker } from '../workers/main.ts';
import { runFilter } from '../filter/main.ts';
import { becomeOwner } from '../filter/state-folder.ts';
import { mayRunBayes, wantsBayesPart } from './bayes-wanted.ts';
import type { Invocation } from './invocation.ts';
import { UsageError } from './invocation.ts';
import { supervise } from './supervisor.ts';

/** Runs until a signal ends it; resolves with the exit code. */
export async function run(invocation: Invocation): Promise<number> {
  const part = invocation.words[0] ?? 'all';
  switch (part) {
    case 'filter':
      keepHeapSmall();
      return runFilter(invocation.site());
    case 'worker':
      return work(invocation);
    case 'bayes':
      // Loaded here: the filter pays nothing for it.
      return (await import('./run-bayes.ts')).runBayes(invocation.site());
    case 'all': {
      // Read here too, so that problems are told once and not by every child.
      const { configFile, config } = invocation.site();
      const configWords = configFile === null ? [] : ['--config', configFile];
      const script = process.argv[1] ?? '';
      const log = createLog({ name: 'supervisor' });
      return supervise(partsOf(config, log), (name) => [script, 'run', name, ...configWords], log);
    }
    default:
      throw new UsageError(`run: unknown part "${part}": write all, filter, worker or bayes`);
  }
}

function partsOf(config: Config, log: Log): string[] {
  const parts = config.redis !== null && queuesOf(config).length > 0 ? ['filter', 'worker'] : ['filter'];
  if (!wantsBayesPart(config)) return parts;
  if (mayRunBayes(config)) return [...parts, 'bayes'];
  log.info({}, 'The Bayes part is not among the parts: it needs root: systemctl enable --now sluice-bayes');
  return parts;
}

/** A worker for the scanners that are named, or for all that are configured here. */
function work(invocation: Invocation): Promise<number> {
  const site = invocation.site();
  const named = invocation.options.scanners?.split(',').map((name) => name.trim());
  const stranger = named?.find((name) => name !== 'virus' && name !== 'spam');
  if (stranger !== undefined)
    throw new UsageError(`run worker: unknown scanner "${stranger}": write virus, spam or virus,spam`);
  const queues = named === undefined ? queuesOf(site.config) : queuesNamed(named);
  // Where the filter's spool is shared, only its owner may read it; a worker elsewhere has no such folder.
  if (existsSync(site.config.state)) becomeOwner(site.config.state, silentLog);
  return runWorker(site, queues);
}

function queuesNamed(names: readonly string[]): QueueName[] {
  return (['virus', 'spam'] as const).filter((queue) => names.includes(queue));
}

function queuesOf({ scan, clamd, spamd }: Config): QueueName[] {
  const here = { virus: scan.virus && clamd.length > 0, spam: scan.spam && spamd.length > 0 };
  return (['virus', 'spam'] as const).filter((queue) => here[queue]);
}
