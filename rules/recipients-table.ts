/**
 * recipients-table — whether a text is a table of Postfix (postmap(1)) that names recipients.
 *
 * Pure. A map of relay recipients that is empty, or is something else, makes a backup refuse everybody's mail: it is looked at
 * before it replaces the one that works.
 */

/** How many recipients it has, or in words why it is no such table. */
export function readRecipientsTable(
  text: string,
): { readonly entries: number } | { readonly problem: string } {
  let entries = 0;
  for (const [at, line] of text.split('\n').entries()) {
    // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
    if (/[\u0000-\u0008\u000b-\u001f\u007f\ufffd]/.test(line.replace(/\r$/, '')))
      return { problem: `line ${at + 1} holds octets that are no text` };
    if (/^\s*(?:#|$)/.test(line)) continue;
    // A line that begins with a blank goes on with the one before it.
    if (/^\s/.test(line)) {
      if (entries === 0) return { problem: `line ${at + 1} goes on with a line that is not there` };
      continue;
    }
    if (!/^\S+\s+\S/.test(line)) return { problem: `line ${at + 1} has no value behind its key` };
    entries += 1;
  }
  return entries === 0 ? { problem: 'it names no recipient' } : { entries };
}
