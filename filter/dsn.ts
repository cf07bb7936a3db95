/**
 * dsn — the one delivery status notification that Sluice ever composes (RELIABILITY, partial acceptance).
 *
 * A multipart/report (RFC 6522) of three parts: words, message/delivery-status (RFC 3464), the original header block; the
 * global forms of RFC 6533 where an address is not ASCII. Pure functions of their arguments. Every value from outside is
 * one line without control characters when it gets here, so nothing can begin a field, a part or a line.
 */
import { formatDate } from '../rules/date.ts';
import { plainText } from '../rules/encoded-words.ts';
import { asciiOf, fieldsOf, joinOctets } from '../rules/header-block.ts';
import { type Envelope, type Recipient, type Verdict, decodeWire, encodeWire } from '../rules/mail.ts';
import type { PeerReply } from '../rules/replies.ts';

/** What a notification tells. `header` begins with the original header block; what follows the block is left out. */
export type DsnReport = {
  readonly envelope: Envelope;
  readonly failed: readonly { readonly recipient: Recipient; readonly reply: PeerReply }[];
  readonly header: Uint8Array;
  readonly reportingMta: string;
  /** Epoch milliseconds. */
  readonly arrivalAt: number;
  readonly now: number;
  /** Unguessable, 1 to 70 letters, digits, `-` or `_`. */
  readonly boundary: string;
  /** With or without angle brackets. */
  readonly messageId: string;
};

/** A notification ready for the return smtpd: its envelope (null sender, NOTIFY=NEVER, one recipient) and its bytes. */
export type Dsn = { readonly recipient: string; readonly envelope: Envelope; readonly bytes: Uint8Array };

const headerOctetsMax = 64 * 1024;
const lineOctetsMax = 998;
/** So that a value and the name of its field fit one line, at three octets of UTF-8 a character. */
const valueCharactersMax = { ascii: 900, other: 300 };

/**
 * True where the sender is owed a notification of this recipient's failure (RFC 3461 §5.2.7 and §6): there is a sender,
 * NOTIFY does not exclude it, and the message is neither spam nor virus, whose senders are forged.
 */
export function wantsDsn(envelope: Envelope, recipient: Recipient, verdict: Verdict): boolean {
  if (envelope.sender === '' || verdict === 'spam' || verdict === 'virus') return false;
  const notify = recipient.notify?.toUpperCase().split(',');
  return notify === undefined || notify.some((word) => word.trim() === 'FAILURE');
}

/** The notification of `failed` to the envelope's sender. Precondition: `wantsDsn` for each of them. */
export function composeDsn(report: DsnReport): Dsn {
  const { sender } = report.envelope;
  const header = originalHeader(report);
  const eightBit = isEightBit(header) || isGlobal(report);
  const encoder = new TextEncoder();
  const bytes = joinOctets([
    encoder.encode(linesOf([...headLines(report, eightBit), ...wordLines(report), ...statusLines(report)])),
    encoder.encode(linesOf(headerPartLines(report, header))),
    header,
    encoder.encode(linesOf(['', `--${report.boundary}--`])),
  ]);
  const recipient: Recipient = { address: sender, notify: 'NEVER', orcpt: null };
  const parameters = { ret: null, envid: null, recipients: [recipient], xforward: {} };
  // Only a sender that is not ASCII makes the header of the notification itself need SMTPUTF8 (RFC 6531).
  const envelope = {
    sender: '',
    body: eightBit ? '8BITMIME' : '7BIT',
    smtputf8: !isAscii(sender),
    ...parameters,
  } as const;
  return { recipient: sender, envelope, bytes };
}

function headLines(
  { envelope, reportingMta, now, boundary, messageId }: DsnReport,
  eightBit: boolean,
): string[] {
  const host = asciiLine(reportingMta);
  return [
    `Date: ${formatDate(now)}`,
    `From: Mail Delivery System <MAILER-DAEMON@${host}>`,
    `To: <${line(envelope.sender)}>`,
    'Subject: Undelivered Mail Returned to Sender',
    `Message-ID: <${asciiLine(messageId.replaceAll(/[<>\s]/g, ''))}>`,
    'Auto-Submitted: auto-replied',
    'MIME-Version: 1.0',
    'Content-Type: multipart/report; report-type=delivery-status;',
    `\tboundary="${boundary}"`,
    ...(eightBit ? ['Content-Transfer-Encoding: 8bit'] : []),
    '',
    'This is a message in MIME format.',
  ];
}

function wordLines(report: DsnReport): string[] {
  return [
    ...partLines(report, isGlobal(report) ? 'text/plain; charset=utf-8' : 'text/plain; charset=us-ascii'),
    `This is the mail system at host ${asciiLine(report.reportingMta)}.`,
    '',
    'Your message could not be delivered to the recipients below.',
    'Other recipients, if there are any, are not concerned.',
    'Below stand the reason for each and the header of your message.',
    ...report.failed.flatMap(({ recipient, reply }) => [
      '',
      `<${line(recipient.address)}>:`,
      `    ${diagnosticOf(reply)}`,
    ]),
    '',
  ];
}

/** RFC 3464 §2.2 per message, §2.3 per recipient. */
function statusLines(report: DsnReport): string[] {
  const { envelope, reportingMta, arrivalAt, failed } = report;
  const type = isGlobal(report) ? 'message/global-delivery-status' : 'message/delivery-status';
  const envid =
    envelope.envid === null ? [] : [`Original-Envelope-Id: ${asciiLine(decodeXtext(envelope.envid))}`];
  return [
    ...partLines(report, type),
    `Reporting-MTA: dns; ${asciiLine(reportingMta)}`,
    ...envid,
    `Arrival-Date: ${formatDate(arrivalAt)}`,
    ...failed.flatMap(({ recipient, reply }) => recipientLines(recipient, reply)),
    '',
  ];
}

function recipientLines({ address, orcpt }: Recipient, reply: PeerReply): string[] {
  const original = orcpt === null ? null : originalRecipient(orcpt);
  return [
    '',
    ...(original === null ? [] : [`Original-Recipient: ${original}`]),
    `Final-Recipient: ${isAscii(address) ? 'rfc822' : 'utf-8'}; ${line(address)}`,
    'Action: failed',
    `Status: ${statusOf(reply)}`,
    `Diagnostic-Code: smtp; ${diagnosticOf(reply)}`,
  ];
}

function headerPartLines(report: DsnReport, header: Uint8Array): string[] {
  const global = isGlobal(report) && isEightBit(header) && decodeWire(header).isWellFormed();
  return partLines(report, global ? 'message/global-headers' : 'text/rfc822-headers', isEightBit(header));
}

/** Delimiter and head of one part; the empty line behind them included. */
function partLines(report: DsnReport, type: string, eightBit: boolean = isGlobal(report)): string[] {
  return [
    `--${report.boundary}`,
    `Content-Type: ${type}`,
    ...(eightBit ? ['Content-Transfer-Encoding: 8bit'] : []),
    '',
  ];
}

/** The original fields in order, 64 KiB of them; left out: what holds a line over 998 octets or the boundary. */
function originalHeader({ header, boundary }: DsnReport): Uint8Array {
  const fields: Uint8Array[] = [];
  let room = headerOctetsMax;
  for (const { from, to } of fieldsOf(header)) {
    const field = header.subarray(from, to);
    const lines = asciiOf(field).split('\r\n');
    const whole = lines.pop() === '';
    if (
      !whole ||
      lines.some((text) => text.length > lineOctetsMax || /[\r\n]/.test(text) || text.includes(boundary))
    )
      continue;
    room -= field.length;
    if (room < 0) break;
    fields.push(field);
  }
  return joinOctets(fields);
}

/** ORCPT= as an Original-Recipient field wants it, or null where it has no form (RFC 3461 §4.2, RFC 6533 §3). */
function originalRecipient(orcpt: string): string | null {
  const [, type = '', encoded = ''] = /^([A-Za-z0-9-]{1,32});(.+)$/s.exec(orcpt) ?? [];
  if (encoded === '') return null;
  // utf-8-addr-xtext has an encoding of its own, \x{…}, which stays.
  const address = type.toLowerCase() === 'utf-8' ? encoded : decodeXtext(encoded);
  return `${isAscii(address) ? type : 'utf-8'}; ${line(address)}`;
}

/** Text of xtext (RFC 3461 §4): octets that are no UTF-8, and control characters, are made harmless by `line`. */
function decodeXtext(xtext: string): string {
  const octets = xtext.replaceAll(/\+([0-9A-Fa-f]{2})/g, (_, digits: string) => {
    const octet = Number.parseInt(digits, 16);
    return String.fromCharCode(octet < 0x80 ? octet : 0xdc00 + octet);
  });
  return decodeWire(encodeWire(octets));
}

function statusOf({ enhanced }: PeerReply): string {
  return enhanced !== null && /^5\.\d{1,3}\.\d{1,3}$/.test(enhanced) ? enhanced : '5.0.0';
}

function diagnosticOf({ code, enhanced, text }: PeerReply): string {
  return asciiLine([String(code), ...(enhanced === null ? [] : [enhanced]), text].join(' '));
}

/** True where the global forms of RFC 6533 are needed. */
function isGlobal({ envelope, failed }: DsnReport): boolean {
  const addresses = failed.flatMap(({ recipient }) => [
    recipient.address,
    originalRecipient(recipient.orcpt ?? '') ?? '',
  ]);
  return ![envelope.sender, ...addresses].every(isAscii);
}

/** One line of bounded length without control characters. */
function line(text: string): string {
  return plainText(text)
    .slice(0, isAscii(text) ? valueCharactersMax.ascii : valueCharactersMax.other)
    .toWellFormed();
}

function asciiLine(text: string): string {
  return line(plainText(text).replaceAll(/[^\x20-\x7e]/gu, '?'));
}

function isAscii(text: string): boolean {
  return text.isWellFormed() && !/[\u0080-\u{10ffff}]/u.test(text);
}

function isEightBit(octets: Uint8Array): boolean {
  return octets.some((octet) => octet > 0x7f);
}

function linesOf(lines: readonly string[]): string {
  return lines.map((text) => `${text}\r\n`).join('');
}
