/**
 * table — rows as columns of text, for people at a terminal.
 *
 * What comes from mail is hostile: control characters (escape sequences for the terminal among them) become '?'. A row
 * that is wider than the terminal goes on in the next line; only what may be cut is cut. Without bounds it is one line.
 */
import { cut, fill, widthOf } from './fill.ts';

export type Layout = {
  /** How wide a line may be. */
  readonly columns?: number;
  /** Names of columns whose text may be cut to make a row fit. */
  readonly cut?: readonly string[];
  /** Whether the last column is broken into lines under each other, instead of all that. */
  readonly wrapsLast?: boolean;
};

type Column = { readonly at: number; readonly width: number; readonly isCut: boolean };

/** No column is cut to less than this. */
const leastColumns = 20;
const gap = '  ';

/** Columns as wide as their widest cell, two blanks between; no line ends in blanks. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  { columns = Number.POSITIVE_INFINITY, cut: cuttable = [], wrapsLast = false }: Layout = {},
): string {
  const all = [head, ...rows].map((row) => row.map(printable));
  const natural = head.map((name, at) => ({
    at,
    // No spread: a call takes no hundred thousand arguments.
    width: all.reduce((most, row) => Math.max(most, widthOf(row[at] ?? '')), 0),
    isCut: cuttable.includes(name),
  }));
  const lines = widthOfAll(natural) <= columns ? [natural] : wrapsLast ? null : fold(natural, columns);
  if (lines === null) return all.flatMap((row) => wrapped(row, natural, columns)).join('\n');
  return all.flatMap((row) => lines.map((line, at) => (at === 0 ? '' : gap) + joined(row, line))).join('\n');
}

/** One line of a row. */
function joined(row: readonly string[], line: readonly Column[]): string {
  const cells = line.map(({ at, width }) => {
    const text = cut(row[at] ?? '', width);
    return text + ' '.repeat(Math.max(0, width - widthOf(text)));
  });
  return cells.join(gap).trimEnd();
}

/** Which columns stand in which line, the same for every row; each line but the first begins with a gap. */
function fold(all: readonly Column[], columns: number): Column[][] {
  const lines: Column[][] = [];
  for (const column of all) {
    const line = lines.at(-1);
    const bounds = columns - (lines.length > 1 ? gap.length : 0);
    if (line !== undefined && widthOfAll([...line, column].map(shortest)) <= bounds) line.push(column);
    else lines.push([column]);
  }
  return lines.map((line, at) => shrink(line, columns - (at === 0 ? 0 : gap.length)));
}

/** Takes from the widest that may be cut until the line fits. */
function shrink(line: readonly Column[], columns: number): Column[] {
  const excess = widthOfAll(line) - columns;
  const widest = line.filter(({ isCut, width }) => isCut && width > leastColumns);
  const most = Math.max(...widest.map(({ width }) => width));
  if (excess <= 0 || widest.length === 0) return [...line];
  return shrink(
    line.map((one) => (widest.includes(one) && one.width === most ? { ...one, width: most - 1 } : one)),
    columns,
  );
}

function shortest(column: Column): Column {
  return column.isCut ? { ...column, width: Math.min(column.width, leastColumns) } : column;
}

function widthOfAll(line: readonly Column[]): number {
  return line.reduce((sum, { width }) => sum + width + gap.length, -gap.length);
}

function wrapped(row: readonly string[], all: readonly Column[], columns: number): string[] {
  const left = all.slice(0, -1);
  const column = widthOfAll(left) + gap.length;
  const lines = fill(row.at(-1) ?? '', Math.max(leastColumns, columns - column));
  return lines.map((line, at) => {
    const cells = at === 0 ? joined(row, left) : '';
    return (cells + ' '.repeat(Math.max(0, column - widthOf(cells))) + line).trimEnd();
  });
}

/** Text without anything that a terminal would act on. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, '?');
}

/** Epoch milliseconds as local time, to the second. */
export function localTime(at: number): string {
  const date = new Date(at);
  const two = (number: number): string => String(number).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}
