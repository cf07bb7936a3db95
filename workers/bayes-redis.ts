/**
 * bayes-redis — the Bayes store in Redis: one index that SpamAssassin uses, and one beside it for the other generation.
 *
 * Hides SWAPDB, which exchanges the two in one instant for everybody who is connected, and a key in each index that says what
 * it holds and goes with it. `sa-learn --restore` adds to what is there, so a load begins with an empty index. An index that
 * holds anything but Bayes is never touched. Rejects with BayesFail, without the password.
 */
import { chown, lstat, mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RedisConfig } from '../rules/config.ts';
import type { BayesView } from './bayes-counts.ts';
import { parseMark } from './bayes-mark.ts';
import { type BayesFail, type BayesStep, failed, messageOf } from './bayes-step.ts';
import {
  type BayesStore,
  type Generation,
  type Mark,
  type Scratch,
  siteSetting,
  type StoreOptions,
} from './bayes-store.ts';
import type { ChainableCommander, Redis } from './redis.ts';
import { removeTree } from './remove-tree.ts';

const markKey = 'sluice:bayes';
/** A load is under way, or died. */
const loading = 'loading';
/** Keys of SpamAssassin's store: variables, tokens, messages seen. */
const bayesKey = /^[vws]:/;

/** The index that the site's `bayes_sql_dsn` names, and the scratch index. */
export async function openRedis(options: StoreOptions): Promise<BayesStore> {
  const { view, saLearn, step } = options;
  const dsn = parseDsn(siteSetting(view, 'bayes_sql_dsn') ?? '');
  const place = `${dsn.server}, index ${dsn.database}`;
  const redisScratch = scratchBeside(dsn, options.redisScratch);
  const attempt = attemptAt(place, dsn.password);
  const [live, scratch] = [
    await connectTo(dsn, dsn.database, attempt),
    await connectTo(dsn, redisScratch, attempt),
  ];
  const scratchDsn = `bayes_sql_dsn ${formatDsn({ ...dsn, database: redisScratch })}`;
  let hidden: Awaited<ReturnType<typeof hideLine>> | null = null;
  const scratchHere = async (): Promise<Scratch> => {
    if (dsn.password !== null) hidden ??= await hideLine(view, scratchDsn);
    return { name: String(redisScratch), lines: [hidden?.line ?? scratchDsn] };
  };
  let pending: Mark | null = null;
  /** Empties the scratch index; never without its mark, or what somebody still writes there would be a stranger's for ever. */
  const clear = async (under: BayesStep): Promise<void> => {
    const all = scratch.multi().flushdb().set(markKey, loading);
    await attempt(under, () => allOf(all));
  };
  /** The mark comes in the same instant: until then what lies in the scratch index is no generation. */
  const swap = async (under: BayesStep, mark: Mark | null): Promise<void> => {
    // What the live index holds becomes a generation of ours by this: the next load may clear it.
    const all = live.multi().setnx(markKey, 'null').swapdb(dsn.database, redisScratch);
    await attempt(under, () => allOf(mark === null ? all : all.set(markKey, JSON.stringify(mark))));
  };
  return {
    kind: 'redis',
    place,
    async standing() {
      return { current: await generationIn(live), previous: await generationIn(scratch) };
    },
    async prepare() {
      await attempt('prepare', () => scratch.swapdb(redisScratch, redisScratch));
      await refuseForeign(live, dsn.database);
      await refuseForeign(scratch, redisScratch);
      const keys = await attempt('prepare', () => scratch.dbsize());
      const isOurs = (await scratch.exists(markKey)) === 1;
      if (keys > 0 && !isOurs) throw taken(redisScratch, `${keys} keys that no restore has brought`);
    },
    async load(dump) {
      await clear('load');
      const here = await scratchHere();
      await saLearn.restore(dump, here.lines);
      return here;
    },
    async mark(_, mark) {
      pending = mark;
    },
    async switchTo() {
      step('switch');
      await swap('switch', pending);
    },
    async switchBack() {
      step('switch');
      await swap('rollback', null);
    },
    async clean() {
      if ((await attempt('clean', () => scratch.get(markKey))) === loading) await clear('clean');
    },
    async close() {
      live.disconnect();
      scratch.disconnect();
      await hidden?.remove();
    },
  };
}

/** Runs a transaction; rejects with what any of its commands says. */
async function allOf(transaction: ChainableCommander): Promise<void> {
  const results = await transaction.exec();
  const error = results?.find(([cause]) => cause !== null)?.[0] ?? null;
  if (results === null || error !== null) throw error ?? new Error('its transaction was not run');
}

function scratchBeside({ server, database }: Dsn, wanted: number | null): number {
  if (wanted !== null && wanted !== database) return wanted;
  const what = wanted === null ? 'bayes.redisScratch is not set' : 'bayes.redisScratch is the same index';
  const message = `Cannot use Redis at ${server}, index ${database}: ${what}`;
  throw failed('settings', message, 'set bayes.redisScratch to an index that nobody uses');
}

/** An index that is empty, or where a load died, holds none. */
async function generationIn(index: Redis): Promise<Generation | null> {
  const mark = await index.get(markKey);
  if (mark === loading || (await index.exists('v:NSPAM')) === 0) return null;
  return { mark: parseMark(mark) };
}

/** SWAPDB would take along whatever else is there: a queue, somebody's sessions. */
async function refuseForeign(index: Redis, number: number): Promise<void> {
  let cursor = '0';
  do {
    const [next, keys] = await index.scan(cursor, 'COUNT', 2000);
    const foreign = keys.find((key) => !bayesKey.test(key) && key !== markKey);
    if (foreign !== undefined) throw taken(number, `the key ${JSON.stringify(foreign.slice(0, 40))}`);
    cursor = next;
  } while (cursor !== '0');
}

function taken(number: number, what: string): BayesFail {
  const remedy = 'give Bayes two indexes of its own: "database" in bayes_sql_dsn, and bayes.redisScratch';
  return failed('prepare', `Cannot exchange index ${number} of Redis: it holds ${what}`, remedy);
}

type Dsn = { readonly server: string; readonly password: string | null; readonly database: number };

/** `server=host:port;password=…;database=2`, each with SpamAssassin's default. */
function parseDsn(text: string): Dsn {
  const fields = new Map(
    text.split(';').map((field) => [field.split('=')[0], field.slice(field.indexOf('=') + 1)]),
  );
  const server = fields.get('server') ?? '127.0.0.1:6379';
  return { server, password: fields.get('password') ?? null, database: Number(fields.get('database') ?? 0) };
}

function formatDsn({ server, password, database }: Dsn): string {
  return [
    `server=${server}`,
    ...(password === null ? [] : [`password=${password}`]),
    `database=${database}`,
  ].join(';');
}

/** A line of configuration in a file that the user of sa-learn alone can read: arguments are seen by everybody (proc(5)). */
async function hideLine({ user }: BayesView, text: string) {
  const isOther = user !== null && process.getuid?.() === 0;
  await sweepHidden(isOther ? user.uid : (process.getuid?.() ?? 0));
  const folder = await mkdtemp(join(tmpdir(), hiddenPrefix));
  const file = join(folder, 'scratch.cf');
  await writeFile(file, `${text}\n`, { mode: 0o600, flag: 'wx' });
  if (isOther) for (const path of [file, folder]) await chown(path, user.uid, user.gid);
  return { line: `include ${file}`, remove: () => removeTree(folder) };
}

const hiddenPrefix = 'sluice-scratch-';
/** Longer than a load and its count may take: whoever made it is dead. */
const hiddenMsMax = 2 * 3_600_000;

/** Removes what runs left that were killed: there is a password in it. */
async function sweepHidden(uid: number): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    if (!name.startsWith(hiddenPrefix)) continue;
    const path = join(tmpdir(), name);
    const found = await lstat(path).catch(() => null); // another run was faster
    if (found?.uid === uid && Date.now() - found.mtimeMs > hiddenMsMax) await removeTree(path);
  }
}

type Attempt = <T>(step: BayesStep, work: () => Promise<T>) => Promise<T>;

/** One connection stays with one index; SWAPDB changes what it finds there. */
async function connectTo({ server, password }: Dsn, database: number, attempt: Attempt): Promise<Redis> {
  const { connectRedis } = await import('./redis.ts');
  let first: unknown;
  const outage = { lost: (cause: unknown) => void (first ??= cause), back: () => undefined };
  const secret = password === null ? {} : { password };
  const connection = connectRedis(configOf(server), 'once', outage, {
    db: database,
    ...secret,
    commandTimeout: 60_000,
  });
  await attempt('settings', () =>
    connection.connect().catch((cause: unknown) => {
      connection.disconnect();
      throw first ?? cause;
    }),
  );
  return connection;
}

function configOf(server: string): RedisConfig {
  const url = server.startsWith('/') ? `unix:${server}` : `redis://${server}`;
  const sentinel = { sentinels: [], master: '', sentinelUser: null, sentinelPassword: null };
  const limits = { prefix: '', messageBytesMax: 0, fetch: null, fetchClients: [] };
  return { url, ...sentinel, tls: false, caFile: null, ...limits };
}

function attemptAt(place: string, password: string | null): Attempt {
  return async (step, work) => {
    try {
      return await work();
    } catch (cause) {
      throw troubleAt(step, place, password, cause);
    }
  };
}

function troubleAt(step: BayesStep, place: string, password: string | null, cause: unknown): BayesFail {
  const text = messageOf(cause);
  const said = password === null ? text : text.replaceAll(password, '***');
  const remedy = /NOPERM/.test(said)
    ? 'let its user do so: ACL SETUSER … +swapdb +flushdb +scan +multi +exec ~sluice:bayes'
    : 'see that it runs, takes writes and the password of bayes_sql_dsn, then run it again';
  return failed(step, `Cannot use Redis at ${place}: ${said}`, remedy);
}
