/**
 * apart — mail through workers on another address that share no spool, as on a second machine: small, large and infected.
 *
 * `npm run e2e:redis` runs every end-to-end test of a site that way; this is the short form.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import * as evidence from './evidence.ts';
import { gtube, infectedMails, mailOf } from './mails.ts';
import { startSite } from './site.ts';

const line = 'An ordinary line about an ordinary order.\r\n';
/** Over what goes through Redis here (512 KB): a worker fetches it. */
const large = line.repeat(20_000);

test('workers on another address get every message, small and large, and find what is in it', async (t) => {
  const site = await startSite({
    feedProtocol: 'lmtp',
    sink: 'smtp',
    redis: 'apart',
    spamd: { children: 2 },
  });
  t.after(() => site.stop());
  const status = async () => {
    const { stdout } = await site.cli('queue', 'status', '--json');
    return JSON.parse(stdout) as {
      workers: { spools: string[]; virus: { ok: boolean } }[];
      filters: unknown[];
    };
  };
  const { workers, filters } = await status();
  assert.deepEqual([workers.length, filters.length], [2, 1]);
  assert.deepEqual(
    workers.map(({ spools }) => spools),
    [[], []],
    'no worker sees the spool',
  );
  await letters(t, site);
  const file = join(site.folder, 'virus.eml');
  await writeFile(file, infectedMails()[0]?.bytes ?? '');
  const scanned = await site.cli('scan', file);
  assert.equal(scanned.code, 1, `beside a filter that listens on redis.fetch: ${scanned.stderr}`);
  const { code, stdout } = await site.cli('queue', 'status');
  assert.equal(code, 0, stdout);
  assert.match(stdout, /^virus +0 +0 +-$/m);
  assert.match(stdout, /\b0\/16 ok +0\/4 ok +apart\b/);
  const findings = (await site.cli('check')).stdout;
  assert.match(findings, /ok {4}2 of 2 workers scan for virus, 32 messages at once/);
  assert.match(findings, /ok {4}2 of 2 workers get messages through Redis up to 512 KB, they share no spool/);
  assert.match(findings, /ok {4}Messages from 512 KB to 100 MB are fetched from the filter/);
});

async function letters(t: TestContext, site: Awaited<ReturnType<typeof startSite>>): Promise<void> {
  const send = (to: string, bytes: Buffer) => evidence.post(site, { to: [to], bytes });
  const [virus] = infectedMails();
  assert.ok(virus !== undefined);
  await send('small@a.example', mailOf({ subject: 'small' }));
  await send('large@a.example', mailOf({ subject: 'large', body: large }));
  await send('middle@a.example', mailOf({ subject: 'middle', body: line.repeat(8000) }));
  await send('virus@a.example', virus.bytes);
  await send('large-virus@a.example', Buffer.concat([virus.bytes, Buffer.from(large)]));
  await send('spam@a.example', mailOf({ subject: 'spam', body: gtube }));
  for (const to of ['small', 'middle', 'large']) await evidence.arrived(site, `${to}@a.example`);
  const arrived = await evidence.arrived(site, 'large@a.example');
  assert.ok(arrived.bytes.includes(large));
  await evidence.emptied(site);
  const held = (await evidence.quarantineOf(site)).map(({ slots, virusName }) => [
    slots[0]?.recipient,
    virusName !== null,
  ]);
  assert.deepEqual(
    held.toSorted(([a = ''], [b = '']) => String(a).localeCompare(String(b))),
    [
      ['large-virus@a.example', true],
      ['spam@a.example', false],
      ['virus@a.example', true],
    ],
  );
  t.diagnostic('6 messages, 2 of them fetched');
}
