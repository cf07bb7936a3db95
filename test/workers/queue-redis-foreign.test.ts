/** queue over Redis — what others write there: results of other messages, jobs that are none, paths that lead elsewhere. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { silentLog } from '../../workers/log.ts';
import { openJobs } from '../../workers/bull.ts';
import type { Job } from '../../workers/job.ts';
import { connectRedis, createOutage } from '../../workers/redis.ts';
import { never, openSite, type Site, until } from './remote-rig.ts';

const letter = (body: string) => `Subject: x\r\n\r\n${body}\r\n`;
const virusJob = async (site: Site): Promise<Job> => {
  const [key = ''] = (await site.redis.ask('KEYS', 'test:virus:????????-*'))
    .split('\n')
    .filter((one) => !one.endsWith(':lock'));
  return JSON.parse(await site.redis.ask('HGET', key, 'data')) as Job;
};

test('scan() drops results that are not its own, says so, and takes the right one', async (t) => {
  const site = await openSite(t, { clamdScript: [{ at: 'end', do: 'hang' }] });
  await site.startWorker();
  const reached = site.clamd.next('end');
  const scanning = site.scan(letter('x'));
  await reached;
  const { jobId, spoolId, sha256, instance } = await virusJob(site);
  const own = { jobId, spoolId, sha256, worker: 'stranger' };
  const clean = { kind: 'clean' };
  const foreign: readonly [string, string][] = [
    ['no JSON', 'stream: OK'],
    ['another shape', JSON.stringify({ ...own, outcome: clean, more: 1 })],
    ['another digest', JSON.stringify({ ...own, sha256: 'a'.repeat(64), outcome: clean })],
    ['another message', JSON.stringify({ ...own, spoolId: 'b'.repeat(32), outcome: clean })],
    ['an answer to another question', JSON.stringify({ ...own, outcome: { kind: 'learned' } })],
    [
      'a score for a virus',
      JSON.stringify({
        ...own,
        outcome: { kind: 'scored', score: 0, tests: [], truncated: false, ignored: [] },
      }),
    ],
    ['no verdict at all', JSON.stringify({ ...own, outcome: { kind: 'off' } })],
  ];
  const alarms = () => site.lines.filter((line) => line.includes('Dropped a result that is not ours')).length;
  for (const [at, [label, text]] of foreign.entries()) {
    await site.redis.ask('XADD', `test:results:${instance}`, '*', 'result', text);
    await until(label, () => alarms() === at + 1);
  }
  // Of a job that nobody waits for (any more): no alarm, it may just be late.
  const late = JSON.stringify({ ...own, jobId: randomUUID(), outcome: clean });
  await site.redis.ask('XADD', `test:results:${instance}`, '*', 'result', late);
  const right = JSON.stringify({ ...own, outcome: { kind: 'infected', name: 'Right' } });
  await site.redis.ask('XADD', `test:results:${instance}`, '*', 'result', right);
  assert.deepEqual((await scanning).virus, { kind: 'infected', name: 'Right' });
  assert.equal(alarms(), foreign.length);
  // Said again it belongs to nobody: the next message gets its own verdict.
  await site.redis.ask('XADD', `test:results:${instance}`, '*', 'result', right);
  const next = site.clamd.next('end');
  const second = site.scan(letter('y'));
  await next;
  site.clamd.answer('stream: OK\0');
  assert.deepEqual((await second).virus, { kind: 'clean' });
});

test('a worker drops jobs that are none, and lives', async (t) => {
  const site = await openSite(t);
  const worker = await site.startWorker();
  const { redis } = site.config;
  assert.ok(redis !== null);
  const connection = connectRedis(redis, 'once', createOutage(redis, silentLog), { lazyConnect: false });
  t.after(() => connection.disconnect());
  const jobs = openJobs(connection, 'test', silentLog);
  const job: Job = {
    jobId: randomUUID(),
    instance: randomUUID(),
    task: 'scan',
    spoolId: 'a'.repeat(32),
    sizeBytes: 5,
    sha256: 'a'.repeat(64),
    queueId: null,
    sender: '',
    deadline: Date.now() + 60_000,
    bytes: { kind: 'redis', key: randomUUID(), pieces: 1 },
  };
  const place = { priority: 1, arrivalMs: Date.now() };
  const forged: readonly object[] = [
    { ...job, spoolId: '../../../../etc/passwd' },
    { ...job, bytes: { kind: 'spool', folder: '../x', marker: 'a'.repeat(64) } },
    { ...job, bytes: { kind: 'spool', folder: '/etc', marker: 'a'.repeat(64) } },
    { ...job, bytes: { kind: 'inline', octets: 'x' } },
    { ...job, task: 'release' },
    { ...job, sizeBytes: -1 },
    { ...job, deadline: 'never' },
    { ...job, more: true },
  ];
  const dropped = () => site.workerLog(worker).split('Dropped a foreign job').length - 1;
  for (const [at, one] of forged.entries()) {
    await jobs.add('virus', { ...one, jobId: randomUUID() } as Job, place);
    await until(JSON.stringify(one), () => dropped() === at + 1);
  }
  await jobs.add('virus', { ...job, jobId: randomUUID(), task: 'learn spam' }, place);
  await until('of another queue', () => site.workerLog(worker).includes('Dropped a job of another queue'));
  assert.equal(site.clamd.conversations.filter(({ command }) => command === 'zINSTREAM').length, 0);
  const asked = site.spamd.conversations.filter(({ command }) => !command.startsWith('PING')).length;
  // One that is late is not worth an answer; one without octets is answered, to nobody.
  await jobs.add('spam', { ...job, jobId: randomUUID(), deadline: Date.now() - 1_000 }, place);
  await jobs.add('spam', { ...job, jobId: randomUUID() }, place);
  await until('the octets are missed', () => site.workerLog(worker).includes('Cannot get the octets'));
  assert.equal(site.spamd.conversations.filter(({ command }) => !command.startsWith('PING')).length, asked);
  const { ticket } = await site.put(letter('x'));
  assert.deepEqual((await site.queue.scan(ticket, never())).virus, { kind: 'clean' });
});
