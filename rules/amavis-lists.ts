/**
 * amavis-lists — the files that read_hash and read_array of amavisd.conf name: one address a line, perhaps with a value.
 *
 * An import opens no file that a configuration names: the administrator gives them along with it, and they are found by
 * path, else by their last part. One that is missing is noted. Nothing here throws.
 */
import type { ListFiles } from './amavis-lookup.ts';
import type { Notes } from './amavis-notes.ts';
import type { SourceText } from './document.ts';
import type { PerlConfig, PerlEntry, PerlValue } from './perl-config.ts';

/** The texts in Perl, and the lists that they name among the others. */
export function sortedFiles(files: readonly SourceText[]): {
  perl: readonly SourceText[];
  lists: readonly SourceText[];
} {
  const named = new Set<string>();
  for (const { text } of files) {
    for (const [, path = ''] of text.matchAll(
      /\bread_(?:hash|array)\s*\(\s*(?:[^()'"\n]*,)?\s*['"]([^'"\n]{1,1000})['"]/g,
    )) {
      named.add(lastPart(path));
    }
  }
  const isList = ({ file }: SourceText) => named.has(lastPart(file));
  return { perl: files.filter((file) => !isList(file)), lists: files.filter(isList) };
}

/** Finds the lists that calls of read_hash and read_array name. */
export function createLists(lists: readonly SourceText[], notes: Notes): ListFiles {
  const read = new Map<string, PerlValue>();
  return (call, into) => {
    const path = call.kind === 'call' ? call.items.findLast((item) => item.kind === 'text') : undefined;
    const name = path?.kind === 'text' ? path.text : '';
    const source =
      lists.find(({ file }) => file === name) ?? lists.find(({ file }) => lastPart(file) === lastPart(name));
    if (name === '' || source === undefined) {
      const what =
        name === ''
          ? `${call.kind === 'call' ? call.name : 'a list'} of a file whose name only Perl knows`
          : `the list in ${name}`;
      notes.add('lost', call, what, 'name that file on the command line too');
      return undefined;
    }
    const key = `${into} ${source.file}`;
    const value = read.get(key) ?? (into === 'hash' ? hashOf(source) : listOf(source));
    read.set(key, value);
    return value;
  };
}

/** The variables with what `read_hash(\%name, 'file')` adds to them. */
export function withLists(config: PerlConfig, lists: ListFiles): PerlConfig {
  const variables = new Map(config.variables);
  for (const call of config.calls) {
    const [target] = call.items;
    if (!/^read_(?:hash|array)$/.test(call.name) || target?.kind !== 'reference') continue;
    const added = lists(call, call.name === 'read_hash' ? 'hash' : 'list');
    const before = variables.get(target.name);
    if (added?.kind === 'hash' && before?.kind === 'hash') {
      variables.set(target.name, { ...before, entries: [...before.entries, ...added.entries] });
    } else if (added?.kind === 'list' && before?.kind === 'list') {
      variables.set(target.name, { ...before, items: [...before.items, ...added.items] });
    } else if (added !== undefined) variables.set(target.name, added);
  }
  return { ...config, variables };
}

function hashOf({ file, text }: SourceText): PerlValue {
  const entries = fieldsOf(text).map(([line, key, value]): PerlEntry => {
    const place = { file, line };
    return { ...place, key, value: { ...place, kind: 'text', text: value === '' ? '1' : value } };
  });
  return { file, line: 1, kind: 'hash', entries };
}

function listOf({ file, text }: SourceText): PerlValue {
  const items = fieldsOf(text).map(([line, key, value]): PerlValue => {
    return { file, line, kind: 'text', text: value === '' ? key : `${key} ${value}` };
  });
  return { file, line: 1, kind: 'list', items };
}

/** Line, address and value of each line that is neither empty nor a comment; a # inside "…" is none. */
function fieldsOf(text: string): readonly (readonly [number, string, string])[] {
  return text.split('\n').flatMap((line, at) => {
    const pieces = line.slice(0, 2000).match(/"(?:\\.|[^"\\])*"|[^#"\s]+|\s+|#.*|"/g) ?? [];
    const kept = pieces.filter((piece) => !piece.startsWith('#')).join('');
    const [, key = '', value = ''] = /^\s*((?:"(?:\\.|[^"\\])*"|\S)*)\s*(.*?)\s*$/.exec(kept) ?? [];
    return key === '' ? [] : [[at + 1, key, value] as const];
  });
}

function lastPart(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
