/**
 * load — the bench's load: so many sessions at once, each sends its next message when the last one is answered.
 *
 * A process of its own, so that its work is not mistaken for a filter's, and the same for every contestant. A session
 * is what Postfix makes of one delivery: connect, greeting, XFORWARD where it is offered, pipelined envelope, DATA, dot,
 * QUIT; with `reuse` the connection is kept for the next message, as Postfix does under load. Sessions open one after the
 * other (clamsmtpd's backlog is 5). Latency is up to the last answer. Anything but 250 ends the run: a figure of refused mail is none.
 *
 * usage: node load.ts '{"target": …}' (a LoadOrder); prints one line of JSON (a LoadResult)
 */
import { connect, type Socket } from 'node:net';
import { createMails, type Mails } from './messages.ts';

/** Where messages go: a filter, the scanners asked directly (spamd and clamd at once), or one of the two. */
export type Target =
  | { readonly kind: 'smtp' | 'lmtp'; readonly port: number }
  | { readonly kind: 'scanners'; readonly spamd: string | null; readonly clamd: string | null };

/** What to send; `seed` makes the messages unlike those of any other run. `burstPauseMs`: sessions start together, then all rest. */
export type LoadOrder = {
  readonly target: Target;
  readonly sessions: number;
  readonly messages: number;
  readonly sizeBytes: number;
  readonly seed: string;
  readonly burstPauseMs?: number;
  /** Each session keeps its connection for all its messages, as Postfix does under load (smtp_connection_cache_on_demand). */
  readonly reuse?: true;
};

/** `seconds` is without the pauses of bursts; `latenciesMs` in the order of completion. */
export type LoadResult = {
  readonly seconds: number;
  readonly latenciesMs: readonly number[];
  readonly cpuSeconds: number;
};

const models = 400;
const dot = Buffer.from('.\r\n');
const timeoutMs = 120_000;

if (import.meta.main) {
  const order = JSON.parse(process.argv[2] ?? '') as LoadOrder;
  process.stdout.write(`${JSON.stringify(await runLoad(order))}\n`);
}

async function runLoad(order: LoadOrder): Promise<LoadResult> {
  const mails = createMails({ sizeBytes: order.sizeBytes, seed: order.seed, models });
  const made = Array.from({ length: Math.min(order.messages, 500) }, (_, at) => mails(at));
  const lazily: Mails = (at) => made[at] ?? mails(at);
  const burst = order.burstPauseMs === undefined ? order.messages : order.sessions;
  const latenciesMs: number[] = [];
  const cpu = process.cpuUsage();
  let seconds = 0;
  for (let from = 0; from < order.messages; from += burst) {
    const opened = await openAll(order);
    const start = performance.now();
    await sendAll(order, from, Math.min(from + burst, order.messages), lazily, latenciesMs, opened);
    seconds += (performance.now() - start) / 1000;
    if (order.burstPauseMs !== undefined) await new Promise((done) => setTimeout(done, order.burstPauseMs));
  }
  const used = process.cpuUsage(cpu);
  return { seconds, latenciesMs, cpuSeconds: (used.user + used.system) / 1e6 };
}

async function sendAll(
  order: LoadOrder,
  from: number,
  to: number,
  mails: Mails,
  latenciesMs: number[],
  connections: readonly (Connection | null)[],
): Promise<void> {
  let next = from;
  const session = async (opened: Connection | null): Promise<void> => {
    let connection = opened;
    while (next < to) {
      const at = next++;
      const message = mails(at);
      const queueId = `${order.seed.replaceAll(/[^a-z0-9]/gi, '')}${at}`;
      const start = performance.now();
      if (order.target.kind === 'scanners') await askScanners(order.target, message);
      else {
        connection ??= await openConnection(order.target);
        await sendMessage(connection, message, queueId);
      }
      latenciesMs.push(performance.now() - start);
      if (order.reuse === true) continue;
      connection?.peer.socket.end('QUIT\r\n');
      connection = null;
    }
    connection?.peer.socket.end('QUIT\r\n');
  };
  await Promise.all(connections.map(session));
}

/** A connection for each session that keeps its own; the clock does not run yet, for clamsmtpd greets after 40 ms. */
async function openAll({ target, sessions, reuse }: LoadOrder): Promise<(Connection | null)[]> {
  const opened: (Connection | null)[] = [];
  for (let count = 0; count < sessions; count++)
    opened.push(reuse === true && target.kind !== 'scanners' ? await openConnection(target) : null);
  return opened;
}

async function askScanners(target: Target & { kind: 'scanners' }, message: Buffer): Promise<void> {
  const asked: Promise<void>[] = [];
  if (target.clamd !== null) asked.push(askClamd(target.clamd, message));
  if (target.spamd !== null) asked.push(askSpamd(target.spamd, message));
  await Promise.all(asked);
}

type Connection = { readonly peer: Peer; readonly offers: string };

async function openConnection({ kind, port }: Target & { kind: 'smtp' | 'lmtp' }): Promise<Connection> {
  const peer = openPeer(connect({ port, host: '127.0.0.1', noDelay: true }));
  await peer.expect('220');
  peer.socket.write(`${kind === 'lmtp' ? 'LHLO' : 'EHLO'} client.example\r\n`);
  return { peer, offers: await peer.expect('250') };
}

/** One transaction as Postfix's smtp(8) and lmtp(8) make it. Resolves at the answer to the dot, as Postfix counts it. */
async function sendMessage({ peer, offers }: Connection, message: Buffer, queueId: string): Promise<void> {
  const commands = [...xforwardLines(offers, queueId), ...envelopeLines(offers, message.length)];
  const pipelining = /^250[- ]PIPELINING/m.test(offers);
  if (pipelining) peer.socket.write(commands.join(''));
  for (const line of commands) {
    if (!pipelining) peer.socket.write(line);
    await peer.expect(line.startsWith('DATA') ? '354' : '250');
  }
  // In one piece: Postfix's last write holds the dot too, and a peer's delayed ACK must not count against it.
  peer.socket.write(Buffer.concat([message, dot]));
  await peer.expect('250');
}

/** One delivery over a connection of its own. */
export async function deliver(
  target: Target & { kind: 'smtp' | 'lmtp' },
  message: Buffer,
  queueId: string,
): Promise<void> {
  const connection = await openConnection(target);
  await sendMessage(connection, message, queueId);
  connection.peer.socket.end('QUIT\r\n');
}

/** The attributes that are offered, in two commands (XFORWARD_README). */
function xforwardLines(offers: string, ident: string): string[] {
  const offered = /^250[- ]XFORWARD (.*)\r$/m.exec(offers)?.[1]?.split(' ') ?? [];
  const attributes = (all: Record<string, string>) => {
    const known = Object.entries(all).filter(([name]) => offered.includes(name));
    return known.length === 0 ? [] : [`XFORWARD ${known.map((pair) => pair.join('=')).join(' ')}\r\n`];
  };
  return [
    ...attributes({ NAME: 'mx.client.example', ADDR: '192.0.2.1', PORT: '40000' }),
    ...attributes({ PROTO: 'ESMTP', HELO: 'mx.client.example', IDENT: ident, SOURCE: 'REMOTE' }),
  ];
}

function envelopeLines(offers: string, sizeBytes: number): string[] {
  const size = /^250[- ]SIZE/m.test(offers) ? ` SIZE=${sizeBytes}` : '';
  return [`MAIL FROM:<sender@example.org>${size}\r\n`, 'RCPT TO:<recipient@example.com>\r\n', 'DATA\r\n'];
}

type Peer = { readonly socket: Socket; expect(code: string): Promise<string> };

/** Replies of `socket` in turn; one that begins with another code throws. */
function openPeer(socket: Socket): Peer {
  let text = '';
  let failure: Error | null = null;
  let wake: (() => void) | null = null;
  socket.setTimeout(timeoutMs, () => socket.destroy(new Error('no answer')));
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    wake?.();
  });
  socket.on('error', (error) => (failure = error));
  socket.on('close', () => {
    failure ??= new Error('connection closed');
    wake?.();
  });
  const take = (): string | null => {
    const found = /^(?:\d{3}-.*\r\n)*\d{3} .*\r\n/.exec(text);
    if (found === null) return null;
    text = text.slice(found[0].length);
    return found[0];
  };
  return {
    socket,
    async expect(code) {
      for (let reply = take(); ; reply = take()) {
        if (reply?.startsWith(code) === true) return reply;
        if (reply !== null) throw new Error(`Cannot send: peer said "${reply.trim()}", expected ${code}`);
        if (failure !== null) throw failure;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
}

async function askClamd(path: string, message: Buffer): Promise<void> {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(message.length);
  const request = [Buffer.from('zINSTREAM\0'), length, message, Buffer.alloc(4)];
  const reply = await ask(path, Buffer.concat(request), false);
  if (reply !== 'stream: OK\0') throw new Error(`clamd said ${reply}`);
}

async function askSpamd(path: string, message: Buffer): Promise<void> {
  const head = `HEADERS SPAMC/1.5\r\nContent-length: ${message.length}\r\n\r\n`;
  const reply = await ask(path, Buffer.concat([Buffer.from(head), message]), true);
  if (!reply.startsWith('SPAMD/1.1 0 EX_OK')) throw new Error(`spamd said ${reply.slice(0, 200)}`);
}

/** Sends a request to a unix socket and gives all that comes back until the daemon closes. */
function ask(path: string, request: Buffer, halfClose: boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    let reply = '';
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no answer from ${path}`)));
    socket.on('data', (chunk: Buffer) => (reply += chunk.toString('latin1')));
    socket.on('error', reject);
    socket.on('close', () => resolve(reply));
    if (halfClose) socket.end(request);
    else socket.write(request);
  });
}
