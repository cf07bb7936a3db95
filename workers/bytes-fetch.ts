/**
 * bytes-fetch — messages that are too large for Redis: a worker fetches them from the filter that has them.
 *
 * Hides HTTP. The filter offers a message under a random token, for as long as somebody waits for its result; GET
 * /<spoolId> with that token gives its octets, anything else a bare 404, so that nobody learns what is here. A client that
 * stops reading is cut off.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { Address } from '../rules/config.ts';
import { TempFail } from './fail.ts';
import type { Log } from './log.ts';
import { openServerSocket } from './server-socket.ts';
import type { SpooledMessage } from './spool.ts';

/** What is needed of a message. */
export type Fetchable = Pick<SpooledMessage, 'spoolId' | 'sizeBytes' | 'read'>;

/** How a worker gets to one message. */
export type FetchWay = { readonly host: string; readonly port: number; readonly token: string };

export type FetchServer = {
  /** From now on until `withdraw` the message can be fetched that way. */
  readonly offer: (message: Fetchable) => FetchWay;
  readonly withdraw: (spoolId: string) => void;
  readonly close: () => Promise<void>;
};

type Offered = { readonly message: Fetchable; readonly token: string };

const idleMs = 30_000;
const connectMs = 5_000;
const headerBytesMax = 4_096;
const connectionsMax = 256;

/** Listens on `address`; `trusts` says whether a peer may ask at all. Rejects where the address can't be had. */
export async function openFetchServer(
  address: Address & { kind: 'tcp' },
  trusts: (peer: string) => boolean,
  log: Log,
): Promise<FetchServer> {
  const offers = new Map<string, Offered>();
  const server = createServer(
    { maxHeaderSize: headerBytesMax, headersTimeout: idleMs },
    (request, response) => {
      response.on('error', (error) => log.debug({ err: error }, 'A worker stopped fetching'));
      const offered = trusts(request.socket.remoteAddress ?? '') ? offeredTo(request, offers) : null;
      if (offered === null) response.writeHead(404, { Connection: 'close' }).end();
      else void give(offered.message, response, log);
    },
  );
  server.maxConnections = connectionsMax;
  server.setTimeout(idleMs, (socket) => socket.destroy());
  const bound = await openServerSocket(server, address);
  const port = bound.kind === 'tcp' ? bound.port : address.port;
  return {
    offer(message) {
      const { spoolId } = message;
      const token = offers.get(spoolId)?.token ?? randomBytes(32).toString('hex');
      offers.set(spoolId, { message, token });
      return { host: address.host, port, token };
    },
    withdraw: (spoolId) => void offers.delete(spoolId),
    async close() {
      offers.clear();
      server.close();
      server.closeAllConnections();
      if (server.listening) await once(server, 'close');
    },
  };
}

/** The octets that the filter there offers; TempFail where it does not, or stops half-way. */
export async function* fetchBytes(
  { host, port, token }: FetchWay,
  spoolId: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const headers = { Authorization: `Bearer ${token}` };
  const request = get({ host, port, path: `/${spoolId}`, headers, agent: false, signal, timeout: connectMs });
  request.on('timeout', () => request.destroy(new Error('no answer')));
  try {
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    request.setTimeout(idleMs);
    if (response.statusCode !== 200) throw new Error(`answered ${response.statusCode}`);
    for await (const chunk of response as AsyncIterable<Buffer>) yield chunk;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new TempFail(`Cannot fetch ${spoolId} from ${host}:${port}: ${why}`, { cause });
  } finally {
    request.destroy();
  }
}

function offeredTo(request: IncomingMessage, offers: ReadonlyMap<string, Offered>): Offered | null {
  const spoolId = /^\/([0-9a-f]{32})$/.exec(request.url ?? '')?.[1];
  const token = /^Bearer ([0-9a-f]{64})$/.exec(request.headers.authorization ?? '')?.[1];
  const offered = spoolId === undefined ? undefined : offers.get(spoolId);
  if (request.method !== 'GET' || offered === undefined || token === undefined) return null;
  return timingSafeEqual(Buffer.from(token), Buffer.from(offered.token)) ? offered : null;
}

/** Never rejects; what can't be read to its end ends the connection, so that it is not taken for whole. */
async function give(message: Fetchable, response: ServerResponse, log: Log): Promise<void> {
  response.writeHead(200, {
    'Content-Type': 'application/octet-stream',
    'Content-Length': message.sizeBytes,
    'Cache-Control': 'no-store',
  });
  try {
    await pipeline(message.read(), response);
  } catch (cause) {
    log.debug({ err: cause, spoolId: message.spoolId }, 'Cannot give a message to a worker');
  }
}
