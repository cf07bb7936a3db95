/**
 * return-smtpd — a scriptable SMTP server on a real socket, in place of the Postfix behind us.
 *
 * Never fails and always remembers everything: every command line, every transaction's envelope and message octets,
 * every liberty that the client took (`violations`). What it answers at each stage, and whether it hangs, drops, goes
 * deaf or says garbage instead, comes from `script`, which may be replaced while it runs. Lines are latin1 strings, so
 * that each octet is one character.
 */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';

export type FakeStage =
  | 'greeting'
  | 'ehlo'
  | 'xforward'
  | 'mail'
  | 'rcpt'
  | 'data'
  | 'dot'
  | 'rset'
  | 'quit'
  | 'other';

/**
 * A reply without its CRLF, or a deed: `hang` says nothing and answers nothing more; `drop` closes (after `say`);
 * `raw` sends the octets as they are; `slow` answers when the promise resolves; `deaf` answers and reads no more.
 */
export type FakeAnswer =
  | string
  | { readonly do: 'hang' }
  | { readonly do: 'drop'; readonly say?: string }
  | { readonly do: 'raw'; readonly bytes: string | Uint8Array }
  | { readonly do: 'slow'; readonly until: Promise<unknown>; readonly say: string }
  | { readonly do: 'deaf'; readonly say: string };

/** What a rule may look at: the command line, its address (between the angle brackets), and how often the stage was reached before. */
export type FakeCommand = {
  readonly line: string;
  readonly address: string;
  readonly connection: number;
  readonly nth: number;
};

/** An answer, or a function that gives one; undefined means the usual one. */
export type FakeRule = FakeAnswer | ((command: FakeCommand) => FakeAnswer | undefined);

export type FakeScript = Partial<Record<FakeStage, FakeRule>> & {
  /** A deed in the middle of the message, as soon as so many octets of it have come. */
  during?: { readonly octets: number; readonly answer: FakeAnswer };
};

export type FakeTransaction = {
  readonly connection: number;
  /** XFORWARD lines that were in force at MAIL. */
  readonly xforward: readonly string[];
  readonly mail: string;
  readonly recipients: { readonly line: string; readonly address: string; readonly reply: string }[];
  /** Octets between DATA and the dot as they came, still dot-stuffed; includes the CRLF before the dot. */
  wire: Buffer;
  /** The same without the stuffing. */
  message: Buffer;
  /** `dot`: the dot came, but no reply was given. `committed` and `refused`: by the reply at the dot. */
  state: 'open' | 'data' | 'dot' | 'committed' | 'refused' | 'reset' | 'lost';
};

export type FakeConnection = {
  /** Command lines without CRLF. */
  readonly lines: string[];
  /** Outside of messages: what each single read from the socket brought. */
  readonly reads: string[];
  open: boolean;
  readonly closed: Promise<void>;
};

export type FakeReturnSmtpd = {
  readonly address:
    | { kind: 'tcp'; host: string; port: number }
    | { kind: 'unix'; path: string; mode: null; owner: null };
  script: FakeScript;
  /** EHLO keywords, without their "250-"; `postfixKeywords` at first. */
  keywords: readonly string[];
  readonly connections: readonly FakeConnection[];
  readonly transactions: readonly FakeTransaction[];
  /** What a correct client never does: commands behind DATA, pipelining that was not offered, mail after a hang-up. */
  readonly violations: readonly string[];
  committed(): FakeTransaction[];
  /** Resolves when the stage has been reached so often in all, now or later. */
  reached(stage: FakeStage, times?: number): Promise<void>;
  /** Sends octets that nobody asked for to every open connection. */
  say(bytes: string): void;
  /** Drops every open connection, or the one with this index, and goes on listening. */
  hangUp(connection?: number): Promise<void>;
  stop(): Promise<void>;
};

/** The keywords of a Postfix return smtpd that trusts us. */
export const postfixKeywords: readonly string[] = [
  'PIPELINING',
  'SIZE 104857600',
  'ENHANCEDSTATUSCODES',
  '8BITMIME',
  'DSN',
  'SMTPUTF8',
  'XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT',
];

/** Postfix's keywords without those that begin with one of `missing`. */
export function keywordsWithout(...missing: string[]): string[] {
  return postfixKeywords.filter((keyword) => !missing.includes(keyword.split(' ')[0] ?? ''));
}

/** Starts it on a free loopback port, on `port`, or on the unix socket `path`. */
export async function startReturnSmtpd(
  options: { script?: FakeScript; keywords?: readonly string[]; path?: string; port?: number } = {},
): Promise<FakeReturnSmtpd> {
  const server = createServer();
  if (options.path === undefined) server.listen(options.port ?? 0, '127.0.0.1');
  else server.listen(options.path);
  await once(server, 'listening');
  return new ReturnSmtpd(server, options.script ?? {}, options.keywords ?? postfixKeywords);
}

class ReturnSmtpd implements FakeReturnSmtpd {
  readonly address: FakeReturnSmtpd['address'];
  script: FakeScript;
  keywords: readonly string[];
  readonly connections: FakeConnection[] = [];
  readonly transactions: FakeTransaction[] = [];
  readonly violations: string[] = [];
  readonly #server: Server;
  readonly #sockets = new Map<Socket, FakeConnection>();
  readonly #counts = new Map<FakeStage, number>();
  readonly #waiting = new Set<() => void>();

  constructor(server: Server, script: FakeScript, keywords: readonly string[]) {
    const bound = server.address();
    if (bound === null) throw new Error('Cannot start the fake return smtpd: not listening');
    this.address =
      typeof bound === 'string'
        ? { kind: 'unix', path: bound, mode: null, owner: null }
        : { kind: 'tcp', host: '127.0.0.1', port: bound.port };
    this.script = script;
    this.keywords = keywords;
    this.#server = server;
    server.on('connection', (socket) => this.#accept(socket));
  }

  committed(): FakeTransaction[] {
    return this.transactions.filter((transaction) => transaction.state === 'committed');
  }

  async reached(stage: FakeStage, times = 1): Promise<void> {
    while ((this.#counts.get(stage) ?? 0) < times) {
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  say(bytes: string): void {
    for (const socket of this.#sockets.keys()) socket.write(bytes, 'latin1');
  }

  async hangUp(connection?: number): Promise<void> {
    const dropped = this.connections.filter(({ open }, at) => open && at === (connection ?? at));
    for (const [socket, of] of this.#sockets) if (dropped.includes(of)) socket.destroy();
    await Promise.all(dropped.map(({ closed }) => closed));
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    await this.hangUp();
    await closed;
  }

  /** Counts the stage and gives its answer: the script's, or `usual`. */
  answer(stage: FakeStage, line: string, connection: number, usual: string): FakeAnswer {
    const nth = this.#counts.get(stage) ?? 0;
    this.#counts.set(stage, nth + 1);
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
    const rule = this.script[stage];
    const address = /<(.*)>/.exec(line)?.[1] ?? '';
    const given = typeof rule === 'function' ? rule({ line, address, connection, nth }) : rule;
    return given ?? usual;
  }

  #accept(socket: Socket): void {
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    const connection: FakeConnection = { lines: [], reads: [], open: true, closed };
    const session = new Session(this, socket, connection, this.connections.push(connection) - 1);
    this.#sockets.set(socket, connection);
    socket.setNoDelay(true);
    socket.on('error', () => undefined); // 'close' follows and is remembered
    socket.on('data', (chunk: Buffer) => session.take(chunk));
    socket.on('close', () => {
      this.#sockets.delete(socket);
      connection.open = false;
      session.lost();
      resolve();
    });
    session.greet();
  }
}

/** One connection: splits lines, keeps the transaction's state as Postfix does, collects the message. */
class Session {
  readonly #smtpd: ReturnSmtpd;
  readonly #socket: Socket;
  readonly #connection: FakeConnection;
  readonly #index: number;
  #unread = Buffer.alloc(0);
  #message: Buffer[] | null = null;
  #messageOctets = 0;
  #xforward: string[] = [];
  #transaction: FakeTransaction | null = null;
  #stopped = false;

  constructor(smtpd: ReturnSmtpd, socket: Socket, connection: FakeConnection, index: number) {
    this.#smtpd = smtpd;
    this.#socket = socket;
    this.#connection = connection;
    this.#index = index;
  }

  greet(): void {
    this.#reply(this.#smtpd.answer('greeting', '', this.#index, '220 fake.example ESMTP'));
  }

  lost(): void {
    this.#stopped = true;
    if (this.#transaction?.state === 'open' || this.#transaction?.state === 'data') {
      this.#collect();
      this.#end('lost');
    }
  }

  take(chunk: Buffer): void {
    if (this.#message !== null && !this.#stopped) this.#takeMessage(chunk);
    else {
      this.#connection.reads.push(chunk.toString('latin1'));
      this.#unread = Buffer.concat([this.#unread, chunk]);
    }
    this.#proceed();
  }

  #proceed(): void {
    while (!this.#stopped && this.#message === null) {
      const end = this.#unread.indexOf('\r\n');
      if (end < 0) return;
      const line = this.#unread.toString('latin1', 0, end);
      this.#unread = this.#unread.subarray(end + 2);
      this.#connection.lines.push(line);
      this.#command(line);
    }
  }

  #command(line: string): void {
    const verb = (/^[a-z]+/i.exec(line)?.[0] ?? '').toLowerCase();
    const pipelining = this.#smtpd.keywords.includes('PIPELINING');
    if (this.#unread.length > 0 && (!pipelining || verb === 'data' || verb === 'ehlo')) {
      this.#smtpd.violations.push(`octets behind ${line}`);
    }
    if (/^DATA\r\n/m.test(this.#unread.toString('latin1')))
      this.#smtpd.violations.push(`DATA behind ${line}`);
    switch (verb) {
      case 'ehlo':
        return this.#reply(this.#answer('ehlo', line, this.#ehlo()));
      case 'xforward':
        return this.#takeXforward(line);
      case 'mail':
        return this.#mail(line);
      case 'rcpt':
        return this.#recipient(line);
      case 'data':
        return this.#data(line);
      case 'rset':
        this.#end('reset');
        return this.#reply(this.#answer('rset', line, '250 2.0.0 Ok'));
      case 'quit':
        return this.#reply({ do: 'drop', say: '221 2.0.0 Bye' }, this.#answer('quit', line, ''));
      default:
        return this.#reply(this.#answer('other', line, '502 5.5.2 Error: command not recognized'));
    }
  }

  #ehlo(): string {
    const lines = ['fake.example', ...this.#smtpd.keywords];
    return lines.map((text, at) => `250${at === lines.length - 1 ? ' ' : '-'}${text}`).join('\r\n');
  }

  #takeXforward(line: string): void {
    const inTransaction = this.#transaction !== null;
    const answer = this.#answer(
      'xforward',
      line,
      inTransaction ? '503 5.5.1 Error: MAIL transaction in progress' : '250 2.0.0 Ok',
    );
    if (codeOf(answer) === 250) this.#xforward.push(line);
    this.#reply(answer);
  }

  #mail(line: string): void {
    const nested = this.#transaction !== null;
    const answer = this.#answer(
      'mail',
      line,
      nested ? '503 5.5.1 Error: nested MAIL command' : '250 2.1.0 Ok',
    );
    if (codeOf(answer) === 250) {
      this.#transaction = {
        connection: this.#index,
        xforward: this.#xforward,
        mail: line,
        recipients: [],
        wire: Buffer.alloc(0),
        message: Buffer.alloc(0),
        state: 'open',
      };
      this.#smtpd.transactions.push(this.#transaction);
    }
    this.#reply(answer);
  }

  #recipient(line: string): void {
    const usual = this.#transaction === null ? '503 5.5.1 Error: need MAIL command' : '250 2.1.5 Ok';
    const answer = this.#answer('rcpt', line, usual);
    const reply = typeof answer === 'string' ? answer : '';
    this.#transaction?.recipients.push({ line, address: /<(.*)>/.exec(line)?.[1] ?? '', reply });
    this.#reply(answer);
  }

  #data(line: string): void {
    const accepted = this.#transaction?.recipients.some(({ reply }) => reply.startsWith('25')) ?? false;
    const answer = this.#answer(
      'data',
      line,
      accepted ? '354 End data with <CR><LF>.<CR><LF>' : '554 5.5.1 Error: no valid recipients',
    );
    if (this.#transaction !== null && codeOf(answer) === 354) {
      this.#transaction.state = 'data';
      this.#message = [];
      this.#messageOctets = 0;
    }
    this.#reply(answer);
  }

  #takeMessage(chunk: Buffer): void {
    this.#message?.push(chunk);
    this.#messageOctets += chunk.length;
    const during = this.#smtpd.script.during;
    const before = this.#messageOctets - chunk.length;
    if (during !== undefined && before < during.octets && this.#messageOctets >= during.octets) {
      this.#reply(during.answer);
    }
    if (this.#stopped) return;
    const last = this.#message?.slice(-5).map((piece) => piece.subarray(-5)) ?? [];
    const tail = Buffer.concat(last).subarray(-5);
    const ended = this.#messageOctets === 3 ? '.\r\n' : '\r\n.\r\n';
    // A correct client sends nothing behind the dot before it has our reply: the end of what came is the place to look.
    if (tail.toString('latin1') === ended) this.#dot();
  }

  #dot(): void {
    const transaction = this.#collect();
    if (transaction === null) return;
    transaction.wire = transaction.wire.subarray(0, -3);
    transaction.message = unstuff(transaction.wire);
    transaction.state = 'dot';
    const answer = this.#answer('dot', '', `250 2.0.0 Ok: queued as ${queueIdOf(this.#smtpd)}`);
    const code = codeOf(answer);
    if (code !== null) this.#end(code === 250 ? 'committed' : 'refused');
    this.#reply(answer);
  }

  /** Moves the octets that came into the transaction and leaves message mode. */
  #collect(): FakeTransaction | null {
    if (this.#transaction !== null && this.#message !== null) {
      this.#transaction.wire = Buffer.concat(this.#message);
      this.#transaction.message = unstuff(this.#transaction.wire);
    }
    this.#message = null;
    return this.#transaction;
  }

  /** Ends the transaction; XFORWARD attributes go with it (mail_reset() in Postfix's smtpd.c). */
  #end(state: FakeTransaction['state']): void {
    if (this.#transaction !== null) this.#transaction.state = state;
    this.#transaction = null;
    this.#xforward = [];
  }

  #answer(stage: FakeStage, line: string, usual: string): FakeAnswer {
    return this.#smtpd.answer(stage, line, this.#index, usual);
  }

  #reply(usual: FakeAnswer, instead: FakeAnswer = ''): void {
    const answer = instead === '' ? usual : instead;
    if (typeof answer === 'string') {
      this.#socket.write(`${answer}\r\n`, 'latin1');
      return;
    }
    switch (answer.do) {
      case 'hang':
        this.#stopped = true;
        return;
      case 'drop':
        this.#stopped = true;
        if (answer.say === undefined) this.#socket.destroy();
        else this.#socket.end(`${answer.say}\r\n`, 'latin1');
        return;
      case 'raw':
        this.#socket.write(
          typeof answer.bytes === 'string' ? Buffer.from(answer.bytes, 'latin1') : answer.bytes,
        );
        return;
      case 'deaf':
        this.#socket.write(`${answer.say}\r\n`, 'latin1');
        this.#socket.pause();
        return;
      case 'slow':
        this.#stopped = true;
        void answer.until.then(() => {
          this.#stopped = false;
          this.#socket.write(`${answer.say}\r\n`, 'latin1');
          this.#proceed();
        });
        return;
      default:
        answer satisfies never;
    }
  }
}

function queueIdOf(smtpd: FakeReturnSmtpd): string {
  return `FAKE${smtpd.transactions.length}`;
}

/** The code of what is sent at once or later; null where nothing is. */
function codeOf(answer: FakeAnswer): number | null {
  const said =
    typeof answer === 'string'
      ? answer
      : 'say' in answer
        ? answer.say
        : answer.do === 'raw'
          ? answer.bytes
          : '';
  const code = Number.parseInt(Buffer.from(said ?? '').toString('latin1', 0, 3), 10);
  return Number.isNaN(code) ? null : code;
}

/** Removes one dot from each line that begins with one (RFC 5321 §4.5.2); lines end with CRLF only. */
function unstuff(wire: Buffer): Buffer {
  const octets = Buffer.allocUnsafe(wire.length);
  let size = 0;
  for (let at = 0; at < wire.length; at++) {
    const atLineStart = at === 0 || (wire[at - 1] === 0x0a && wire[at - 2] === 0x0d);
    if (atLineStart && wire[at] === 0x2e) continue;
    octets[size++] = wire[at] ?? 0;
  }
  return octets.subarray(0, size);
}
