/**
 * carry-rig — a primary and a backup on one machine, each with a store, a sluice.yaml and a state folder of its own, joined by a
 * real sshd on loopback.
 *
 * Runs the program itself, as an administrator would. Needs root.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Sshd, startSshd } from '../workers/sshd-rig.ts';
import { type Site, startSite, type StoreName } from '../workers/bayes-rig.ts';

const sluice = join(import.meta.dirname, '..', '..', 'bin', 'sluice.js');

export type Node = {
  readonly site: Site;
  readonly configFile: string;
  /** `<state>/bayes`. */
  readonly bayesFolder: string;
  /** Beside sluice.yaml. */
  readonly policies: string;
  readonly recipients: string;
  /** Of a Postfix that is nobody's. */
  readonly mailConfig: string;
  /** Writes sluice.yaml anew. */
  configure(more?: Settings): void;
};

export type Settings = {
  readonly role?: 'primary' | 'backup';
  /** Lines under `bayes:`. */
  readonly bayes?: readonly string[];
  readonly lines?: readonly string[];
};

export type Pair = {
  readonly primary: Node;
  readonly backup: Node;
  /** Of the side that is called: the backup, or the primary where the backup fetches. */
  readonly sshd: Sshd;
};

export type Ran = { readonly code: number | null; readonly out: string; readonly err: string };

/** Two nodes; with `fetch` it is the backup that connects. */
export async function startPair(
  t: TestContext,
  { way = 'push', store = 'files' }: { way?: 'push' | 'fetch'; store?: StoreName } = {},
): Promise<Pair> {
  const [primary, backup] = [await startNode(t, store), await startNode(t, store)];
  const [called, door] = way === 'push' ? [backup, 'receive'] : [primary, 'send'];
  const sshd = await startSshd(t, doorCommand(called, door));
  const ssh = [`ssh: { key: ${sshd.ssh.key}, knownHosts: ${sshd.ssh.knownHosts}, deadlineSeconds: 60 }`];
  const name = `"root@127.0.0.1:${sshd.port}"`;
  const push = way === 'push';
  primary.configure({ role: 'primary', bayes: push ? [...ssh, `nodes: [${name}]`] : [] });
  backup.configure({ role: 'backup', bayes: push ? [] : [...ssh, `primary: ${name}`] });
  return { primary, backup, sshd };
}

/** What an authorized key leads to: the program with this node's configuration. */
export function doorCommand({ configFile, mailConfig }: Node, door: string, before = ''): string {
  return `MAIL_CONFIG=${mailConfig} ${before}exec ${process.execPath} ${sluice} --config ${configFile} bayes ${door}`;
}

/** Runs `sluice bayes …` on a node. */
export async function run(node: Node, ...words: readonly string[]): Promise<Ran> {
  const env = { ...process.env, MAIL_CONFIG: node.mailConfig };
  const child = spawn(process.execPath, [sluice, '--config', node.configFile, 'bayes', ...words], { env });
  child.stdin.end();
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, out, err };
}

async function startNode(t: TestContext, store: StoreName): Promise<Node> {
  const site = await startSite(t, store);
  const file = (name: string) => join(site.folder, name);
  const mailConfig = file('postfix');
  mkdirSync(mailConfig);
  writeFileSync(join(mailConfig, 'main.cf'), 'compatibility_level = 3.6\ndefault_database_type = hash\n');
  mkdirSync(file('etc'));
  const { user, siteFolder } = site.view;
  const configFile = file('etc/sluice.yaml');
  const configure = ({ role = 'primary', bayes = [], lines = [] }: Settings = {}) => {
    const head = [`role: ${role}`, `state: ${file('state')}`, 'policies: policies.yaml', ...lines];
    const own = [`user: ${user?.name ?? 'null'}`, `siteFolder: ${siteFolder}`, 'redisScratch: 5', 'keep: 3'];
    const under = [...own, ...bayes].map((line) => `  ${line}`);
    writeFileSync(configFile, [...head, 'bayes:', ...under, ''].join('\n'));
  };
  configure();
  return {
    site,
    configFile,
    bayesFolder: file('state/bayes'),
    policies: file('etc/policies.yaml'),
    recipients: file('etc/relay_recipients'),
    mailConfig,
    configure,
  };
}
