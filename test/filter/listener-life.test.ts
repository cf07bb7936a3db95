/**
 * listener — how sessions and listeners end: clients that vanish, stall or flood, deadlines, drains, unix sockets, trust.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Transaction } from '../../filter/listener.ts';
import { PermFail, TempFail } from '../../workers/fail.ts';
import { openDialog, type SmtpDialog } from '../fakes/smtp-dialog.ts';
import { replies, startRig } from './listener-rig.ts';

const begin = 'MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n';
const whole = `${begin}Subject: x\r\n\r\nhello\r\n.\r\n`;

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

const farewells: readonly { label: string; leave: (dialog: SmtpDialog) => void }[] = [
  { label: 'FIN', leave: (dialog) => dialog.half() },
  { label: 'RST', leave: (dialog) => dialog.reset() },
  { label: 'FIN and no ears', leave: (dialog) => dialog.socket.destroy() },
];

for (const { label, leave } of farewells) {
  test(`createListener() drops everything when the client leaves before the dot (${label})`, async () => {
    await using rig = await startRig();
    for (const wire of [
      'MAIL FROM:<a@x>\r\n',
      begin,
      `${begin}half a mess`,
      `${begin}hello\r\n.`,
      `${begin}hello\r\n.\r`,
    ]) {
      const dialog = await rig.greet();
      await dialog.send(wire);
      await dialog.reply();
      leave(dialog);
      await rig.idle();
    }
    assert.equal(rig.taken.length, 0);
    assert.deepEqual(await rig.spooled(), []);
    assert.match(await (await rig.greet()).ask('NOOP'), /^250/);
  });

  test(`createListener() aborts the message when the client leaves after the dot (${label})`, async () => {
    let seen: Transaction | undefined;
    const called = Promise.withResolvers<void>();
    await using rig = await startRig({
      async onMessage(transaction) {
        seen = transaction;
        assert.equal(transaction.clientGone, false);
        called.resolve();
        await aborted(transaction.signal);
        return replies(transaction);
      },
    });
    const dialog = await rig.greet();
    await dialog.send(whole);
    await called.promise;
    leave(dialog);
    await rig.idle();
    assert.equal(seen?.clientGone, true);
    assert.ok(seen?.signal.reason instanceof TempFail);
    assert.deepEqual(await rig.spooled(), []);
  });
}

test('createListener() fires the deadline of a message, counted from its dot, and still gives the reply', async () => {
  await using rig = await startRig({
    deadlineMs: 30,
    async onMessage(transaction) {
      await aborted(transaction.signal);
      assert.equal(transaction.clientGone, false);
      return replies(transaction);
    },
  });
  const dialog = await rig.greet();
  await dialog.send(`${whole}QUIT\r\n`);
  assert.deepEqual((await dialog.rest()).slice(-2), [
    '250 2.0.0 Ok: handed to the return smtpd',
    '221 2.0.0 Bye',
  ]);
});

test('createListener() says 421 to a silent client, between commands and inside DATA, never while it works itself', async () => {
  await using rig = await startRig({
    idleMs: 60,
    async onMessage(transaction) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      return replies(transaction);
    },
  });
  const idle = await rig.greet();
  assert.deepEqual(await idle.rest(), ['421 4.4.2 Timeout, closing connection']);
  const stalled = await rig.greet();
  await stalled.send(`${begin}half`);
  assert.equal((await stalled.rest()).at(-1), '421 4.4.2 Timeout, closing connection');
  const busy = await rig.greet();
  await busy.send(whole);
  assert.match((await busy.rest()).at(-2) ?? '', /^250 2\.0\.0/);
  assert.equal(rig.taken.length, 1);
});

test('createListener() ends a client that never reads its replies', async () => {
  await using rig = await startRig({ idleMs: 100 });
  const dialog = await rig.greet();
  dialog.socket.pause();
  const closed = new Promise<void>((resolve) => dialog.socket.once('close', () => resolve()));
  const flood = Buffer.alloc(1024 * 1024, 'NOOP\r\n');
  const pump = () => {
    while (!dialog.socket.destroyed && dialog.socket.write(flood)) continue;
  };
  dialog.socket.on('drain', pump);
  pump();
  await closed;
  assert.match(await (await rig.greet()).ask('NOOP'), /^250/);
});

test('createListener() holds a client back while its message is being handled, however much it pipelines', async () => {
  const gate = Promise.withResolvers<void>();
  const called = Promise.withResolvers<void>();
  await using rig = await startRig({
    async onMessage(transaction) {
      called.resolve();
      await gate.promise;
      return replies(transaction);
    },
  });
  const dialog = await rig.greet();
  await dialog.send(whole);
  await called.promise;
  const flood = dialog.send(`${begin}${'x'.repeat(30_000_000)}\r\n.\r\nQUIT\r\n`);
  const before = process.memoryUsage().arrayBuffers;
  for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(process.memoryUsage().arrayBuffers - before < 8_000_000);
  gate.resolve();
  await flood;
  assert.equal((await dialog.rest()).at(-1), '221 2.0.0 Bye');
  assert.deepEqual(
    rig.taken.map(({ octets }) => octets.length),
    [21, 30_000_002],
  );
});

test('close() says 421 to idle sessions, lets what is in flight finish, and takes nothing new', async () => {
  const gate = Promise.withResolvers<void>();
  const called = Promise.withResolvers<void>();
  await using rig = await startRig({
    async onMessage(transaction) {
      called.resolve();
      await gate.promise;
      return replies(transaction);
    },
  });
  const idle = await rig.greet();
  const between = await rig.greet();
  await between.ask('MAIL FROM:<a@x>');
  const busy = await rig.greet();
  await busy.send(`${whole}${whole}`);
  await called.promise;
  const closed = rig.listener.close(60_000);
  assert.deepEqual(await idle.rest(), ['421 4.3.2 Service shutting down']);
  await assert.rejects(openDialog(rig.listener.address), /ECONNREFUSED/);
  gate.resolve();
  assert.deepEqual((await busy.rest()).slice(-2), [
    '250 2.0.0 Ok: handed to the return smtpd',
    '421 4.3.2 Service shutting down',
  ]);
  await between.send(`RCPT TO:<b@x>\r\nDATA\r\nhello\r\n.\r\nMAIL FROM:<c@x>\r\n`);
  assert.equal((await between.rest()).at(-1), '421 4.3.2 Service shutting down');
  await closed;
  assert.equal(rig.taken.length, 2);
});

test('close() drops connections without a dot at the drain limit, and aborts what has one', async () => {
  const called = Promise.withResolvers<void>();
  await using rig = await startRig({
    async onMessage(transaction) {
      called.resolve();
      await aborted(transaction.signal);
      return replies(transaction);
    },
  });
  const half = await rig.greet();
  await half.send(`${begin}half`);
  const busy = await rig.greet();
  await busy.send(whole);
  await called.promise;
  await Promise.all([rig.listener.close(50), rig.listener.close(50)]);
  await rig.idle();
  assert.deepEqual(await rig.spooled(), []);
  assert.equal((await half.rest()).length, 3);
  assert.equal((await busy.rest()).length, 3);
});

test('createListener() refuses an address that others can reach without trustedClients, and a list that is none', async () => {
  for (const host of ['0.0.0.0', '::', '192.0.2.1', 'mx.example.org']) {
    const start = startRig({ address: { kind: 'tcp', host, port: 0 } });
    await assert.rejects(
      start,
      (error) => error instanceof PermFail && /trustedClients is empty/.test(error.message),
    );
  }
  for (const entry of [
    '',
    'localhost',
    '10.0.0.0/33',
    '10.0.0.1/',
    '10.0.0.1/8/8',
    '::1/129',
    '*',
    '10.0.0.0/-1',
  ]) {
    await assert.rejects(startRig({ trustedClients: [entry] }), PermFail, entry);
  }
});

test('createListener() turns strangers away with 421, and lets the named in: single, CIDR, IPv4 mapped into IPv6', async (t) => {
  const own = ownAddress();
  if (own === undefined) return t.skip('this machine has no address but loopback, so there is no stranger');
  const cases: readonly [string, string[], string][] = [
    ['0.0.0.0', ['203.0.113.7'], '421 4.7.0'],
    ['0.0.0.0', [own], '220'],
    ['0.0.0.0', [`${own}/31`], '220'],
    ['::', [own], '220'],
    ['::', ['203.0.113.0/24', '2001:db8::/32'], '421 4.7.0'],
  ];
  for (const [host, trustedClients, start] of cases) {
    await using rig = await startRig({ address: { kind: 'tcp', host, port: 0 }, trustedClients });
    const { address } = rig.listener;
    assert.ok(address.kind === 'tcp');
    const socket = createConnection({ host: own, port: address.port, localAddress: own });
    const [banner] = (await once(socket, 'data')) as [Buffer];
    assert.ok(banner.toString().startsWith(start), `${host} ${trustedClients.join()}: ${banner.toString()}`);
    if (start !== '220') await once(socket, 'end');
    socket.destroy();
    const local = await openDialog({
      kind: 'tcp',
      host: host === '::' ? '::1' : '127.0.0.1',
      port: address.port,
    });
    assert.match(await local.reply(), /^220 /);
    await local.ask('QUIT');
  }
});

/** Any address of this machine that loopback does not cover; 127.0.0.0/8 is trusted by itself. */
function ownAddress(): string | undefined {
  const addresses = Object.values(networkInterfaces()).flatMap((found) => found ?? []);
  return addresses.find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
}

test('createListener() on a unix socket: mode, stale files, files of others, removed at close', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-unix-'));
  try {
    const path = join(folder, 'lmtp.sock');
    const address = {
      kind: 'unix',
      path,
      mode: 0o660,
      owner: `${process.getuid?.()}:${process.getgid?.()}`,
    } as const;
    await leaveStaleSocket(path);
    {
      await using rig = await startRig({ protocol: 'lmtp', address });
      assert.deepEqual(rig.listener.address, address);
      assert.equal(statSync(path).mode & 0o777, 0o660);
      await assert.rejects(
        startRig({ address }),
        (error) => error instanceof TempFail && /another process/.test(error.message),
      );
      const dialog = await rig.greet();
      await dialog.send(`${whole}QUIT\r\n`);
      assert.match((await dialog.rest()).at(-2) ?? '', /^250 2\.0\.0/);
      assert.equal(rig.taken[0]?.transaction.remoteAddress, 'unix');
    }
    assert.equal(existsSync(path), false);
    writeFileSync(path, 'precious');
    await assert.rejects(startRig({ address }), PermFail);
    assert.equal(readFileSync(path, 'utf8'), 'precious');
    const nobody = { ...address, path: join(folder, 'b'), owner: 'no-such-user' };
    await assert.rejects(
      startRig({ address: nobody }),
      (error) => error instanceof PermFail && /no-such-user/.test(error.message),
    );
    await assert.rejects(
      startRig({ address: { ...address, path: join(folder, 'c'.repeat(200)) } }),
      PermFail,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** A socket file whose process is dead: Node unlinks at close, a killed process doesn't. */
async function leaveStaleSocket(path: string): Promise<void> {
  const code = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  const child = spawn(process.execPath, ['-e', code]);
  await once(child, 'exit');
  assert.ok(existsSync(path));
}

test('createListener() says what is wrong when the port is taken', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const address = other.address();
  assert.ok(typeof address === 'object' && address !== null);
  const start = startRig({ address: { kind: 'tcp', host: '127.0.0.1', port: address.port } });
  await assert.rejects(
    start,
    (error) => error instanceof TempFail && /Cannot listen on 127\.0\.0\.1:\d+: in use/.test(error.message),
  );
  other.close();
});
