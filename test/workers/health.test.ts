/** health — the health server on real sockets: its answers, its bounds, and an address that is taken. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Address } from '../../rules/config.ts';
import { type Health, type HealthOptions, openHealth } from '../../workers/health.ts';
import type { Log } from '../../workers/log.ts';
import { temporaryFolder } from '../folder.ts';

type Line = { level: string; message: string; fields: Record<string, unknown> };

const anyPort: Address = { kind: 'tcp', host: '127.0.0.1', port: 0 };

async function open(t: TestContext, more: Partial<HealthOptions> = {}) {
  const lines: Line[] = [];
  const changed = Promise.withResolvers<void>();
  const write = (level: string) => (fields: object, message: string) => {
    lines.push({ level, message, fields: { ...fields } });
    if (message === 'Health server listens') changed.resolve();
  };
  const log: Log = { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
  const health = await openHealth({
    address: anyPort,
    ready: async () => ({ ready: true }),
    metrics: { text: async () => 'x 1\n', contentType: 'text/plain; version=0.0.4' },
    version: '1.2.3',
    log,
    ...more,
  });
  t.after(() => health.close());
  return { health, lines, listens: changed.promise };
}

function portOf(health: Health): number {
  const address = health.address();
  assert.ok(address?.kind === 'tcp');
  return address.port;
}

type Answer = { code: number | undefined; headers: Record<string, unknown>; body: string };

async function ask(target: { port: number } | { socketPath: string }, path: string, method = 'GET') {
  const sent = request({ ...target, path, method, agent: false });
  if (method === 'POST') sent.write('a body that nobody reads');
  sent.end();
  const [response] = (await once(sent, 'response')) as [import('node:http').IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const answer: Answer = {
    code: response.statusCode,
    headers: response.headers,
    body: Buffer.concat(chunks).toString(),
  };
  return answer;
}

/** Everything that the server says to these octets until it closes. */
async function converse(port: number, octets: string): Promise<string> {
  const socket = await dial(port);
  socket.write(octets);
  let said = '';
  for await (const chunk of socket) said += String(chunk);
  return said;
}

async function dial(port: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.on('error', () => undefined); // a reset is one way to be hung up on
  await once(socket, 'connect');
  return socket;
}

test('openHealth() answers /healthz, /readyz and /metrics, and nothing else', async (t) => {
  const { health } = await open(t);
  const port = portOf(health);
  const table: [method: string, path: string, code: number, type: RegExp, body: RegExp][] = [
    [
      'GET',
      '/healthz',
      200,
      /^application\/json$/,
      /^\{"alive":true,"version":"1\.2\.3","uptimeSeconds":\d+\}\n$/,
    ],
    ['GET', '/readyz', 200, /^application\/json$/, /^\{"ready":true\}\n$/],
    ['GET', '/metrics', 200, /^text\/plain; version=0\.0\.4$/, /^x 1\n$/],
    ['GET', '/metrics?name=x', 200, /^text\/plain/, /^x 1\n$/],
    ['HEAD', '/metrics', 200, /^text\/plain/, /^$/],
    ['GET', '/', 404, /^text\/plain/, /^Not here: \/healthz \/readyz \/metrics\n$/],
    ['GET', '/toString', 404, /^text\/plain/, /^Not here/],
    ['GET', '/metrics/', 404, /^text\/plain/, /^Not here/],
    ['POST', '/metrics', 405, /^text\/plain/, /^Only GET and HEAD\n$/],
    ['DELETE', '/healthz', 405, /^text\/plain/, /^Only GET and HEAD\n$/],
  ];
  for (const [method, path, code, type, body] of table) {
    const answer = await ask({ port }, path, method);
    assert.equal(answer.code, code, path);
    assert.match(String(answer.headers['content-type']), type);
    assert.match(answer.body, body);
    assert.equal(answer.headers['cache-control'], 'no-store');
    if (code === 405) assert.equal(answer.headers['allow'], 'GET, HEAD');
  }
});

test('openHealth() answers /readyz 503 with the reasons', async (t) => {
  const hindrances = ['quarantine: Cannot use quarantine.db'];
  const { health } = await open(t, { ready: async () => ({ ready: false, hindrances }) });
  const answer = await ask({ port: portOf(health) }, '/readyz');
  assert.equal(answer.code, 503);
  assert.deepEqual(JSON.parse(answer.body), { ready: false, hindrances });
});

test('openHealth() answers 500 where an answer fails, tells the log and not the client', async (t) => {
  const broken = async (): Promise<never> => {
    throw new Error('secret detail');
  };
  const { health, lines } = await open(t, { ready: broken, metrics: { text: broken, contentType: 'x' } });
  for (const path of ['/readyz', '/metrics']) {
    const answer = await ask({ port: portOf(health) }, path);
    assert.deepEqual([answer.code, answer.body], [500, 'Internal error, see the log\n']);
  }
  assert.deepEqual(
    lines.filter(({ level }) => level === 'error').map(({ fields }) => fields['path']),
    ['/readyz', '/metrics'],
  );
  assert.equal((await ask({ port: portOf(health) }, '/healthz')).code, 200);
});

test('openHealth() bounds what a client may send, and how long it may take', async (t) => {
  const { health } = await open(t, { patienceMs: 300 });
  const port = portOf(health);
  const table: [label: string, octets: string, said: RegExp][] = [
    ['garbage', 'EHLO mx.example\r\n\r\n', /^HTTP\/1\.1 400 /],
    ['a big header', `GET /healthz HTTP/1.1\r\nX: ${'x'.repeat(20_000)}`, /^HTTP\/1\.1 431 /],
    ['many headers', `GET /healthz HTTP/1.1\r\n${'X: y\r\n'.repeat(5_000)}`, /^HTTP\/1\.1 431 /],
    ['a long path', `GET /${'x'.repeat(20_000)}`, /^HTTP\/1\.1 (?:431|414) /],
    ['half a request', 'GET /healthz HTTP/1.1\r\nHost: x\r\n', /^HTTP\/1\.1 408 /],
    ['nothing', '', /^(?:HTTP\/1\.1 408 [\s\S]*)?$/],
    [
      'a smuggled second one',
      'POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n',
      /^HTTP\/1\.1 400 /,
    ],
    [
      'a body that never ends',
      'POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n',
      /^HTTP\/1\.1 405 /,
    ],
  ];
  for (const [label, octets, said] of table) assert.match(await converse(port, octets), said, label);
  assert.equal((await ask({ port }, '/healthz')).code, 200);
});

test('openHealth() drops who sends a request in drops', async (t) => {
  const { health } = await open(t, { patienceMs: 300 });
  const socket = await dial(portOf(health));
  let said = '';
  socket.on('data', (chunk) => (said += String(chunk)));
  const drop = () => {
    if (said === '') socket.write(socket.bytesWritten === 0 ? 'GET / HTTP/1.1\r\nX: ' : 'x');
  };
  // Each drop behind a look at what has come: a second one to a socket that is closed there fails before the answer is read.
  const trickle = setInterval(() => setImmediate(drop), 50);
  t.after(() => clearInterval(trickle));
  // A reset behind the answer is an error, which events.once would reject with.
  await new Promise((closed) => socket.once('close', closed));
  assert.match(said, /^HTTP\/1\.1 4/);
});

test('openHealth() drops who takes no answers', { timeout: 20_000 }, async (t) => {
  const metrics = { text: async () => 'x'.repeat(1_000_000), contentType: 'text/plain' };
  const { health } = await open(t, { patienceMs: 300, metrics });
  const socket = await dial(portOf(health));
  socket.pause();
  socket.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(20));
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      // A socket that was dropped at the other end fails at the next write.
      if (socket.destroyed) resolve(clearInterval(timer));
      else socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    }, 400);
  });
  assert.equal((await ask({ port: portOf(health) }, '/healthz')).code, 200);
});

test('openHealth() takes a bounded number of connections, and the next ones when those are gone', async (t) => {
  const { health } = await open(t);
  const port = portOf(health);
  const sockets = await Promise.all(Array.from({ length: 64 }, () => dial(port)));
  const surplus = await dial(port);
  await once(surplus, 'close');
  for (const socket of sockets) socket.destroy();
  for (const socket of sockets) if (!socket.closed) await once(socket, 'close');
  for (;;) {
    const answer = await ask({ port }, '/healthz').catch(() => null); // not all are gone at the other end yet
    if (answer?.code === 200) break;
  }
});

test('openHealth() with its address taken: an alarm, and it opens by itself once it is free', async (t) => {
  const taker = createServer().listen(0, '127.0.0.1');
  await once(taker, 'listening');
  const taken = taker.address();
  assert.ok(taken instanceof Object);
  const { health, lines, listens } = await open(t, {
    address: { ...anyPort, port: taken.port },
    retryMs: 20,
  });
  assert.equal(health.address(), null);
  assert.deepEqual(
    lines.map(({ level, fields }) => [level, fields['alarm'], fields['address']]),
    [['error', true, `127.0.0.1:${taken.port}`]],
  );
  taker.close();
  await listens;
  assert.equal((await ask({ port: taken.port }, '/healthz')).code, 200);
  assert.equal(lines.length, 2);
});

test('close() while the address is taken leaves nothing behind', async (t) => {
  const taker = createServer().listen(0, '127.0.0.1');
  t.after(() => taker.close());
  await once(taker, 'listening');
  const taken = taker.address();
  assert.ok(taken instanceof Object);
  const { health } = await open(t, { address: { ...anyPort, port: taken.port }, retryMs: 1 });
  await health.close();
  assert.equal(health.address(), null);
});

test('openHealth() listens on a unix socket as well', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'health.sock');
  await open(t, { address: { kind: 'unix', path, mode: 0o600, owner: null } });
  assert.equal((await ask({ socketPath: path }, '/healthz')).code, 200);
});

test('close() ends connections that are open', async (t) => {
  const { health } = await open(t);
  const socket = await dial(portOf(health));
  socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(socket, 'data');
  const gone = once(socket, 'close');
  await health.close();
  await gone;
});
