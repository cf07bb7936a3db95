/**
 * interruption — Ctrl-C in a run of many steps: the step under way is finished, the next one is not begun.
 *
 * A second Ctrl-C breaks the step under way off, where it can be; a third ends the process as usual. A terminal and a
 * parent that passes signals on may both send the first one: what comes within a moment counts once.
 */

const stopping = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;
const sameMs = 300;

/** Whether and how a run is to end early; stops listening when disposed of. */
export type Interruption = Disposable & {
  /** Exit code of the signal that came (128 + its number), or null while none did. */
  readonly exitCode: () => number | null;
  /** Fires on the second one. */
  readonly breakOff: AbortSignal;
};

/** Listens for SIGINT, SIGTERM and SIGHUP; `onFirst` is told of the first one. */
export function listenForInterruption(onFirst: () => void, now: () => number = Date.now): Interruption {
  const controller = new AbortController();
  let exitCode: number | null = null;
  let firstAt = 0;
  const hear = (signal: keyof typeof stopping): void => {
    if (exitCode === null) {
      exitCode = stopping[signal];
      firstAt = now();
      onFirst();
    } else if (now() - firstAt > sameMs) {
      controller.abort(new Error(`stopped by ${signal}`));
      stopListening();
    }
  };
  const signals = Object.keys(stopping) as (keyof typeof stopping)[];
  const stopListening = (): void => {
    for (const signal of signals) process.off(signal, hear);
  };
  for (const signal of signals) process.on(signal, hear);
  return { exitCode: () => exitCode, breakOff: controller.signal, [Symbol.dispose]: stopListening };
}
