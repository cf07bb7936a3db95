/**
 * quarantine-cli — `sluice quarantine search|delete|learn` as people and programs use them: many items at once, what has to
 * be confirmed, exit codes, tables and JSON.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { formatAddress } from '../../rules/config.ts';
import { startFakeSpamd } from '../fakes/spamd.ts';
import { type Rig, runSluice, spam, startDesk } from './desk-rig.ts';

type Line = { quarantineId: string; recipient?: string; kind: string; detail: string };

function run(rig: Rig, ...words: string[]) {
  return runSluice([...words, '--config', rig.config], { SUDO_USER: 'anna' });
}

/** A desk with a spamd that takes TELL, or none. */
async function startWithSpamd(t: TestContext, allowTell: boolean) {
  const rig = await startDesk(t);
  const spamd = await startFakeSpamd({ allowTell });
  t.after(() => spamd.stop());
  const { port = 0, host = '' } = 'port' in spamd.address ? spamd.address : {};
  const address = formatAddress({ kind: 'tcp', host, port });
  const text = readFileSync(rig.config, 'utf8');
  writeFileSync(
    rig.config,
    text.replace('spamd: null', `spamd: ${address}`).replace('spam: false', 'spam: true'),
  );
  return { rig, spamd };
}

test('sluice quarantine search finds by words, says what is wrong with a query, and pages', async (t) => {
  const rig = await startDesk(t);
  const ids: string[] = [];
  for (const subject of ['Invoice no 7', 'Your order', 'An invoice'])
    ids.push(
      await rig.put({ ...spam(['a@example.com'], subject), facts: { from: null, subject, messageId: null } }),
    );
  const invoiceIds = ids.filter((_, at) => at !== 1).toSorted();
  const idsOf = ({ stdout }: { stdout: string }) =>
    (JSON.parse(stdout) as { quarantineId: string }[]).map(({ quarantineId }) => quarantineId).toSorted();
  const search = (...words: string[]) => run(rig, 'quarantine', 'search', ...words);
  const [invoices, none, negated, short, wrong, nothing, dash] = await Promise.all([
    search('invoice', '--json'),
    search('nosuchword'),
    search('-invoice', '--json'),
    search('no', 'subject:"invoice no"', '--json'),
    search('score:5', 'state:gone'),
    search(),
    search('-h'),
  ]);
  assert.deepEqual(idsOf(invoices), invoiceIds);
  assert.deepEqual([none.code, none.stdout], [0, 'Nothing is found.\n']);
  assert.deepEqual(idsOf(negated), [ids[1]]);
  assert.deepEqual(idsOf(short), [ids[0]]);
  assert.deepEqual(wrong, {
    code: 64,
    stdout: '',
    stderr:
      'sluice: score: "5" is no comparison: write score:>5, score:>=6.5, score:<2 or score:<=2; ' +
      'state: "gone" is none: write held, releasing, released, unconfirmed, deleted, expired, moving or moved\n',
  });
  assert.deepEqual(nothing.code, 64);
  assert.match(dash.stdout, /^Usage: sluice quarantine search/);
  const first = await search('invoice', '--limit', '1', '--json');
  const second = await search('invoice', '--before', idsOf(first)[0] ?? '', '--json');
  assert.deepEqual([...idsOf(first), ...idsOf(second)].toSorted(), invoiceIds);
  const { stdout } = await search('order');
  assert.match(
    stdout,
    new RegExp(`^held since +id +why +from +to +subject\\n[^\\n]*${ids[1]}[^\\n]*Your order\\n$`),
  );
});

test('sluice quarantine delete and release take several ids: one that does not work keeps nobody from the next', async (t) => {
  const rig = await startDesk(t);
  const [one, two, three] = [
    await rig.put(spam(['a@b.test'], '1')),
    await rig.put(spam(['c@d.test'], '2')),
    'f'.repeat(32),
  ];
  const deleted = await run(rig, 'quarantine', 'delete', one, three, two, 'not-an-id');
  assert.deepEqual([deleted.code, deleted.stderr], [69, '']);
  assert.deepEqual(
    deleted.stdout.split('\n').map((line) => line.replace(/: Cannot .*/, ': …')),
    [
      `${one}: a@b.test: deleted: it was held`,
      `${three}: failed: …`,
      `${two}: c@d.test: deleted: it was held`,
      'not-an-id: failed: …',
      '',
    ],
  );
  const again = await run(rig, 'quarantine', 'delete', one, two, '--json');
  assert.equal(again.code, 1);
  assert.deepEqual(
    (JSON.parse(again.stdout) as Line[]).map(({ quarantineId, kind, detail }) => [
      quarantineId,
      kind,
      detail,
    ]),
    [one, two].map((id) => [id, 'skipped', 'it is deleted']),
  );
  const single = await run(rig, 'quarantine', 'delete', one);
  assert.deepEqual([single.code, single.stdout], [1, 'a@b.test: skipped: it is deleted\n']);
  const held = [await rig.put(spam(['e@f.test'], '3')), await rig.put(spam(['g@h.test'], '4'))];
  const released = await run(rig, 'quarantine', 'release', ...held);
  assert.equal(released.code, 0, released.stdout);
  assert.equal(rig.smtpd.committed().length, 2);
});

test('sluice quarantine delete --all-matching does nothing until its number is confirmed', async (t) => {
  const rig = await startDesk(t);
  for (let number = 0; number < 12; number++)
    await rig.put(spam([`${number % 3 === 0 ? 'keep' : 'drop'}@example.com`], `Q${number}`));
  const words = ['quarantine', 'delete', '--all-matching', 'to:drop@'];
  const held = async () =>
    (JSON.parse((await run(rig, 'quarantine', 'list', '--json')).stdout) as unknown[]).length;
  const asked = await run(rig, ...words);
  assert.deepEqual(asked, {
    code: 1,
    stdout:
      '8 copies of 8 messages match; nothing was done. Look at them with "quarantine search"; to delete them add --confirm 8\n',
    stderr: '',
  });
  const wrong = await run(rig, ...words, '--confirm', '7');
  assert.match(wrong.stdout, /^8 copies of 8 messages match, not 7; nothing was done\./);
  const json = await run(rig, ...words, '--json');
  assert.deepEqual([json.code, JSON.parse(json.stdout)], [1, { matching: 8, messages: 8, confirmed: false }]);
  assert.equal(await held(), 12);
  const done = await run(rig, ...words, '--confirm', '8', '--json');
  assert.equal(done.code, 0);
  assert.ok(
    (JSON.parse(done.stdout) as Line[]).every(
      ({ kind, recipient }) => kind === 'deleted' && recipient === 'drop@example.com',
    ),
  );
  assert.equal(await held(), 4);
  assert.deepEqual(await run(rig, ...words, '--confirm', '0'), {
    code: 1,
    stdout: 'Nothing is found.\n',
    stderr: '',
  });
  for (const bad of [['x', '--all-matching', 'y'], []]) {
    const { code, stderr } = await run(rig, 'quarantine', 'delete', ...bad);
    assert.deepEqual(
      [code, stderr],
      [64, 'sluice: quarantine delete: name items by ID, or all of a query by --all-matching QUERY\n'],
    );
  }
});

test('sluice quarantine release and delete --all-matching to: leave other recipients of the same message alone', async (t) => {
  const rig = await startDesk(t);
  const both = await rig.put(spam(['anna@example.com', 'bob@example.com'], 'Q1'));
  await rig.put(spam(['bob@example.com'], 'Q2'));
  const three = await rig.put(spam(['anna@example.com', 'Anna@example.com', 'bob@example.com'], 'Q3'));
  const statesOf = async (id: string) =>
    (await rig.desk.quarantine.get(id)).slots.map(({ recipient, state }) => `${recipient} ${state}`);
  const words = ['quarantine', 'release', '--all-matching', 'to:anna@ buy'];
  assert.deepEqual(await run(rig, ...words), {
    code: 1,
    stdout:
      '3 copies of 2 messages match; nothing was done; 2 copies of the same for other recipients would stay. ' +
      'Look at them with "quarantine search"; to release them add --confirm 3\n',
    stderr: '',
  });
  const json = await run(rig, ...words, '--confirm', '2', '--json');
  assert.deepEqual(JSON.parse(json.stdout), { matching: 3, messages: 2, confirmed: false });
  assert.equal((await run(rig, ...words, '--confirm', '3')).code, 0);
  assert.deepEqual(await statesOf(both), ['anna@example.com released', 'bob@example.com held']);
  assert.deepEqual(await statesOf(three), [
    'anna@example.com released',
    'Anna@example.com released',
    'bob@example.com held',
  ]);
  const sent = rig.smtpd.committed().flatMap(({ recipients }) => recipients.map(({ address }) => address));
  assert.deepEqual(sent.toSorted(), ['Anna@example.com', 'anna@example.com', 'anna@example.com']);
  const rest = ['quarantine', 'delete', '--all-matching', 'to:bob@', '--recipient', 'bob@example.com'];
  assert.match((await run(rig, ...rest)).stdout, /^3 copies of 3 messages match; nothing was done\. /);
  const nobody = ['quarantine', 'delete', '--all-matching', 'to:bob@', '--recipient', 'x@example.com'];
  assert.equal((await run(rig, ...nobody)).stdout, 'No copy of what is found waits for a decision.\n');
  // What is done to messages, and not to copies, counts messages.
  const all = await run(rig, 'quarantine', 'learn', 'ham', '--all-matching', 'state:released to:anna@');
  assert.match(all.stdout, /^2 messages match; .*; to learn ham them add --confirm 2\n$/);
});

test('sluice quarantine learn teaches spamd, and says what it says', async (t) => {
  const { rig, spamd } = await startWithSpamd(t, true);
  const id = await rig.put();
  const [first, second] = [
    await run(rig, 'quarantine', 'learn', 'spam', id),
    await run(rig, 'quarantine', 'learn', 'spam', id),
  ];
  assert.deepEqual([first.code, first.stdout], [0, 'learned: as spam\n']);
  assert.equal(second.code, 1);
  assert.match(second.stdout, /^unchanged: Nothing to do for spamd/);
  const forgotten = await run(rig, 'quarantine', 'learn', 'forget', id, '--json');
  assert.deepEqual(JSON.parse(forgotten.stdout), [
    { quarantineId: id, kind: 'learned', detail: 'forgotten' },
  ]);
  assert.deepEqual(
    spamd.conversations.map(({ command }) => command),
    ['TELL SPAMC/1.5', 'TELL SPAMC/1.5', 'TELL SPAMC/1.5'],
  );
  const [taught] = spamd.conversations;
  assert.match(taught?.message.toString() ?? '', /^From: <seller@example\.net>\r\n[^]*\r\nBuy\.\r\n$/);
  const wrong = await run(rig, 'quarantine', 'learn', 'eggs', id);
  assert.deepEqual(
    [wrong.code, wrong.stderr],
    [64, 'sluice: quarantine learn: "eggs" is nothing to learn: write spam, ham or forget\n'],
  );
});

test('sluice quarantine learn says the remedy where spamd may not learn, or is away, or there is none', async (t) => {
  const { rig, spamd } = await startWithSpamd(t, false);
  const id = await rig.put();
  const refused = await run(rig, 'quarantine', 'learn', 'ham', id);
  assert.equal(refused.code, 69);
  assert.match(
    refused.stdout,
    /^disabled: .*: start it with --allow-tell \(Debian: OPTIONS in \/etc\/default\/spamd\)\n$/,
  );
  await spamd.stop();
  const away = await run(rig, 'quarantine', 'learn', 'ham', id);
  assert.equal(away.code, 75);
  assert.match(away.stdout, /^unchecked: unreachable: /);
  const without = await startDesk(t);
  const none = await run(without, 'quarantine', 'learn', 'ham', await without.put());
  assert.deepEqual(
    [none.code, none.stdout],
    [69, 'off: there is no spam scanner here: set scan.spam and spamd\n'],
  );
});
