/** bayes-ssh — with a real sshd: an answer that is whole, or a trouble that names the step and what to do. */
import assert from 'node:assert/strict';
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Call, createCall, secondsFor } from '../../workers/bayes-ssh.ts';
import { type BayesTrouble, isTrouble } from '../../workers/bayes-step.ts';
import type { Answer, Ask } from '../../workers/bayes-wire.ts';
import { by, cutWay, type Sshd, type SshConfig, startSshd } from './sshd-rig.ts';

const child = `exec ${process.execPath} ${join(import.meta.dirname, 'answer-child.ts')}`;
const large = Buffer.alloc(3_000_000, 'a large one ');

test('createCall() asks through a forced command: no shell, no terminal, whatever is asked to be run', async (t) => {
  const sshd = await startSshd(t, child);
  for (const command of ['id', 'sluice bayes send', 'sh -i']) {
    const answer = await answered(callTo(sshd, {}, command), { name: 'hello' });
    assert.deepEqual(answer.head, { asked: command });
  }
  const answer = await answered(callTo(sshd), { name: 'score', parameters: [1], payload: only(large) });
  assert.deepEqual(answer.head, [1]);
  assert.deepEqual(await allOf(answer.payload ?? only(Buffer.alloc(0))), large);
});

test('createCall() finds out a key that leads to a shell: what it asks for exists nowhere', async (t) => {
  const sshd = await startSshd(t, child, 'prohibit-password');
  sshd.authorize(null);
  const trouble = await troubleOf(callTo(sshd), { name: 'hello' });
  assert.equal(trouble.step, 'connect');
  assert.match(trouble.message, /no sluice, or no forced command/);
  assert.match(trouble.remedy, /authorized_keys/);
});

test('createCall() gives a trouble of its own for every way in which a connection is not made', async (t) => {
  const sshd = await startSshd(t, child);
  const nowhere = { ...sshd, node: { ...sshd.node, port: 9 } } as Sshd;
  const unnamed = { ...sshd, node: { ...sshd.node, host: 'mx2.invalid' } } as Sshd;
  const table: readonly (readonly [string, Call, RegExp, RegExp])[] = [
    ['nobody listens', callTo(nowhere), /nothing listens/, /sshd/],
    ['no such name', callTo(unnamed), /name is unknown/, /sluice\.yaml/],
    ['another key', callTo(sshd, { key: sshd.otherKey() }), /key is not accepted/, /authorized_keys/],
    ['no key', callTo(sshd, { key: '/nonexistent/key' }), /bayes\.ssh\.key/, /setup/],
    ['nothing pinned', callTo(sshd, { knownHosts: '/nonexistent' }), /bayes\.ssh\.knownHosts/, /setup/],
    ['another host pinned', callTo(sshd, { knownHosts: empty(sshd) }), /not pinned/, /pin it/],
  ];
  for (const [name, call, message, remedy] of table) {
    const trouble = await troubleOf(call, { name: 'hello' });
    assert.equal(trouble.kind, 'failed', name);
    assert.equal(trouble.step, 'connect', name);
    assert.match(trouble.message, message, name);
    assert.match(trouble.remedy, remedy, name);
  }
  chmodSync(sshd.ssh.key, 0o644);
  assert.match((await troubleOf(callTo(sshd), { name: 'hello' })).message, /others may read our key/);
  chmodSync(sshd.ssh.key, 0o600);
  sshd.changeHostKey();
  const changed = await untilChanged(sshd);
  assert.match(changed.message, /not the one that is pinned/);
  assert.match(changed.remedy, /somebody is in between/);
});

test('createCall() says where the other command ends, and what it says last', async (t) => {
  const sshd = await startSshd(t, child);
  const table = [
    [
      'echo sluice: x is missing >&2; exit 78',
      'answer',
      /ended there with 78: sluice: x is missing/,
      /sluice check/,
    ],
    ['exit 127', 'connect', /no sluice/, /install/],
    ['echo Welcome', 'answer', /the answer is "Welcome"/, /start-up file/],
    ['echo Welcome; exit 3', 'answer', /the answer is "Welcome"/, /start-up file/],
    [`echo Welcome; ${child}`, 'answer', /the answer is "Welcome"/, /start-up file/],
    ['echo Welcome; exit 127', 'connect', /no sluice/, /install/],
    ['printf "sluice-answer 7\\n"', 'answer', /version 7/, /one version/],
    ['printf "sluice-answer 7\\n"; exit 1', 'answer', /version 7/, /one version/],
  ] as const;
  for (const [command, step, message, remedy] of table) {
    sshd.authorize(command);
    const trouble = await troubleOf(callTo(sshd), { name: 'hello' });
    assert.equal(trouble.step, step, command);
    assert.match(trouble.message, message, command);
    assert.match(trouble.remedy, remedy, command);
  }
});

test('createCall() hands on the trouble of the other side, also where it leaves before it has all', async (t) => {
  const sshd = await startSshd(t, child);
  const trouble = await troubleOf(callTo(sshd), { name: 'bundle', payload: only(large) });
  assert.deepEqual(trouble, {
    kind: 'refused',
    step: 'order',
    message: `root@127.0.0.1:${sshd.port}: Cannot take it: too old`,
    remedy: 'there: send another',
  });
});

test('createCall() names the own side where its payload fails', async (t) => {
  const sshd = await startSshd(t, child);
  const failing = async function* () {
    yield large;
    throw new Error('disk gone');
  };
  const trouble = await troubleOf(callTo(sshd), { name: 'parity', payload: failing() });
  assert.deepEqual([trouble.kind, trouble.step], ['failed', 'send']);
  assert.match(trouble.message, /disk gone/);
});

test('createCall() never takes a cut connection for an answer, wherever it is cut', async (t) => {
  const sshd = await startSshd(t, child);
  const whole = await cutWay(t, sshd.port, {});
  await roundTrip(callTo({ ...sshd, node: by(sshd, whole.port) }));
  for (const way of ['up', 'down'] as const)
    for (const share of [0.02, 0.25, 0.5, 0.99]) {
      const cut = await cutWay(t, sshd.port, { [way]: Math.floor(whole.seen[way] * share) });
      const call = callTo({ ...sshd, node: by(sshd, cut.port) });
      await assert.rejects(roundTrip(call), { name: 'BayesFail' }, `${way} ${share}`);
    }
});

test('secondsFor() gives what is asked first little more than the time to connect, and never more than the deadline', () => {
  const ssh = { key: '', knownHosts: '', connectSeconds: 10, deadlineSeconds: 1800 };
  assert.equal(secondsFor({ name: 'hello' }, ssh), 130);
  assert.equal(secondsFor({ name: 'hello' }, { ...ssh, deadlineSeconds: 30 }), 30);
  assert.equal(secondsFor({ name: 'bundle' }, ssh), 1800);
  const by = 'mx1';
  assert.equal(secondsFor({ name: 'held', parameters: { by } }, ssh), 130, 'a list only');
  assert.equal(secondsFor({ name: 'held' }, ssh), 130);
  assert.equal(secondsFor({ name: 'held', parameters: { by, quarantineIds: ['a'] } }, ssh), 1800);
  assert.equal(secondsFor({ name: 'adopt', parameters: { by } }, ssh), 130, 'whether it listens');
  assert.equal(secondsFor({ name: 'adopt', payload: only(large) }, ssh), 1800);
});

test('createCall() ends at its deadline and at its signal, and leaves no process behind', async (t) => {
  const sshd = await startSshd(t, 'exec sleep 1000');
  const slow = await troubleOf(callTo(sshd, { deadlineSeconds: 1 }), { name: 'hello' });
  assert.match(slow.message, /no whole answer within 1 s/);
  const controller = new AbortController();
  const call = createCall(sshd.node, sshd.ssh, controller.signal);
  const outcome = call({ name: 'hello' });
  controller.abort();
  const ended = await outcome;
  assert.ok(isTrouble(ended) && /was ended/.test(ended.message), JSON.stringify(ended));
});

test('createCall() lets its reader leave a payload', async (t) => {
  const sshd = await startSshd(t, child);
  const answer = await answered(callTo(sshd), { name: 'sample' });
  for await (const chunk of answer.payload ?? []) {
    assert.ok(chunk.length > 0);
    break;
  }
});

/** sshd takes the new key in a moment of its own. */
async function untilChanged(sshd: Sshd): Promise<BayesTrouble> {
  for (;;) {
    const outcome = await callTo(sshd)({ name: 'hello' });
    if (isTrouble(outcome) && !/nothing listens|lost/.test(outcome.message)) return outcome;
  }
}

async function roundTrip(call: Call): Promise<void> {
  const answer = await call({ name: 'score', parameters: null, payload: only(large) });
  if (isTrouble(answer)) throw Object.assign(new Error(answer.message), { name: 'BayesFail' });
  assert.deepEqual(await allOf(answer.payload ?? only(Buffer.alloc(0))), large);
}

function callTo(
  { node, ssh }: Pick<Sshd, 'node' | 'ssh'>,
  more: Partial<SshConfig> = {},
  command?: string,
): Call {
  return createCall(node, { ...ssh, ...more }, new AbortController().signal, command);
}

async function answered(call: Call, ask: Ask): Promise<Answer> {
  const outcome = await call(ask);
  if (isTrouble(outcome)) throw new Error(JSON.stringify(outcome));
  return outcome;
}

async function troubleOf(call: Call, ask: Ask): Promise<BayesTrouble> {
  const outcome = await call(ask);
  if (isTrouble(outcome)) return outcome;
  throw new Error(`Answered: ${JSON.stringify(outcome.head)}`);
}

function empty({ folder }: Sshd): string {
  const file = join(folder, 'empty');
  rmSync(file, { force: true });
  writeFileSync(file, '');
  return file;
}

async function* only(chunk: Buffer): AsyncGenerator<Buffer> {
  yield chunk;
}

async function allOf(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}
