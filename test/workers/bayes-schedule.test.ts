/**
 * bayes-schedule — a night is served once: at its time, after a start that comes too late, by one of several nodes, and
 * also while Redis is away.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type RedisServer, startRedis } from '../../demo/redis.ts';
import { openNights } from '../../filter/bayes-nights.ts';
import { openNightQueue } from '../../workers/bayes-night-queue.ts';
import { type NightOutcome, type ScheduleOptions, startSchedule } from '../../workers/bayes-schedule.ts';
import { connectOnce } from '../../workers/redis.ts';
import { listeningLog, redisConfigOf } from './redis-rig.ts';
import { startScript } from './script-child.ts';

const dayMs = 86_400_000;

/** Planned times: one, and whole days before and after. */
function planAround(planned: number): ScheduleOptions['plan'] {
  const days = (at: number) => (at - planned) / dayMs;
  return {
    last: (now) => planned + Math.floor(days(now)) * dayMs,
    next: (after) => planned + (Math.floor(days(after)) + 1) * dayMs,
  };
}

const stacks = new WeakMap<TestContext, AsyncDisposableStack>();

/** Ends things in the opposite order: a Redis after those who use it. */
function stackOf(t: TestContext): AsyncDisposableStack {
  const known = stacks.get(t);
  if (known !== undefined) return known;
  const stack = new AsyncDisposableStack();
  stacks.set(t, stack);
  t.after(() => stack.disposeAsync());
  return stack;
}

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sluice-nights-'));
  stackOf(t).defer(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function redisOf(t: TestContext): Promise<RedisServer> {
  const server = await startRedis({ folder: await folderOf(t) });
  stackOf(t).defer(() => server.stop());
  return server;
}

/** What runs, in order; `until(n)` resolves when so many have begun. */
function recorder() {
  const begun: { node: string; planned: number }[] = [];
  const waiting = new Set<() => void>();
  return {
    begun: (): readonly { node: string; planned: number }[] => begun,
    note(node: string, planned: number) {
      begun.push({ node, planned });
      for (const wake of waiting) wake();
    },
    async until(count: number) {
      while (begun.length < count) await new Promise<void>((resolve) => waiting.add(resolve));
    },
  };
}

type Node = Partial<ScheduleOptions> & { readonly name?: string; readonly folder?: string };

async function startNode(
  t: TestContext,
  runs: ReturnType<typeof recorder>,
  plan: ScheduleOptions['plan'],
  node: Node = {},
) {
  const { name = 'a', folder = await folderOf(t), ...more } = node;
  const { log, lines } = listeningLog();
  const { now = Date.now } = more;
  const nights = await openNights({ file: join(folder, 'nights.db'), log, now });
  const schedule = startSchedule({
    plan,
    nights,
    lastRunAt: async () => null,
    run: async (planned) => {
      runs.note(name, planned);
      return 'done' as const;
    },
    log,
    everyMs: 5,
    settleMs: 0,
    patienceMs: 60_000,
    busyMs: 0,
    ...more,
  });
  stackOf(t).defer(async () => {
    await schedule.close();
    await nights.close();
  });
  return { schedule, nights, lines, log, folder };
}

/** Resolves when what is asked for again and again is true. */
async function eventually(isTrue: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await isTrue())) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** A night that is over, so that a look that begins now has seen everything. */
async function someLooks(node: { nights: { recall(): Promise<unknown> } }): Promise<void> {
  for (let looks = 0; looks < 20; looks++) {
    await node.nights.recall();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test('startSchedule() serves a night when it comes, once, and the next one', async (t) => {
  const runs = recorder();
  let now = Date.UTC(2026, 10, 22, 3, 0);
  const planned = Date.UTC(2026, 10, 22, 3, 15);
  const node = await startNode(t, runs, planAround(planned), {
    now: () => now,
    lastRunAt: async () => planned - 3600_000,
  });
  await someLooks(node);
  assert.deepEqual(runs.begun(), []);
  assert.equal(node.schedule.nextAt(), planned);
  now = planned;
  await runs.until(1);
  await eventually(async () => (await node.nights.recall()).some((night) => night.servedAt !== null));
  now = planned + dayMs - 1;
  await someLooks(node);
  now = planned + dayMs;
  await runs.until(2);
  assert.deepEqual(
    runs.begun().map((one) => one.planned),
    [planned, planned + dayMs],
  );
});

test('startSchedule() serves a night that a clock ahead has served already', async (t) => {
  const runs = recorder();
  const planned = Date.UTC(2026, 10, 22, 3, 15);
  const folder = await folderOf(t);
  const lastRunAt = async () => planned + 1000;
  let now = planned + dayMs + 60_000;
  const more = { folder, now: () => now, lastRunAt };
  const node = await startNode(t, runs, planAround(planned), more);
  await runs.until(1);
  await eventually(() => node.lines.some((line) => line.includes('Bayes night ends')));
  now = planned + 3_600_000;
  await eventually(() => node.lines.some((line) => line.includes('served by a clock ahead')));
  await eventually(async () => (await node.nights.recall()).length === 0);
  await someLooks(node);
  now = planned + dayMs + 120_000;
  await runs.until(2);
  assert.deepEqual(
    runs.begun().map((one) => one.planned),
    [planned + dayMs, planned + dayMs],
  );
});

test('startSchedule() runs one night soon after a start that missed three', async (t) => {
  const runs = recorder();
  const planned = Date.UTC(2026, 10, 22, 3, 15);
  const start = planned + 9 * 3600_000;
  let now = start;
  const node = await startNode(t, runs, planAround(planned), {
    now: () => now,
    settleMs: 60_000,
    lastRunAt: async () => planned - 3 * dayMs,
  });
  await someLooks(node);
  assert.deepEqual(runs.begun(), []);
  now = start + 60_000;
  await runs.until(1);
  await someLooks(node);
  assert.deepEqual(runs.begun(), [{ node: 'a', planned }]);
});

test('startSchedule() does nothing where somebody ran it by hand since', async (t) => {
  const runs = recorder();
  const planned = Date.now() - 3600_000;
  await someLooks(await startNode(t, runs, planAround(planned), { lastRunAt: async () => planned + 1000 }));
  assert.deepEqual(runs.begun(), []);
});

test('startSchedule() of two processes on one machine serves a night in one of them', async (t) => {
  const runs = recorder();
  const plan = planAround(Date.now() - 1000);
  const folder = await folderOf(t);
  const nodes = [
    await startNode(t, runs, plan, { folder }),
    await startNode(t, runs, plan, { folder, name: 'b' }),
  ];
  await runs.until(1);
  for (const node of nodes) await someLooks(node);
  assert.equal(runs.begun().length, 1);
});

test('startSchedule() tries a night again that found another run, and after a restart one that was stopped', async (t) => {
  const runs = recorder();
  const planned = Date.now() - 1000;
  const outcomes: NightOutcome[] = ['busy', 'busy', 'stopped'];
  const run = async (): Promise<NightOutcome> => {
    runs.note('a', planned);
    return outcomes.shift() ?? 'done';
  };
  const folder = await folderOf(t);
  // A run that was stopped leaves a record of its own, newer than the planned time.
  const lastRunAt = async () => (outcomes.length === 0 ? Date.now() : null);
  const first = await startNode(t, runs, planAround(planned), { folder, run, lastRunAt });
  await runs.until(3);
  await first.schedule.close();
  const second = await startNode(t, runs, planAround(planned), { folder, run, lastRunAt });
  await runs.until(4);
  await someLooks(second);
  assert.equal(runs.begun().length, 4);
});

test('startSchedule() gives another run some time before it tries again', async (t) => {
  const runs = recorder();
  const planned = Date.now() - 1000;
  let time = Date.now();
  const run = async (): Promise<NightOutcome> => {
    runs.note('a', planned);
    return runs.begun().length === 1 ? 'busy' : 'done';
  };
  const more = { run, now: () => time, busyMs: 60_000 };
  const node = await startNode(t, runs, planAround(planned), more);
  await runs.until(1);
  await eventually(() => node.lines.some((line) => line.includes('"outcome":"busy"')));
  await someLooks(node);
  assert.equal(runs.begun().length, 1);
  time += 60_000;
  await runs.until(2);
});

test('startSchedule() serves a night once although its database can not be used', async (t) => {
  const runs = recorder();
  const node = await startNode(t, runs, planAround(Date.now() - 1000), { folder: '/proc/nowhere' });
  await runs.until(1);
  await eventually(() => node.lines.some((line) => line.includes('"outcome":"done"')));
  for (let looks = 0; looks < 20; looks++) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(runs.begun().length, 1);
  assert.ok(node.lines.some((line) => line.startsWith('warn Cannot use the memory of nights')));
});

/** A node that takes nights from this Redis. */
function overRedis(
  url: string,
  plan: ScheduleOptions['plan'],
  more: Partial<Parameters<typeof openNightQueue>[0]> = {},
) {
  const { log } = listeningLog();
  const waits = { dueMs: 300, givenUpMs: 600_000, pingEveryMs: 50 };
  return openNightQueue({
    redis: redisConfigOf(url),
    at: '03:15',
    zone: 'UTC',
    next: plan.next,
    log,
    waits,
    ...more,
  });
}

test('openNightQueue() gives the night to one of two nodes, and the other one knows it', async (t) => {
  const server = await redisOf(t);
  const { url } = server;
  const runs = recorder();
  const planned = Date.now() + 500;
  const plan = planAround(planned);
  const lastRunAt = async () => planned - 1000;
  const nodes = await Promise.all(
    ['a', 'b'].map((name) => startNode(t, runs, plan, { name, lastRunAt, queue: overRedis(url, plan) })),
  );
  await runs.until(1);
  for (const node of nodes)
    await eventually(async () => (await node.nights.recall()).some(({ servedAt }) => servedAt !== null));
  for (const node of nodes) await someLooks(node);
  assert.equal(runs.begun().length, 1);
  assert.equal(runs.begun()[0]?.planned, planned);
  const others = nodes.filter((_, at) => runs.begun()[0]?.node !== ['a', 'b'][at]);
  assert.deepEqual(
    others.map(({ schedule }) => schedule.elsewhereAt()),
    [planned],
  );
  assert.equal(await server.ask('GET', 'sluice:bayes:served'), String(planned));
  const known = await server.ask('HMGET', 'sluice:bayes:repeat:night', 'pattern', 'tz');
  assert.deepEqual(known.split('\n'), ['15 3 * * *', 'UTC']);
});

test('openNightQueue() forgets a night that a clock ahead has served, and no other one', async (t) => {
  const server = await redisOf(t);
  const planned = Date.now() + dayMs;
  const queue = overRedis(server.url, planAround(planned))(async () => undefined);
  stackOf(t).defer(() => queue.close());
  await eventually(() => queue.isUp());
  await queue.tell(planned);
  await queue.forget(planned - dayMs);
  assert.equal(await queue.tend(planned, 0), 'served');
  await queue.forget(planned);
  assert.equal(await queue.tend(planned, 0), 'left to it');
});

test('openNightQueue() catches up with a night that came while nobody ran', async (t) => {
  const { url } = await redisOf(t);
  const runs = recorder();
  const planned = Date.now() + 700;
  const plan = planAround(planned);
  const lastRunAt = async () => planned - 1000;
  const first = await startNode(t, runs, plan, { lastRunAt, queue: overRedis(url, plan) });
  await eventually(() => isScheduled(url));
  await first.schedule.close();
  await eventually(() => Date.now() > planned + 100);
  assert.deepEqual(runs.begun(), []);
  // Its timer would wait for hours: it is the job that was kept.
  await startNode(t, runs, plan, { name: 'b', lastRunAt, everyMs: 3_600_000, queue: overRedis(url, plan) });
  await runs.until(1);
  assert.deepEqual(runs.begun(), [{ node: 'b', planned }]);
});

/** Whether Redis knows the next night. */
async function isScheduled(url: string): Promise<boolean> {
  const redis = await connectOnce(redisConfigOf(url));
  const there = await redis.zcard('sluice:bayes:delayed');
  redis.disconnect();
  return there === 1;
}

test('openNightQueue() writes the schedule again that an emptied Redis forgot, also a night that is due', async (t) => {
  const server = await redisOf(t);
  const { url } = server;
  const runs = recorder();
  const planned = Date.now() + 600;
  const plan = planAround(planned);
  const lastRunAt = async () => planned - 1000;
  const node = await startNode(t, runs, plan, { lastRunAt, queue: overRedis(url, plan) });
  await eventually(() => isScheduled(url));
  await server.ask('FLUSHALL');
  await runs.until(1);
  await eventually(async () => (await node.nights.recall()).some(({ servedAt }) => servedAt !== null));
  // Flushed after it was due and before anybody took it: nobody has a job for it.
  await node.schedule.close();
  await server.ask('FLUSHALL');
  const late = Date.now() - 5000;
  await startNode(t, runs, planAround(late), { name: 'b', queue: overRedis(url, planAround(late)) });
  await runs.until(2);
  assert.deepEqual(runs.begun()[1], { node: 'b', planned: late });
});

test('openNightQueue() needs no right beyond those of docs/deploy.md', async (t) => {
  const server = await redisOf(t);
  const text = readFileSync(join(import.meta.dirname, '../../docs/deploy.md'), 'utf8');
  const [, user = ''] = /^user (sluice on .*)$/m.exec(text) ?? [];
  await server.ask('ACL', 'SETUSER', ...user.split(' '));
  const url = server.url.replace('redis://', 'redis://sluice:a-long-password@');
  const runs = recorder();
  // One by the scheduler, one that is added.
  const planned = Date.now() + 600;
  const plan = planAround(planned);
  const first = await startNode(t, runs, plan, {
    lastRunAt: async () => planned - 1000,
    queue: overRedis(url, plan),
  });
  await runs.until(1);
  await eventually(async () => (await first.nights.recall()).some(({ servedAt }) => servedAt !== null));
  const late = planAround(planned - 5000);
  await startNode(t, runs, late, { name: 'b', queue: overRedis(url, late) });
  await runs.until(2);
  assert.equal(await server.ask('ACL', 'LOG'), '');
});

test('startSchedule() serves the night by the timer where Redis is away, and Redis back does not run it again', async (t) => {
  const server = await redisOf(t);
  const runs = recorder();
  const planned = Date.now() + 400;
  const plan = planAround(planned);
  const lastRunAt = async () => planned - 1000;
  const node = await startNode(t, runs, plan, {
    lastRunAt,
    patienceMs: 100,
    queue: overRedis(server.url, plan),
  });
  await eventually(() => isScheduled(server.url));
  await server.stop();
  await runs.until(1);
  await server.restart();
  await eventually(() => isScheduled(server.url));
  await someLooks(node);
  assert.deepEqual(runs.begun(), [{ node: 'a', planned }]);
});

test('openNightQueue() gives a night to another node when the one that had it was killed', async (t) => {
  const { url } = await redisOf(t);
  const file = (name: string) => JSON.stringify(join(import.meta.dirname, '../../workers', name));
  const child = await startScript(
    t,
    `import { openNightQueue } from ${file('bayes-night-queue.ts')};
     const log = { debug() {}, info() {}, warn() {}, error() {} };
     const redis = ${JSON.stringify(redisConfigOf(url))};
     const planned = Date.now() + 1000;
     const waits = { dueMs: 300, givenUpMs: 600_000, pingEveryMs: 50 };
     const next = (after) => (after < planned ? planned : after + ${dayMs});
     openNightQueue({ redis, at: '03:15', zone: 'UTC', next, log, waits, lockMs: 400 })(async (night) => {
       say(String(night));
       await new Promise(() => {});
     });
     say('up');`,
  );
  const planned = Number(await child.line());
  const runs = recorder();
  const plan = planAround(planned);
  child.process.kill('SIGKILL');
  await startNode(t, runs, plan, {
    name: 'b',
    everyMs: 3_600_000,
    queue: overRedis(url, plan, { lockMs: 400 }),
  });
  await runs.until(1);
  assert.deepEqual(runs.begun(), [{ node: 'b', planned }]);
});
