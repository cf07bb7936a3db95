/** sluice bayes receive and send — a peer that sends or takes no more keeps neither the process nor its lock. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { spawn } from 'node:child_process';
import { packAsk } from '../../workers/bayes-wire.ts';
import { given, wordsOf } from '../workers/bayes-rig.ts';
import { doorCommand, type Node, startPair } from './carry-rig.ts';

test('bayes receive and send end when their time is over, whatever the peer does', async (t) => {
  const { primary, backup } = await startPair(t, { way: 'fetch' });
  const words = Object.fromEntries(
    Array.from({ length: 30_000 }, () => [randomBytes(12).toString('hex'), [1, 0]] as const),
  );
  await given(t, primary.site, words);
  await given(t, backup.site, wordsOf('ham'));
  writeFileSync(primary.policies, '{}\n');
  primary.configure({ role: 'primary', bayes: ['ssh: { deadlineSeconds: 10 }'] });
  backup.configure({ role: 'backup', bayes: ['ssh: { deadlineSeconds: 10 }'] });
  const answers = await Promise.all([
    endOf(t, backup, 'receive', dripping()),
    endOf(t, primary, 'send', packAsk({ name: 'snapshot', parameters: { newestSeen: 0 } })),
  ]);
  assert.deepEqual(
    answers.map(({ code }) => code),
    [69, 69],
  );
  // It was in the midst of an answer.
  assert.match(answers[1]?.said ?? '', /^sluice-answer 1\n[\s\S]{9}\{"head":\{"snapshotId":/);
});

/** The exit code of a door whose answer nobody reads. */
async function endOf(t: TestContext, node: Node, door: string, octets: AsyncIterable<Buffer>) {
  const child = spawn('/bin/sh', ['-c', doorCommand(node, door)], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  child.stdin.on('error', () => undefined);
  let said = '';
  // The beginning alone: the rest stays in the pipe.
  child.stdout.once(
    'readable',
    () => (said = (child.stdout.read(60) as Buffer | null)?.toString('latin1') ?? ''),
  );
  const exited = once(child, 'exit');
  for await (const chunk of octets) {
    if (child.exitCode !== null || child.stdin.destroyed) break;
    child.stdin.write(chunk);
  }
  const [code] = (await exited) as [number | null];
  return { code, said };
}

/** A bundle that never ends, an octet now and then. */
async function* dripping(): AsyncGenerator<Buffer> {
  const parameters = { host: 'mx1.example.com', force: false };
  const payload = async function* () {
    yield Buffer.from('sluice-bayes 1 65000\n');
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      yield Buffer.from(' ');
    }
  };
  yield* packAsk({ name: 'bundle', parameters, payload: payload() });
}
