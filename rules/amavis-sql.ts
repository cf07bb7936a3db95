/**
 * amavis-sql — amavisd-new's tables users, policy, mailaddr and wblist as lookup tables.
 *
 * Hides keys (`@.`, `@.example.com`, `@example.com`), priorities, NULL that passes on to the next row, and the letters of
 * wblist. README.sql and README.lookups of amavisd-new 2.13 have the rules. What can't be said is noted; it never throws.
 */
import { scopesOfKey } from './amavis-lookup.ts';
import type { Entry, Scope, Table } from './amavis-lookup.ts';
import { plain } from './amavis-notes.ts';
import type { Notes, Source } from './amavis-notes.ts';
import type { SourceText } from './document.ts';
import type { PerlValue } from './perl-config.ts';
import { readSqlDump } from './sql-dump.ts';
import type { SqlRow } from './sql-dump.ts';

/** What one recipient thinks of one sender: `W`, `B`, a blank (neutral) or points. */
export type Opinion = { readonly wb: string; readonly priority: number; readonly source: Source };
/** One row of users that speaks of a scope. */
export type SqlUser = {
  readonly email: string;
  readonly scope: Scope;
  readonly priority: number;
  /** Between rows of equal priority the nearer key first. */
  readonly isWide: boolean;
  readonly policy: SqlRow | null;
  readonly policyName: string;
  /** By scope of the sender. */
  readonly opinions: ReadonlyMap<Scope, readonly Opinion[]>;
};
export type SqlPolicies = {
  /** The rows that speak of a scope, given with what covers it, in the order in which amavisd-new asks them. */
  usersFor(chain: readonly Scope[]): readonly SqlUser[];
  table(field: string): Table;
  readonly policies: readonly SqlRow[];
};

const columns = {
  users: ['id', 'priority', 'policy_id', 'email', 'fullname', 'local'],
  mailaddr: ['id', 'priority', 'email'],
  wblist: ['rid', 'sid', 'wb'],
  policy: [],
};
const sameKeyMax = 20;
const booleans = /_lover$|^bypass_|^spam_modifies_subj$/;

/** The tables of these dumps; later dumps add to earlier ones. */
export function readSqlPolicies(dumps: readonly SourceText[], notes: Notes): SqlPolicies {
  const rows = {
    users: [] as SqlRow[],
    mailaddr: [] as SqlRow[],
    wblist: [] as SqlRow[],
    policy: [] as SqlRow[],
  };
  for (const source of dumps) {
    const dump = readSqlDump(source, columns);
    for (const note of dump.notes)
      notes.add('lost', note, note.text, 'write that part of the dump anew, or carry it over by hand');
    for (const name of ['users', 'mailaddr', 'wblist', 'policy'] as const)
      rows[name] = rows[name].concat(dump.rows.get(name) ?? []);
    const isEmpty = [...dump.rows.values()].every((found) => found.length === 0);
    if (isEmpty) {
      notes.add(
        'lost',
        { file: source.file, line: 1 },
        'no rows of users, policy, mailaddr or wblist',
        'dump these tables with their data',
      );
    }
  }
  const users = usersOf(rows, notes);
  const byScope = grouped(users, ({ scope }) => scope);
  for (const [scope, found] of byScope) {
    if (found.length <= sameKeyMax) continue;
    byScope.set(scope, found.slice(0, sameKeyMax));
    notes.add(
      'lost',
      null,
      `more than ${sameKeyMax} rows of users for ${scope}`,
      'leave one row for each address',
    );
  }

  function usersFor(chain: readonly Scope[]): readonly SqlUser[] {
    const found = chain.flatMap((scope) =>
      (byScope.get(scope) ?? []).toSorted((a, b) => Number(a.isWide) - Number(b.isWide)),
    );
    return found.toSorted((a, b) => b.priority - a.priority);
  }

  function table(field: string): Table {
    const find = (chain: readonly Scope[]) =>
      usersFor(chain)
        .map((user) => entryOf(user, field))
        .find((entry) => entry !== undefined);
    return {
      find,
      findAll: (chain) => [find(chain)].filter((entry) => entry !== undefined),
      scopes: [...byScope.keys()],
    };
  }

  return { usersFor, table, policies: rows.policy };
}

function usersOf(
  rows: Readonly<Record<keyof typeof columns, readonly SqlRow[]>>,
  notes: Notes,
): readonly SqlUser[] {
  const policies = new Map(rows.policy.map((row) => [row.values.get('id') ?? '', row]));
  const opinions = opinionsOf(rows, notes);
  return rows.users.flatMap((row) => {
    const [id, email] = [row.values.get('id') ?? '', row.values.get('email') ?? null];
    if (email === null) return [];
    const scopes = scopesOfSqlKey(email);
    if ('lost' in scopes) {
      notes.add('lost', row, `users: ${scopes.lost}`, 'write the full addresses under recipients');
      return [];
    }
    const policy = policies.get(row.values.get('policy_id') ?? '') ?? null;
    const policyName = policy?.values.get('policy_name') ?? `policy ${row.values.get('policy_id') ?? ''}`;
    const priority = numberOf(row.values.get('priority'), 7);
    const shared = { email, priority, policy, policyName, opinions: opinions.get(id) ?? new Map() };
    return scopes.map((scope, at) => ({ ...shared, scope, isWide: scopes.length > 1 && at === 0 }));
  });
}

/** By user, then by sender. */
function opinionsOf(
  rows: Readonly<Record<keyof typeof columns, readonly SqlRow[]>>,
  notes: Notes,
): ReadonlyMap<string, ReadonlyMap<Scope, readonly Opinion[]>> {
  const senders = new Map(rows.mailaddr.map((row) => [row.values.get('id') ?? '', row]));
  const byUser = new Map<string, Map<Scope, Opinion[]>>();
  for (const row of rows.wblist) {
    const sender = senders.get(row.values.get('sid') ?? '');
    const wb = row.values.get('wb') ?? null;
    const email = sender?.values.get('email') ?? null;
    if (wb === null) continue;
    const scopes =
      email === null
        ? { lost: `sid ${row.values.get('sid') ?? ''}, which mailaddr does not have` }
        : scopesOfSqlKey(email);
    if ('lost' in scopes) {
      notes.add(
        'lost',
        row,
        `wblist: ${scopes.lost}`,
        'write the sender under senders, if it is still wanted',
      );
      continue;
    }
    const rid = row.values.get('rid') ?? '';
    const of = byUser.get(rid) ?? new Map<Scope, Opinion[]>();
    byUser.set(rid, of);
    const opinion = {
      wb,
      priority: numberOf(sender?.values.get('priority'), 7),
      source: { file: row.file, line: row.line, name: 'wblist' },
    };
    for (const scope of scopes) of.set(scope, [...(of.get(scope) ?? []), opinion].slice(0, sameKeyMax));
  }
  return byUser;
}

/** Keys as SQL has them: with @ before a domain; a bare word is a mailbox name. */
function scopesOfSqlKey(email: string): readonly Scope[] | { lost: string } {
  const key = email.trim();
  if (!key.includes('@')) return { lost: `"${plain(key)}", one mailbox name in every domain` };
  if (key === '@.') return [''];
  const found = scopesOfKey(key.startsWith('@') && key.length > 1 ? key.slice(1) : key);
  return 'scopes' in found ? found.scopes : found;
}

/** What a row says of a field, as amavisd.conf would; undefined where it is NULL. */
function entryOf(user: SqlUser, field: string): Entry | undefined {
  const written = user.policy?.values.get(field) ?? null;
  if (user.policy === null || written === null) return undefined;
  const { file, line } = user.policy;
  // README.lookups: N n F f 0 NUL and blank are false, trailing blanks do not count.
  const truth = /^[NnFf0\0 ]?\s*$/.test(written) ? '0' : '1';
  const value: PerlValue = { file, line, kind: 'text', text: booleans.test(field) ? truth : written };
  const name = `policy.${field} of "${plain(user.policyName)}" for ${plain(user.email)}`;
  return { value, source: { file, line, name }, scope: user.scope };
}

function numberOf(text: string | null | undefined, otherwise: number): number {
  const value = Number(text ?? Number.NaN);
  return Number.isFinite(value) ? value : otherwise;
}

function grouped<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group === undefined) groups.set(keyOf(item), [item]);
    else group.push(item);
  }
  return groups;
}
