/** metrics — what is counted under which name, in which unit; labels stay few whatever a message brings. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import type { ScanReport } from '../../rules/mail.ts';
import { createMetrics, type Measured, type Metrics, type Sources } from '../../workers/metrics.ts';

const sources: Sources = {
  inFlight: () => 3,
  inFlightMax: 100,
  historyDropped: () => 0,
  oldestDeferredSeconds: () => 0,
};
const scored: ScanReport = {
  virus: { kind: 'clean' },
  spam: { kind: 'scored', score: 1, tests: [], truncated: false, ignored: [] },
  virusMs: 20,
  spamMs: 300,
};
const delivered = {
  verdict: 'clean',
  disposition: 'deliver',
  outcome: 'delivered',
  reason: null,
  repeated: false,
} as const;
const message: Measured = {
  direction: 'inbound',
  protocol: 'lmtp',
  sizeBytes: 1000,
  report: scored,
  ms: { receive: 2, scan: 310, quarantine: 0, reinject: 40, ledger: 1, total: 360 },
  recipients: [delivered],
  signedHeadersDropped: 0,
  dsnSuppressed: 0,
};

/** Samples by their name with labels, as they stand in the text. */
async function samplesOf(metrics: Metrics): Promise<Record<string, number>> {
  const lines = (await metrics.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

/** Those of `wanted` as they stand now. */
async function pick(metrics: Metrics, ...wanted: string[]): Promise<(number | undefined)[]> {
  const samples = await samplesOf(metrics);
  return wanted.map((name) => samples[name]);
}

test('createMetrics() counts messages and recipients by verdict and disposition', async () => {
  const metrics = createMetrics(sources, '1.2.3');
  const held = { ...delivered, verdict: 'spam', disposition: 'quarantine', outcome: 'held' } as const;
  const refused = { ...delivered, outcome: 'refused' } as const;
  metrics.message(message);
  metrics.message({ ...message, recipients: [delivered, held, held, refused] });
  metrics.message({ ...message, direction: 'outbound', protocol: 'smtp', recipients: [held] });
  const of = 'sluice_recipients_total';
  assert.deepEqual(
    await pick(
      metrics,
      `${of}{direction="inbound",verdict="clean",disposition="deliver",outcome="delivered"}`,
      `${of}{direction="inbound",verdict="spam",disposition="quarantine",outcome="held"}`,
      `${of}{direction="inbound",verdict="clean",disposition="deliver",outcome="refused"}`,
      `${of}{direction="outbound",verdict="spam",disposition="quarantine",outcome="held"}`,
      'sluice_messages_total{direction="inbound",protocol="lmtp",verdict="clean",disposition="deliver"}',
      'sluice_messages_total{direction="inbound",protocol="lmtp",verdict="mixed",disposition="mixed"}',
      'sluice_messages_total{direction="outbound",protocol="smtp",verdict="spam",disposition="quarantine"}',
      'sluice_message_bytes_total{direction="inbound"}',
    ),
    [2, 2, 1, 1, 1, 1, 1, 2000],
  );
});

test('createMetrics() counts a repeated outcome as a ledger hit, and why others are deferred', async () => {
  const metrics = createMetrics(sources, '1.2.3');
  const unknown = { ...delivered, verdict: null, disposition: null };
  const deferred = { ...unknown, outcome: 'deferred', reason: 'scanUnavailable' } as const;
  const recipients = [{ ...unknown, repeated: true }, { ...unknown, repeated: true }, deferred];
  metrics.message({ ...message, report: null, recipients, signedHeadersDropped: 2, dsnSuppressed: 3 });
  metrics.tempfail('overloaded');
  assert.deepEqual(
    await pick(
      metrics,
      'sluice_ledger_hits_total',
      'sluice_recipients_total{direction="inbound",verdict="none",disposition="none",outcome="deferred"}',
      'sluice_recipients_total{direction="inbound",verdict="none",disposition="none",outcome="delivered"}',
      'sluice_tempfails_total{reason="scanUnavailable"}',
      'sluice_tempfails_total{reason="overloaded"}',
      'sluice_tempfails_total{reason="internal"}',
      'sluice_forged_signed_headers_dropped_total',
      'sluice_dsn_suppressed_total',
    ),
    [2, 1, undefined, 1, 1, 0, 2, 3],
  );
});

test('createMetrics() measures in seconds, scans by scanner and stages that were reached', async () => {
  const metrics = createMetrics(sources, '1.2.3');
  metrics.message(message);
  const of = (name: string, label: string) => `sluice_${name}_duration_seconds_${label}`;
  assert.deepEqual(
    await pick(
      metrics,
      of('scan', 'sum{scanner="clamd"}'),
      of('scan', 'sum{scanner="spamd"}'),
      of('scan', 'bucket{le="0.01",scanner="clamd"}'),
      of('scan', 'bucket{le="0.025",scanner="clamd"}'),
      of('message', 'sum{direction="inbound"}'),
      of('stage', 'sum{stage="reinject"}'),
      of('stage', 'sum{stage="ledger"}'),
      of('stage', 'count{stage="quarantine"}'),
      'sluice_scans_total{scanner="clamd",result="clean"}',
    ),
    [0.02, 0.3, 0, 1, 0.36, 0.04, 0.001, 0, 1],
  );
});

test('createMetrics() counts what scanners said; a scan cut short or off has no time', async () => {
  const metrics = createMetrics(sources, '1.2.3');
  const unchecked = (reason: 'timeout' | 'cancelled') =>
    ({ kind: 'unchecked', reason, detail: 'x' }) as const;
  for (const report of [
    { ...scored, virus: { kind: 'infected', name: 'Eicar' }, spam: unchecked('cancelled') },
    { ...scored, virus: unchecked('timeout'), spam: { kind: 'off' } },
  ] as const)
    metrics.message({ ...message, report });
  const samples = await samplesOf(metrics);
  const scans = Object.entries(samples).filter(([name]) => name.startsWith('sluice_scans_total'));
  assert.deepEqual(Object.fromEntries(scans), {
    'sluice_scans_total{scanner="clamd",result="infected"}': 1,
    'sluice_scans_total{scanner="spamd",result="cancelled"}': 1,
    'sluice_scans_total{scanner="clamd",result="timeout"}': 1,
  });
  assert.equal(samples['sluice_scan_duration_seconds_count{scanner="clamd"}'], 2);
  assert.equal(samples['sluice_scan_duration_seconds_count{scanner="spamd"}'], undefined);
});

test('createMetrics() shows what is, and looks up what others keep at every scrape', async () => {
  let [now, dropped, oldest, inFlight] = [Date.UTC(2026, 0, 2), 0, 0, 0];
  const metrics = createMetrics(
    {
      inFlight: () => inFlight,
      inFlightMax: 100,
      historyDropped: () => dropped,
      oldestDeferredSeconds: () => oldest,
    },
    '1.2.3',
    () => now,
  );
  metrics.scanner('clamd', 'unix:/run/clamd', true, Date.UTC(2026, 0, 1));
  metrics.scanner('spamd', '127.0.0.1:783', false, null);
  metrics.returnSmtpd(true);
  metrics.store('ledger', false);
  metrics.quarantine({ items: 2, bytes: 5000 });
  metrics.stateFree(1e9);
  const names = [
    'sluice_in_flight_messages',
    'sluice_in_flight_messages_max',
    'sluice_oldest_deferred_seconds',
    'sluice_history_rows_dropped_total',
    'sluice_signature_age_seconds{address="unix:/run/clamd"}',
  ];
  assert.deepEqual(await pick(metrics, ...names), [0, 100, 0, 0, 86_400]);
  [now, dropped, oldest, inFlight] = [now + 60_000, 7, 14_401, 9];
  assert.deepEqual(await pick(metrics, ...names), [9, 100, 14_401, 7, 86_460]);
  // Down, clamd tells of no signatures: the age of those it had last goes on.
  metrics.scanner('clamd', 'unix:/run/clamd', false, null);
  assert.deepEqual(
    await pick(
      metrics,
      'sluice_scanner_up{scanner="clamd",address="unix:/run/clamd"}',
      'sluice_scanner_up{scanner="spamd",address="127.0.0.1:783"}',
      'sluice_signature_age_seconds{address="unix:/run/clamd"}',
      'sluice_return_smtpd_up',
      'sluice_store_up{store="ledger"}',
      'sluice_quarantine_items',
      'sluice_quarantine_bytes',
      'sluice_state_free_bytes',
      'sluice_build_info{version="1.2.3"}',
    ),
    [0, 0, 86_460, 1, 0, 2, 5000, 1e9, 1],
  );
});

test('createMetrics() tells of the process: event loop, memory', async () => {
  const samples = await samplesOf(createMetrics(sources, '1.2.3'));
  for (const name of ['nodejs_eventloop_lag_p99_seconds', 'process_resident_memory_bytes'])
    assert.ok((samples[name] ?? 0) > 0, name);
});

test('createMetrics() has no more series after 10,000 messages than after one of each kind', async () => {
  const metrics = createMetrics(sources, '1.2.3');
  const kinds = [message, { ...message, direction: 'outbound', recipients: [delivered, delivered] } as const];
  for (const kind of kinds) metrics.message(kind);
  const before = Object.keys(await samplesOf(metrics)).filter((name) => name.startsWith('sluice_'));
  for (let count = 0; count < 10_000; count++) {
    const virus = { kind: 'infected', name: `Virus-${count}` } as const;
    const report = { ...scored, virus, virusMs: count, spamMs: count };
    metrics.message({ ...message, report, sizeBytes: count, ms: { ...message.ms, total: count } });
  }
  const after = Object.keys(await samplesOf(metrics)).filter((name) => name.startsWith('sluice_'));
  const added = after.filter((name) => !before.includes(name));
  assert.deepEqual(added, ['sluice_scans_total{scanner="clamd",result="infected"}']);
  assert.ok(after.length < 250, `${after.length} series`);
});

test('createMetrics() keeps to the conventions of Prometheus (promtool check metrics)', async () => {
  const metrics = createMetrics(sources, '1.2.3');
  metrics.message(message);
  metrics.scanner('clamd', 'unix:/run/clamd "x"\\', true, 0);
  const own = (await metrics.text()).split('\n').filter((line) => /^(?:# \w+ )?sluice_/.test(line));
  const said = execFileSync('promtool', ['check', 'metrics'], {
    input: `${own.join('\n')}\n`,
    encoding: 'utf8',
  });
  assert.equal(said, '');
});
