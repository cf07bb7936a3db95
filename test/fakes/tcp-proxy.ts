/**
 * tcp-proxy — a wire that a test can spoil: octets come late, or not at all, or the connection is cut.
 *
 * While it swallows, both sides keep their connection and hear nothing: half-open, as after a firewall forgot it.
 */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export type TcpProxy = {
  readonly port: number;
  /** Octets in both directions come so much later. */
  slow(ms: number): void;
  /** Nothing that is sent from now on arrives; connections made meanwhile stay silent for ever. */
  swallow(swallows: boolean): void;
  /** Ends all connections. */
  cut(): void;
  stop(): Promise<void>;
};

/** A proxy on a free port of 127.0.0.1 to `target` there. */
export async function startTcpProxy(target: number): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  let delayMs = 0;
  let swallows = false;
  const link = (from: Socket, to: Socket): void => {
    let last = Promise.resolve();
    // A wire that lost octets is never whole again: what comes later must not arrive without them.
    let broken = swallows;
    const pass = async (chunk: Buffer, before: Promise<void>): Promise<void> => {
      if (delayMs > 0) await delay(delayMs);
      await before;
      broken ||= swallows;
      if (!broken && !to.destroyed) to.write(chunk);
    };
    from.on('data', (chunk: Buffer) => {
      last = pass(chunk, last);
    });
    from.on('error', () => undefined); // 'close' follows
    from.on('close', () => {
      sockets.delete(from);
      void last.then(() => to.destroy());
    });
    sockets.add(from);
  };
  const server = createServer((client) => {
    const upstream = connect({ host: '127.0.0.1', port: target });
    link(client, upstream);
    link(upstream, client);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('Cannot start the proxy');
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: address.port,
    slow: (ms) => void (delayMs = ms),
    swallow: (now) => void (swallows = now),
    cut,
    async stop() {
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}
