/**
 * fake-scanners — clamd and spamd as a process that answers at once, or after a pause: what is left is the queue's own cost.
 *
 * Reads no more of the protocols than it must: where a request ends. Every message is clean and scores 0.
 *
 * usage: node fake-scanners.ts CLAMD_SOCKET SPAMD_SOCKET DELAY_MS; prints "up" when it listens
 */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';

const [clamdPath = '', spamdPath = '', delay = '0'] = process.argv.slice(2);
const delayMs = Number(delay);

const terminator = Buffer.alloc(4);
const fields = 'X-Spam-Sluice-Tests: none=0\r\nX-Spam-Sluice-Report: \r\n\r\n';
const scored = `SPAMD/1.1 0 EX_OK\r\nContent-length: ${fields.length}\r\nSpam: False ; 0.0 / 5.0\r\n\r\n${fields}`;

function serve(path: string, answerTo: (request: Buffer) => string | null): Promise<unknown> {
  const server = createServer({ allowHalfOpen: true }, (socket) => converse(socket, answerTo));
  server.listen({ path, backlog: 1024 });
  return once(server, 'listening');
}

function converse(socket: Socket, answerTo: (request: Buffer) => string | null): void {
  const chunks: Buffer[] = [];
  let answered = false;
  socket.on('error', () => undefined); // a client that leaves early
  // spamd's client closes its direction behind the message.
  socket.on('end', () => answered || socket.end());
  socket.on('data', (chunk) => {
    chunks.push(chunk);
    const answer = answerTo(chunks.length === 1 ? chunk : Buffer.concat(chunks));
    if (answer === null || answered) return;
    answered = true;
    if (delayMs === 0) socket.end(answer);
    else setTimeout(() => socket.end(answer), delayMs);
  });
}

function clamd(request: Buffer): string | null {
  if (request.indexOf('zVERSION\0') === 0) return 'ClamAV 1.4.6/27450/Tue Nov  4 08:50:35 2025\0';
  if (request.indexOf('zPING\0') === 0) return 'PONG\0';
  return request.subarray(-4).equals(terminator) ? 'stream: OK\0' : null;
}

function spamd(request: Buffer): string | null {
  if (request.indexOf('PING') === 0) return 'SPAMD/1.5 0 PONG\r\n';
  const end = request.indexOf('\r\n\r\n');
  const length = /Content-length: (\d+)/.exec(request.toString('latin1', 0, Math.max(end, 0)))?.[1];
  return length !== undefined && request.length >= end + 4 + Number(length) ? scored : null;
}

await Promise.all([serve(clamdPath, clamd), serve(spamdPath, spamd)]);
process.stdout.write('up\n');
