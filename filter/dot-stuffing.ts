/**
 * dot-stuffing — a message as it goes between DATA and the dot (RFC 5321 §4.5.2).
 *
 * Hides what must be remembered from one chunk to the next. Every octet stays as it is; a dot is put in front of one
 * that begins a line. Chunks without such a line pass uncopied, chunks full of them cost one loop. Cannot fail.
 */

const dot = 0x2e;
const lineFeed = 0x0a;
const carriageReturn = 0x0d;

export type DotStuffer = {
  /** The octets to send for the next octets of the message: the very chunk, or a stuffed copy. */
  write(chunk: Uint8Array): Uint8Array;
  /**
   * What ends the data: `.` CRLF, after a CRLF of its own where the message has no final one. SMTP can't carry a
   * message without it (RFC 5321 §4.1.1.4), and Postfix adds the same when it takes such a message.
   */
  end(): Uint8Array;
};

/** A stuffer for one message. */
export function createDotStuffer(): DotStuffer {
  let last = lineFeed;
  let lastButOne = carriageReturn;

  return {
    write(chunk) {
      const octets = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      // After a bare LF too: some servers take it for a line end, and there a lone dot would end the data (SMTP
      // smuggling). The listener lets none in, so in practice every line end is CRLF.
      const atLineStart = last === lineFeed;
      for (const octet of octets.subarray(-2)) [lastButOne, last] = [last, octet];
      const mustStuff = (atLineStart && octets[0] === dot) || octets.includes('\n.');
      return mustStuff ? stuff(octets, atLineStart) : chunk;
    },
    end: () => Buffer.from(lastButOne === carriageReturn && last === lineFeed ? '.\r\n' : '\r\n.\r\n'),
  };
}

function stuff(octets: Buffer, startsLine: boolean): Uint8Array {
  // At most every other octet is a dot behind a line feed, and one more where the chunk starts a line.
  const stuffed = Buffer.allocUnsafe(octets.length + (octets.length >> 1) + 1);
  let size = 0;
  let atLineStart = startsLine;
  for (let at = 0; at < octets.length; at++) {
    const octet = octets[at] ?? 0;
    if (atLineStart && octet === dot) stuffed[size++] = dot;
    stuffed[size++] = octet;
    atLineStart = octet === lineFeed;
  }
  return stuffed.subarray(0, size);
}
