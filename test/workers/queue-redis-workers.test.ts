/** queue over Redis — workers die, drain, come too late and are told to stop while a message is under way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Act } from '../fakes/clamd.ts';
import { accepts, heldScript, leftIn, letter, openSite, until } from './remote-rig.ts';

const hangs: Act = { at: 'end', do: 'hang' };

test('scan() is unreachable at once where no worker has lived for 5 s', async (t) => {
  const site = await openSite(t);
  const first = await site.scan(letter('x'));
  assert.match(first.virus.kind === 'unchecked' ? first.virus.detail : '', /no worker for virus is alive/);
  const before = performance.now();
  const second = await site.scan(letter('x'));
  assert.equal(second.spam.kind === 'unchecked' && second.spam.reason, 'unreachable');
  assert.ok(performance.now() - before < 4_000, 'it did not wait again');
  await site.startWorker();
  await accepts(site);
});

test('scan() is done by another worker within 10 s of the death of the first', async (t) => {
  const { script, release } = heldScript();
  const site = await openSite(t, { clamdScript: script });
  const first = await site.startWorker();
  const reached = site.clamd.next('end');
  const scanning = site.scan(letter('x'));
  await reached;
  await site.startWorker();
  release();
  const died = performance.now();
  first.kill('SIGKILL');
  assert.deepEqual((await scanning).virus, { kind: 'clean' });
  assert.ok(performance.now() - died < 10_000, `${Math.round(performance.now() - died)} ms`);
  await until('nothing is left in Redis', async () => (await leftIn(site.redis)).length === 0);
});

test('scan() of a message that kills its workers is poison, and never touches the scanner of this process', async (t) => {
  const site = await openSite(t, { clamdScript: [hangs], local: true });
  const asked = () => site.clamd.conversations.filter(({ command }) => command === 'zINSTREAM').length;
  let worker = await site.startWorker();
  let deaths = 0;
  const scanning = site.scan(letter('poison'));
  const report = await Promise.race([
    scanning,
    (async (): Promise<never> => {
      for (;;) {
        await until('a worker has it', () => asked() > deaths, 30_000);
        deaths++;
        worker.kill('SIGKILL');
        worker = await site.startWorker();
      }
    })(),
  ]);
  assert.equal(report.virus.kind === 'unchecked' && report.virus.reason, 'poison');
  assert.equal(report.spam.kind, 'scored');
  assert.equal(asked(), 3);
  await until('nothing is left in Redis', async () => (await leftIn(site.redis)).length === 0);
});

test('scan() of innocent messages that are under way when poison kills their worker is no poison', async (t) => {
  const { script } = heldScript();
  const site = await openSite(t, { clamdScript: script, deadlineSeconds: 300 });
  const asked = () => site.clamd.conversations.filter(({ stream }) => stream.length > 0);
  let worker = await site.startWorker();
  const bodies = ['poison', ...Array.from({ length: 10 }, (_, n) => `innocent ${n}`)];
  const scans = Promise.all(bodies.map((body) => site.scan(letter(body))));
  await until('all are under way', () => asked().length === bodies.length);
  let seen = asked().length;
  const killAgain = async (): Promise<void> => {
    worker.kill('SIGKILL');
    worker = await site.startWorker();
  };
  await killAgain();
  let isDone = false;
  const done = scans.finally(() => (isDone = true));
  while (!isDone) {
    await until('the next is under way', () => isDone || asked().length > seen, 30_000);
    const since = asked().slice(seen);
    assert.ok(since.length <= 1, 'one at a time');
    seen += since.length;
    if (since.some(({ stream }) => stream.includes('poison'))) await killAgain();
    else site.clamd.answer('stream: OK\0');
  }
  const [poison, ...innocent] = (await done).map(({ virus }) =>
    virus.kind === 'unchecked' ? virus.reason : virus.kind,
  );
  assert.equal(poison, 'poison');
  assert.deepEqual(new Set(innocent), new Set(['clean']));
});

test('a worker told to stop says so before it ends, and nobody counts on it meanwhile', async (t) => {
  const { script } = heldScript();
  const site = await openSite(t, { clamdScript: script });
  const worker = await site.startWorker();
  const reached = site.clamd.next('end');
  const scanning = site.scan(letter('first'));
  await reached;
  worker.kill('SIGTERM');
  await until('it serves no queue', () => {
    const self = site.queue.view?.seen().workers.find(({ pid }) => pid === worker.pid);
    return self?.virus === null && self.spam === null;
  });
  site.clamd.answer('stream: OK\0');
  assert.deepEqual((await scanning).virus, { kind: 'clean' });
});

test('a worker told to stop finishes what it has, takes no more, and ends with 0', async (t) => {
  const { script } = heldScript();
  const site = await openSite(t, { clamdScript: script });
  const worker = await site.startWorker({ more: 'worker: { virus: 1 }' });
  const reached = site.clamd.next('end');
  const first = site.scan(letter('first'));
  await reached;
  const second = site.scan(letter('second'));
  worker.kill('SIGTERM');
  await until('it stops', () => site.workerLog(worker).includes('Stopping'));
  site.clamd.answer('stream: OK\0');
  assert.deepEqual((await first).virus, { kind: 'clean' });
  script.splice(0, script.length, null);
  await site.startWorker();
  assert.deepEqual((await second).virus, { kind: 'clean' });
});

test('scan() that is cancelled ends the scan at the worker, and takes back what waits', async (t) => {
  const { script } = heldScript();
  const site = await openSite(t, { clamdScript: script });
  await site.startWorker({ more: 'worker: { virus: 1 }' });
  const reached = site.clamd.next('end');
  const stops = [new AbortController(), new AbortController()] as const;
  const running = site.scan(letter('running'), stops[0].signal);
  await reached;
  const waiting = site.scan(letter('waiting'), stops[1].signal);
  const jobs = async () => Number(await site.redis.ask('ZCARD', 'test:virus:prioritized'));
  await until('it waits', async () => (await jobs()) === 1);
  stops[1].abort();
  assert.equal((await waiting).virus.kind, 'unchecked');
  await until('it is taken back', async () => (await jobs()) === 0);
  const closed = site.clamd.next('closed');
  stops[0].abort();
  const { virus } = await running;
  assert.equal(virus.kind === 'unchecked' && virus.reason, 'cancelled');
  await closed;
  await until('nothing is left in Redis', async () => (await leftIn(site.redis)).length === 0);
});

test('scan() that no worker had time for is busy, one that was begun is a timeout, and dropped at its scanner', async (t) => {
  const site = await openSite(t, { clamdScript: [hangs], deadlineSeconds: 6 });
  await site.startWorker({ more: 'worker: { virus: 1 }' });
  const reached = site.clamd.next('end');
  const begun = site.scan(letter('begun'));
  await reached;
  const waits = site.scan(letter('waits'));
  const closed = site.clamd.next('closed');
  const [first, second] = [(await begun).virus, (await waits).virus];
  await closed;
  assert.equal(first.kind === 'unchecked' && first.reason, 'timeout');
  assert.equal(second.kind === 'unchecked' && second.reason, 'busy');
});
