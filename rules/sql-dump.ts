/**
 * sql-dump — the rows of a few tables out of a dump by mysqldump, mariadb-dump, pg_dump or sqlite3.
 *
 * Hides INSERT with and without column names, CREATE TABLE for the order of columns, COPY … FROM stdin, and what a string
 * looks like where. Other tables, functions and comments are passed over; nothing is run. Linear in the length of the
 * text. It never throws: what can't be read comes back as a note with its line.
 */
import type { SourceText } from './document.ts';
import { copiedFields, readSqlValues, sqlName, sqlNames, stepsOver } from './sql-values.ts';
import type { SqlText } from './sql-values.ts';

/** One row: values by column name in lower case; null is NULL. */
export type SqlRow = {
  readonly file: string;
  readonly line: number;
  readonly values: ReadonlyMap<string, string | null>;
};
export type SqlNote = { readonly file: string; readonly line: number; readonly text: string };
export type SqlDump = {
  readonly rows: ReadonlyMap<string, readonly SqlRow[]>;
  readonly notes: readonly SqlNote[];
};

const rowsMax = 500_000;
const statement =
  /(?:(create)\s+(?:temporary\s+|unlogged\s+)?table\s+(?:if\s+not\s+exists\s+)?|(?:(insert)(?:\s+(?:ignore|or\s+\w+|low_priority|delayed))*|(replace))\s+into\s+|(copy)\s+)((?:[`"[]?[\w$]+[`"\]]?\.){0,2}[`"[]?[\w$]+[`"\]]?)\s*/iy;

/** Reads the named tables; `columns` gives the order of columns where the dump itself does not. */
export function readSqlDump(
  { file, text }: SourceText,
  columns: Readonly<Record<string, readonly string[]>>,
): SqlDump {
  // PostgreSQL takes a backslash for itself, MySQL for an escape.
  const isPostgres = /^(?:-- PostgreSQL|COPY .* FROM stdin;|SET standard_conforming_strings)/im.test(text);
  const source: SqlText = { text, escapes: !isPostgres && !/^PRAGMA foreign_keys/im.test(text) };
  const rows = new Map<string, SqlRow[]>(Object.keys(columns).map((name) => [name, []]));
  const order = new Map<string, readonly string[]>(Object.entries(columns));
  const notes: SqlNote[] = [];
  let [line, counted, count] = [1, 0, 0];

  function lineAt(at: number): number {
    for (; counted < at; counted++) if (text.charCodeAt(counted) === 10) line++;
    return line;
  }

  function keep(
    table: string,
    at: number,
    names: readonly string[],
    values: readonly (string | null)[],
  ): void {
    if (++count > rowsMax) {
      if (count === rowsMax + 1) notes.push({ file, line: lineAt(at), text: `more than ${rowsMax} rows` });
      return;
    }
    if (values.length > names.length) {
      notes.push({
        file,
        line: lineAt(at),
        text: `a row of ${table} with ${values.length} values for ${names.length} columns`,
      });
      return;
    }
    const row = new Map(values.map((value, index) => [names[index] ?? '', value]));
    rows.get(table)?.push({ file, line: lineAt(at), values: row });
  }

  /** INSERT INTO table [(columns)] VALUES (…), (…): gives where it ended. */
  function inserted(table: string, from: number): number {
    const given = text.charAt(from) === '(' ? sqlNames(text, from) : null;
    const names = given?.names ?? order.get(table) ?? [];
    const values = /\s*(?:overriding\s+\w+\s+value\s*)?values?\s*/iy;
    values.lastIndex = given?.end ?? from;
    const word = values.exec(text)?.[0];
    let at = (given?.end ?? from) + (word?.length ?? 0);
    if (word === undefined) {
      notes.push({ file, line: lineAt(from), text: `INSERT INTO ${table} without VALUES` });
      return from;
    }
    while (text.charAt(at) === '(') {
      const row = readSqlValues(source, at);
      if (row.values === null) {
        notes.push({ file, line: lineAt(at), text: `a row of ${table} that can't be read` });
        return Math.max(row.end, at + 1);
      }
      keep(table, at, names, row.values);
      at = spaceEnd(text, row.end);
      if (text.charAt(at) === ',') at = spaceEnd(text, at + 1);
    }
    return at;
  }

  /** COPY table (columns) FROM stdin; up to the line `\.`. */
  function copied(table: string, from: number): number {
    const given = text.charAt(from) === '(' ? sqlNames(text, from) : null;
    let at = lineEnd(text, from) + 1;
    while (at < text.length && !/^\\\.\r?$/.test(text.slice(at, Math.min(lineEnd(text, at), at + 4)))) {
      const end = lineEnd(text, at);
      if (rows.has(table))
        keep(table, at, given?.names ?? order.get(table) ?? [], copiedFields(text.slice(at, end)));
      at = end + 1;
    }
    return lineEnd(text, at);
  }

  function created(table: string, from: number): number {
    const given = text.charAt(from) === '(' ? sqlNames(text, from) : null;
    // Words like PRIMARY among the names do no harm: columns come first. Optional columns may be missing here.
    const usual = (columns[table] ?? []).filter((name) => given?.names.includes(name) === false);
    if (given !== null && rows.has(table)) order.set(table, [...given.names, ...usual]);
    return given?.end ?? from;
  }

  let at = 0;
  while (at < text.length) {
    at = spaceEnd(text, at);
    statement.lastIndex = at;
    const found = statement.exec(text);
    if (found === null) at = stepsOver(source, at);
    else {
      const table = sqlName(found[5] ?? '');
      const from = statement.lastIndex;
      const isInsert = found[2] !== undefined || found[3] !== undefined;
      if (found[4] !== undefined) at = copied(table, from);
      else if (found[1] !== undefined) at = created(table, from);
      else if (isInsert && rows.has(table)) at = inserted(table, from);
      else at = from;
      if (found[4] === undefined) at = stepsOver(source, at);
    }
  }
  return { rows, notes };
}

function spaceEnd(text: string, at: number): number {
  const space = /(?:\s+|--[^\n]*)*/y;
  space.lastIndex = at;
  space.exec(text);
  return Math.max(at, space.lastIndex);
}

function lineEnd(text: string, from: number): number {
  const end = text.indexOf('\n', from);
  return end < 0 ? text.length : end;
}
