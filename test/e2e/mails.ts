/**
 * mails — messages for the end-to-end tests of verdicts: infected in every wrapping, spam to the tenth of a point.
 *
 * Everything is plain ASCII in lines of CRLF; EICAR and GTUBE are put together at run time. What else SpamAssassin finds
 * in such a message counts nothing under `scoreRules`, so that a score is exactly what its subject asks for.
 */
import { eicar } from '../../demo/clamd.ts';
import { zipOf } from '../fakes/zip.ts';

export const gtube = ['XJS*C4JDBQADN1.NSBN3*2IDNEN*', 'GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X'].join('');

/** A text message; `fields` are further header lines without CRLF, in front of all others. */
export function mailOf(options: { subject: string; body?: string; fields?: readonly string[] }): Buffer {
  const { subject, body = 'An ordinary line about an ordinary order.', fields = [] } = options;
  const lines = [...fields, ...headOf(subject), '', body, ''];
  return Buffer.from(lines.join('\r\n'), 'latin1');
}

let mails = 0;

function headOf(subject: string): string[] {
  return [
    'From: Anna Muster <anna@partner.example>',
    'To: Bob Beispiel <bob@site.example>',
    `Subject: ${subject}`,
    `Message-ID: <${++mails}.${process.pid}@partner.example>`,
    `Date: ${new Date().toUTCString().replace('GMT', '+0000')}`,
  ];
}

type Attachment = { readonly name: string; readonly encoding: string; readonly text: string };

function withAttachments(subject: string, attachments: readonly Attachment[]): Buffer {
  const parts = attachments.map(({ name, encoding, text }) =>
    [
      '--=_part',
      `Content-Type: application/octet-stream; name="${name}"`,
      `Content-Transfer-Encoding: ${encoding}`,
      `Content-Disposition: attachment; filename="${name}"`,
      '',
      text,
    ].join('\r\n'),
  );
  const type = ['MIME-Version: 1.0', 'Content-Type: multipart/mixed; boundary="=_part"'];
  const text = ['--=_part', 'Content-Type: text/plain', '', 'See the attachment.'];
  return mailOf({ subject, fields: type, body: [...text, ...parts, '--=_part--'].join('\r\n') });
}

function base64(name: string, bytes: Uint8Array): Attachment {
  const lines =
    Buffer.from(bytes)
      .toString('base64')
      .match(/.{1,76}/g) ?? [];
  return { name, encoding: 'base64', text: lines.join('\r\n') };
}

/** Every octet written as =XX, in lines of 72 with soft breaks (RFC 2045 §6.7): nothing of it can be seen raw. */
function quotedPrintable(name: string, text: string): Attachment {
  const octets = [...Buffer.from(text, 'latin1')].map(
    (octet) => `=${octet.toString(16).toUpperCase().padStart(2, '0')}`,
  );
  const lines = (octets.join('').match(/.{1,72}/g) ?? []).join('=\r\n');
  return { name, encoding: 'quoted-printable', text: lines };
}

function encryptedZip(): Buffer {
  return zipOf('secret.txt', Buffer.from('nobody can tell'), { encrypted: true });
}

/** EICAR, wrapped in each of the ways that mail knows. `label` is good for a local part. */
export function infectedMails(): readonly { readonly label: string; readonly bytes: Buffer }[] {
  // With blanks behind it (eicar.org allows them) it is worth compressing, so that the octets in the zip are others.
  const virus = Buffer.from(eicar().padEnd(128), 'latin1');
  const zip = zipOf('eicar.com', virus);
  const nested = zipOf('outer.zip', zipOf('inner.zip', zip, { stored: true }));
  return [
    { label: 'plain', bytes: mailOf({ subject: 'virus: plain', body: eicar() }) },
    { label: 'base64', bytes: withAttachments('virus: base64', [base64('eicar.com', virus)]) },
    {
      label: 'quoted-printable',
      bytes: withAttachments('virus: quoted-printable', [quotedPrintable('eicar.com', eicar())]),
    },
    { label: 'zip', bytes: withAttachments('virus: zip', [base64('eicar.zip', zip)]) },
    { label: 'nested-zip', bytes: withAttachments('virus: nested zip', [base64('nested.zip', nested)]) },
    {
      label: 'beside-encrypted',
      bytes: withAttachments('virus: beside an encrypted zip', [
        base64('secret.zip', encryptedZip()),
        base64('eicar.zip', zip),
      ]),
    },
  ];
}

/** Nothing but an archive that no scanner can open. */
export function encryptedMail(): Buffer {
  return withAttachments('encrypted zip', [base64('secret.zip', encryptedZip())]);
}

/** A message whose score is exactly `score` where spamd runs with `scoreRules([score, ...])`. */
export function scoredMail(score: number): Buffer {
  return mailOf({ subject: `worth ${score} points` });
}

/** Rules of SpamAssassin for `spamd.extraRules`; only these, and GTUBE, count. */
export function scoreRules(scores: readonly number[]): string {
  const names = scores.map((score) => ({ score, name: `WORTH_${String(score).replace('.', '_')}` }));
  return [
    ...names.flatMap(({ score, name }) => [
      `header ${name} Subject =~ /^worth ${String(score).replace('.', '\\.')} points$/`,
      `score ${name} ${score}`,
    ]),
    ...['ALL_TRUSTED', 'NO_RELAYS', 'NO_RECEIVED'].map((name) => `score ${name} 0`),
  ].join('\n');
}
