/**
 * smtp-dialog — a raw client that plays an SMTP or LMTP dialog octet by octet.
 *
 * Knows nothing of the protocol but where a reply ends; says what it is told, in the pieces it is told, remembers
 * everything that came back, and can leave in every rude way TCP has.
 */
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';

export type DialogAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

export type SmtpDialog = {
  readonly socket: Socket;
  /** Everything the server has said, latin1. */
  readonly heard: () => string;
  /** Sends octets (strings as latin1) and waits until the kernel has them. */
  send(octets: string | Uint8Array): Promise<void>;
  /** The next reply, lines joined by '\n', without the last CRLF; rejects when the server hangs up instead. */
  reply(): Promise<string>;
  /** Sends one line and returns its reply. */
  ask(line: string): Promise<string>;
  /** Sends a FIN and goes on reading. */
  half(): void;
  /** Sends a RST. */
  reset(): void;
  /** Resolves with all replies not taken yet when the server has closed. */
  rest(): Promise<string[]>;
};

/** Connects; the banner is the first reply. */
export async function openDialog(address: DialogAddress): Promise<SmtpDialog> {
  const target =
    address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
  const socket = createConnection({ ...target, noDelay: true, allowHalfOpen: true });
  let heard = '';
  let taken = 0;
  let closed = false;
  let wake: () => void = () => undefined;
  socket.on('data', (chunk: Buffer) => {
    heard += chunk.toString('latin1');
    wake();
  });
  const close = () => {
    closed = true;
    wake();
  };
  socket.on('end', close);
  socket.on('close', close);
  // A reset is an end like any other here; what was heard before it stays.
  socket.on('error', close);
  await once(socket, 'connect');

  function take(): string | null {
    const reply = /^(?:\d{3}-.*\r\n)*\d{3} .*\r\n/.exec(heard.slice(taken))?.[0];
    if (reply === undefined) return null;
    taken += reply.length;
    return reply.slice(0, -2).replaceAll('\r\n', '\n');
  }

  const dialog: SmtpDialog = {
    socket,
    heard: () => heard,
    async send(octets) {
      if (closed) return;
      await new Promise<void>((resolve) => {
        socket.write(octets instanceof Uint8Array ? octets : Buffer.from(octets, 'latin1'), () => resolve());
      });
    },
    async reply() {
      for (;;) {
        const reply = take();
        if (reply !== null) return reply;
        if (closed)
          throw new Error(`Server hung up; heard ${JSON.stringify(heard.slice(taken))} after the last reply`);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    async ask(line) {
      await dialog.send(`${line}\r\n`);
      return dialog.reply();
    },
    half: () => void socket.end(),
    reset: () => void socket.resetAndDestroy(),
    async rest() {
      const replies: string[] = [];
      for (;;) {
        const reply = take();
        if (reply !== null) replies.push(reply);
        else if (closed) break;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
      socket.destroy();
      return replies;
    },
  };
  return dialog;
}
