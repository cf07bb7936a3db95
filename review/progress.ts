/**
 * progress — what a long run is doing, on a terminal only: one line that is written over again and again.
 *
 * Drawn by a clock, so that what is over at once never flickers; a line of text that is printed takes it away first.
 */
import { cut } from './fill.ts';
import { printable } from './table.ts';

/** Where it is shown: standard error, where that is a terminal. */
export type StatusStream = {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
};

/** One line at the bottom of a terminal; gone when disposed of. */
export type StatusLine = Disposable & {
  /** What is being done from now on, '' for nothing; drawn within a moment. */
  say(text: string): void;
  /** The same, drawn at once: for work that keeps the process from everything else. */
  sayNow(text: string): void;
  /** Takes the line away, so that other text can be written; it comes again while the same is going on. */
  clear(): void;
};

const redrawMs = 200;
const eraseLine = '\r\u001b[K';

/** A status line on `stream`; silent where that is no terminal. */
export function createStatusLine(stream: StatusStream): StatusLine {
  if (stream.isTTY !== true) return silentStatusLine();
  let text = '';
  let drawn = '';
  const clear = (): void => {
    if (drawn !== '') stream.write(eraseLine);
    drawn = '';
  };
  const draw = (): void => {
    if (text === drawn) return;
    if (text === '') return clear();
    stream.write(`${eraseLine}${cut(printable(`… ${text}`), (stream.columns ?? 80) - 1)}`);
    drawn = text;
  };
  const timer = setInterval(draw, redrawMs);
  timer.unref();
  return {
    say: (said) => void (text = said),
    sayNow(said) {
      text = said;
      draw();
    },
    clear,
    [Symbol.dispose]() {
      clearInterval(timer);
      text = '';
      clear();
    },
  };
}

/** One that nobody sees: for programs. */
export function silentStatusLine(): StatusLine {
  const nothing = (): void => undefined;
  return { say: nothing, sayNow: nothing, clear: nothing, [Symbol.dispose]: nothing };
}
