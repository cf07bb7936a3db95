/** bytes-* — octets from a spool that is shared, through Redis, from the filter: and only the right ones. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fetchBytes, openFetchServer } from '../../workers/bytes-fetch.ts';
import { createLeases } from '../../workers/bytes-lease.ts';
import { createSources, openMessage } from '../../workers/bytes-read.ts';
import { createProofs, markSpool, readShared, sharesSpool } from '../../workers/bytes-spool.ts';
import { TempFail } from '../../workers/fail.ts';
import type { JobBytes } from '../../workers/job.ts';
import { silentLog } from '../../workers/log.ts';
import { createPatience } from '../../workers/patience.ts';
import { connectRedis, createOutage } from '../../workers/redis.ts';
import { temporaryFolder } from '../folder.ts';
import { redisConfigOf, startTestRedis } from './redis-rig.ts';
import { until } from './remote-rig.ts';

const signal = new AbortController().signal;
const spoolId = 'ab'.repeat(16);

async function read(octets: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of octets) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function messageOf(octets: Buffer, inFile = false) {
  return {
    spoolId,
    inFile,
    sizeBytes: octets.length,
    sha256: createHash('sha256').update(octets).digest('hex'),
    async *read(from = 0, to = octets.length) {
      yield octets.subarray(from, to);
    },
    head: async (maxBytes: number) => octets.subarray(0, maxBytes),
  };
}

async function openSpool(t: TestContext) {
  const spool = temporaryFolder(t);
  const folder = join(spool, '4711-0123abcd');
  await mkdir(folder);
  return { spool, folder, mark: await markSpool(folder) };
}

test('readShared() reads a message of a folder whose secret is the right one', async (t) => {
  const { spool, folder, mark } = await openSpool(t);
  const octets = randomBytes(600_000);
  await writeFile(join(folder, spoolId), octets);
  assert.equal(await sharesSpool(spool, mark), true);
  assert.ok((await read(readShared(spool, mark, spoolId))).equals(octets));
});

test('createProofs() outlives a Redis that forgets who is there, and neither a filter nor a wrong secret', async (t) => {
  const { spool, mark } = await openSpool(t);
  let now = 0;
  const prove = createProofs(spool, () => now);
  const filter = { id: 'f1', spool: mark };
  assert.deepEqual(await prove([filter, { id: 'f2', spool: null }]), ['f1']);
  now = 60_000;
  assert.deepEqual(await prove([]), ['f1']);
  now = 60_001;
  assert.deepEqual(await prove([]), []);
  assert.deepEqual(await prove([filter]), ['f1']);
  assert.deepEqual(await prove([{ ...filter, spool: { ...mark, marker: 'a'.repeat(64) } }]), []);
});

test('readShared() refuses another secret, no secret, links, pipes, folders, and names that are none of ours', async (t) => {
  const { spool, folder, mark } = await openSpool(t);
  const outside = join(spool, 'outside');
  await writeFile(outside, 'secret of somebody else');
  const other = 'cd'.repeat(16);
  await symlink(outside, join(folder, other));
  const pipe = 'ef'.repeat(16);
  execFileSync('mkfifo', [join(folder, pipe)]);
  const inner = '01'.repeat(16);
  await mkdir(join(folder, inner));
  await mkdir(join(spool, '1-00000000'));
  await symlink(folder, join(spool, '2-00000000'));
  const wrong: readonly [string, typeof mark, string][] = [
    ['another secret', { ...mark, marker: 'a'.repeat(64) }, spoolId],
    ['no such folder', { ...mark, folder: '4711-deadbeef' }, spoolId],
    ['a folder without a secret', { ...mark, folder: '1-00000000' }, spoolId],
    ['a folder that is a link', { ...mark, folder: '2-00000000' }, spoolId],
    ['a way out', { ...mark, folder: `../${basename(spool)}/4711-0123abcd` }, spoolId],
    ['the spool itself', { ...mark, folder: '.' }, basename(outside)],
    ['no such message', mark, spoolId],
    ['a link', mark, other],
    ['a pipe', mark, pipe],
    ['a folder', mark, inner],
    ['the secret itself', mark, 'marker'],
    ['the socket', mark, 'owner'],
    ['a path', mark, '../outside'],
  ];
  for (const [label, where, id] of wrong) {
    await assert.rejects(read(readShared(spool, where, id)), TempFail, label);
    if (where !== mark) assert.equal(await sharesSpool(spool, where), false, label);
  }
});

test('readShared() goes on reading the folder that it opened when another takes its name', async (t) => {
  const { spool, folder, mark } = await openSpool(t);
  const octets = randomBytes(1_000_000);
  await writeFile(join(folder, spoolId), octets);
  const reading = readShared(spool, mark, spoolId);
  const first = await reading.next();
  await rename(folder, join(spool, '4711-ffffffff'));
  await mkdir(folder);
  await writeFile(join(folder, spoolId), 'forged');
  const rest = await read(reading);
  assert.ok(Buffer.concat([first.value ?? Buffer.alloc(0), rest]).equals(octets));
});

async function openStore(t: TestContext, options: { messageBytesMax?: number; totalMax?: number } = {}) {
  const server = await startTestRedis(t);
  const config = redisConfigOf(server.url);
  const connect = (role: 'producer' | 'octets') => {
    const options = { enableOfflineQueue: true };
    const connection = connectRedis(config, role, createOutage(config, silentLog), options);
    t.after(() => connection.disconnect());
    return connection;
  };
  const [redis, octets] = [connect('producer'), connect('octets')];
  const patience = createPatience();
  const store = {
    redis,
    octets,
    prefix: 'test',
    mark: null,
    fetch: null,
    messageBytesMax: 32 * 1024 ** 2,
    log: silentLog,
  };
  return {
    server,
    redis,
    leases: createLeases({ ...store, ...options }),
    patience,
    sources: createSources({ redis, octets, prefix: 'test', spool: '/nowhere', patience }),
  };
}

const wanted = { shared: true, failed: null, expiresMs: 60_000 };

test('createLeases() puts one copy for both queues, in pieces that expire, and takes it away with the last', async (t) => {
  const { server, leases, sources } = await openStore(t);
  const octets = randomBytes(700_000);
  const message = messageOf(octets);
  const [one, other] = [leases.hold(message), leases.hold(message)];
  const [first, second] = await Promise.all([one.way(wanted, signal), other.way(wanted, signal)]);
  assert.deepEqual(first, second);
  assert.ok(first?.kind === 'redis' && first.pieces === 3);
  const got = await openMessage({ ...message, bytes: first }, octets.length, sources, signal);
  assert.ok((await read(got.read())).equals(octets));
  assert.ok(Number(await server.ask('PTTL', `test:bytes:${first.key}:0`)) > 50_000);
  one.release();
  one.release();
  assert.equal((await server.ask('KEYS', '*')).split('\n').length, 3);
  other.release();
  await until('all is gone', async () => (await server.ask('KEYS', '*')) === '');
});

test('createLeases() makes a fresh copy of what could not be read, once for all who could not', async (t) => {
  const { leases } = await openStore(t);
  const [one, other] = [leases.hold(messageOf(Buffer.from('x'))), leases.hold(messageOf(Buffer.from('x')))];
  const failed = await one.way(wanted, signal);
  assert.equal(failed, await other.way(wanted, signal));
  const again = await one.way({ ...wanted, failed }, signal);
  assert.notDeepEqual(again, failed);
  assert.deepEqual(await other.way({ ...wanted, failed }, signal), again);
});

test('createLeases() has no way for what is too large for Redis where nothing can be fetched', async (t) => {
  const { leases } = await openStore(t, { messageBytesMax: 300_000 });
  assert.equal(await leases.hold(messageOf(randomBytes(300_001))).way(wanted, signal), null);
});

test('createLeases() lets wait what is more than Redis shall hold, until there is room or nobody waits', async (t) => {
  const { server, leases } = await openStore(t, { totalMax: 500_000 });
  const hold = (name: string, size: number) =>
    leases.hold({ ...messageOf(randomBytes(size)), spoolId: name.repeat(32) });
  const first = hold('0', 400_000);
  await first.way(wanted, signal);
  const stop = new AbortController();
  const refused = hold('1', 300_000).way(wanted, stop.signal);
  const [second, third, fourth] = [hold('2', 200_000), hold('3', 200_000), hold('4', 600_000)];
  const later = [second, third, fourth].map((lease) => lease.way(wanted, signal));
  stop.abort();
  await assert.rejects(refused);
  assert.equal((await server.ask('KEYS', '*')).split('\n').length, 2);
  first.release();
  await Promise.all(later.slice(0, 2));
  second.release();
  third.release();
  // Larger than all that there is, it may have it alone.
  assert.equal((await later[2])?.kind, 'redis');
});

const spoilt: readonly [string, (octets: Buffer) => Buffer][] = [
  ['other octets', (octets) => Buffer.from(octets).fill('x', 10, 11)],
  ['too few', (octets) => octets.subarray(1)],
  ['too many', (octets) => Buffer.concat([octets, octets])],
];

for (const size of [5_000, 2_000_000]) {
  for (const [label, spoil] of spoilt) {
    test(`openMessage() never gives ${label} for a message of ${size} octets to its end`, async (t) => {
      const { leases, sources } = await openStore(t);
      const octets = Buffer.from(randomBytes(size / 2).toString('hex'));
      const message = messageOf(octets);
      const bytes = await leases.hold(messageOf(spoil(octets))).way(wanted, signal);
      assert.ok(bytes !== null);
      const seen: Uint8Array[] = [];
      await assert.rejects(async () => {
        const got = await openMessage({ ...message, bytes }, size, sources, signal);
        for await (const chunk of got.read()) seen.push(chunk);
      }, TempFail);
      assert.ok(Buffer.concat(seen).length < size, 'the end is held back');
    });
  }
}

test('openMessage() of which only the beginning is wanted has read it all', async (t) => {
  const { leases, sources } = await openStore(t);
  const octets = randomBytes(2_000_000);
  const bytes = await leases.hold(messageOf(octets)).way(wanted, signal);
  assert.ok(bytes !== null);
  const got = await openMessage({ ...messageOf(octets), bytes }, 1_000, sources, signal);
  assert.ok((await read(got.read(0, 1_000))).equals(octets.subarray(0, 1_000)));
  await assert.rejects(read(got.read()), TempFail);
  const other = { ...messageOf(octets), sha256: 'a'.repeat(64), bytes };
  await assert.rejects(openMessage(other, 1_000, sources, signal), TempFail);
});

test('openMessage() has a small message at hand for the second scanner, and proves it for another job', async (t) => {
  const { server, leases, sources } = await openStore(t);
  const octets = randomBytes(5_000);
  const message = messageOf(octets);
  const bytes = await leases.hold(message).way(wanted, signal);
  assert.ok(bytes !== null);
  const job = { ...message, bytes };
  const open = async (take: number) => openMessage(job, take, sources, signal);
  assert.ok((await read((await open(5_000)).read())).equals(octets));
  await server.ask('FLUSHALL');
  await assert.rejects(openMessage({ ...job, sha256: 'a'.repeat(64) }, 5_000, sources, signal), TempFail);
  const second = await open(1_000);
  assert.ok((await read(second.read(0, 1_000))).equals(octets.subarray(0, 1_000)));
  await assert.rejects(read(second.read()), TempFail);
  await assert.rejects(open(5_000), TempFail, 'it is not kept for a third');
});

for (const size of [5_000, 600_000]) {
  test(`openMessage() of ${size} octets in a Redis that hangs ends with its signal, and with the worker`, async (t) => {
    const { server, leases, sources, patience } = await openStore(t);
    const message = messageOf(randomBytes(size));
    const bytes = await leases.hold(message).way(wanted, signal);
    assert.ok(bytes !== null);
    server.kill('SIGSTOP');
    t.after(() => server.kill('SIGCONT'));
    const stop = new AbortController();
    const one = openMessage({ ...message, bytes }, size, sources, stop.signal);
    const other = openMessage({ ...message, bytes }, size, sources, signal);
    stop.abort();
    await assert.rejects(one, TempFail);
    patience.end();
    await assert.rejects(other, TempFail);
    await assert.rejects(openMessage({ ...message, bytes }, size, sources, stop.signal), TempFail);
  });
}

test('createLeases() and openMessage() leave the shared connection to others while large messages go through', async (t) => {
  const { leases, sources, redis } = await openStore(t);
  await redis.ping();
  // Whatever is sent on it from now on never arrives.
  redis.stream.pause();
  redis.stream.cork();
  for (const size of [65_537, 300_000]) {
    const message = { ...messageOf(randomBytes(size)), spoolId: randomUUID().replaceAll('-', '') };
    const bytes = await leases.hold(message).way(wanted, signal);
    assert.ok(bytes !== null);
    const got = await openMessage({ ...message, bytes }, size, sources, signal);
    assert.equal((await read(got.read())).length, size);
  }
});

test('createLeases() takes away many small messages at once, and the rest when it is closed', async (t) => {
  const { server, leases } = await openStore(t);
  const held = Array.from({ length: 130 }, (_, n) =>
    leases.hold({ ...messageOf(randomBytes(100)), spoolId: n.toString(16).padStart(32, '0') }),
  );
  await Promise.all(held.map((lease) => lease.way(wanted, signal)));
  for (const lease of held) lease.release();
  // A release is noticed a moment later, when what was written is known.
  await new Promise(setImmediate);
  await leases.close();
  assert.equal(await server.ask('KEYS', '*'), '');
  assert.match(await server.ask('INFO', 'commandstats'), /cmdstat_unlink:calls=2,/);
});

test('openMessage() misses octets that expired', async (t) => {
  const { sources } = await openStore(t);
  const bytes: JobBytes = { kind: 'redis', key: crypto.randomUUID(), pieces: 1 };
  await assert.rejects(openMessage({ ...messageOf(Buffer.from('x')), bytes }, 1, sources, signal), TempFail);
});

async function openFetch(t: TestContext, trusts: (peer: string) => boolean = () => true) {
  const server = await openFetchServer({ kind: 'tcp', host: '127.0.0.1', port: 0 }, trusts, silentLog);
  t.after(() => server.close());
  return server;
}

function statusOf(port: number, path: string, authorization?: string, method = 'GET'): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = authorization === undefined ? {} : { authorization };
    const request = get({ host: '127.0.0.1', port, path, headers, method, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    request.on('error', reject);
  });
}

test('fetchBytes() gets what is offered, octet by octet', async (t) => {
  const server = await openFetch(t);
  const octets = randomBytes(3_000_000);
  const way = server.offer(messageOf(octets));
  assert.ok((await read(fetchBytes(way, spoolId, signal))).equals(octets));
  server.withdraw(spoolId);
  await assert.rejects(read(fetchBytes(way, spoolId, signal)), TempFail);
});

test('openFetchServer() says 404 to everything but its one way in', async (t) => {
  const server = await openFetch(t);
  const { port, token } = server.offer(messageOf(Buffer.from('x')));
  const right = `Bearer ${token}`;
  assert.equal(await statusOf(port, `/${spoolId}`, right), 200);
  for (const [label, path, authorization, method] of [
    ['no token', `/${spoolId}`, undefined, 'GET'],
    ['another token', `/${spoolId}`, `Bearer ${'a'.repeat(64)}`, 'GET'],
    ['half a token', `/${spoolId}`, right.slice(0, -1), 'GET'],
    ['another message', `/${'0'.repeat(32)}`, right, 'GET'],
    ['a path', `/../${spoolId}`, right, 'GET'],
    ['the root', '/', right, 'GET'],
    ['another method', `/${spoolId}`, right, 'HEAD'],
    ['a query', `/${spoolId}?x`, right, 'GET'],
  ] as const)
    assert.equal(await statusOf(port, path, authorization, method), 404, label);
});

test('openFetchServer() gives nothing to a peer that is not trusted', async (t) => {
  const server = await openFetch(t, () => false);
  const way = server.offer(messageOf(Buffer.from('x')));
  await assert.rejects(read(fetchBytes(way, spoolId, signal)), /404/);
});
