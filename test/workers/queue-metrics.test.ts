/**
 * queue-metrics — what filter and worker tell of the queues, and what is missing while Redis is away.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Backlog } from '../../workers/backlog.ts';
import { createRegister, type Register } from '../../workers/metrics.ts';
import type { WorkerPresence } from '../../workers/presence.ts';
import { addJobFigures, addQueueFigures } from '../../workers/queue-metrics.ts';

const scanner = { ok: true, detail: null, downSince: null, addresses: [], concurrency: 16, running: 3 };
const worker: WorkerPresence = {
  id: 'w1',
  host: 'a',
  pid: 1,
  version: '1',
  startedAt: 0,
  virus: scanner,
  spam: { ...scanner, concurrency: 4 },
  spools: [],
};
const down: WorkerPresence = {
  ...worker,
  id: 'w2',
  virus: { ...scanner, ok: false, detail: 'gone' },
  spam: null,
};
const backlog: Backlog = {
  virus: { waiting: 7, active: 2, oldestMs: 1500 },
  spam: { waiting: 0, active: 0, oldestMs: null },
};

/** Samples of ours in the text, `name{labels} value`. */
async function samplesOf(register: Register): Promise<string[]> {
  return (await register.text()).split('\n').filter((line) => /^sluice_(?!build)/.test(line));
}

test('addQueueFigures() tells how the queues stand and who is there', async () => {
  const register = createRegister('1');
  let asked = 0;
  addQueueFigures(register, {
    isUp: () => true,
    seen: () => ({ workers: [worker, down], filters: [] }),
    backlog: async () => {
      asked++;
      return backlog;
    },
  });
  assert.deepEqual((await samplesOf(register)).toSorted(), [
    'sluice_queue_active_jobs{queue="spam"} 0',
    'sluice_queue_active_jobs{queue="virus"} 2',
    'sluice_queue_oldest_job_seconds{queue="spam"} 0',
    'sluice_queue_oldest_job_seconds{queue="virus"} 1.5',
    'sluice_queue_waiting_jobs{queue="spam"} 0',
    'sluice_queue_waiting_jobs{queue="virus"} 7',
    'sluice_redis_up 1',
    'sluice_worker_slots{scanner="clamd"} 16',
    'sluice_worker_slots{scanner="spamd"} 4',
    'sluice_workers_alive{scanner="clamd"} 2',
    'sluice_workers_alive{scanner="spamd"} 1',
    'sluice_workers_ready{scanner="clamd"} 1',
    'sluice_workers_ready{scanner="spamd"} 1',
  ]);
  assert.equal(asked, 1, 'one look for all samples of a scrape');
});

test('addQueueFigures() tells nothing of what is in Redis while it is away', async () => {
  const register = createRegister('1');
  addQueueFigures(register, {
    isUp: () => false,
    seen: () => ({ workers: [], filters: [] }),
    backlog: () => Promise.reject(new Error('away')),
  });
  assert.deepEqual(await samplesOf(register), ['sluice_redis_up 0']);
});

test('addJobFigures() counts jobs by result, and their time', async () => {
  const register = createRegister('1');
  const job = addJobFigures(register, {
    isUp: () => true,
    queues: ['virus'],
    running: () => 5,
    runningMax: () => 16,
  });
  job('virus', 'clean', 20);
  job('virus', 'clean', 30);
  job('virus', 'timeout', 240_000);
  const samples = await samplesOf(register);
  for (const line of [
    'sluice_jobs_total{queue="virus",result="clean"} 2',
    'sluice_jobs_total{queue="virus",result="timeout"} 1',
    'sluice_job_duration_seconds_count{queue="virus"} 3',
    'sluice_job_duration_seconds_bucket{le="0.025",queue="virus"} 1',
    'sluice_running_jobs{queue="virus"} 5',
    'sluice_running_jobs_max{queue="virus"} 16',
    'sluice_redis_up 1',
  ])
    assert.ok(samples.includes(line), `${line}\nnot in\n${samples.join('\n')}`);
});
