/**
 * clamd-samples — small messages that show what a clamd looks into, made when they are needed.
 *
 * Hides MIME and zip (APPNOTE.TXT 4.3). EICAR (eicar.org), harmless and known to every scanner, is put together here, so
 * that no file of ours is itself reported. Nothing is really encrypted: the flag and the twelve octets in front are all
 * that a scanner without the key can see.
 */
import { crc32, deflateRawSync } from 'node:zlib';

type Attachment = { readonly name: string; readonly bytes: Uint8Array };

/** More archives inside each other than any clamd may be told to open: MaxRecursion is 100 at most. */
const depth = 105;

/** The EICAR test string. */
export function eicar(): Buffer {
  const parts = ['X5O!P%@AP[4\\PZX54(P^)7CC)7}', '$EICAR-STANDARD', '-ANTIVIRUS-TEST-FILE!', '$H+H*'];
  return Buffer.from(parts.join(''), 'latin1');
}

/** A message without attachments that nobody could object to. */
export function plainMessage(): Buffer {
  return messageWith([]);
}

/** EICAR as it is, as an attachment. */
export function attachedVirus(): Buffer {
  return messageWith([{ name: 'eicar.com', bytes: eicar() }]);
}

/** EICAR in a zip archive. */
export function zippedVirus(): Buffer {
  return messageWith([{ name: 'eicar.zip', bytes: zipOf('eicar.com', eicar()) }]);
}

/** An archive that can't be looked into. */
export function encryptedArchive(): Buffer {
  return messageWith([secret()]);
}

/** An archive that can't be looked into in front of one that holds EICAR. */
export function virusBehindSecret(): Buffer {
  return messageWith([secret(), { name: 'eicar.zip', bytes: zipOf('eicar.com', eicar()) }]);
}

/** An archive that is over a limit of every clamd: some KB, and quickly refused. */
export function overLimitArchive(): Buffer {
  let bytes = zipOf('hello.txt', Buffer.from('Hello\r\n'));
  for (let level = 1; level < depth; level++) bytes = zipOf('archive.zip', bytes);
  return messageWith([{ name: 'archive.zip', bytes }]);
}

/** Zeros, `sizeBytes` in all. */
export async function* zeros(sizeBytes: number): AsyncGenerator<Uint8Array> {
  const chunk = Buffer.alloc(65_536);
  for (let left = sizeBytes; left > 0; left -= chunk.length)
    yield left < chunk.length ? chunk.subarray(0, left) : chunk;
}

function secret(): Attachment {
  return { name: 'secret.zip', bytes: zipOf('secret.txt', Buffer.from('Nobody knows\r\n'), true) };
}

function messageWith(attachments: readonly Attachment[]): Buffer {
  const parts = attachments.flatMap(({ name, bytes }) => [
    '--sluice-check',
    `Content-Type: application/octet-stream; name="${name}"`,
    'Content-Transfer-Encoding: base64',
    '',
    Buffer.from(bytes).toString('base64').replaceAll(/.{76}/g, '$&\r\n'),
  ]);
  const lines = [
    'From: <check@sluice.invalid>',
    'To: <check@sluice.invalid>',
    'Subject: Sluice looks what clamd looks into',
    'MIME-Version: 1.0',
    'Content-Type: multipart/mixed; boundary=sluice-check',
    '',
    '--sluice-check',
    '',
    'A message of Sluice to itself.',
    ...parts,
    '--sluice-check--',
    '',
  ];
  return Buffer.from(lines.join('\r\n'), 'latin1');
}

/** A zip archive of one member, deflated. */
function zipOf(name: string, bytes: Uint8Array, encrypted = false): Buffer {
  const packed = deflateRawSync(bytes);
  const member = encrypted ? Buffer.concat([Buffer.alloc(12, 0xa5), packed]) : packed;
  const fields = Buffer.alloc(26);
  fields.writeUInt16LE(20, 0); // version needed
  fields.writeUInt16LE(encrypted ? 1 : 0, 2);
  fields.writeUInt16LE(8, 4); // deflated
  fields.writeUInt16LE(0x5a21, 8); // a date
  fields.writeUInt32LE(crc32(bytes), 10);
  fields.writeUInt32LE(member.length, 14);
  fields.writeUInt32LE(bytes.length, 18);
  fields.writeUInt16LE(name.length, 22);
  const local = Buffer.concat([Buffer.from('PK\x03\x04'), fields, Buffer.from(name), member]);
  // Comment, disk, attributes and the offset of the local header are all zero.
  const central = [Buffer.from('PK\x01\x02\x14\x00'), fields, Buffer.alloc(14), Buffer.from(name)];
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(1, 8);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(Buffer.concat(central).length, 12);
  end.writeUInt32LE(local.length, 16);
  return Buffer.concat([local, ...central, end]);
}
