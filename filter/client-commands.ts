/**
 * client-commands — the lines that we say to the return smtpd.
 *
 * Hides how an envelope is written: every value verbatim, octet for octet, each parameter only where the peer offers
 * it. Pure; throws PermFail for a value that would break out of its line.
 */
import { encodeWire, type Envelope, type Recipient } from '../rules/mail.ts';
import { PermFail } from '../workers/fail.ts';
import type { PeerOffers } from './offers.ts';

const xforwardOctetsMax = 512;

/** One command line with its CRLF, octets as `decodeWire` took them. Throws PermFail where it would be two lines. */
export function commandLine(text: string): Uint8Array {
  // It can't come from our listener; were it to come, one address would be a command of its own choosing.
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\r\n\0]/.test(text))
    throw new PermFail(`Cannot send ${JSON.stringify(text.slice(0, 80))}: line break inside`);
  return encodeWire(`${text}\r\n`);
}

/**
 * As few commands as fit (Postfix XFORWARD_README: 512 octets each). Postfix forgets the attributes with the transaction
 * (smtpd.c, mail_reset(): after the message, at RSET and at EHLO), so on a connection that is used again nothing leaks
 * from one message to the next, and a message without attributes gets none: `SOURCE=LOCAL` in their place would be
 * an invention, and would have Postfix complete the addresses in its headers.
 */
export function xforwardLines(envelope: Envelope, offers: PeerOffers): Uint8Array[] {
  const lines: Uint8Array[] = [];
  let text = '';
  for (const [name, value] of Object.entries(envelope.xforward)) {
    if (!offers.xforward.includes(name.toUpperCase())) continue;
    const longer = `${text === '' ? 'XFORWARD' : text} ${name}=${value}`;
    if (text !== '' && commandLine(longer).length > xforwardOctetsMax) {
      lines.push(commandLine(text));
      text = `XFORWARD ${name}=${value}`;
    } else text = longer;
  }
  return text === '' ? lines : [...lines, commandLine(text)];
}

/**
 * Parameters only where they are offered. Without 8BITMIME the message goes as it is, undeclared: converting it would break
 * its signatures, refusing it would bounce mail for our configuration, and Postfix takes 8-bit octets in any case.
 */
export function mailLine(envelope: Envelope, sizeBytes: number | undefined, offers: PeerOffers): Uint8Array {
  return commandLine(
    [
      `MAIL FROM:<${envelope.sender}>`,
      offers.size && sizeBytes !== undefined && `SIZE=${sizeBytes}`,
      offers.eightBitMime && envelope.body !== null && `BODY=${envelope.body}`,
      envelope.smtputf8 && 'SMTPUTF8',
      offers.dsn && envelope.ret !== null && `RET=${envelope.ret}`,
      offers.dsn && envelope.envid !== null && `ENVID=${envelope.envid}`,
    ]
      .filter((word) => word !== false)
      .join(' '),
  );
}

/** RCPT TO with the recipient's own DSN parameters (RFC 3461 §4). */
export function recipientLine({ address, notify, orcpt }: Recipient, offers: PeerOffers): Uint8Array {
  return commandLine(
    [
      `RCPT TO:<${address}>`,
      offers.dsn && notify !== null && `NOTIFY=${notify}`,
      offers.dsn && orcpt !== null && `ORCPT=${orcpt}`,
    ]
      .filter((word) => word !== false)
      .join(' '),
  );
}
