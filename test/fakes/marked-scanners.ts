/**
 * marked-scanners — clamd and spamd on real sockets whose verdict stands in the message: `X-Marked: NUMBER SCORE`.
 *
 * With EICAR in it, message NUMBER is infected with `Marked.NUMBER`; else its score is SCORE. So a verdict that was given to another
 * message can be seen. Each takes its time, so that there is always something under way. They never fail.
 */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { eicar } from '../../demo/clamd.ts';
import { sayScored } from './spamd.ts';

export type MarkedScanners = {
  readonly clamdPort: number;
  readonly spamdPort: number;
  /** Scans asked for since the start, finished or not, by the number of the message. */
  readonly asked: readonly number[];
  /** Resolves when the next scan has begun. */
  begun(): Promise<void>;
  stop(): Promise<void>;
};

const markPattern = /^X-Marked: (\d+) ([\d.]+)\r$/m;

/** Starts both on free ports of `host` (default 127.0.0.1); each scan takes `takesMs()`. */
export async function startMarkedScanners(
  takesMs: () => number,
  host = '127.0.0.1',
): Promise<MarkedScanners> {
  const asked: number[] = [];
  let wake = Promise.withResolvers<void>();
  const scan = async (message: Buffer): Promise<RegExpExecArray | null> => {
    const mark = markPattern.exec(message.toString('latin1', 0, 8192));
    asked.push(Number(mark?.[1] ?? -1));
    wake.resolve();
    wake = Promise.withResolvers();
    await delay(takesMs());
    return mark;
  };
  const clamd = await serve(host, clamdAnswer(scan));
  const spamd = await serve(host, spamdAnswer(scan));
  return {
    clamdPort: clamd.port,
    spamdPort: spamd.port,
    asked,
    begun: () => wake.promise,
    stop: async () => void (await Promise.all([clamd.stop(), spamd.stop()])),
  };
}

type Scan = (message: Buffer) => Promise<RegExpExecArray | null>;
/** The whole request, as far as it has come: an answer, or null where it is not complete. */
type Answer = (request: Buffer) => Promise<string> | null;

function clamdAnswer(scan: Scan): Answer {
  return (request) => {
    const nul = request.indexOf(0);
    if (nul === -1) return null;
    const command = request.toString('latin1', 0, nul);
    if (command === 'zPING') return Promise.resolve('PONG\0');
    if (command === 'zVERSION') return Promise.resolve('ClamAV 1.4.6/27450/Tue Nov  4 08:50:35 2025\0');
    const chunks: Buffer[] = [];
    for (let at = nul + 1; ; ) {
      if (request.length < at + 4) return null;
      const length = request.readUInt32BE(at);
      if (length === 0) break;
      chunks.push(request.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
    const message = Buffer.concat(chunks);
    return scan(message).then((mark) =>
      message.includes(eicar()) ? `stream: Marked.${mark?.[1]} FOUND\0` : 'stream: OK\0',
    );
  };
}

function spamdAnswer(scan: Scan): Answer {
  return (request) => {
    const end = request.indexOf('\r\n\r\n');
    if (end === -1) return null;
    const head = request.toString('latin1', 0, end);
    if (head.startsWith('PING ')) return Promise.resolve('SPAMD/1.5 0 PONG\r\n');
    const length = Number(/^Content-length: (\d+)/im.exec(head)?.[1] ?? 0);
    const message = request.subarray(end + 4);
    if (message.length < length) return null;
    const sender = /^X-Sluice-Envelope-From: <(.*)>\r\n/.exec(message.toString('latin1', 0, 1024))?.[1] ?? '';
    return scan(message).then((mark) => {
      const score = mark?.[2] ?? '0.0';
      return sayScored({ tests: `MARK=${score}`, total: `False ; ${score} / 5.0`, sender });
    });
  };
}

async function serve(host: string, answer: Answer): Promise<{ port: number; stop(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => sockets.delete(socket));
    let request = Buffer.alloc(0);
    let isAnswered = false;
    socket.on('data', (chunk: Buffer) => {
      request = Buffer.concat([request, chunk]);
      if (isAnswered) return;
      const answered = answer(request);
      if (answered === null) return;
      isAnswered = true;
      void answered.then((text) => socket.end(text, 'latin1'));
    });
    socket.on('end', () => {
      if (!isAnswered) socket.end();
    });
  });
  server.listen(0, host);
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('Cannot start a marked scanner');
  return {
    port: address.port,
    async stop() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
