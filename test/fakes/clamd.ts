/**
 * clamd — a fake of ClamAV's daemon that speaks INSTREAM on a real socket, does what its script says, and remembers all.
 *
 * Without a script it answers as clamd does: EICAR is found, the rest is OK. A script says for each connection in turn
 * (the last one repeats) at which step it misbehaves, and how. It never fails by itself.
 */
import { EventEmitter, once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { eicar } from '../../demo/clamd.ts';

/** `command`: the command is read; `chunk`: some of the stream is read; `end`: the terminator is read. */
export type Step = 'connect' | 'command' | 'chunk' | 'end';

/** `say` is sent as it is; then the connection stays open, is closed, or is reset (RST). `endless` writes `say` for ever. */
export type Act = { at: Step; do: 'hang' | 'close' | 'reset' | 'endless'; say?: string | undefined };

/** What one connection brought. `chunks`: sizes of the chunks; `stream`: their octets. */
export type Conversation = { command: string; chunks: number[]; stream: Buffer; closed: boolean };

export type FakeClamd = {
  readonly address: { kind: 'tcp'; host: string; port: number } | { kind: 'unix'; path: string };
  readonly conversations: readonly Conversation[];
  /** Resolves the next time a connection gets to `step`, or is closed; for that, hung connections go on reading. */
  next(step: Step | 'closed'): Promise<void>;
  /** Says this on every connection that hangs, and closes it. */
  answer(line: string): void;
  stop(): Promise<void>;
};

/** A fake on a free port, or on the unix socket `path`. `null` in the script: answer as clamd. */
export async function startFakeClamd(
  options: { path?: string; script?: readonly (Act | null)[]; streamBytesMax?: number } = {},
): Promise<FakeClamd> {
  const conversations: Conversation[] = [];
  const sockets = new Set<Socket>();
  const events = new EventEmitter();
  const script = options.script ?? [null];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const act = script[Math.min(conversations.length, script.length - 1)] ?? null;
    const conversation = { command: '', chunks: [], stream: Buffer.alloc(0), closed: false };
    conversations.push(conversation);
    sockets.add(socket);
    socket.on('error', () => undefined); // a client that resets is not the fake's failure
    socket.on('close', () => {
      sockets.delete(socket);
      conversation.closed = true;
      events.emit('closed');
    });
    converse(socket, conversation, act, events, options.streamBytesMax ?? Number.POSITIVE_INFINITY);
  });
  if (options.path === undefined) server.listen(0, '127.0.0.1');
  else server.listen(options.path);
  await once(server, 'listening');
  return {
    address: addressOf(server),
    conversations,
    async next(step) {
      const reached = once(events, step);
      // A hung connection reads nothing, so it would not see the end either.
      if (step === 'closed') for (const socket of sockets) socket.resume();
      await reached;
    },
    answer(line) {
      for (const socket of sockets) socket.end(line, 'latin1');
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      if (!server.listening) return;
      server.close();
      await once(server, 'close');
    },
  };
}

function converse(
  socket: Socket,
  conversation: Conversation,
  act: Act | null,
  events: EventEmitter,
  streamBytesMax: number,
): void {
  let unread = Buffer.alloc(0);
  let acted = false;
  const reach = (step: Step) => {
    events.emit(step);
    if (act?.at !== step || acted) return;
    acted = true;
    socket.pause();
    void perform(socket, act);
  };
  const answer = (line: string) => {
    if (!acted) socket.end(`${line}\0`);
    acted = true;
  };
  reach('connect');
  socket.on('end', () => socket.destroy());
  socket.on('data', (octets) => {
    if (acted) return;
    unread = Buffer.concat([unread, octets]);
    if (conversation.command === '') {
      const nul = unread.indexOf(0);
      if (nul === -1) return;
      conversation.command = unread.toString('latin1', 0, nul);
      unread = unread.subarray(nul + 1);
      reach('command');
      if (conversation.command === 'zPING') answer('PONG');
      if (conversation.command === 'zVERSION') answer('ClamAV 1.4.6/27450/Tue Nov  4 08:50:35 2025');
    }
    while (!acted && unread.length >= 4 && unread.length >= 4 + unread.readUInt32BE()) {
      const length = unread.readUInt32BE();
      if (length === 0) {
        reach('end');
        answer(verdictOf(conversation.stream));
        break;
      }
      conversation.chunks.push(length);
      conversation.stream = Buffer.concat([conversation.stream, unread.subarray(4, 4 + length)]);
      unread = unread.subarray(4 + length);
      reach('chunk');
      if (conversation.stream.length > streamBytesMax) answer('INSTREAM size limit exceeded. ERROR');
    }
  });
}

async function perform(socket: Socket, act: Act): Promise<void> {
  do {
    if (act.say !== undefined && !socket.write(act.say, 'latin1')) await setImmediate();
  } while (act.do === 'endless' && !socket.destroyed && (await setImmediate(true)));
  if (act.do === 'close') socket.end(() => socket.destroy());
  // A unix socket has no RST; closed with unread octets in it, it gives the peer ECONNRESET all the same.
  if (act.do === 'reset' && socket.remoteFamily === undefined) socket.destroy();
  else if (act.do === 'reset') socket.resetAndDestroy();
}

function verdictOf(stream: Buffer): string {
  return stream.includes(eicar()) ? 'stream: Eicar-Test-Signature.UNOFFICIAL FOUND' : 'stream: OK';
}

function addressOf(server: Server): FakeClamd['address'] {
  const address = server.address();
  if (typeof address === 'string') return { kind: 'unix', path: address };
  if (address === null) throw new Error('Cannot tell the address of the fake: it does not listen');
  return { kind: 'tcp', host: address.address, port: address.port };
}
