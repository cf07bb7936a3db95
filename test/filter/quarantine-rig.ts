/**
 * quarantine-rig — items to hold, and an eye on what lies on disk.
 */
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { NewItem } from '../../filter/quarantine.ts';
import { ledgerKey } from '../../filter/ledger.ts';
import type { Disposition, Envelope } from '../../rules/mail.ts';

/** A message of about this many octets, with every octet value in it. */
export function messageOf(sizeBytes = 5000): Buffer {
  return Buffer.from(Array.from({ length: sizeBytes }, (_, position) => (position * 7) % 256));
}

/** The octets in chunks of odd sizes, readable again. */
export function chunksOf(message: Uint8Array): () => AsyncIterable<Uint8Array> {
  return async function* read() {
    for (let at = 0; at < message.length; at += 1789) yield message.subarray(at, at + 1789);
  };
}

/** A spam to hold for these addresses; the queue id makes its ledger keys. */
export function spamFor(
  addresses: readonly string[],
  options: { queueId?: string | null; message?: Uint8Array } = {},
): NewItem {
  const { queueId = '4c7Yx1', message = messageOf() } = options;
  const recipients = addresses.map((address) => ({ address, notify: 'FAILURE', orcpt: `rfc822;${address}` }));
  const envelope: Envelope = {
    sender: 'sender@example.net',
    body: '8BITMIME',
    smtputf8: false,
    ret: 'HDRS',
    envid: 'QQ314159',
    recipients,
    xforward: { NAME: 'mx.example.net', ADDR: '192.0.2.1', IDENT: queueId ?? '' },
  };
  const sha256 = createHash('sha256').update(message).digest('hex');
  return {
    envelope,
    direction: 'inbound',
    queueId,
    sizeBytes: message.length,
    sha256,
    receivedAt: 1_700_000_000_000,
    retentionDays: 30,
    report: {
      virus: { kind: 'clean' },
      spam: { kind: 'scored', score: 12.5, tests: [], truncated: false, ignored: [] },
      virusMs: 3,
      spamMs: 90,
    },
    facts: { from: 'seller@example.net', subject: 'Buy', messageId: '<1@example.net>' },
    dispositions: [dispositionFor(recipients)],
    slots: recipients.map((recipient) => ({
      recipient,
      ledgerKey: queueId === null ? null : ledgerKey({ queueId, sha256, sender: envelope.sender, recipient }),
    })),
  };
}

/** The ledger keys of an item, in the order of its slots. */
export function keysOf(item: NewItem): string[] {
  return item.slots.flatMap((slot) => slot.ledgerKey ?? []);
}

/** Names of all items and of all unfinished puts in a quarantine folder. */
export function lookInto(folder: string): { items: string[]; temporary: string[] } {
  const shards = readdirSync(folder).filter((name) => name.length === 2);
  const names = shards.flatMap((shard) => readdirSync(join(folder, shard)));
  return {
    items: names.filter((name) => !name.startsWith('tmp-')),
    temporary: names.filter((name) => name.startsWith('tmp-')),
  };
}

/** All octets of a stream. */
export async function bytesOf(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

function dispositionFor(recipients: Disposition['recipients']): Disposition {
  return {
    kind: 'quarantine',
    verdict: 'spam',
    recipients,
    why: 'score 12.5 >= quarantine 10 (shipped default)',
    alarm: false,
    marks: {
      spam: 'flag',
      score: 12.5,
      required: 6.5,
      tests: [{ name: 'GTUBE', score: 12.5, description: null }],
      spamReason: null,
      virus: 'clean',
      subjectTag: null,
    },
  };
}
