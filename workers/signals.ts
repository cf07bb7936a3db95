/**
 * signals — how a long-running process of Sluice is told to reload and to end.
 *
 * SIGHUP reloads. The first SIGTERM or SIGINT drains; a second one later ends at once. What is thrown outside any message
 * ends the process with 70 (EX_SOFTWARE): the supervisor restarts it, Postfix retries, nothing is lost.
 */
import type { Log } from './log.ts';

/** Ctrl-C reaches all processes of a terminal, and the supervisor passes it on besides: that is one signal, not two. */
const sameSignalMs = 1000;

/** Resolves with the exit code when the process was told to end and `drain` is done. */
export function untilSignal(reload: () => void, drain: () => Promise<void>, log: Log): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  let drainingSince: number | null = null;
  const end = (signal: NodeJS.Signals): void => {
    if (drainingSince !== null) {
      if (performance.now() - drainingSince < sameSignalMs) return;
      log.warn({ signal }, 'Told again to stop: ending at once');
      process.exit(1);
    }
    drainingSince = performance.now();
    log.info({ signal }, 'Stopping: finishing what is in flight');
    drain().then(
      () => resolve(0),
      (cause: unknown) => {
        log.error({ err: cause }, 'Cannot stop in an orderly way');
        resolve(1);
      },
    );
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  process.on('SIGHUP', reload);
  return promise;
}

/** Logs what nobody caught, then ends the process. */
export function endOnUncaught(log: Log): void {
  const end = (cause: unknown): void => {
    log.error({ err: cause, alarm: true }, 'Unexpected error outside any message: ending');
    process.exit(70);
  };
  process.on('uncaughtException', end);
  process.on('unhandledRejection', end);
}
