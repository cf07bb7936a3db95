/**
 * verbs — releasing held mail: what goes out, what is written down, and that nothing is released twice (W6).
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Disposition } from '../../rules/mail.ts';
import { list, type Released, release, show } from '../../review/verbs.ts';
import { PermFail, TempFail } from '../../workers/fail.ts';
import { message, plain, type Rig, runSluice, spam, startDesk, startSluice } from './desk-rig.ts';

const anna = { name: 'cli:anna' };
const kindsOf = (released: readonly Released[]) =>
  released.map(({ recipient, kind }) => `${recipient} ${kind}`);
const statesOf = async ({ desk }: Rig, id: string) =>
  (await show(anna, desk, id)).slots.map(({ recipient, state, actor }) => `${recipient} ${state} ${actor}`);

test('release() gives the message back with its envelope and DSN parameters as it came, our lines in front', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put(spam(['a@example.com', 'B@example.com']));
  const released = await release(anna, rig.desk, id, plain);
  assert.deepEqual(kindsOf(released), ['a@example.com released', 'B@example.com released']);
  assert.deepEqual(
    released.map(({ queueIdOut }) => queueIdOut),
    ['FAKE1', 'FAKE1'],
  );
  const [sent, ...others] = rig.smtpd.committed();
  assert.deepEqual(others, []);
  assert.match(sent?.mail ?? '', /^MAIL FROM:<sender@example\.net>.* BODY=8BITMIME RET=HDRS ENVID=QQ314159$/);
  assert.deepEqual(
    sent?.recipients.map(({ line }) => line),
    [
      'RCPT TO:<a@example.com> NOTIFY=FAILURE ORCPT=rfc822;a@example.com',
      'RCPT TO:<B@example.com> NOTIFY=FAILURE ORCPT=rfc822;B@example.com',
    ],
  );
  const text = sent?.message.toString() ?? '';
  assert.match(text, new RegExp(`^X-Quarantine-ID: <?${id}>?\\r\\nX-Spam-Flag: YES\\r\\n`));
  assert.ok(text.endsWith(message.toString().replace('X-Spam-Flag: NO\r\n', '')));
  assert.deepEqual(await statesOf(rig, id), [
    'a@example.com released cli:anna',
    'B@example.com released cli:anna',
  ]);
});

test('release() twice delivers once: one after the other, at once, and from several processes', async (t) => {
  const rig = await startDesk(t);
  const one = await rig.put(spam(['a@example.com', 'b@example.com']));
  await release(anna, rig.desk, one, plain);
  const again = await release(anna, rig.desk, one, { ...plain, again: true });
  assert.deepEqual(
    again.map(({ kind, detail }) => `${kind}: ${detail}`),
    ['skipped: it is released', 'skipped: it is released'],
  );
  assert.equal(rig.smtpd.committed().length, 1);

  const two = await rig.put(spam(['c@example.com'], 'two'));
  const { promise: until, resolve } = Promise.withResolvers<void>();
  rig.smtpd.script = { dot: { do: 'slow', until, say: '250 2.0.0 Ok: queued as SLOW' } };
  const first = release(anna, rig.desk, two, plain);
  await rig.smtpd.reached('dot', 2);
  const other = await release(anna, rig.desk, two, plain);
  assert.deepEqual(
    other.map(({ detail }) => detail),
    ['it is releasing'],
  );
  resolve();
  assert.deepEqual(kindsOf(await first), ['c@example.com released']);

  rig.smtpd.script = {};
  const three = await rig.put(spam(['d@example.com', 'e@example.com'], 'three'));
  const words = ['quarantine', 'release', three, '--config', rig.config, '--json'];
  const runs = await Promise.all([runSluice(words), runSluice(words), runSluice(words)]);
  const kinds = runs.flatMap(({ stdout }) => (JSON.parse(stdout) as Released[]).map(({ kind }) => kind));
  assert.deepEqual(
    kinds.toSorted(),
    ['released', 'released', 'skipped', 'skipped', 'skipped', 'skipped'],
    JSON.stringify(runs),
  );
  assert.equal(
    runs
      .map(({ code }) => code)
      .toSorted((a, b) => Number(a) - Number(b))
      .join(),
    '0,1,1',
  );
  const copies = rig.smtpd.committed().flatMap(({ recipients }) => recipients.map(({ address }) => address));
  assert.deepEqual(copies.filter((address) => /^[de]@/.test(address)).toSorted(), [
    'd@example.com',
    'e@example.com',
  ]);
});

test('release() sends nothing for a copy that somebody else claimed after both had seen it held', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put(spam(['a@example.com', 'b@example.com']));
  const { quarantine } = rig.desk;
  const slow = {
    get: quarantine.get.bind(quarantine),
    read: quarantine.read.bind(quarantine),
    async claim(...claim: Parameters<typeof quarantine.claim>) {
      if (claim[3] === 'releasing') {
        const quick = { ...plain, recipients: ['a@example.com'] };
        await release({ name: 'cli:bert' }, rig.desk, id, quick);
      }
      return quarantine.claim(...claim);
    },
  } as typeof quarantine;
  const released = await release(anna, { ...rig.desk, quarantine: slow }, id, plain);
  assert.deepEqual(kindsOf(released), ['b@example.com released', 'a@example.com skipped']);
  const copies = rig.smtpd.committed().flatMap(({ recipients }) => recipients.map(({ address }) => address));
  assert.deepEqual(copies, ['a@example.com', 'b@example.com']);
});

test('release() that died after its claim is shown as unconfirmed and sent again only when somebody says so', async (t) => {
  const rig = await startDesk(t, { dot: { do: 'hang' } });
  const id = await rig.put();
  const dying = startSluice(['quarantine', 'release', id, '--config', rig.config]);
  await rig.smtpd.reached('dot');
  dying.kill('SIGKILL');
  await once(dying, 'exit');
  rig.smtpd.script = {};
  assert.deepEqual(await statesOf(rig, id), ['a@example.com unconfirmed reconcile']);
  const listed = await list(anna, rig.desk, { all: false, limit: 10 });
  assert.deepEqual(
    listed.map(({ quarantineId }) => quarantineId),
    [id],
    'it waits for a decision',
  );
  const [skipped] = await release(anna, rig.desk, id, plain);
  assert.deepEqual([skipped?.kind, rig.smtpd.committed().length], ['skipped', 0]);
  assert.match(
    skipped?.detail ?? '',
    /^it is unconfirmed: it may have arrived; --again releases it once more$/,
  );
  assert.deepEqual(kindsOf(await release(anna, rig.desk, id, { ...plain, again: true })), [
    'a@example.com released',
  ]);
  assert.equal(rig.smtpd.committed().length, 1);
});

test('release() leaves a copy that is being released by a living process alone', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put();
  await rig.desk.quarantine.claim(id, [0], 'held', 'releasing', 'cli:bert');
  assert.deepEqual(await statesOf(rig, id), ['a@example.com releasing cli:bert']);
  assert.deepEqual(kindsOf(await release(anna, rig.desk, id, { ...plain, again: true })), [
    'a@example.com skipped',
  ]);
});

test('release() writes down what the return smtpd said', async (t) => {
  const rig = await startDesk(t);
  for (const [label, script, kind, state, detail] of [
    [
      'refused at RCPT',
      { rcpt: '550 5.1.1 No such user' },
      'refused',
      'held',
      /^return smtpd said "550 5\.1\.1 No such user"$/,
    ],
    ['refused at the dot', { dot: '554 5.7.1 No' }, 'refused', 'held', /554 5\.7\.1 No/],
    ['later', { rcpt: '450 4.2.0 Later' }, 'held', 'held', /450 4\.2\.0 Later/],
    ['misconfigured', { mail: '530 5.7.0 Authenticate' }, 'held', 'held', /530 5\.7\.0 Authenticate/],
    ['gone after the dot', { dot: { do: 'drop' } }, 'unconfirmed', 'unconfirmed', /after the dot/],
  ] as const) {
    rig.smtpd.script = script;
    const id = await rig.put(spam(['a@example.com'], label.replaceAll(' ', '')));
    const [released] = await release(anna, rig.desk, id, plain);
    assert.equal(released?.kind, kind, label);
    assert.match(released?.detail ?? '', detail, label);
    assert.deepEqual(await statesOf(rig, id), [`a@example.com ${state} cli:anna`], label);
  }
});

test('release() can be tried again after "later", and a mix of answers is told apart', async (t) => {
  const rig = await startDesk(t, {
    rcpt: ({ address }) => (address.startsWith('b') ? '450 4.2.0 Later' : undefined),
  });
  const id = await rig.put(spam(['a@example.com', 'b@example.com']));
  assert.deepEqual(kindsOf(await release(anna, rig.desk, id, plain)), [
    'a@example.com released',
    'b@example.com held',
  ]);
  rig.smtpd.script = {};
  assert.deepEqual(kindsOf(await release(anna, rig.desk, id, plain)), [
    'b@example.com released',
    'a@example.com skipped',
  ]);
  assert.equal(rig.smtpd.committed().length, 2);
});

test('release() for some recipients only, compared as they came; a stranger stops all of it', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put(spam(['a@example.com', 'A@example.com']));
  const stranger = { ...plain, recipients: ['a@example.com', 'c@example.com'] };
  await assert.rejects(release(anna, rig.desk, id, stranger), (error: unknown) => {
    assert.ok(error instanceof PermFail);
    assert.equal(error.message, `Cannot release ${id}: it is not held for c@example.com`);
    return true;
  });
  assert.equal(rig.smtpd.committed().length, 0);
  assert.deepEqual(kindsOf(await release(anna, rig.desk, id, { ...plain, recipients: ['A@example.com'] })), [
    'A@example.com released',
  ]);
  assert.deepEqual(await statesOf(rig, id), ['a@example.com held null', 'A@example.com released cli:anna']);
});

test('release() --to another address asks for no delivery status and leaves the held copies', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put();
  const released = await release(anna, rig.desk, id, {
    ...plain,
    to: ['boss@example.org', 'jürgen@bücher.example'],
  });
  assert.deepEqual(kindsOf(released), ['boss@example.org released', 'jürgen@bücher.example released']);
  const [sent] = rig.smtpd.committed();
  assert.match(
    sent?.mail ?? '',
    /^MAIL FROM:<sender@example\.net> SIZE=\d+ BODY=8BITMIME SMTPUTF8$|^MAIL FROM:<sender@example\.net> BODY=8BITMIME SMTPUTF8$/,
  );
  assert.equal(sent?.recipients[0]?.line, 'RCPT TO:<boss@example.org> NOTIFY=NEVER');
  assert.deepEqual(await statesOf(rig, id), ['a@example.com held null']);
});

test('release() --to the same address twice sends once, unless somebody says again', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put();
  const to = (...addresses: string[]) => release(anna, rig.desk, id, { ...plain, to: addresses });
  rig.smtpd.script = { rcpt: '450 4.2.0 Later' };
  assert.deepEqual(kindsOf(await to('boss@example.org')), ['boss@example.org held']);
  rig.smtpd.script = {};
  assert.deepEqual(kindsOf(await to('boss@example.org')), ['boss@example.org released']);
  const [second, other] = await to('boss@example.org', 'other@example.org').then((all) => all.toReversed());
  assert.deepEqual(
    [second?.kind, second?.detail],
    ['skipped', 'it was sent there by cli:anna, or may have been; --again sends it once more'],
  );
  assert.deepEqual([other?.recipient, other?.kind], ['other@example.org', 'released']);
  assert.deepEqual(kindsOf(await to('boss@example.org')), ['boss@example.org skipped']);
  assert.equal(rig.smtpd.committed().length, 2);
  const again = { ...plain, to: ['boss@example.org'], again: true };
  assert.deepEqual(kindsOf(await release(anna, rig.desk, id, again)), ['boss@example.org released']);
  // One that got no answer, or died on the way, may have arrived.
  rig.smtpd.script = { dot: { do: 'drop' } };
  assert.deepEqual(kindsOf(await to('third@example.org')), ['third@example.org unconfirmed']);
  assert.deepEqual(kindsOf(await to('third@example.org')), ['third@example.org skipped']);
  rig.smtpd.script = {};
  const both = await Promise.all([to('twice@example.org'), to('twice@example.org')]);
  assert.deepEqual(both.flatMap(kindsOf).toSorted(), [
    'twice@example.org released',
    'twice@example.org skipped',
  ]);
});

test('release() of an infected item needs force', async (t) => {
  const rig = await startDesk(t);
  const item = spam(['a@example.com']);
  const id = await rig.put({
    ...item,
    report: { ...item.report, virus: { kind: 'infected', name: 'Eicar-Test' } },
  });
  for (const options of [plain, { ...plain, to: ['boss@example.org'] }, { ...plain, again: true }]) {
    await assert.rejects(
      release(anna, rig.desk, id, options),
      /^PermFail: Cannot release .*: it is infected \(Eicar-Test\); --force releases it$/,
    );
  }
  assert.deepEqual(await statesOf(rig, id), ['a@example.com held null']);
  assert.deepEqual(kindsOf(await release(anna, rig.desk, id, { ...plain, force: true })), [
    'a@example.com released',
  ]);
});

test('release() sends each group with its own marks, and claims it only then', async (t) => {
  const rig = await startDesk(t);
  const item = spam(['a@example.com', 'b@example.com']);
  const [spamOf] = item.dispositions;
  const [a, b] = item.slots.map(({ recipient }) => recipient);
  assert.ok(spamOf !== undefined && a !== undefined && b !== undefined);
  const dispositions: Disposition[] = [
    { ...spamOf, recipients: [a] },
    { ...spamOf, recipients: [b], marks: { ...spamOf.marks, required: 4 } },
  ];
  const id = await rig.put({ ...item, dispositions });
  const states: string[] = [];
  rig.smtpd.script = { dot: { do: 'drop' } };
  const reinject: Rig['desk']['reinject'] = async (job, signal) => {
    states.push((await rig.desk.quarantine.get(id)).slots.map(({ state }) => state).join());
    return rig.desk.reinject(job, signal);
  };
  assert.deepEqual(kindsOf(await release(anna, { ...rig.desk, reinject }, id, plain)), [
    'a@example.com unconfirmed',
    'b@example.com unconfirmed',
  ]);
  assert.deepEqual(states, ['releasing,held', 'unconfirmed,releasing']);
  const required = rig.smtpd.transactions.map(
    ({ message: sent }) => /required=([\d.]+)/.exec(sent.toString())?.[1],
  );
  assert.deepEqual(required, ['6.5', '4']);
});

test('release() sends nothing of an item that is not what was held, or that can not be understood', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put();
  const folder = join(rig.state, 'quarantine', id.slice(0, 2), id);
  const octets = readFileSync(join(folder, 'message.eml'));
  writeFileSync(join(folder, 'message.eml'), octets.subarray(0, -3));
  const gone =
    /^PermFail: Cannot release .*: the message itself is gone or damaged: .* octets that were held$/;
  await assert.rejects(release(anna, rig.desk, id, plain), gone);
  await assert.rejects(release(anna, rig.desk, id, { ...plain, to: ['boss@example.org'] }), gone);
  assert.deepEqual(rig.smtpd.transactions.length, 0);
  writeFileSync(join(folder, 'message.eml'), octets);
  const record = readFileSync(join(folder, 'item.json'), 'utf8');
  writeFileSync(join(folder, 'item.json'), record.replace('"disposition": 0', '"disposition": 7'));
  await assert.rejects(release(anna, rig.desk, id, plain), /^PermFail: .*item\.json has no disposition 7$/);
  assert.deepEqual(await statesOf(rig, id), ['a@example.com held null'], 'nothing was claimed');
});

test('release() tells of a delivery even where it can not be written down', async (t) => {
  const rig = await startDesk(t);
  const id = await rig.put();
  const { quarantine } = rig.desk;
  const failing = {
    get: quarantine.get.bind(quarantine),
    read: quarantine.read.bind(quarantine),
    claim: (...claim: Parameters<typeof quarantine.claim>) =>
      claim[2] === 'releasing' ? Promise.reject(new TempFail('locked')) : quarantine.claim(...claim),
  } as typeof quarantine;
  const released = await release(anna, { ...rig.desk, quarantine: failing }, id, plain);
  assert.deepEqual(kindsOf(released), ['a@example.com released']);
  assert.deepEqual(rig.lines, ['Cannot record what became of a release']);
  assert.deepEqual(await statesOf(rig, id), ['a@example.com releasing cli:anna']);
});

test('list() shows what waits for a decision, newest first; all shows the rest as well', async (t) => {
  const rig = await startDesk(t);
  const ids: string[] = [];
  for (const queueId of ['one', 'two', 'three', 'four'])
    ids.push(await rig.put(spam(['a@example.com', 'b@example.com'], queueId)));
  const [one = '', two = '', three = '', four = ''] = ids;
  await release(anna, rig.desk, one, plain);
  await rig.desk.quarantine.claim(two, [0], 'held', 'releasing', 'cli:bert');
  await rig.desk.quarantine.claim(two, [0], 'releasing', 'unconfirmed', 'cli:bert');
  await rig.desk.quarantine.claim(two, [1], 'held', 'deleted', 'cli:bert');
  const idsOf = async (options: { all: boolean; limit: number }) =>
    (await list(anna, rig.desk, options)).map(({ quarantineId }) => quarantineId);
  const newestFirst = [four, three, two];
  assert.deepEqual((await idsOf({ all: false, limit: 10 })).toSorted(), newestFirst.toSorted());
  assert.equal((await idsOf({ all: false, limit: 2 })).length, 2);
  assert.deepEqual((await idsOf({ all: true, limit: 10 })).toSorted(), ids.toSorted());
});

test('show() of what is not there is a PermFail that says so', async (t) => {
  const rig = await startDesk(t);
  await assert.rejects(
    show(anna, rig.desk, 'f'.repeat(32)),
    /^PermFail: .*item\.json: it is not there \(any more\)$/,
  );
  await assert.rejects(show(anna, rig.desk, '../../etc/passwd'), /^PermFail: .*this is no quarantine id$/);
});
