/**
 * answer-child — the other side of a question, as a forced command: answers a few of them in simple ways.
 *
 * usage: answer-child.ts. hello says what ssh asked to run; score sends its payload back; bundle refuses half way; parity takes all; sample sends
 * octets without an end.
 */
import { serveAsk } from '../../workers/bayes-wire.ts';
import { refused } from '../../workers/bayes-step.ts';

async function* endless(): AsyncGenerator<Buffer> {
  for (;;) yield Buffer.alloc(65_536, 1);
}

process.stdout.on('error', () => undefined);
process.exitCode = await serveAsk(process.stdin, process.stdout, {
  hello: async () => ({
    head: { asked: process.env.SSH_ORIGINAL_COMMAND ?? null, tty: process.stdin.isTTY },
  }),
  score: async (parameters, payload) => ({ head: parameters, payload }),
  bundle: async (_, payload) => {
    for await (const _ of payload) break;
    throw refused('order', 'Cannot take it: too old', 'send another');
  },
  parity: async (_, payload) => {
    let sizeBytes = 0;
    for await (const chunk of payload) sizeBytes += chunk.length;
    return { head: sizeBytes };
  },
  sample: async () => ({ head: null, payload: endless() }),
});
