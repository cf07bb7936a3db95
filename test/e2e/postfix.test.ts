/**
 * postfix — the private Postfix itself, without Sluice: what the other tests of this folder stand on.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cp, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { promisify } from 'node:util';
import { freePort } from '../../demo/daemon.ts';
import { type PostfixInstance, type PostfixOptions, startPostfix } from '../../demo/postfix.ts';
import { createReachableFolder } from '../../demo/postfix-folders.ts';
import { sendMessage } from '../../demo/samples.ts';
import { startSink } from '../fakes/sink.ts';
import { openDialog } from '../fakes/smtp-dialog.ts';
import { until } from './evidence.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(options: Partial<PostfixOptions> = {}): Promise<PostfixInstance> {
  const folder = await createReachableFolder('postfix-test');
  cleanups.push(() => rm(folder, { recursive: true }));
  const instance = await startPostfix({
    folder,
    feedProtocol: 'lmtp',
    sluice: '127.0.0.1:9',
    sink: 'maildir',
    contentFilter: false,
    retrySeconds: 1,
    ...options,
  });
  cleanups.push(() => instance.stop());
  return instance;
}

const message = {
  sender: 'alice@example.net',
  recipients: ['Bob.Case@example.com', 'carol@example.org'],
  bytes: Buffer.from('Subject: one\r\n\r\n.dot\r\ngrüße\r\n'),
};

test('startPostfix() delivers a message to every recipient in the Maildir sink', async () => {
  const postfix = await start();
  await sendMessage(postfix.feedPort, message);
  await postfix.waitForQueueEmpty(20_000);
  const delivered = await postfix.delivered();
  assert.deepEqual(delivered.map(({ recipient }) => recipient).toSorted(), message.recipients);
  for (const { sender, bytes, file } of delivered) {
    assert.equal(sender, message.sender);
    assert.match(bytes.toString(), /^Received: [\s\S]*\nSubject: one\n\n\.dot\ngrüße\n$/);
    assert.notEqual((await stat(file)).uid, 0);
  }
});

test('startPostfix() hands envelope, DSN parameters and bytes to an SMTP sink', async () => {
  const sink = await startSink();
  cleanups.push(() => sink.stop());
  const postfix = await start({ sink: { smtp: sink.port } });
  const dialog = await openDialog({ kind: 'tcp', host: '127.0.0.1', port: postfix.feedPort });
  await dialog.reply();
  for (const line of [
    'EHLO client.example.net',
    'MAIL FROM:<> RET=HDRS ENVID=one+2Btwo',
    'RCPT TO:<"a b"@Example.com> NOTIFY=DELAY,FAILURE ORCPT=rfc822;"a+20b"@Example.com',
    'DATA',
    'Subject: one\r\n\r\n..dot\r\n.',
  ]) {
    assert.match(await dialog.ask(line), /^[23]/, line);
  }
  await sink.received(1);
  const [transaction] = sink.messages;
  assert.match(transaction?.mail ?? '', /^MAIL FROM:<> .*ENVID=one\+2Btwo RET=HDRS$/);
  assert.match(
    transaction?.rcpt[0] ?? '',
    /^RCPT TO:<"a b"@Example\.com> ORCPT=rfc822;"a\+20b"@Example\.com NOTIFY=FAILURE,DELAY$/,
  );
  assert.match(transaction?.xforward.join(' ') ?? '', /HELO=client\.example\.net/);
  assert.match(transaction?.bytes.toString() ?? '', /\r\nSubject: one\r\n\r\n\.dot\r\n$/);
  dialog.reset();
});

test('stop() leaves no process, twice over; start() goes on with the queue that was left', async () => {
  const postfix = await start({ mainOverrides: { defer_transports: 'virtual' } });
  await sendMessage(postfix.feedPort, message);
  const before = await postfix.processes();
  assert.ok(before.some(({ service }) => service === 'master'));
  await postfix.stop();
  await postfix.stop();
  assert.deepEqual(await postfix.processes(), []);
  assert.deepEqual(
    before.filter(({ pid, command }) => commandOf(pid) === command),
    [],
  );

  await postfix.start();
  assert.equal((await postfix.queue()).length, 1);
  await postfix.setMainOverrides({});
  await postfix.flush();
  await postfix.waitForQueueEmpty(20_000);
  assert.equal((await postfix.delivered()).length, 2);
});

test('kill() of everything, start(): what was accepted is still there', async () => {
  const postfix = await start({ sink: { smtp: await freePort() } });
  await sendMessage(postfix.feedPort, message);
  assert.ok((await postfix.kill('everything', 'SIGKILL')).length > 3);
  await postfix.start();
  const [entry, ...others] = await postfix.queue();
  assert.deepEqual(others, []);
  assert.equal(entry?.sender, message.sender);
  assert.deepEqual(entry?.recipients.map(({ address }) => address).toSorted(), message.recipients);
  await postfix.requeueAll();
  await until('it is in the queue once, under another id', async () => {
    const entries = await postfix.queue();
    return entries.length === 1 && entries.every(({ queueId }) => queueId !== entry?.queueId);
  });
  await postfix.deleteAll();
  await postfix.waitForQueueEmpty(20_000);
});

test('two instances run side by side, each with its own ports, queue and mail', async () => {
  const [first, second] = await Promise.all([start(), start()]);
  await sendMessage(first.feedPort, message);
  await first.waitForQueueEmpty(20_000);
  assert.equal((await first.delivered()).length, 2);
  assert.equal((await second.delivered()).length, 0);
  await first.stop();
  await sendMessage(second.feedPort, message);
  await second.waitForQueueEmpty(20_000);
  assert.equal((await second.delivered()).length, 2);
});

test('setReturnOptions() rules the very next connection; null closes the port', async () => {
  const postfix = await start();
  await sendMessage(postfix.returnPort, message);
  // So that an old process sits there idle, ready for the next connection.
  await postfix.setReturnOptions({ smtpd_client_restrictions: 'reject' });
  await assert.rejects(sendMessage(postfix.returnPort, message), /554 5\.7\.1/);
  await postfix.setReturnOptions(null);
  await assert.rejects(sendMessage(postfix.returnPort, message), /ECONNREFUSED/);
  await postfix.setReturnOptions({});
  await sendMessage(postfix.returnPort, message);
  await postfix.waitForQueueEmpty(20_000);
  assert.equal((await postfix.delivered()).length, 4);
});

test('startPostfix() configures what Postfix itself finds nothing to say about', async () => {
  const postfix = await start({ contentFilter: true });
  const { stdout, stderr } = await promisify(execFile)('/usr/sbin/postfix', [
    '-c',
    postfix.configFolder,
    'check',
  ]);
  assert.equal(stdout + stderr, '');
  const unknown = await promisify(execFile)('/usr/sbin/postconf', ['-c', postfix.configFolder, '-Mf']);
  assert.equal(unknown.stderr, '', 'postconf warns of parameters that this Postfix does not know');
  assert.doesNotMatch(await readFile(postfix.maillog, 'utf8'), /warning|error|fatal|panic/);
});

test('startPostfix() works where the machine has no /etc/postfix/main.cf ("No configuration")', async () => {
  const program = [process.execPath, join(import.meta.dirname, 'deliver-one.ts')];
  const command = existsSync('/etc/postfix/main.cf') ? await withBarePostfix(program) : program;
  const { stdout } = await promisify(execFile)(command[0] ?? '', command.slice(1));
  assert.deepEqual(JSON.parse(stdout), { mainCf: false, recipients: ['bob@example.com'] });
});

/** The command in a mount namespace of its own, in which /etc/postfix is as the package leaves it unconfigured. */
async function withBarePostfix(command: readonly string[]): Promise<string[]> {
  const folder = await createReachableFolder('postfix-test');
  cleanups.push(() => rm(folder, { recursive: true }));
  const isConfigured = (file: string) => /\/(?:main|master)\.cf$/.test(file);
  await cp('/etc/postfix', folder, { recursive: true, filter: (file) => !isConfigured(file) });
  const script = 'mount --bind "$0" /etc/postfix && exec "$@"';
  return ['unshare', '--mount', 'sh', '-c', script, folder, ...command];
}

function commandOf(pid: number): string {
  const file = `/proc/${pid}/cmdline`;
  return existsSync(file) ? readFileSync(file, 'latin1').replaceAll('\0', ' ').trim() : '';
}
