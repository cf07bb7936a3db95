/**
 * spamd — a fake of SpamAssassin's daemon that speaks SPAMC/1.5 on a real socket, does its script, and remembers all.
 *
 * Without a script it answers as a spamd with rules/sluice.cf does: GTUBE hits, the rest is ham; TELL learns, once. A
 * script says for each connection in turn (the last one repeats) at which step it misbehaves, and how.
 */
import { EventEmitter, once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';

/** `head`: the request's header lines are read; `part`: some octets of the message are; `message`: all of them are. */
export type Step = 'connect' | 'head' | 'part' | 'message';

/** `say` is sent as it is (latin1); then the connection stays open, is closed, or is reset. `endless` writes it for ever. */
export type Act = { at: Step; do: 'hang' | 'close' | 'reset' | 'endless'; say?: string };

/** What one connection brought. `ended`: the client closed its direction behind the message. */
export type Conversation = {
  command: string;
  headers: Map<string, string>;
  message: Buffer;
  ended: boolean;
  closed: boolean;
};

export type FakeSpamd = {
  readonly address: { kind: 'tcp'; host: string; port: number } | { kind: 'unix'; path: string };
  readonly conversations: readonly Conversation[];
  /** Resolves the next time a connection gets to `step`. */
  next(step: Step): Promise<void>;
  /** Resolves when the client has left every connection; tells by writing, for a half-closed one looks the same. */
  untilLeft(): Promise<void>;
  stop(): Promise<void>;
};

/** Built of parts, so that no file here is spam itself. */
export const gtube = ['XJS*C4JDBQADN1.NSBN3*2IDNEN', '*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL', '*C.34X'].join(
  '',
);

/** A fake on a free port, or on the unix socket `path`. `null` in the script: answer as spamd. */
export async function startFakeSpamd(
  options: { path?: string; script?: readonly (Act | null)[]; allowTell?: boolean } = {},
): Promise<FakeSpamd> {
  const conversations: Conversation[] = [];
  const sockets = new Set<Socket>();
  const events = new EventEmitter();
  const script = options.script ?? [null];
  const learned = new Set<string>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const act = script[Math.min(conversations.length, script.length - 1)] ?? null;
    const conversation = {
      command: '',
      headers: new Map(),
      message: Buffer.alloc(0),
      ended: false,
      closed: false,
    };
    conversations.push(conversation);
    sockets.add(socket);
    socket.on('error', () => undefined); // a client that resets is not the fake's failure
    socket.on('close', () => {
      sockets.delete(socket);
      conversation.closed = true;
    });
    const tell = options.allowTell === false ? null : learned;
    converse(socket, conversation, act, events, () => answerTo(conversation, tell));
  });
  if (options.path === undefined) server.listen(0, '127.0.0.1');
  else server.listen(options.path);
  await once(server, 'listening');
  return {
    address: addressOf(server),
    conversations,
    async next(step) {
      await once(events, step);
    },
    async untilLeft() {
      for (; sockets.size > 0; await setImmediate()) for (const socket of sockets) socket.write(' ');
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      if (!server.listening) return;
      server.close();
      await once(server, 'close');
    },
  };
}

/** A HEADERS reply. `fields` are the added header lines; `total` as spamd prints it; `length` false leaves Content-length out. */
export function sayScored(options: {
  tests: string | null;
  total: string;
  report?: string;
  sender?: string;
  length?: number | false;
  block?: string;
}): string {
  const fields = [
    ...(options.sender === undefined ? [] : [`X-Spam-Sluice-Sender: ${options.sender}`]),
    ...(options.tests === null ? [] : [`X-Spam-Sluice-Tests: ${options.tests}`]),
    ...(options.report === undefined ? [] : [`X-Spam-Sluice-Report: ${options.report}`]),
  ];
  const block = options.block ?? [...fields, 'Subject: x', '', ''].join('\r\n');
  const length = options.length ?? Buffer.byteLength(block, 'latin1');
  const lengthLine = length === false ? '' : `Content-length: ${length}\r\n`;
  return `SPAMD/1.1 0 EX_OK\r\n${lengthLine}Spam: ${options.total}\r\n\r\n${block}`;
}

function converse(
  socket: Socket,
  conversation: Conversation,
  act: Act | null,
  events: EventEmitter,
  answer: () => string,
): void {
  let unread = Buffer.alloc(0);
  let headRead = false;
  let done = false;
  const reach = (step: Step) => {
    events.emit(step);
    if (act?.at !== step || done) return;
    done = true;
    void perform(socket, act);
  };
  reach('connect');
  socket.on('end', () => {
    conversation.ended = true;
    if (!done) socket.end();
  });
  socket.on('data', (octets) => {
    if (done) return;
    unread = Buffer.concat([unread, octets]);
    const end = unread.indexOf('\r\n\r\n');
    if (!headRead && end === -1) return;
    if (!headRead) {
      headRead = true;
      readHead(conversation, unread.toString('latin1', 0, end));
      unread = unread.subarray(end + 4);
      reach('head');
    }
    conversation.message = unread;
    if (unread.length > 0) reach('part');
    if (done || unread.length < Number(conversation.headers.get('content-length') ?? 0)) return;
    reach('message');
    if (!done) socket.end(answer(), 'latin1');
    done = true;
  });
}

function readHead(conversation: Conversation, head: string): void {
  const [command = '', ...lines] = head.split('\r\n');
  conversation.command = command;
  for (const line of lines) {
    const [name = '', ...rest] = line.split(': ');
    conversation.headers.set(name.toLowerCase(), rest.join(': '));
  }
}

function answerTo({ command, headers, message }: Conversation, learned: Set<string> | null): string {
  if (command === 'PING SPAMC/1.5') return 'SPAMD/1.5 0 PONG\r\n';
  if (command === 'TELL SPAMC/1.5') return learned === null ? tellRefused : told(headers, message, learned);
  if (command !== 'HEADERS SPAMC/1.5') return `SPAMD/1.0 76 Bad header line: ${command}\r\n`;
  const sender = /^X-Sluice-Envelope-From: <(.*)>\r\n/.exec(message.toString('latin1'))?.[1] ?? '';
  if (!message.includes(gtube)) {
    return sayScored({
      tests: 'NO_RECEIVED=-0.001,\r\n\tNO_RELAYS=-0.001',
      total: 'False ; -0.0 / 5.0',
      sender,
    });
  }
  const report = '\r\n\t* 1000 GTUBE BODY: Generic Test for Unsolicited Bulk\r\n\t*      Email';
  return sayScored({ tests: 'GTUBE=1000', total: 'True ; 1000.0 / 5.0', report, sender });
}

const tellRefused =
  'SPAMD/1.0 69 Service Unavailable: TELL commands are not enabled, set the --allow-tell switch.\r\n';

function told(headers: Map<string, string>, message: Buffer, learned: Set<string>): string {
  const key = message.toString('latin1');
  const forget = headers.get('remove') === 'local';
  const changes = forget === learned.has(key);
  if (forget) learned.delete(key);
  else learned.add(key);
  const line = changes ? `${forget ? 'DidRemove' : 'DidSet'}: local\r\n` : '';
  return `SPAMD/1.1 0 EX_OK\r\n${line}\r\n\r\n`;
}

async function perform(socket: Socket, act: Act): Promise<void> {
  do {
    if (act.say !== undefined && !socket.write(act.say, 'latin1')) await setImmediate();
  } while (act.do === 'endless' && !socket.destroyed && (await setImmediate(true)));
  if (act.do === 'close') socket.end(() => socket.destroy());
  if (act.do === 'reset') socket.resetAndDestroy();
}

function addressOf(server: Server): FakeSpamd['address'] {
  const address = server.address();
  if (typeof address === 'string') return { kind: 'unix', path: address };
  if (address === null) throw new Error('Cannot tell the address of the fake: it does not listen');
  return { kind: 'tcp', host: address.address, port: address.port };
}
