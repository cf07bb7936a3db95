/**
 * patience — how long a worker waits for an answer of Redis: until the job is not wanted any more, or the worker has to end.
 *
 * Its connection keeps what it is asked until Redis is back, however long that takes.
 */
import { TempFail } from './fail.ts';

export type Patience = {
  /** The answer; rejects with TempFail when the signal fires first, or at `end`. */
  readonly wait: <T>(answer: Promise<T>, signal: AbortSignal) => Promise<T>;
  /** Whoever waits now waits no longer. */
  readonly end: () => void;
};

/** Nobody waits yet. */
export function createPatience(): Patience {
  const waiting = new Set<() => void>();
  return {
    wait: <T>(answer: Promise<T>, signal: AbortSignal) =>
      new Promise<T>((resolve, reject) => {
        const forget = (): void => {
          waiting.delete(leave);
          signal.removeEventListener('abort', leave);
        };
        const leave = (): void => {
          forget();
          reject(new TempFail('Cannot wait for Redis any longer'));
        };
        waiting.add(leave);
        signal.addEventListener('abort', leave, { once: true });
        answer.then(resolve, reject).finally(forget);
        if (signal.aborted) leave();
      }),
    end(): void {
      for (const leave of waiting) leave();
    },
  };
}
