/**
 * check-command — `sluice check`: everything around Sluice that mail depends on, each line ok, warn or fail with its
 * remedy.
 *
 * Hides the order: what only root sees (other users' processes, sa-learn as spamd's user) first, then everything as the
 * user that Sluice runs as, who is the owner of the state folder. Beside a running filter it disturbs nothing. Exit: 0
 * nothing failed, 1 something did; configuration that can't be read is 78, as for every command.
 */
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { checkListeners } from '../filter/check-listeners.ts';
import { checkLoop } from '../filter/check-loop.ts';
import { checkReturn } from '../filter/check-return.ts';
import { checkState } from '../filter/check-state.ts';
import { becomeOwner } from '../filter/state-folder.ts';
import { type Address, formatAddress } from '../rules/address.ts';
import type { Config } from '../rules/config.ts';
import { type Finding, fail, ok, warn } from '../rules/finding.ts';
import { bayesViewOf, checkBayes } from '../workers/check-bayes.ts';
import { checkClamd } from '../workers/check-clamd.ts';
import { checkFile } from '../workers/check-files.ts';
import { checkPostfixFolder } from '../workers/check-postfix.ts';
import { checkSpamd, checkSpamdProcess, type SpamdDemands } from '../workers/check-spamd.ts';
import { type ClamdConfig, findClamdConfig, readClamdConfig } from '../workers/clamd-config.ts';
import { scanningShare, spamdConcurrencyPerAddress } from '../workers/clients.ts';
import { findUser, processListeningOn } from '../workers/local-process.ts';
import { silentLog } from '../workers/log.ts';
import { placeInQueue } from '../workers/postfix-queue.ts';
import type { Site } from '../workers/site.ts';
import { version } from '../workers/version.ts';
import { countOf, type FindingGroup, formatGroup, formatSummary } from './check-text.ts';
import { type Invocation, type Options, UsageError } from './invocation.ts';
import type { StatusLine } from './progress.ts';

type Part = {
  readonly name: string;
  readonly doing: string;
  readonly find: () => Promise<readonly Finding[]>;
};

/** Checks everything, prints each part as it is done. */
export async function check({ options, site: read, status, print, printJson }: Invocation): Promise<number> {
  if (options.probe !== undefined && !/^[^\s@<>]+@[^\s@<>]+$/.test(options.probe))
    throw new UsageError(`--probe: "${options.probe}" is no address: write user@domain`);
  const site = read();
  const asRoot = await lookAsRoot(site.config, options, status);
  const { checkRole } = await import('./check-role.ts');
  const role = await checkRole(site.config, options, Date.now());
  const files = filesOf(site);
  if (existsSync(site.config.state)) becomeOwner(site.config.state, silentLog);
  const groups: FindingGroup[] = [];
  for (const { name, doing, find } of partsOf(site, files, options, { spamd: asRoot, role })) {
    status.sayNow(doing);
    const group = { name, findings: await find() };
    groups.push(group);
    if (options.json !== true) print(`${formatGroup(group)}\n`);
  }
  const { fail: failed } = countOf(groups);
  if (options.json === true) printJson({ ok: failed === 0, count: countOf(groups), groups });
  else print(formatSummary(groups));
  return failed === 0 ? 0 : 1;
}

function partsOf(
  site: Site,
  files: readonly SiteFile[],
  options: Options,
  asRoot: {
    readonly spamd: ReadonlyMap<Address, readonly Finding[]>;
    readonly role: readonly Finding[] | null;
  },
): Part[] {
  const { config, policies } = site;
  const { clamd, spamd, scan, limits } = config;
  const demands = demandsOf(config);
  const sizeMegabytes = Math.ceil(limits.messageBytes / 1024 ** 2);
  return [
    {
      name: 'Configuration',
      doing: 'reading the configuration, trying the addresses to listen on',
      find: async () => [...describeSite(site, files), ...(await checkListeners(config))],
    },
    { name: 'State', doing: `looking through ${config.state}`, find: () => checkState(config) },
    {
      name: 'ClamAV',
      doing: `asking clamd, with ${sizeMegabytes} MB too`,
      find: async () => {
        if (!scan.virus) return [off('scan.virus', 'no message is checked for viruses')];
        return each(clamd, (address) => checkOneClamd(address, config, options['clamd-config']));
      },
    },
    {
      name: 'SpamAssassin',
      doing: 'asking spamd',
      find: async () => {
        if (!scan.spam) return [off('scan.spam', 'no message is checked for spam')];
        const ask = async (address: Address) => [
          ...(await checkSpamd(address, demands)),
          ...(asRoot.spamd.get(address) ?? []),
        ];
        return each(spamd, ask);
      },
    },
    ...redisOf(config),
    ...roleOf(config, asRoot.role),
    {
      name: 'Return smtpd',
      doing: 'talking to the return smtpd',
      find: () => checkReturn(config, hostname()),
    },
    ...probeOf(config, options),
    {
      name: 'Postfix',
      doing: "comparing Postfix's files",
      find: async () => checkPostfixFolder(options['postfix-config'] ?? null, config, policies),
    },
  ];
}

function roleOf({ role }: Config, findings: readonly Finding[] | null): Part[] {
  if (findings === null) return [];
  const name = role === 'backup' ? 'Role: backup' : 'Backup nodes';
  return [{ name, doing: 'looking at the other node', find: async () => findings }];
}

function redisOf(config: Config): Part[] {
  const { redis } = config;
  if (redis === null) return [];
  const find = async () => {
    const { checkRedis } = await import('../workers/check-redis.ts');
    return checkRedis(config, redis, version);
  };
  return [{ name: 'Redis', doing: 'asking Redis, looking for workers', find }];
}

function probeOf(config: Config, options: Options): Part[] {
  const recipient = options.probe;
  if (recipient === undefined) return [];
  const folder = options['postfix-config'] ?? null;
  const placeOf = (queueId: string) => placeInQueue(queueId, folder);
  const probe = { recipient, hostname: hostname(), now: Date.now(), placeOf };
  const doing = `sending a message to ${recipient}, waiting whether it comes back, for 10 s or as long as Postfix is busy with it`;
  return [{ name: 'Loop', doing, find: async () => [await checkLoop(config, probe)] }];
}

/** What needs root, per spamd: its command line, and sa-learn as its user. Started by another user, less is known. */
async function lookAsRoot(
  config: Config,
  options: Options,
  status: StatusLine,
): Promise<ReadonlyMap<Address, readonly Finding[]>> {
  const seen = new Map<Address, readonly Finding[]>();
  if (!config.scan.spam) return seen;
  const demands = demandsOf(config);
  const wanted = { user: options['spamd-user'] ?? null, siteFolder: options['spamd-config'] ?? null };
  if (wanted.user !== null && findUser(wanted.user) === null)
    throw new UsageError(`--spamd-user: this machine has no user "${wanted.user}"`);
  for (const address of config.spamd) {
    status.sayNow(`teaching and unteaching spamd at ${formatAddress(address)}, asking sa-learn`);
    const process = processListeningOn(address);
    const learning = await checkBayes(address, demands, bayesViewOf(process, wanted));
    // One that does not answer has no process to look at either.
    seen.set(
      address,
      learning.length === 0 ? [] : [...checkSpamdProcess(address, process, demands), ...learning],
    );
  }
  return seen;
}

function demandsOf({ limits, spamdUser }: Config): SpamdDemands {
  return {
    user: spamdUser,
    spamBytes: limits.spamBytes,
    concurrency: Math.min(spamdConcurrencyPerAddress, limits.inFlight),
    scanSeconds: Math.floor(limits.deadlineSeconds * scanningShare),
  };
}

async function checkOneClamd(address: Address, config: Config, file: string | undefined): Promise<Finding[]> {
  let known: ClamdConfig | null = null;
  const findings: Finding[] = [];
  try {
    known = file === undefined ? findClamdConfig(address) : readClamdConfig(file);
  } catch (error) {
    const what = `clamd's configuration can not be read: ${error instanceof Error ? error.message : String(error)}`;
    findings.push(fail(what, file ?? null, 'name the file that clamd is started with: --clamd-config FILE'));
  }
  const { messageBytes } = config.limits;
  return [...findings, ...(await checkClamd(address, { messageBytes, config: known, now: Date.now() }))];
}

async function each(
  addresses: readonly Address[],
  look: (address: Address) => Promise<readonly Finding[]>,
): Promise<Finding[]> {
  return (await Promise.all(addresses.map(look))).flat();
}

/** The files that are there as root sees them; null: what counts in place of one. */
type SiteFile = { readonly name: string; readonly file: string | null; readonly otherwise: string };

function filesOf({ configFile, config: { policies } }: Site): SiteFile[] {
  return [
    { name: 'Configuration is', file: configFile, otherwise: 'embedded defaults' },
    {
      name: 'Policies are',
      file: policies !== null && existsSync(policies) ? policies : null,
      otherwise: 'shipped',
    },
  ];
}

function describeSite({ configFile, config }: Site, files: readonly SiteFile[]): Finding[] {
  const uid = process.getuid?.() ?? 0;
  const observe = 'mode is observe: headers only, nothing is held';
  return [
    ...files.map(({ name, file, otherwise }) =>
      file === null ? ok(`${name} in order`, otherwise) : checkFile(name, file),
    ),
    ok(`Node ${process.versions.node}, user ${findUser(uid)?.name ?? uid}`),
    ...(config.mode === 'observe'
      ? [warn(observe, configFile, 'write mode: filter when the first weeks are over')]
      : []),
  ];
}

function off(key: string, price: string): Finding {
  return warn(`${key} is false: ${price}`, null, `none needed if that is meant; else write ${key}: true`);
}
