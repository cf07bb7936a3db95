/**
 * bayes-psql — PostgreSQL asked through psql(1), as SpamAssassin would ask it: by `bayes_sql_dsn`, as the same user.
 *
 * Hides the DSN (DBD::Pg) and the process. Values are psql's variables, which it quotes itself (`:'name'`); the password goes
 * by the environment. The first error ends a script, and with its connection the transaction. Rejects with BayesFail.
 */
import { spawn } from 'node:child_process';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { programMsMax, spawnAs } from './bayes-sa-learn.ts';
import { type BayesFail, type BayesStep, failed, messageOf } from './bayes-step.ts';
import { siteSetting, type StoreOptions } from './bayes-store.ts';

type Variables = Readonly<Record<string, string>>;

export type Psql = {
  /** Database and host, without a password. */
  readonly place: string;
  /** Runs a script; the rows of its answers, their columns as text. */
  ask(step: BayesStep, script: string, variables: Variables): Promise<string[][]>;
  /** Runs a script that comes in pieces. */
  feed(step: BayesStep, script: AsyncIterable<string>, variables: Variables): Promise<void>;
};

const separator = '\x1f';

/** psql for the database of the site's configuration. */
export function createPsql({ view, signal }: Pick<StoreOptions, 'view' | 'signal'>): Psql {
  const dsn = siteSetting(view, 'bayes_sql_dsn');
  const place = parseDsn(dsn ?? '');
  if (place === null)
    throw failed(
      'settings',
      `Cannot use bayes_sql_dsn ${dsn ?? '(none)'}: it is no DBI:Pg:dbname=…`,
      'see README.bayes of SpamAssassin',
    );
  const user = siteSetting(view, 'bayes_sql_username');
  const password = siteSetting(view, 'bayes_sql_password');
  const env = {
    ...environmentOf(place),
    ...(user === null ? {} : { PGUSER: user }),
    ...(password === null ? {} : { PGPASSWORD: password }),
    PGAPPNAME: 'sluice-bayes',
  };
  const where = `${place.get('dbname') ?? 'PostgreSQL'} at ${place.get('host') ?? 'its usual socket'}`;
  const run = async (
    step: BayesStep,
    script: AsyncIterable<string>,
    variables: Variables,
  ): Promise<string> => {
    const words = Object.entries(variables).flatMap(([name, value]) => ['-v', `${name}=${value}`]);
    const fixed = ['-X', '-q', '-A', '-t', '-F', separator, '-v', 'ON_ERROR_STOP=1', '-f', '-'];
    const limits = { signal, timeout: programMsMax };
    const child = spawn('psql', [...fixed, ...words], { ...spawnAs(view, env), ...limits });
    let [output, said] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')));
    child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString('utf8')).slice(-2000)));
    const ended = new Promise<void>((resolve, reject) => {
      child.once('error', (cause: NodeJS.ErrnoException) => reject(notRun(step, cause)));
      child.once('close', (code) => (code === 0 ? resolve() : reject(notDone(step, where, said))));
    });
    ended.catch(() => undefined); // told below, when the script has gone
    await pipeline(Readable.from(script), child.stdin).catch(async (cause: unknown) => {
      // Without its COMMIT the transaction ends with the connection. psql that ended by itself says why.
      child.kill('SIGKILL');
      if (said !== '') await ended;
      throw failed(step, `Cannot use PostgreSQL, ${where}: ${messageOf(cause)}`, 'run it again', cause);
    });
    await ended;
    return output;
  };
  return {
    place: where,
    async ask(step, script, variables) {
      const text = await run(step, oneOf(script), variables);
      return text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => line.split(separator));
    },
    async feed(step, script, variables) {
      await run(step, script, variables);
    },
  };
}

async function* oneOf(script: string): AsyncGenerator<string> {
  yield script;
}

/** `DBI:Pg:dbname=sa;host=…;port=…` taken apart, null where it is for no PostgreSQL. */
function parseDsn(dsn: string): ReadonlyMap<string, string> | null {
  const fields = /^DBI:Pg:(.*)$/i.exec(dsn)?.[1];
  if (fields === undefined) return null;
  const pairs = fields.split(';').map((field) => /^\s*(\w+)\s*=\s*(.*?)\s*$/.exec(field));
  return new Map(pairs.flatMap((pair) => (pair === null ? [] : [[nameOf(pair[1] ?? ''), pair[2] ?? '']])));
}

/** DBD::Pg takes these two for dbname as well. */
function nameOf(name: string): string {
  return name === 'db' || name === 'database' ? 'dbname' : name;
}

/** libpq's names for what a DSN may say. */
function environmentOf(place: ReadonlyMap<string, string>): Record<string, string> {
  const names = {
    dbname: 'PGDATABASE',
    host: 'PGHOST',
    hostaddr: 'PGHOSTADDR',
    port: 'PGPORT',
    sslmode: 'PGSSLMODE',
    service: 'PGSERVICE',
  };
  return Object.fromEntries(
    Object.entries(names).flatMap(([name, variable]) => {
      const value = place.get(name);
      return value === undefined ? [] : [[variable, value]];
    }),
  );
}

function notRun(step: BayesStep, cause: NodeJS.ErrnoException): BayesFail {
  const remedy = cause.code === 'ENOENT' ? 'install postgresql-client on this machine' : 'run it as root';
  return failed(step, `Cannot run psql: ${cause.message}`, remedy, cause);
}

function notDone(step: BayesStep, where: string, said: string): BayesFail {
  const error = /(?:ERROR|FATAL|error):\s*(.*)/.exec(said)?.[1] ?? said.trim().split('\n').at(-1) ?? '';
  const rights = /permission denied/.test(error);
  const remedy = rights
    ? 'grant bayes_sql_username SELECT, INSERT, UPDATE and DELETE on the tables bayes_*, and USAGE on their sequence'
    : 'see that the server runs and takes bayes_sql_username from here, then run it again';
  return failed(step, `Cannot use PostgreSQL, ${where}: ${error}`, remedy);
}
