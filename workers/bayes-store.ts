/**
 * bayes-store — where SpamAssassin keeps its Bayes database here, and what every kind of store can do for a restore.
 *
 * Hides which kind it is: `bayes_store_module` of the site's configuration says so, and everything else that is needed to
 * reach it stands there, too. A store keeps two generations, the current and the previous one; which snapshot each of
 * them is lies in the store itself and changes in the same instant as the data. Rejects with BayesFail.
 */
import type { BayesView } from './bayes-counts.ts';
import type { DumpFigures } from './bayes-dump.ts';
import type { Manifest } from './bayes-manifest.ts';
import type { SaLearn } from './bayes-sa-learn.ts';
import { failed, type OnStep } from './bayes-step.ts';
import { settingIn, usualSiteFolder } from './spamassassin-config.ts';

/** What lies beside a generation and says what it is; null for one that no restore has brought. */
export type Mark = Pick<Manifest, 'snapshotId' | 'takenAt' | 'nspam' | 'nham' | 'tokens' | 'digest'> & {
  /** Epoch milliseconds. */
  readonly restoredAt: number;
};

export type Generation = { readonly mark: Mark | null };

export type Standing = {
  /** Null: there is no database yet. */
  readonly current: Generation | null;
  readonly previous: Generation | null;
};

/** A database beside the live one. */
export type Scratch = {
  /** What it is called in the store. */
  readonly name: string;
  /** Configuration by which sa-learn works on it (`--cf`). */
  readonly lines: readonly string[];
};

export type BayesStore = {
  readonly kind: Manifest['store'];
  /** Where, for people; never with a password. */
  readonly place: string;
  standing(): Promise<Standing>;
  /** Sees that a restore can be done and removes what a killed one has left; changes nothing that scores. */
  prepare(): Promise<void>;
  /** Loads a dump into a new scratch database. */
  load(dump: AsyncIterable<Buffer>, figures: DumpFigures): Promise<Scratch>;
  /** Says what the scratch database is, and makes it durable where it is not yet; it is no generation before the switch. */
  mark(scratch: Scratch, mark: Mark): Promise<void>;
  /** In one instant the scratch database becomes the current one, and the current one the previous one. */
  switchTo(scratch: Scratch): Promise<void>;
  /** In one instant the two generations change places; there must be a previous one. */
  switchBack(): Promise<void>;
  /** Removes what is neither the current nor the previous generation. */
  clean(): Promise<void>;
  close(): Promise<void>;
};

export type StoreOptions = {
  readonly view: BayesView;
  readonly saLearn: SaLearn;
  readonly step: OnStep;
  readonly signal: AbortSignal;
  /** The index of Redis beside the live one; it belongs to Bayes alone. Null: there is none. */
  readonly redisScratch: number | null;
};

/** The store that the site's configuration names; nothing is opened before it is asked. */
export async function openBayesStore(options: StoreOptions): Promise<BayesStore> {
  const module = siteSetting(options.view, 'bayes_store_module');
  const name = module?.split('::').at(-1) ?? 'DBM';
  // Each loads what it needs only where it is used: a site without Redis never loads its client.
  switch (name) {
    case 'DBM':
      return (await import('./bayes-files.ts')).openFiles(options);
    case 'PgSQL':
      return (await import('./bayes-postgres.ts')).openPostgres(options);
    case 'Redis':
      return (await import('./bayes-redis.ts')).openRedis(options);
    default: {
      const message = `Cannot use the Bayes store ${module}: only DB_File, PgSQL and Redis are known`;
      throw failed(
        'settings',
        message,
        'set bayes_store_module to one of them: sa-learn --backup and --restore move the data',
      );
    }
  }
}

/** A setting of the site that the view names. */
export function siteSetting({ siteFolder }: BayesView, name: string): string | null {
  return settingIn(siteFolder ?? usualSiteFolder, name)?.value ?? null;
}

/** What in the site's configuration makes words tokens and tokens a score, and whether it learns by itself; null: unset. */
export function bayesSettings(view: BayesView): Readonly<Record<string, string | null>> {
  const names = [
    'use_bayes',
    'use_bayes_rules',
    'bayes_auto_learn',
    'bayes_min_ham_num',
    'bayes_min_spam_num',
    'bayes_use_hapaxes',
    'bayes_token_sources',
    'bayes_stopword_languages',
    'bayes_max_token_length',
    'normalize_charset',
  ];
  return Object.fromEntries(names.map((name) => [name, siteSetting(view, name)]));
}
