/** queue over Redis — real redis-server, real worker processes, fakes of the daemons. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eicar } from '../../demo/clamd.ts';
import { gtube } from '../fakes/spamd.ts';
import { leftIn, never, openSite, until } from './remote-rig.ts';

const letter = (body: string) => `Subject: x\r\n\r\n${body}\r\n`;

test('scan() is answered by workers in other processes, each for its scanner', async (t) => {
  const site = await openSite(t);
  await Promise.all([
    site.startWorker({ scanners: 'virus' }),
    site.startWorker({ scanners: 'spam', more: 'scan: { virus: false }' }),
  ]);
  const ham = await site.scan(letter('hello'));
  assert.deepEqual(ham.virus, { kind: 'clean' });
  assert.equal(ham.spam.kind === 'scored' && ham.spam.score < 5, true);
  const spam = await site.scan(letter(gtube));
  assert.equal(spam.spam.kind === 'scored' && spam.spam.score, 1000);
  const virus = await site.scan(letter(eicar()));
  assert.deepEqual(virus.virus, { kind: 'infected', name: 'Eicar-Test-Signature.UNOFFICIAL' });
  await until('nothing is left in Redis', async () => (await leftIn(site.redis)).length === 0);
});

test('scan() shows spamd the envelope sender, lone surrogates and all', async (t) => {
  const site = await openSite(t);
  await site.startWorker();
  const { ticket } = await site.put(letter('x'), 'j\udcfcrgen@example.com');
  await site.queue.scan(ticket, never());
  const asked = site.spamd.conversations.find(({ command }) => command.startsWith('HEADERS'));
  assert.ok(
    asked?.message.includes(Buffer.from('X-Sluice-Envelope-From: <j\xfcrgen@example.com>\r\n', 'latin1')),
  );
});

test('learn() reaches a worker that has a spamd', async (t) => {
  const site = await openSite(t);
  await site.startWorker();
  const octets = letter('learn me');
  const read = async function* () {
    yield Buffer.from(octets);
  };
  const learnt = await site.queue.learn(read, octets.length, 'spam', never());
  assert.deepEqual(learnt, { kind: 'learned' });
  const told = site.spamd.conversations.find(({ command }) => command.startsWith('TELL'));
  assert.equal(told?.message.toString(), octets);
  await until('nothing is left in Redis', async () => (await leftIn(site.redis)).length === 0);
});

for (const [label, options, way] of [
  ['through Redis, in memory', {}, 'redis'],
  ['through the shared spool', { memoryBytesMax: 0 }, 'spool'],
] as const) {
  test(`scan() gets 1 MB to a worker ${label}`, async (t) => {
    const site = await openSite(t, { ...options, ...(way === 'redis' ? { memoryBytesMax: 2 ** 21 } : {}) });
    await site.startWorker();
    // Known to share the spool from the second beat on.
    await until('the worker is seen', async () => (await site.scan(letter('a'))).virus.kind === 'clean');
    const octets = Buffer.from(letter('b'.repeat(1024 * 1024)));
    const before = site.clamd.conversations.length;
    const report = await site.scan(octets);
    assert.deepEqual(report.virus, { kind: 'clean' });
    const conversation = site.clamd.conversations
      .slice(before)
      .find(({ command }) => command === 'zINSTREAM');
    assert.ok(conversation?.stream.equals(octets));
    await until('nothing is left in Redis', async () => (await leftIn(site.redis)).length === 0);
  });
}
