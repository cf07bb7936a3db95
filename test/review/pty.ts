/**
 * pty — a command on a terminal of its own, by script(1) of Debian's bsdutils: what a person would see, and type.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

export type OnTerminal = {
  /** Types, as a person would: \u0003 is Ctrl-C. */
  type(text: string): void;
  /** Resolves when the screen has shown this; rejects where the command ends without. */
  shows(text: string | RegExp): Promise<void>;
  /** Its exit code and everything that was written to the terminal; where the line was erased stands `erased`. */
  end(): Promise<{ code: number | null; screen: string }>;
  readonly child: ChildProcess;
};

const eraseLine = '\r\u001b[K';
/** In the place of CR and "erase in line". */
export const erased = '⌫';

/** Starts a command line of the shell on a terminal of so many columns. */
export function startOnTerminal(
  command: string,
  { columns = 80, environment = {} }: { columns?: number; environment?: Record<string, string> } = {},
): OnTerminal {
  const child = spawn('script', ['-qec', `stty cols ${columns} rows 24 -echo; ${command}`, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, TERM: 'dumb', SHELL: '/bin/sh', ...environment },
  });
  let screen = '';
  let closed = false;
  let wake: () => void = () => undefined;
  child.stdout.on('data', (chunk: Buffer) => {
    screen += chunk.toString().replaceAll(eraseLine, erased);
    wake();
  });
  const ended = once(child, 'close').then(([code]) => {
    closed = true;
    wake();
    return code as number | null;
  });
  return {
    child,
    type: (text) => void child.stdin.write(text),
    async shows(text) {
      const isShown = () => (typeof text === 'string' ? screen.includes(text) : text.test(screen));
      while (!isShown()) {
        if (closed) throw new Error(`The terminal never showed ${String(text)}: ${JSON.stringify(screen)}`);
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
    end: async () => ({ code: await ended, screen }),
  };
}

/** For a shell: the word as it is. */
export function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
