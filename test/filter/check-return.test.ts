/**
 * check-return, check-listeners, check-loop — what is wrong around the filter's two sides is named with its remedy.
 *
 * The return smtpd is the fake one that remembers everything; listeners and loops are real sockets and a real history.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { freePort } from '../../demo/daemon.ts';
import { checkListeners } from '../../filter/check-listeners.ts';
import { checkLoop } from '../../filter/check-loop.ts';
import { checkReturn } from '../../filter/check-return.ts';
import { type History, openHistory } from '../../filter/history.ts';
import { createListener } from '../../filter/listener.ts';
import { type Address, type Config, parseConfig } from '../../rules/config.ts';
import type { Finding } from '../../rules/finding.ts';
import { silentLog } from '../../workers/log.ts';
import type { QueuePlace } from '../../workers/postfix-queue.ts';
import { createSpool } from '../../workers/spool.ts';
import {
  type FakeReturnSmtpd,
  type FakeScript,
  keywordsWithout,
  postfixKeywords,
  startReturnSmtpd,
} from '../fakes/return-smtpd.ts';
import { openDialog } from '../fakes/smtp-dialog.ts';
import { temporaryFolder } from '../folder.ts';

const hostname = 'filter.example';
const messageBytes = 1024 * 1024;

async function fake(
  t: TestContext,
  options: { script?: FakeScript; keywords?: readonly string[] } = {},
): Promise<FakeReturnSmtpd> {
  const server = await startReturnSmtpd(options);
  t.after(() => server.stop());
  return server;
}

function configOf(text: string): Config {
  const { config, problems } = parseConfig({ file: '/etc/sluice.yaml', text }, {});
  assert.ok(config !== null, JSON.stringify(problems));
  return config;
}

function portOf({ address }: FakeReturnSmtpd): number {
  assert.ok(address.kind === 'tcp');
  return address.port;
}

async function check(server: FakeReturnSmtpd): Promise<Finding[]> {
  const { limits } = configOf(`limits: { messageBytes: ${messageBytes} }`);
  const findings = await checkReturn({ reinject: server.address, limits }, hostname);
  assert.deepEqual(server.violations, []);
  return findings;
}

function troubles(findings: readonly Finding[]): Finding[] {
  return findings.filter(({ level }) => level !== 'ok');
}

test('checkReturn() finds nothing wrong with a return smtpd as it should be, and sends nothing', async (t) => {
  const server = await fake(t);
  const findings = await check(server);
  assert.deepEqual(troubles(findings), []);
  assert.ok(findings.length >= 4);
  assert.deepEqual(
    server.transactions.map(({ state }) => state),
    ['reset', 'reset'],
  );
  assert.deepEqual(
    server.transactions.map(({ mail }) => mail),
    ['MAIL FROM:<>', 'MAIL FROM:<check@sluice-check.invalid>'],
  );
});

for (const { missing, what, remedy } of [
  {
    missing: 'XFORWARD',
    what: /XFORWARD with IDENT: .* loop is not recognised/,
    remedy: /smtpd_authorized_xforward_hosts/,
  },
  { missing: 'DSN', what: /not offer DSN/, remedy: /smtpd_discard_ehlo_keywords/ },
  { missing: 'SMTPUTF8', what: /not offer SMTPUTF8: Postfix bounces/, remedy: /smtputf8_enable=yes/ },
  { missing: '8BITMIME', what: /not offer 8BITMIME: .*DKIM/, remedy: /smtpd_discard_ehlo_keywords/ },
  { missing: 'PIPELINING', what: /not offer PIPELINING/, remedy: /smtpd_discard_ehlo_keywords/ },
]) {
  test(`checkReturn() names a return smtpd without ${missing}`, async (t) => {
    const [found, ...others] = troubles(await check(await fake(t, { keywords: keywordsWithout(missing) })));
    assert.deepEqual(others, []);
    assert.equal(found?.level, 'warn');
    assert.match(found.what, what);
    assert.match(found.remedy ?? '', remedy);
  });
}

test('checkReturn() wants room for header lines over limits.messageBytes', async (t) => {
  for (const [size, level] of [
    [`SIZE ${messageBytes + 102_400}`, 'ok'],
    [`SIZE ${messageBytes + 102_399}`, 'fail'],
    ['SIZE 10240', 'fail'],
    ['SIZE 0', 'ok'],
    ['SIZE', 'ok'],
  ] as const) {
    const keywords = postfixKeywords.map((keyword) => (keyword.startsWith('SIZE') ? size : keyword));
    const [found] = troubles(await check(await fake(t, { keywords })));
    assert.equal(found?.level ?? 'ok', level, size);
    if (found !== undefined) assert.match(found.remedy ?? '', /message_size_limit=1150976/);
  }
});

for (const { label, script, what, remedy } of [
  {
    label: 'relay access denied',
    script: { rcpt: '554 5.7.1 <postmaster@sluice-check.invalid>: Relay access denied' },
    what: /554 5\.7\.1 .*Relay access denied.*mail is deferred/,
    remedy: /mynetworks.*permit_mynetworks,reject/,
  },
  {
    label: 'recipient restrictions inherited',
    script: { rcpt: '450 4.1.2 Recipient address rejected: Domain not found' },
    what: /450 4\.1\.2/,
    remedy: /check nothing a second time/,
  },
  {
    label: 'sender restrictions inherited',
    script: {
      mail: ({ address }: { address: string }) => (address === '' ? undefined : '450 4.1.8 Domain not found'),
    },
    what: /450 4\.1\.8 .*MAIL FROM:<check@/,
    remedy: /smtpd_sender_restrictions/,
  },
  {
    label: 'a greeting that refuses',
    script: { greeting: { do: 'drop', say: '554 5.7.1 no access' } as const },
    what: /does not answer as it must: .*554 5\.7\.1/,
    remedy: /mynetworks/,
  },
  {
    label: 'a peer that is no mail server',
    script: { greeting: { do: 'raw', bytes: 'HTTP/1.1 400 Bad Request\r\n\r\n' } as const },
    what: /does not answer as it must/,
    remedy: /master\.cf/,
  },
]) {
  test(`checkReturn() names ${label}`, async (t) => {
    const [found, ...others] = troubles(await check(await fake(t, { script })));
    assert.deepEqual(others, []);
    assert.equal(found?.level, 'fail');
    assert.match(found.what, what);
    assert.match(found.remedy ?? '', remedy);
  });
}

test('checkReturn() says how to get a return smtpd that answers', async () => {
  const reinject: Address = { kind: 'tcp', host: '127.0.0.1', port: await freePort() };
  const [found] = await checkReturn({ reinject, limits: configOf('').limits }, hostname);
  assert.equal(found?.level, 'fail');
  assert.match(found.what, /ECONNREFUSED/);
  assert.match(found.remedy ?? '', /master\.cf .* "postfix reload"/);
});

/** A listener of our own, as the filter has it. */
async function sluiceOn(t: TestContext, address: Address): Promise<Address> {
  const spool = await createSpool({ folder: join(temporaryFolder(t), 'spool'), log: silentLog });
  const listener = await createListener({
    protocol: 'lmtp',
    direction: 'inbound',
    address,
    hostname,
    spool,
    trustedClients: [],
    sizeBytesMax: messageBytes,
    deadlineMs: 1000,
    admit: () => null,
    offers: () => ({ dsn: true, smtputf8: true, eightBitMime: true, sizeBytes: null }),
    onMessage: async () => [],
    log: silentLog,
  });
  t.after(async () => {
    await listener.close(0);
    await spool.close();
  });
  return listener.address;
}

test('checkListeners() tells free addresses, those of Sluice, and those that somebody else has', async (t) => {
  const anyPort: Address = { kind: 'tcp', host: '127.0.0.1', port: 0 };
  const own = await sluiceOn(t, anyPort);
  const stranger = createServer((socket) => socket.end('+OK POP3 ready\r\n')).listen(0, '127.0.0.1');
  await once(stranger, 'listening');
  t.after(() => stranger.close());
  const taken = stranger.address();
  assert.ok(own.kind === 'tcp' && taken !== null && typeof taken === 'object');
  const free = await freePort();
  const listen = (smtp: number, lmtp: number) =>
    configOf(`listen: { smtp: 127.0.0.1:${smtp}, lmtp: 127.0.0.1:${lmtp} }\nhealth: { filter: null }`);
  const mixed = await checkListeners(listen(free, own.port));
  assert.deepEqual(
    mixed.map(({ level, what }) => [level, what]),
    [
      ['ok', 'Free to listen on (Sluice does not run)'],
      ['ok', 'Sluice listens'],
      ['warn', 'Sluice runs, but not on every address of this configuration'],
    ],
  );
  const [found] = await checkListeners(listen(taken.port, free));
  assert.equal(found?.level, 'fail');
  assert.match(
    found.what,
    new RegExp(String.raw`^Taken by .* \(pid ${process.pid}\), which says "\+OK POP3 ready"$`),
  );
  const health = configOf(
    `listen: { smtp: null, lmtp: 127.0.0.1:${free} }\nhealth: { filter: 127.0.0.1:${taken.port} }`,
  );
  const [, unhealthy] = await checkListeners(health);
  assert.equal(unhealthy?.level, 'warn');
  assert.match(unhealthy.what, /^No health server can listen there/);
});

test('checkListeners() names what can not be listened on', async (t) => {
  const folder = temporaryFolder(t);
  for (const [address, what, remedy] of [
    ['192.0.2.77:10024', /EADDRNOTAVAIL/, /an address of this machine/],
    [`unix:${folder}/none/lmtp`, /ENOENT/, /make the folder .*\/none$/],
  ] as const) {
    const text = `listen: { smtp: null, lmtp: "${address}", trustedClients: [192.0.2.1] }\nhealth: { filter: null }`;
    const [found] = await checkListeners(configOf(text));
    assert.equal(found?.level, 'fail', address);
    assert.match(found.what, what);
    assert.match(found.remedy ?? '', remedy);
  }
});

/** A configuration whose listener and return smtpd are these; its state folder has a history. */
async function loopConfig(t: TestContext, server: FakeReturnSmtpd, lmtp: number) {
  const state = join(temporaryFolder(t), 'state');
  mkdirSync(state);
  chmodSync(state, 0o700);
  const history = await openHistory({ file: join(state, 'history.db'), log: silentLog });
  t.after(() => history.close());
  const text = `listen: { smtp: null, lmtp: 127.0.0.1:${lmtp} }\nreinject: 127.0.0.1:${portOf(server)}\nstate: ${state}`;
  return { config: configOf(text), history };
}

const gone = async (): Promise<QueuePlace> => ({ kind: 'gone' });
const probe = {
  recipient: 'postmaster@example.com',
  hostname,
  now: Date.now(),
  waitMs: 500,
  placeOf: gone,
};

test('checkLoop() sends one marked message and is satisfied when it does not come back', async (t) => {
  const server = await fake(t);
  const { config } = await loopConfig(t, server, await freePort());
  const found = await checkLoop(config, probe);
  assert.equal(found.level, 'ok', found.what);
  const [sent, ...others] = server.committed();
  assert.deepEqual(others, []);
  assert.match(sent?.mail ?? '', /^MAIL FROM:<sluice-probe-[0-9a-f]{16}@filter\.example>/);
  assert.equal(sent?.recipients[0]?.line, 'RCPT TO:<postmaster@example.com> NOTIFY=NEVER');
  assert.match(sent?.message.toString() ?? '', /Message-ID: <sluice-probe-[0-9a-f]{16}@filter\.example>\r\n/);
});

test('checkLoop() sees its message come to an address on which no Sluice runs, and defers it', async (t) => {
  const port = await freePort();
  const replies: string[] = [];
  const server = await fake(t, {
    script: {
      // What a Postfix with content_filter does with what the return smtpd took.
      quit: () => undefined,
      dot: () => {
        void comeBack(port, server).then((reply) => replies.push(reply));
        return '250 2.0.0 Ok: queued as 4c7Yx1';
      },
    },
  });
  const { config } = await loopConfig(t, server, port);
  const found = await checkLoop(config, { ...probe, waitMs: 10_000 });
  assert.equal(found.level, 'fail');
  assert.match(found.what, /came back to Sluice/);
  assert.match(found.remedy ?? '', /content_filter= .*postsuper -d 4c7Yx1/);
  assert.match(replies[0] ?? '', /^451 4\.3\.2 /);
});

async function comeBack(port: number, server: FakeReturnSmtpd): Promise<string> {
  const dialog = await openDialog({ kind: 'tcp', host: '127.0.0.1', port });
  await dialog.reply();
  await dialog.ask('LHLO mail.example');
  return dialog.ask(server.transactions[0]?.mail ?? '');
}

/** What the running filter writes into its history about the probe that this server took. */
function recordProbe(history: History, server: FakeReturnSmtpd): Promise<boolean> {
  const [, sender = ''] = /<(.*?)>/.exec(server.transactions[0]?.mail ?? '') ?? [];
  const row = { at: Date.now(), queueId: '4c7Yx1', direction: 'inbound', client: null, sender } as const;
  const more = { from: null, subject: null, messageId: null, sizeBytes: 1, report: null, totalMs: 1 };
  return history.record({ ...row, ...more }, [], { durable: false });
}

/** A configuration on which Sluice runs, with a return smtpd that says where it queued the probe. */
async function besideSluice(t: TestContext) {
  const own = await sluiceOn(t, { kind: 'tcp', host: '127.0.0.1', port: 0 });
  assert.ok(own.kind === 'tcp');
  const server = await fake(t, { script: { dot: '250 2.0.0 Ok: queued as 4c7Yx1' } });
  return { server, ...(await loopConfig(t, server, own.port)) };
}

test('checkLoop() beside a running Sluice looks for its mark in the history', async (t) => {
  const { server, config, history } = await besideSluice(t);
  const placeOf = async (): Promise<QueuePlace> => {
    assert.equal(await recordProbe(history, server), true);
    return gone();
  };
  const found = await checkLoop(config, { ...probe, waitMs: 0, placeOf });
  assert.equal(found.level, 'fail', found.what);
});

test('checkLoop() waits for a scan that takes longer than it, as long as Postfix is busy with the message', async (t) => {
  const { server, config, history } = await besideSluice(t);
  const asked: string[] = [];
  const placeOf = async (queueId: string): Promise<QueuePlace> => {
    asked.push(queueId);
    if (asked.length < 4) return { kind: 'under way' };
    if (asked.length === 4) await recordProbe(history, server);
    return gone();
  };
  const found = await checkLoop(config, { ...probe, waitMs: 0, placeOf });
  assert.equal(found.level, 'fail', found.what);
  assert.match(found.what, /came back to Sluice/);
  assert.deepEqual(asked, Array(4).fill('4c7Yx1'));
});

test('checkLoop() beside a running Sluice says what it saw, and no more', async (t) => {
  const { config } = await besideSluice(t);
  const reason = 'connect to mx.example.com: Connection refused';
  const table: { place: QueuePlace; level: 'ok' | 'warn'; what: RegExp }[] = [
    { place: { kind: 'gone' }, level: 'ok', what: /went on and did not come back: no content_filter loop$/ },
    { place: { kind: 'waiting', reason }, level: 'warn', what: /is unknown: Postfix keeps .*refused$/ },
    { place: { kind: 'under way' }, level: 'warn', what: /is unknown: Postfix is busy .* for 1 s$/ },
    {
      place: { kind: 'unknown', why: 'no postqueue' },
      level: 'ok',
      what: /did not come back within 0 s; whether a scan holds it longer can't be told .*no postqueue$/,
    },
  ];
  const limits = { ...config.limits, deadlineSeconds: 1 };
  for (const { place, level, what } of table) {
    const found = await checkLoop({ ...config, limits }, { ...probe, waitMs: 0, placeOf: async () => place });
    assert.equal(found.level, level, found.what);
    assert.match(found.what, what);
  }
});

test('checkLoop() says where its message was not taken, and where it can not know', async (t) => {
  const deaf = await fake(t, { script: { rcpt: '550 5.1.1 unknown' } });
  const { config } = await loopConfig(t, deaf, await freePort());
  const refused = await checkLoop(config, probe);
  assert.equal(refused.level, 'fail');
  assert.match(refused.what, /did not take a message to postmaster@example\.com: 550/);
  const own = await sluiceOn(t, { kind: 'tcp', host: '127.0.0.1', port: 0 });
  assert.ok(own.kind === 'tcp');
  const elsewhere = { ...(await loopConfig(t, deaf, own.port)).config, state: temporaryFolder(t) };
  const unknown = await checkLoop(elsewhere, probe);
  assert.equal(unknown.level, 'warn');
  assert.match(unknown.what, /it has another state folder/);
});
