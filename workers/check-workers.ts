/**
 * check-workers — who takes what waits in the queues: workers alive per scanner, their versions, scanners and spools.
 *
 * Pure: judges what the workers and filters wrote of themselves.
 */
import { type Config, formatAddress, type RedisConfig } from '../rules/config.ts';
import { type Finding, fail, ok, warn } from '../rules/finding.ts';
import { isLoopback } from '../rules/address.ts';
import { type QueueName, queueNames } from './job.ts';
import type { FilterPresence, Seen, WorkerPresence } from './presence.ts';

const daemons = { virus: 'clamd', spam: 'spamd' } as const;

/** Findings on all who are alive; `version`: of this Sluice. */
export function judgeWorkers(config: Config, { workers, filters }: Seen, version: string): Finding[] {
  const wanted = queueNames.filter((name) => config.scan[name]);
  return [
    ...wanted.flatMap((name) => judgeQueue(name, config, workers)),
    ...workers.flatMap((worker) => judgeVersion(worker, version)),
    ...judgeBytes(config, workers, filters),
  ];
}

function judgeQueue(name: QueueName, config: Config, workers: readonly WorkerPresence[]): Finding[] {
  const serving = workers.filter((worker) => worker[name] !== null);
  const well = serving.filter((worker) => worker[name]?.ok === true);
  const slots = well.reduce((sum, worker) => sum + (worker[name]?.concurrency ?? 0), 0);
  const down = serving
    .filter((worker) => worker[name]?.ok === false)
    .map((worker) => {
      const remedy = `start ${daemons[name]} there, or correct its address in the worker's sluice.yaml`;
      return warn(
        `The worker's ${daemons[name]} does not answer: ${worker[name]?.detail}`,
        placeOf(worker),
        remedy,
      );
    });
  if (well.length > 0)
    return [
      ok(`${well.length} of ${serving.length} workers scan for ${name}, ${slots} messages at once`),
      ...down,
    ];
  const what =
    serving.length === 0
      ? `No worker scans for ${name}`
      : `No worker for ${name} has a ${daemons[name]} that answers`;
  const remedy = `start one where ${daemons[name]} is: sluice run worker --scanners ${name}`;
  if (config[daemons[name]].length > 0)
    return [warn(`${what}: the filter asks its own ${daemons[name]}`, null, remedy), ...down];
  return [fail(`${what}: mail is deferred`, null, remedy), ...down];
}

function judgeVersion(worker: WorkerPresence, version: string): Finding[] {
  if (worker.version === version) return [ok(`Worker runs Sluice ${version} as we do`, placeOf(worker))];
  const what = `Worker runs Sluice ${worker.version}, this is ${version}: they may not understand each other's jobs`;
  return [warn(what, placeOf(worker), 'install the same version on all machines')];
}

/** How the octets of a message get to each worker. */
function judgeBytes(
  config: Config,
  workers: readonly WorkerPresence[],
  filters: readonly FilterPresence[],
): Finding[] {
  const { redis } = config;
  if (redis === null || workers.length === 0) return [];
  if (filters.length === 0) return [ok(`No filter is alive: ${unknownSpool(config, redis)}`)];
  const apart = workers.filter(({ spools }) => filters.some(({ id }) => !spools.includes(id)));
  if (apart.length === 0) return [ok('All workers share the spool of the filter: they read messages there')];
  const through = `through Redis up to ${sizeText(redis.messageBytesMax)}`;
  const places = apart.map(placeOf).join(', ');
  const told = ok(
    `${apart.length} of ${workers.length} workers get messages ${through}, they share no spool`,
    places,
  );
  return [told, ...judgeLarge(config, redis, apart, filters)];
}

function unknownSpool({ limits }: Config, { fetch, messageBytesMax }: RedisConfig): string {
  const unknown = 'whether workers share its spool is not known';
  if (fetch !== null || limits.messageBytes <= messageBytesMax) return unknown;
  return `${unknown}; where they do not, messages over ${sizeText(messageBytesMax)} need redis.fetch`;
}

function judgeLarge(
  config: Config,
  redis: RedisConfig,
  apart: readonly WorkerPresence[],
  filters: readonly FilterPresence[],
): Finding[] {
  const { messageBytes } = config.limits;
  if (messageBytes <= redis.messageBytesMax) return [];
  const isElsewhere = apart.some(({ host }) => filters.some((filter) => filter.host !== host));
  const larger = `Messages from ${sizeText(redis.messageBytesMax)} to ${sizeText(messageBytes)}`;
  if (redis.fetch === null) {
    const hasOwn = queueNames.every((name) => !config.scan[name] || config[daemons[name]].length > 0);
    const fate = hasOwn ? 'are scanned by the filter itself' : 'are deferred until they bounce';
    const remedy =
      'write redis.fetch (the address at which workers reach the filter), or raise redis.messageBytesMax';
    return [
      (hasOwn ? warn : fail)(
        `${larger} do not get to workers that share no spool, and ${fate}`,
        null,
        remedy,
      ),
    ];
  }
  if (isElsewhere && isLoopback(redis.fetch)) {
    const what = `${larger} can not be fetched by workers on other machines: redis.fetch is a loopback address`;
    return [fail(what, formatAddress(redis.fetch), 'write the address at which workers reach the filter')];
  }
  return [ok(`${larger} are fetched from the filter`, formatAddress(redis.fetch))];
}

function placeOf({ host, pid }: { readonly host: string; readonly pid: number }): string {
  return `${host}, process ${pid}`;
}

function sizeText(bytes: number): string {
  const [kilobytes, megabytes] = [Math.round(bytes / 1024), Math.round(bytes / 1024 ** 2)];
  return kilobytes % 1024 === 0 ? `${megabytes} MB` : `${kilobytes} KB`;
}
