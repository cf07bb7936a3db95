/**
 * sink — the next hop behind a real Postfix: takes every message and remembers its envelope and octets.
 *
 * Says yes to everything, pipelining included (Postfix sends QUIT behind the dot). Lines are latin1 strings, so that
 * each octet is one character. For scripted answers see return-smtpd.ts.
 */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';

/** One message as it arrived; `mail` and `rcpt` are the command lines with every parameter. */
export type SunkMessage = {
  readonly xforward: readonly string[];
  readonly mail: string;
  readonly rcpt: readonly string[];
  /** Dots unstuffed; without the dot that ended it. */
  readonly bytes: Buffer;
};

export type Sink = {
  readonly port: number;
  readonly messages: readonly SunkMessage[];
  /** Resolves when so many messages have come in all. */
  received(count: number): Promise<void>;
  stop(): Promise<void>;
};

const keywords = [
  'sink.example',
  'PIPELINING',
  'SIZE 0',
  'ENHANCEDSTATUSCODES',
  '8BITMIME',
  'DSN',
  'SMTPUTF8',
  'XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT',
];

/** Starts a sink on a free loopback port. */
export async function startSink(): Promise<Sink> {
  const messages: SunkMessage[] = [];
  const waiting = new Set<() => void>();
  const sockets = new Set<Socket>();
  // Several replies to pipelined commands are several small writes: none shall wait for the ACK of the one before.
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => sockets.delete(socket));
    serve(socket, (message) => {
      messages.push(message);
      for (const wake of waiting) wake();
      waiting.clear();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('Cannot start the sink');
  return {
    port: address.port,
    messages,
    async received(count) {
      while (messages.length < count) await new Promise<void>((resolve) => waiting.add(resolve));
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

function serve(socket: Socket, onMessage: (message: SunkMessage) => void): void {
  let unread = Buffer.alloc(0);
  let chunks: Buffer[] | null = null;
  let [xforward, mail, rcpt]: [string[], string, string[]] = [[], '', []];
  const say = (line: string) => socket.write(`${line}\r\n`, 'latin1');
  const reset = () => {
    [xforward, mail, rcpt] = [[], '', []];
  };
  const command = (line: string): void => {
    const verb = line.slice(0, 4).toUpperCase();
    if (verb === 'EHLO')
      say(keywords.map((word, at) => `250${at === keywords.length - 1 ? ' ' : '-'}${word}`).join('\r\n'));
    else if (verb === 'DATA') {
      // The CRLF of DATA counts: an empty message is a dot alone.
      chunks = [Buffer.from('\r\n')];
      say('354 Go on');
    } else if (verb === 'QUIT') socket.end('221 2.0.0 Bye\r\n');
    else {
      if (verb === 'XFOR') xforward.push(line);
      if (verb === 'MAIL') mail = line;
      if (verb === 'RCPT') rcpt.push(line);
      if (verb === 'RSET') reset();
      say('250 2.0.0 Ok');
    }
  };
  const takeMessage = (): boolean => {
    // Only the end of what came before can begin the end of this: a message of 25 MB is put together once.
    const tail = Buffer.concat((chunks ?? []).slice(-5)).subarray(-4);
    const end = Buffer.concat([tail, unread]).indexOf('\r\n.\r\n');
    if (end < 0) {
      chunks?.push(unread);
      unread = Buffer.alloc(0);
      return false;
    }
    const all = Buffer.concat([...(chunks ?? []), unread]);
    const size = all.length - unread.length - tail.length + end + 2;
    onMessage({ xforward, mail, rcpt, bytes: unstuffed(all.subarray(2, size)) });
    unread = Buffer.from(all.subarray(size + 3));
    chunks = null;
    reset();
    say('250 2.0.0 Ok: sunk');
    return true;
  };
  socket.on('data', (chunk: Buffer) => {
    unread = Buffer.concat([unread, chunk]);
    for (;;) {
      if (chunks !== null) {
        if (!takeMessage()) return;
        continue;
      }
      const end = unread.indexOf('\r\n');
      if (end < 0) return;
      const line = unread.toString('latin1', 0, end);
      unread = unread.subarray(end + 2);
      command(line);
    }
  });
  say('220 sink.example ESMTP');
}

/** Without the dot in front of each line that begins with one (RFC 5321 §4.5.2); lines end with CRLF only. */
function unstuffed(wire: Buffer): Buffer {
  return Buffer.from(`\r\n${wire.toString('latin1')}`.replaceAll('\r\n.', '\r\n').slice(2), 'latin1');
}
