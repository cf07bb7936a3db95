/**
 * history-cli — `sluice history`, `quarantine show` and `quarantine export` as people and programs use them.
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openHistory } from '../../filter/history.ts';
import { replyFor } from '../../rules/replies.ts';
import { silentLog } from '../../workers/log.ts';
import { message, type Rig, runSluice, spam, startDesk } from './desk-rig.ts';

function run(rig: Rig, ...words: string[]) {
  return runSluice([...words, '--config', rig.config], { SUDO_USER: 'anna' });
}

test('sluice quarantine export writes the octets as they were scanned, and overwrites nothing', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put();
  const file = join(rig.state, '../out.eml');
  const plainly = await run(rig, 'quarantine', 'export', id);
  assert.deepEqual([plainly.code, plainly.stdout, plainly.stderr], [0, message.toString(), '']);
  const written = await run(rig, 'quarantine', 'export', id, '--output', file);
  assert.deepEqual([written.code, written.stdout], [0, `${file}: ${message.length} bytes\n`]);
  assert.ok(readFileSync(file).equals(message));
  assert.equal(statSync(file).mode & 0o777, 0o600);
  writeFileSync(file, 'mine');
  const refused = await run(rig, 'quarantine', 'export', id, '--output', file);
  assert.deepEqual(
    [refused.code, refused.stderr],
    [69, `sluice: Cannot write ${file}: it is there already: name another file\n`],
  );
  assert.equal(readFileSync(file, 'utf8'), 'mine');
  const other = join(rig.state, '../other.eml');
  const missing = await run(rig, 'quarantine', 'export', 'f'.repeat(32), '--output', other);
  assert.deepEqual([missing.code, existsSync(other)], [69, false]);
  // Half of it is on disk by now: what is not the whole message is nothing.
  writeFileSync(join(rig.state, 'quarantine', id.slice(0, 2), id, 'message.eml'), 'Fr0m');
  const broken = await run(rig, 'quarantine', 'export', id, '--output', other);
  assert.deepEqual([broken.code, existsSync(other)], [69, false]);
  const json = await run(rig, 'quarantine', 'export', id, '--json');
  assert.equal(json.code, 64);
});

test('sluice quarantine export --output writes where root may, though the quarantine is read as its owner', {
  skip: process.getuid?.() === 0 ? false : 'needs root',
}, async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put();
  const nobody = 65534;
  const top = join(rig.state, '..');
  chmodSync(top, 0o755);
  for (const name of ['.', ...(readdirSync(rig.state, { recursive: true }) as string[])])
    chownSync(join(rig.state, name), nobody, nobody);
  const file = join(top, 'out.eml');
  assert.deepEqual(await run(rig, 'quarantine', 'export', id, '--output', file), {
    code: 0,
    stdout: `${file}: ${message.length} bytes\n`,
    stderr: '',
  });
  assert.deepEqual([readFileSync(file), statSync(file).uid], [message, 0]);
  const missing = await run(rig, 'quarantine', 'export', 'f'.repeat(32), '--output', join(top, 'other.eml'));
  assert.deepEqual([missing.code, existsSync(join(top, 'other.eml'))], [69, false]);
  for (const name of ['review.db', 'quarantine.db'])
    assert.equal(statSync(join(rig.state, name)).uid, nobody, name);
});

test('sluice quarantine show tells every threshold with its origin, every rule, and what happened step by step', async (t) => {
  const rig = await startDesk(t);
  const item = spam(['a@example.com', 'b@example.com']);
  const threshold = (value: number | null, origin: string) => ({ value, origin });
  const heldUnder = {
    thresholds: {
      tag: threshold(2, 'shipped default'),
      spam: threshold(6.5, 'shipped default'),
      quarantine: threshold(10, 'policies.yaml:3 recipients: example.com'),
      discard: threshold(null, 'shipped default'),
    },
    retentionDays: { value: 14, origin: 'policies.yaml:2 default' },
  };
  const tests = [{ name: 'GTUBE', score: 12.5, description: 'Generic test' }];
  const id = await rig.put({
    ...item,
    slots: item.slots.map((slot) => ({ ...slot, heldUnder })),
    report: { ...item.report, spam: { kind: 'scored', score: 12.5, tests, truncated: false, ignored: [] } },
  });
  await run(rig, 'quarantine', 'release', id, '--recipient', 'b@example.com');
  const { code, stdout } = await run(rig, 'quarantine', 'show', id);
  assert.equal(code, 0);
  for (const expected of [
    /\nscore +rule +description\n12\.5 +GTUBE +Generic test\n/,
    /\npolicy of a@example\.com and 1 more\nthreshold +value +set by\ntag +2 +shipped default\n/,
    /\nquarantine +10 +policies\.yaml:3 recipients: example\.com\ndiscard +off +shipped default\n/,
    /\nkept for days +14 +policies\.yaml:2 default\n/,
    /\na@example\.com +held +/,
    /\nb@example\.com +released +cli:anna +[-\d]+ [:\d]+ +FAKE1 +/,
    /\ntime +recipient +became +by +queue id\n/,
    /\n[-\d]+ [:\d]+ +b@example\.com +held to releasing +cli:anna\n/,
    /\n[-\d]+ [:\d]+ +b@example\.com +releasing to released +cli:anna +FAKE1\n/,
    /\n[-\d]+ [:\d]+ +cli:anna +release recipients b@example\.com +b@example\.com: released\n/,
  ])
    assert.match(stdout, expected);
  const { policies } = JSON.parse((await run(rig, 'quarantine', 'show', id, '--json')).stdout) as {
    policies: unknown;
  };
  assert.deepEqual(policies, [heldUnder]);
  const audit = await run(rig, 'quarantine', 'audit', '--limit', '3');
  assert.deepEqual(
    audit.stdout.split('\n').map((line) =>
      line
        .replace(/^[-\d]+ [:\d]{8}/, 'T')
        .split(/ {2,}/)
        .join(' | '),
    ),
    [
      'time | by | did | id | outcome',
      `T | cli:anna | show | ${id} | shown`,
      `T | cli:anna | show | ${id} | shown`,
      `T | cli:anna | release recipients b@example.com | ${id} | b@example.com: released`,
      '',
    ],
  );
});

test('sluice history tells the outcome of each recipient with both queue ids; before any mail it is empty', async (t) => {
  const rig = await startDesk(t);
  assert.deepEqual(await run(rig, 'history'), { code: 0, stdout: 'Nothing is found.\n', stderr: '' });
  assert.equal(existsSync(join(rig.state, 'history.db')), false, 'only the filter makes it');
  const told = await openHistory({ file: join(rig.state, 'history.db'), log: silentLog });
  t.after(() => told.close());
  const scan = {
    at: Date.UTC(2026, 0, 2),
    queueId: '4c7Yx1',
    direction: 'inbound',
    client: null,
    sender: 's@example.net',
    from: 'sales@example.net',
    subject: 'Hello\u001b[1m',
    messageId: null,
    sizeBytes: 1,
    report: null,
    totalMs: 1,
  } as const;
  const base = {
    verdict: 'clean',
    disposition: 'deliver',
    score: 1.5,
    why: '',
    quarantineId: null,
    queueIdOut: null,
  } as const;
  const delivered = {
    ...base,
    recipient: 'a@example.com',
    outcome: 'delivered',
    reply: replyFor('delivered'),
    queueIdOut: '4cOUT',
  } as const;
  const held = {
    ...base,
    recipient: 'b@example.com',
    outcome: 'held',
    verdict: 'virus',
    disposition: 'quarantine',
    reply: replyFor('held'),
    quarantineId: 'a'.repeat(32),
  } as const;
  const spared = {
    ...held,
    recipient: 'c@example.com',
    outcome: 'delivered',
    verdict: 'spam',
    quarantineId: null,
  } as const;
  await told.record(scan, [delivered, held, spared], { durable: true });
  await told.record({ ...scan, queueId: 'Q2', sender: '', from: null, subject: 'Other' }, [], {
    durable: true,
  });
  const { code, stdout, stderr } = await run(rig, 'history');
  assert.deepEqual([code, stderr], [0, '']);
  const lines = stdout.split('\n').map((line) =>
    line
      .replace(/^[-\d]+ [:\d]{8}/, 'T')
      .split(/ {2,}/)
      .join(' | '),
  );
  assert.deepEqual(lines, [
    'time | queue id | outcome | score | from | to | became | subject',
    'T | Q2 | <> | Other',
    'T | 4c7Yx1 | delivered | 1.5 | sales@example.net | a@example.com | 4cOUT | Hello?[1m',
    `T | 4c7Yx1 | held (virus) | 1.5 | sales@example.net | b@example.com | ${'a'.repeat(32)} | Hello?[1m`,
    'T | 4c7Yx1 | delivered (spam, would quarantine) | 1.5 | sales@example.net | c@example.com | Hello?[1m',
    '',
  ]);
  const found = await run(rig, 'history', 'state:held', '-other', '--limit', '1', '--json');
  const rows = JSON.parse(found.stdout) as { queueId: string; scanId: number; outcomes: unknown[] }[];
  assert.deepEqual(
    rows.map(({ queueId, outcomes }) => [queueId, outcomes.length]),
    [['4c7Yx1', 3]],
  );
  const page = await run(rig, 'history', '--before', '2', '--json');
  assert.equal((JSON.parse(page.stdout) as unknown[]).length, 1);
  const wrong = await run(rig, 'history', '--before', 'x');
  assert.deepEqual(
    [wrong.code, wrong.stderr],
    [64, 'sluice: --before: "x" is no scanId: take the last one of the --json before\n'],
  );
});
