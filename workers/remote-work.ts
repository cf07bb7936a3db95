/**
 * remote-work — what a worker does with a job: check it, get the octets, ask the scanner, write the result.
 *
 * Hides that nothing in Redis is trusted, and that a worker is pure: octets in, a result out (RELIABILITY R8). A job that is
 * malformed, late or taken back is dropped; octets that can't be had are `need`; a job that killed its workers is not tried
 * again. Never throws: whatever happens, the next job is taken.
 */
import type { SpamResult, VirusResult } from '../rules/mail.ts';
import { openMessage, type Sources } from './bytes-read.ts';
import type { ScannerClients } from './clients.ts';
import { abortedBy } from './exchange.ts';
import { type Job, keysOf, learnAsOf, type Outcome, parseJob, type QueueName, type Result } from './job.ts';
import type { Log } from './log.ts';
import { type StreamEntry, xaddNow } from './redis.ts';
import type { RedisClock } from './redis-clock.ts';
import type { Suspects } from './remote-suspects.ts';
import type { LearnResult } from './spamd.ts';

export type Work = {
  /** A job as it came. `deaths`: how many workers were lost while they had it. */
  readonly take: (queue: QueueName, data: unknown, deaths: number) => Promise<void>;
  /** Nobody waits for it any more. */
  readonly cancel: (jobId: string) => void;
  readonly running: (queue: QueueName) => number;
};

/** A message is poison that killed a worker, as it seemed, and then this many more while no other suspect was under way. */
const beginsMax = 2;
/** A job may be taken back while it is on its way to us: its id is remembered so long. */
const cancelledMs = 5_000;
/** All workers hear of all jobs that are taken back. */
const cancelledMax = 10_000;
/** The count of a suspect outlives its deadline by this much. */
const countGraceMs = 10_000;
/** Where the stream is not there, its filter is dead, or will ask again. */
const resultsMax = 10_000;
/**
 * With so few jobs under way a result goes out at once: 0.8 ms of a message's way. With more they go out together: one write
 * for each took a tenth more of the CPU time of worker, Redis and filter.
 */
const aloneMax = 4;

type Running = { readonly queue: QueueName; readonly stop: AbortController };

/** Works with these scanners. `id`: this worker's name in results. */
export function createWork(options: {
  id: string;
  sources: Sources;
  suspects: Suspects;
  clients: ScannerClients;
  spamBytes: number;
  clock: Pick<RedisClock, 'now'>;
  /** A job has its outcome. */
  onOutcome?: (queue: QueueName, outcome: Outcome, ms: number) => void;
  log: Log;
}): Work {
  const { id, sources, suspects, clock, log } = options;
  const running = new Map<string, Running>();
  const cancelled = createCancelled();
  const keys = keysOf(sources.prefix);

  const tell = (job: Job, outcome: Outcome): void => {
    const { jobId, spoolId, sha256, instance } = job;
    const result: Result = { jobId, spoolId, sha256, worker: id, outcome };
    const entry: StreamEntry = [
      keys.results(instance),
      'NOMKSTREAM',
      'MAXLEN',
      '~',
      resultsMax,
      '*',
      'result',
      JSON.stringify(result),
    ];
    const written =
      running.size <= aloneMax ? xaddNow(sources.redis, ...entry) : sources.redis.xadd(...entry);
    // Not waited for: BullMQ's "done" goes out behind it, on the same connection. Should only that arrive, the filter misses
    // the job and asks again.
    written.catch((cause: unknown) => log.warn({ err: cause, jobId }, 'Cannot write a result'));
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
  /** A worker died while it had the job. */
  const workOnSuspect = async (queue: QueueName, job: Job, stop: AbortSignal): Promise<void> => {
    const { jobId, spoolId, queueId } = job;
    const expiresMs = Math.max(1, job.deadline - clock.now()) + countGraceMs;
    try {
      await suspects.alone(job, expiresMs, stop, async (before) => {
        if (before < beginsMax) return workOn(queue, job, stop);
        const deaths = before + 1;
        log.error(
          { queue, spoolId, queueId, deaths, alarm: true },
          'Workers die on a message: not tried again',
        );
        const detail = `${deaths} workers were lost on this message`;
        tell(job, { kind: 'unchecked', reason: 'poison', detail });
      });
    } catch (cause) {
      if (stop.aborted) return;
      const detail = cause instanceof Error ? cause.message : String(cause);
      log.info({ jobId, spoolId, detail }, 'Cannot count how often a job began');
      tell(job, { kind: 'need', detail });
    }
  };

  return {
    async take(queue, data, deaths) {
      const parsed = parseJob(data);
      if (!parsed.ok)
        return log.error({ queue, problems: parsed.problems, alarm: true }, 'Dropped a foreign job');
      const job = parsed.value;
      const { jobId, spoolId } = job;
      if (queue === 'virus' && job.task !== 'scan')
        return log.error({ queue, jobId, task: job.task, alarm: true }, 'Dropped a job of another queue');
      const leftMs = job.deadline - clock.now();
      if (leftMs <= 0) return log.debug({ queue, jobId, spoolId }, 'Dropped a job that came too late');
      if (cancelled.has(jobId))
        return log.debug({ queue, jobId, spoolId }, 'Dropped a job that was taken back');
      const stop = new AbortController();
      const timer = setTimeout(() => stop.abort(new DOMException('Deadline', 'TimeoutError')), leftMs);
      running.set(jobId, { queue, stop });
      try {
        await (deaths > 0 ? workOnSuspect : workOn)(queue, job, stop.signal);
      } catch (cause) {
        log.error({ err: cause, jobId, spoolId, alarm: true }, 'Cannot work on a job');
      } finally {
        clearTimeout(timer);
        running.delete(jobId);
      }
    },
    cancel(jobId) {
      const known = running.get(jobId);
      if (known === undefined) cancelled.add(jobId);
      else known.stop.abort(new DOMException('Taken back', 'AbortError'));
    },
    running: (queue) => [...running.values()].filter((one) => one.queue === queue).length,
  };
}

/** Ids of the last few seconds, oldest first. */
function createCancelled() {
  const at = new Map<string, number>();
  const forget = (): void => {
    for (const [jobId, since] of at) {
      if (at.size <= cancelledMax && performance.now() - since < cancelledMs) return;
      at.delete(jobId);
    }
  };
  return {
    add(jobId: string): void {
      at.set(jobId, performance.now());
      forget();
    },
    has(jobId: string): boolean {
      forget();
      return at.has(jobId);
    },
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
