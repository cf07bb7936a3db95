/**
 * smtp-child — SMTP sessions from addresses of the namespace in which it runs: says lines, tells what was answered.
 *
 * Standard input: {host, atOnce, sessions: [{from, say}]}, where each text of `say` is sent with CRLF behind it and waits for
 * one reply (DATA's octets end in CRLF and a dot). Standard output: a list of replies for each session, the greeting first.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';

export type Session = { readonly from: string; readonly say: readonly string[] };
export type Sessions = {
  readonly host: string;
  readonly atOnce: number;
  readonly sessions: readonly Session[];
};

const { host, atOnce, sessions } = JSON.parse(await text(process.stdin)) as Sessions;
const replies: string[][] = [];
const waiting = [...sessions.entries()];

async function work(): Promise<void> {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const [at, session] = next;
    replies[at] = await talk(session);
  }
}

async function talk({ from, say }: Session): Promise<string[]> {
  const socket = connect({ host, port: 25, localAddress: from });
  await once(socket, 'connect');
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  const answers = [await replyFrom(lines)];
  for (const line of say) {
    socket.write(`${line}\r\n`, 'latin1');
    answers.push(await replyFrom(lines));
  }
  socket.end();
  return answers;
}

async function replyFrom(lines: AsyncIterator<string>): Promise<string> {
  const all: string[] = [];
  for (;;) {
    const { value, done } = await lines.next();
    if (done === true) return [...all, 'closed'].join('\n');
    all.push(value);
    if (!/^\d{3}-/.test(value)) return all.join('\n');
  }
}

await Promise.all(Array.from({ length: atOnce }, work));
process.stdout.write(JSON.stringify(replies));
