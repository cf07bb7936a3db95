/**
 * sampling — the filter process itself: with `bayes.sample` it keeps what it delivered, with 0 it removes all of it at its start.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { freePort } from '../../demo/daemon.ts';
import { listEntries, readEntry, sealOf } from '../../workers/bayes-shelf.ts';
import { startSink } from '../fakes/sink.ts';
import { openDialog } from '../fakes/smtp-dialog.ts';
import { startFakeSpamd } from '../fakes/spamd.ts';
import { temporaryFolder } from '../folder.ts';
import { startSluice, untilFilterRuns } from './desk-rig.ts';

type Site = { readonly config: string; readonly smtp: number; readonly state: string };

test('sluice run filter keeps delivered mail as bayes.sample says, and nothing with 0 or on a backup', async (t) => {
  const folder = temporaryFolder(t);
  const [spamd, sink] = [await startFakeSpamd(), await startSink()];
  t.after(() => Promise.all([spamd.stop(), sink.stop()]));
  assert.ok(spamd.address.kind === 'tcp');
  const site = { config: join(folder, 'sluice.yaml'), smtp: await freePort(), state: join(folder, 'state') };
  const { port } = spamd.address;
  const configure = (role: string, sample: number) =>
    writeFileSync(
      site.config,
      `role: ${role}
state: state
listen: { smtp: 127.0.0.1:${site.smtp}, lmtp: null }
reinject: 127.0.0.1:${sink.port}
clamd: null
scan: { virus: false }
spamd: 127.0.0.1:${port}
health: { filter: null }
bayes: { sample: ${sample} }
`,
    );
  configure('primary', 5);
  await filterOne(t, site);
  const seal = await sealOf(site.state);
  const [entry, ...others] = await listEntries(site.state);
  assert.ok(seal !== null && entry !== undefined && others.length === 0);
  const kept = await readEntry(site.state, seal, entry.name);
  assert.ok(typeof kept === 'object');
  assert.equal(kept.sender, 'a@partner.example');
  assert.match(
    kept.bytes.toString(),
    /^From: <a@partner\.example>\r\nSubject: private\r\n\r\nprivate words\r\n$/,
  );
  assert.doesNotMatch(readFileSync(join(site.state, 'sample', entry.name), 'latin1'), /private/);
  configure('backup', 5);
  await filterOne(t, site);
  assert.deepEqual(sampleFiles(site), [], 'a backup keeps none');
  configure('primary', 5);
  await filterOne(t, site);
  assert.deepEqual(sampleFiles(site), ['sample', 'sample.key']);
  configure('primary', 0);
  await filterOne(t, site);
  assert.deepEqual(sampleFiles(site), []);
  assert.equal(sink.messages.length, 4);
});

/** Starts the filter, sends one message through it, and ends it in an orderly way. */
async function filterOne(t: TestContext, { config, smtp }: Site): Promise<void> {
  const child = startSluice(['run', 'filter', '--config', config]);
  const closed = once(child, 'close');
  t.after(() => child.kill('SIGKILL'));
  await untilFilterRuns(child);
  const dialog = await openDialog({ kind: 'tcp', host: '127.0.0.1', port: smtp });
  await dialog.reply();
  for (const line of [
    'EHLO client.example',
    'MAIL FROM:<a@partner.example>',
    'RCPT TO:<b@site.example>',
    'DATA',
  ])
    await dialog.ask(line);
  const reply = await dialog.ask('From: <a@partner.example>\r\nSubject: private\r\n\r\nprivate words\r\n.');
  assert.match(reply, /^250 /);
  dialog.reset();
  child.kill('SIGTERM');
  await closed;
}

function sampleFiles({ state }: Site): string[] {
  return readdirSync(state)
    .filter((name) => name.startsWith('sample'))
    .toSorted();
}
