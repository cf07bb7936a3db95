/**
 * mail-rig — mail on the two nodes of nodes-rig: a Postfix in each namespace, pasted together from what Debian ships and what
 * `sluice postfix` prints there, a clamd, and the filter, whose state folder belongs to nobody.
 */
import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { startClamd } from '../../demo/clamd.ts';
import { startDaemon } from '../../demo/daemon.ts';
import { type Delivered, readMaildir } from '../../demo/maildir.ts';
import { makeFolders, userIds } from '../../demo/postfix-folders.ts';
import { parseQueue, type QueueEntry } from '../../demo/postfix-queue.ts';
import { type BayesNode, run } from './nodes-rig.ts';
import type { Session, Sessions } from './smtp-child.ts';

const execute = promisify(execFile);
const script = join(import.meta.dirname, '..', '..', 'bin', 'sluice.js');

export type MailNode = {
  readonly node: BayesNode;
  /** The source of the map of relay recipients, beside main.cf. */
  readonly recipients: string;
  readonly maillog: string;
  /** A command of Postfix, with this instance's configuration. */
  postfix(command: string, ...words: readonly string[]): Promise<string>;
  queue(): Promise<QueueEntry[]>;
  delivered(): Promise<Delivered[]>;
  /** One round of `sluice run bayes`. */
  round(): Promise<unknown>;
};

/** Sessions with `to`'s port 25, from the namespace of `from`. */
export async function talk(
  from: BayesNode,
  to: BayesNode,
  sessions: readonly Session[],
  atOnce = 4,
): Promise<string[][]> {
  const child = join(import.meta.dirname, 'smtp-child.ts');
  const [command = '', ...words]: readonly string[] = [...from.within, process.execPath, child];
  const wanted: Sessions = { host: to.address, atOnce, sessions };
  const running = execute(command, words, { maxBuffer: 2 ** 26 });
  running.child.stdin?.end(JSON.stringify(wanted));
  return JSON.parse((await running).stdout) as string[][];
}

/** Waits until it is so; the test's own time limit ends it otherwise. */
export async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await delay(250);
}

/** Starts clamd, filter and Postfix of a node; `main`: what else stands in its main.cf. */
export async function startMail(
  t: TestContext,
  node: BayesNode,
  options: { readonly main: string; readonly policies: string; readonly print: readonly string[] },
): Promise<MailNode> {
  const home = node.site.folder;
  const folder = join(home, 'mail');
  mkdirSync(folder, { mode: 0o755 });
  const nobody = await userIds('nobody');
  await makeFolders(folder, nobody);
  const etc = join(folder, 'etc');
  const recipients = join(etc, 'relay_recipients');
  const clamd = await startClamd({ folder: join(home, 'clamd'), signatures: 'test' });
  t.after(() => clamd.stop());
  chmodSync(join(home, 'clamd'), 0o711);
  writeFileSync(join(home, 'policies.yaml'), options.policies);
  const isBackup = node.name === 'backup';
  node.configure({
    scan: { virus: true },
    clamd: `unix:${clamd.unix.path}`,
    ...(isBackup ? { bayes: { recipients } } : {}),
  });
  const state = join(dirname(node.file), 'state');
  chownSync(state, nobody.uid, nobody.gid);
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', MAIL_CONFIG: etc };
  const within = (command: string, ...words: readonly string[]) =>
    run([...node.within, command, ...words], env);
  await writePostfix(node, etc, folder, options, nobody);
  writeFileSync(recipients, '');
  const postfix = async (command: string, ...words: readonly string[]) => {
    // `postfix start` leaves master behind, which keeps the pipes.
    const quiet = ['sh', '-c', `exec "$@" > ${folder}/log/said 2>&1`, 'sh'];
    const all = command === 'postfix' ? [...quiet, command, ...words] : [command, ...words];
    const [first = '', ...rest] = all;
    const { code, stdout, stderr } = await within(first, ...rest);
    if (code !== 0) throw new Error(`Cannot run ${command} ${words.join(' ')}: ${stderr}`);
    return stdout;
  };
  await shell(within, node, etc, options.print);
  const daemon = await startDaemon({
    command: node.within[0] ?? '',
    args: [...node.within.slice(1), process.execPath, script, 'run', 'filter', '--config', node.file],
    logFile: join(home, 'filter.log'),
    isUp: async () => readFileSync(join(home, 'filter.log'), 'utf8').includes('Filter runs'),
  });
  t.after(() => daemon.stop());
  await postfix('postfix', 'start');
  return {
    node,
    recipients,
    maillog: join(folder, 'log', 'maillog'),
    postfix,
    queue: async () => parseQueue(await postfix('postqueue', '-j')),
    delivered: () => readMaildir(join(folder, 'mail', 'Maildir')),
    async round() {
      const child = join(import.meta.dirname, 'rounds-child.ts');
      const said = await within(process.execPath, child, node.file, script);
      if (said.code !== 0) throw new Error(`Cannot go a round: ${said.stderr}`);
      return JSON.parse(said.stdout) as unknown;
    },
  };
}

type Printed = { readonly text: { main: string; master: string; commands: string } };

async function print(node: BayesNode, words: readonly string[]): Promise<Printed['text']> {
  const { code, stdout, stderr } = await node.sluice(['postfix', '--json', ...words]);
  if (code !== 0) throw new Error(`Cannot print: ${stderr}`);
  return (JSON.parse(stdout) as Printed).text;
}

async function writePostfix(
  node: BayesNode,
  etc: string,
  folder: string,
  { main, print: words }: { readonly main: string; readonly print: readonly string[] },
  owner: { readonly uid: number; readonly gid: number },
): Promise<void> {
  const text = await print(node, words);
  const own = `compatibility_level = 3.6
queue_directory = ${folder}/queue
data_directory = ${folder}/data
maillog_file = ${folder}/log/maillog
maillog_file_prefixes = ${folder}/log
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1, ${node.address}
inet_protocols = ipv4
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
message_size_limit = 20480000
mailbox_size_limit = 0
alias_maps =
alias_database =
virtual_mailbox_base = ${folder}/mail
virtual_mailbox_maps = static:Maildir/
virtual_mailbox_limit = 0
virtual_minimum_uid = 1
virtual_uid_maps = static:${owner.uid}
virtual_gid_maps = static:${owner.gid}
`;
  writeFileSync(join(etc, 'main.cf'), `${own}${main}${text.main}`);
  const stock = readFileSync('/usr/share/postfix/master.cf.dist', 'utf8');
  writeFileSync(join(etc, 'master.cf'), `${stock}${text.master}`);
  // Skips the look at the machine's shared files.
  writeFileSync(join(folder, 'queue', 'quick-start'), '');
}

/** The printed commands, but for the reload of what does not run yet. */
async function shell(
  within: (command: string, ...words: readonly string[]) => ReturnType<typeof run>,
  node: BayesNode,
  etc: string,
  words: readonly string[],
): Promise<void> {
  const { commands } = await print(node, words);
  const { code, stderr } = await within('sh', '-ec', commands.replace(/postfix check && .*/, ''));
  if (code !== 0) throw new Error(`Cannot run the printed commands in ${etc}: ${stderr}`);
}

/** More addresses for the namespace of `from`, which `to` finds there. */
export function addClients(from: BayesNode, to: BayesNode, count: number): string[] {
  const addresses = Array.from({ length: count }, (_, at) => `198.18.255.${at + 1}`);
  const ip = (node: BayesNode, ...words: readonly string[]) => {
    const [command = '', ...rest] = [...node.within, 'ip', ...words];
    execFileSync(command, rest);
  };
  for (const address of addresses) ip(from, 'address', 'add', `${address}/32`, 'dev', 'wire');
  ip(to, 'route', 'add', '198.18.255.0/24', 'via', from.address, 'dev', 'wire');
  return addresses;
}
