/**
 * worker-monitor — what an administrator sees of a worker from outside, with a real health server.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { freePort } from '../../demo/daemon.ts';
import { parseConfig } from '../../rules/config.ts';
import { createScannerClients } from '../../workers/clients.ts';
import { openWorkerMonitor } from '../../workers/worker-monitor.ts';
import { startFakeClamd } from '../fakes/clamd.ts';
import { listeningLog } from './redis-rig.ts';

async function setUp(t: TestContext) {
  const clamd = await startFakeClamd();
  t.after(() => clamd.stop());
  assert.ok(clamd.address.kind === 'tcp');
  const port = await freePort();
  const text = `clamd: 127.0.0.1:${clamd.address.port}\nscan: { spam: false }\nhealth: { worker: 127.0.0.1:${port} }`;
  const { config } = parseConfig({ file: 'sluice.yaml', text }, {});
  assert.ok(config !== null);
  const { log } = listeningLog();
  const redis = { isUp: true };
  const clients = createScannerClients(config, log);
  t.after(() => clients.clamd?.close());
  const monitor = await openWorkerMonitor(config, {
    id: 'w1',
    clients,
    log,
    isUp: () => redis.isUp,
    queues: ['virus'],
    running: () => 2,
    runningMax: (queue) => config.worker[queue],
  });
  t.after(() => monitor.close());
  const get = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`);
    return { code: response.status, text: await response.text() };
  };
  return { monitor, redis, get };
}

test('openWorkerMonitor() is ready while Redis is there, and until the worker is told to stop', async (t) => {
  const { monitor, redis, get } = await setUp(t);
  const ready = await get('/readyz');
  assert.equal(ready.code, 200, ready.text);
  assert.match(ready.text, /"id":"w1","running":\{"virus":2\}/);
  redis.isUp = false;
  const away = await get('/readyz');
  assert.deepEqual([away.code, /"hindrances":\["Redis is away"\]/.test(away.text)], [503, true]);
  redis.isUp = true;
  monitor.stopping();
  assert.match((await get('/readyz')).text, /"hindrances":\["stopping"\]/);
  assert.equal((await get('/healthz')).code, 200);
});

test('openWorkerMonitor() counts jobs by result, and tells of the scanner', async (t) => {
  const { monitor, get } = await setUp(t);
  monitor.job('virus', { kind: 'clean' }, 20);
  monitor.job('virus', { kind: 'unchecked', reason: 'timeout', detail: '' }, 900);
  monitor.job('virus', { kind: 'need', detail: '' }, 1);
  const scannerUp = /^sluice_scanner_up\{scanner="clamd",address="127\.0\.0\.1:\d+"\} 1$/m;
  let { text } = await get('/metrics');
  while (!scannerUp.test(text)) ({ text } = await get('/metrics'));
  for (const result of ['clean', 'timeout', 'need'])
    assert.match(text, new RegExp(`^sluice_jobs_total\\{queue="virus",result="${result}"\\} 1$`, 'm'));
  assert.match(text, /^sluice_running_jobs\{queue="virus"\} 2$/m);
  assert.match(text, /^sluice_running_jobs_max\{queue="virus"\} 16$/m);
});
