/**
 * gate — a policy service for smtpd(8) that keeps whoever asks waiting until a test opens it (SMTPD_POLICY_README).
 *
 * Named in a restriction list of the return smtpd it stops a hand-off at a chosen step, in the real Postfix.
 */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';

export type Gate = {
  /** For a restriction list of smtpd(8). */
  readonly restriction: string;
  /** Resolves when so many have asked since the start. */
  reached(count?: number): Promise<void>;
  /** Lets all pass who wait, and all who come later. */
  open(): void;
  stop(): Promise<void>;
};

/** A closed gate on a free loopback port. */
export async function startGate(): Promise<Gate> {
  const waiting = new Set<Socket>();
  const sockets = new Set<Socket>();
  let asked = 0;
  let isOpen = false;
  let wake = Promise.withResolvers<void>();
  const pass = (socket: Socket) => socket.write('action=DUNNO\n\n');
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => sockets.delete(socket));
    let request = '';
    socket.on('data', (chunk: Buffer) => {
      request += chunk.toString('latin1');
      if (!request.endsWith('\n\n')) return;
      request = '';
      asked++;
      if (isOpen) pass(socket);
      else waiting.add(socket);
      wake.resolve();
      wake = Promise.withResolvers<void>();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('Cannot start the gate');
  return {
    restriction: `check_policy_service inet:127.0.0.1:${address.port}`,
    async reached(count = 1) {
      while (asked < count) await wake.promise;
    },
    open() {
      isOpen = true;
      for (const socket of waiting) pass(socket);
      waiting.clear();
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
