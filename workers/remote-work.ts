/**
 * remote-work — what a worker does with a job: check it, get the octets, ask the scanner, write the result.
 *
 * Hides that nothing in Redis is trusted, and that a worker is pure: octets in, a result out (RELIABILITY R8). A job that is
 * malformed, late or taken back is dropped; octets that can't be had are `need`; a job on which workers died is not tried
 * again. Never throws: whatever happens, the next job is taken.
 */
import type { SpamResult, VirusResult } from '../rules/mail.ts';
import { openMessage, type Sources } from './bytes-read.ts';
import type { ScannerClients } from './clients.ts';
import { abortedBy } from './exchange.ts';
import { type Job, keysOf, learnAsOf, type Outcome, parseJob, type QueueName, type Result } from './job.ts';
import type { Log } from './log.ts';
import type { RedisClock } from './redis-clock.ts';
import type { LearnResult } from './spamd.ts';

export type Work = {
  /** A job as it came. `deaths`: how many workers were lost while they had it. */
  readonly take: (queue: QueueName, data: unknown, deaths: number) => Promise<void>;
  /** Nobody waits for it any more. */
  readonly cancel: (jobId: string) => void;
  readonly running: (queue: QueueName) => number;
};

/** A message that this many workers died on is poison. */
const deathsMax = 2;
/** Where the stream is not there, its filter is dead, or will ask again. */
const resultsMax = 10_000;

type Running = { readonly queue: QueueName; readonly stop: AbortController };

/** Works with these scanners. `id`: this worker's name in results. */
export function createWork(options: {
  id: string;
  sources: Sources;
  clients: ScannerClients;
  spamBytes: number;
  clock: Pick<RedisClock, 'now'>;
  /** A job has its outcome. */
  onOutcome?: (queue: QueueName, outcome: Outcome, ms: number) => void;
  log: Log;
}): Work {
  const { id, sources, clock, log } = options;
  const running = new Map<string, Running>();
  const keys = keysOf(sources.prefix);

  const tell = (job: Job, outcome: Outcome): void => {
    const { jobId, spoolId, sha256, instance } = job;
    const result: Result = { jobId, spoolId, sha256, worker: id, outcome };
    const key = keys.results(instance);
    // Not waited for: BullMQ's "done" goes out behind it, on the same connection. Should only that arrive, the filter misses
    // the job and asks again.
    sources.redis
      .xadd(key, 'NOMKSTREAM', 'MAXLEN', '~', resultsMax, '*', 'result', JSON.stringify(result))
      .catch((cause: unknown) => log.warn({ err: cause, jobId }, 'Cannot write a result'));
  };
  const workOn = async (queue: QueueName, job: Job, stop: AbortSignal): Promise<void> => {
    const began = performance.now();
    const outcome = await outcomeOf(queue, job, stop, options).catch((cause: unknown): Outcome => {
      const detail = cause instanceof Error ? cause.message : String(cause);
      log.info({ jobId: job.jobId, spoolId: job.spoolId, detail }, 'Cannot get the octets of a message');
      return { kind: 'need', detail };
    });
    if (!stop.aborted) tell(job, outcome);
    options.onOutcome?.(queue, outcome, performance.now() - began);
  };

  return {
    async take(queue, data, deaths) {
      const parsed = parseJob(data);
      if (!parsed.ok)
        return log.error({ queue, problems: parsed.problems, alarm: true }, 'Dropped a foreign job');
      const job = parsed.value;
      const { jobId, spoolId, queueId } = job;
      if (queue === 'virus' && job.task !== 'scan')
        return log.error({ queue, jobId, task: job.task, alarm: true }, 'Dropped a job of another queue');
      const leftMs = job.deadline - clock.now();
      if (leftMs <= 0) return log.debug({ queue, jobId, spoolId }, 'Dropped a job that came too late');
      if (deaths > deathsMax) {
        log.error(
          { queue, spoolId, queueId, deaths, alarm: true },
          'Workers die on a message: not tried again',
        );
        const detail = `${deaths} workers were lost on this message`;
        return tell(job, { kind: 'unchecked', reason: 'poison', detail });
      }
      const stop = new AbortController();
      const timer = setTimeout(() => stop.abort(new DOMException('Deadline', 'TimeoutError')), leftMs);
      running.set(jobId, { queue, stop });
      try {
        await workOn(queue, job, stop.signal);
      } catch (cause) {
        log.error({ err: cause, jobId, spoolId, alarm: true }, 'Cannot work on a job');
      } finally {
        clearTimeout(timer);
        running.delete(jobId);
      }
    },
    cancel: (jobId) => running.get(jobId)?.stop.abort(new DOMException('Taken back', 'AbortError')),
    running: (queue) => [...running.values()].filter((one) => one.queue === queue).length,
  };
}

/** What the scanner says. Rejects where the octets can't be had. */
async function outcomeOf(
  queue: QueueName,
  job: Job,
  stop: AbortSignal,
  { sources, clients, spamBytes }: { sources: Sources; clients: ScannerClients; spamBytes: number },
): Promise<VirusResult | SpamResult | LearnResult> {
  const { clamd, spamd } = clients;
  const { sizeBytes, task, sender } = job;
  const take = queue === 'virus' ? sizeBytes : Math.min(sizeBytes, spamBytes);
  const message = await openMessage(job, take, sources, stop);
  if (stop.aborted) return abortedBy(stop);
  if (queue === 'virus') return clamd?.scan(message, stop) ?? notHere;
  const learnAs = learnAsOf(task);
  if (learnAs === null) return spamd?.scan(message, { sender }, stop) ?? notHere;
  return spamd?.tell(() => message.read(), take, learnAs, stop) ?? notHere;
}

const notHere = {
  kind: 'unchecked',
  reason: 'unreachable',
  detail: 'This worker has no such scanner',
} as const;
