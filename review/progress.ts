/**
 * progress — how far a long run is, on a terminal only: one line that is written over again and again.
 */

/** Where progress is shown: standard error, where that is a terminal. */
export type ProgressStream = { readonly isTTY?: boolean; write(text: string): unknown };

export type Progress = {
  /** One more is done. */
  step(): void;
  /** Takes the line away, so that other text can be written. */
  clear(): void;
};

const redrawMs = 100;
/** Fewer are done before one could read it. */
const fewestShown = 10;

/** Progress of so many steps; silent where `stream` is no terminal. */
export function createProgress(
  total: number,
  stream: ProgressStream,
  now: () => number = Date.now,
): Progress {
  const isShown = stream.isTTY === true && total >= fewestShown;
  let done = 0;
  let drawnAt = Number.NEGATIVE_INFINITY;
  let isDrawn = false;
  return {
    step() {
      done++;
      if (!isShown || (now() - drawnAt < redrawMs && done < total)) return;
      drawnAt = now();
      isDrawn = true;
      stream.write(`\r${done} of ${total}\u001b[K`);
    },
    clear() {
      if (isDrawn) stream.write('\r\u001b[K');
      isDrawn = false;
    },
  };
}
