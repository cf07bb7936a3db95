/**
 * night — two nodes joined by a real sshd, and nobody who types anything: the nights of `sluice run bayes`, their alarm, and the
 * mail about it.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { freePort } from '../../demo/daemon.ts';
import { openNights } from '../../filter/bayes-nights.ts';
import { bayesDutiesOf } from '../../review/bayes-duties.ts';
import { isSameContent } from '../../workers/bayes-dump.ts';
import { openBayesPart } from '../../workers/bayes-part.ts';
import { createNotice } from '../../workers/notice.ts';
import { readSite } from '../../workers/site.ts';
import { startReturnSmtpd } from '../fakes/return-smtpd.ts';
import { given, wordsOf } from '../workers/bayes-rig.ts';
import { listeningLog } from '../workers/redis-rig.ts';
import { type Node, run, startPair } from './carry-rig.ts';

const dayMs = 86_400_000;
const sync = 'sync: { at: "00:00", zone: UTC, jitterMinutes: 0 }';
const script = join(import.meta.dirname, '..', '..', 'bin', 'sluice.js');

/** Two nodes with policies, as any site has them. */
async function startNodes(t: TestContext, way: 'push' | 'fetch') {
  const pair = await startPair(t, { way });
  for (const node of [pair.primary, pair.backup]) writeFileSync(node.policies, 'default: {}\n');
  return pair;
}

/** The part of a node, in this process, with a clock that can be set forward. */
async function startPart(t: TestContext, node: Node) {
  const site = readSite(node.configFile, {});
  const { log, lines } = listeningLog();
  const clock = { aheadMs: 0 };
  const smtpd = await startReturnSmtpd();
  const port = await freePort();
  // The folder is made as any command makes it.
  await run(node, 'status');
  const config = { ...site.config, health: { ...site.config.health, bayes: tcp(port) } };
  const nights = await openNights({ file: join(node.bayesFolder, 'nights.db'), log });
  const part = await openBayesPart(config, {
    duties: bayesDutiesOf({ ...site, config }, script, log),
    nights,
    notice: createNotice({ address: smtpd.address, hostname: 'mx1.example.com' }),
    log,
    pace: { everyMs: 50, settleMs: 0, lookEveryMs: 500, now: () => Date.now() + clock.aheadMs },
  });
  t.after(async () => {
    await part.drain();
    await smtpd.stop();
  });
  const metrics = async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const mails = () =>
    smtpd.transactions.filter(({ state }) => state === 'committed').map(({ message }) => message.toString());
  return { part, clock, lines, metrics, mails };
}

function tcp(port: number) {
  return { kind: 'tcp' as const, host: '127.0.0.1', port };
}

async function eventually(what: string, lines: readonly string[], isTrue: () => boolean): Promise<void> {
  for (const until = performance.now() + 300_000; !isTrue(); ) {
    assert.ok(performance.now() < until, `${what}:\n${lines.join('\n')}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const count = (lines: readonly string[], text: string) => lines.filter((line) => line.includes(text)).length;

for (const way of ['push', 'fetch'] as const)
  test(`${way}: a night runs by itself, once; the next one brings what was learned since`, async (t) => {
    const pair = await startNodes(t, way);
    const [caller, ssh] = [way === 'push' ? pair.primary : pair.backup, pair.sshd.ssh];
    const name = `"root@127.0.0.1:${pair.sshd.port}"`;
    const peer = way === 'push' ? `nodes: [${name}]` : `primary: ${name}`;
    caller.configure({
      role: way === 'push' ? 'primary' : 'backup',
      bayes: [`ssh: { key: ${ssh.key}, knownHosts: ${ssh.knownHosts}, deadlineSeconds: 60 }`, peer, sync],
    });
    await given(t, pair.primary.site, wordsOf('spam', 40, 'first'));
    const { clock, lines, metrics } = await startPart(t, caller);
    await eventually('the first night', lines, () => count(lines, 'Bayes sync done') === 1);
    await eventually('its end', lines, () => count(lines, 'Bayes night ends') === 1);
    assert.ok(isSameContent(await pair.backup.site.figures(), await pair.primary.site.figures()));
    assert.match(await metrics(), /^sluice_bayes_tokens\{node="root@127\.0\.0\.1:\d+",side="there"\} 40$/m);
    await given(t, pair.primary.site, wordsOf('ham', 50, 'second'));
    clock.aheadMs = dayMs;
    await eventually('the next night', lines, () => count(lines, 'Bayes night ends') === 2);
    assert.equal(count(lines, 'Bayes night begins'), 2, lines.join('\n'));
    assert.deepEqual(
      lines.filter((line) => line.includes('"alarm":true')),
      [],
    );
    // Fetched within ten minutes by the clock of the primary, which is not ahead, it is the very same snapshot.
    if (way === 'push')
      assert.ok(isSameContent(await pair.backup.site.figures(), await pair.primary.site.figures()));
  });

test('a night that finds the backup away raises one alarm and sends one mail; the next good one sends another', async (t) => {
  const { primary, backup, sshd } = await startNodes(t, 'push');
  const bayes = [
    `ssh: { key: ${sshd.ssh.key}, knownHosts: ${sshd.ssh.knownHosts} }`,
    `nodes: ["root@127.0.0.1:${sshd.port}"]`,
  ];
  primary.configure({ bayes: [...bayes, sync, 'alarm: { hours: 100, mail: admin@example.com }'] });
  await given(t, primary.site, wordsOf('spam'));
  const before = await backup.site.figures().catch(() => null);
  sshd.authorize('exit 1');
  const { clock, lines, mails, metrics } = await startPart(t, primary);
  await eventually('the mail', lines, () => mails().length === 1);
  assert.match(mails()[0] ?? '', /failed at \w+: Cannot [\s\S]*What to do: \S/);
  assert.match(await metrics(), /^sluice_bayes_alarm\{node="root@127\.0\.0\.1:\d+",trouble="failed"\} 1$/m);
  assert.deepEqual(await backup.site.figures().catch(() => null), before);
  clock.aheadMs = dayMs;
  await eventually('the second night', lines, () => count(lines, 'Bayes night ends') === 2);
  sshd.authorize(`exec ${process.execPath} ${script} --config ${backup.configFile} bayes receive`);
  clock.aheadMs = 2 * dayMs;
  await eventually('the good news', lines, () => mails().length === 2);
  assert.match(mails()[1] ?? '', /^Subject: .* is good again/m);
  assert.equal(count(lines, 'error Bayes alarm'), 1);
  assert.equal(count(lines, 'error Bayes sync failed'), 2);
  assert.ok(isSameContent(await backup.site.figures(), await primary.site.figures()));
});
