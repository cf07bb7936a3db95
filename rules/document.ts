/**
 * document — YAML in and out: a text becomes a tree of values that know where they stand, and a text can be changed with
 * its comments kept. The one owner of `yaml`.
 *
 * Hides the library and what YAML can do that a configuration must not: duplicate keys, keys like `__proto__`, tags,
 * documents that expand without end through aliases. It never throws: what is wrong comes back as problems, each with
 * file, line, column and a remedy. Aliases themselves are welcome, within a bound.
 */
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  Pair,
  parseDocument as parseYaml,
  Scalar,
  YAMLMap,
  YAMLSeq,
} from 'yaml';
import type { Document, Node } from 'yaml';

/** A text and the name under which problems speak of it. */
export type SourceText = { readonly file: string; readonly text: string };

/** Where something stands: `path` like `default.thresholds.spam`; line and column from 1, null outside a file. */
export type Place = {
  readonly file: string;
  readonly line: number | null;
  readonly column: number | null;
  readonly path: string;
};

/** What is wrong at a place, in words that end in the remedy. */
export type Problem = Place & { readonly message: string };

export type ScalarNode = Place & {
  readonly kind: 'scalar';
  readonly value: string | number | boolean | null;
  /** True where nothing at all was written (`key:`), which is not the same as an explicit null. */
  readonly empty: boolean;
};
export type ListNode = Place & { readonly kind: 'list'; readonly items: readonly SourceNode[] };
/** One `key: value`; the place of the key is kept for what is wrong with the key itself. */
export type SourceEntry = { readonly key: Place; readonly value: SourceNode };
export type MapNode = Place & { readonly kind: 'map'; readonly entries: ReadonlyMap<string, SourceEntry> };
export type SourceNode = ScalarNode | ListNode | MapNode;

/** A value to be written, with a comment: behind a single value, in front of a list or map. */
export type Draft = { readonly comment?: string } & (
  | { readonly kind: 'scalar'; readonly value: string | number | boolean | null }
  | { readonly kind: 'list'; readonly items: readonly Draft[] }
  | { readonly kind: 'map'; readonly entries: readonly (readonly [key: string, draft: Draft])[] }
);
/** What stands under these keys from now on; null takes it away. No keys at all: the whole document. */
export type Change = { readonly path: readonly string[]; readonly draft: Draft | null };

const textCharactersMax = 16 * 1024 * 1024;
const depthMax = 40;
const aliasNodesMax = 10_000;
const refusedKeys: readonly string[] = ['__proto__', 'constructor', 'prototype'];

/** No map of a document may hold this key: it names a part of every JavaScript object. */
export function isRefusedKey(key: string): boolean {
  return refusedKeys.includes(key);
}

/** The tree of a YAML 1.2 text (core schema), or every problem; an empty text is an empty map. Never throws. */
export function parseDocument(
  text: string,
  file: string,
): { root: SourceNode | null; problems: readonly Problem[] } {
  const nowhere: Place = { file, line: null, column: null, path: '' };
  if (text.length > textCharactersMax) {
    return { root: null, problems: [{ ...nowhere, message: 'longer than 16 MB: make it shorter' }] };
  }
  const lines = new LineCounter();
  try {
    const document = parseText(text, lines);
    const syntax = syntaxProblems(document, file, lines);
    if (syntax.length > 0) return { root: null, problems: syntax };
    const walk = createWalk(file, lines);
    const root = walk.node(document.contents, nowhere, 0);
    return walk.problems.length > 0 ? { root: null, problems: walk.problems } : { root, problems: [] };
  } catch (error) {
    // The library recurses: an absurdly deep text ends in a RangeError.
    return { root: null, problems: [{ ...nowhere, message: `cannot be read as YAML: ${String(error)}` }] };
  }
}

/**
 * The text with these changes made, in order; comments, order and spelling of everything else stay. A text that can't be
 * read, or a path through something that is no map, comes back as problems.
 */
export function changeDocument(
  { file, text }: SourceText,
  changes: readonly Change[],
): { text: string | null; problems: readonly Problem[] } {
  const { problems } = parseDocument(text, file);
  if (problems.length > 0) return { text: null, problems };
  const document = parseText(text, new LineCounter()) as unknown as Document<Node, false>;
  for (const { path, draft } of changes) {
    try {
      change(document, path, draft);
    } catch (error) {
      const message = `cannot be written: ${error instanceof Error ? error.message : String(error)}: make it a map`;
      return { text: null, problems: [{ file, line: null, column: null, path: path.join('.'), message }] };
    }
  }
  if (document.contents === null) return { text, problems };
  // Never folded: a pattern or a comment stays on its line.
  return { text: document.toString({ lineWidth: 0 }), problems };
}

function change(document: Document<Node, false>, path: readonly string[], draft: Draft | null): void {
  if (draft === null) return void document.deleteIn(path);
  if (path.length === 0) {
    document.contents = nodeOf(draft);
    return;
  }
  // A section that was left empty (`recipients:`) takes members all the same.
  for (let length = 1; length < path.length; length++) {
    const above = document.getIn(path.slice(0, length), true);
    if (isScalar(above) && above.value === null) document.setIn(path.slice(0, length), new YAMLMap());
  }
  // A bare value goes into the node that is there, whose comment stays.
  const isBare = draft.kind === 'scalar' && draft.comment === undefined;
  document.setIn(path, isBare ? draft.value : nodeOf(draft));
}

function parseText(text: string, lineCounter: LineCounter) {
  return parseYaml(text, {
    lineCounter,
    prettyErrors: false,
    // It compares every pair of keys, which is slow for 10,000 recipients: the walk below has a map for it.
    uniqueKeys: false,
    schema: 'core',
    resolveKnownTags: false,
  });
}

function nodeOf(draft: Draft): Node {
  const comment = draft.comment === undefined ? undefined : commentText(draft.comment);
  if (draft.kind === 'scalar') {
    const scalar = new Scalar(draft.value);
    if (comment !== undefined) scalar.comment = comment;
    return scalar;
  }
  const collection = draft.kind === 'list' ? listOf(draft.items) : mapOf(draft.entries);
  if (comment !== undefined) collection.commentBefore = comment;
  return collection;
}

function listOf(items: readonly Draft[]): YAMLSeq<Node> {
  const list = new YAMLSeq<Node>();
  list.items = items.map(nodeOf);
  return list;
}

function mapOf(entries: readonly (readonly [string, Draft])[]): YAMLMap<Node, Node> {
  const map = new YAMLMap<Node, Node>();
  // Not `add`: it compares each key with all that are there.
  map.items = entries.map(([key, draft]) => new Pair<Node, Node>(new Scalar(key), nodeOf(draft)));
  return map;
}

/** A comment that can't end before its line does, whatever it quotes. */
function commentText(comment: string): string {
  const lines = comment.split('\n').map((line) => line.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, '?'));
  return lines.map((line) => ` ${line}`.trimEnd()).join('\n');
}

/** A problem as one line: `policies.yaml:12:5: default.thresholds.spam: found "x": write a number`. */
export function formatProblem(problem: Problem): string {
  const position = problem.line === null ? '' : `:${problem.line}:${problem.column ?? 1}`;
  const path = problem.path === '' ? '' : `${problem.path}: `;
  return `${problem.file}${position}: ${path}${problem.message}`;
}

/** Problems in the order in which a file is read; those without a line come last. */
export function inReadingOrder(problems: readonly Problem[]): readonly Problem[] {
  const at = (problem: Problem) => (problem.line ?? Number.MAX_SAFE_INTEGER) * 1e4 + (problem.column ?? 0);
  return problems.toSorted((a, b) => (a.file === b.file ? at(a) - at(b) : 0));
}

/** The path of a member: dotted, a key that is no plain word in quotes. */
export function memberPath(path: string, key: string): string {
  const word = /^[\w-]+$/.test(key) ? key : JSON.stringify(key);
  return path === '' ? word : `${path}.${word}`;
}

const remedies: Readonly<Record<string, string>> = {
  BAD_SCALAR_START: 'put the value in quotes',
  BAD_ALIAS: 'put the value in quotes if it is meant to begin with *',
  TAB_AS_INDENT: 'indent with spaces',
  MULTIPLE_DOCS: 'keep one document in the file, without a second ---',
  TAG_RESOLVE_FAILED: 'remove the tag, or put the value in quotes',
  BLOCK_AS_IMPLICIT_KEY: 'check the indentation, or put a value that contains ": " in quotes',
  MISSING_CHAR: 'add what is missing, or put the value in quotes',
  BAD_DQ_ESCAPE: 'write \\\\ for a backslash, or use single quotes',
  UNEXPECTED_TOKEN: 'put the value in quotes if it is meant to begin with [ or {',
};

/** Errors and warnings of the parser, one a line: what follows the first on a line is its echo. */
function syntaxProblems(document: Document, file: string, lines: LineCounter): readonly Problem[] {
  const byLine = new Map<number, Problem>();
  for (const error of [...document.errors, ...document.warnings]) {
    const { line, col } = lines.linePos(error.pos[0]);
    const remedy = remedies[error.code] ?? 'correct the YAML here';
    const message = `${error.message}: ${remedy}`;
    if (!byLine.has(line)) byLine.set(line, { file, line, column: col, path: '', message });
  }
  return [...byLine.values()].toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0));
}

/** The walk from the library's tree to ours; it remembers anchors, and counts what aliases bring in. */
function createWalk(file: string, lines: LineCounter) {
  const problems: Problem[] = [];
  const anchors = new Map<string, Node>();
  const open = new Set<Node>();
  let aliasDepth = 0;
  let aliasNodes = 0;

  function placeOf(offset: number | undefined, path: string): Place {
    if (offset === undefined) return { file, line: null, column: null, path };
    const { line, col } = lines.linePos(offset);
    return { file, line, column: col, path };
  }

  function refuse(place: Place, message: string): SourceNode {
    problems.push({ ...place, message });
    return { ...place, kind: 'scalar', value: null, empty: true };
  }

  function node(source: Node | null, parent: Place, depth: number): SourceNode {
    if (source === null) return { ...parent, kind: 'scalar', value: null, empty: true };
    const place = placeOf(source.range?.[0], parent.path);
    if (depth > depthMax) return refuse(place, `nested deeper than ${depthMax} levels: make it flat`);
    if (aliasDepth > 0 && ++aliasNodes > aliasNodesMax) {
      // Said once: every further node of an alias bomb would say it again.
      if (aliasNodes > aliasNodesMax + 1) return { ...place, kind: 'scalar', value: null, empty: true };
      return refuse(place, `aliases expand to more than ${aliasNodesMax} values: write them out`);
    }
    if (isAlias(source)) return aliased(source.source, place, depth);
    if ('anchor' in source && source.anchor !== undefined) anchors.set(source.anchor, source);
    if (isScalar(source)) return scalar(source.value, source.source ?? '', place);
    open.add(source);
    try {
      if (isSeq<Node>(source)) {
        const items = source.items.map((item, at) =>
          node(item, { ...place, path: `${place.path}[${at}]` }, depth + 1),
        );
        return { ...place, kind: 'list', items };
      }
      if (isMap<Node, Node | null>(source)) return map(source.items, place, depth);
    } finally {
      open.delete(source);
    }
    return refuse(place, 'neither value, list nor map: write one of them');
  }

  function aliased(name: string, place: Place, depth: number): SourceNode {
    const target = anchors.get(name);
    const quotes = `put the value in quotes if it is meant to begin with *`;
    if (target === undefined) return refuse(place, `unknown alias *${name}: ${quotes}`);
    if (open.has(target)) return refuse(place, `alias *${name} contains itself: write the value out`);
    if (aliasNodes > aliasNodesMax) return { ...place, kind: 'scalar', value: null, empty: true };
    aliasDepth++;
    const value = node(target, place, depth + 1);
    aliasDepth--;
    return value;
  }

  function scalar(value: unknown, text: string, place: Place): SourceNode {
    if (value === null) return { ...place, kind: 'scalar', value, empty: text === '' };
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') {
      return { ...place, kind: 'scalar', value, empty: false };
    }
    return refuse(place, 'a value of a kind that has no place here: put it in quotes');
  }

  function map(pairs: readonly Pair<Node, Node | null>[], place: Place, depth: number): SourceNode {
    const entries = new Map<string, SourceEntry>();
    for (const pair of pairs) {
      const name = isScalar(pair.key) ? keyText(pair.key.value, pair.key.source) : null;
      const keyPlace = placeOf(
        pair.key.range?.[0],
        name === null ? place.path : memberPath(place.path, name),
      );
      const before = name === null ? undefined : entries.get(name);
      if (name === null || name === '')
        refuse(keyPlace, 'a key must be a plain word: write one, or quote it');
      else if (isRefusedKey(name)) refuse(keyPlace, `the key ${name} is not allowed: remove it`);
      else if (before !== undefined) {
        refuse(keyPlace, `stands twice, first in line ${before.key.line}: remove one of the two`);
      } else entries.set(name, { key: keyPlace, value: node(pair.value, keyPlace, depth + 1) });
    }
    return { ...place, kind: 'map', entries };
  }

  return { node, problems };
}

/** A key as it was written: `0x10` and `null` are names here, not a number and a nothing. */
function keyText(value: unknown, source: string | undefined): string {
  return typeof value === 'string' ? value : (source ?? '');
}
