/**
 * fields — typed values out of a document's tree, and the words for what is wrong with them.
 *
 * A reader takes one node and gives a value, or reports a problem and gives undefined. A table of readers under dotted
 * names (`thresholds.spam`) reads a whole section, reports unknown keys with the nearest known one, and goes on after
 * each problem, so that all come at once. Nothing here throws.
 */
import type { MapNode, Place, SourceNode } from './document.ts';

/** Takes what is wrong at a place; the message ends in its remedy. Gives undefined, so that it can be returned. */
export type Report = (place: Place, message: string) => undefined;

/**
 * Reads one value; undefined means that a problem has been reported. `expects` completes "write …"; a reader around
 * another one passes its own words down.
 */
export type Reader<T> = {
  readonly expects: string;
  read(node: SourceNode, report: Report, expects?: string): T | undefined;
};

/** Readers under dotted names. */
export type Readers = Readonly<Record<string, Reader<unknown>>>;
export type ValueOf<R> = R extends Reader<infer T> ? T : never;
/** What a table of readers found: the fields that are there and right, each with its node. */
export type Found<R extends Readers> = {
  readonly [K in keyof R]?: { readonly value: ValueOf<R[K]>; readonly node: SourceNode };
};

/** Reads the fields of a section by their dotted names; `prefix` (ending in a dot) is where the section stands. */
export function readFields<R extends Readers>(
  section: SourceNode,
  readers: R,
  report: Report,
  prefix = '',
): Found<R> {
  const found: Record<string, { value: unknown; node: SourceNode }> = Object.create(null);
  readInto(found, section, readers, report, prefix);
  return found as Found<R>;
}

function readInto(
  found: Record<string, { value: unknown; node: SourceNode }>,
  section: SourceNode,
  readers: Readers,
  report: Report,
  prefix: string,
): void {
  const members = Object.keys(readers).filter((name) => name.startsWith(prefix));
  const known = new Set(members.map((name) => name.slice(prefix.length).split('.')[0] ?? ''));
  for (const [key, node] of membersOf(section, [...known], report)) {
    const name = prefix + key;
    const reader = readers[name];
    if (reader === undefined) readInto(found, node, readers, report, `${name}.`);
    else {
      const value = reader.read(node, report);
      if (value !== undefined) found[name] = { value, node };
    }
  }
}

/** The members of a map whose keys are known; others are reported. An empty section (`key:`) has none. */
export function membersOf(
  section: SourceNode,
  known: readonly string[],
  report: Report,
): readonly (readonly [string, SourceNode])[] {
  const map = mapOf(section, `the keys ${known.join(', ')} under it`, report);
  const members: [string, SourceNode][] = [];
  for (const [key, entry] of map?.entries ?? []) {
    if (known.includes(key)) members.push([key, entry.value]);
    else report(entry.key, `unknown key: ${suggestion(key, known)}`);
  }
  return members;
}

/** The node as a map; null where it is empty (nothing stands there) or something else (reported). */
export function mapOf(node: SourceNode, expects: string, report: Report): MapNode | null {
  if (node.kind === 'map') return node;
  if (node.kind !== 'scalar' || !node.empty) report(node, `${foundText(node)}: write ${expects}`);
  return null;
}

/** 'did you mean "spam"?' where a known word is near, else the list of what is known. */
export function suggestion(word: string, known: readonly string[]): string {
  const near = known
    .map((candidate) => ({ candidate, distance: editDistance(word.toLowerCase(), candidate.toLowerCase()) }))
    .filter(({ candidate, distance }) => distance <= Math.max(1, Math.floor(candidate.length / 3)))
    .toSorted((a, b) => a.distance - b.distance)[0];
  return near === undefined ? `known here: ${known.join(', ')}` : `did you mean "${near.candidate}"?`;
}

/** How many letters differ, two swapped ones counting as one; words longer than 100 characters are far from everything. */
function editDistance(a: string, b: string): number {
  if (Math.max(a.length, b.length) > 100) return Number.POSITIVE_INFINITY;
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swap = isSwap ? (before[j - 2] ?? 0) + 1 : replace;
      next.push(Math.min(replace, swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    [before, row] = [row, next];
  }
  return row[b.length] ?? 0;
}

/** What stands at a node, in words, cut to a readable length. */
export function foundText(node: SourceNode): string {
  if (node.kind !== 'scalar') return `found a ${node.kind}`;
  if (node.empty) return 'found nothing';
  const text = JSON.stringify(typeof node.value === 'number' ? String(node.value) : node.value);
  const shown = typeof node.value === 'string' ? text : text.replaceAll('"', '');
  return `found ${shown.length > 60 ? `${shown.slice(0, 60)}…` : shown}`;
}

/** Reports in the reader's own words why a value can't be taken; gives undefined, so that it can be returned. */
export type Refuse = (message: string) => undefined;

/** A reader of one value that is neither list nor map; `accept` gives undefined for what it doesn't take. */
export function scalarField<T>(
  expects: string,
  accept: (value: string | number | boolean | null, refuse: Refuse) => T | undefined,
): Reader<T> {
  return {
    expects,
    read(node, report, said = expects) {
      let told = false;
      const refuse: Refuse = (message) => {
        told = true;
        return report(node, message);
      };
      const value = node.kind === 'scalar' && !node.empty ? accept(node.value, refuse) : undefined;
      if (value === undefined && !told) report(node, `${foundText(node)}: write ${said}`);
      return value;
    },
  };
}

/** One of a few words. */
export function choiceField<const T extends string>(...choices: readonly T[]): Reader<T> {
  const expects = choices.join(', ').replace(/, (?=[^,]*$)/, ' or ');
  return scalarField(expects, (value) => choices.find((choice) => choice === value));
}

/** A finite number in a range, both ends included. */
export function numberField(range: { min: number; max: number; whole?: boolean }): Reader<number> {
  const kind = range.whole === true ? 'a whole number' : 'a number';
  return scalarField(`${kind} from ${range.min} to ${range.max}`, (value) => {
    if (typeof value !== 'number' || !(value >= range.min && value <= range.max)) return undefined;
    return range.whole === true && !Number.isInteger(value) ? undefined : value;
  });
}

/** true or false. */
export const flagField: Reader<boolean> = scalarField('true or false', (value) =>
  typeof value === 'boolean' ? value : undefined,
);

/** Text without control characters, not empty. */
export function textField(expects: string, charactersMax: number): Reader<string> {
  return scalarField(expects, (value, refuse) => {
    if (typeof value !== 'string' || value === '') return undefined;
    if (value.length > charactersMax)
      return refuse(`longer than ${charactersMax} characters: write ${expects}`);
    if (!value.isWellFormed() || /\p{Cc}/u.test(value)) {
      return refuse(`contains control characters: write ${expects}`);
    }
    return value;
  });
}

/** The same reader, but an explicit null is taken too; nothing written at all is not. */
export function nullableField<T>(reader: Reader<T>, meaning: string): Reader<T | null> {
  const expects = `${reader.expects}, or null ${meaning}`;
  return {
    expects,
    read(node, report, said = expects) {
      if (node.kind !== 'scalar' || node.value !== null) return reader.read(node, report, said);
      if (!node.empty) return null;
      return report(node, `${foundText(node)}: write ${said}`);
    },
  };
}

/** A list of values, or one value alone. One wrong member makes the list undefined; all wrong ones are reported. */
export function listField<T>(reader: Reader<T>): Reader<readonly T[]> {
  const expects = `${reader.expects}, or a list of such`;
  return {
    expects,
    read(node, report) {
      if (node.kind === 'map' || (node.kind === 'scalar' && (node.empty || node.value === null))) {
        return report(node, `${foundText(node)}: write ${expects}`);
      }
      const items = node.kind === 'list' ? node.items : [node];
      const values = items.map((item) => reader.read(item, report)).filter((value) => value !== undefined);
      return values.length === items.length ? values : undefined;
    },
  };
}
