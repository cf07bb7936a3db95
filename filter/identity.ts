/**
 * identity — which hand-off this is: Postfix's queue id, the digest of the message, one ledger key per recipient.
 *
 * Hides rule R9 of RELIABILITY.md: XFORWARD IDENT, or the `id` of the lowest leading "Received: by ... (Postfix, from
 * userid ...)" line for locally submitted mail; the digest leaves out what `postsuper -r` prepends. Without a queue id
 * there is no key and no ledger. Reads the spool; a failing read is thrown as it comes.
 */
import { createHash } from 'node:crypto';
import { ledgerSkip, type ParsedFacts, parseFacts } from '../rules/headers.ts';
import type { Recipient } from '../rules/mail.ts';
import type { SpooledMessage } from '../workers/spool.ts';
import { ledgerKey } from './ledger.ts';
import type { Transaction } from './listener.ts';

/** What a message is known by. `keys` holds one ledger key per recipient object, and is empty without a queue id. */
export type Identity = {
  readonly queueId: string | null;
  /** sha256 (hex) of the bytes that the ledger compares (R9). */
  readonly digest: string;
  readonly keys: ReadonlyMap<Recipient, string>;
  readonly facts: ParsedFacts;
};

/** Octets of the message in which its header is looked for: Postfix's header_size_limit is 102,400. */
const headBytesMax = 256 * 1024;

/** The identity of one transaction's message. */
export async function identify(transaction: Transaction): Promise<Identity> {
  const { envelope, message } = transaction;
  const head = await message.head(headBytesMax);
  const facts = parseFacts(head);
  const ident = xforwardIdent(envelope.xforward);
  const queueId = ident ?? facts.localQueueId;
  const digest = await digestFrom(message, ledgerSkip(head, ident));
  const { sender, recipients } = envelope;
  const keyed = queueId === null ? [] : recipients;
  const keys = new Map(
    keyed.map((recipient) => [
      recipient,
      ledgerKey({ queueId: queueId ?? '', sha256: digest, sender, recipient }),
    ]),
  );
  return { queueId, digest, keys, facts };
}

/** The ledger keys of these recipients; none where there is no queue id. */
export function keysOf({ keys }: Identity, recipients: readonly Recipient[]): string[] {
  return recipients.flatMap((recipient) => keys.get(recipient) ?? []);
}

/** Postfix's queue id out of XFORWARD IDENT, or null where it is absent or unavailable (XFORWARD_README). */
function xforwardIdent(xforward: Readonly<Record<string, string>>): string | null {
  const ident = xforward.IDENT ?? '';
  return /^[A-Za-z0-9]{1,64}$/.test(ident) ? ident : null;
}

async function digestFrom(message: SpooledMessage, skipBytes: number): Promise<string> {
  if (skipBytes === 0) return message.sha256;
  const hash = createHash('sha256');
  for await (const chunk of message.read(skipBytes)) hash.update(chunk);
  return hash.digest('hex');
}
