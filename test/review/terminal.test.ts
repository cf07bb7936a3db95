/**
 * terminal — what a person at a terminal sees of a long run, and what Ctrl-C does to it.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startFakeSpamd } from '../fakes/spamd.ts';
import { type Rig, sluice, spam, startDesk, startSluice } from './desk-rig.ts';
import { erased, quoted, startOnTerminal } from './pty.ts';

const top = join(import.meta.dirname, '../..');

/** The command line of a shell that runs `sluice` with these words. */
function commandLine(rig: { config: string }, ...words: string[]): string {
  return [process.execPath, sluice, ...words, '--config', rig.config].map(quoted).join(' ');
}

/** Three held messages; the return smtpd keeps the second one waiting until it is told to answer. */
async function startSlowRelease(t: Parameters<typeof startDesk>[0]) {
  const { promise, resolve: answer } = Promise.withResolvers<void>();
  const rig = await startDesk(t, {
    dot: ({ nth }) =>
      nth === 1 ? { do: 'slow', until: promise, say: '250 2.0.0 Ok: queued as SLOW' } : undefined,
  });
  const ids: string[] = [];
  for (const name of ['a', 'b', 'c']) ids.push(await rig.put(spam([`${name}@example.com`], name)));
  return { rig, ids, answer };
}

const kinds = async (rig: Rig, ids: readonly string[]) =>
  Promise.all(ids.map(async (id) => (await rig.desk.quarantine.get(id)).slots[0]?.state));

test('sluice quarantine release tells on a terminal how far it is, and takes that line away', async (t) => {
  const { rig, ids, answer } = await startSlowRelease(t);
  const terminal = startOnTerminal(commandLine(rig, 'quarantine', 'release', ...ids));
  await terminal.shows(`${erased}… release: 2 of 3`);
  answer();
  const { code, screen } = await terminal.end();
  assert.equal(code, 0, screen);
  assert.match(screen, /⌫… release: 2 of 3⌫[0-9a-f]{32}: b@example\.com: released: /);
  assert.equal(screen.slice(screen.lastIndexOf('…')).includes(erased), true, 'the line is gone');
});

test('sluice says nothing of its progress with --json, or where there is no terminal', async (t) => {
  const { rig, ids, answer } = await startSlowRelease(t);
  const terminal = startOnTerminal(commandLine(rig, 'quarantine', 'release', ...ids, '--json'));
  await rig.smtpd.reached('dot', 2);
  answer();
  const { screen } = await terminal.end();
  assert.equal((JSON.parse(screen) as unknown[]).length, 3);
});

test('Ctrl-C in a run of many ends it after the message under way: 130, and how far it got', async (t) => {
  const { rig, ids, answer } = await startSlowRelease(t);
  const terminal = startOnTerminal(commandLine(rig, 'quarantine', 'release', ...ids));
  await terminal.shows('… release: 2 of 3');
  terminal.type('\u0003');
  await terminal.shows('sluice: release: stopping after the message under way; once more breaks it off');
  answer();
  const { code, screen } = await terminal.end();
  assert.equal(code, 130, screen);
  assert.match(screen, /b@example\.com: released: .*\r\n⌫?sluice: release: stopped after 2 of 3\r\n$/);
  assert.deepEqual(await kinds(rig, ids), ['released', 'released', 'held']);
});

test('a run of many that was stopped still answers with one JSON value; SIGTERM is 143', async (t) => {
  const { rig, ids, answer } = await startSlowRelease(t);
  const child = startSluice(['quarantine', 'release', ...ids, '--json', '--config', rig.config]);
  let [stdout, stderr] = ['', ''];
  child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
    answer();
  });
  await rig.smtpd.reached('dot', 2);
  child.kill('SIGTERM');
  assert.deepEqual(await once(child, 'close'), [143, null]);
  assert.match(stderr, /stopping after .*\nsluice: release: stopped after 2 of 3\n$/);
  const lines = JSON.parse(stdout) as { quarantineId: string; kind: string }[];
  assert.deepEqual(
    lines.map(({ quarantineId, kind }) => [quarantineId, kind]),
    ids.slice(0, 2).map((id) => [id, 'released']),
  );
});

test('sluice check and scan tell on a terminal what is being tried', async (t) => {
  const { promise: until, resolve: answer } = Promise.withResolvers<void>();
  const rig = await startDesk(t, { greeting: { do: 'slow', until, say: '220 fake ESMTP' } });
  const check = startOnTerminal(commandLine(rig, 'check', '--postfix-config', join(rig.state, 'none')));
  await check.shows(`${erased}… talking to the return smtpd`);
  answer();
  const { screen } = await check.end();
  assert.match(screen, /… talking to the return smtpd⌫Return smtpd\r\n/);
  assert.doesNotMatch(screen.slice(screen.lastIndexOf('\n', screen.length - 2)), /…/);

  const spamd = await startFakeSpamd({ script: [{ at: 'message', do: 'hang' }] });
  t.after(() => spamd.stop());
  assert.ok(spamd.address.kind === 'tcp');
  const config = join(rig.state, 'scan.yaml');
  writeFileSync(config, `clamd: null\nscan: { virus: false }\nspamd: 127.0.0.1:${spamd.address.port}\n`);
  const scan = startOnTerminal(commandLine({ config }, 'scan', join(top, 'test/messages/plain.eml')));
  await scan.shows(/… asking the scanners about \d+ bytes/);
  await spamd.stop();
  assert.match((await scan.end()).screen, /bytes⌫virus {2}off\r\nspam {3}unchecked/);
});

test('sluice quarantine list fits a terminal of 80 columns, and COLUMNS says otherwise', async (t) => {
  const rig = await startDesk(t);
  const item = spam(['somebody.with.a.long.name@department.example.com']);
  const subject = 'A subject that is quite a bit longer than what is left of the line';
  const id = await rig.put({ ...item, facts: { ...item.facts, subject } });
  const list = commandLine(rig, 'quarantine', 'list');
  // On a busy machine the line that tells what is being done comes and goes before.
  const left = (text: string) => text.replaceAll(/⌫[^⌫]*⌫/g, '');
  const screen = left((await startOnTerminal(list).end()).screen);
  const lines = screen.trimEnd().split('\r\n');
  for (const line of lines) assert.ok(line.length <= 80, line);
  assert.ok(screen.includes(id), 'an id is never cut');
  const wide = await startOnTerminal(list, { environment: { COLUMNS: '400' } }).end();
  assert.ok(wide.screen.includes(subject));
  assert.equal(left(wide.screen).trimEnd().split('\r\n').length, 2);
});

test('sluice quarantine export ends quietly when nobody reads any more', async (t) => {
  const rig = await startDesk(t);
  const message = Buffer.alloc(4 * 1024 * 1024, 'Subject: x\r\n');
  const item = spam(['a@example.com']);
  const sha256 = createHash('sha256').update(message).digest('hex');
  const id = await rig.desk.quarantine.put(
    { ...item, sizeBytes: message.length, sha256 },
    async function* () {
      yield message;
    },
  );
  const child = startSluice(['quarantine', 'export', id, '--config', rig.config]);
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdout?.once('data', () => child.stdout?.destroy());
  assert.deepEqual([await once(child, 'close'), stderr], [[0, null], '']);
});
