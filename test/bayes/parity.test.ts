/**
 * parity — the program itself on two nodes joined by a real sshd: after a sync, or a fetch, both have scored the primary's sample,
 * which belongs to another user, and no octet of it was ever on the backup's disk.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chownSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { openStateQuarantine } from '../../filter/memory.ts';
import { isSameContent } from '../../workers/bayes-dump.ts';
import { readRecords } from '../../workers/bayes-record.ts';
import { openShelf, writeEntry } from '../../workers/bayes-shelf.ts';
import { silentLog } from '../../workers/log.ts';
import { chunksOf, spamFor } from '../filter/quarantine-rig.ts';
import { given, letterOf, wordsOf } from '../workers/bayes-rig.ts';
import { type Node, run, startPair } from './carry-rig.ts';

const sluice = join(import.meta.dirname, '..', '..', 'bin', 'sluice.js');
// Of this run alone: others may work in /tmp at the same time, and this source may lie there compiled.
const secret = `octets-that-stay-on-the-primary-${randomBytes(8).toString('hex')}`;
const owner = 65_534;

for (const way of ['push', 'fetch'] as const)
  test(`${way}: both nodes score the sample, the figures are kept on both, and what differs has an exit code`, async (t) => {
    const begun = Date.now();
    const { primary, backup } = await startPair(t, { way });
    await given(t, primary.site, wordsOf('spam'));
    await given(t, backup.site, wordsOf('ham', 20, 'old'));
    for (const { policies } of [primary, backup]) writeFileSync(policies, '');
    addSample(primary);
    await fillSample(primary, 8);
    const asker = way === 'push' ? primary : backup;
    const before = await run(asker, 'parity');
    t.diagnostic(before.out.trim());
    assert.equal(before.code, 1, before.out + before.err);
    assert.match(before.out, /judges otherwise: 8 of 8 messages scored on both: 4 with another probability/);
    assert.match(before.out, /\nBAYES_99\d* +\d/);
    const first = await (way === 'push' ? run(primary, 'sync', '--now') : run(backup, 'fetch'));
    t.diagnostic(first.out.trim());
    assert.equal(first.code, 0, first.out + first.err);
    assert.doesNotMatch(first.out, /warning/);
    assert.deepEqual(holdingSecret(backup.site.folder), [], 'the sample is on the disk of the backup');
    for (const folder of new Set(['/tmp', '/var/tmp', tmpdir()]))
      assert.deepEqual(holdingSecret(folder, { begun, except: primary.site.folder }), [], folder);
    assert.notDeepEqual(holdingSecret(primary.site.folder), [], 'what is looked for can be found');
    const [record] = await readRecords(asker.bayesFolder);
    const { at, ...figures } = record?.parity ?? {};
    assert.ok(at !== undefined);
    assert.deepEqual(figures, {
      messages: 8,
      probabilityDiffers: 0,
      scoreDiffers: 0,
      flips: 0,
      worst: 0,
      notScored: 0,
    });
    const after = await run(asker, 'parity', '--json');
    assert.equal(after.code, 0, after.out + after.err);
    for (const node of [primary, backup]) {
      const status = await run(node, 'status');
      assert.match(status.out, /parity {4}8 of 8 messages scored on both: 0 with another probability/);
    }
  });

test('a sync that is killed while both nodes score leaves no spamd on either, and the new database in place', async (t) => {
  const { primary, backup } = await startPair(t);
  await given(t, primary.site, wordsOf('spam'));
  for (const { policies } of [primary, backup]) writeFileSync(policies, '');
  addSample(primary);
  await fillSample(primary, 8);
  const child = spawn(process.execPath, [sluice, '--config', primary.configFile, 'bayes', 'sync', '--now'], {
    stdio: 'ignore',
  });
  t.after(() => child.kill('SIGKILL'));
  const ended = once(child, 'close');
  const both = () => [primary, backup].map((node) => scorersOf(node));
  while (both().some((pids) => pids.length === 0)) await delay(20);
  child.kill('SIGKILL');
  await ended;
  while (both().some((pids) => pids.length > 0)) await delay(20);
  assert.ok(isSameContent(await backup.site.figures(), await primary.site.figures()));
  const again = await run(primary, 'parity');
  assert.equal(again.code, 0, again.out + again.err);
});

/** Private spamds of a node. */
function scorersOf({ site }: Node): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const words = wordsOfProcess(pid);
      return (
        words.includes(`--siteconfigpath=${site.view.siteFolder}`) &&
        words.some((word) => word.startsWith('--socketpath=/dev/shm/'))
      );
    });
}

function wordsOfProcess(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return []; // gone meanwhile
  }
}

/** A state folder that is another user's, as packages install it. */
function addSample(node: Node): void {
  const text = readFileSync(node.configFile, 'utf8');
  const bayes = text.slice(text.indexOf('bayes:\n') + 7).split('\n');
  const own = bayes.filter((line) => !/^ {2}(user|siteFolder|redisScratch|keep):/.test(line));
  node.configure({
    role: 'primary',
    bayes: ['sample: 8', ...own.map((line) => line.trim()).filter(Boolean)],
  });
}

/** Half of it held as spam, half delivered. */
async function fillSample({ site }: Node, count: number): Promise<void> {
  const state = join(site.folder, 'state');
  mkdirSync(state, { recursive: true, mode: 0o711 });
  const seal = await openShelf(state);
  const quarantine = await openStateQuarantine(state, silentLog);
  for (let at = 0; at < count / 2; at++) {
    const ham = Buffer.concat([letterOf(wordsOf('ham', 10, `unknown${at}`)), Buffer.from(`${secret}\r\n`)]);
    await writeEntry(state, seal, { sender: 'a@a.example', bytes: ham }, { takenAt: Date.now(), rank: at });
    const message = Buffer.concat([letterOf(wordsOf('spam')), Buffer.from(`${secret} ${at}\r\n`)]);
    await quarantine.put(spamFor(['a@b.example'], { queueId: `4c7Yx${at}`, message }), chunksOf(message));
  }
  await quarantine.close();
  for (const name of readdirSync(state, { recursive: true, encoding: 'utf8' }))
    if (!name.startsWith('bayes')) chownSync(join(state, name), owner, owner);
  chownSync(state, owner, owner);
}

/** Files with it, of those that were made or changed since; what others remove meanwhile has none. */
function holdingSecret(folder: string, { begun = 0, except = '' } = {}): string[] {
  return filesIn(folder, except).filter((path) => {
    try {
      const found = lstatSync(path);
      return found.isFile() && found.ctimeMs >= begun && readFileSync(path).includes(secret);
    } catch {
      return false;
    }
  });
}

function filesIn(folder: string, except: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
      const path = join(folder, entry.name);
      if (path === except) return [];
      return entry.isDirectory() ? filesIn(path, except) : [path];
    });
  } catch {
    return []; // gone meanwhile
  }
}
