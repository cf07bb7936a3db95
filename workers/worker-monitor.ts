/**
 * worker-monitor — what a worker process tells about itself: health server and metrics.
 *
 * It only looks on: an address that can't be had, or a scanner that is down, keeps no job from being done. Ready is a worker that
 * Redis knows and that is not about to end; a scanner that is down is told there, what becomes of its jobs is the queue's business.
 */
import type { Config } from '../rules/config.ts';
import type { ScannerClients } from './clients.ts';
import { openHealth } from './health.ts';
import type { Outcome, QueueName } from './job.ts';
import type { Log } from './log.ts';
import { createRegister } from './metrics.ts';
import { scannerProbes, type ScannerState, startProbes } from './probes.ts';
import { addJobFigures, type JobSources } from './queue-metrics.ts';
import { version } from './version.ts';

export type WorkerMonitor = {
  /** A job is done. */
  readonly job: (queue: QueueName, outcome: Outcome, ms: number) => void;
  /** Not ready any more. */
  readonly stopping: () => void;
  readonly close: () => Promise<void>;
};

/** Starts looking; the health server answers when this resolves, if its address could be had. */
export async function openWorkerMonitor(
  config: Config,
  sources: JobSources & { readonly id: string; readonly clients: ScannerClients; readonly log: Log },
): Promise<WorkerMonitor> {
  const { id, clients, log, isUp, queues, running } = sources;
  const register = createRegister(version);
  const count = addJobFigures(register, sources);
  const scanners = new Map<string, ScannerState>();
  const probes = startProbes(
    scannerProbes(clients, (state) => {
      scanners.set(`${state.scanner} ${state.address}`, state);
      register.scanner(state.scanner, state.address, state.up, state.signaturesAt);
    }),
    { log },
  );
  let isStopping = false;
  const ready = async () => {
    const hindrances = [...(isStopping ? ['stopping'] : []), ...(isUp() ? [] : ['Redis is away'])];
    return {
      ready: hindrances.length === 0,
      hindrances,
      id,
      running: Object.fromEntries(queues.map((queue) => [queue, running(queue)])),
      scanners: [...scanners.values()],
    };
  };
  const { worker: address } = config.health;
  const health =
    address === null ? null : await openHealth({ address, ready, metrics: register, version, log });
  return {
    job: (queue, outcome, ms) =>
      count(queue, outcome.kind === 'unchecked' ? outcome.reason : outcome.kind, ms),
    stopping() {
      isStopping = true;
      probes.stop();
    },
    close: async () => health?.close(),
  };
}
