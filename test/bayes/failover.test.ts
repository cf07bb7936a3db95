/**
 * failover — the primary's Postfix is dead: the backup takes its mail, filters it more strictly and keeps it; the primary comes
 * back and says ETRN: everything is delivered, scanned again, nothing lost or doubled, and what was held is held there.
 *
 * Real Postfix, sshd, spamd and clamd in two network namespaces; clients with twenty addresses, under the printed rate limits.
 */
import assert from 'node:assert/strict';
import { readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { eicar } from '../../demo/clamd.ts';
import { addClients, type MailNode, startMail, talk, until } from './mail-rig.ts';
import { type BayesNode, startNodes } from './nodes-rig.ts';
import type { Session } from './smtp-child.ts';

const count = Number(process.env['SLUICE_TEST_FAILOVER'] ?? 500);
const users = Array.from({ length: 10 }, (_, at) => `u${at}@example.com`);
const policies = 'recipients:\n  example.com: {}\n';
/** Between the backup's thresholds (5.5 spam, 8 quarantine) and the primary's (6.5 and 10), and above both. */
const scores = [6, 9, 15] as const;
const rules = scores
  .map((score) => `header T_${score} X-Test-Score =~ /^${score}$/\nscore T_${score} ${score}`)
  .join('\n');

type Kind = 'ham' | 'virus' | (typeof scores)[number];
type Letter = { readonly id: string; readonly kind: Kind; readonly to: readonly string[] };

/** Of fifty: four over the backup's spam threshold, four over its quarantine threshold, two far over both, two infected. */
function kindOf(at: number): Kind {
  const place = at % 50;
  if (place < 4) return 6;
  if (place < 8) return 9;
  if (place < 10) return 15;
  return place < 12 ? 'virus' : 'ham';
}

const letters: Letter[] = Array.from({ length: count }, (_, at) => ({
  id: `<${at}@partner.example>`,
  kind: kindOf(at),
  to: users.slice(at % 10, (at % 10) + (at % 7 === 0 ? 2 : 1)),
}));

function linesOf({ id, kind, to }: Letter): string[] {
  const text = [
    'From: <s@partner.example>',
    `Message-ID: ${id}`,
    `Subject: letter ${id.slice(1, -1)}`,
    // Forged: nobody may believe it, on either node.
    'X-Spam-Status: No, score=-100',
    ...(typeof kind === 'number' ? [`X-Test-Score: ${kind}`] : []),
    '',
    kind === 'virus' ? eicar() : 'An ordinary line about an ordinary order.',
  ];
  return [
    'MAIL FROM:<s@partner.example>',
    ...to.map((rcpt) => `RCPT TO:<${rcpt}>`),
    'DATA',
    `${text.join('\r\n')}\r\n.`,
  ];
}

test(`failover: ${count} messages of a dead primary are all there when it is back, once, and what is held is there`, async (t) => {
  const { primary, backup } = await startBoth(t);
  const clients = addClients(primary.node, backup.node, 20);
  await unknownRecipients(t, primary.node, backup, clients);
  await primary.postfix('postfix', 'stop');
  await sendAll(primary.node, backup.node, clients);
  const decided = await standsOnBackup(backup);
  await primary.postfix('postfix', 'start');
  await sayEtrn(primary, backup, clients);
  await until(async () => (await backup.queue()).length === 0 && (await primary.queue()).length === 0);
  const round = (await primary.round()) as {
    errands: { moved: number; taught: number; troubles: unknown[] };
  }[];
  t.diagnostic(`the round: ${JSON.stringify(round)}`);
  assert.deepEqual(round[0]?.errands.troubles, []);
  await nothingLost(t, { primary, backup }, decided);
  await scannedAgain(primary);
});

async function startBoth(t: TestContext): Promise<{ primary: MailNode; backup: MailNode }> {
  const nodes = await startNodes(t, { lean: true, rules });
  const main = 'virtual_mailbox_domains = example.com\nmyhostname = mx1.example.com\n';
  const primary = await startMail(t, nodes.primary, { main, policies, print: [] });
  const backup = await startMail(t, nodes.backup, {
    main: 'virtual_mailbox_domains =\nrecipient_delimiter = +\nmyhostname = mx2.example.com\n',
    policies,
    print: ['--primary', nodes.primary.address],
  });
  // It ends with the namespaces, which know no mercy; this one gives the queue back in order.
  t.after(() => Promise.all([primary, backup].map((one) => one.postfix('postfix', 'stop').catch(() => ''))));
  return { primary, backup };
}

const rcpt = (from: string, address: string): Session => ({
  from,
  say: ['EHLO client.example', 'MAIL FROM:<s@partner.example>', `RCPT TO:<${address}>`, 'QUIT'],
});

/** 550 while the map is fresh, 450 when it is stale, and back; known ones, extended ones too, are taken all the while. */
async function unknownRecipients(
  t: TestContext,
  from: BayesNode,
  backup: MailNode,
  [client = '']: readonly string[],
): Promise<void> {
  const setMap = async (hoursOld: number): Promise<void> => {
    writeFileSync(backup.recipients, users.map((user) => `${user} x\n`).join(''));
    await backup.postfix('postmap', backup.recipients);
    const then = Date.now() / 1000 - hoursOld * 3600;
    utimesSync(backup.recipients, then, then);
    await backup.round();
  };
  const answers = async () =>
    (
      await talk(
        from,
        backup.node,
        [
          rcpt(client, 'nobody@example.com'),
          rcpt(client, users[3] ?? ''),
          rcpt(client, 'u4+list@example.com'),
          rcpt(client, 'u3@elsewhere.example'),
        ],
        1,
      )
    ).map((replies) => replies[3]?.slice(0, 9));
  await setMap(1);
  assert.deepEqual(await answers(), ['550 5.1.1', '250 2.1.5', '250 2.1.5', '454 4.7.1']);
  await setMap(27);
  const stale = await talk(from, backup.node, [rcpt(client, 'nobody@example.com')]);
  t.diagnostic(`unknown, map 27 h old: ${stale[0]?.[3]}`);
  assert.deepEqual(await answers(), ['450 4.1.1', '250 2.1.5', '250 2.1.5', '454 4.7.1']);
  await setMap(0);
  assert.deepEqual(await answers(), ['550 5.1.1', '250 2.1.5', '250 2.1.5', '454 4.7.1']);
}

async function sendAll(from: BayesNode, to: BayesNode, clients: readonly string[]): Promise<void> {
  const sessions = clients.map((client, at) => ({
    from: client,
    say: [
      'EHLO client.example',
      ...letters.filter((_, number) => number % clients.length === at).flatMap(linesOf),
      'QUIT',
    ],
  }));
  const replies = await talk(from, to, sessions);
  const queued = replies.flat().filter((reply) => reply.startsWith('250 2.0.0 Ok: queued as'));
  const refused = replies.flat().filter((reply) => /^[45]/.test(reply));
  assert.deepEqual([queued.length, refused], [count, []]);
}

type Held = {
  quarantineId: string;
  messageId: string;
  movedFrom: string | null;
  slots: { recipient: string; state: string }[];
};

async function heldOn({ node }: MailNode, ...words: readonly string[]): Promise<Held[]> {
  const { stdout } = await node.sluice(['quarantine', 'list', '--limit', '1000', '--json', ...words]);
  return JSON.parse(stdout) as Held[];
}

/** What people decided on the backup meanwhile. */
type Decided = { readonly deleted: Held; readonly released: Held; readonly learned: Held };

/** Everything waits for the primary or is held, by the stricter thresholds; somebody looks at what is held. */
async function standsOnBackup(backup: MailNode): Promise<Decided> {
  const heldKinds: readonly Kind[] = [9, 15, 'virus'];
  const wanted = letters.filter(({ kind }) => heldKinds.includes(kind));
  await until(async () => {
    const queue = await backup.queue();
    const tried = queue.filter(({ recipients }) =>
      recipients.every(({ delayReason }) => /Connection refused/.test(delayReason ?? '')),
    );
    return queue.length === tried.length && tried.length === count - wanted.length;
  });
  const held = await heldOn(backup);
  assert.deepEqual(held.map(({ messageId }) => messageId).toSorted(), wanted.map(({ id }) => id).toSorted());
  const flagged = await backup.node.sluice([
    'history',
    'state:delivered',
    'verdict:spam',
    '--limit',
    '1000',
    '--json',
  ]);
  assert.equal(
    (JSON.parse(flagged.stdout) as unknown[]).length,
    letters.filter(({ kind }) => kind === 6).length,
    'spam there, from 5.5 on',
  );
  const [deleted, released, learned] = held.filter(({ messageId }) =>
    wanted.some(({ id, kind }) => id === messageId && kind === 9),
  );
  assert.ok(deleted !== undefined && released !== undefined && learned !== undefined);
  for (const words of [
    ['delete', deleted.quarantineId],
    ['release', released.quarantineId],
    ['learn', 'spam', learned.quarantineId],
  ]) {
    const { code, stdout, stderr } = await backup.node.sluice(['quarantine', ...words]);
    assert.equal(code, 0, stdout + stderr);
  }
  return { deleted, released, learned };
}

/** The primary may, nobody else. */
async function sayEtrn(primary: MailNode, backup: MailNode, [client = '']: readonly string[]): Promise<void> {
  const etrn = (from: string) => ({ from, say: ['EHLO mx1.example.com', 'ETRN example.com', 'QUIT'] });
  const replies = await talk(primary.node, backup.node, [etrn(client), etrn(primary.node.address)], 1);
  assert.match(replies[0]?.[2] ?? '', /^554 5\.7\.1 /);
  assert.match(replies[1]?.[2] ?? '', /^250 /);
}

/** Each copy of each message is in a mailbox or in the primary's quarantine, exactly once; nothing waits on the backup. */
async function nothingLost(
  t: TestContext,
  { primary, backup }: { primary: MailNode; backup: MailNode },
  { deleted, released }: Decided,
): Promise<void> {
  const delivered = (await primary.delivered()).map(({ recipient, bytes }) => ({
    recipient,
    id: /^Message-ID: (.*)$/m.exec(bytes.toString('latin1'))?.[1] ?? '',
  }));
  const held = await heldOn(primary);
  const copies = [
    ...delivered.map(({ recipient, id }) => `${id} ${recipient}`),
    ...held.flatMap(({ messageId, slots }) =>
      slots.filter(({ state }) => state === 'held').map(({ recipient }) => `${messageId} ${recipient}`),
    ),
  ].toSorted();
  const wanted = letters
    .filter(({ id }) => id !== deleted.messageId)
    .flatMap(({ id, to }) => to.map((recipient) => `${id} ${recipient}`))
    .toSorted();
  assert.deepEqual(copies, wanted);
  assert.deepEqual(await heldOn(backup), []);
  const moved = held.filter(({ movedFrom }) => movedFrom !== null).map(({ messageId }) => messageId);
  const kept = letters.filter(({ kind }) => kind === 9 || kind === 15 || kind === 'virus');
  const gone = [deleted.messageId, released.messageId];
  assert.deepEqual(
    moved.toSorted(),
    kept
      .map(({ id }) => id)
      .filter((id) => !gone.includes(id))
      .toSorted(),
  );
  t.diagnostic(`${delivered.length} copies delivered, ${held.length} messages held on the primary`);
  const [one] = held;
  const shown = await primary.node.sluice(['quarantine', 'show', one?.quarantineId ?? '']);
  assert.match(shown.stdout, /^moved from {2}\S+, /m);
  const taught = await primary.node.sluice(['quarantine', 'search', '--all', `id:${released.messageId}`]);
  assert.equal(taught.stdout, 'Nothing is found.\n', 'what was released there went by the queue');
}

/** Signatures and scores are those of the primary: what the backup said of a message is gone. */
async function scannedAgain(primary: MailNode): Promise<void> {
  const scanned = await primary.delivered();
  const six = letters.filter(({ kind }) => kind === 6).map(({ id }) => id);
  for (const { bytes } of scanned) {
    const head = bytes.toString('latin1').split('\n\n')[0] ?? '';
    const own = head.split('\n').filter((line) => line.startsWith('X-Spam-Status:'));
    const id = /^Message-ID: (.*)$/m.exec(head)?.[1] ?? '';
    assert.ok(own.length <= 1 && !head.includes('-100'), head);
    if (!six.includes(id)) continue;
    assert.match(own[0] ?? '', /^X-Spam-Status: No, score=6(?:\.0+)? required=6\.5/);
    assert.doesNotMatch(head, /^X-Spam-Flag/m);
    assert.equal(head.match(/^X-Virus-Scanned:/gm)?.length, 2);
  }
  const log = readFileSync(join(primary.node.site.folder, 'filter.log'), 'utf8');
  assert.doesNotMatch(log, /loop/i);
}
