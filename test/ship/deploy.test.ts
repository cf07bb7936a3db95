/**
 * deploy — docs/deploy.md's "Two machines" holds: mail of every size goes through, over TLS, with a user of Redis who may do
 * what Sluice calls and nothing else.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { eicar } from '../../demo/clamd.ts';
import { gtube } from '../e2e/mails.ts';
import { top } from './debian.ts';
import { startTwoMachines, type TwoMachines } from './two-machines.ts';

/** BullMQ's scripts that workers/bull.ts leads to; a script calls what its branches call. */
const scripts = [
  'addJobScheduler',
  'addPrioritizedJob',
  'addStandardJob',
  'changePriority',
  'extendLocks',
  'getJobScheduler',
  'moveStalledJobsToWait',
  'moveToActive',
  'moveToFinished',
  'removeJob',
  'updateJobScheduler',
];
/** Called where redis.url names another database than 0. */
const elsewhere = ['select'];
const line = 'An ordinary line about an ordinary order.\r\n';

suite('docs/deploy.md, two machines', () => {
  let site: TwoMachines;
  before(async () => {
    site = await startTwoMachines();
  });
  after(() => site?.stop());

  /** Hands one message in on A; smtp-source fails where it is not taken. */
  function send(message: string): void {
    const file = join(site.folder, 'message');
    // smtp-source makes line ends of its own.
    writeFileSync(file, message.replaceAll('\r\n', '\n'));
    const words = ['-L', '-F', file, '-f', 'anna@partner.example', '-t', 'bob@site.example'];
    site.network.run('a', 'smtp-source', ...words, '127.0.0.1:10023');
  }
  const arrived = () =>
    globSync('a/arrived/m*', { cwd: site.folder }).map((file) =>
      readFileSync(join(site.folder, file), 'latin1'),
    );
  const held = () => globSync('a/state/quarantine/*/*/item.json', { cwd: site.folder }).length;

  test('`sluice queue status` on A names the worker on B, which shares no spool', async () => {
    for (let tries = 0; site.sluice('queue', 'status').code !== 0 && tries < 50; tries++) await delay(100);
    const { code, stdout } = site.sluice('queue', 'status', '--json');
    assert.equal(code, 0, stdout);
    const { workers } = JSON.parse(stdout) as { workers: { spools: string[]; virus: { ok: boolean } }[] };
    assert.deepEqual(
      workers.map(({ spools, virus }) => [spools, virus.ok]),
      [[[], true]],
    );
  });

  test('good messages arrive, small, in pieces, and fetched from the filter', () => {
    for (const lines of [1, 15_000, 60_000]) send(`Subject: an order\r\n\r\n${line.repeat(lines)}`);
    const texts = arrived();
    assert.equal(texts.length, 3);
    for (const text of texts) assert.match(text, /^X-Virus-Scanned: yes \(Sluice /m);
  });

  test('spam and viruses are held, a large one too', () => {
    send(`Subject: an offer\r\n\r\n${gtube}\r\n`);
    send(`Subject: a gift\r\n\r\n${eicar()}\r\n`);
    send(`Subject: a large gift\r\n\r\n${eicar()}\r\n${line.repeat(60_000)}`);
    assert.equal(held(), 3);
    assert.equal(arrived().length, 3);
  });

  test('`sluice check` on A finds Redis and the way of large messages right', () => {
    const { stdout } = site.sluice('check');
    assert.match(stdout, /ok {4}Redis allows all that the queues need/);
    assert.match(stdout, /ok {4}Redis evicts nothing/);
    assert.match(stdout, /ok {4}1 of 1 workers scan for virus/);
    assert.match(stdout, /ok {4}1 of 1 workers get messages through Redis up to 1 MB, they share no spool/);
    assert.match(stdout, /ok {4}Messages from 1 MB to 100 MB are fetched from the filter/);
  });

  test('Redis refused nothing of all that', () => {
    assert.equal(site.redis(['ACL', 'LOG']).trim(), '');
  });

  test('the ACL names what was called and what scripts may call, and nothing else', () => {
    assert.equal(site.rights[0], '-@all');
    const called = [...site.redis(['INFO', 'commandstats']).matchAll(/^cmdstat_([^:]+):/gm)].map(
      ([, name]) => name,
    );
    const ours = called.filter((name) => name !== undefined && !/^(?:acl|auth|command|hello)\b/.test(name));
    const wanted = new Set([...ours, ...scripts.flatMap(commandsOf), ...elsewhere]);
    assert.deepEqual(site.rights.slice(1), [...wanted].map((name) => `+${name}`).toSorted());
  });

  test('the user may not look at other keys, list all, change settings or empty Redis', () => {
    const sluice = ['--user', 'sluice', '--pass', 'a-long-password'];
    for (const words of [
      ['GET', 'other'],
      ['KEYS', '*'],
      ['CONFIG', 'GET', '*'],
      ['FLUSHALL'],
      ['PUBLISH', 'other', 'x'],
    ])
      assert.throws(() => site.redis(words, sluice), /NOPERM/, words.join(' '));
    assert.throws(() => site.redis(['PING'], []), /NOAUTH/);
  });

  test('nobody is served without TLS, and nobody but B may fetch', () => {
    const plain = 'exec 3<>/dev/tcp/192.0.2.1/6379; printf "PING\\r\\n" >&3; timeout 2 head -c 5 <&3';
    assert.doesNotMatch(site.network.run('b', 'bash', '-c', `${plain} || true`), /^[+-]/);
    const ask = 'exec 3<>/dev/tcp/192.0.2.1/9028; printf "GET /x HTTP/1.0\\r\\n\\r\\n" >&3; head -n 1 <&3';
    assert.match(site.network.run('c', 'bash', '-c', ask), /^HTTP\/1.1 404/);
  });
});

/** Every command in the Lua of one of BullMQ's scripts. */
function commandsOf(script: string): string[] {
  const [file = ''] = globSync(`node_modules/bullmq/dist/cjs/scripts/${script}-*.js`, { cwd: top });
  const text = readFileSync(join(top, file), 'utf8');
  return [...text.matchAll(/call\(\s*["']([A-Za-z]+)/g)].map(([, name = '']) => name.toLowerCase());
}
