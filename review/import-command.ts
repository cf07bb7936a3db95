/**
 * import-command — `sluice import amavis FILE...`: amavisd-new's settings as a policies.yaml.
 *
 * Reads files up to a bound and runs nothing in them. The policies go to standard output or into a new file, what could
 * not be carried over goes to standard error, so that `> policies.yaml` keeps only the former. Exit: 0 all carried over,
 * 1 something was not, 64 usage, 69 a file that can't be read or written.
 */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { importAmavis } from '../rules/amavis.ts';
import type { ImportNote, NoteKind } from '../rules/amavis.ts';
import type { SourceText } from '../rules/document.ts';
import { PermFail } from '../workers/fail.ts';
import { type Invocation, UsageError } from './invocation.ts';
import { printable } from './table.ts';

const configBytesMax = 16 * 1024 * 1024;
const dumpBytesMax = 256 * 1024 * 1024;

const headings: Readonly<Record<NoteKind, string>> = {
  lost: "Can't be carried over",
  changed: 'Carried over with another effect',
  never: 'What amavisd-new does and Sluice never does',
  elsewhere: 'For sluice.yaml',
  told: 'Good to know',
};

/** Prints the policies, or writes them into a file that is not there yet, and the report. */
export async function importPolicies(invocation: Invocation): Promise<number> {
  const { words, options, status, print, printJson } = invocation;
  const dumps = options.sql ?? [];
  if (words.length === 0 && dumps.length === 0)
    throw new UsageError(
      'import amavis: name amavisd.conf, or a dump with --sql: see sluice import amavis --help',
    );
  status.sayNow("reading amavisd-new's settings");
  const files = words.flatMap(filesIn).map((file) => readText(file, configBytesMax));
  refuseDumps(files);
  const shipped = join(import.meta.dirname, '..', 'rules', 'policies.yaml');
  const { text, recipients, notes } = importAmavis(
    { files, dumps: dumps.map((file) => readText(file, dumpBytesMax)) },
    { file: 'policies.yaml (shipped)', text: readFileSync(shipped, 'utf8') },
  );
  if (text !== null && options.write !== undefined) writeNew(options.write, text);
  if (options.json === true) printJson({ written: options.write ?? null, recipients, policies: text, notes });
  else {
    status.clear();
    process.stderr.write(report(notes));
    if (text !== null && options.write === undefined) print(text.trimEnd());
    else if (text !== null)
      print(`${printable(options.write ?? '')}: written (${recipients} recipients and domains)`);
  }
  if (text === null) throw new PermFail('Cannot import: more than a policies.yaml can hold; see the report');
  return notes.some(isLoss) ? 1 : 0;
}

/** Whether something is not as it was with amavisd-new. */
function isLoss({ kind }: ImportNote): boolean {
  return kind === 'lost' || kind === 'changed' || kind === 'never';
}

/** A folder like /etc/amavis/conf.d stands for its files, in the order and with the names that amavisd-new takes. */
function filesIn(path: string): readonly string[] {
  try {
    if (!statSync(path).isDirectory()) return [path];
    const names = readdirSync(path).filter((name) => /^[\w-]+$/.test(name));
    return names.toSorted().map((name) => join(path, name));
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/** A file as text: UTF-8, else Latin-1. Anything but a regular file of readable size is refused. */
function readText(file: string, bytesMax: number): SourceText {
  const bytes = readBytes(file, bytesMax);
  if (bytes.includes(0)) throw new PermFail(`Cannot read ${printable(file)}: it is no text`);
  try {
    return { file, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch {
    // Older configurations are in Latin-1, in which any octet is a character.
    return { file, text: bytes.toString('latin1') };
  }
}

function readBytes(file: string, bytesMax: number): Buffer {
  let descriptor: number | null = null;
  try {
    // A pipe without a writer would wait for ever.
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const { size } = statOf(descriptor);
    if (size > bytesMax) throw new Error(`it has more than ${bytesMax / 1024 / 1024} MB`);
    const bytes = Buffer.alloc(size);
    let length = 0;
    for (let read = -1; length < size && read !== 0; length += read)
      read = readSync(descriptor, bytes, length, size - length, null);
    return bytes.subarray(0, length);
  } catch (cause) {
    throw unreadable(file, cause);
  } finally {
    if (descriptor !== null) closeSync(descriptor);
  }
}

function statOf(descriptor: number) {
  const found = fstatSync(descriptor);
  if (!found.isFile()) throw new Error('it is no regular file');
  return found;
}

function unreadable(file: string, cause: unknown): PermFail {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new PermFail(`Cannot read ${printable(file)}: ${printable(reason)}`, { cause });
}

/** A dump in the place of a configuration would be read as Perl, and give nothing. */
function refuseDumps(files: readonly SourceText[]): void {
  const dump = files.find(({ text }) =>
    /^(?:-- (?:MySQL|MariaDB|PostgreSQL)|PRAGMA foreign_keys|INSERT INTO )/m.test(text.slice(0, 65_536)),
  );
  if (dump !== undefined)
    throw new UsageError(`import amavis: ${dump.file} is a SQL dump: write --sql ${dump.file}`);
}

function writeNew(file: string, text: string): void {
  try {
    writeFileSync(file, text, { flag: 'wx' });
  } catch (cause) {
    const isThere = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST';
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PermFail(
      `Cannot write ${printable(file)}: ${isThere ? 'it is there already: name another file, or move it away' : printable(reason)}`,
      { cause },
    );
  }
}

function report(notes: readonly ImportNote[]): string {
  const lines = (Object.keys(headings) as NoteKind[]).flatMap((kind) => {
    const found = notes.filter((note) => note.kind === kind);
    return found.length === 0 ? [] : [`${headings[kind]}:`, ...found.map(noteText), ''];
  });
  return `${[...(notes.some(isLoss) ? [] : ['Everything was carried over.']), ...lines].join('\n').trimEnd()}\n`;
}

function noteText({ kind, file, line, what, remedy }: ImportNote): string {
  const place = file === null ? '' : `${file}:${line}: `;
  return `  ${printable(place + what)}\n      ${kind === 'elsewhere' ? 'write' : 'by hand'}: ${printable(remedy)}`;
}
