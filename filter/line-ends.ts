/**
 * line-ends — the octets of a file as the listener would have spooled them: every line end CRLF.
 *
 * For messages that come from a file and not over SMTP (`sluice scan`): a bare LF becomes CRLF, a bare CR a space, as
 * line-cleaner.ts does on the wire; there is no dot to look for.
 */

/** Cleaned octets of `source`; what is kept between two chunks is one CR. */
export async function* cleanLines(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  let held = '';
  for await (const chunk of source) {
    const text = held + Buffer.from(chunk).toString('latin1');
    held = text.endsWith('\r') ? '\r' : '';
    yield cleaned(held === '' ? text : text.slice(0, -1));
  }
  if (held !== '') yield cleaned(held);
}

function cleaned(text: string): Uint8Array {
  return Buffer.from(text.replaceAll(/\r(?!\n)/g, ' ').replaceAll(/\r?\n/g, '\r\n'), 'latin1');
}
