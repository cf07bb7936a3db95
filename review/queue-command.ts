/**
 * queue-command — `sluice queue status`: what waits for workers, and who is there to take it.
 *
 * Only reads. Exit: 0 every queue has a worker whose scanner answers, 1 one has none, 69 `redis` is not set, 75 Redis can't be
 * asked.
 */
import type { Config } from '../rules/config.ts';
import { PermFail } from '../workers/fail.ts';
import type { QueueStatus } from '../workers/queue-status.ts';
import type { Invocation } from './invocation.ts';
import { localTime, table } from './table.ts';

const names = ['virus', 'spam'] as const;

/** Prints the queues, the workers and the filters that are alive. */
export async function showQueue({ options, site, print, printJson }: Invocation): Promise<number> {
  const { config } = site();
  if (config.redis === null)
    throw new PermFail('There is no queue: redis is not set in sluice.yaml, and scans run in the filter');
  const { readQueueStatus } = await import('../workers/queue-status.ts');
  const status = await readQueueStatus(config.redis);
  if (options.json === true) printJson(status);
  else print(textOf(status, config));
  return isServed(config, status) ? 0 : 1;
}

function isServed({ scan }: Config, { workers }: QueueStatus): boolean {
  return names.every((name) => !scan[name] || workers.some((worker) => worker[name]?.ok === true));
}

function textOf(status: QueueStatus, config: Config): string {
  const { workers, filters } = status;
  const unserved = names.filter(
    (name) => config.scan[name] && !workers.some((worker) => worker[name]?.ok === true),
  );
  return [
    `Redis ${status.redis}, prefix ${status.prefix}`,
    '',
    queuesOf(status),
    '',
    workers.length === 0 ? 'No worker is alive.' : workersOf(status),
    '',
    filters.length === 0 ? 'No filter is alive.' : filtersOf(status),
    ...unserved.map((name) => `\nNobody scans for ${name}: no worker for it has a scanner that answers.`),
  ].join('\n');
}

function queuesOf({ queues }: QueueStatus): string {
  const rows = names.map((name) => {
    const { waiting, active, oldestMs } = queues[name];
    return [name, String(waiting), String(active), oldestMs === null ? '-' : age(oldestMs)];
  });
  return table(['queue', 'waiting', 'active', 'oldest'], rows);
}

function workersOf({ workers, filters }: QueueStatus): string {
  const rows = workers.map((worker) => [
    worker.host,
    String(worker.pid),
    worker.version,
    ...names.map((name) => scannerText(worker[name])),
    filters.every(({ id }) => worker.spools.includes(id)) ? 'shared' : 'apart',
    localTime(worker.startedAt),
  ]);
  return table(['worker', 'process', 'version', 'virus', 'spam', 'spool', 'since'], rows);
}

/** Running and slots, and whether its scanner answers. */
function scannerText(scanner: QueueStatus['workers'][number]['virus']): string {
  if (scanner === null) return '-';
  const busy = `${scanner.running}/${scanner.concurrency}`;
  return scanner.ok ? `${busy} ok` : `${busy} DOWN: ${(scanner.detail ?? '').slice(0, 60)}`;
}

function filtersOf({ filters }: QueueStatus): string {
  const rows = filters.map(({ host, pid, version, inFlight, startedAt }) => [
    host,
    String(pid),
    version,
    String(inFlight),
    localTime(startedAt),
  ]);
  return table(['filter', 'process', 'version', 'waits for', 'since'], rows);
}

function age(ms: number): string {
  return ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`;
}
