/**
 * bayes-postgres — the Bayes store in PostgreSQL, in the tables that SpamAssassin ships (bayes_pg.sql).
 *
 * Hides that a generation is a username there: the live one, `<live>.sluice.previous`, and one for what is being loaded;
 * exchanging names in one transaction is the switch. Marks lie in bayes_global_vars, under the id that goes with the rows.
 * Loading is one COPY in one transaction: sa-learn commits each token by itself, and 150,000 of them take it 50 s.
 */
import { randomBytes } from 'node:crypto';
import { userInfo } from 'node:os';
import { type DumpFigures, linesOf, parseDumpLine } from './bayes-dump.ts';
import { formatShortMark, parseShortMark } from './bayes-mark.ts';
import { createPsql, type Psql } from './bayes-psql.ts';
import { failed } from './bayes-step.ts';
import {
  type BayesStore,
  type Generation,
  type Scratch,
  siteSetting,
  type StoreOptions,
} from './bayes-store.ts';

/** The tables that the site's `bayes_sql_dsn` leads to. */
export function openPostgres(options: StoreOptions): BayesStore {
  const { view, step } = options;
  const psql = createPsql(options);
  const override = siteSetting(view, 'bayes_sql_override_username');
  // As sa-learn has it: the user that it runs as.
  const live = override ?? view.user?.name ?? userInfo().username;
  const names = { live, prefix: `${live}.sluice.`, previous: `${live}.sluice.previous` };
  const scratchCalled = (name: string): Scratch => ({ name, lines: [`bayes_sql_override_username ${name}`] });
  return {
    kind: 'postgres',
    place: psql.place,
    async standing() {
      const rows = await psql.ask('settings', standingSql, names);
      const generation = (name: string): Generation | null => {
        const row = rows.find(([username]) => username === name);
        return row === undefined ? null : { mark: parseShortMark(row[1]) };
      };
      return { current: generation(live), previous: generation(names.previous) };
    },
    async prepare() {
      if (live.length > 150)
        throw failed(
          'prepare',
          `Cannot restore for ${live}: too long a name`,
          'choose a shorter bayes_sql_override_username',
        );
      await psql.ask('prepare', probeSql + cleanSql, names);
    },
    async load(dump, figures) {
      const scratch = scratchCalled(`${names.prefix}${randomBytes(6).toString('hex')}`);
      const [row] = await psql.ask(
        'load',
        `SELECT nextval(pg_get_serial_sequence('bayes_vars', 'id'));\n`,
        names,
      );
      await loadInto(psql, Number(row?.[0]), scratch.name, dump, figures);
      return scratch;
    },
    async mark({ name }, mark) {
      await psql.ask('mark', markSql, { name, mark: formatShortMark(mark) });
    },
    async switchTo({ name }) {
      step('switch');
      await psql.ask('switch', switchSql, {
        ...names,
        name,
        old: `${names.prefix}old-${randomBytes(4).toString('hex')}`,
      });
    },
    async switchBack() {
      step('switch');
      await psql.ask('rollback', switchBackSql, { ...names, between: `${names.prefix}between` });
    },
    async clean() {
      await psql.ask('clean', cleanSql, names);
    },
    close: async () => undefined,
  };
}

const standingSql = `
SELECT username, coalesce(value, '') FROM bayes_vars LEFT JOIN bayes_global_vars ON variable = 'sluice:' || id
 WHERE username IN (:'live', :'previous');
`;

/** Whether the rights are there, without a change. */
const probeSql = `
BEGIN;
UPDATE bayes_vars SET username = username WHERE false;
DELETE FROM bayes_token WHERE false;
DELETE FROM bayes_seen WHERE false;
INSERT INTO bayes_global_vars (variable, value) SELECT 'sluice:0', '' WHERE false;
ROLLBACK;
`;

const markSql = `
BEGIN;
DELETE FROM bayes_global_vars
 WHERE variable = (SELECT 'sluice:' || id FROM bayes_vars WHERE username = :'name');
INSERT INTO bayes_global_vars (variable, value)
SELECT 'sluice:' || id, :'mark' FROM bayes_vars WHERE username = :'name';
COMMIT;
`;

/** The first line ends it all where the scratch database is gone. */
const switchSql = `
BEGIN;
SELECT 1 / count(*) FROM bayes_vars WHERE username = :'name';
UPDATE bayes_vars SET username = :'old' WHERE username = :'previous';
UPDATE bayes_vars SET username = :'previous' WHERE username = :'live';
UPDATE bayes_vars SET username = :'live' WHERE username = :'name';
COMMIT;
`;

const switchBackSql = `
BEGIN;
SELECT 1 / count(*) FROM bayes_vars WHERE username = :'previous';
UPDATE bayes_vars SET username = :'between' WHERE username = :'live';
UPDATE bayes_vars SET username = :'live' WHERE username = :'previous';
UPDATE bayes_vars SET username = :'previous' WHERE username = :'between';
COMMIT;
`;

const cleanSql = `
BEGIN;
CREATE TEMP TABLE gone ON COMMIT DROP AS
SELECT id FROM bayes_vars WHERE left(username, length(:'prefix')) = :'prefix' AND username <> :'previous';
DELETE FROM bayes_token WHERE id IN (SELECT id FROM gone);
DELETE FROM bayes_seen WHERE id IN (SELECT id FROM gone);
DELETE FROM bayes_expire WHERE id IN (SELECT id FROM gone);
DELETE FROM bayes_global_vars WHERE variable IN (SELECT 'sluice:' || id FROM gone);
DELETE FROM bayes_vars WHERE id IN (SELECT id FROM gone);
COMMIT;
`;

async function loadInto(
  psql: Psql,
  id: number,
  name: string,
  dump: AsyncIterable<Buffer>,
  { nspam, nham }: DumpFigures,
): Promise<void> {
  if (!Number.isSafeInteger(id))
    throw failed('load', 'Cannot load: bayes_vars gives no id', 'make the tables with bayes_pg.sql');
  const seen: string[] = [];
  const script = async function* () {
    yield `BEGIN;\nINSERT INTO bayes_vars (id, username, spam_count, ham_count) VALUES (:id, :'name', :nspam, :nham);\n`;
    yield 'COPY bayes_token (id, token, spam_count, ham_count, atime) FROM STDIN;\n';
    yield* tokenRows(dump, id, seen);
    yield '\\.\nCOPY bayes_seen (id, msgid, flag) FROM STDIN;\n';
    for (let at = 0; at < seen.length; at += 1000) yield seen.slice(at, at + 1000).join('');
    yield `\\.\nUPDATE bayes_vars SET (token_count, oldest_token_age, newest_token_age) =
      (SELECT count(*), coalesce(min(atime), 2147483647), coalesce(max(atime), 0) FROM bayes_token WHERE id = :id)
      WHERE id = :id;\nCOMMIT;\n`;
  };
  await psql.feed('load', script(), { id: String(id), name, nspam: String(nspam), nham: String(nham) });
}

/** Rows for COPY as they come, some at a time; messages seen are put into `seen`: they come last in a dump, or between. */
async function* tokenRows(dump: AsyncIterable<Buffer>, id: number, seen: string[]): AsyncGenerator<string> {
  // As sa-learn does it: no token was used in the future.
  const now = Math.floor(Date.now() / 1000);
  let rows: string[] = [];
  for await (const line of linesOf(dump)) {
    const parsed = parseDumpLine(line);
    if (parsed.kind === 'seen' && isStorable(parsed.messageId))
      seen.push(`${id}\t${escaped(parsed.messageId)}\t${parsed.flag}\n`);
    if (parsed.kind !== 'token' || (parsed.spam === 0 && parsed.ham === 0)) continue;
    rows.push(`${id}\t\\\\x${parsed.hex}\t${parsed.spam}\t${parsed.ham}\t${Math.min(parsed.atime, now)}\n`);
    if (rows.length < 1000) continue;
    yield rows.join('');
    rows = [];
  }
  yield rows.join('');
}

/** What the column takes whatever its encoding; a message that is not remembered can be learned twice, no more. */
function isStorable(messageId: string): boolean {
  return messageId.length <= 200 && /^[\x20-\x7e]+$/.test(messageId);
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\');
}
