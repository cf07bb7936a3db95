/**
 * compose-run — compose.yaml, running: mail from a client into Postfix, through filter, Redis and two workers, back, and on
 * to a mailbox.
 *
 * usage: node --test test/ship/compose-run.ts   (part of npm run ship; some minutes)
 *
 * clamd gets the signature of EICAR alone, and Postfix has mailboxes in place of another server; all else is compose.yaml's.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { eicar } from '../../demo/clamd.ts';
import { gtube } from '../e2e/mails.ts';
import { addressOf, serviceOf } from './compose-file.ts';
import { type ComposeSite, openComposeSite, smtpAddress } from './compose-site.ts';
import type { Exec } from './jail.ts';

const mailboxes = {
  POSTFIX_myhostname: 'mail.example.com',
  POSTFIX_relay_domains: '',
  POSTFIX_virtual_mailbox_domains: 'example.com',
  POSTFIX_virtual_mailbox_base: '/mailboxes',
  POSTFIX_virtual_mailbox_maps: 'static:Maildir/',
  POSTFIX_virtual_uid_maps: 'static:10001',
  POSTFIX_virtual_gid_maps: 'static:10001',
};
const workers = ['worker-1', 'worker-2'];
/** Over 256 KiB: workers read it out of the filter's spool. */
const long = 'An ordinary line about an ordinary order.\r\n'.repeat(20_000);

suite('compose.yaml, running', () => {
  let site: ComposeSite;
  let filter: Exec;
  let postfix: Exec;
  const inWorkers: Exec[] = [];

  before(async () => {
    site = openComposeSite();
    const hex = Buffer.from(eicar(), 'latin1').toString('hex');
    const signature = `Eicar-Test-Signature:0:*:${hex}\n`;
    writeFileSync(join(site.volume('signatures'), 'test.ndb'), signature, { mode: 0o644 });
    for (const service of ['clamav', 'spamassassin', 'redis']) await site.start(service);
    filter = await site.start('filter');
    assert.equal(workers.length, serviceOf('worker').deploy?.replicas);
    for (const host of workers) inWorkers.push(await site.start('worker', { host }));
    postfix = await site.start('postfix', {
      env: mailboxes,
      writable: { '/mailboxes': site.volume('mailboxes') },
    });
  });
  after(() => site?.stop());

  /** One message from the client's host to Postfix's port 25. */
  function send(message: string): void {
    const file = join(site.folder, 'message');
    // smtp-source makes line ends of its own.
    writeFileSync(file, message.replaceAll('\r\n', '\n'));
    const words = ['-c', '-F', file, '-f', 'anna@partner.example', '-t', 'bob@example.com', smtpAddress];
    site.network.run('client', 'smtp-source', ...words);
  }

  const arrivals = () =>
    globSync('mailboxes/Maildir/new/*', { cwd: site.folder }).map((file) =>
      readFileSync(join(site.folder, file), 'utf8'),
    );
  const held = () => globSync('state/quarantine/*/*/item.json', { cwd: site.folder }).length;

  async function until<T>(what: () => T | undefined | false): Promise<T> {
    for (let tries = 0; tries < 300; tries++) {
      const found = what();
      if (found !== undefined && found !== false) return found;
      await delay(100);
    }
    throw new Error(`Not within 30 s; logs:\n${site.logs()}`);
  }

  /** How many jobs both workers did, by queue and result. */
  function jobsDone(): Record<string, number> {
    const done: Record<string, number> = {};
    for (const inside of inWorkers) {
      const { stdout } = inside(
        'node',
        '-e',
        'fetch("http://127.0.0.1:9026/metrics").then((r) => r.text()).then(console.log)',
      );
      for (const [, queue, result, count] of stdout.matchAll(
        /^sluice_jobs_total\{queue="(\w+)",result="(\w+)"\} (\d+)$/gm,
      ))
        done[`${queue} ${result}`] = (done[`${queue} ${result}`] ?? 0) + Number(count);
    }
    return done;
  }

  test('two workers that share the spool are there', () => {
    const { code, stdout, stderr } = filter('sluice', 'queue', 'status', '--json');
    assert.equal(code, 0, stdout + stderr);
    const status = JSON.parse(stdout) as { workers: { spools: string[] }[]; filters: unknown[] };
    assert.deepEqual(
      status.workers.map(({ spools }) => spools.length),
      [1, 1],
    );
    assert.equal(status.filters.length, 1);
  });

  test('a good message goes through all of it into its mailbox', async () => {
    send('Subject: an order\r\n\r\nTwelve, please.\r\n');
    const [text = ''] = await until(() => arrivals().length === 1 && arrivals());
    assert.match(text, /^X-Virus-Scanned: yes \(Sluice /m);
    assert.match(text, /^X-Spam-Status: No, score=/m);
    assert.match(text, /Twelve, please\./);
  });

  test('a large one as well, out of the shared spool', async () => {
    send(`Subject: a long order\r\n\r\n${long}`);
    const texts = await until(() => arrivals().length === 2 && arrivals());
    const text = texts.find((one) => one.includes('a long order')) ?? '';
    assert.ok(text.includes(long.replaceAll('\r\n', '\n')));
  });

  test('spam and viruses are held, a large one too', async () => {
    send(`Subject: an offer\r\n\r\n${gtube}\r\n`);
    send(`Subject: a gift\r\n\r\n${eicar()}\r\n`);
    send(`Subject: a large gift\r\n\r\n${eicar()}\r\n${long}`);
    await until(() => held() === 3);
    assert.equal(arrivals().length, 2);
  });

  test('workers told all of that, not the filter itself', () => {
    const done = jobsDone();
    assert.deepEqual([done['virus infected'], done['virus clean']], [2, 3], JSON.stringify(done));
    assert.ok((done['spam scored'] ?? 0) >= 3, JSON.stringify(done));
  });

  test('`sluice check` finds Redis, workers and scanners right', () => {
    const { stdout, stderr } = filter('sluice', 'check');
    assert.match(stdout, /Redis evicts nothing/, stderr);
    assert.match(stdout, /Redis allows all that the queues need/);
    assert.match(stdout, /Redis has room/);
    assert.match(stdout, /All workers share the spool of the filter/);
    for (const line of stdout.split('\n')) assert.doesNotMatch(line, /^FAIL.*(?:Redis|worker|return smtpd)/i);
  });

  test('nobody else may relay through the return smtpd', () => {
    const words = ['-f', 'anna@partner.example', '-t', 'bob@example.com', `${addressOf('postfix')}:10025`];
    assert.throws(() => site.network.run('client', 'smtp-source', ...words));
  });

  test('Postfix, which the world talks to, reaches neither Redis nor the scanners', () => {
    for (const place of ['redis/6379', 'clamav/3310', 'spamassassin/1783'])
      assert.notEqual(postfix('bash', '-c', `exec 3<>/dev/tcp/${place}`).code, 0, place);
    assert.equal(postfix('bash', '-c', 'exec 3<>/dev/tcp/filter/10023').code, 0);
  });
});
