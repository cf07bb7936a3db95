/**
 * nodes-rig — two machines with a Bayes database each: network namespaces joined by one wire, in each of them a real sshd with
 * its own host key, a real spamd with its own configuration of SpamAssassin, and a sluice.yaml with its own state folder.
 *
 * The file system is one: what a test shall look at is read there, and spamd is asked through its unix socket. All that runs in
 * a namespace ends with it. Needs root.
 */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { startDaemon } from '../../demo/daemon.ts';
import type { UnixAddress } from '../../demo/clamd.ts';
import { silentLog } from '../../workers/log.ts';
import { createSpamd } from '../../workers/spamd.ts';
import { type Site, startSite, type StoreName } from '../workers/bayes-rig.ts';

const execute = promisify(execFile);
const top = join(import.meta.dirname, '..', '..');

export type Said = {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
};

export type Tree = { readonly [key: string]: Tree | string | number | boolean | null | readonly string[] };

export type BayesNode = {
  readonly name: 'primary' | 'backup';
  /** The store with its folder; everything of this node lies in there. */
  readonly site: Site;
  /** At its end of the wire. */
  readonly address: string;
  /** Words in front of a command that shall run there. */
  readonly within: readonly string[];
  /** Its sluice.yaml; state is the folder `state` beside it. */
  readonly file: string;
  readonly spamd: UnixAddress;
  /** `ssh/key`, `ssh/key.pub`, `ssh/known_hosts`, `ssh/host_key`, `ssh/authorized_keys`, `ssh/sshd.log`. */
  readonly sshFolder: string;
  /** Lays something over its sluice.yaml, for good. */
  configure(changes: Tree): void;
  /** `sluice …words --config` there, with more in its environment. */
  sluice(words: readonly string[], env?: Readonly<Record<string, string>>): Promise<Said>;
  /** What the other one's key may run here (`receive` or `send`), with more in its environment. */
  grant(door: 'receive' | 'send', env?: Readonly<Record<string, string>>): void;
};

export type Nodes = {
  readonly primary: BayesNode;
  readonly backup: BayesNode;
  /** Pulls the wire out, or puts it back. */
  link(up: boolean): Promise<void>;
};

export type NodesOptions = {
  /** Default: DB_File on both. */
  readonly primary?: StoreName;
  readonly backup?: StoreName;
  /** Who calls: the primary pushes (default), or the backup pulls. */
  readonly way?: 'push' | 'pull';
  /** Of each spamd; default 2. */
  readonly children?: number;
  /** SpamAssassin has no rules but those of Bayes: sa-learn starts in a quarter of the time. */
  readonly lean?: boolean;
  /** Further lines of each local.cf. */
  readonly rules?: string;
  /** Gets the folder of a node while it is empty, to mount something there. */
  readonly onFolder?: (folder: string, name: BayesNode['name']) => void;
};

/** Starts both; they end with the test. */
export async function startNodes(t: TestContext, options: NodesOptions = {}): Promise<Nodes> {
  const { way = 'push', children = 2 } = options;
  const wire = await createWire();
  t.after(() => wire.stop());
  const start = (name: BayesNode['name']) =>
    startNode(t, { name, place: wire.places[name], store: options[name] ?? 'files', children, options });
  const [primary, backup] = [await start('primary'), await start('backup')];
  for (const [from, to, door] of [
    [primary, backup, 'receive'],
    [backup, primary, 'send'],
  ] as const) {
    copyFileSync(join(from.sshFolder, 'key.pub'), join(to.sshFolder, 'peer.pub'));
    pin(from, to.address, to);
    to.grant(door);
  }
  if (way === 'push') primary.configure({ bayes: { nodes: [`root@${backup.address}`] } });
  else backup.configure({ bayes: { primary: `root@${primary.address}` } });
  return { primary, backup, link: (up) => wire.link(up) };
}

/** Writes into `from`'s known_hosts that `to` answers at this address (`[address]:port` where it is not 22). */
export function pin(from: BayesNode, address: string, to: BayesNode): void {
  const key = readFileSync(join(to.sshFolder, 'host_key.pub'), 'utf8').split(' ').slice(0, 2).join(' ');
  writeFileSync(join(from.sshFolder, 'known_hosts'), `${address} ${key}\n`, { flag: 'a' });
}

/** Score and Bayes rule of each message, as the node's own spamd has them. */
export async function scoresOf({ spamd }: BayesNode, messages: readonly Buffer[]): Promise<string[]> {
  const options = { addresses: [spamd], user: null, spamBytes: 500_000, concurrency: 2, timeoutMs: 120_000 };
  const client = createSpamd({ ...options, log: silentLog });
  const score = async (bytes: Buffer): Promise<string> => {
    const message = {
      sizeBytes: bytes.length,
      async *read() {
        yield bytes;
      },
    };
    const result = await client.scan(message, { sender: '' }, new AbortController().signal);
    if (result.kind !== 'scored') throw new Error(`Cannot score: ${JSON.stringify(result)}`);
    return `${result.score} ${result.tests.find(({ name }) => name.startsWith('BAYES_'))?.name ?? '-'}`;
  };
  const scores: string[] = [];
  try {
    // The time limit counts from here: no message waits for many others.
    for (let at = 0; at < messages.length; at += 2)
      scores.push(...(await Promise.all(messages.slice(at, at + 2).map(score))));
    return scores;
  } finally {
    client.close();
  }
}

/** Runs a command to its end. */
export async function run(
  [command = '', ...words]: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Said> {
  // What is set for the test itself, or for the machine's own Sluice, is nothing to them.
  const plain = { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '/', LC_ALL: 'C.UTF-8' };
  const child = spawn(command, words, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...plain, ...env },
    cwd: '/',
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal, stdout, stderr };
}

type Place = { readonly address: string; readonly within: readonly string[] };

type Wire = {
  readonly places: Readonly<Record<BayesNode['name'], Place>>;
  link(up: boolean): Promise<void>;
  stop(): Promise<void>;
};

/** Two namespaces and what joins them. */
async function createWire(): Promise<Wire> {
  // 198.18.0.0/15 is set aside for such tests (RFC 2544): no real network has it.
  const net = randomInt(1, 256 * 128);
  const placeOf = (name: string, host: number): Place & { name: string } => ({
    name: `sluice-${process.pid}-${net}-${name}`,
    address: `198.19.${net >> 7}.${(net & 127) * 2 + host}`,
    // Not `ip netns exec`: that would hide disks that are mounted later.
    within: ['nsenter', `--net=/run/netns/sluice-${process.pid}-${net}-${name}`, '--'],
  });
  const places = { primary: placeOf('primary', 0), backup: placeOf('backup', 1) };
  const ip = (...words: string[]) => execute('ip', words);
  const both = Object.values(places);
  const stop = async (): Promise<void> => {
    for (const { name } of both) await endAllIn(name);
    for (const { name } of both) await ip('netns', 'delete', name);
  };
  for (const { name } of both) await ip('netns', 'add', name);
  try {
    const ends = ['type', 'veth', 'peer', 'name', 'wire', 'netns', places.backup.name];
    await ip('link', 'add', 'wire', 'netns', places.primary.name, ...ends);
    for (const { name, address } of both) {
      await ip('-n', name, 'address', 'add', `${address}/31`, 'dev', 'wire');
      for (const device of ['wire', 'lo']) await ip('-n', name, 'link', 'set', device, 'up');
    }
  } catch (cause) {
    await stop();
    throw cause;
  }
  const link = async (up: boolean): Promise<void> =>
    void (await ip('-n', places.primary.name, 'link', 'set', 'wire', up ? 'up' : 'down'));
  return { places, link, stop };
}

/** Ends every process of a namespace: we made it, so they are ours. */
async function endAllIn(name: string): Promise<void> {
  for (;;) {
    const { stdout } = await execute('ip', ['netns', 'pids', name]);
    const pids = stdout.split('\n').filter(Boolean).map(Number);
    if (pids.length === 0) return;
    for (const pid of pids) kill(pid);
    await delay(20);
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // ESRCH: it has ended meanwhile.
  }
}

async function startNode(
  t: TestContext,
  {
    name,
    place: wired,
    store,
    children,
    options,
  }: { name: BayesNode['name']; place: Place; store: StoreName; children: number; options: NodesOptions },
): Promise<BayesNode> {
  const onFolder = (folder: string) => options.onFolder?.(folder, name);
  const made = await startSite(t, store, onFolder, { bySocket: true });
  const within = options.lean === true ? [...wired.within, ...withFewRules(made.folder)] : wired.within;
  const place = { ...wired, within };
  const state = join(made.folder, 'state');
  mkdirSync(state, { recursive: true });
  const site = { ...made, options: { ...made.options, folder: join(state, 'bayes') } };
  const sshFolder = await startSshd(t, site.folder, place);
  const spamd = await startSpamd(t, site, place, children, options.rules ?? '');
  const file = join(site.folder, 'sluice.yaml');
  let tree = configurationOf(name, sshFolder, store);
  const configure = (changes: Tree): void => {
    tree = laidOver(tree, changes);
    // JSON is YAML.
    writeFileSync(file, JSON.stringify(tree, null, 2));
  };
  configure({});
  const program = [process.execPath, join(top, 'bin', 'sluice.js')];
  // Sources are stripped of their types once, not at each start.
  const usual = { NODE_COMPILE_CACHE: join(site.folder, 'compiled') };
  return {
    ...place,
    name,
    site,
    file,
    spamd,
    sshFolder,
    configure,
    sluice: (words, env = {}) =>
      run([...place.within, ...program, ...words, '--config', file], { ...usual, ...env }),
    grant(door, env = {}) {
      const command = [...program, 'bayes', door, '--config', file];
      const variables = Object.entries({ ...usual, ...env }).map(([key, value]) => `${key}=${value}`);
      const words = ['env', ...variables, ...command];
      const peer = readFileSync(join(sshFolder, 'peer.pub'), 'utf8');
      writeFileSync(join(sshFolder, 'authorized_keys'), `restrict,command="${words.join(' ')}" ${peer}`);
    },
  };
}

/** A view of the file system in which SpamAssassin has rules and plug-ins for Bayes alone. */
function withFewRules(home: string): string[] {
  const site = join(home, 'site');
  for (const name of readdirSync(site)) if (name.endsWith('.pre')) rmSync(join(site, name));
  const plugins = ['Check', 'Bayes'].map((name) => `loadplugin Mail::SpamAssassin::Plugin::${name}\n`);
  writeFileSync(join(site, 'few.pre'), plugins.join(''));
  const [shipped, few] = ['/usr/share/spamassassin', join(home, 'rules')];
  mkdirSync(few);
  copyFileSync(join(shipped, '23_bayes.cf'), join(few, '23_bayes.cf'));
  return ['unshare', '-m', 'sh', '-c', `mount --bind ${few} ${shipped} && exec "$@"`, 'sh'];
}

function configurationOf(name: BayesNode['name'], sshFolder: string, store: StoreName): Tree {
  const [key, knownHosts] = [join(sshFolder, 'key'), join(sshFolder, 'known_hosts')];
  const ssh = { key, knownHosts, connectSeconds: 5, deadlineSeconds: 1200 };
  const bayes = { ssh, redisScratch: store === 'redis' ? 5 : null };
  return { role: name, state: 'state', spamd: '127.0.0.1:783', scan: { virus: false }, bayes };
}

function laidOver(under: Tree, over: Tree): Tree {
  const merged = { ...under };
  for (const [key, value] of Object.entries(over)) {
    const old = under[key];
    merged[key] = isTree(old) && isTree(value) ? laidOver(old, value) : value;
  }
  return merged;
}

function isTree(value: Tree[string] | undefined): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Its own keys, its own authorized_keys; root may come with a forced command, and nobody else at all. */
async function startSshd(t: TestContext, home: string, { address, within }: Place): Promise<string> {
  const folder = join(home, 'ssh');
  mkdirSync(folder, { mode: 0o700 });
  for (const name of ['key', 'host_key'])
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', join(folder, name)]);
  for (const name of ['authorized_keys', 'known_hosts']) writeFileSync(join(folder, name), '');
  const settings = [
    `ListenAddress ${address}:22`,
    `HostKey ${join(folder, 'host_key')}`,
    `AuthorizedKeysFile ${join(folder, 'authorized_keys')}`,
    // The folder lies in /tmp, which is everybody's.
    'StrictModes no',
    'PermitRootLogin forced-commands-only',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    `UsePAM ${isRootLocked() ? 'yes' : 'no'}`,
    'UseDNS no',
    'PidFile none',
    'MaxStartups 100',
    'LogLevel VERBOSE',
  ];
  const file = join(folder, 'sshd_config');
  writeFileSync(file, `${settings.join('\n')}\n`);
  // As Debian's unit does (RuntimeDirectory).
  mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  const isUp = async () => (await run([...within, 'ssh-keyscan', '-T', '2', address])).stdout !== '';
  const words = [...within, '/usr/sbin/sshd', '-D', '-e', '-f', file];
  await startIn(t, words, join(folder, 'sshd.log'), isUp);
  return folder;
}

/** Without PAM sshd lets nobody in whose password is locked, by key neither; with PAM it needs a machine where PAM works. */
function isRootLocked(): boolean {
  return /^root:!/m.test(readFileSync('/etc/shadow', 'utf8'));
}

/** On the usual port, as `sluice bayes` finds it by its process, and on a unix socket. */
async function startSpamd(
  t: TestContext,
  { folder, lines }: Site,
  { within }: Place,
  children: number,
  rules: string,
): Promise<UnixAddress> {
  const siteFolder = join(folder, 'site');
  copyFileSync(join(top, 'rules', 'sluice.cf'), join(siteFolder, 'sluice.cf'));
  // Trusted networks spare spamd a look at the machine's interfaces and DNS.
  const local = `bayes_auto_learn 0\ntrusted_networks 127.0.0.1\ninternal_networks 127.0.0.1\n${lines}\n${rules}\n`;
  writeFileSync(join(siteFolder, 'local.cf'), local);
  const path = join(folder, 'spamd.sock');
  const words = [
    '/usr/sbin/spamd',
    '--local',
    '--allow-tell',
    '--nouser-config',
    `--siteconfigpath=${siteFolder}`,
    '--listen=127.0.0.1:783',
    `--listen=${path}`,
    '--socketmode=0666',
    `--max-children=${children}`,
    `--min-children=${children}`,
    '--syslog=stderr',
    '--username=nobody',
  ];
  const address: UnixAddress = { kind: 'unix', path, mode: null, owner: null };
  const options = { addresses: [address], user: null, spamBytes: 1000, concurrency: 1, timeoutMs: 5000 };
  const isUp = async () => {
    const client = createSpamd({ ...options, log: silentLog });
    const [answer] = await client.ping();
    client.close();
    return answer?.answer.kind === 'alive';
  };
  await startIn(t, [...within, ...words], join(folder, 'spamd.log'), isUp);
  return address;
}

async function startIn(
  t: TestContext,
  [command = '', ...args]: readonly string[],
  logFile: string,
  isUp: () => Promise<boolean>,
): Promise<void> {
  const daemon = await startDaemon({ command, args, logFile, isUp });
  // After the wire has ended it with all its children.
  t.after(() => daemon.stop());
}
