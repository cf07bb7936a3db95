/**
 * site — reads what the administrator wrote: sluice.yaml and policies.yaml, and notices when the policies change.
 *
 * Hides where the files are looked for (--config, SLUICE_CONFIG, /etc/sluice/sluice.yaml, else the embedded defaults)
 * and that the shipped policies lie beside the code. Every problem of every file is reported at once; a bad reload
 * keeps the policies that were in force.
 */
import { existsSync, readFileSync, type Stats, unwatchFile, watchFile } from 'node:fs';
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

/** The configuration has problems: one line each, ready to print. The process exits with 78 (EX_CONFIG, sysexits.h). */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
}

/** Reads and checks both files. Throws `ConfigurationError` with every problem in its message. */
export function readSite(configFlag: string | undefined, environment: NodeJS.ProcessEnv): Site {
  const configFile = locateConfig(configFlag, environment);
  const source = configFile === null ? null : { file: configFile, text: readNamed(configFile) };
  const { config, problems } = parseConfig(source, environment);
  if (config === null) throw new ConfigurationError(format(problems));
  return { configFile, config, policies: readPolicies(config) };
}

/** Reads the shipped policies and the site's. Throws `ConfigurationError` with every problem in its message. */
export function readPolicies(config: Config): Policies {
  const shipped = join(import.meta.dirname, '..', 'rules', 'policies.yaml');
  const site = isMissingDefault(config) ? null : config.policies;
  const { policies, problems } = parsePolicies(
    { file: 'policies.yaml (shipped)', text: readNamed(shipped) },
    site === null ? null : { file: site, text: readNamed(site) },
    config.role,
  );
  if (policies === null) throw new ConfigurationError(format(problems));
  return policies;
}

/** The policies in force, exchanged as one immutable value on `reload` and whenever the site's file changes. */
export function watchPolicies(
  site: Site,
  log: Log,
): { readonly current: () => Policies; readonly reload: () => void; readonly close: () => void } {
  let current = site.policies;
  const file = site.config.policies;
  const reload = (): void => {
    try {
      current = readPolicies(site.config);
      log.info({ file }, 'Policies reloaded');
    } catch (cause) {
      log.error({ err: cause, file }, 'Cannot reload policies: the old ones stay in force');
    }
  };
  // Polling sees a file that an editor replaced by rename; one stat a second costs nothing.
  const onChange = (now: Stats, before: Stats): void => {
    // The first look at a file that does not exist calls as well, with nothing changed.
    if (now.mtimeMs !== before.mtimeMs || now.ino !== before.ino) reload();
  };
  if (file !== null) watchFile(file, { interval: 1000, persistent: false }, onChange);
  return {
    current: () => current,
    reload,
    close: () => (file === null ? undefined : unwatchFile(file, onChange)),
  };
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

function readNamed(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigurationError(`${file}: cannot read: ${reason}`, { cause });
  }
}

function format(problems: readonly Problem[]): string {
  return problems.map(formatProblem).join('\n');
}
