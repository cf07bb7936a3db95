/**
 * copy — the bytes that leave Sluice: our header lines in front, the message behind with forged ones of ours dropped.
 *
 * Nothing else changes, ever (DESIGN, sentence 5). Streams: memory does not grow with the message. The source may be a
 * spooled message or a quarantined one; each call of the result reads it anew.
 */
import { createHeaderFilter, formatMarks } from '../rules/headers.ts';
import type { MailFacts, Marks } from '../rules/mail.ts';

/** Who marks: our own name and version, and the host, as they stand in X-Virus-Scanned. */
export type Marker = { readonly scanner: string; readonly hostname: string };

/** The delivered form of a message: `marks` and `extra` lines in front, then `dropForged(message)`. */
export function copyOf(
  message: () => AsyncIterable<Uint8Array>,
  options: {
    marks: Marks;
    direction: MailFacts['direction'];
    marker: Marker;
    extra?: Uint8Array;
    /** Told at the end: how many of the dropped lines a DKIM signature of the message lists. */
    onDropped?: (signed: number) => void;
  },
): () => AsyncIterable<Uint8Array> {
  return async function* () {
    if (options.extra !== undefined) yield options.extra;
    yield formatMarks(options.marks, options.marker);
    const filter = createHeaderFilter({ subjectTag: options.marks.subjectTag, direction: options.direction });
    for await (const chunk of message()) {
      const kept = filter.write(chunk);
      if (kept.length > 0) yield kept;
    }
    yield filter.end();
    options.onDropped?.(filter.droppedSigned);
  };
}
