/**
 * bayes-sample-source — the sample of this primary, for a run that is root's: read by a child process that has become the owner of
 * the state folder.
 *
 * Hides the process. Rejects with BayesFail where it fails, at the latest at the end of what it gave; whoever stops reading
 * ends it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { extname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import type { Config } from '../rules/config.ts';
import type { SampleSource } from '../workers/bayes-parity.ts';
import { failed } from '../workers/bayes-step.ts';
import type { SampleAsk } from './bayes-sample-child.ts';

// Packaged it is JavaScript.
const script = join(import.meta.dirname, `bayes-sample-child${extname(import.meta.filename)}`);

/** The sample that the configuration asks for. */
export function createSampleSource({ state, bayes, limits }: Config, signal: AbortSignal): SampleSource {
  const wish = { state, count: bayes.sample, messageBytesMax: limits.spamBytes };
  return {
    async list() {
      const listed: unknown = JSON.parse((await buffer(run({ wish, ids: null }, signal))).toString());
      return listed as Awaited<ReturnType<SampleSource['list']>>;
    },
    read: (ids) => run({ wish, ids }, signal),
  };
}

async function* run(ask: SampleAsk, signal: AbortSignal): AsyncGenerator<Buffer> {
  const child = spawn(process.execPath, [script], { cwd: '/', stdio: ['pipe', 'pipe', 'pipe'], signal });
  const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  ended.catch(() => undefined); // awaited below, or nobody waits any more
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-2000)));
  child.stdin.on('error', () => undefined); // it ended early: its exit says more
  child.stdin.end(JSON.stringify(ask));
  try {
    yield* child.stdout as AsyncIterable<Buffer>;
    const [code, killed] = await ended;
    if (code === 0) return;
    const why = said.trim().split('\n').at(-1) || `it ended with ${killed ?? code}`;
    throw failed(
      'parity',
      `Cannot read the sample of ${ask.wish.state}: ${why}`,
      'see to it, then run it again',
    );
  } finally {
    child.kill('SIGKILL');
  }
}
