/**
 * smtp-sink — the last stop of an end-to-end test: an SMTP server that a real Postfix delivers to.
 *
 * Never fails unless told to, and always remembers everything: each transaction's XFORWARD, MAIL and RCPT lines as they
 * came (latin1, one character an octet) and the message's octets without dot-stuffing. Unlike return-smtpd.ts it takes
 * what a real client pipelines (QUIT right behind the dot), and it plays no tricks with time.
 */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';

export type SinkTransaction = {
  readonly xforward: readonly string[];
  readonly mail: string;
  /** RCPT lines that were accepted. */
  readonly recipients: readonly string[];
  readonly message: Buffer;
};

/** Gives a reply that differs from the usual one; `line` is '' at the dot. */
export type SinkReply = (stage: 'mail' | 'rcpt' | 'data' | 'dot', line: string) => string | undefined;

export type SmtpSink = {
  readonly port: number;
  /** Accepted transactions, in the order of their dots. */
  readonly transactions: readonly SinkTransaction[];
  /** May be replaced while it runs. */
  reply: SinkReply;
  /** Resolves when so many transactions have been accepted in all, now or later. */
  received(transactions: number): Promise<void>;
  stop(): Promise<void>;
};

const keywords = [
  'PIPELINING',
  'SIZE',
  'XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT',
  'ENHANCEDSTATUSCODES',
];
const extensions = ['8BITMIME', 'DSN', 'SMTPUTF8'];

/** Starts a sink on a free port of 127.0.0.1, or on `port`. */
export async function startSmtpSink(options: { port?: number; reply?: SinkReply } = {}): Promise<SmtpSink> {
  const sockets = new Set<Socket>();
  const waiting = new Set<() => void>();
  const transactions: SinkTransaction[] = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined); // 'close' follows.
    serve(socket, {
      reply: (stage, line) => sink.reply(stage, line),
      accept: (transaction) => {
        transactions.push(transaction);
        for (const wake of waiting) wake();
      },
    });
  });
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string')
    throw new Error('Cannot start the sink: no TCP address');
  const sink: SmtpSink = {
    port: address.port,
    transactions,
    reply: options.reply ?? (() => undefined),
    async received(count) {
      while (transactions.length < count) {
        await new Promise<void>((resolve) => waiting.add(resolve));
      }
    },
    async stop() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
  return sink;
}

type Site = { reply: SinkReply; accept(transaction: SinkTransaction): void };

/** One connection, from greeting to QUIT. */
function serve(socket: Socket, site: Site): void {
  let unread: Buffer = Buffer.alloc(0);
  let message: Buffer[] | null = null;
  let xforward: string[] = [];
  let mail = '';
  let recipients: string[] = [];
  const say = (reply: string) => void socket.write(`${reply}\r\n`, 'latin1');
  const reset = () => {
    xforward = [];
    recipients = [];
    mail = '';
  };

  function command(line: string): void {
    switch (line.slice(0, 4).toUpperCase()) {
      case 'EHLO':
        return say(
          ['sink.example', ...keywords].map((word) => `250-${word}`).join('\r\n') + extensionLines(),
        );
      case 'XFOR':
        xforward.push(line);
        return say('250 2.0.0 Ok');
      case 'MAIL': {
        const reply = site.reply('mail', line) ?? '250 2.1.0 Ok';
        if (reply.startsWith('2')) mail = line;
        return say(reply);
      }
      case 'RCPT': {
        const reply = site.reply('rcpt', line) ?? '250 2.1.5 Ok';
        if (reply.startsWith('2')) recipients.push(line);
        return say(reply);
      }
      case 'DATA': {
        const usual = recipients.length > 0 ? '354 Go on' : '554 5.5.1 Error: no valid recipients';
        const reply = site.reply('data', line) ?? usual;
        // The CRLF makes a dot in the first line look like every other one.
        if (reply.startsWith('354')) message = [Buffer.from('\r\n')];
        return say(reply);
      }
      case 'QUIT':
        return void socket.end('221 2.0.0 Bye\r\n');
      default:
        if (/^RSET/i.test(line)) reset();
        return say('250 2.0.0 Ok');
    }
  }

  function dot(stuffed: Buffer): void {
    const reply = site.reply('dot', '') ?? '250 2.0.0 Ok: queued as SINK';
    if (reply.startsWith('2')) {
      site.accept({ xforward, mail, recipients, message: unstuffed(stuffed) });
    }
    reset();
    say(reply);
  }

  /** Takes octets of the message; what follows its dot is left in `unread`. */
  function takeMessage(pieces: Buffer[], chunk: Buffer): boolean {
    const tail = pieces.at(-1)?.subarray(-4) ?? Buffer.alloc(0);
    const at = Buffer.concat([tail, chunk]).indexOf('\r\n.\r\n');
    if (at < 0) {
      // The last piece always holds the last four octets, so that a cut "CRLF dot CRLF" is found.
      if (chunk.length < 4) pieces.push(Buffer.concat([pieces.pop() ?? tail, chunk]));
      else pieces.push(chunk);
      return false;
    }
    pieces.push(chunk);
    const all = Buffer.concat(pieces);
    const end = all.length - chunk.length - tail.length + at;
    unread = all.subarray(end + 5);
    message = null;
    dot(all.subarray(2, end + 2));
    return true;
  }

  socket.on('data', (chunk: Buffer) => {
    unread = unread.length === 0 ? chunk : Buffer.concat([unread, chunk]);
    while (unread.length > 0) {
      if (message !== null) {
        const taken = unread;
        unread = Buffer.alloc(0);
        if (!takeMessage(message, taken)) return;
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

function extensionLines(): string {
  return extensions.map((word, at) => `\r\n250${at === extensions.length - 1 ? ' ' : '-'}${word}`).join('');
}

/** Without the doubled dots (RFC 5321 §4.5.2). */
function unstuffed(wire: Buffer): Buffer {
  const pieces: Buffer[] = [];
  let from = wire[0] === 0x2e ? 1 : 0;
  for (let at = wire.indexOf('\r\n.', from); at >= 0; at = wire.indexOf('\r\n.', from)) {
    pieces.push(wire.subarray(from, at + 2));
    from = at + 3;
  }
  return Buffer.concat([...pieces, wire.subarray(from)]);
}
