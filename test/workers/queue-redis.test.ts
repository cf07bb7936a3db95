/** queue over Redis — real redis-server, real worker processes, fakes of the daemons. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { eicar } from '../../demo/clamd.ts';
import { freePort } from '../../demo/daemon.ts';
import { openJobs } from '../../workers/bull.ts';
import { roundMs } from '../../workers/fair-priority.ts';
import { type Job, outcomeOf } from '../../workers/job.ts';
import { silentLog } from '../../workers/log.ts';
import { connectRedis, createOutage } from '../../workers/redis.ts';
import { createWaiters } from '../../workers/remote-waiters.ts';
import { createWatch } from '../../workers/remote-watch.ts';
import { type Act as SpamdAct, gtube } from '../fakes/spamd.ts';
import { heldScript, leftIn, never, openSite, type Site, until } from './remote-rig.ts';

const letter = (body: string) => `Subject: x\r\n\r\n${body}\r\n`;

test('scan() is answered by workers in other processes, each for its scanner', async (t) => {
  const site = await openSite(t);
  await Promise.all([
    site.startWorker({ scanners: 'virus' }),
    site.startWorker({ scanners: 'spam', more: 'scan: { virus: false }' }),
  ]);
  await site.untilSeen(2);
  const ham = await site.scan(letter('hello'));
  assert.deepEqual(ham.virus, { kind: 'clean' });
  assert.equal(ham.spam.kind === 'scored' && ham.spam.score < 5, true);
  const spam = await site.scan(letter(gtube));
  assert.equal(spam.spam.kind === 'scored' && spam.spam.score, 1000);
  const virus = await site.scan(letter(eicar()));
  assert.deepEqual(virus.virus, { kind: 'infected', name: 'Eicar-Test-Signature.UNOFFICIAL' });
  await until('nothing is left in Redis', async () => (await leftIn(site.redis)).length === 0);
});

test('scan() shows spamd the envelope sender, lone surrogates and all', async (t) => {
  const site = await openSite(t);
  await site.startWorker();
  const { ticket } = await site.put(letter('x'), 'j\udcfcrgen@example.com');
  await site.queue.scan(ticket, never());
  const asked = site.spamd.conversations.find(({ command }) => command.startsWith('HEADERS'));
  assert.ok(
    asked?.message.includes(Buffer.from('X-Sluice-Envelope-From: <j\xfcrgen@example.com>\r\n', 'latin1')),
  );
});

test('learn() reaches a worker that has a spamd', async (t) => {
  const site = await openSite(t);
  await site.startWorker();
  const octets = letter('learn me');
  const read = async function* () {
    yield Buffer.from(octets);
  };
  const learnt = await site.queue.learn(read, octets.length, 'spam', never());
  assert.deepEqual(learnt, { kind: 'learned' });
  const told = site.spamd.conversations.find(({ command }) => command.startsWith('TELL'));
  assert.equal(told?.message.toString(), octets);
  await until('nothing is left in Redis', async () => (await leftIn(site.redis)).length === 0);
});

test('scan(), learn() and who is there ask of Redis only what 6.2 knows, and so every Valkey', async (t) => {
  const site = await openSite(t);
  await site.startWorker();
  await site.untilSeen(1);
  const stop = new AbortController();
  const cancelled = site.scan(letter('cancelled'), stop.signal);
  stop.abort();
  await cancelled;
  const octets = letter('x');
  await site.scan(octets);
  const read = async function* () {
    yield Buffer.from(octets);
  };
  await site.queue.learn(read, octets.length, 'spam', never());
  const stats = await site.redis.ask('INFO', 'commandstats');
  const names = [...stats.matchAll(/^cmdstat_([a-z]+)/gm)].map(([, name = '']) => name);
  const used = [...new Set(names)].filter((name) => name !== 'config');
  assert.ok(used.length > 20 && used.includes('bzpopmin') && used.includes('evalsha'), used.join());
  t.diagnostic(used.toSorted().join(' '));
  for (const name of used) {
    const docs = (await site.redis.ask('COMMAND', 'DOCS', name)).split('\n');
    const [major = 9, minor = 9] = (docs[docs.indexOf('since') + 1] ?? '').split('.').map(Number);
    assert.ok(major < 6 || (major === 6 && minor <= 2), `${name} came with ${major}.${minor}`);
  }
});

for (const [label, options, way] of [
  ['through Redis, in memory', {}, 'redis'],
  ['through the shared spool', { memoryBytesMax: 0 }, 'spool'],
] as const) {
  test(`scan() gets 1 MB to a worker ${label}`, async (t) => {
    const site = await openSite(t, { ...options, ...(way === 'redis' ? { memoryBytesMax: 2 ** 21 } : {}) });
    await site.startWorker();
    // Known to share the spool from the second beat on.
    await until('the worker is seen', async () => (await site.scan(letter('a'))).virus.kind === 'clean');
    const octets = Buffer.from(letter('b'.repeat(1024 * 1024)));
    const before = site.clamd.conversations.length;
    const report = await site.scan(octets);
    assert.deepEqual(report.virus, { kind: 'clean' });
    const conversation = site.clamd.conversations
      .slice(before)
      .find(({ command }) => command === 'zINSTREAM');
    assert.ok(conversation?.stream.equals(octets));
    await until('nothing is left in Redis', async () => (await leftIn(site.redis)).length === 0);
  });
}

/** A worker that shares no spool with the filter, as on another machine. */
const apart = (site: Site) => ({ env: { SLUICE_SPOOL: join(site.folder, 'elsewhere') } });
const scannedBy = ({ clamd }: Site) =>
  clamd.conversations.filter(({ command }) => command === 'zINSTREAM').map(({ stream }) => stream.length);

test('scan() gets a message in a file to a worker that does not share the spool', async (t) => {
  const site = await openSite(t, { memoryBytesMax: 0 });
  // Asked before anybody is known to be there, the worker must say that it can't read.
  const octets = Buffer.from(letter('b'.repeat(600_000)));
  const starting = site.startWorker(apart(site));
  // On a busy machine a worker may take longer to start than a message waits for one.
  await until('it is scanned', async () => (await site.scan(octets)).virus.kind === 'clean');
  const worker = await starting;
  assert.match(site.workerLog(worker), /Cannot get the octets/);
  assert.deepEqual(scannedBy(site).filter(Boolean), [octets.length]);
  // Known to be apart, it is not asked to look there.
  await site.untilSeen(1);
  const misses = site.workerLog(worker).split('Cannot get the octets').length;
  assert.deepEqual((await site.scan(octets)).virus, { kind: 'clean' });
  assert.equal(site.workerLog(worker).split('Cannot get the octets').length, misses);
  await until('nothing is left in Redis', async () => (await leftIn(site.redis)).length === 0);
});

test('scan() of a message that is too large for Redis: a worker fetches it from the filter', async (t) => {
  const fetch = `127.0.0.1:${await freePort()}`;
  const redisMore = `messageBytesMax: 300KB, fetch: "${fetch}"`;
  const site = await openSite(t, { memoryBytesMax: 0, redisMore, trusts: () => true });
  await site.startWorker(apart(site));
  const octets = Buffer.from(letter('b'.repeat(2_000_000)));
  const report = await site.scan(octets);
  assert.deepEqual(report.virus, { kind: 'clean' });
  assert.equal(report.spam.kind === 'scored' && report.spam.truncated, true);
  assert.deepEqual(scannedBy(site).filter(Boolean), [octets.length]);
});

test('scan() of a message that no way leads to a worker says what to do', async (t) => {
  const site = await openSite(t, { memoryBytesMax: 0, redisMore: 'messageBytesMax: 300KB' });
  await site.startWorker(apart(site));
  const { virus } = await site.scan(letter('b'.repeat(600_000)));
  assert.match(
    virus.kind === 'unchecked' ? `${virus.reason} ${virus.detail}` : '',
    /unreachable .*redis\.fetch/,
  );
});

test('a worker whose scanner is away leaves jobs to one that has it, and none is lost on the way', async (t) => {
  const site = await openSite(t);
  const gone = `unix:${join(site.folder, 'nobody')}`;
  const [lame] = await Promise.all([
    site.startWorker({ more: '', env: { SLUICE_CLAMD: gone } }),
    site.startWorker(),
  ]);
  await site.untilSeen(2);
  for (let message = 0; message < 20; message++)
    assert.deepEqual((await site.scan(letter(`${message}`))).virus, { kind: 'clean' });
  await until('it takes no more', () => site.workerLog(lame).includes('left to other workers'));
});

test('a worker whose scanner is away goes on where there is no other, and says so', async (t) => {
  const site = await openSite(t);
  await site.startWorker({ env: { SLUICE_CLAMD: `unix:${join(site.folder, 'nobody')}` } });
  const { virus } = await site.scan(letter('x'));
  assert.match(
    virus.kind === 'unchecked' ? `${virus.reason} ${virus.detail}` : '',
    /unreachable .*no such socket/,
  );
});

test('scan() asks the scanner of this process where no worker has one that answers', async (t) => {
  const site = await openSite(t, { local: true });
  await site.startWorker({ env: { SLUICE_CLAMD: `unix:${join(site.folder, 'nobody')}` } });
  const { virus, spam } = await site.scan(letter('x'));
  assert.deepEqual([virus.kind, spam.kind], ['clean', 'scored']);
  assert.equal(scannedBy(site).length, 1);
});

test('scan() of bulk mail lets others pass, small ones first, whatever local part each of its senders has', async (t) => {
  const { script, release } = heldScript();
  const site = await openSite(t, { clamdScript: script });
  await site.startWorker({ more: 'worker: { virus: 1 }' });
  await site.untilSeen(1);
  const reached = site.clamd.next('end');
  const held = site.scan(letter('held'));
  await reached;
  const bulk = Array.from({ length: 20 }, (_, n) => `bulk ${n}`);
  const senders = [...bulk.map((_, n) => `news+${n}@list.example`), 'a@large.example', 'a@other.example'];
  const bodies = [...bulk, 'large'.padEnd(3 * 1024 ** 2), 'other'];
  const tickets = await Promise.all(
    bodies.map(async (body, n) => (await site.put(letter(body), senders[n])).ticket),
  );
  const scans = tickets.map((ticket) => site.queue.scan(ticket, never()));
  const waiting = async () => Number(await site.redis.ask('ZCARD', 'test:virus:prioritized'));
  await until('all wait', async () => (await waiting()) === bodies.length);
  release();
  site.clamd.answer('stream: OK\0');
  await Promise.all([held, ...scans]);
  const order = site.clamd.conversations
    .filter(({ command }) => command === 'zINSTREAM')
    .map(({ stream }) => stream.toString('latin1', 14, 25).split('\r')[0]?.trim());
  assert.deepEqual(order, ['held', 'bulk 0', 'other', 'large', ...bulk.slice(1)]);
});

test('scan() of an infected message ends the conversation with a spamd that hangs', async (t) => {
  const { script } = heldScript();
  const spamdScript: (SpamdAct | null)[] = [{ at: 'message', do: 'hang' }];
  const site = await openSite(t, { clamdScript: script, spamdScript });
  await site.startWorker();
  const scanning = site.scan(letter('x'));
  await until('both have it', () => {
    const isAsked = site.spamd.conversations.some(({ message }) => message.includes('x\r\n'));
    return isAsked && scannedBy(site).some(Boolean);
  });
  // From now on the worker's pings are answered.
  spamdScript.splice(0, 1, null);
  site.clamd.answer('stream: Some-Virus FOUND\0');
  const { virus, spam } = await scanning;
  assert.equal(virus.kind, 'infected');
  assert.equal(spam.kind === 'unchecked' && spam.reason, 'cancelled');
  // A half-closed one looks alive until something is written; the pings before may still hang.
  void site.spamd.untilLeft();
  const asked = site.spamd.conversations.find(({ message }) => message.includes('x\r\n'));
  await until('its conversation ends', () => asked?.closed === true, 5_000);
  await until('nothing is left in Redis', async () => (await leftIn(site.redis)).length === 0);
});

test('a worker that is told to stop while Redis is away ends', async (t) => {
  const site = await openSite(t);
  const worker = await site.startWorker();
  site.redis.kill('SIGKILL');
  await until('it noticed', () => site.workerLog(worker).includes('Redis is away'));
  worker.kill('SIGTERM');
  await until('it is gone', () => !existsSync(`/proc/${worker.pid}`), 5_000);
});

test('createWatch() puts first who waits since before virtual time went round', async (t) => {
  const site = await openSite(t);
  const { redis } = site.config;
  assert.ok(redis !== null);
  const connection = connectRedis(redis, 'once', createOutage(redis, silentLog), { lazyConnect: false });
  t.after(() => connection.disconnect());
  const jobs = openJobs(connection, 'test', silentLog);
  const waiters = createWaiters(silentLog);
  const job: Job = {
    jobId: crypto.randomUUID(),
    instance: crypto.randomUUID(),
    task: 'scan',
    spoolId: 'a'.repeat(32),
    sizeBytes: 1,
    sha256: 'a'.repeat(64),
    queueId: null,
    sender: '',
    deadline: Date.now() + 60_000,
    bytes: { kind: 'redis', key: crypto.randomUUID(), pieces: 1 },
  };
  await jobs.add('virus', job, { priority: 2_000_000, arrivalMs: Date.now() });
  waiters.wait({ queue: 'virus', job, round: 0, accept: outcomeOf.virus }, never());
  const presence = {
    isUp: () => true,
    clock: { now: () => roundMs, monotonic: () => 0, learn: () => undefined },
    seen: () => ({ workers: [], filters: [] }),
  };
  const cancel = { job: () => undefined, again: () => undefined };
  const watch = createWatch({ jobs, waiters, cancel, presence: () => presence, log: silentLog });
  t.after(() => watch.close());
  const score = async () => Number(await site.redis.ask('ZSCORE', 'test:virus:prioritized', job.jobId));
  assert.ok((await score()) > 1_000_000 * 2 ** 32);
  await until('it is first', async () => (await score()) < 2 * 2 ** 32);
});
