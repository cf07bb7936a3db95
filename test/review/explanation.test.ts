/**
 * explanation — `sluice scan` and `sluice quarantine show` explain the same message in the same words.
 *
 * A real filter takes the message over SMTP and holds it; the spamd is the fake one, so that every score is known.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { freePort } from '../../demo/daemon.ts';
import { formatExplanation } from '../../review/report-text.ts';
import { openDialog } from '../fakes/smtp-dialog.ts';
import { gtube, startFakeSpamd } from '../fakes/spamd.ts';
import { temporaryFolder } from '../folder.ts';
import { runSluice, startSluice, untilFilterRuns } from './desk-rig.ts';

const message = `From: <seller@example.net>\r\nSubject: Buy\r\n\r\n${gtube}\r\n`;
const policies = `recipients:
  strict.example: { thresholds: { quarantine: 7 }, retentionDays: 5 }
  keep.example: { thresholds: { quarantine: null } }
`;

/** A filter that runs; gives its configuration and the port on which it takes mail. */
async function startFilter(t: TestContext): Promise<{ config: string; smtp: number; folder: string }> {
  const spamd = await startFakeSpamd();
  t.after(() => spamd.stop());
  assert.ok(spamd.address.kind === 'tcp');
  const folder = temporaryFolder(t);
  const smtp = await freePort();
  const config = join(folder, 'sluice.yaml');
  writeFileSync(join(folder, 'policies.yaml'), policies);
  writeFileSync(
    config,
    `state: state
listen: { smtp: 127.0.0.1:${smtp}, lmtp: null }
reinject: 127.0.0.1:${await freePort()}
clamd: null
scan: { virus: false }
spamd: 127.0.0.1:${spamd.address.port}
health: { filter: null }
`,
  );
  const child = startSluice(['run', 'filter', '--config', config]);
  const closed = once(child, 'close');
  t.after(async () => {
    child.kill('SIGTERM');
    await closed;
  });
  await untilFilterRuns(child);
  return { config, smtp, folder };
}

async function send(port: number, recipients: readonly string[]): Promise<string> {
  const dialog = await openDialog({ kind: 'tcp', host: '127.0.0.1', port });
  await dialog.reply();
  await dialog.ask('EHLO client.example');
  await dialog.ask('MAIL FROM:<seller@example.net>');
  for (const recipient of recipients) await dialog.ask(`RCPT TO:<${recipient}>`);
  await dialog.ask('DATA');
  const reply = await dialog.ask(`${message}.`);
  dialog.reset();
  return reply;
}

test('sluice scan explains a message as quarantine show does: rules, what decided, thresholds of each', async (t) => {
  const { config, smtp, folder } = await startFilter(t);
  const held = ['a@example.com', 'b@strict.example'];
  const reply = await send(smtp, held);
  const [, id = ''] = /^250 2\.0\.0 Ok: held in quarantine: ([0-9a-f]{32})$/.exec(reply) ?? [];
  assert.notEqual(id, '', reply);
  const file = join(folder, 'message.eml');
  writeFileSync(file, message);
  const run = (...words: string[]) => runSluice([...words, '--config', config]);
  const scan = (...to: string[]) =>
    run('scan', file, '--from', 'seller@example.net', ...to.flatMap((one) => ['--to', one]), '--json');
  const words = ['scan', file, '--from', 'seller@example.net', ...held.flatMap((one) => ['--to', one])];
  const [scanned, shown, scannedJson, shownJson, three] = await Promise.all([
    run(...words),
    run('quarantine', 'show', id),
    scan(...held),
    run('quarantine', 'show', id, '--json'),
    scan(...held, 'c@keep.example'),
  ]);
  assert.deepEqual([scanned.code, shown.code], [1, 0], scanned.stderr + shown.stderr);
  const [, explanation] = /\n(virus {2}[^]*)\n\nrecipient +state/.exec(shown.stdout) ?? [];
  assert.equal(scanned.stdout.trimEnd(), explanation);
  for (const expected of [
    /\nscore +rule +description\n1000 +GTUBE /,
    /\nquarantine \(spam\): a@example\.com, b@strict\.example\n {2}score 1000 >= quarantine 10 \(shipped default\) \| score 1000 >= quarantine 7 \(.*policies\.yaml:2 recipients: strict\.example\)\n/,
    /\n\npolicy of a@example\.com\nthreshold +value +set by\n[^]*\nquarantine +10 +shipped default\n/,
    /\n\npolicy of b@strict\.example\nthreshold +value +set by\n[^]*\nquarantine +7 +.*policies\.yaml:2 recipients: strict\.example\n/,
    /\nkept for days +5 +.*policies\.yaml:2 /,
  ])
    assert.match(scanned.stdout, expected);

  type Json = Record<string, unknown> & {
    dispositions: Record<string, unknown>[];
    slots: { recipient: string; disposition: number; policy: number }[];
  };
  const [here, there] = [scannedJson, shownJson].map(({ stdout }) => JSON.parse(stdout) as Json);
  for (const name of ['from', 'subject', 'messageId', 'policies'])
    assert.deepEqual(here?.[name], there?.[name], name);
  // Of a held item the slots alone know whose a disposition is.
  const decided = (json?: Json) => json?.dispositions.map((one) => ({ ...one, recipients: null }));
  assert.deepEqual(decided(here), decided(there));
  const places = (json?: Json) =>
    json?.slots.map(({ recipient, disposition, policy }) => ({ recipient, disposition, policy }));
  assert.deepEqual(places(here), places(there));
  const { slots } = JSON.parse(three.stdout) as Json;
  assert.deepEqual(slots[2], { recipient: 'c@keep.example', disposition: 1, policy: 2 });
});

test('formatExplanation() fits the columns that there are, and lets nothing through that a terminal acts on', () => {
  const origin = 'policies.yaml:3 recipients: a-domain-with-a-rather-long-name.example';
  const value = { value: 7, origin };
  const lines = formatExplanation(
    {
      report: {
        virus: { kind: 'infected', name: 'Evil\u001b[2J' },
        spam: {
          kind: 'scored',
          score: 3,
          truncated: true,
          tests: [
            {
              name: 'DKIM_INVALID',
              score: 0.1,
              description: 'DKIM or DK signature exists, but is not valid',
            },
            {
              name: 'RULE',
              score: -2,
              description: 'a description that is a good deal longer than the terminal is wide',
            },
          ],
          ignored: [{ name: 'DKIM_INVALID', score: 0.1, description: null }],
        },
        virusMs: 1,
        spamMs: 1,
      },
      dispositions: [
        {
          kind: 'quarantine',
          verdict: 'virus',
          why: `virus Evil\u001b[2J: quarantine (${origin})`,
          recipients: [{ address: 'a@b.test' }],
        },
      ],
      policies: [
        {
          values: {
            thresholds: { tag: value, spam: value, quarantine: value, discard: { value: null, origin } },
            retentionDays: value,
          },
          recipients: ['a@b.test', 'c@b.test', 'd@b.test'],
        },
      ],
    },
    60,
  ).flatMap((text) => text.split('\n'));
  for (const line of lines) assert.ok(line.length <= 72 && !line.includes('\u001b'), line);
  assert.ok(
    lines.some((line) => /^-2 +RULE +a description that is a good/.test(line)),
    'heaviest first',
  );
  assert.ok(lines.some((line) => /^\(0\.1\) +DKIM_INVALID +not counted: the message was cut$/.test(line)));
  assert.ok(lines.includes('policy of a@b.test and 2 more'));
});
