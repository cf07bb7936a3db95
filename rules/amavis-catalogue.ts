/**
 * amavis-catalogue — what else stands in amavisd.conf and its SQL tables: what Sluice never does, what belongs into
 * sluice.yaml, what has no counterpart.
 *
 * Hides the names of some three hundred settings behind a few topics, each named once with its first place. Secrets
 * (database passwords) are never repeated. It never throws.
 */
import { noteElsewhere } from './amavis-elsewhere.ts';
import { plain } from './amavis-notes.ts';
import type { Notes } from './amavis-notes.ts';
import type { AmavisSettings } from './amavis-settings.ts';
import type { SqlPolicies } from './amavis-sql.ts';
import { isInEffect, lost, never, special, usedColumns } from './amavis-topics.ts';
import type { Topic } from './amavis-topics.ts';
import type { PerlConfig, PerlPlace } from './perl-config.ts';

/** Everything that the fields do not use. `used`: variables whose meaning is carried over. */
export function catalogue(
  config: PerlConfig,
  sql: SqlPolicies | null,
  settings: AmavisSettings,
  used: ReadonlySet<string>,
  notes: Notes,
): void {
  const topics = createTopics(notes);
  const without: string[] = [];
  for (const [name, value] of config.variables) {
    const isJudged = used.has(name) || special.has(name) || name === '$_' || name.startsWith('$final_');
    if (!isJudged && isInEffect(value) && !topics.take(name, name, value)) without.push(name);
  }
  for (const call of config.calls) {
    const isKnown = topics.take(call.name, `${call.name}()`, call);
    if (isKnown || !call.name.startsWith('include_')) continue;
    notes.add('lost', call, `${plain(call.name)}()`, 'name the included files on the command line too');
  }
  noteColumns(sql, topics, notes);
  topics.say();
  noteBounces(config, notes);
  noteBanks(config, notes);
  noteSources(config, sql, notes);
  noteStatements(config, used, notes);
  noteElsewhere(config, settings, notes);
  if (config.variables.size > 0 && !config.variables.has('@virus_name_to_spam_score_maps')) {
    const what =
      "amavisd-new's built-in list of virus names that are rather spam (phishing, Sanesecurity) is not in its files";
    notes.add('told', null, what, 'to keep the commonest: virusAsSpam: { "Heuristics.Phishing.*": 0.1 }');
  }
  if (without.length === 0) return;
  const what = `${without.length} settings have no counterpart (paths, logging, unpackers, …)`;
  notes.add('told', null, `${what}: ${listed(without, 60, ' ')}`, 'nothing');
}

/** Each topic once, with its first place and the names under it. */
function createTopics(notes: Notes) {
  const found = new Map<Topic, { place: PerlPlace; names: Set<string> }>();

  function take(name: string, shown: string, place: PerlPlace): boolean {
    const topic = [...never, ...lost].find(({ names }) => names.test(name));
    if (topic === undefined) return false;
    const entry = found.get(topic) ?? { place, names: new Set() };
    found.set(topic, entry);
    entry.names.add(plain(shown));
    return true;
  }

  function say(): void {
    for (const [topic, { place, names }] of found) {
      const kind = never.includes(topic) ? 'never' : 'lost';
      notes.add(kind, place, `${topic.what}: ${listed([...names], 12, ', ')}`, topic.remedy);
    }
  }

  return { take, say };
}

function listed(names: readonly string[], most: number, between: string): string {
  const more = names.length > most ? ` and ${names.length - most} more` : '';
  return names.slice(0, most).join(between) + more;
}

/** Columns of the table policy that hold something for somebody. */
function noteColumns(sql: SqlPolicies | null, topics: ReturnType<typeof createTopics>, notes: Notes): void {
  const seen = new Set(usedColumns);
  for (const row of sql?.policies ?? []) {
    for (const [column, value] of row.values) {
      if (seen.has(column) || value === null || /^[NnFf0\0 ]?\s*$/.test(value)) continue;
      seen.add(column);
      if (topics.take(column, `policy.${column}`, row)) continue;
      notes.add(
        'lost',
        row,
        `the column policy.${plain(column)}`,
        'see what it is for, and write it by hand',
      );
    }
  }
}

function noteBounces(config: PerlConfig, notes: Notes): void {
  const bouncing = ['virus', 'spam', 'banned', 'bad_header', 'unchecked'].flatMap((kind) => {
    const value = config.variables.get(`$final_${kind}_destiny`);
    return value?.kind === 'text' && /^D_(?:BOUNCE|REJECT)$/.test(value.text)
      ? [{ name: `$final_${kind}_destiny ${value.text}`, value }]
      : [];
  });
  const [first] = bouncing;
  if (first === undefined) return;
  notes.add(
    'never',
    first.value,
    `bounces and rejections: ${bouncing.map(({ name }) => name).join(', ')}`,
    'nothing: behind the queue a bounce goes to a forged sender; such mail is held instead',
  );
}

/** Names in a policy bank that change what happens to mail. */
const bankNames =
  /destiny|_maps$|(?:tag\d?|kill|cutoff)_level|lovers|bypass|quarantine|subject|originating|forward_method/;

function noteBanks(config: PerlConfig, notes: Notes): void {
  const banks = config.variables.get('%policy_bank');
  for (const { key, value, file, line } of banks?.kind === 'hash' ? banks.entries : []) {
    const members =
      value.kind === 'hash'
        ? value.entries.map((entry) => entry.key ?? '?').filter((name) => bankNames.test(name))
        : ['(a value that only Perl knows)'];
    if (members.length === 0) continue;
    const remedy =
      'for what the site sends use the outbound listener and `outbound`; else write it by recipient';
    notes.add(
      'lost',
      { file, line },
      `policy bank ${plain(key ?? '?')}: ${plain(members.slice(0, 12).join(', '))}`,
      remedy,
    );
  }
}

/** Policies that lie in other places. Their passwords stay there. */
function noteSources(config: PerlConfig, sql: SqlPolicies | null, notes: Notes): void {
  const { variables } = config;
  const dsn = variables.get('@lookup_sql_dsn');
  if (dsn !== undefined && isInEffect(dsn) && sql === null) {
    notes.add(
      'lost',
      dsn,
      '@lookup_sql_dsn: policies in a database',
      'dump users, policy, mailaddr and wblist, and name the dump with --sql',
    );
  }
  const ldap = variables.get('$enable_ldap');
  if (ldap !== undefined && isInEffect(ldap))
    notes.add(
      'lost',
      ldap,
      '$enable_ldap: policies in LDAP',
      'write them under recipients, by hand or with a script',
    );
  for (const name of ['%sql_clause', '$sql_select_policy', '$sql_select_white_black_list']) {
    const value = variables.get(name);
    if (value === undefined || !isInEffect(value)) continue;
    notes.add(
      'lost',
      value,
      `${name}: queries of the site's own`,
      'check the result: the tables were read as README.sql has them',
    );
  }
  const delimiter = variables.get('$recipient_delimiter');
  if (delimiter?.kind === 'text' && !/^\+?$/.test(delimiter.text)) {
    notes.add(
      'lost',
      delimiter,
      `$recipient_delimiter ${plain(delimiter.text)}`,
      'nothing: Sluice knows extensions behind + only; write such addresses whole',
    );
  }
}

/** What only Perl could run: lost where it speaks of something that counts. */
function noteStatements(config: PerlConfig, used: ReadonlySet<string>, notes: Notes): void {
  for (const { file, line, text, names } of config.unread) {
    const counts = names.filter((name) => used.has(name) || name.startsWith('$final_') || special.has(name));
    const what = `code that only Perl could run: ${plain(text)} …`;
    if (counts.length > 0)
      notes.add(
        'lost',
        { file, line },
        `${what} (${counts.slice(0, 8).join(', ')})`,
        'read it, and write by hand what it sets',
      );
    else notes.add('told', { file, line }, what, 'nothing, unless it sets something above');
  }
  if (!config.complete)
    notes.add('lost', null, 'the files make more values than an import takes', 'import them in parts');
}
