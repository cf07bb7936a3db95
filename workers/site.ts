/**
 * site — reads what the administrator wrote: sluice.yaml and policies.yaml, and notices when the policies change.
 *
 * Hides where the files are looked for (--config, SLUICE_CONFIG, /etc/sluice/sluice.yaml, else the embedded defaults)
 * and that the shipped policies lie beside the code. All problems of a file are reported at once; a reload that
 * fails, or finds the file gone, keeps the policies that were in force.
 */
import { existsSync, readFileSync, stat, type Stats, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Config, parseConfig } from '../rules/config.ts';
import { formatProblem, type Problem } from '../rules/document.ts';
import { type Policies, parsePolicies } from '../rules/policy.ts';
import type { Log } from './log.ts';

/** Configuration and policies of this site, checked. `configFile` is null with the embedded defaults. */
export type Site = {
  readonly configFile: string | null;
  readonly config: Config;
  readonly policies: Policies;
};

/** A file has problems; the message has a line for each. The process exits with 78 (EX_CONFIG, sysexits.h). */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[], options?: ErrorOptions) {
    super(problems.map(formatProblem).join('\n'), options);
    this.problems = problems;
  }
}

/** Reads and checks both files, the policies where the configuration is in order. Throws `ConfigurationError`. */
export function readSite(configFlag: string | undefined, environment: NodeJS.ProcessEnv): Site {
  const found = readConfig(configFlag, environment);
  return { ...found, policies: readPolicies(found.config) };
}

/** The configuration alone, for who is about to bring other policies. Throws `ConfigurationError`. */
export function readConfig(
  configFlag: string | undefined,
  environment: NodeJS.ProcessEnv,
): Pick<Site, 'configFile' | 'config'> {
  const configFile = locateConfig(configFlag, environment);
  const source =
    configFile === null
      ? null
      : { file: configFile, text: readNamed(configFile, 'name another with --config or SLUICE_CONFIG') };
  const { config, problems } = parseConfig(source, environment);
  if (config === null) throw new ConfigurationError(problems);
  return { configFile, config };
}

/** What is wrong with a text that is to become the site's policies, a line for each problem. */
export function policyProblems({ policies, role }: Config, text: string): readonly string[] {
  const { problems } = parsePolicies(shippedPolicies(), { file: policies ?? 'policies.yaml', text }, role);
  return problems.map(formatProblem);
}

/** Reads the shipped policies and the site's over them. Throws `ConfigurationError`. */
export function readPolicies(config: Config): Policies {
  const site = isMissingDefault(config) ? null : config.policies;
  const { policies, problems } = parsePolicies(
    shippedPolicies(),
    site === null
      ? null
      : { file: site, text: readNamed(site, 'create it, or name another under policies in sluice.yaml') },
    config.role,
  );
  if (policies === null) throw new ConfigurationError(problems);
  return policies;
}

function shippedPolicies(): { file: string; text: string } {
  const shipped = join(import.meta.dirname, '..', 'rules', 'policies.yaml');
  return { file: 'policies.yaml (shipped)', text: readNamed(shipped, 'install Sluice again') };
}

/** The policies in force, exchanged as one immutable value on `reload` and whenever the site's file changes. */
export function watchPolicies(
  site: Site,
  log: Log,
  intervalMs = 1000,
): { readonly current: () => Policies; readonly reload: () => void; readonly close: () => void } {
  let current = site.policies;
  const file = site.config.policies;
  let isThere = file !== null && existsSync(file);
  const reload = (): void => {
    try {
      // Half way through an editor's save, or removed by mistake: falling back to the shipped ones would be a surprise.
      if (isThere && isMissingDefault(site.config))
        throw new ConfigurationError([missing(file ?? '', 'restore it')]);
      current = readPolicies(site.config);
      isThere = file !== null && existsSync(file);
      log.info({ file }, 'Policies reloaded');
    } catch (cause) {
      log.error({ err: cause, file }, 'Cannot reload policies: the old ones stay in force');
    }
  };
  // Polling sees a file that an editor replaced by rename; one look a second costs nothing. Not watchFile(): what changes
  // before its own first look goes unnoticed.
  let seen = file === null ? '' : printOf(statSync(file, { throwIfNoEntry: false }));
  const look = (path: string): void => {
    stat(path, (error, found) => {
      const print = printOf(error === null ? found : undefined);
      if (print === seen) return;
      seen = print;
      reload();
    });
  };
  const timer = file === null ? undefined : setInterval(look, intervalMs, file).unref();
  return { current: () => current, reload, close: () => clearInterval(timer) };
}

/** What tells one content of a file from the next without reading it; '' where there is none. */
function printOf(found: Stats | undefined): string {
  return found === undefined ? '' : [found.ino, found.ctimeMs, found.size].join(' ');
}

function locateConfig(flag: string | undefined, environment: NodeJS.ProcessEnv): string | null {
  const named = flag ?? (environment.SLUICE_CONFIG || undefined);
  if (named !== undefined) return resolve(named);
  const usual = '/etc/sluice/sluice.yaml';
  return existsSync(usual) ? usual : null;
}

/** The default name beside the configuration need not exist (yet): the shipped policies are complete. */
function isMissingDefault(config: Config): boolean {
  return config.policies !== null && !config.policiesNamed && !existsSync(config.policies);
}

function readNamed(file: string, remedy: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const isMissing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
    const what = cause instanceof Error ? cause.message : String(cause);
    const problem = isMissing ? missing(file, remedy) : problemOf(file, `cannot be read: ${what}`);
    throw new ConfigurationError([problem], { cause });
  }
}

function missing(file: string, remedy: string): Problem {
  return problemOf(file, `no such file: ${remedy}`);
}

function problemOf(file: string, message: string): Problem {
  return { file, line: null, column: null, path: '', message };
}
