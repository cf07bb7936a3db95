/**
 * amavis-settings — which variables and columns of amavisd-new speak of what, read into lookup tables.
 *
 * Hides the names: @spam_kill_level_maps with $sa_kill_level_deflt behind it, policy.spam_kill_level in front of both,
 * the older %spam_lovers and its like. What nothing speaks of stays empty. It never throws.
 */
import { lookUp } from './amavis-lookup.ts';
import type { createTables, Entry, Scope, Table } from './amavis-lookup.ts';
import { sourceText } from './amavis-notes.ts';
import type { Notes, Source } from './amavis-notes.ts';
import { isTrue } from './amavis-senders.ts';
import type { SqlPolicies } from './amavis-sql.ts';
import type { PerlConfig, PerlValue } from './perl-config.ts';

/** What amavisd-new looks up for each recipient. */
export type AmavisField =
  | 'tag'
  | 'tag2'
  | 'kill'
  | 'cutoff'
  | 'dsnCutoff'
  | 'spamQuarantineTo'
  | 'virusQuarantineTo'
  | 'subjectTag'
  | 'modifiesSubject'
  | 'spamLovers'
  | 'virusLovers'
  | 'bypassSpam'
  | 'bypassVirus';

export type Destiny = {
  readonly kind: 'pass' | 'discard' | 'bounce' | 'reject';
  /** Null where nothing that was read says so. */
  readonly source: Source | null;
};

/** What was read of amavisd-new; null where nothing speaks of it. */
export type AmavisSettings = {
  readonly fields: Readonly<Record<AmavisField, readonly Table[]>>;
  readonly destinies: Readonly<Record<'spam' | 'virus' | 'unchecked', Destiny | null>>;
  /** Where the quarantine is switched off for everybody ($spam_quarantine_method). */
  readonly quarantineOff: Readonly<Record<'spam' | 'virus', Source | null>>;
  readonly bypassedEverywhere: Readonly<Record<'spam' | 'virus', boolean>>;
};

/** A value for a field, where it comes from, and whether this very recipient is named there. */
export type Wish<T> = { readonly value: T; readonly comment: string; readonly explicit: boolean };

type Names = {
  /** The map that a site may set whole. */
  readonly maps: string;
  /** What amavisd-new's own map holds. */
  readonly defaults: readonly string[];
  readonly column: string | null;
};

/** The older way: three variables for one question. */
function three(name: string, column: string | null): Names {
  return { maps: `@${name}_maps`, defaults: [`%${name}`, `@${name}_acl`, `$${name}_re`], column };
}

/** Where each field is set. The hashes with level in their name are not amavisd-new's own, but often met. */
export const fieldNames: Readonly<Record<AmavisField, Names>> = {
  tag: level('tag', '$sa_tag_level_deflt'),
  tag2: level('tag2', '$sa_tag2_level_deflt'),
  kill: level('kill', '$sa_kill_level_deflt'),
  cutoff: level('quarantine_cutoff', '$sa_quarantine_cutoff_level'),
  dsnCutoff: level('dsn_cutoff', '$sa_dsn_cutoff_level'),
  spamQuarantineTo: {
    maps: '@spam_quarantine_to_maps',
    defaults: ['$spam_quarantine_to'],
    column: 'spam_quarantine_to',
  },
  virusQuarantineTo: {
    maps: '@virus_quarantine_to_maps',
    defaults: ['$virus_quarantine_to'],
    column: 'virus_quarantine_to',
  },
  subjectTag: {
    maps: '@spam_subject_tag2_maps',
    defaults: ['$sa_spam_subject_tag'],
    column: 'spam_subject_tag2',
  },
  modifiesSubject: {
    maps: '@spam_modifies_subj_maps',
    defaults: ['$sa_spam_modifies_subj'],
    column: 'spam_modifies_subj',
  },
  spamLovers: three('spam_lovers', 'spam_lover'),
  virusLovers: three('virus_lovers', 'virus_lover'),
  bypassSpam: three('bypass_spam_checks', 'bypass_spam_checks'),
  bypassVirus: three('bypass_virus_checks', 'bypass_virus_checks'),
};

function level(name: string, deflt: string): Names {
  return {
    maps: `@spam_${name}_level_maps`,
    defaults: [`%spam_${name}_level_maps`, `%sa_${name}_level_maps`, deflt],
    column: `spam_${name}_level`,
  };
}

/** The tables that a map holds: what the site put into it, else amavisd-new's own. */
export function tablesNamed(
  { maps, defaults }: Pick<Names, 'maps' | 'defaults'>,
  config: PerlConfig,
  make: ReturnType<typeof createTables>,
): readonly Table[] {
  const set = config.variables.get(maps);
  if (set?.kind === 'list') return make.tablesOf(set.items, maps);
  const place = { file: '', line: 0 };
  const references = defaults.map((name): PerlValue => ({ ...place, kind: 'reference', name }));
  return make.tablesOf(set === undefined ? references : [set], maps);
}

/** Everything that is looked up per recipient; rows of SQL are asked first, as amavisd-new does. */
export function readSettings(
  config: PerlConfig,
  sql: SqlPolicies | null,
  make: ReturnType<typeof createTables>,
  isWithoutConfig: boolean,
  notes: Notes,
): AmavisSettings {
  const columns = new Set((sql?.policies ?? []).flatMap((row) => [...row.values.keys()]));
  const entries = Object.entries(fieldNames).map(([field, names]) => {
    const { column } = names;
    const rows = sql !== null && column !== null && columns.has(column) ? [sql.table(column)] : [];
    return [field, [...rows, ...tablesNamed(names, config, make)]];
  });
  const fields = Object.fromEntries(entries) as AmavisSettings['fields'];
  const spam = destinyOf('spam', config, notes);
  return {
    fields,
    destinies: {
      spam: spam ?? (isWithoutConfig ? null : { kind: 'pass', source: null }),
      virus: destinyOf('virus', config, notes),
      unchecked: destinyOf('unchecked', config, notes),
    },
    quarantineOff: { spam: methodOff('spam', config), virus: methodOff('virus', config) },
    bypassedEverywhere: {
      spam: holdsEverywhere(fields.bypassSpam),
      virus: holdsEverywhere(fields.bypassVirus),
    },
  };
}

function destinyOf(kind: string, config: PerlConfig, notes: Notes): Destiny | null {
  const name = `$final_${kind}_destiny`;
  const value = config.variables.get(name);
  if (value === undefined) return null;
  const source = { file: value.file, line: value.line, name };
  const known = {
    D_PASS: 'pass',
    1: 'pass',
    D_DISCARD: 'discard',
    0: 'discard',
    D_BOUNCE: 'bounce',
    D_REJECT: 'reject',
  } as const;
  const word = value.kind === 'text' ? value.text : '';
  const found = Object.entries(known).find(([text]) => text === word)?.[1];
  if (found !== undefined) return { kind: found, source };
  notes.add(
    'lost',
    source,
    `${name}: a destiny that is neither D_PASS, D_DISCARD, D_BOUNCE nor D_REJECT`,
    'set thresholds.quarantine and discard by hand; until then it counts as D_PASS',
  );
  return { kind: 'pass', source };
}

/** Set to nothing, a quarantine method keeps no copies. */
function methodOff(kind: string, config: PerlConfig): Source | null {
  const name = `$${kind}_quarantine_method`;
  const value = config.variables.get(name);
  const isOff = value?.kind === 'undef' || (value?.kind === 'text' && value.text === '');
  return value !== undefined && isOff ? { file: value.file, line: value.line, name } : null;
}

function holdsEverywhere(tables: readonly Table[]): boolean {
  const scopes = new Set(['', ...tables.flatMap((table) => [...table.scopes])]);
  return [...scopes].every((scope) => {
    const entry = lookUp(tables, scope);
    return entry !== undefined && isTrue(entry.value);
  });
}

/** Where the quarantine is off for a recipient; null where it is on. */
export function quarantineOffFor(
  { fields, quarantineOff }: AmavisSettings,
  kind: 'spam' | 'virus',
  scope: Scope,
): Source | null {
  const to = lookUp(fields[kind === 'spam' ? 'spamQuarantineTo' : 'virusQuarantineTo'], scope);
  const isOff =
    to !== undefined && (to.value.kind === 'undef' || (to.value.kind === 'text' && to.value.text === ''));
  return quarantineOff[kind] ?? (isOff ? to.source : null);
}

/** A value as it was found. */
export function wish<T>(value: T, entry: Entry, scope: Scope): Wish<T> {
  return { value, comment: sourceText(entry.source), explicit: entry.scope === scope };
}

/** `$final_spam_destiny is D_PASS`. */
export function destinyText(kind: string, { kind: what, source }: Destiny): string {
  return `$final_${kind}_destiny is ${source === null ? 'not set' : `D_${what.toUpperCase()}`}`;
}
