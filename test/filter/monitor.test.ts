/**
 * monitor — wired as the filter does it, real stores and a real health server: what an administrator sees from outside.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { symlink, unlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createAdmission } from '../../filter/admission.ts';
import { openMemory } from '../../filter/memory.ts';
import { openMonitor } from '../../filter/monitor.ts';
import { createReinjector } from '../../filter/reinject.ts';
import { type Config, parseConfig } from '../../rules/config.ts';
import { createScannerClients } from '../../workers/clients.ts';
import { createLog } from '../../workers/log.ts';
import { startFakeClamd } from '../fakes/clamd.ts';
import { temporaryFolder } from '../folder.ts';

async function setUp(t: TestContext, prepare: (state: string) => Promise<void> = async () => undefined) {
  const state = temporaryFolder(t);
  await prepare(state);
  const clamd = await startFakeClamd({ script: [{ at: 'command', do: 'close', say: 'ClamAV 1.4.6\0' }] });
  t.after(() => clamd.stop());
  assert.ok(clamd.address.kind === 'tcp');
  const text = `clamd: 127.0.0.1:${clamd.address.port}\nscan: { spam: false }\nstate: ${state}\nreinject: 127.0.0.1:9`;
  const { config, problems } = parseConfig({ file: join(state, 'sluice.yaml'), text }, {});
  assert.ok(config !== null, JSON.stringify(problems));
  const lines: string[] = [];
  const log = createLog({ name: 'filter', destination: { write: (line) => lines.push(line) } });
  const memory = await openMemory(config, log);
  t.after(() => memory.close());
  const reinjector = createReinjector({ address: config.reinject, hostname: 'x', connectionsMax: 1, log });
  t.after(() => reinjector.close());
  const clients = createScannerClients(config, log);
  const port = await freePort();
  const health = { ...config.health, filter: { kind: 'tcp', host: '127.0.0.1', port } } as const;
  const withHealth: Config = { ...config, health };
  const rounds: (() => void)[] = [];
  const monitor = await openMonitor(withHealth, {
    clients,
    memory,
    reinjector,
    log,
    admission: createAdmission(5),
    output: { write: () => undefined },
    after: (_ms, action) => {
      rounds.push(action);
      return () => undefined;
    },
  });
  t.after(() => monitor.close());
  const get = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`);
    return { code: response.status, text: await response.text() };
  };
  return { monitor, get, state, lines };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  assert.ok(address instanceof Object);
  return address.port;
}

/** Looks until it holds; probes answer in their own time. */
async function until(look: () => Promise<boolean>): Promise<void> {
  while (!(await look())) await new Promise((resolve) => setTimeout(resolve, 20));
}

test('openMonitor() is ready only from the listeners to the drain', async (t) => {
  const { monitor, get } = await setUp(t);
  const starting = await get('/readyz');
  assert.equal(starting.code, 503);
  assert.deepEqual((JSON.parse(starting.text) as { hindrances: string[] }).hindrances, ['starting']);
  monitor.listening([{ address: { kind: 'tcp', host: '127.0.0.1', port: 10_024 } }]);
  const running = await get('/readyz');
  assert.equal(running.code, 200, running.text);
  const body = JSON.parse(running.text) as Record<string, unknown>;
  assert.deepEqual(body['checks'], { quarantine: 'ok', ledger: 'ok', history: 'ok' });
  assert.deepEqual(body['listeners'], ['127.0.0.1:10024']);
  monitor.stopping();
  assert.equal((await get('/readyz')).code, 503);
  assert.equal((await get('/healthz')).code, 200);
});

test('openMonitor() reports a scanner and a return smtpd that are down, and is ready all the same', async (t) => {
  const { monitor, get } = await setUp(t);
  monitor.listening([]);
  await until(async () =>
    (await get('/metrics')).text.includes('sluice_scanner_up{scanner="clamd",address='),
  );
  await until(async () => /"returnSmtpd":\{"up":false/.test((await get('/readyz')).text));
  const { code, text } = await get('/readyz');
  assert.equal(code, 200);
  assert.match(text, /"scanners":\[\{"scanner":"clamd","address":"127\.0\.0\.1:\d+","up":true/);
  assert.match((await get('/metrics')).text, /^sluice_return_smtpd_up 0$/m);
});

test('openMonitor() is not ready where a database can not be opened, and ready again once it can', async (t) => {
  // A link into nowhere: SQLite can open no such file.
  const { monitor, get, state } = await setUp(t, (folder) =>
    symlink('/nonexistent/folder/ledger.db', join(folder, 'ledger.db')),
  );
  monitor.listening([]);
  const { code, text } = await get('/readyz');
  assert.equal(code, 503);
  const { hindrances, checks } = JSON.parse(text) as { hindrances: string[]; checks: Record<string, string> };
  assert.match(hindrances.join(), /^ledger: Cannot use .*ledger\.db: unable to open database file/);
  assert.equal(checks['history'], 'ok');
  await until(async () => (await get('/metrics')).text.includes('sluice_store_up{store="ledger"} 0'));
  await unlink(join(state, 'ledger.db'));
  await until(async () => (await get('/readyz')).code === 200);
});
