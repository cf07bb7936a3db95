/**
 * bayes-ssh — asks another node by the system's OpenSSH: one connection, one question, its answer.
 *
 * Hides ssh(1): its process, in a group of its own that is killed when time is over, and what it says when it fails. Only the pinned
 * host key and our own key count; nothing of the user's or the machine's configuration does. Never rejects: whatever goes
 * wrong is a BayesTrouble that names the step and the remedy.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import type { Writable } from 'node:stream';
import type { Config } from '../rules/config.ts';
import { formatNode, type SshNode } from '../rules/node-fields.ts';
import { judgeSsh, type SshEnd } from './bayes-ssh-end.ts';
import { sshEnv, sshWords } from './bayes-ssh-words.ts';
import { BayesFail, type BayesTrouble, failed, messageOf, outcomeOf } from './bayes-step.ts';
import { type Answer, type Ask, packAsk, OtherWire, readAnswer, TheirFail } from './bayes-wire.ts';

/** Never rejects; the payload of its answer may, while it is read, and must be read to its end or left (`leave`). */
export type Call = (ask: Ask) => Promise<Answer | BayesTrouble>;

type Ssh = Config['bayes']['ssh'];

/** What is asked to be run there: nothing of that name exists, so a key that could run anything is found out. */
const askedCommand = 'sluice-bayes-by-forced-command';

/** Beyond the time to connect: to start Sluice there, which asks sa-learn for its counts or the quarantine for what waits. */
const firstSeconds = 120;
/** For ssh(1) to end by itself once the answer is there. */
const lastMs = 5000;

/** Asks one node; each question is a connection of its own. `signal` ends what runs. */
export function createCall(node: SshNode, ssh: Ssh, signal: AbortSignal, command = askedCommand): Call {
  return (ask) =>
    outcomeOf(
      () => undefined,
      async (step) => {
        step('connect');
        requireFiles(ssh);
        const limited = { ...ssh, deadlineSeconds: secondsFor(ask, ssh) };
        return await over(start(node, limited, signal, command), ask);
      },
    );
}

/** How long a question may take: what is asked first, who it is, what waits there, whether it listens, needs no half hour. */
export function secondsFor(ask: Ask, { connectSeconds, deadlineSeconds }: Ssh): number {
  return isFirst(ask) ? Math.min(deadlineSeconds, connectSeconds + firstSeconds) : deadlineSeconds;
}

/** Nothing is carried by it, in either direction. */
function isFirst({ name, parameters, payload }: Ask): boolean {
  if (name === 'held') return !Object.hasOwn(Object(parameters), 'quarantineIds');
  return name === 'hello' || (name === 'adopt' && payload === undefined);
}

/** What came was no answer, but a text of somebody else's. */
class OtherText extends BayesFail {}

function requireFiles({ key, knownHosts }: Ssh): void {
  const isMissing = (file: string) => statSync(file, { throwIfNoEntry: false })?.isFile() !== true;
  const setup = 'see what is missing: sluice bayes setup';
  if (isMissing(key))
    throw failed('connect', `Cannot connect: there is no key at ${key} (bayes.ssh.key)`, setup);
  if (!isMissing(knownHosts)) return;
  const message = `Cannot connect: no host key is pinned: there is no ${knownHosts} (bayes.ssh.knownHosts)`;
  throw failed('connect', message, setup);
}

type Running = {
  readonly node: string;
  readonly child: ChildProcess;
  /** How it ended; never rejects. */
  readonly ended: Promise<SshEnd>;
  readonly kill: () => void;
};

function start(node: SshNode, ssh: Ssh, signal: AbortSignal, command: string): Running {
  const { host, user, port } = node;
  const words = [...sshWords(ssh), '-p', String(port), '-l', user, '--', host, command];
  // A group of its own: what is typed at a terminal reaches us, and we decide.
  const child = spawn('ssh', words, { env: sshEnv(), cwd: '/', stdio: 'pipe', detached: true });
  let stopped: SshEnd['stopped'] = null;
  const kill = () => killGroup(child);
  const stop = (why: NonNullable<SshEnd['stopped']>) => {
    stopped ??= why;
    kill();
  };
  const onAbort = () => stop('aborted');
  const timer = setTimeout(() => stop('deadline'), ssh.deadlineSeconds * 1000);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString('latin1')).slice(-4000);
  });
  const ended = new Promise<SshEnd>((resolve) => {
    const end = (code: number | null, cause: Error | null) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      resolve({ code, said, cause, stopped, seconds: ssh.deadlineSeconds });
    };
    child.once('error', (cause) => end(null, cause));
    child.once('close', (code) => end(code, null));
  });
  return { node: formatNode(node), child, ended, kill };
}

async function over(running: Running, ask: Ask): Promise<Answer> {
  const { child } = running;
  if (child.stdin === null || child.stdout === null) throw new Error('Cannot run ssh: it has no pipes');
  let isSent = false;
  const sending = send(packAsk(ask), child.stdin).then((sent) => (isSent = sent));
  // What can't be read on our side is a trouble of ours, though the other side answers that it got no end.
  let own: BayesFail | null = null;
  const sent = sending.catch((cause: unknown) => {
    own =
      cause instanceof BayesFail
        ? cause
        : failed('send', `Cannot send: ${messageOf(cause)}`, 'run it again', cause);
  });
  const explain = async (cause: unknown): Promise<BayesFail> => {
    // How it ends by itself says more than that we ended it.
    await endOf(running);
    await sent;
    return own ?? explained(running, cause, isSent);
  };
  try {
    const answer = await readAnswer(child.stdout as AsyncIterable<Buffer>, none);
    if (answer.payload !== undefined)
      return { ...answer, payload: guarded(answer.payload, running, explain) };
    await endOf(running);
    return answer;
  } catch (cause) {
    throw await explain(cause);
  }
}

/** The payload, with the connection's trouble in place of a plain "cut", and no process left behind it, read or not. */
function guarded(
  payload: AsyncIterable<Buffer>,
  running: Running,
  explain: (cause: unknown) => Promise<BayesFail>,
): AsyncIterable<Buffer> {
  const read = async function* () {
    try {
      yield* payload;
      await endOf(running);
    } catch (cause) {
      throw await explain(cause);
    } finally {
      running.kill();
    }
  };
  const inner = read();
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => inner.next(),
      async return() {
        // One that nobody began to read has no end of its own.
        running.kill();
        await inner.return();
        return { done: true, value: undefined };
      },
    }),
  };
}

/** Leaves the payload of an answer, read or not: the process behind it ends. */
export async function leave(payload: AsyncIterable<Buffer> | undefined): Promise<void> {
  await payload?.[Symbol.asyncIterator]().return?.();
}

/** Resolves with whether all was sent: where the other side leaves early, its answer says why. */
async function send(octets: AsyncIterable<Buffer>, stdin: Writable): Promise<boolean> {
  let isGone = false;
  stdin.on('error', () => (isGone = true));
  const closed = new Promise<void>((resolve) => stdin.once('close', resolve));
  void closed.then(() => (isGone = true));
  try {
    for await (const chunk of octets) {
      if (isGone) return false;
      // A pipe that breaks while it is full never drains.
      if (stdin.write(chunk)) continue;
      await Promise.race([once(stdin, 'drain'), closed]).catch(() => (isGone = true));
    }
    return true;
  } finally {
    stdin.end();
  }
}

/** The answer is whole: a connection that does not end by itself may be ended. */
async function endOf({ ended, kill }: Running): Promise<void> {
  const timer = setTimeout(kill, lastMs);
  await ended;
  clearTimeout(timer);
}

async function explained({ node, ended }: Running, cause: unknown, isSent: boolean): Promise<BayesFail> {
  if (cause instanceof TheirFail) {
    const { kind, step, message, remedy } = cause;
    return new BayesFail(
      { kind, step, message: `${node}: ${message}`, remedy: `there: ${remedy}` },
      { cause },
    );
  }
  const end = await ended;
  const trouble = judgeSsh(node, end, isSent);
  // Nobody read on behind such a text: that the other side then failed to write says nothing.
  const isText = cause instanceof OtherText || cause instanceof OtherWire;
  const isOwnDoing = isText && end.stopped === null && trouble?.step !== 'connect';
  if (trouble !== null && !isOwnDoing) return new BayesFail(trouble, { cause });
  if (cause instanceof BayesFail) {
    const { kind, step, message, remedy } = cause;
    return new BayesFail({ kind, step, message: `${node}: ${message}`, remedy }, { cause });
  }
  return failed('answer', `Cannot read the answer of ${node}: ${messageOf(cause)}`, 'run it again', cause);
}

function none(text: string): BayesFail {
  const remedy =
    'see that the key leads to the command of sluice bayes setup there, and that no shell start-up file prints';
  if (text.trim() === '') return failed('answer', 'Cannot use it: the answer is nothing', remedy);
  const message = `Cannot use it: the answer is "${text.trim()}"`;
  return new OtherText({ kind: 'failed', step: 'answer', message, remedy });
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It ended just now.
  }
}
