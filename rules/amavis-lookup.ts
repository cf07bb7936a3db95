/**
 * amavis-lookup — amavisd-new's lookup tables, asked with the keys of policies.yaml.
 *
 * Hides hashes, access lists with `!`, regular expressions and constants behind one question: what does this table say of
 * this scope? A scope is a recipient (or sender) as policies.yaml writes it: an address, `domain`, `.domain` for every
 * subdomain, and here '' for everybody. amavisd-new's `.domain` speaks of the domain too: it becomes two scopes.
 * README.lookups of amavisd-new 2.13 has the rules. Nothing here throws.
 */
import { plain } from './amavis-notes.ts';
import type { Notes, Source } from './amavis-notes.ts';
import type { PerlConfig, PerlPlace, PerlValue } from './perl-config.ts';
import { isRefusedKey } from './document.ts';
import { recipientKey } from './policy-fields.ts';
import { lookupKeysOf } from './recipient.ts';
import { wildcardsOf } from './regexp-wildcards.ts';

export type Scope = string;
/** What a table says: the value, where it stands, and the scope under which it was found. */
export type Entry = { readonly value: PerlValue; readonly source: Source; readonly scope: Scope };
export type Table = {
  /** The one entry that counts for a scope, given with everything that covers it, nearest first. */
  find(chain: readonly Scope[]): Entry | undefined;
  /** Every entry that speaks of the scope: score_sender_maps adds them up. */
  findAll(chain: readonly Scope[]): readonly Entry[];
  readonly scopes: readonly Scope[];
};

/** Everything that covers a scope, itself first: `u@d.example` → `u@d.example`, `d.example`, `.example`, ''. */
export function chainOf(scope: Scope): readonly Scope[] {
  return scope === '' ? [''] : [...lookupKeysOf(scope), ''];
}

/** The first table that knows: a value, an explicit undef (amavisd-new then asks the next one), or undefined for neither. */
export function lookUp(tables: readonly Table[], scope: Scope): Entry | undefined {
  const chain = chainOf(scope);
  let off: Entry | undefined;
  for (const table of tables) {
    const entry = table.find(chain);
    if (entry !== undefined && entry.value.kind !== 'undef') return entry;
    off ??= entry;
  }
  return off;
}

/** A table in which the nearest key counts: a hash. */
export function nearestTable(entries: ReadonlyMap<Scope, readonly Entry[]>): Table {
  const findAll = (chain: readonly Scope[]) => chain.flatMap((scope) => entries.get(scope) ?? []);
  return { find: (chain) => findAll(chain)[0], findAll, scopes: [...entries.keys()] };
}

/** A table in which the first entry that fits counts: an access list, regular expressions. */
export function firstTable(entries: readonly Entry[]): Table {
  const first = new Map<Scope, number>();
  for (const [at, { scope }] of entries.entries()) if (!first.has(scope)) first.set(scope, at);
  const find = (chain: readonly Scope[]): Entry | undefined => {
    const places = chain.map((scope) => first.get(scope)).filter((at) => at !== undefined);
    return places.length === 0 ? undefined : entries[Math.min(...places)];
  };
  return {
    find,
    findAll: (chain) => [find(chain)].filter((entry) => entry !== undefined),
    scopes: [...first.keys()],
  };
}

/** The scopes of which a key of amavisd-new speaks; or why policies.yaml can't say it. */
export function scopesOfKey(written: string): { scopes: readonly Scope[] } | { lost: string } {
  const key = written.trim();
  if (key === '.') return { scopes: [''] };
  if (key === '' || key === '@') return { lost: 'the null sender <>' };
  if (key.endsWith('@')) return { lost: `"${plain(key)}", one mailbox name in every domain` };
  let refusal = '';
  const refuse = (message: string): undefined => {
    refusal = message;
  };
  const scope = recipientKey(key, refuse);
  if (scope === undefined) return { lost: `"${plain(key)}" (${refusal})` };
  if (isRefusedKey(scope.replace(/^\./, '')))
    return { lost: `"${plain(key)}" (a name that policies.yaml can't hold)` };
  return { scopes: scope.startsWith('.') ? [scope.slice(1), scope] : [scope] };
}

/** The scopes of which a regular expression over addresses speaks, as far as that can be said with keys. */
function scopesOfRegexp(pattern: string, flags: string): { scopes: readonly Scope[]; exact: boolean } {
  const { patterns, exact } = wildcardsOf(pattern.replace(/^\(\?i\)/, ''), flags, 'within');
  const scopes = patterns.flatMap((wildcard): readonly Scope[] => {
    if (wildcard === '*') return [''];
    // A dot without its backslash is meant as a dot.
    const literal = wildcard.toLowerCase().replaceAll('?', '.');
    const domain = /^\*([@.]?)([^*@]+\.[^*@]+|[^*@.]+)$/.exec(literal);
    if (domain === null) return literal.includes('*') || !literal.includes('@') ? [] : keyScopes(literal);
    const [, sign, name = ''] = domain;
    if (sign === '@') return keyScopes(name);
    // Without an anchor before the name: the domain and what is below it, but not what merely ends alike.
    const all = keyScopes(`.${name}`);
    return sign === '.' ? all.filter((scope) => scope.startsWith('.')) : name.includes('.') ? all : [];
  });
  return { scopes: [...new Set(scopes)], exact: exact && scopes.length >= patterns.length };
}

function keyScopes(key: string): readonly Scope[] {
  const found = scopesOfKey(key);
  return 'scopes' in found ? found.scopes : [];
}

/** How lists that lie in files of their own are found: read_hash and read_array name them. */
export type ListFiles = (name: PerlValue, into: 'hash' | 'list') => PerlValue | undefined;

/** Makes tables of what a configuration holds; what can't be said is noted with its line. */
export function createTables(config: PerlConfig, lists: ListFiles, notes: Notes) {
  /** Values behind a name, or in place; references are looked up once, as amavisd-new does. */
  function resolved(value: PerlValue): PerlValue {
    const target = value.kind === 'reference' ? config.variables.get(value.name) : value;
    if (target === undefined) return { file: value.file, line: value.line, kind: 'undef' };
    if (target.kind !== 'call' || !/^read_(?:hash|array)$/.test(target.name)) return target;
    return (
      lists(target, target.name === 'read_hash' ? 'hash' : 'list') ?? {
        ...target,
        kind: 'unknown',
        text: 'a file',
      }
    );
  }

  /** The tables of a list like @spam_kill_level_maps. */
  function tablesOf(items: readonly PerlValue[], name: string): readonly Table[] {
    return items.flatMap((item) => {
      const value = resolved(item);
      const known = item.kind === 'reference' ? item.name : name;
      return tableOf(value, known) ?? [];
    });
  }

  function tableOf(value: PerlValue, name: string): Table | undefined {
    switch (value.kind) {
      case 'text': {
        const entry = { value, source: { file: value.file, line: value.line, name }, scope: '' };
        return nearestTable(new Map([['', [entry]]]));
      }
      case 'hash':
        return hashTable(value, name);
      case 'list':
        return firstTable(value.items.flatMap((item) => aclEntries(item, name)));
      case 'call':
        if (value.name === 'new_RE')
          return firstTable(value.items.flatMap((item) => regexpEntries(item, name)));
        return lost(value, name, `${name} calls ${value.name}()`);
      case 'undef':
        // A variable that is not set is no table; one that is undef answers nothing to everybody.
        return config.variables.has(name) ? undefTable(value, name) : undefined;
      case 'regexp':
      case 'reference':
      case 'unknown':
        return lost(value, name, `${name}: ${value.kind === 'unknown' ? value.text : `a ${value.kind}`}`);
      default:
        return assertNever(value);
    }
  }

  function undefTable(value: PerlValue, name: string): Table {
    const { file, line } = config.variables.get(name) ?? value;
    return nearestTable(new Map([['', [{ value, source: { file, line, name }, scope: '' }]]]));
  }

  function hashTable(value: PerlValue & { kind: 'hash' }, name: string): Table {
    const near = new Map<Scope, Entry>();
    const wide = new Map<Scope, Entry>();
    for (const { key, value: member, file, line } of value.entries) {
      const found = key === null ? { lost: 'a key that only Perl knows' } : scopesOfKey(key);
      const source = { file, line, name };
      if ('lost' in found) lost(source, name, `${name}: ${found.lost}`);
      else if (member.kind === 'unknown')
        lost(source, name, `${name}: "${plain(key ?? '')}" => ${member.text}`);
      else
        for (const scope of found.scopes)
          (found.scopes[0] === scope && found.scopes.length > 1 ? wide : near).set(scope, {
            value: member,
            source,
            scope,
          });
    }
    // Of example.com speak both example.com, which is nearer, and `.example.com`.
    const scopes = new Set([...near.keys(), ...wide.keys()]);
    const entriesFor = (scope: Scope) =>
      [near.get(scope), wide.get(scope)].filter((entry) => entry !== undefined);
    return nearestTable(new Map(Array.from(scopes, (scope) => [scope, entriesFor(scope)])));
  }

  /** An access list: keys, `!` before those that are meant not to match. */
  function aclEntries(item: PerlValue, name: string): readonly Entry[] {
    const source = { file: item.file, line: item.line, name };
    const match = item.kind === 'text' ? /^(!*)(.*)$/s.exec(item.text) : null;
    const found = match === null ? { lost: describe(item) } : scopesOfKey(match[2] ?? '');
    if ('lost' in found) {
      lost(source, name, `${name}: ${found.lost}`);
      return [];
    }
    const text = (match?.[1]?.length ?? 0) % 2 === 0 ? '1' : '0';
    return found.scopes.map((scope) => ({
      value: { file: item.file, line: item.line, kind: 'text', text },
      source,
      scope,
    }));
  }

  /** new_RE: expressions, or pairs of one and its value. */
  function regexpEntries(item: PerlValue, name: string): readonly Entry[] {
    const source = { file: item.file, line: item.line, name };
    const pair = item.kind === 'list' ? item.items : [item];
    const [regexp, value = { ...source, kind: 'text', text: '1' } as const] = pair;
    if (regexp?.kind !== 'regexp') {
      lost(source, name, `${name}: ${describe(item)} in new_RE`);
      return [];
    }
    const { scopes, exact } = scopesOfRegexp(regexp.pattern, regexp.flags.replace('i', ''));
    const text = `${name}: the regular expression ${plain(regexp.pattern)}`;
    if (scopes.length === 0) notes.add('lost', source, text, regexpRemedy(name));
    else if (!exact)
      notes.add(
        'changed',
        source,
        `${text}: only ${scopes.map(shownScope).join(', ')}`,
        'add what is missing as an address, a domain or .domain',
      );
    return scopes.map((scope) => ({ value, source, scope }));
  }

  function lost(place: PerlPlace, name: string, what: string): undefined {
    notes.add('lost', place, what, remedyFor(name));
  }

  return { tablesOf, tableOf, resolved };
}

/** A scope in words. */
export function shownScope(scope: Scope): string {
  return scope === '' ? 'everybody' : scope;
}

function describe(value: PerlValue): string {
  if (value.kind === 'unknown') return plain(value.text);
  return value.kind === 'reference' ? `a reference to ${plain(value.name)}` : `a ${value.kind}`;
}

function regexpRemedy(name: string): string {
  if (!isOfSenders(name)) return remedyFor(name);
  return `${remedyFor(name)}, or make it a rule of SpamAssassin (header NAME From:addr =~ /…/)`;
}

function isOfSenders(name: string): boolean {
  return /sender|list/.test(name);
}

function remedyFor(name: string): string {
  if (isOfSenders(name)) return 'write the senders as user@domain, "@domain" or .domain under senders';
  return 'write the addresses or domains one by one under recipients';
}

function assertNever(value: never): never {
  throw new TypeError(`Cannot make a table: unknown ${JSON.stringify(value)}`);
}
