/**
 * script-child — a few lines of JavaScript as a process of their own, that can be signalled and listened to.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';

export type ScriptChild = {
  readonly process: ChildProcess;
  /** The next line that it says. */
  line(): Promise<string>;
  /** Exit code and signal. */
  readonly ended: Promise<unknown[]>;
};

/** Runs `script` (a module; `say(text)` prints a line) and waits until it has said `up`. Killed when the test ends. */
export async function startScript(t: TestContext, script: string): Promise<ScriptChild> {
  const text = `import { writeSync } from 'node:fs'; const say = (line) => writeSync(1, line + '\\n');\n${script}`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', text], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  t.after(() => child.kill('SIGKILL'));
  const ended = once(child, 'exit');
  if (child.stdout === null) throw new Error('no pipe');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async (): Promise<string> => {
    const next = await lines.next();
    if (next.done === true) throw new Error('it ended without another line');
    return next.value;
  };
  for (let said = await line(); said !== 'up'; ) said = await line();
  return { process: child, line, ended };
}
