/**
 * listener — spoken to by clients that others wrote, and by floods: what 25 MB cost.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import SMTPConnection from 'nodemailer/lib/smtp-connection';
import { type Rig, startRig } from './listener-rig.ts';

const run = promisify(execFile);
const feeds = ['smtp over tcp', 'lmtp over tcp', 'smtp over unix', 'lmtp over unix'] as const;

function start(feed: (typeof feeds)[number]): Promise<Rig> {
  const protocol = feed.startsWith('lmtp') ? 'lmtp' : 'smtp';
  if (feed.endsWith('tcp')) return startRig({ protocol });
  const path = join('/tmp', `sluice-listener-${process.pid}-${protocol}.sock`);
  return startRig({ protocol, address: { kind: 'unix', path, mode: 0o666, owner: null } });
}

async function connect(rig: Rig) {
  const { address } = rig.listener;
  const target =
    address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
  const connection = createConnection(target);
  await once(connection, 'connect');
  return connection;
}

for (const feed of feeds) {
  test(`createListener() takes what nodemailer sends, ${feed}`, async () => {
    await using rig = await start(feed);
    const client = new SMTPConnection({
      connection: await connect(rig),
      lmtp: feed.startsWith('lmtp'),
      name: 'mx.example.org',
    });
    await new Promise<void>((resolve, reject) => {
      client.once('error', reject);
      client.connect((error) => (error ? reject(error) : resolve()));
    });
    const body = `Subject: x\r\n\r\n.\r\n..two\r\n${'long '.repeat(1000)}\r\n\u00e4\u00f6\r\n`;
    const to = ['jürgen@exämple.de', '"a b"@example.com', 'B@example.com', 'b@example.com'];
    for (let nth = 1; nth <= 3; nth++) {
      const sent = await new Promise<{ accepted: readonly unknown[]; rejected: readonly unknown[] }>(
        (resolve, reject) => {
          const dsn = { ret: 'HDRS', envid: 'e 1', notify: 'FAILURE', orcpt: 'rfc822;o@x' } as const;
          client.send(
            { from: 'é@example.com', to, use8BitMime: true, dsn, size: 6000 },
            body,
            (error, outcome) => (error ? reject(error) : resolve(outcome)),
          );
        },
      );
      assert.deepEqual(sent.rejected, []);
      const { transaction, octets } = rig.taken[nth - 1] ?? assert.fail();
      assert.equal(octets.toString(), body);
      assert.equal(transaction.envelope.recipients.length, to.length);
      assert.equal(transaction.envelope.smtputf8, true);
      assert.equal(transaction.envelope.body, '8BITMIME');
    }
    client.quit();
    assert.equal(rig.taken.length, 3);
    assert.deepEqual(await rig.spooled(), []);
  });

  test(`createListener() takes what Postfix's smtp-source sends in 10 sessions, ${feed}`, async () => {
    await using rig = await start(feed);
    const { address } = rig.listener;
    const target = address.kind === 'unix' ? `unix:${address.path}` : `inet:${address.host}:${address.port}`;
    const speak = feed.startsWith('lmtp') ? ['-L'] : [];
    await run('smtp-source', [
      ...speak,
      '-d',
      '-s',
      '10',
      '-m',
      '200',
      '-r',
      '7',
      '-l',
      '20000',
      '-f',
      'a@x',
      '-t',
      'b@x',
      target,
    ]);
    assert.equal(rig.taken.length, 200);
    for (const { transaction, octets } of rig.taken) {
      assert.equal(transaction.envelope.recipients.length, 7);
      assert.ok(octets.length > 20_000);
    }
    await rig.idle();
    assert.deepEqual(await rig.spooled(), []);
  });
}

const floods: readonly { label: string; unit: string }[] = [
  { label: 'nothing but `..` lines', unit: '..\r\n' },
  { label: 'lines of 76', unit: `${'x'.repeat(76)}\r\n` },
  { label: 'one line', unit: 'x' },
  { label: 'bare LF only', unit: '\n' },
];

for (const { label, unit } of floods) {
  test(`createListener() takes 25 MB of ${label} for under a second of CPU, spool and client included`, async (t) => {
    await using rig = await startRig();
    const dialog = await rig.greet();
    await dialog.ask('MAIL FROM:<a@x>');
    await dialog.ask('RCPT TO:<b@x>');
    await dialog.ask('DATA');
    const octets = Buffer.alloc(25 * 1024 * 1024, unit);
    const before = process.cpuUsage();
    await dialog.send(octets);
    assert.match(await dialog.ask('\r\n.'), /^250 2\.0\.0/);
    const { user, system } = process.cpuUsage(before);
    t.diagnostic(`${Math.round((user + system) / 1000)} ms of CPU`);
    assert.ok(user + system < 1_000_000, `${(user + system) / 1000} ms`);
  });
}
