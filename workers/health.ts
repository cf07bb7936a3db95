/**
 * health — the HTTP server that tells how a process is: /healthz, /readyz, /metrics.
 *
 * Hides the protocol and its bounds: size of a request, time to send it and to take the answer, number of connections. It
 * never stands in the way of mail: an address that can't be had is an alarm in the log, tried again until it is free,
 * and whatever fails inside an answer is a 500.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type Address, formatAddress } from '../rules/config.ts';
import type { Log } from './log.ts';
import { openServerSocket } from './server-socket.ts';

export type HealthOptions = {
  readonly address: Address;
  /** The body of /readyz; not `ready` is answered 503. */
  readonly ready: () => Promise<{ readonly ready: boolean }>;
  readonly metrics: { text(): Promise<string>; readonly contentType: string };
  readonly version: string;
  readonly log: Log;
  /** Pause before an address that could not be had is tried again. */
  readonly retryMs?: number;
  /** How long a client may take for its request, or to take the next part of the answer. */
  readonly patienceMs?: number;
};

export type Health = {
  /** As bound, port filled in; null while it can't be had. */
  readonly address: () => Address | null;
  /** Ends it with every connection. */
  readonly close: () => Promise<void>;
};

type Answer = { readonly code: number; readonly type: string; readonly body: string };
type Routes = Readonly<Record<string, () => Promise<Answer>>>;

const headerBytesMax = 8192;
const connectionsMax = 64;

/** Opens the server; it resolves even where the address can't be had now. */
export async function openHealth(options: HealthOptions): Promise<Health> {
  const { address, log, retryMs = 30_000, patienceMs = 10_000 } = options;
  const routes = routesOf(options);
  let server: Server | null = null;
  let bound: Address | null = null;
  let retry: NodeJS.Timeout | undefined;
  let closed = false;
  const open = async (isFirst: boolean): Promise<void> => {
    const fresh = createHttpServer(routes, patienceMs, log);
    try {
      bound = await openServerSocket(fresh, address);
    } catch (cause) {
      const about = { err: cause, address: formatAddress(address), alarm: true };
      if (isFirst) log.error(about, 'Cannot open the health server: mail flows without it');
      if (!closed) retry = setTimeout(() => void open(false), retryMs).unref();
      return;
    }
    server = fresh;
    if (closed) await end(fresh);
    else log.info({ address: formatAddress(bound) }, 'Health server listens');
  };
  await open(true);
  return {
    address: () => bound,
    async close() {
      closed = true;
      clearTimeout(retry);
      bound = null;
      if (server !== null) await end(server);
    },
  };
}

function routesOf({ ready, metrics, version }: HealthOptions): Routes {
  const json = (code: number, body: object): Answer => ({
    code,
    type: 'application/json',
    body: `${JSON.stringify(body)}\n`,
  });
  return {
    '/healthz': async () => json(200, { alive: true, version, uptimeSeconds: Math.floor(process.uptime()) }),
    '/readyz': async () => {
      const readiness = await ready();
      return json(readiness.ready ? 200 : 503, readiness);
    },
    '/metrics': async () => ({ code: 200, type: metrics.contentType, body: await metrics.text() }),
  };
}

function createHttpServer(routes: Routes, patienceMs: number, log: Log): Server {
  const limits = {
    maxHeaderSize: headerBytesMax,
    headersTimeout: patienceMs,
    requestTimeout: patienceMs,
    keepAliveTimeout: patienceMs,
    connectionsCheckingInterval: patienceMs / 10,
  };
  const server = createServer(limits, (request, response) => {
    response.on('error', (error) => log.debug({ err: error }, 'Health client gone'));
    void respond(request, response, routes, log);
  });
  server.maxConnections = connectionsMax;
  // Who sends too slowly shall be told so (408) before silence ends it.
  server.setTimeout(patienceMs * 2);
  return server;
}

/** Never rejects. */
async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  routes: Routes,
  log: Log,
): Promise<void> {
  const path = (request.url ?? '').split('?')[0] ?? '';
  try {
    const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      // It may have a body, which nobody reads: the connection can't be used again.
      response.setHeader('Connection', 'close').setHeader('Allow', 'GET, HEAD');
      send(response, plain(405, 'Only GET and HEAD'));
    } else if (route === undefined) {
      send(response, plain(404, `Not here: ${Object.keys(routes).join(' ')}`));
    } else {
      send(response, await route());
    }
  } catch (cause) {
    log.error({ err: cause, path }, 'Cannot answer on the health server');
    if (!response.headersSent) send(response, plain(500, 'Internal error, see the log'));
  }
}

function plain(code: number, text: string): Answer {
  return { code, type: 'text/plain; charset=utf-8', body: `${text}\n` };
}

/** For HEAD Node leaves the body out. */
function send(response: ServerResponse, { code, type, body }: Answer): void {
  const headers = { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) };
  response.writeHead(code, { ...headers, 'Cache-Control': 'no-store' }).end(body);
}

async function end(server: Server): Promise<void> {
  const gone = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeAllConnections();
  await gone;
}
