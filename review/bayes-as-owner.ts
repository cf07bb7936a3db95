/**
 * bayes-as-owner — asks this machine's own mail side, in a process that is the owner of the state folder.
 *
 * `sluice bayes receive`, `send` and `run bayes` are root, for sa-learn; quarantine and journal are the filter user's, and root
 * never opens them. So the question goes to `sluice bayes answer`, a child of the same program that becomes that user.
 * Never rejects: whatever goes wrong is a BayesTrouble.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { BayesFail, failed, outcomeOf } from '../workers/bayes-step.ts';
import { type Answer, type Answerers, type AskName, packAsk, readAnswer } from '../workers/bayes-wire.ts';
import type { Call } from '../workers/bayes-ssh.ts';

/** How the child is started: the script behind node, and the words for the configuration. */
export type OwnerProcess = {
  readonly script: string;
  readonly configFile: string | null;
  readonly signal: AbortSignal;
};

/** Asks the mail side of this machine. */
export function createOwnerCall({ script, configFile, signal }: OwnerProcess): Call {
  const words = [script, 'bayes', 'answer', ...(configFile === null ? [] : ['--config', configFile])];
  return (ask) =>
    outcomeOf(
      () => undefined,
      async (step) => {
        step('answer');
        const child = spawn(process.execPath, words, { stdio: 'pipe', signal, killSignal: 'SIGKILL' });
        const { said, ended } = watch(child);
        const sending = send(child, packAsk(ask));
        // Awaited below; where the child's answer comes first, that one tells of it.
        sending.catch(() => undefined);
        try {
          const answer = await readAnswer(child.stdout, () => none(said()));
          if (answer.payload !== undefined)
            return { ...answer, payload: whole(answer.payload, child, ended) };
          await sending;
          await ended;
          return answer;
        } catch (cause) {
          child.kill('SIGKILL');
          throw cause;
        }
      },
    );
}

/** The answers of the mail side as those of this process: each goes to a child. */
export function ownerAnswerers(call: Call, names: readonly AskName[]): Answerers {
  const entries = names.map((name) => [
    name,
    async (parameters: unknown, payload: AsyncIterable<Buffer>): Promise<Answer> => {
      const hasPayload = name === 'adopt' || name === 'teach';
      const outcome = await call({ name, parameters, ...(hasPayload ? { payload } : {}) });
      if ('kind' in outcome) throw new BayesFail(outcome);
      return outcome;
    },
  ]);
  return Object.fromEntries(entries) as Answerers;
}

function watch(child: ChildProcess): { said: () => string; ended: Promise<void> } {
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString('utf8')).slice(-4000);
  });
  const ended = new Promise<void>((resolve) => {
    child.once('error', () => resolve());
    child.once('close', () => resolve());
  });
  return { said: () => said, ended };
}

/** Ends where the child takes no more: its answer says why. */
async function send(child: ChildProcess, octets: AsyncIterable<Buffer>): Promise<void> {
  const { stdin } = child;
  if (stdin === null) return;
  const closed = new Promise<void>((resolve) => stdin.once('close', resolve));
  stdin.on('error', () => stdin.destroy());
  for await (const chunk of octets) {
    if (stdin.destroyed) break;
    if (!stdin.write(chunk)) await Promise.race([once(stdin, 'drain').catch(() => undefined), closed]);
  }
  stdin.end();
}

/** The payload; whoever leaves it, read or not, leaves no process behind. */
function whole(
  payload: AsyncIterable<Buffer>,
  child: ChildProcess,
  ended: Promise<void>,
): AsyncIterable<Buffer> {
  const read = async function* () {
    try {
      yield* payload;
      await ended;
    } finally {
      child.kill('SIGKILL');
    }
  };
  const inner = read();
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => inner.next(),
      async return() {
        // One that nobody began to read has no end of its own.
        child.kill('SIGKILL');
        await ended;
        await inner.return();
        return { done: true, value: undefined };
      },
    }),
  };
}

function none(said: string): BayesFail {
  const last = said.trim().split('\n').at(-1) ?? '';
  return failed(
    'answer',
    `Cannot ask the mail side of this machine: it answered nothing: ${last}`,
    'run sluice check, which looks at the state folder and its databases',
  );
}
