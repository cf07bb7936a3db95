/**
 * health — what a real site tells about itself: counters after known mails, readiness, scanners, both forms of the log.
 *
 * Real Postfix, clamd and spamd, the shipped policy. Sluice is restarted where a probe shall look at once.
 */
import assert from 'node:assert/strict';
import { appendFile, mkdir, readFile, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type Clamd, startClamd } from '../../demo/clamd.ts';
import * as evidence from './evidence.ts';
import { gtube, infectedMails, mailOf, scoredMail, scoreRules } from './mails.ts';
import { startSite, type TestSite } from './site.ts';

suite('the health server of a site', () => {
  let site: TestSite;
  let clamd: Clamd | undefined;
  before(async () => {
    site = await startSite({
      feedProtocol: 'lmtp',
      sink: 'smtp',
      health: true,
      spamd: { extraRules: scoreRules([8]) },
      postfix: { retrySeconds: 1 },
    });
  });
  after(async () => {
    await site?.stop();
    await clamd?.stop();
  });

  async function get(path: string): Promise<{ code: number; text: string }> {
    const response = await fetch(`http://127.0.0.1:${site.healthPort}${path}`);
    return { code: response.status, text: await response.text() };
  }

  /** The sample of this name with labels; 0 where it is not there. */
  async function sample(name: string): Promise<number> {
    const line = (await get('/metrics')).text.split('\n').find((one) => one.startsWith(`${name} `));
    return Number(line?.slice(name.length) ?? 0);
  }

  async function readiness(): Promise<{
    code: number;
    hindrances: string[];
    checks: Record<string, string>;
  }> {
    const { code, text } = await get('/readyz');
    return { code, ...(JSON.parse(text) as { hindrances: string[]; checks: Record<string, string> }) };
  }

  test('/healthz and /readyz say that it works', async () => {
    assert.equal((await get('/healthz')).code, 200);
    const ready = await readiness();
    assert.deepEqual([ready.code, ready.hindrances], [200, []]);
  });

  test('/metrics counts known mails by verdict and disposition, and the log has both queue ids and stage times', async () => {
    const [virus] = infectedMails();
    assert.ok(virus !== undefined);
    const mails: [to: string, bytes: Buffer][] = [
      ['clean@a.example', mailOf({ subject: 'an order' })],
      ['flagged@a.example', scoredMail(8)],
      ['held@a.example', mailOf({ subject: 'x', body: gtube })],
      ['virus@a.example', virus.bytes],
    ];
    for (const [to, bytes] of mails) {
      const queueId = await evidence.post(site, { to: [to], bytes });
      await evidence.settled(site, queueId, to);
    }
    const counted = async (verdict: string, disposition: string, outcome: string) =>
      sample(
        `sluice_recipients_total{direction="inbound",verdict="${verdict}",disposition="${disposition}",outcome="${outcome}"}`,
      );
    assert.deepEqual(
      [
        await counted('clean', 'deliver', 'delivered'),
        await counted('spam', 'deliver', 'delivered'),
        await counted('spam', 'quarantine', 'held'),
        await counted('virus', 'quarantine', 'held'),
      ],
      [1, 1, 1, 1],
    );
    const seconds = 'sluice_scan_duration_seconds_count';
    assert.equal(await sample(`${seconds}{scanner="clamd"}`), 4);
    assert.ok((await sample(`${seconds}{scanner="spamd"}`)) >= 3, 'a virus may end the wait for the score');
    assert.equal(await sample('sluice_message_duration_seconds_count{direction="inbound"}'), 4);
    assert.equal(await sample('sluice_in_flight_messages'), 0);
    assert.equal(await sample('sluice_return_smtpd_up'), 1);
    assert.ok((await sample('nodejs_eventloop_lag_p99_seconds')) > 0);
    assert.match((await get('/metrics')).text, /^sluice_scanner_up\{scanner="clamd",address="unix:.*"\} 1$/m);
    assert.match((await get('/metrics')).text, /^sluice_scanner_up\{scanner="spamd",address="unix:.*"\} 1$/m);
    const [line] = (await evidence.eventsOf(site)).filter(({ recipient }) => recipient === 'clean@a.example');
    const [handOff] = await evidence.handOffsOf(site, String(line?.queueId));
    assert.deepEqual([line?.msg, line?.queueIdOut], ['Recipient decided', handOff]);
    const ms = line?.ms as Record<string, number>;
    for (const stage of ['receive', 'scan', 'virus', 'spam', 'reinject', 'ledger', 'total'])
      assert.ok(Number.isFinite(ms[stage]), stage);
    assert.ok((ms['total'] ?? 0) >= (ms['scan'] ?? 0) + (ms['reinject'] ?? 0));
  });

  test('/readyz is 503 while quarantine.db can not be opened, and 200 again by itself', async () => {
    const file = join(site.folder, 'state', 'quarantine.db');
    await rename(file, `${file}.away`);
    for (const name of ['-wal', '-shm']) await rm(`${file}${name}`, { force: true });
    await mkdir(file);
    const broken = await evidence.until('503', async () => {
      const ready = await readiness();
      return ready.code === 503 && ready;
    });
    assert.match(broken.hindrances.join(), /^quarantine: Cannot use .*quarantine\.db: /);
    assert.equal(broken.checks['ledger'], 'ok');
    assert.equal((await get('/healthz')).code, 200);
    await rmdir(file);
    await rename(`${file}.away`, file);
    await evidence.until('200', async () => (await readiness()).code === 200);
  });

  test('scanner_up is 0 when clamd is killed; that is told and keeps nothing from being ready', async () => {
    site.clamd.kill('SIGKILL');
    await site.clamd.stop();
    await site.restart();
    await evidence.until('clamd known to be down', async () =>
      /^sluice_scanner_up\{scanner="clamd",address="unix:.*"\} 0$/m.test((await get('/metrics')).text),
    );
    const ready = await get('/readyz');
    assert.equal(ready.code, 200);
    assert.match(ready.text, /\{"scanner":"clamd","address":"unix:[^"]*","up":false,"detail":"[^"]+/);
    const to = 'waits@a.example';
    const queueId = await evidence.post(site, { to: [to], bytes: mailOf({ subject: 'waits' }) });
    await evidence.until('a deferral', async () => {
      return (await sample('sluice_tempfails_total{reason="scanUnavailable"}')) > 0;
    });
    assert.ok((await sample('sluice_oldest_deferred_seconds')) > 0);
    clamd = await startClamd({ folder: join(site.folder, 'clamd'), signatures: 'test' });
    await evidence.settled(site, queueId, to);
    assert.equal(await sample('sluice_oldest_deferred_seconds'), 0);
  });

  test('log.format: amavis writes decisions as amavisd does', async () => {
    await appendFile(site.configFile, 'log: { format: amavis }\n');
    await site.restart();
    const to = 'amavis@a.example';
    const queueId = await evidence.post(site, { to: [to], bytes: mailOf({ subject: 'for a parser' }) });
    await evidence.settled(site, queueId, to);
    const [queueIdOut] = await evidence.handOffsOf(site, queueId);
    const log = await readFile(join(site.folder, 'sluice.log'), 'utf8');
    const form = `^\\(\\d{5,}-01\\) Passed CLEAN \\{RelayedInbound\\}, \\[127\\.0\\.0\\.1\\] <anna@partner\\.example> -> <${to}>, Queue-ID: ${queueId}, Message-ID: <[^>]+>, Hits: [-.\\d]+, size: \\d+, queued_as: ${queueIdOut}, \\d+ ms$`;
    assert.match(log, new RegExp(form, 'm'));
  });
});
