/**
 * monitoring — alerts, dashboard and the table of metrics speak of what there is, and Prometheus understands them.
 *
 * promtool (Debian's package prometheus) judges rules and expressions; the names come from the metrics themselves.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryOutcomes } from '../../rules/replies.ts';
import { addBayesFigures } from '../../workers/bayes-metrics.ts';
import { createMetrics, createRegister } from '../../workers/metrics.ts';
import { addJobFigures, addQueueFigures } from '../../workers/queue-metrics.ts';
import { temporaryFolder } from '../folder.ts';

const top = join(import.meta.dirname, '..', '..');
const alertsFile = join(top, 'docs', 'prometheus-alerts.yaml');
const alerts = readFileSync(alertsFile, 'utf8');
const none = () => 0;
const metrics = createMetrics(
  { inFlight: none, inFlightMax: 1, historyDropped: none, oldestDeferredSeconds: none },
  '1.2.3',
);
addQueueFigures(metrics.register, {
  isUp: () => true,
  seen: () => ({ workers: [], filters: [] }),
  backlog: () => Promise.reject(new Error('not asked here')),
});
const worker = createRegister('1.2.3');
addJobFigures(worker, { isUp: () => true, queues: [], running: none, runningMax: none });
const bayes = createRegister('1.2.3');
addBayesFigures(bayes, { view: () => ({ seen: [], records: [], troubles: [] }), nextAt: () => null });
const text = (await metrics.text()) + (await worker.text()) + (await bayes.text());
/** Of filter, worker and Bayes part, each once. */
const described = [
  ...new Map([...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)].map(([, name = '', type = '']) => [name, type])),
].map(([name, type]) => ({ name, type }));
/** Every name under which a sample can stand; `up` is Prometheus' own. */
const samples = new Set([
  'up',
  ...described.flatMap(({ name, type }) =>
    type === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => name + end) : [name],
  ),
]);

type Dashboard = {
  readonly panels: readonly {
    readonly title: string;
    readonly targets: readonly { readonly expr: string }[];
  }[];
};
const dashboard = JSON.parse(readFileSync(join(top, 'docs', 'grafana-dashboard.json'), 'utf8')) as Dashboard;
const expressions = dashboard.panels.flatMap(({ title, targets }) =>
  targets.map(({ expr }) => ({ title, expr })),
);

function namesIn(text: string): string[] {
  return [...text.matchAll(/\b(?:sluice|nodejs|process)_\w+|\bup(?=\{)/g)].map(([name]) => name);
}

function promtool(...args: string[]): string {
  return execFileSync('promtool', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

test('promtool finds nothing wrong with the alert rules', () => {
  assert.match(promtool('check', 'rules', alertsFile), /SUCCESS: \d+ rules found/);
});

test('alerts fire when they should, and not before (promtool test rules)', () => {
  assert.match(promtool('test', 'rules', join(import.meta.dirname, 'alerts.yaml')), /SUCCESS/);
});

test('alerts ask for metrics that exist, and for reasons that exist', () => {
  const asked = namesIn(alerts);
  assert.ok(asked.length >= 15, `${asked.length} names`);
  assert.deepEqual(
    asked.filter((name) => !samples.has(name)),
    [],
  );
  const reasons = [...alerts.matchAll(/reason[!=]~?"([\w|]+)"/g)].flatMap(([, some = '']) => some.split('|'));
  assert.ok(reasons.length >= 4);
  assert.deepEqual(
    reasons.filter((reason) => !(temporaryOutcomes as readonly string[]).includes(reason)),
    [],
  );
});

test('the dashboard asks for metrics that exist, in expressions that Prometheus understands', (t) => {
  assert.ok(expressions.length >= 25, `${expressions.length} expressions`);
  for (const { title, expr } of expressions) {
    const names = namesIn(expr);
    assert.ok(names.length > 0, title);
    assert.deepEqual(
      names.filter((name) => !samples.has(name)),
      [],
      title,
    );
  }
  const folder = temporaryFolder(t);
  const rules = expressions.map(({ expr }, at) => ({
    record: `panel:${at}`,
    expr: expr.replaceAll('$__rate_interval', '5m'),
  }));
  const file = join(folder, 'rules.json'); // JSON is YAML
  writeFileSync(file, JSON.stringify({ groups: [{ name: 'dashboard', rules }] }));
  assert.match(promtool('check', 'rules', file), new RegExp(`SUCCESS: ${rules.length} rules found`));
});

test('docs/metrics.md has every metric of ours, and no other', () => {
  const text = readFileSync(join(top, 'docs', 'metrics.md'), 'utf8');
  const documented = [...text.matchAll(/^\| `(sluice_\w+)` \|/gm)].map(([, name = '']) => name);
  const own = described.map(({ name }) => name).filter((name) => name.startsWith('sluice_'));
  assert.deepEqual(documented.toSorted(), own.toSorted());
  assert.deepEqual(
    namesIn(text).filter((name) => !described.some((one) => one.name === name)),
    [],
  );
});
