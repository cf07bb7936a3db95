/**
 * loop-watch — sees whether a message with a certain mark in its sender comes to Sluice.
 *
 * Hides that a running Sluice tells by its history, and that without one we have to listen on its addresses ourselves,
 * where everything that comes meanwhile is deferred.
 */
import { existsSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Address } from '../rules/address.ts';
import type { Config } from '../rules/config.ts';
import { silentLog } from '../workers/log.ts';
import { openServerSocket } from '../workers/server-socket.ts';
import { feedAddresses, tenantOf } from './check-listeners.ts';
import { openStore } from './store.ts';

/** `sees`: whether such a message has come by now; where `isLate`, it is seen only when its scan is over. */
export type Watch = {
  readonly isLate: boolean;
  readonly sees: () => Promise<boolean>;
  readonly close: () => Promise<void>;
};

/** Starts watching; throws where neither the history of a running Sluice nor its addresses can be had. */
export async function openWatch(
  config: Pick<Config, 'listen' | 'state'>,
  mark: string,
  since: number,
): Promise<Watch> {
  const addresses = feedAddresses(config);
  const tenants = await Promise.all(addresses.map(tenantOf));
  if (tenants.some(({ kind }) => kind === 'sluice'))
    return watchHistory(join(config.state, 'history.db'), mark, since);
  return watchAddresses(addresses, mark);
}

/** The running filter writes a row for each message that it is given, when that is scanned and settled. */
async function watchHistory(file: string, mark: string, since: number): Promise<Watch> {
  if (!existsSync(file))
    throw new Error(`Sluice runs, but ${file} does not exist: it has another state folder`);
  const store = await openStore({ file, migrations: null, synchronous: 'NORMAL', log: silentLog });
  const sql = 'SELECT 1 FROM scan WHERE at >= ? AND instr(sender, ?) LIMIT 1';
  const aMinute = 60_000;
  return {
    isLate: true,
    sees: async () => (await store.all(sql, [since - aMinute, mark])).length > 0,
    close: () => store.close(),
  };
}

/** Nobody listens there now: whoever comes with the mark was sent by the return smtpd. */
async function watchAddresses(addresses: readonly Address[], mark: string): Promise<Watch> {
  const seen = { mark: false };
  const sockets = new Set<Socket>();
  const servers: Server[] = [];
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  };
  try {
    for (const address of addresses) {
      const server = createServer((socket) => {
        sockets.add(socket);
        deferAll(socket, (line) => (seen.mark ||= line.includes(mark)));
      });
      await openServerSocket(server, address);
      servers.push(server);
    }
    return { isLate: false, sees: async () => seen.mark, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** SMTP or LMTP as far as the sender; every message is deferred, Postfix keeps it. */
function deferAll(socket: Socket, onLine: (line: string) => void): void {
  let unread = '';
  socket.on('error', () => undefined); // a client that goes away is no concern
  socket.write('220 sluice-check SMTP\r\n');
  socket.on('data', (chunk: Buffer) => {
    const lines = (unread + chunk.toString('latin1')).slice(-4096).split('\r\n');
    unread = lines.pop() ?? '';
    for (const line of lines) {
      onLine(line);
      const verb = line.slice(0, 4).toUpperCase();
      if (verb === 'QUIT') socket.end('221 2.0.0 Bye\r\n');
      else if (['EHLO', 'LHLO', 'HELO', 'RSET', 'NOOP'].includes(verb)) socket.write('250 sluice-check\r\n');
      else socket.write('451 4.3.2 Sluice is being checked, try again later\r\n');
    }
  });
}
