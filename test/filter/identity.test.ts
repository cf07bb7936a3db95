/**
 * identity — R9: which queue id, which octets and which recipient make a hand-off the same one.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { identify, keysOf } from '../../filter/identity.ts';
import type { Transaction } from '../../filter/listener.ts';
import type { Recipient } from '../../rules/mail.ts';
import { createSpool } from '../../workers/spool.ts';
import { temporaryFolder } from '../folder.ts';
import { recordingLog } from './store-rig.ts';

const recipients: Recipient[] = [
  { address: 'anna@example.com', notify: null, orcpt: null },
  { address: 'anna@example.com', notify: null, orcpt: 'rfc822;a@example.com' },
];
const fixture = (name: string) => readFileSync(join(import.meta.dirname, '../messages', name));
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

test('identify() finds queue id and digest', async (t) => {
  const plain = fixture('plain.eml');
  const pickup = fixture('local-pickup.eml');
  const localRequeued = fixture('local-requeued.eml');
  const remoteRequeued = fixture('remote-requeued.eml');
  const remote = remoteRequeued.subarray(remoteRequeued.indexOf('Received: from'));
  const long = Buffer.concat([localRequeued, Buffer.alloc(600_000, 'x\r\n')]);
  const longSkipped = long.subarray(localRequeued.length - pickup.length);
  for (const [label, bytes, xforward, queueId, digest] of [
    ['IDENT', plain, { IDENT: '4c7Yx1' }, '4c7Yx1', sha256(plain)],
    ['IDENT unavailable', plain, { IDENT: '[UNAVAILABLE]' }, null, sha256(plain)],
    ['IDENT that is no queue id', plain, { IDENT: '../x' }, null, sha256(plain)],
    ['no IDENT', plain, {}, null, sha256(plain)],
    ['submitted here', pickup, { SOURCE: 'LOCAL' }, '4c7Yx1aaaaa', sha256(pickup)],
    ['submitted here, requeued twice', localRequeued, {}, '4c7Yx1aaaaa', sha256(pickup)],
    ['submitted here, over the head and in a file', long, {}, '4c7Yx1aaaaa', sha256(longSkipped)],
    ['from a client, requeued', remoteRequeued, { IDENT: '4c7Yx16WkPz1' }, '4c7Yx16WkPz1', sha256(remote)],
    [
      'IDENT before a line of pickup',
      localRequeued,
      { IDENT: 'A1' },
      'A1',
      sha256(pickup.subarray(pickup.indexOf('To:'))),
    ],
    ['empty message', Buffer.alloc(0), { IDENT: 'A1' }, 'A1', sha256(Buffer.alloc(0))],
  ] as const) {
    const identity = await identify(await transactionOf(temporaryFolder(t), bytes, xforward));
    assert.deepEqual([identity.queueId, identity.digest], [queueId, digest], label);
    assert.equal(new Set(keysOf(identity, recipients)).size, queueId === null ? 0 : 2, label);
  }
});

async function transactionOf(
  folder: string,
  bytes: Uint8Array,
  xforward: Record<string, string>,
): Promise<Transaction> {
  const spool = await createSpool({ folder, log: recordingLog() });
  const writer = spool.open();
  await writer.write(bytes);
  const sender = 'sender@example.net';
  return {
    direction: 'inbound',
    protocol: 'lmtp',
    envelope: { sender, body: null, smtputf8: false, ret: null, envid: null, recipients, xforward },
    message: await writer.finish(),
    remoteAddress: 'unix',
    receivedAt: 0,
    signal: new AbortController().signal,
    receiveMs: 3,
    clientGone: false,
  };
}
