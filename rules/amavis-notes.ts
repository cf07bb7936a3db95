/**
 * amavis-notes — what an import has to say to the administrator: each thing once, with its place and what to do by hand.
 *
 * `lost`: can't be carried over. `changed`: carried over with another effect. `never`: what Sluice does not do at all, once
 * for each kind. `elsewhere`: belongs into sluice.yaml. `told`: good to know. It never throws; thousands of notes of one
 * kind are cut off and counted.
 */
import type { PerlPlace } from './perl-cursor.ts';

export type NoteKind = 'lost' | 'changed' | 'never' | 'elsewhere' | 'told';
/** What stands where, and the remedy: what to do by hand. */
export type ImportNote = {
  readonly kind: NoteKind;
  readonly file: string | null;
  readonly line: number | null;
  readonly what: string;
  readonly remedy: string;
};
/** Where a value comes from: file, line, and its name there. */
export type Source = PerlPlace & { readonly name: string };

export type Notes = {
  add(kind: NoteKind, place: PerlPlace | null, what: string, remedy: string): void;
  /** In the order of kinds, and in that of files and lines. */
  all(): readonly ImportNote[];
};

const notesMax = 1000;
const kinds: readonly NoteKind[] = ['lost', 'changed', 'never', 'elsewhere', 'told'];

/** A collector without notes. */
export function createNotes(): Notes {
  const notes = new Map<string, ImportNote>();
  const counts = new Map<NoteKind, number>();

  function add(kind: NoteKind, place: PerlPlace | null, what: string, remedy: string): void {
    const note = {
      kind,
      file: place?.file ?? null,
      line: place?.line ?? null,
      what: plain(what),
      remedy: plain(remedy),
    };
    const key = JSON.stringify(note);
    if (notes.has(key)) return;
    const count = (counts.get(kind) ?? 0) + 1;
    counts.set(kind, count);
    if (count <= notesMax) notes.set(key, note);
  }

  function all(): readonly ImportNote[] {
    const more = kinds.flatMap((kind): ImportNote[] => {
      const count = (counts.get(kind) ?? 0) - notesMax;
      if (count <= 0) return [];
      return [
        {
          kind,
          file: null,
          line: null,
          what: `and ${count} more like these`,
          remedy: 'mend those above, then import again',
        },
      ];
    });
    return [...notes.values(), ...more].toSorted((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind));
  }

  return { add, all };
}

/** `20-debian_defaults:38 $sa_kill_level_deflt`: where a value comes from, in one line. */
export function sourceText({ file, line, name }: Source): string {
  return plain(`${file}:${line} ${name}`);
}

/** A stranger's text as it may stand in a line: no control characters, not endless. */
export function plain(text: string): string {
  const line = text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, '?');
  return line.length > 300 ? `${line.slice(0, 300)}…` : line;
}
