/**
 * check-bayes-role — whether this node can be what it is beside the other one: a backup that scores as its primary does, a
 * primary that takes its backup's mail for what it is.
 *
 * Looks at SpamAssassin's and Postfix's files, at key and map, and at what is in place; connects to nobody (`sluice bayes setup`
 * does). As long as no mail is refused all is a warning: a sync that does not work costs precision, not mail. Never throws.
 */
import { lookup } from 'node:dns/promises';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../rules/config.ts';
import { fail, type Finding, ok, warn } from '../rules/finding.ts';
import { isInNetwork, prefixOf } from '../rules/network.ts';
import { formatNode, type SshNode } from '../rules/node-fields.ts';
import { namesNobody, staleEnd, staleHours, tableState } from '../rules/postfix-backup.ts';
import { accessFiles, type Backup, checkBackups } from '../rules/postfix-check-peer.ts';
import type { BayesStatus, BayesTrouble } from './bayes.ts';
import { checkAutoLearn } from './check-bayes-called.ts';
import { checkKey } from './check-bayes-caller.ts';
import { textOf, textOrNone } from './check-postfix.ts';
import { pinnedKeysOf } from './openssh.ts';
import { linesNamed, settingIn } from './spamassassin-config.ts';

export type RoleSite = {
  /** SpamAssassin's site configuration. */
  readonly siteFolder: string;
  /** Postfix's, or null where it is not known. */
  readonly postfixFolder: string | null;
  /** On a backup: what is in place; null: it can't be asked. */
  readonly status: (() => Promise<BayesStatus | BayesTrouble>) | null;
  /** On a primary: names that backups which fetch have reported under, and whether a key lets one fetch. */
  readonly fetching: { readonly reported: readonly string[]; readonly allowed: boolean };
  readonly now: number;
};

const hourMs = 3_600_000;
/** Within this `sluice run bayes` has looked at the map, and exchanged its table. */
const partMs = 300_000;

/** Findings by the role; none where there is no other node. */
export async function checkBayesRole(config: Config, site: RoleSite): Promise<Finding[]> {
  const { role, bayes } = config;
  if (role === 'backup') return checkBackup(config, site);
  const served = bayes.nodes.map((node) => addressesOf(formatNode(node), node.host));
  const fetching = site.fetching.reported.map((host) => addressesOf(host, host));
  const backups = await Promise.all([...served, ...fetching]);
  return [
    ...(bayes.nodes.length === 0 ? [] : await checkWay(bayes.ssh, bayes.nodes)),
    ...(backups.length === 0 && site.fetching.allowed ? [unknownBackup] : []),
    ...backups.flatMap((backup) => checkNetworks(backup, site.siteFolder)),
    ...checkPostfixFor(config, site, backups),
  ];
}

const unknownBackup = warn(
  'A key lets a backup fetch the Bayes database, but none has reported yet: what SpamAssassin and Postfix make of it is not checked',
  'authorized_keys',
  'on the backup: sluice bayes fetch; then check again. Where no backup is meant to, remove the key',
);

async function checkBackup({ bayes }: Config, { siteFolder, status, now }: RoleSite): Promise<Finding[]> {
  const { hours } = bayes.alarm;
  return [
    checkAutoLearn(settingIn(siteFolder, 'bayes_auto_learn')?.value),
    ...checkReputation(siteFolder),
    await checkAge(status, now, hours),
    ...(bayes.recipients === null ? [] : [checkMap(bayes.recipients, now)]),
    ...(bayes.primary === null ? [] : await checkWay(bayes.ssh, [bayes.primary])),
  ];
}

/** What SpamAssassin remembers of senders differs from node to node, and so would the scores. */
function checkReputation(folder: string): Finding[] {
  const lines = linesNamed(folder, ['loadplugin', 'use_txrep', 'use_auto_welcomelist', 'use_auto_whitelist']);
  const last = (...names: string[]) => lines.findLast(({ name }) => names.includes(name));
  const plugin = (name: string) =>
    lines.find(
      (one) => one.name === 'loadplugin' && one.value.startsWith(`Mail::SpamAssassin::Plugin::${name}`),
    );
  const [txrep, awl] = [plugin('TxRep'), plugin('AWL')];
  const price = 'its scores differ from the primary by what each remembers of senders';
  const found: Finding[] = [];
  const txrepIs = last('use_txrep');
  if (txrep !== undefined && txrepIs?.value === '1')
    found.push(
      warn(`TxRep is on: ${price}`, txrepIs.place, 'write use_txrep 0 into local.cf and restart spamd'),
    );
  // Mail::SpamAssassin::Plugin::AWL(3): on where it is loaded.
  const awlIs = last('use_auto_welcomelist', 'use_auto_whitelist');
  if (awl !== undefined && awlIs?.value !== '0')
    found.push(
      warn(
        `AWL is on: ${price}`,
        awlIs?.place ?? awl.place,
        'write use_auto_welcomelist 0 into local.cf (use_auto_whitelist before SpamAssassin 4) and restart spamd',
      ),
    );
  return found.length > 0 ? found : [ok('Neither TxRep nor AWL is on')];
}

async function checkAge(status: RoleSite['status'], now: number, hours: number): Promise<Finding> {
  const found = await status?.();
  if (found === undefined) {
    const what = 'How old the Bayes database in place is, is unknown';
    return warn(what, null, 'check as root; where nothing was ever received: sluice bayes setup');
  }
  if (found.kind !== 'status') return warn(found.message, null, found.remedy);
  const { current } = found.standing;
  const bring = 'on the primary: sluice bayes sync --now; where the backup fetches, here: sluice bayes fetch';
  if (current === null)
    return warn('There is no Bayes database yet: nothing scores by it', found.place, bring);
  if (current.mark === null)
    return warn('The Bayes database in place did not come from the primary', found.place, bring);
  const age = Math.max(0, now - current.mark.takenAt);
  const what = `The Bayes database in place is ${Math.floor(age / hourMs)} h old`;
  return age > hours * hourMs ? warn(what, found.place, bring) : ok(what, found.place);
}

/** Where it is stale, Postfix has to say 450 to those whom it does not know: by the table that the part exchanges (stale-recipients.ts). */
function checkMap(file: string, now: number): Finding {
  const bring = 'see on the primary that bayes.recipients names its map, then sluice bayes sync --now';
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined) return warn('The map of relay recipients is not here yet', file, bring);
  const age = Math.max(0, now - found.mtimeMs);
  const isEmpty = namesNobody(readOr(file, 'x@x'));
  const staleAt = isEmpty ? 0 : staleHours * hourMs;
  const what = isEmpty
    ? 'The map of relay recipients names nobody'
    : `The map of relay recipients is ${Math.floor(age / hourMs)} h old`;
  const table = `${file}${staleEnd}`;
  const state = tableState(readOr(table, ''));
  const run = 'enable sluice-bayes.service (or run `sluice run bayes`)';
  if (age > staleAt || isEmpty) {
    if (state === 'stale') return warn(`${what}: unknown recipients are deferred, not refused`, file, bring);
    // The part looks each minute.
    if (age <= staleAt + partMs) return warn(`${what}: unknown recipients are soon deferred`, file, bring);
    return fail(
      `${what}, and nobody has exchanged its table: unknown recipients are refused for good`,
      table,
      run,
    );
  }
  if (state === 'fresh') return ok(what, file);
  const cost =
    state === 'stale'
      ? 'its table is that of a stale one: unknown recipients are deferred, not refused'
      : 'nobody has made its table: unknown recipients would be refused for good once it is old';
  return age <= partMs ? ok(what, file) : warn(`${what}, but ${cost}`, table, run);
}

/** The text of a file; `otherwise` where it is not there or not ours to read. */
function readOr(file: string, otherwise: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return otherwise;
  }
}

/** Key and pinned host keys; a way that is closed costs no mail. */
async function checkWay(ssh: Config['bayes']['ssh'], nodes: readonly SshNode[]): Promise<Finding[]> {
  if (process.getuid?.() !== 0) {
    const what =
      'Whether the key for the Bayes sync is in order is unknown: it is root alone who may read it';
    return [warn(what, ssh.key, 'check as root')];
  }
  const pinned = await Promise.all(
    nodes.map(async (node) => {
      const keys = await pinnedKeysOf(node.host, node.port, ssh.knownHosts);
      if (keys !== null && keys !== '')
        return ok(`The host key of ${formatNode(node)} is pinned`, ssh.knownHosts);
      const what = `The host key of ${formatNode(node)} is not pinned: ssh does not connect`;
      return warn(what, ssh.knownHosts, 'pin it: sluice bayes setup prints the line');
    }),
  );
  const key = await checkKey(ssh.key);
  return [...key.map((one): Finding => (one.level === 'fail' ? { ...one, level: 'warn' } : one)), ...pinned];
}

async function addressesOf(node: string, host: string): Promise<Backup> {
  try {
    const found = await lookup(host, { all: true });
    return { node, addresses: found.map(({ address }) => address) };
  } catch {
    // Nothing to compare with: told below.
    return { node, addresses: [] };
  }
}

/** Mail::SpamAssassin::Conf(3): without both a backup is taken for the one who sent the mail. */
function checkNetworks({ node, addresses }: Backup, folder: string): Finding[] {
  if (addresses.length === 0) {
    const what = `${node} has no address in the DNS: whether it is trusted is unknown`;
    // Names under bayes.nodes begin with a user.
    return node.includes('@')
      ? [warn(what, 'bayes.nodes', 'write its address in place of its name, or mend the DNS')]
      : [
          warn(
            what,
            'bayes/record',
            'give the name that it reports under an address, or remove its record where it is no more',
          ),
        ];
  }
  const found = (['trusted_networks', 'internal_networks'] as const).flatMap((name) => {
    const { networks, place } = networksIn(folder, name);
    const missing = addresses.filter((address) => !isAmong(networks, address));
    if (missing.length === 0) return [];
    const price =
      name === 'trusted_networks'
        ? 'SpamAssassin believes no header line that it has added'
        : 'SpamAssassin takes it for the sender, and judges SPF and blocklists by its address';
    const remedy = `write "${name} ${missing.join(' ')}" into local.cf and restart spamd`;
    return [
      warn(
        `${node} (${missing.join(', ')}) is not in ${name}: ${price}`,
        place ?? join(folder, 'local.cf'),
        remedy,
      ),
    ];
  });
  const good = `SpamAssassin trusts ${node} (${addresses.join(', ')}): trusted_networks and internal_networks have it`;
  return found.length > 0 ? found : [ok(good, folder)];
}

function networksIn(folder: string, name: string): { networks: readonly string[]; place: string | null } {
  let networks: string[] = [];
  let place: string | null = null;
  for (const line of linesNamed(folder, [name, `clear_${name}`])) {
    networks = line.name === name ? [...networks, ...line.value.split(/\s+/)] : [];
    place = line.place;
  }
  return { networks, place };
}

/** The narrowest network that has it decides; `!` takes out. Loopback is always trusted. */
function isAmong(networks: readonly string[], address: string): boolean {
  const having = networks
    .filter((entry) => isInNetwork(entry.replace(/^!/, ''), address) === true)
    .toSorted((a, b) => (prefixOf(b.replace(/^!/, '')) ?? 0) - (prefixOf(a.replace(/^!/, '')) ?? 0));
  return (
    having[0]?.startsWith('!') === false || isInNetwork('127.0.0.0/8', address) === true || address === '::1'
  );
}

function checkPostfixFor(config: Config, { postfixFolder }: RoleSite, backups: readonly Backup[]): Finding[] {
  // Without the files the part on Postfix says what is missing.
  if (postfixFolder === null) return [];
  try {
    const [main, master] = ['main.cf', 'master.cf'].map((name) => textOf(join(postfixFolder, name)));
    if (main === undefined || master === undefined) return [];
    const tables = accessFiles({ main, master }).flatMap((file) => textOrNone(file));
    const known = backups.filter(({ addresses }) => addresses.length > 0);
    return checkBackups({ main, master, tables }, config, known);
  } catch {
    return []; // not there, or not to be read: the part on Postfix says so
  }
}
