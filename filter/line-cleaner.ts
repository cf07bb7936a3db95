/**
 * line-cleaner — the octets of DATA: finds the end, takes stuffed dots away, makes every line end CRLF.
 *
 * Hides the one notion of a line that keeps smuggled messages inside the message they came in (CVE-2023-51764): a bare
 * LF is a line end as Postfix has it, yet only CRLF "." CRLF ends DATA. A bare CR becomes a space. Nothing can fail
 * here, nothing is looked at twice, and what is kept between two chunks is one number.
 */

const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;
const SPACE = 0x20;

// Where the last octet left us. "After CRLF" is also where DATA starts: the command's own CRLF counts (RFC 5321 §4.1.1.4).
const inLine = 0;
const afterCr = 1;
const afterCrlf = 2;
const afterLf = 3;
const dotAfterCrlf = 4;
const dotAfterLf = 5;
const dotCrAfterCrlf = 6;
const dotCrAfterLf = 7;
const ended = 8;

/**
 * What became of one chunk: octets for the spool, good until the next `clean`, and, once CRLF "." CRLF was seen, what
 * follows it (else null).
 */
export type Cleaned = { readonly cleaned: Buffer; readonly rest: Buffer | null };

/** Reads one message after its 354; not to be used again once `rest` was given. */
export type LineCleaner = { clean(chunk: Buffer): Cleaned };

/**
 * A cleaner for one message. Content is what stands before CRLF "." CRLF, its last CRLF included; a line that starts
 * with a dot and has more on it loses that dot (RFC 5321 §4.5.2); a lone dot that does not end DATA is kept.
 */
export function createLineCleaner(): LineCleaner {
  let state = afterCrlf;
  let out = Buffer.alloc(0);
  return {
    clean(chunk) {
      // Each octet makes two at most (LF: CRLF), but for a held back ".\r" that can come in front of the first.
      const outBytes = chunk.length * 2 + 2;
      if (out.length < outBytes) out = Buffer.allocUnsafeSlow(outBytes);
      const step = cleanOctets(chunk, out, state);
      state = step.state;
      const rest = state === ended ? chunk.subarray(step.read) : null;
      return { cleaned: out.subarray(0, step.written), rest };
    },
  };
}

/** The state machine: one flat loop over octets, because calls per line cost more than octets do (millions of `..`). */
function cleanOctets(
  chunk: Buffer,
  out: Buffer,
  from: number,
): { state: number; read: number; written: number } {
  let state = from;
  let written = 0;
  let read = 0;
  while (read < chunk.length && state !== ended) {
    const octet = chunk[read++] ?? 0;
    if (state === dotAfterCrlf || state === dotAfterLf) {
      if (octet === CR) {
        state += 2;
        continue;
      }
      if (octet === LF) out[written++] = DOT;
    } else if (state === dotCrAfterCrlf || state === dotCrAfterLf) {
      if (octet === LF && state === dotCrAfterCrlf) {
        state = ended;
        continue;
      }
      if (octet === LF) {
        out[written++] = DOT;
        state = afterCr;
      } else out[written++] = SPACE;
    } else if (octet === DOT && (state === afterCrlf || state === afterLf)) {
      state += 2;
      continue;
    } else if (state === afterCr && octet !== LF) out[written++] = SPACE;

    if (octet === CR) state = afterCr;
    else if (octet === LF) {
      out[written++] = CR;
      out[written++] = LF;
      state = state === afterCr ? afterCrlf : afterLf;
    } else {
      out[written++] = octet;
      state = inLine;
    }
  }
  return { state, read, written };
}
