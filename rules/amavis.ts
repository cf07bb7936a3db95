/**
 * amavis — amavisd-new's configuration and SQL tables as a policies.yaml.
 *
 * Hides the way from tables that are asked in a row to layers of which each field's nearest counts: every scope that
 * anything names is asked as amavisd-new would ask it, and written where it differs from what it would inherit. What comes
 * out has been read back without a problem, for either role. What can't be carried over is noted. Pure and bounded.
 */
import { catalogue } from './amavis-catalogue.ts';
import { createLists, sortedFiles, withLists } from './amavis-lists.ts';
import { chainOf, createTables } from './amavis-lookup.ts';
import type { Scope, Table } from './amavis-lookup.ts';
import { createNotes } from './amavis-notes.ts';
import type { ImportNote, Notes } from './amavis-notes.ts';
import { createPolicies } from './amavis-policy.ts';
import type { Wishes } from './amavis-policy.ts';
import { createSenders } from './amavis-senders.ts';
import type { SenderLists } from './amavis-senders.ts';
import { fieldNames, readSettings, tablesNamed } from './amavis-settings.ts';
import type { Wish } from './amavis-settings.ts';
import { readSqlPolicies } from './amavis-sql.ts';
import type { Base } from './amavis-thresholds.ts';
import { virusAsSpamOf } from './amavis-virus-names.ts';
import { changeDocument, formatProblem } from './document.ts';
import type { SourceText } from './document.ts';
import { readPerl } from './perl-config.ts';
import type { PerlConfig } from './perl-config.ts';
import { headerText, policyDraft } from './policy-draft.ts';
import type { DraftValue } from './policy-draft.ts';
import { parsePolicies } from './policy.ts';

export type { ImportNote, NoteKind } from './amavis-notes.ts';

/** `files`: amavisd.conf, or its parts in order, and the lists that they name; `dumps`: of the SQL tables. */
export type AmavisInput = { readonly files: readonly SourceText[]; readonly dumps: readonly SourceText[] };
/** The text of a policies.yaml; null with the reason where there is more than a policies.yaml can hold. */
export type AmavisImport = {
  readonly text: string | null;
  readonly recipients: number;
  readonly notes: readonly ImportNote[];
};

const scopesMax = 50_000;
const textMax = 16 * 1024 * 1024;
const senderMaps = {
  white: {
    maps: '@whitelist_sender_maps',
    defaults: ['%whitelist_sender', '@whitelist_sender_acl', '$whitelist_sender_re'],
  },
  black: {
    maps: '@blacklist_sender_maps',
    defaults: ['%blacklist_sender', '@blacklist_sender_acl', '$blacklist_sender_re'],
  },
  scores: { maps: '@score_sender_maps', defaults: [] },
  whiteOf: {
    maps: '',
    defaults: ['$per_recip_whitelist_sender_lookup_tables', '%per_recip_whitelist_sender_lookup_tables'],
  },
  blackOf: {
    maps: '',
    defaults: ['$per_recip_blacklist_sender_lookup_tables', '%per_recip_blacklist_sender_lookup_tables'],
  },
} as const;
const virusMap = '@virus_name_to_spam_score_maps';

/** Carries over what can be, over these shipped policies. Throws only where its own text is refused: that is a bug. */
export function importAmavis({ files, dumps }: AmavisInput, shipped: SourceText): AmavisImport {
  const notes = createNotes();
  const { perl, lists } = sortedFiles(files);
  const listFiles = createLists(lists, notes);
  const config = withLists(readPerl(perl), listFiles);
  const sql = dumps.length === 0 ? null : readSqlPolicies(dumps, notes);
  const make = createTables(config, listFiles, notes);
  const settings = readSettings(config, sql, make, perl.length === 0, notes);
  const named = (key: keyof typeof senderMaps) => tablesNamed(senderMaps[key], config, make);
  const senders = createSenders(
    {
      sql,
      white: named('white'),
      black: named('black'),
      whiteOf: named('whiteOf'),
      blackOf: named('blackOf'),
      scores: named('scores'),
      tablesOf: (value, name) =>
        value.kind === 'list' ? make.tablesOf(value.items, name) : make.tablesOf([value], name),
    },
    notes,
  );
  const base = baseOf(shipped);
  const scopes = scopesOf(Object.values(settings.fields).flat(), senders.scopes());
  if (scopes.length > scopesMax) return tooLarge(`more than ${scopesMax} recipients and domains`, notes);
  const wishesFor = createPolicies(settings, base.thresholds, notes);
  const layers = layersOf(scopes, wishesFor, senders.listsFor, base);
  const virusNames = virusAsSpamOf(virusTables(config, make), notes);
  const used = usedNames();
  catalogue(config, sql, settings, used, notes);
  noteSenders(layers, notes);
  const all = notes.all();
  const header = headerText(all, files.length, dumps.length);
  const written = changeDocument({ file: 'policies.yaml', text: header }, policyDraft(layers, virusNames));
  const text = written.text ?? '';
  if (text.length > textMax) return tooLarge('more than 16 MB of policies', notes);
  assertReadable(text, shipped, written.problems.map(formatProblem));
  return { text, recipients: layers.filter(({ scope }) => scope !== '').length, notes: all };
}

/** One scope and what is written for it. */
export type ImportLayer = {
  readonly scope: Scope;
  readonly values: ReadonlyMap<string, DraftValue>;
  readonly lists: Partial<SenderLists>;
};

type BaseOf = { readonly thresholds: Base; readonly values: Readonly<Record<string, unknown>> };

/** The shipped values, which hold where nothing is written. */
function baseOf(shipped: SourceText): BaseOf {
  const [primary, backup] = (['primary', 'backup'] as const).map(
    (role) => parsePolicies(shipped, null, role).policies,
  );
  if (primary === undefined || primary === null)
    throw new TypeError('Cannot import: the shipped policies have problems');
  const values = Object.fromEntries(
    Object.entries(primary.defaults).map(([name, { value }]) => [name, value]),
  );
  const thresholds = Object.fromEntries(
    (['tag', 'spam', 'quarantine', 'discard'] as const).map((name) => {
      const caps = [primary, backup].map((policies) => policies?.caps[`thresholds.${name}`]?.value ?? null);
      const cap = caps.filter((one) => one !== null).toSorted((a, b) => a - b)[0] ?? null;
      return [name, { value: primary.defaults[`thresholds.${name}`].value, cap }];
    }),
  );
  return { thresholds: thresholds as unknown as Base, values };
}

/** Everybody first, then wider before nearer. */
function scopesOf(tables: readonly Table[], more: readonly Scope[]): readonly Scope[] {
  const scopes = new Set(['', ...tables.flatMap((table) => [...table.scopes]), ...more]);
  return [...scopes].toSorted((a, b) => chainOf(a).length - chainOf(b).length || (a < b ? -1 : 1));
}

/** What is written for each scope: what it names itself, and what differs from what it would inherit. */
function layersOf(
  scopes: readonly Scope[],
  wishesFor: (scope: Scope) => Wishes,
  listsFor: (scope: Scope) => SenderLists,
  base: BaseOf,
): readonly ImportLayer[] {
  const known = new Map<Scope, { values: ReadonlyMap<string, unknown>; lists: SenderLists }>();
  const empty: SenderLists = { allow: new Map(), block: new Map(), score: new Map() };
  return scopes.flatMap((scope): ImportLayer[] => {
    const above = chainOf(scope)
      .slice(1)
      .find((one) => known.has(one));
    const inherited = above === undefined ? undefined : known.get(above);
    const [wishes, lists] = [wishesFor(scope), listsFor(scope)];
    const values = new Map<string, DraftValue>();
    const effective = new Map<string, unknown>();
    const names = new Set([...Object.keys(wishes), ...(inherited?.values.keys() ?? [])]);
    for (const name of names) {
      const wish: Wish<unknown> = wishes[name as keyof Wishes] ?? unset(base.values[name]);
      const before = inherited?.values.has(name) === true ? inherited.values.get(name) : base.values[name];
      effective.set(name, wish.value);
      if (wish.explicit || wish.value !== before) values.set(name, wish as DraftValue);
    }
    known.set(scope, { values: effective, lists });
    const differing = differingLists(lists, inherited?.lists ?? empty);
    if (values.size === 0 && Object.keys(differing).length === 0) return [];
    return [{ scope, values, lists: differing }];
  });
}

/** A field that amavisd-new leaves open for this recipient, while something wider sets it. */
function unset(value: unknown): Wish<unknown> {
  return { value, comment: "Sluice's default: nothing is set here", explicit: false };
}

function differingLists(lists: SenderLists, inherited: SenderLists): Partial<SenderLists> {
  if (lists === inherited) return {};
  const textOf = (list: ReadonlyMap<string, unknown>) =>
    Array.from(list, ([key, value]) => `${key} ${(value as { points?: number }).points ?? ''}`)
      .toSorted()
      .join('\n');
  const names = (['allow', 'block', 'score'] as const).filter(
    (name) => textOf(lists[name]) !== textOf(inherited[name]),
  );
  return Object.fromEntries(names.map((name) => [name, lists[name]]));
}

function virusTables(config: PerlConfig, make: ReturnType<typeof createTables>) {
  const map = config.variables.get(virusMap);
  return map === undefined ? [] : (map.kind === 'list' ? map.items : [map]).map(make.resolved);
}

/** Variables whose meaning is carried over or judged one by one. */
function usedNames(): ReadonlySet<string> {
  const maps = [...Object.values(fieldNames), ...Object.values(senderMaps)];
  return new Set([
    virusMap,
    ...maps.flatMap(({ maps: name, defaults }) => [name, ...defaults]),
    '$spam_quarantine_method',
    '$virus_quarantine_method',
  ]);
}

function noteSenders(layers: readonly ImportLayer[], notes: Notes): void {
  const sourceOf = (name: 'allow' | 'block') =>
    layers.flatMap(({ lists }) => [...(lists[name]?.values() ?? [])])[0];
  const [allow, block] = [sourceOf('allow'), sourceOf('block')];
  if (allow !== undefined) {
    notes.add(
      'changed',
      allow,
      'white-listed senders: amavisd-new believed every sender; Sluice asks for SPF_PASS or DKIM_VALID_AU of the domain',
      'nothing; for senders without SPF and DKIM use senders.score with a few points',
    );
  }
  if (block !== undefined) {
    notes.add(
      'changed',
      block,
      'black-listed senders: amavisd-new treated them as spam above every level; Sluice adds 100 points and never discards for that alone',
      'nothing, if that is right',
    );
  }
}

function tooLarge(what: string, notes: Notes): AmavisImport {
  notes.add('lost', null, what, 'import in parts, or write domains instead of addresses');
  return { text: null, recipients: 0, notes: notes.all() };
}

/** What an import prints must load: anything else is a mistake of ours, and nothing is printed. */
function assertReadable(text: string, shipped: SourceText, before: readonly string[]): void {
  const problems = [...before];
  for (const role of ['primary', 'backup'] as const) {
    problems.push(
      ...parsePolicies(shipped, { file: 'policies.yaml', text }, role).problems.map(formatProblem),
    );
  }
  if (problems.length > 0)
    throw new TypeError(
      `Cannot import: a bug of Sluice: its own text is refused: ${problems.slice(0, 3).join('; ')}`,
    );
}
