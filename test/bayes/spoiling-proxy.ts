/**
 * spoiling-proxy — a wire between two nodes that a test can spoil, as a process of its own in one of their namespaces.
 *
 * usage: spoiling-proxy.ts PORT HOST. Listens on 127.0.0.1, passes on to HOST:22. A line of JSON on standard input sets what it
 * does: {"way": "up", "down" or "both", "after": octets, "ending": "cut" or "silent"} for each connection from now on, {"after": null}: nothing;
 * it is acknowledged by the most octets that a connection has carried up and down since the line before, as JSON.
 */
import { connect, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

export type Spoil = { way?: 'up' | 'down' | 'both'; after: number | null; ending?: 'cut' | 'silent' };
export type Carried = { up: number; down: number };

const [port = '', host = ''] = process.argv.slice(2);
let spoil: Spoil = { after: null };
let most: Carried = { up: 0, down: 0 };

const server = createServer((client) => {
  const upstream = connect({ host, port: 22 });
  pass('up', client, upstream);
  pass('down', upstream, client);
});
server.listen(Number(port), '127.0.0.1', () => console.log('listening'));

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(most));
  spoil = JSON.parse(line) as Spoil;
  most = { up: 0, down: 0 };
}
process.exit();

function pass(way: 'up' | 'down', from: Socket, to: Socket): void {
  let carried = 0;
  let isSilent = false;
  from.on('data', (chunk: Buffer) => {
    const { after, ending = 'cut' } = spoil;
    const isMeant = spoil.way === way || spoil.way === 'both';
    const room = after === null || !isMeant ? Number.POSITIVE_INFINITY : after - carried;
    carried += chunk.length;
    most = { ...most, [way]: Math.max(most[way], carried) };
    if (isSilent) return;
    to.write(room < chunk.length ? chunk.subarray(0, Math.max(0, room)) : chunk);
    if (room >= chunk.length) return;
    if (ending === 'silent') {
      // Both sides keep their connection and hear nothing more.
      isSilent = true;
      return;
    }
    to.end(() => [from, to].forEach((socket) => socket.destroy()));
  });
  from.on('error', () => undefined); // 'close' follows
  from.on('close', () => to.destroy());
}
