/**
 * zip — a zip archive of one member made by hand, so that no test needs a tool that may be missing.
 *
 * Local header, central directory, end record (APPNOTE.TXT 4.3). `encrypted` sets the flag and puts twelve octets in
 * front, as traditional encryption does; what follows is not really encrypted, but nobody without a key can tell.
 */
import { crc32, deflateRawSync } from 'node:zlib';

/** A zip with the member `name`: deflated, or stored where `stored`. */
export function zipOf(
  name: string,
  bytes: Uint8Array,
  options: { stored?: boolean; encrypted?: boolean } = {},
): Buffer {
  const packed = options.stored ? Buffer.from(bytes) : deflateRawSync(bytes);
  const member = options.encrypted ? Buffer.concat([Buffer.alloc(12, 0xa5), packed]) : packed;
  const fields = Buffer.alloc(26);
  fields.writeUInt16LE(20, 0); // version needed
  fields.writeUInt16LE(options.encrypted ? 1 : 0, 2);
  fields.writeUInt16LE(options.stored ? 0 : 8, 4);
  fields.writeUInt16LE(0x5a21, 8); // date: 2025-01-01
  fields.writeUInt32LE(crc32(bytes), 10);
  fields.writeUInt32LE(member.length, 14);
  fields.writeUInt32LE(bytes.length, 18);
  fields.writeUInt16LE(Buffer.byteLength(name), 22);
  const local = Buffer.concat([Buffer.from('PK\x03\x04'), fields, Buffer.from(name), member]);
  const central = Buffer.concat([
    Buffer.from('PK\x01\x02\x14\x00', 'latin1'),
    fields,
    Buffer.alloc(14), // comment, disk, attributes, offset of the local header: all zero
    Buffer.from(name),
  ]);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(1, 8);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(local.length, 16);
  return Buffer.concat([local, central, end]);
}
