/**
 * drop-forged — the oracle: what rules/header-filter.ts must give, written another way, on the whole message at once.
 *
 * Slow and plain: octets as ISO 8859-1 text, split into lines, one regular expression for a field.
 */

/** A message less its forged fields, and the fields as they were. */
export function dropForged(
  message: Uint8Array,
  direction: 'inbound' | 'outbound' = 'inbound',
): { kept: Buffer; dropped: string[] } {
  const lines =
    Buffer.from(message)
      .toString('latin1')
      .match(/[^\n]*\n|[^\n]+$/g) ?? [];
  const fields: string[][] = [];
  let at = 0;
  for (; at < lines.length; at++) {
    const line = lines[at] ?? '';
    if (/^[ \t]/.test(line) && fields.length > 0) fields.at(-1)?.push(line);
    else if (/^[!-9;-~]+[ \t]*:/.test(line.slice(0, 2048))) fields.push([line]);
    else break;
  }
  const forged = direction === 'inbound' ? /^X-(Spam|Quarantine|Sluice)-/i : /^X-(Quarantine|Sluice)-/i;
  const isForged = (field: string[]) => forged.test(field[0] ?? '');
  const rest = lines.slice(at);
  if (/^[ \t]/.test(rest[0] ?? '')) rest.unshift('\r\n');
  const kept = [...fields.filter((field) => !isForged(field)).flat(), ...rest].join('');
  return {
    kept: Buffer.from(kept, 'latin1'),
    dropped: fields.filter(isForged).map((field) => field.join('')),
  };
}
